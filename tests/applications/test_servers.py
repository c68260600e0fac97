"""Real application servers run real requests, and everything they acknowledge is exact."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.applications.conftest import cached
from tests.applications.load import Load, prepare, stored
from tests.applications.serving import SERVERS, running


def checked(load, url, namespace):
    """Return where a fresh process sees something else than was acknowledged."""
    return load.differences(stored(url, namespace))


@pytest.mark.parametrize("server", SERVERS)
def test_every_answer_and_every_entry_is_exact(server, url, namespace, tmp_path, rounds):
    """Under load nobody gets an error, another key's value, a lost write or another's etag."""
    prepare(url, namespace)
    with running(server, tmp_path, url, namespace) as serving:
        with Load(serving, rounds=rounds) as load:
            pass
        assert load.faults() == {}
        # A worker that answers one request at a time leaves the next one to the others.
        assert len(load.pids) > 1 or server not in {"uwsgi", "gunicorn sync", "gunicorn preload"}
    assert checked(load, url, namespace) == []
    assert serving.complaints() == []


HURT = pytest.mark.parametrize("url", ["sqlite", "memcached"], indirect=True)


@HURT
@pytest.mark.parametrize("server", ["uwsgi", "gunicorn preload"])
def test_workers_are_killed(server, url, namespace, tmp_path, rounds):
    """While workers are killed, what was acknowledged stays, and the rest happens once at most."""
    prepare(url, namespace)
    with running(server, tmp_path, url, namespace) as serving:
        with Load(serving, rounds=2 * rounds, hurt=True) as load:
            killed = set()
            deadline = time.monotonic() + 120
            while load.working and len(killed) < 4 and time.monotonic() < deadline:
                alive = load.pids - killed - {serving.process.pid}
                if alive and load.done >= 50 * (1 + len(killed)):
                    killed.add(victim := max(alive))
                    os.kill(victim, signal.SIGKILL)
                time.sleep(0.005)
        assert len(killed) == 4
        assert load.faults() == {}
    assert checked(load, url, namespace) == []


@HURT
@pytest.mark.parametrize("server", ["uwsgi", "gunicorn sync"])
def test_reloads(server, url, namespace, tmp_path, rounds):
    """A server that reloads twice under load, as for a new release, loses nothing."""
    prepare(url, namespace)
    with running(server, tmp_path, url, namespace) as serving:
        with Load(serving, rounds=2 * rounds, hurt=True) as load:
            for at in (100, 400):
                deadline = time.monotonic() + 60
                while load.working and load.done < at and time.monotonic() < deadline:
                    time.sleep(0.005)
                os.kill(serving.process.pid, signal.SIGHUP)
        assert load.faults() == {}
    assert checked(load, url, namespace) == []


CONCURRENT = pytest.mark.parametrize(
    "server", ["gunicorn gthread", "gunicorn gevent", "eventlet", "uvicorn"]
)


@CONCURRENT
def test_a_silent_memcached(server, silent, namespace, tmp_path, rounds):
    """A memcached that stops answering costs each request no more than its time limits."""
    memcached, _, store = silent
    url = cached(store, memcached, "?timeout=0.3&connect_timeout=0.3")
    prepare(url, namespace)
    with running(server, tmp_path, url, namespace) as serving:
        try:
            with Load(serving, rounds=rounds, relaxed=True) as load:
                deadline = time.monotonic() + 60
                while load.working and load.done < 100 and time.monotonic() < deadline:
                    time.sleep(0.005)
                memcached.stop()
        finally:
            memcached.cont()
        assert load.faults() == {}
        assert max(client.slowest for client in load.clients) < 10
    assert checked(load, store, namespace) == []


@CONCURRENT
def test_a_silent_store(server, silent, namespace, tmp_path):
    """A DynamoDB that stops answering costs each request its budget, and is used again later."""
    _, dynoxide, store = silent
    url = f"{store}&patience=0.4&budget=1"
    with running(server, tmp_path, url, namespace, warm=False) as serving:
        for _ in range(8):  # each worker has a connection
            assert serving.ask("/write/c0/1")["status"] == 200
        dynoxide.stop()
        try:
            for verb in ("read", "count", "write"):
                began = time.monotonic()
                assert "lpcm.errors." in serving.ask(f"/{verb}/c0/2", timeout=20)["reply"]
                assert time.monotonic() - began < 6
        finally:
            dynoxide.cont()
        assert serving.ask("/read/c0/1")["reply"]["key"] == "c0"

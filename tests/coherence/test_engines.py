"""What users see of the cache: whole engines on a real memcached, and what becomes of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from checks import servers
from lpcm import LPCM, CacheUnavailable, Engine, events
from lpcm.caches import memcached as client
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import Cell, MapInfo, Put
from lpcm.stores.sqlite import store as sqlite
from lpcm.values.keys import partition
from tests.consistency.processes import until

DELAY = 0.04
READERS = 40
PATIENCE = 1.0
"""Seconds for which readers wait for another one's fill where reads are counted.

After the 0.1 of users they read by themselves, as they may, where the machine does not let the one
that fills run for so long.
"""


class SlowStore:
    """A SQLite store whose reads take 40 ms and are counted in a file, over all processes."""

    def __init__(self, path):
        self._store = sqlite.open_store(str(path / "m.sqlite3"), synchronous="normal")
        self._log = os.open(path / "reads", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def read(self, map, sk, now):
        os.write(self._log, b"r")
        time.sleep(DELAY)  # noqa: ASYNC251  # a blocking store
        return await self._store.read(map, sk, now)


def opened(path, server, options=""):
    """Return an engine with a slow store behind memcached."""
    settings = config.parse(
        f"sqlite:///{path}/m.sqlite3?cache=memcached://{server.host}:{server.port}{options}"
    )
    cache = client.open_cache(settings.cache.path, **dict(settings.cache.options))
    return Engine(SlowStore(path), settings, cache=cache)


def patient(path, server):
    """Return the same, of which readers wait for a fill for longer."""
    engine = opened(path, server)
    protocol = engine.stack.coherent._protocol
    protocol._policy = protocol._policy._replace(patience=PATIENCE, deadline=30.0)
    return engine


def reads(path):
    return (path / "reads").stat().st_size


@pytest.fixture
def own():
    """Yield a memcached of this test's own."""
    with servers.memcached() as server:
        yield server


def test_one_of_many_threads_reads(tmp_path, own):
    """40 threads that miss one cold key together cause one read of the store."""
    engine = patient(tmp_path, own)
    m = LPCM("m", using=engine)
    m["k"] = "v"
    _flush(own)
    barrier = threading.Barrier(READERS)

    def reader(_):
        barrier.wait(30)
        return m["k"]

    before = reads(tmp_path)
    with ThreadPoolExecutor(READERS) as pool:
        assert set(pool.map(reader, range(READERS))) == {"v"}
    assert reads(tmp_path) - before == 1
    engine.close()


def _flush(server):
    """Have a server forget everything."""
    with socket.create_connection((server.host, server.port), timeout=10) as raw:
        raw.sendall(b"flush_all\r\n")
        assert raw.recv(100) == b"OK\r\n"


def _reader(path, host, port, gate, told):
    server = type("At", (), {"host": host, "port": port})
    engine = patient(path, server)
    m = LPCM("m", using=engine)
    run(engine.store.read(partition("default", "m"), "other", 0.0))  # the file is open
    gate.wait(60)
    told.put(m["k"])
    engine.close()


@pytest.mark.timeout(120)
def test_one_of_many_processes_reads(tmp_path, own):
    """So it is with processes: ten at once, one read of the store."""
    engine = opened(tmp_path, own)
    run(engine.store.register("default", MapInfo("m")))
    run(engine.store.apply(engine.partition("m"), "k", Put(Cell("v", None), 1), 0.0))
    context = multiprocessing.get_context("spawn")
    gate, told = context.Barrier(10), context.Queue()
    started = [
        context.Process(target=_reader, args=(tmp_path, own.host, own.port, gate, told))
        for _ in range(10)
    ]
    for process in started:
        process.start()
    assert {told.get(timeout=60) for _ in started} == {"v"}
    for process in started:
        process.join(30)
    assert reads(tmp_path) - len(started) == 1
    engine.close()


def _filler(path, host, port, ready):
    server = type("At", (), {"host": host, "port": port})
    engine = opened(path, server)
    real = type(engine.store).read

    async def read(self, map, sk, now):
        if sk == "k":
            ready.set()
            time.sleep(60)  # noqa: ASYNC251  # as above
        return await real(self, map, sk, now)

    type(engine.store).read = read
    LPCM("m", using=engine).get("k")


@pytest.mark.timeout(120)
def test_a_killed_filler_is_replaced(tmp_path, own):
    """Who waits for a dead filler takes its lease over: after its patience, and with one read."""
    engine = patient(tmp_path, own)
    run(engine.store.register("default", MapInfo("m")))
    run(engine.store.apply(engine.partition("m"), "k", Put(Cell("v", None), 1), 0.0))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    filler = context.Process(target=_filler, args=(tmp_path, own.host, own.port, ready))
    filler.start()
    assert ready.wait(60)
    m = LPCM("m", using=engine)
    before, began = reads(tmp_path), time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        waiting = [pool.submit(lambda: m["k"]) for _ in range(READERS)]
        time.sleep(0.02)
        os.kill(filler.pid, signal.SIGKILL)
        assert {each.result(30) for each in waiting} == {"v"}
    took = time.monotonic() - began
    filler.join(30)
    assert reads(tmp_path) - before == 1
    assert PATIENCE <= took < 0.9 * engine.stack.coherent._lease, took
    engine.close()


def test_available_goes_on_without_the_cache(tmp_path, own):
    """With memcached away a map works on the store, and uses memcached again when it is back."""
    engine = opened(tmp_path, own)
    m, told = LPCM("m", using=engine), []
    m["k"] = 1
    with events.subscribe(told.append):
        own.kill()
        began = time.monotonic()
        for number in range(20):
            m["k"] = number
            assert m["k"] == number
            assert m.increment("n") == number + 1
        assert time.monotonic() - began < 20 * 3 * DELAY + 3
        own.start()
        before = reads(tmp_path)

        def served():
            seen = reads(tmp_path)
            return m["k"] == 19 and reads(tmp_path) == seen

        until(served)
        assert m["n"] == 20
        assert reads(tmp_path) > before
        until(lambda: not engine.stack.coherent.pending or m.get("other"))
    servers_told = [each.state for each in told if isinstance(each, events.CacheServer)]
    assert servers_told == ["down", "up"]
    engine.close()


def test_a_stopped_cache_is_waited_for_seldom(tmp_path, own):
    """A server that never answers costs its timeout now and then, not each operation."""
    engine = opened(tmp_path, own, "?timeout=0.5%26connect_timeout=0.5")
    m = LPCM("m", using=engine)
    m["k"] = 1
    own.stop()
    began = time.monotonic()
    for _ in range(30):
        assert m["k"] == 1
    took = time.monotonic() - began
    own.cont()
    assert 0.5 <= took < 30 * DELAY + 6 * 0.5, took  # the pauses between trials double
    engine.close()


def test_strict_raises_before_anything_is_written(tmp_path, own):
    """A strict map without its cache reads and writes nothing, and works when it is back."""
    engine = opened(tmp_path, own, "&on_cache_error=strict")
    m = LPCM("m", using=engine)
    m.update({"k": 1, "n": 1, "l": []})
    own.kill()
    for attempt in (
        lambda: m.set("k", 2),
        lambda: m.increment("n"),
        lambda: m.delete("k"),
        lambda: m.pop("k"),
        lambda: m.setdefault("new", 1),
        lambda: m.set_many({"k": 2, "new": 1}),
        lambda: m.transform("n", lambda n: n + 1),
        m.clear,
        lambda: m["k"],
        lambda: m.get_many(["k", "n"]),
    ):
        with pytest.raises(CacheUnavailable):
            attempt()
    plain = LPCM("m", using=(alone := Engine.open(f"sqlite:///{tmp_path}/m.sqlite3")))
    assert plain.copy() == {"k": 1, "l": [], "n": 1}
    alone.close()
    own.start()

    def back():
        try:
            return m["k"] == 1
        except CacheUnavailable:
            return False

    until(back)
    m["k"] = 2
    assert m["k"] == 2
    engine.close()


def test_what_is_owed_is_paid_at_the_end(tmp_path, own):
    """A program that ends with memcached just back leaves no old value there."""
    url = f"sqlite:///{tmp_path}/m.sqlite3?cache=memcached://{own.host}:{own.port}"
    one, other = Engine.open(url), Engine.open(url)
    m, theirs = LPCM("m", using=one), LPCM("m", using=other)
    m["k"] = 1
    own.kill()
    for number in range(2, 8):  # so often that the pause has grown
        m["k"] = number
        time.sleep(0.05)
    assert one.stack.coherent.pending
    own.start()
    LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")["k"] = 0  # so that what is cached is old
    until(lambda: theirs["k"] == 0 and other.stack.coherent is not None)
    LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")["k"] = 9
    one.close()
    assert theirs["k"] == 9
    other.close()
    import lpcm

    lpcm.close()


def test_an_item_never_outlives_its_entry(tmp_path, own):
    """An entry with a time to live is gone when that is over, cached or not."""
    engine = opened(tmp_path, own)
    m = LPCM("m", using=engine)
    m.set("k", "v", ttl=1.2)
    assert m["k"] == "v"
    before = reads(tmp_path)
    assert m["k"] == "v"
    assert reads(tmp_path) == before  # it is cached
    time.sleep(1.3)
    assert "k" not in m
    engine.close()


def test_absence_is_cached(tmp_path, own):
    """A key that is not there is asked of the store once, until somebody writes it."""
    engine = opened(tmp_path, own)
    m = LPCM("m", using=engine)
    m["another"] = 1
    assert m.get("k") is None
    before = reads(tmp_path)
    assert m.get("k") is None
    assert "k" not in m
    assert m.get_many(["k"]) == {}
    assert reads(tmp_path) == before
    m["k"] = 1
    assert m["k"] == 1
    engine.close()


def test_one_of_several_servers_is_down(tmp_path):
    """The keys of the others are served as ever; those of one that is down, from the store."""
    with servers.memcached() as one, servers.memcached() as two:
        both = f"{one.host}:{one.port},{two.host}:{two.port}"
        settings = config.parse(f"sqlite:///{tmp_path}/m.sqlite3?cache=memcached://{both}")
        engine = Engine(SlowStore(tmp_path), settings, cache=client.open_cache(both))
        m = LPCM("m", using=engine)
        m.set_many({f"k{n}": n for n in range(30)})
        before = reads(tmp_path)
        assert [m[f"k{n}"] for n in range(30)] == list(range(30))
        assert reads(tmp_path) == before
        two.kill()
        assert [m[f"k{n}"] for n in range(30)] == list(range(30))
        asked = reads(tmp_path) - before
        assert 0 < asked < 30
        engine.close()

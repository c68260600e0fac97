"""The cached-only store: the contract as far as memcached can hold it, and what it cannot."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import lpcm
from checks import servers
from lpcm import LPCM, OutcomeUnknown, StoreUnavailable, ValueTooLarge
from lpcm.engine.drive import run
from lpcm.ports import Add, Applied, CacheLost, Cell, Get, KeyRange, Packet, Put
from lpcm.stores.memcached import open_store
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.store.case import MAP, NOW, fill
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from checks.servers import Server
    from lpcm.ports import Replies, Store


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Server]]:
    """Yield two servers."""
    with servers.memcached() as one, servers.memcached() as two:
        yield [one, two]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Close the engines that maps opened: their servers end with the test."""
    yield
    lpcm.close()


class TestMemcached(StoreContract):
    """Every test of the contract, each on an emptied server."""

    identified = False

    @pytest.fixture(autouse=True)
    def _server(self, memcached: Server) -> None:
        self.server = memcached

    def open(self) -> Store:
        """Open it, empty."""
        flush(self.server)
        return open_store(f"{self.server.host}:{self.server.port}")


class TestTwoServers(StoreContract):
    """The same on two servers."""

    identified = False

    @pytest.fixture(autouse=True)
    def _servers(self, pair: list[Server]) -> None:
        self.both = pair

    def open(self) -> Store:
        """Open it, empty."""
        for server in self.both:
            flush(server)
        return open_store(",".join(f"{server.host}:{server.port}" for server in self.both))


def flush(server: Server) -> None:
    """Empty a server."""
    import socket

    with socket.create_connection((server.host, server.port), timeout=10) as raw:
        raw.sendall(b"flush_all\r\n")
        assert raw.recv(100) == b"OK\r\n"


def test_other_peoples_items_are_left_alone(memcached: Server):
    """Iterating and clearing see no items but the store's, whatever else is on the server."""
    import socket

    flush(memcached)
    store = open_store(f"{memcached.host}:{memcached.port}")
    with socket.create_connection((memcached.host, memcached.port), timeout=10) as raw:
        raw.sendall(b"set someone:else/k 0 0 1\r\nx\r\n")
        assert raw.recv(100) == b"STORED\r\n"
        fill(store, 10)
        assert run(store.count(MAP, KeyRange(), NOW)) == 10
        run(store.drop("ns"))
        raw.sendall(b"get someone:else/k\r\n")
        assert b"\r\nx\r\n" in raw.recv(100)
    store.close()


def test_a_walk_costs_one_listing(memcached: Server, monkeypatch: pytest.MonkeyPatch):
    """However many pages a walk has, the server is listed once for it."""
    flush(memcached)
    m = LPCM("m", url=f"memcached://{memcached.host}:{memcached.port}")
    m.set_many((f"{n:05}", n) for n in range(3500))
    counted = itertools.count()
    from lpcm.stores.memcached import MemcachedStore

    real = MemcachedStore._dump
    monkeypatch.setattr(MemcachedStore, "_dump", lambda self: (next(counted), real(self))[1])
    assert sum(1 for _ in m.values()) == 3500
    assert next(reversed(m.keys())) == "03499"
    assert next(counted) == 2


def test_processes_count_together(memcached: Server):
    """Increments of several processes on one key are all there."""
    flush(memcached)
    url = f"memcached://{memcached.host}:{memcached.port}"
    code = (
        "import sys; from lpcm import LPCM; m = LPCM('m', url=sys.argv[1], default=0)\n"
        "for _ in range(200): m.increment('n'); m.transform('s', lambda v: [*v, 1], default=[])"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    m = LPCM("m", url=url)
    assert (m["n"], len(m["s"])) == (600, 600)


def test_a_restarted_server_is_not_taken_for_the_one_before():
    """A compare-and-set on what an earlier process of the server held is not done."""
    with servers.memcached() as server:
        store = open_store(f"{server.host}:{server.port}")
        m = partition("ns", "m")
        run(store.apply(m, "k", Put(Cell(1, None), 1), NOW))
        from lpcm.stores import memcached as module
        from lpcm.stores._memcached_items import key

        seen = run(store._cache.send(Packet(key(m + "k"), (Get(),))))
        server.restart()
        other = open_store(f"{server.host}:{server.port}")
        run(other.apply(m, "k", Put(Cell("other", None), 2), NOW))  # CAS ids begin again
        late = module._put(m, "k", None, seen, NOW)
        with pytest.raises(module.CacheLost):
            run(store._cache.send(late))
        assert run(other.read(m, "k", NOW)).data == "other"
        assert isinstance(run(store.apply(m, "n", Add(1, 0, 3), NOW)), Applied)
        store.close()
        other.close()


def test_a_server_that_is_gone_is_an_error():
    """Without its server a cached-only map raises; it never pretends to be empty."""
    with servers.memcached() as server:
        m = LPCM("m", url=f"memcached://{server.host}:{server.port}")
        m["k"] = 1
        server.kill()
        for read in (lambda: m.get("k"), lambda: len(m), lambda: m.set("k", 2)):
            with pytest.raises(StoreUnavailable):
                read()


@pytest.mark.parametrize("batch", [False, True])
def test_a_write_whose_server_goes_before_it_answers(
    monkeypatch: pytest.MonkeyPatch, *, batch: bool
):
    """A write that was sent, with no server left to ask what became of it, is no plain failure."""
    with servers.memcached() as server:
        store = open_store(f"{server.host}:{server.port}")
        m = partition("ns", "m")
        send_many = store._cache.send_many

        async def last(packets: Sequence[Packet]) -> Sequence[Replies | CacheLost]:
            """Send them; end the server after it wrote, and lose its replies."""
            replies = await send_many(packets)
            if all(isinstance(packet.commands[0], Get) for packet in packets):
                return replies
            server.kill()
            return [CacheLost("reset") for _ in packets]

        async def last_one(packet: Packet) -> Replies:
            (reply,) = await last([packet])
            if isinstance(reply, CacheLost):
                raise reply
            return reply

        monkeypatch.setattr(store._cache, "send", last_one)
        monkeypatch.setattr(store._cache, "send_many", last)
        put = Put(Cell("new", None), 1)
        if batch:
            (outcome,) = run(store.apply_many(m, [("k", put)], NOW))
            assert isinstance(outcome, OutcomeUnknown)
        else:
            with pytest.raises(OutcomeUnknown):
                run(store.apply(m, "k", put, NOW))
        store.close()


def test_too_large_is_refused_before_it_is_sent(memcached: Server):
    """A value over the limit is refused, and the old value stays."""
    m = LPCM("m", url=f"memcached://{memcached.host}:{memcached.port}")
    m["k"] = 1
    with pytest.raises(ValueTooLarge):
        m["k"] = "x" * 1_000_001
    assert m["k"] == 1
    m["k"] = "x" * 990_000
    assert len(m["k"]) == 990_000

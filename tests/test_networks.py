"""Networks that forget idle connections, and names that move: nobody using a map notices."""

import asyncio
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from checks import servers
from lpcm import LPCM, Engine, events
from lpcm.caches.memcached.meta import GREETING
from lpcm.engine.drive import run
from lpcm.ports import CacheLost, Get, Packet, Set
from lpcm.stores.dynamodb.http.aio import AsyncTransport
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.system import network
from lpcm.testing.contracts.cache import fresh_key
from lpcm.verify.proxy import http_proxy, proxy
from tests.caches.drivers import awaitable, blocking
from tests.dynamodb.tables import Table
from tests.transport.canned import answer, canned

CLIENTS = pytest.mark.parametrize("client", [blocking, awaitable])
WAYS = pytest.mark.parametrize("reset", [True, False], ids=["reset", "swallowed"])
GREETED = b"VERSION 1.6.18\r\nSTAT cas_enabled yes\r\nEND\r\n"


@pytest.fixture
def trusted(monkeypatch):
    """Have connections be trusted for a moment only; return what waits longer than that."""
    monkeypatch.setattr(network, "TRUSTED", 0.4)
    return lambda: time.sleep(0.5)


@pytest.fixture
def told():
    seen = []
    with events.subscribe(seen.append):
        yield lambda: [each for each in seen if isinstance(each, events.CacheServer)]


@pytest.fixture(scope="module")
def table(dynoxide):
    made = Table(dynoxide.endpoint, "networks")
    yield made
    made.close()


@contextmanager
def between(table):
    """Yield a proxy before the table's engine, and the table's URL through it."""
    host, port = table.endpoint.removeprefix("http://").split(":")
    with http_proxy(host, int(port)) as gate:
        yield gate, table.url.replace(table.endpoint, gate.endpoint)


# DynamoDB


@WAYS
def test_a_write_after_a_pause(table, trusted, reset):
    """The first write after a pause is done at once, though the network forgot the connection."""
    with between(table) as (gate, url), closing(Engine.open(url)) as engine:
        entries = LPCM("pauses", using=engine, default=0)
        entries["k"] = 0
        for number in range(3):
            gate.forget(reset=reset)
            trusted()
            start = time.monotonic()
            assert entries.increment("k") == number + 1
            assert time.monotonic() - start < 2
        assert gate.counts["reset"] == gate.counts["swallow"] == 0


@WAYS
def test_an_awaited_write_after_a_pause(table, trusted, reset):
    """The same on an event loop."""

    async def work():
        with between(table) as (gate, url), closing(Engine.open(url)) as engine:
            entries = LPCM("pauses", using=engine, default=0)
            await entries.aset("a", 0)
            for number in range(3):
                gate.forget(reset=reset)
                trusted()
                start = time.monotonic()
                assert await entries.aincrement("a") == number + 1
                assert time.monotonic() - start < 2
            assert gate.counts["reset"] == gate.counts["swallow"] == 0

    asyncio.run(work())


@WAYS
def test_a_read_of_a_forgotten_connection(table, reset):
    """A read whose connection was forgotten within moments is repeated, and right."""
    with between(table) as (gate, url):
        with closing(Engine.open(f"{url}&patience=0.5")) as engine:
            entries = LPCM("pauses", using=engine)
            entries["r"] = 7
            gate.forget(reset=reset)
            assert entries["r"] == 7
        assert gate.counts["reset" if reset else "swallow"] == 1


def calls(kind, endpoint):
    """Yield what sends a request over one transport, and what ends it."""
    identity = Credentials("eu-west-1", endpoint)
    identity.keys(20.0)
    transport = kind(identity)
    if kind is SocketTransport:
        return lambda: run(transport.call("GetItem", {}, 20.0)), transport.close
    runner = asyncio.Runner()

    async def end():
        transport.close()
        await asyncio.sleep(0)

    def close():
        runner.run(end())
        runner.close()

    return lambda: runner.run(transport.call("GetItem", {}, 20.0)), close


TRANSPORTS = pytest.mark.parametrize("kind", [SocketTransport, AsyncTransport])


@TRANSPORTS
def test_a_machine_that_slept(aws, kind, monkeypatch):
    """Sleep counts as idleness, although the monotonic clock does not see it; use does not."""
    with canned(lambda peer: peer.serve_all()) as server:
        call, close = calls(kind, server.endpoint)
        for _ in range(3):
            assert call().status == 200
        assert server.accepted == 1
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 30)
        assert call().status == 200
        assert server.accepted == 2
        monkeypatch.undo()
        assert call().status == 200  # the clock went back: nobody knows for how long
        assert server.accepted == 3
        close()


@contextmanager
def moving(monkeypatch):
    """Yield what says to which port on this machine the name moving.test leads."""
    lookup = socket.getaddrinfo
    where = []

    def resolve(host, port, *args, **options):
        if host not in {"moving.test", b"moving.test"}:
            return lookup(host, port, *args, **options)
        if (args[3:4] or [options.get("flags", 0)])[0] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return lookup("127.0.0.1", where[-1], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield where.append


@TRANSPORTS
def test_a_name_that_moves(aws, kind, monkeypatch):
    """Requests follow a name to its new address, though the old one goes on answering."""
    serve = lambda peer: peer.serve_all(answer(b'{"Item": {}}'))
    with canned(serve) as old, canned(serve) as new, moving(monkeypatch) as leads_to:
        leads_to(old.port)
        call, close = calls(kind, "http://moving.test")
        assert call().status == 200
        leads_to(new.port)
        assert call().status == 200
        assert (len(old.requests), len(new.requests)) == (2, 0)
        monkeypatch.setattr(network, "LONGEST", 0.2)
        close()
        leads_to(old.port)
        call, close = calls(kind, "http://moving.test")
        assert call().status == 200
        leads_to(new.port)
        deadline = time.monotonic() + 10
        while not new.requests:
            assert time.monotonic() < deadline
            assert call().status == 200
            time.sleep(0.02)
        close()


# memcached


@CLIENTS
@WAYS
def test_a_cache_write_after_a_pause(client, memcached, trusted, told, reset):
    """The first write after a pause is done at once, on a new connection."""
    with proxy(memcached.host, memcached.port) as gate:
        with client(f"{gate.host}:{gate.port}", timeout=5.0) as driven:
            key = fresh_key()
            if driven.concurrently is None:
                some = [driven.cache._only.connect() for _ in range(3)]
                for each in some:
                    driven.cache._only.give_back(each)
            driven.do(key, Set(b"x", 1, 100))
            gate.forget(reset=reset)
            trusted()
            start = time.monotonic()
            assert driven.do(key, Set(b"y", 1, 100)).status == "HD"
            (replies,) = driven.run(driven.cache.send_many([Packet(key, (Get(),))]))
            assert replies.results[0].data == b"y"
            assert driven.look(key) == b"y"
            assert time.monotonic() - start < 2
        assert gate.counts["reset"] == gate.counts["swallow"] == 0
        assert told() == []


@CLIENTS
@WAYS
def test_a_cache_read_after_a_pause(client, memcached, trusted, told, reset):
    """The first read after a pause is right; the server is not blamed for the network."""
    with proxy(memcached.host, memcached.port) as gate:
        with client(f"{gate.host}:{gate.port}", timeout=0.5) as driven:
            key = fresh_key()
            driven.do(key, Set(b"x", 1, 100))
            gate.forget(reset=reset)
            trusted()
            start = time.monotonic()
            assert driven.look(key) == b"x"
            assert time.monotonic() - start < 2
        lost = gate.counts["reset" if reset else "swallow"]
        assert lost == (client is blocking)
        assert told() == []


def test_a_connection_in_use_is_no_idle_one(memcached, trusted):
    """Reads keep a connection trusted, though they read no clock: writes and tokens go over it."""
    with blocking(f"{memcached.host}:{memcached.port}") as driven:
        key = fresh_key()
        driven.do(key, Set(b"x", 1, 100))
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            assert driven.look(key) == b"x"
        driven.do(key, Set(b"y", 1, 100))
        assert len(driven.cache._only.open) == 1
        first = next(iter(driven.cache._only.open))
        trusted()
        driven.do(key, Set(b"z", 1, 100))
        assert first not in driven.cache._only.open


@CLIENTS
def test_a_unix_socket_has_no_network(client, trusted, tmp_path):
    """A connection that no network is part of is kept, however long it is idle."""
    from tests.caches.drivers import unix_memcached

    path = f"{tmp_path}/m"
    with unix_memcached(path), client(path, "memcached+unix") as driven:
        before = driven.send("k", Get(100)).connection
        trusted()
        assert driven.send("k", Get(100)).connection == before


@CLIENTS
def test_a_cache_whose_name_moves(client, monkeypatch):
    """Requests follow a name to its new address, though the old server goes on answering."""
    monkeypatch.setattr(network, "LONGEST", 0.3)
    with (
        servers.memcached() as old,
        servers.memcached() as new,
        moving(monkeypatch) as leads_to,
    ):
        leads_to(old.port)
        with client("moving.test", connect_timeout=5.0) as driven:
            driven.do("k", Set(b"old", 3, 100))
            leads_to(new.port)
            assert driven.look("k") == b"old"
            time.sleep(0.4)
            driven.do("other", Set(b"x", 1, 100))
            assert driven.do("k", Get()).data == b""


def test_a_token_whose_connection_is_old(memcached, monkeypatch):
    """A token goes back over its connection, which is closed after that where it is too old."""
    with blocking(f"{memcached.host}:{memcached.port}") as driven:
        monkeypatch.setattr(network, "LONGEST", 0.2)
        key = fresh_key()
        missed = driven.send(key, Get(100))
        time.sleep(0.3)
        put = Set(b"x", 1, 100, cas=missed.results[0].cas)
        assert driven.do(key, put, missed.connection).status == "HD"
        assert missed.connection not in driven.cache._only.open
        assert driven.look(key) == b"x"


@CLIENTS
def test_a_reply_in_drops(client):
    """A server that sends a byte now and then does not hold an operation for longer than limits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve(connection):
            with connection:
                seen = b""
                while not seen.endswith(GREETING):
                    seen += connection.recv(1000)
                connection.sendall(GREETED)
                try:
                    connection.recv(1000)
                    connection.sendall(b"VA 100 f99 c1 t1\r\n")
                    for _ in range(100):
                        if stop.wait(0.2):
                            return
                        connection.sendall(b"x")
                except OSError:
                    return

        def accept():
            connection, _ = listener.accept()
            serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            with client(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.4) as driven:
                start = time.monotonic()
                with pytest.raises(CacheLost):
                    driven.look("k")
                assert time.monotonic() - start < 3
        finally:
            stop.set()
            thread.join(20)


def test_a_greeting_in_drops():
    """The greeting has one limit for all of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def accept():
            connection, _ = listener.accept()
            with connection:
                try:
                    for byte in GREETED:
                        if stop.wait(0.2):
                            return
                        connection.sendall(bytes([byte]))
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            path = f"127.0.0.1:{listener.getsockname()[1]}"
            with blocking(path, timeout=0.5, connect_timeout=0.5) as driven:
                start = time.monotonic()
                with pytest.raises(CacheLost):
                    driven.look("k")
                assert time.monotonic() - start < 3
        finally:
            stop.set()
            thread.join(20)


def test_a_name_that_is_not_resolved_in_time(monkeypatch):
    """A resolver that takes its time costs a memcached client no more than its limit."""
    release = threading.Event()

    def slow(host, *args, **options):
        if (args[4:5] or [0])[0] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        release.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "late")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with blocking("slow.test", connect_timeout=0.3) as driven:
        start = time.monotonic()
        with pytest.raises(CacheLost):
            driven.look("k")
        assert time.monotonic() - start < 2
    release.set()

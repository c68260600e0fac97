"""What goes wrong with servers and connections, and what becomes of tokens and replies then."""

import asyncio
import os
import select
import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from checks import servers
from lpcm import caches, events
from lpcm.caches.memcached.servers import Breaker, parse
from lpcm.engine.drive import run
from lpcm.errors import ConfigError
from lpcm.ports import CacheLost, Get, Packet, Replies, Set
from lpcm.testing.contracts.cache import fresh_key
from tests.caches.drivers import awaitable, blocking
from tests.caches.test_contract import CERTIFICATE
from tests.test_process import FORKS

CLIENTS = pytest.mark.parametrize("client", [blocking, awaitable])
QUICK = {"timeout": 0.5, "connect_timeout": 0.5}
GREETING = b"VERSION 1.6.18\r\nSTAT cas_enabled yes\r\nEND\r\n"


@pytest.fixture
def own():
    with servers.memcached() as server:
        yield server


@pytest.fixture
def told():
    seen = []
    with events.subscribe(seen.append):
        yield seen


def at(server):
    return f"{server.host}:{server.port}"


def until(condition, limit=20):
    """Wait until it is so."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answers(driven, key="k"):
    """Tell whether the cache does."""
    try:
        driven.look(key, 10)
    except CacheLost:
        return False
    return True


@contextmanager
def scripted(first=b"", then=b"", greeting=GREETING):
    """Run a server that greets, and sends ``then``; but ``first``, and no more, the first time."""
    script = [first]
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            if not select.select([listener], [], [], 0.05)[0]:
                continue
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                seen = b""
                while not seen.endswith(b"stats settings\r\n"):
                    seen += connection.recv(1000)
                connection.sendall(greeting)
                while connection.recv(1000):
                    if script:
                        connection.sendall(script.pop())
                        break
                    connection.sendall(then)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(30)
        listener.close()


# Servers that go and come back


@CLIENTS
def test_killed_and_back(client, own, told):
    """A killed server is lost at once, and used again when it is back; nothing of ours restarts."""
    with client(at(own)) as driven:
        assert answers(driven)
        own.kill()
        assert not answers(driven)
        assert not answers(driven)
        own.start()
        until(lambda: answers(driven))
    states = [event.state for event in told if isinstance(event, events.CacheServer)]
    assert states == ["down", "up"]


@CLIENTS
def test_restarted_in_between(client, own):
    """A server restarted while nobody asked costs nobody an error."""
    with client(at(own)) as driven:
        if driven.concurrently is None:  # as many idle connections as there were callers
            connections = [driven.cache._only.connect() for _ in range(5)]
            for connection in connections:
                driven.cache._only.give_back(connection)
        driven.do("k", Set(b"x", 1, 100))
        own.restart()
        for key in ("a", "b", "c"):
            assert driven.do(key, Set(b"x", 1, 100)).status == "HD"
            assert driven.look(key) == b"x"
        own.restart()
        packets = [Packet(key, (Get(100),)) for key in "abc"]
        assert all(each.results[0].won for each in driven.run(driven.cache.send_many(packets)))


@CLIENTS
def test_a_token_does_not_outlive_the_server(client, own):
    """A token of a server that restarted is lost, although the new one counts the same ids."""
    with client(at(own)) as driven:
        before = driven.send("k", Get(100))
        own.restart()
        after = driven.send("k", Get(100))
        token = before.results[0].cas
        assert token == after.results[0].cas
        assert before.connection != after.connection
        packet = Packet("k", (Set(b"old", 3, 100, cas=token),), before.connection)
        with pytest.raises(CacheLost, match="gone"):
            driven.run(driven.cache.send(packet))
        other = Packet("other", (Get(10),))
        lost, found = driven.run(driven.cache.send_many([packet, other]))
        assert isinstance(lost, CacheLost)
        assert isinstance(found, Replies)
        assert driven.do("k", Get()).data == b""


@CLIENTS
def test_a_stopped_server(client, own, told):
    """A server that hangs costs one timeout; then it is not asked, until it answers again."""
    with client(at(own), **QUICK) as driven:
        assert answers(driven)
        own.stop()
        start = time.monotonic()
        assert not answers(driven)
        assert 0.4 < time.monotonic() - start < 10
        start = time.monotonic()
        for _ in range(200):
            assert not answers(driven)
        assert time.monotonic() - start < 10  # not 200 timeouts
        own.cont()
        until(lambda: answers(driven))
    states = [event.state for event in told if isinstance(event, events.CacheServer)]
    assert states == ["down", "up"]


def test_a_listener_may_use_the_cache(own):
    """Who hears that a server is down may look something up there, and is told as much."""
    heard = []
    with blocking(at(own)) as driven:
        assert answers(driven)
        own.kill()
        with events.subscribe(lambda event: heard.append(answers(driven, "other"))):
            assert not answers(driven)
    assert heard == [False]


@CLIENTS
def test_one_of_several(client, own):
    """Keys stay with their server: those of one that is down are lost, the others as before."""
    with servers.memcached() as other, client(f"{at(own)},{at(other)}") as driven:
        keys = [f"key-{n}" for n in range(40)]
        for key in keys:
            driven.do(key, Set(key.encode(), len(key), 100))
        other.kill()
        packets = [Packet(key, (Get(),)) for key in keys]
        found = driven.run(driven.cache.send_many(packets))
        lost = {key for key, each in zip(keys, found, strict=True) if isinstance(each, CacheLost)}
        assert 5 < len(lost) < 35
        for key in keys:
            if key in lost:
                assert not answers(driven, key)
            else:
                assert driven.look(key) == key.encode()
        other.start()
        until(lambda: all(answers(driven, key) for key in lost))


# Servers that must not be used


@CLIENTS
def test_without_cas(client, told):
    """A server that was started without CAS is not used, and one is told why."""
    with servers.memcached(options=("-C",)) as server, client(at(server)) as driven:
        for _ in range(2):
            with pytest.raises(CacheLost, match="CAS is off"):
                driven.look("k")
    (event,) = [each for each in told if isinstance(each, events.CacheServer)]
    assert event.state == "refused"
    assert "CAS is off" in event.reason


@CLIENTS
def test_too_old(client):
    """A server older than 1.6.13 is not used."""
    old = b"VERSION 1.6.12\r\nSTAT cas_enabled yes\r\nEND\r\n"
    with (
        scripted(greeting=old) as path,
        client(path) as driven,
        pytest.raises(CacheLost, match=r"1\.6\.12 is too old"),
    ):
        driven.look("k")


@CLIENTS
def test_login(client, tmp_path):
    """A server that asks for a password is not used without the right one."""
    (tmp_path / "users").write_text("me:secret\n")
    with servers.memcached(options=("-Y", str(tmp_path / "users"))) as server:
        for login in ("", "me:wrong@", "you:secret@"):
            with client(f"{login}{at(server)}") as driven, pytest.raises(CacheLost):
                driven.look("k")
        with client(f"me:secret@{at(server)}") as driven:
            assert answers(driven)


@CLIENTS
def test_tls(client, own):
    """Who has no certificate that counts, or speaks no TLS, is not used, nor waited for."""
    options = ("-Z", "-o", f"ssl_chain_cert={CERTIFICATE},ssl_key={CERTIFICATE}")
    with servers.memcached(options=options) as server:
        for path, scheme, ca in (
            (f"localhost:{server.port}", "memcached+tls", None),
            (f"localhost:{own.port}", "memcached+tls", str(CERTIFICATE)),
            (f"localhost:{server.port}", "memcached", None),
        ):
            tls = {"ca": ca} if ca else {}
            with client(path, scheme, **QUICK, **tls) as driven, pytest.raises(CacheLost):
                driven.look("k")


# Replies that are not what they should be


@CLIENTS
@pytest.mark.parametrize(
    "reply",
    [
        b"CLIENT_ERROR bad\r\n",
        b"ERROR\r\n",
        b"VA x\r\n",
        b"HD\r\nHD\r\n",
        b"VA 1 f1 c1 t1\r\nxy\r\n",
        b"VA 3 f3 c1 t1\r\nbad\r\nHD\r\n",
    ],
)
def test_out_of_step(client, reply):
    """A connection that answered what it was not asked is lost; the next one is right."""
    with scripted(reply, b"VA 4 f4 c1 t1\r\ngood\r\n") as path, client(path) as driven:
        try:
            first = driven.look("k")
        except CacheLost:
            first = None
        assert first in {None, b"bad"} or client is awaitable  # whole, before what was too much
        until(lambda: _look_or_none(driven) == b"good")


def _look_or_none(driven):
    try:
        return driven.look("k")
    except CacheLost:
        return None


@CLIENTS
def test_in_pieces(client):
    """A hit that arrives byte by byte is a hit."""
    data = b"VA 4 f3 c1 t1\r\nval+\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(1000)
                for byte in GREETING:
                    connection.sendall(bytes([byte]))
                for _ in range(2):
                    connection.recv(1000)
                    for byte in data:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.001)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client(f"127.0.0.1:{listener.getsockname()[1]}") as driven:
                assert driven.look("k") == b"val"
                assert driven.do("k", Get()).data == b"val+"
        finally:
            thread.join(20)


@CLIENTS
def test_closed_in_the_middle(client):
    """A reply that breaks off is lost, and is not taken for a shorter one."""
    with (
        scripted(b"VA 100 f100 c1 t1\r\nabc", b"VA 3 f3 c1 t1\r\nabc\r\n") as path,
        client(path) as driven,
        pytest.raises(CacheLost),
    ):
        driven.look("k")


@CLIENTS
def test_foreign_items(client, memcached):
    """An item that another program stored, with flags of another meaning, has nothing to serve."""
    key = fresh_key()
    with socket.create_connection((memcached.host, memcached.port), timeout=20) as other:
        for flags in (3, 1_000, 2**32 - 1):
            other.sendall(f"ms {key} 2 F{flags} T100\r\nab\r\n".encode())
            assert other.recv(100) == b"HD\r\n"
            with client(at(memcached)) as driven:
                assert driven.look(key).data == b"ab"
                assert driven.do(key, Get()).base == 0
                (found,) = driven.run(driven.cache.look_many([key], 10))
                assert found.results[0].data == b"ab"


# Connections and tokens among threads


@pytest.fixture
def pool(memcached):
    with blocking(at(memcached)) as driven:
        yield driven.cache._only


def test_connections_are_used_again(memcached):
    """One caller at a time needs one connection."""
    with blocking(at(memcached)) as driven:
        seen = {driven.send(fresh_key(), Get()).connection for _ in range(50)}
        assert len(seen) == len(driven.cache._only.open) == 1


def test_a_token_waits_for_its_connection(pool):
    """While another thread uses a token's connection, its owner waits, and then has it."""
    connection = pool.connect()  # in use
    got = []
    thread = threading.Thread(target=lambda: got.append(pool.exactly(connection.id)))
    thread.start()
    until(lambda: connection.waiting)
    assert not got
    pool.give_back(connection)
    thread.join(20)
    assert got == [connection]
    assert connection not in pool.idle
    pool.give_back(connection)


def test_a_token_whose_connection_fails_meanwhile(pool):
    """Where the connection a token's owner waits for is closed, the token is lost at once."""
    connection = pool.connect()
    lost = []

    def wait():
        try:
            pool.exactly(connection.id)
        except CacheLost as error:
            lost.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: connection.waiting)
    pool.discard(connection)
    thread.join(5)
    assert len(lost) == 1


def test_a_token_whose_connection_stays_in_use(memcached):
    """Waiting for a connection is finite too; afterwards nobody is thought to wait."""
    with blocking(at(memcached), timeout=0.1) as driven:
        pool = driven.cache._only
        connection = pool.connect()
        with pytest.raises(CacheLost, match="in use"):
            pool.exactly(connection.id)
        assert not connection.waiting
        pool.give_back(connection)
        assert pool.exactly(connection.id) is connection
        pool.give_back(connection)


def test_handing_over_loses_nobody(memcached):
    """However threads compete for few connections by token, none waits in vain or shares one."""
    with blocking(at(memcached)) as driven:
        pool = driven.cache._only
        connections = [pool.connect() for _ in range(2)]
        for connection in connections:
            pool.give_back(connection)
        users = {connection.id: 0 for connection in connections}
        problems = []

        def compete(number):
            for turn in range(300):
                try:
                    wanted = connections[(number + turn) % 2].id
                    connection = pool.exactly(wanted) if turn % 3 else pool.idle.pop()
                except IndexError:
                    continue
                except CacheLost as error:
                    problems.append(error)
                    continue
                users[connection.id] += 1
                if users[connection.id] != 1:
                    problems.append("shared")
                if turn % 7 == 0:
                    time.sleep(0)
                users[connection.id] -= 1
                pool.give_back(connection)

        threads = [threading.Thread(target=compete, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert problems == []
        assert set(pool.idle) == set(connections)


def test_many_tokens_of_many_connections(memcached):
    """Threads that each need several connections at once, for tokens, do not block each other."""
    with blocking(at(memcached)) as driven:
        connections = [driven.cache._only.connect() for _ in range(4)]
        for connection in connections:
            driven.cache._only.give_back(connection)
        failures = []

        def work(number):
            for turn in range(50):
                order = connections if (number + turn) % 2 else connections[::-1]
                packets = [
                    Packet(f"{number}-{one.id}", (Set(b"x", 1, 100), Get()), one.id)
                    for one in order
                ]
                for answer in run(driven.cache.send_many(packets)):
                    if isinstance(answer, CacheLost):
                        failures.append(answer)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []


def test_an_interrupted_operation(own):
    """A connection whose operation was interrupted is not used again: no reply goes astray."""

    class Interrupted(Exception):
        pass

    def interrupt(number, frame):
        raise Interrupted

    with blocking(at(own)) as driven:
        driven.do("one", Set(b"one", 3, 100))
        driven.do("two", Set(b"two", 3, 100))
        before = signal.signal(signal.SIGALRM, interrupt)
        own.stop()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupted):
                driven.look("one")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            own.cont()
        assert driven.look("two") == b"two"


def test_cancelled_tasks(memcached):
    """A task that is cancelled while its reply is due takes nobody else's."""
    path = at(memcached)

    async def main():
        adapter = caches.adapter("memcached")
        cache = adapter.open_async_cache(path, scheme="memcached", timeout=10.0)
        key = fresh_key()
        for n in range(20):
            await cache.send(Packet(f"{key}-{n}", (Set(b"%d" % n, 2 if n > 9 else 1, 100),)))
        for turn in range(20):
            tasks = [asyncio.create_task(cache.look(f"{key}-{n}", 10)) for n in range(20)]
            await asyncio.sleep(0)
            for task in tasks[turn % 3 :: 3]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for n, each in enumerate(done):
                assert each == b"%d" % n or isinstance(each, asyncio.CancelledError)
        cache.close()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_close_while_in_use(memcached):
    """Closing the cache lets an operation under way end, and closes its connection after it."""
    with blocking(at(memcached)) as driven:
        pool = driven.cache._only
        connection = pool.connect()
        driven.cache.close()
        connection.send(b"mn\r\n")
        connection.receive(1, [])
        pool.give_back(connection)
        assert connection.socket.fileno() == -1


# Forks


@CLIENTS
@pytest.mark.parametrize("fork", FORKS)
def test_fork(memcached, client, fork):
    """A child has connections of its own, and parent and child never read each other's replies."""
    with client(at(memcached)) as driven:
        key = fresh_key()
        driven.do(f"{key}-parent", Set(b"parent" * 100, 6, 100))
        driven.do(f"{key}-child", Set(b"child" * 3000, 5, 100))
        token = driven.send(f"{key}-token", Get(100))
        pids = []
        for _ in range(4):
            pid = fork()
            if pid == 0:
                status = 1
                try:
                    for _ in range(200):
                        if driven.look(f"{key}-child") != b"child":
                            os._exit(2)
                    put = Set(b"x", 1, 100, cas=token.results[0].cas)
                    try:
                        driven.do(f"{key}-token", put, token.connection)
                    except CacheLost:
                        status = 0
                    else:
                        status = 3
                finally:
                    os._exit(status)
            pids.append(pid)
        for _ in range(800):
            assert driven.look(f"{key}-parent") == b"parent"
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert statuses == [0, 0, 0, 0]


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_amid_the_requests_of_a_loop(memcached, fork):
    """A child that goes on with a loop reads none of the replies its parent waits for."""
    with awaitable(at(memcached)) as driven:
        keys = [fresh_key() for _ in range(400)]
        values = {key: key.encode() * 20 for key in keys}
        for key, value in values.items():
            driven.do(key, Set(value, len(value), 100))

        async def ask():
            looks = [asyncio.ensure_future(driven.cache.look(key, 10)) for key in keys]
            await asyncio.sleep(0)
            return looks

        async def answered(looks):
            return await asyncio.gather(*looks, return_exceptions=True)

        looks = driven.run(ask())
        pid = fork()
        if pid == 0:
            status = 1
            try:
                found = zip(driven.run(answered(looks)), values.values(), strict=True)
                # Some were answered before the fork.
                lost = [isinstance(each, CacheLost) or each == value for each, value in found]
                right = [driven.look(key, 10) == value for key, value in values.items()]
                status = 0 if all(lost) and all(right) else 2
            finally:
                os._exit(status)
        time.sleep(0.05)  # so that the child is the first to look
        assert driven.run(answered(looks)) == list(values.values())
        assert all(driven.look(key, 10) == value for key, value in values.items())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# Deciding without a server


def test_breaker():
    """Pauses double while the server fails, one at a time tries, and a success ends it all."""
    breaker = Breaker("s")
    assert breaker.admit(0.0, 1.0) is False
    now = 0.0
    breaker.failed(now, "gone")
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        with pytest.raises(CacheLost, match="gone"):
            breaker.admit(now + pause * 0.99, 1.0)
        now += pause
        assert breaker.admit(now, 1.0) is True
        with pytest.raises(CacheLost):
            breaker.admit(now + 0.9, 1.0)  # someone is trying
        breaker.failed(now, "late")  # one of those from before: not counted
        breaker.failed(now, "gone", trial=True)
    breaker.worked()
    assert breaker.admit(now, 1.0) is False
    breaker.refused(now, "too old")
    with pytest.raises(CacheLost, match="too old"):
        breaker.admit(now + 59, 1.0)
    assert breaker.admit(now + 60, 1.0) is True


@pytest.mark.parametrize(
    "path",
    ["", ":11211", "a:", "a:x", "a:0", "a:65536", "a,,b", "a,a", "a:11211,a", "[::1", "[::1]x",
     "[]:1", "a:1:2", "user:pw@", "a b"],
)  # fmt: skip
def test_bad_addresses(path):
    """What is no list of servers is a ConfigError before anything is opened."""
    with pytest.raises(ConfigError):
        parse(path)


@pytest.mark.parametrize(
    ("scheme", "path", "options"),
    [
        ("memcached", "h", {"speed": 1}),
        ("memcached", "h", {"ca": "x"}),
        ("memcached+unix", "relative", {}),
        ("memcached+unix", "/", {}),
        ("memcached+tls", "h", {"ca": "/nowhere.pem"}),
        ("memcached+tls", "h", {"key": "/nowhere.pem"}),
    ],
)
def test_bad_options(scheme, path, options):
    """What cannot be meant is a ConfigError on opening."""
    with pytest.raises(ConfigError):
        caches.adapter(scheme).open_cache(path, scheme=scheme, **options)


def test_option_texts():
    """Options are text in a URL; nonsense is refused."""
    options = caches.adapter("memcached").OPTIONS
    assert options["timeout"]("0.25") == 0.25
    for text in ("0", "-1", "inf", "nan", "x"):
        with pytest.raises(ValueError):
            options["connect_timeout"](text)
    limits = caches.adapter("memory").OPTIONS
    assert limits["max_bytes"]("10") == 10
    with pytest.raises(ValueError):
        limits["max_bytes"]("0")


def test_identity():
    """One server is one cache by whatever name; of several, the list as it is written counts."""

    def identity(path, scheme="memcached"):
        return caches.adapter(scheme).open_cache(path, scheme=scheme).identity

    assert identity("a") == identity("b:1") == identity("/tmp/s", "memcached+unix")
    lists = ["a,b", "b,a", "a,c", "a,b,c", "a:1,b"]
    assert len({identity(path) for path in lists}) == len(lists)
    assert identity("a,b") == identity("a:11211,b:11211")
    assert identity("u:p@a,b") == identity("a,b")

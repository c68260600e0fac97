"""Threads, tasks, forks, TLS and pools: what happens between the transport and its sockets."""

import asyncio
import gc
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
import trustme

from lpcm import ConfigError, StoreUnavailable
from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.aio import AsyncTransport
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.connection import Limits
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.stores.dynamodb.retries import Caller
from tests.opened import Opened
from tests.signals import interrupting
from tests.transport.canned import answer, canned


def echo(peer):
    """Answer each request with its own body, after a moment if it asks for one."""
    while (got := peer.request()) is not None:
        time.sleep(json.loads(got[1]).get("moment", 0))
        peer.say(answer(got[1]))


def holding(go):
    """Do the same, and answer a request with ``held`` when ``go`` is set, not before."""

    def script(peer):
        while (got := peer.request()) is not None:
            if json.loads(got[1]).get("held"):
                go.wait(15)
            peer.say(answer(got[1]))

    return script


def arrived(server, count):
    """Wait until so many requests are there."""
    deadline = time.monotonic() + 20
    while len(server.requests) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def transport(server, kind=SocketTransport, **options):
    return kind(Credentials("eu-west-1", server.endpoint), **options)


def test_sixteen_threads(aws):
    """Each thread gets its own replies, over at most as many connections as there are threads."""
    with canned(echo) as server, closing(transport(server)) as shared:

        def work(me):
            for number in range(100):
                request = {"me": me, "number": number}
                assert run(shared.call("GetItem", request, 20.0)).body == request
            return True

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(work, range(16)))
        assert len(server.requests) == 1600
        assert server.accepted <= 16


def test_many_tasks(aws):
    """Each task gets its own reply, over at most as many connections as the pool has."""
    with canned(echo) as server:

        async def work():
            shared = transport(server, AsyncTransport, pool=8)
            calls = [shared.call("GetItem", {"number": number}, 20.0) for number in range(400)]
            replies = await asyncio.gather(*calls)
            assert [reply.body["number"] for reply in replies] == list(range(400))
            shared.close()

        asyncio.run(work())
        assert server.accepted <= 8


def test_the_pool_is_a_limit_for_threads(aws):
    """More requests than the pool has places wait, and are not sent where that takes too long."""
    go = threading.Event()
    with canned(holding(go)) as server, closing(transport(server, pool=2)) as shared:

        def call(within, held=False):
            try:
                return run(shared.call("GetItem", {"held": held}, within)).status
            except NotSent:
                return "not sent"

        with ThreadPoolExecutor(4) as threads:
            slow = [threads.submit(call, 20.0, True) for _ in range(2)]
            arrived(server, 2)
            hasty, patient = threads.submit(call, 0.1), threads.submit(call, 20.0)
            assert hasty.result(10) == "not sent"
            go.set()
            assert [one.result(10) for one in (*slow, patient)] == [200, 200, 200]
        assert (len(server.requests), server.accepted) == (3, 2)


def test_the_pool_is_a_limit_for_tasks(aws):
    """The same, where a task that was given its turn may be cancelled: the next gets it."""
    go = threading.Event()
    with canned(holding(go)) as server:

        async def work():
            shared = transport(server, AsyncTransport, pool=1)
            call = lambda within, held=False: asyncio.ensure_future(
                shared.call("GetItem", {"held": held}, within)
            )
            slow = call(20.0, True)
            await asyncio.to_thread(arrived, server, 1)
            hasty, cancelled, patient = call(0.1), call(20.0), call(20.0)
            with pytest.raises(NotSent):
                await hasty
            go.set()
            slow.add_done_callback(lambda _: cancelled.cancel())
            assert (await slow).status == 200
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert (await asyncio.wait_for(patient, 10)).status == 200
            shared.close()

        asyncio.run(work())


def test_a_cancelled_call_leaves_no_reply_to_others(aws):
    """A task that is cancelled in the middle takes its connection with it."""
    go = threading.Event()
    with canned(holding(go)) as server:

        async def work():
            shared = transport(server, AsyncTransport)
            call = asyncio.ensure_future(shared.call("GetItem", {"held": True}, 20.0))
            await asyncio.to_thread(arrived, server, 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            go.set()
            await asyncio.sleep(0.1)
            reply = await shared.call("GetItem", {"number": 1}, 20.0)
            assert reply.body == {"number": 1}
            shared.close()

        asyncio.run(work())
        assert server.accepted == 2


def test_a_connection_that_comes_with_the_deadline(aws):
    """A busy loop that sees a new connection and the deadline at once leaves no socket open."""
    with canned(echo) as server:

        async def work(steps):
            shared = transport(server, AsyncTransport)
            call = asyncio.ensure_future(shared.call("GetItem", {}, 0.05))
            for _ in range(steps):  # to the place where it waits for the connection
                await asyncio.sleep(0)
            time.sleep(0.1)  # noqa: ASYNC251  # the loop is busy
            with suppress(NotSent, ReplyLost):
                await call
            shared.close()

        for steps in range(1, 8):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                asyncio.run(work(steps))
                gc.collect()
            assert [str(each.message) for each in caught] == []


def test_an_interrupted_call_leaves_no_reply_to_others(aws):
    """A thread that is interrupted in the middle takes its connection with it."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    go = threading.Event()
    with (
        canned(holding(go)) as server,
        closing(transport(server)) as shared,
        interrupting(signal.SIGUSR1, interrupt) as send,
    ):
        assert run(shared.call("GetItem", {}, 20.0)).status == 200
        sender = threading.Thread(target=lambda: (arrived(server, 2), send()))
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            run(shared.call("GetItem", {"held": True}, 20.0))
        sender.join()
        go.set()
        time.sleep(0.1)
        assert run(shared.call("GetItem", {"number": 1}, 20.0)).body == {"number": 1}
        assert server.accepted == 2


def test_one_loop(aws):
    """A transport of one event loop is refused on another, before anything is sent."""
    with canned(echo) as server:
        shared = transport(server, AsyncTransport)

        async def call():
            return await shared.call("GetItem", {}, 20.0)

        async def last():
            shared.close()

        with asyncio.Runner() as first:
            assert first.run(call()).status == 200
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(call())
            first.run(last())
        assert len(server.requests) == 1


FORK = """
import os, sys, threading, time
from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.blocking import SocketTransport

shared = SocketTransport(Credentials("eu-west-1", sys.argv[1]))
call = lambda **request: run(shared.call("GetItem", request, 20.0)).body
assert call(who="first") == {"who": "first"}
slow = []
thread = threading.Thread(target=lambda: slow.append(call(who="thread", moment=0.5)))
thread.start()
time.sleep(0.2)
child = os.fork()
if child == 0:
    for number in range(20):
        assert call(who="child", number=number) == {"who": "child", "number": number}
    os._exit(7)
for number in range(20):
    assert call(who="parent", number=number) == {"who": "parent", "number": number}
_, status = os.waitpid(child, 0)
thread.join()
assert slow == [{"who": "thread", "moment": 0.5}], slow
assert os.waitstatus_to_exitcode(status) == 7, status
print("well")
"""


def test_a_fork_in_the_middle(aws):
    """Parent, its busy thread and child go on after a fork; none reads another's reply."""
    with canned(echo) as server:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORK, server.endpoint],
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert done.stdout == "well\n", done.stderr
        # Two of the parent's, one of the child's; no request shares one with another process.
        by_connection = {}
        for number, _, body in server.requests:
            by_connection.setdefault(number, set()).add(json.loads(body)["who"] == "child")
        assert [len(kinds) for kinds in by_connection.values()] == [1, 1, 1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    made.cert_pem.write_to_path(path)
    made.path = str(path)
    return made


def context(authority, name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


def test_tls(caller, authority):
    """Over TLS requests follow each other on one connection, large ones too."""
    with canned(echo, context(authority, "127.0.0.1")) as server:
        call = caller(server.endpoint, bundle=authority.path)
        for size in (10, 1_000_000, 10):
            assert call(request={"x": "y" * size}).body == {"x": "y" * size}
        time.sleep(0.1)
        assert call().status == 200
        assert server.accepted == 1


def test_a_new_tls_connection_goes_on_with_the_session(authority):
    """After the first, a blocking connection costs no certificates; every one gets its replies."""
    made = context(authority, "127.0.0.1")
    with canned(echo, made) as server:
        known = Credentials("eu-west-1", server.endpoint, bundle=authority.path)
        for number in range(3):
            with closing(SocketTransport(known)) as transport:
                assert run(transport.call("GetItem", {"x": number}, 20.0)).body == {"x": number}
        assert (server.accepted, made.session_stats()["hits"]) == (3, 2)


def test_tls_is_verified(caller, authority):
    """A server of an unknown authority, or of another name, gets no request."""
    with canned(echo, context(authority, "127.0.0.1")) as server:
        with pytest.raises(StoreUnavailable, match="AWS_CA_BUNDLE"):
            caller(server.endpoint)()
        assert server.requests == []
    with canned(echo, context(authority, "elsewhere.test")) as server:
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            caller(server.endpoint, bundle=authority.path)()
        assert server.requests == []


def test_the_bundle_of_the_environment(caller, authority, monkeypatch):
    """AWS_CA_BUNDLE names whom to trust, as it does for every AWS tool."""
    monkeypatch.setenv("AWS_CA_BUNDLE", authority.path)
    with canned(echo, context(authority, "127.0.0.1")) as server:
        assert caller(server.endpoint)().status == 200


def test_an_untrusted_server_costs_one_attempt(aws, authority):
    """A certificate that is not trusted ends a call at once, whatever its budget."""
    with canned(echo, context(authority, "127.0.0.1")) as server:
        with closing(transport(server)) as shared:
            caller = Caller(shared, "ttt", 20.0, 20.0)
            start = time.monotonic()
            with pytest.raises(StoreUnavailable, match="AWS_CA_BUNDLE"):
                run(caller.call("GetItem", {}))
        assert time.monotonic() - start < 10
        assert (server.accepted, server.requests) == (1, [])


def test_a_bundle_that_cannot_be_read(caller, monkeypatch):
    """A bundle that is not there, or no name at all, is a mistake of configuration."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    for name in ("/nowhere.pem", " "):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", name)
        with pytest.raises(ConfigError, match="REQUESTS_CA_BUNDLE"):
            caller("https://127.0.0.1:1")()


@pytest.mark.parametrize("after", [0, 20, 10_000])
def test_tls_cut(caller, authority, after):
    """A TLS connection that ends within a reply leaves the outcome unknown; idle ones are seen."""

    def script(peer):
        if peer.number == 2:
            echo(peer)
            return
        _, body = peer.request()
        peer.say(answer(body)[:after] if peer.number == 0 else answer(body))

    with canned(script, context(authority, "127.0.0.1")) as server:
        call = caller(server.endpoint, bundle=authority.path)
        with pytest.raises(ReplyLost):
            call(request={"x": "y" * 100_000})
        assert call().status == 200
        time.sleep(0.2)
        assert call().status == 200
        assert [number for number, _, _ in server.requests] == [0, 1, 2]


def test_tls_budget(caller, authority):
    """Over TLS silence ends with the budget; a peer that never shakes hands gets no request."""
    go = threading.Event()
    with canned(holding(go), context(authority, "127.0.0.1")) as server:
        call = caller(server.endpoint, bundle=authority.path)
        assert call().status == 200
        start = time.monotonic()
        with pytest.raises(ReplyLost):
            call(request={"held": True}, within=0.3)
        assert 0.25 <= time.monotonic() - start < 0.9 * Limits().read
        go.set()
    go = threading.Event()
    with canned(lambda peer: peer.sock.recv(1) and go.wait(15)) as mute:
        call = caller(mute.endpoint.replace("http:", "https:"), bundle=authority.path)
        start = time.monotonic()
        with pytest.raises(NotSent):
            call(within=0.3)
        assert 0.25 <= time.monotonic() - start < 0.9 * Limits().connect
        go.set()


def test_nothing_is_left_open(aws):
    """A closed transport has closed its sockets, those of failed requests included."""

    def script(peer):
        if peer.number % 2:
            echo(peer)
        else:
            peer.request()

    with canned(script) as server:
        since = Opened()
        with closing(transport(server)) as shared:
            for _ in range(10):
                with pytest.raises(ReplyLost):
                    run(shared.call("GetItem", {}, 20.0))
                assert run(shared.call("GetItem", {}, 20.0)).status == 200
                shared.close()
                shared.closed = False
        deadline = time.monotonic() + 10
        # The canned server's own ends are in this process too, and close a moment later.
        while since.descriptors() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert since.descriptors() == []
        assert len(since.threads()) < 50


class Gate:
    """A proxy that connects whoever asks it to, or says what it is told."""

    def __init__(self, target, says=None):
        self.asked = []

        def script(peer):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += peer.sock.recv(1)
            self.asked.append(head)
            if says is not None:
                peer.say(says)
                return
            with socket.create_connection(("127.0.0.1", target), 20) as onward:
                peer.say(b"HTTP/1.1 200 Connection established\r\nVia: gate\r\n\r\n")
                back = threading.Thread(target=pump, args=(onward, peer.sock))
                back.start()
                pump(peer.sock, onward)
                back.join(20)

        self.script = script


def pump(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def behind(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return lambda text: monkeypatch.setenv("HTTPS_PROXY", text)


def test_through_a_proxy(caller, authority, behind):
    """TLS endpoints are reached through the proxy of HTTPS_PROXY, verified end to end."""
    with canned(echo, context(authority, "dynamodb.test")) as server:
        gate = Gate(server.port)
        with canned(gate.script) as proxy:
            behind(f"http://me:p%40ss@127.0.0.1:{proxy.port}")
            call = caller("https://dynamodb.test", bundle=authority.path)
            for number in range(3):
                assert call(request={"n": number}).body == {"n": number}
            assert call(request={"x": "y" * 300_000}).body == {"x": "y" * 300_000}
        asked = (
            b"CONNECT dynamodb.test:443 HTTP/1.1\r\nHost: dynamodb.test:443\r\n"
            b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n"
        )
        assert gate.asked == [asked]
        assert server.accepted == 1


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200",
        b"x" * 20_000,
        b"",
    ],
)
def test_a_proxy_that_refuses(caller, authority, behind, says):
    """What a proxy does not let through was not sent; the error names the proxy."""
    with canned(Gate(0, says).script) as proxy:
        behind(f"127.0.0.1:{proxy.port}")
        with pytest.raises(NotSent, match=f"through the proxy 127.0.0.1:{proxy.port}: "):
            caller("https://dynamodb.test", bundle=authority.path)()


def test_a_mute_proxy(caller, authority, behind):
    """A proxy that says nothing costs no more than the connect limit."""
    go = threading.Event()
    with canned(lambda peer: peer.sock.recv(1000) and go.wait(15)) as proxy:
        behind(f"127.0.0.1:{proxy.port}")
        call = caller("https://dynamodb.test", bundle=authority.path, limits=Limits(connect=0.3))
        start = time.monotonic()
        with pytest.raises(NotSent):
            call()
        assert 0.25 <= time.monotonic() - start < 10  # of the 20 that the call has
        go.set()


def test_past_the_proxy(caller, authority, behind, monkeypatch):
    """Plain endpoints and those in NO_PROXY are reached directly."""
    behind("http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with canned(echo) as server:
        assert caller(server.endpoint)().status == 200
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with canned(echo, context(authority, "127.0.0.1")) as server:
        assert caller(server.endpoint, bundle=authority.path)().status == 200


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_another_kind_of_proxy(caller, authority, behind, scheme):
    """A proxy of a kind that is not spoken is refused, naming what can be used."""
    behind(f"{scheme}://127.0.0.1:1")
    with pytest.raises(ConfigError, match="boto3"):
        caller("https://dynamodb.test", bundle=authority.path)()

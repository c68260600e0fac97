"""What each transport makes of replies and failures; the server is canned, the network real."""

import socket
import time

import pytest

from lpcm.errors import StoreError
from lpcm.stores.dynamodb.http.connection import Limits
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from tests.transport.canned import answer, canned, chunked, gzipped

BODY = b'{"Item": {"v": {"N": "0.10"}, "s": {"S": "' + "ä\U0001f600".encode() * 30 + b'"}}}'
ITEM = {"v": {"N": "0.10"}, "s": {"S": "ä\U0001f600" * 30}}


def test_one_connection_one_send(caller):
    """Requests follow each other on one connection, head and body in one piece."""
    with canned(lambda peer: peer.serve_all(answer(BODY))) as server:
        call = caller(server.endpoint)
        for number in range(5):
            reply = call("GetItem", {"TableName": "t" * 100, "number": number})
            assert reply.body == {"Item": ITEM}
            assert (reply.status, reply.error) == (200, "")
            assert reply.sent == server.first_reads[number]
            assert reply.received == len(answer(BODY))
        assert server.accepted == 1
        assert [body for _, _, body in server.requests][4].endswith(b'"number":4}')
        assert b"User-Agent: lpcm/" in server.requests[0][1]


@pytest.mark.parametrize(
    "reply",
    [
        answer(BODY),
        gzipped(BODY),
        chunked(BODY),
        chunked(BODY, 1000, ["Connection: keep-alive"]),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(BODY),
        answer(BODY).replace(b"Content-Length", b"CONTENT-LENGTH").replace(b"x-amz", b"X-AMZ"),
        answer(BODY).replace(b"x-amz-crc32", b"x-other"),
    ],
    ids=["plain", "gzip", "chunked", "one chunk", "continue", "case", "no checksum"],
)
@pytest.mark.parametrize("piece", [1, 50, 100_000])
def test_any_form_of_reply(caller, reply, piece):
    """Compressed, chunked, announced and in pieces of any size, a reply is the same reply."""

    def script(peer):
        while peer.request() is not None:
            for at in range(0, len(reply), piece):
                peer.say(reply[at : at + piece])

    with canned(script) as server:
        call = caller(server.endpoint)
        for _ in range(2):
            assert call().body == {"Item": ITEM}
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("reply", "status", "error", "body"),
    [
        (
            answer(b'{"__type":"com.amazonaws.dynamodb.v20120810#Oh","x":1}', "400 Bad Request"),
            400,
            "Oh",
            {"__type": "com.amazonaws.dynamodb.v20120810#Oh", "x": 1},
        ),
        (answer(b'{"__type":"Oh"}', "400 Bad Request"), 400, "Oh", {"__type": "Oh"}),
        (answer(b"<html>no</html>", "503 Service Unavailable"), 503, "HTTP503", {}),
        (answer(b"", "500 Oops"), 500, "HTTP500", {}),
        (
            answer(b"{}", "500 Oops", ["x-amzn-ErrorType: InternalFailure:http://x/#y"]),
            500,
            "InternalFailure",
            {},
        ),
        (answer(b"[1]", "400 Bad Request"), 400, "HTTP400", {}),
    ],
)
def test_an_error_is_a_reply(caller, reply, status, error, body):
    """A reply with another status than 200 is one, with the shortest code there is."""
    with canned(lambda peer: peer.serve_all(reply)) as server:
        got = caller(server.endpoint)()
        assert (got.status, got.error, got.body) == (status, error, body)


WHOLE = answer(BODY)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        WHOLE[:10],
        WHOLE[: WHOLE.index(b"\r\n\r\n") + 2],
        WHOLE[:-1],
        gzipped(BODY)[:-1],
        chunked(BODY)[:-5],
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,  # without a length, an end is like a cut
    ],
)
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_cut_reply_is_lost(caller, said, end):
    """A connection that ends before its reply does: unknown outcome, no reuse."""

    def script(peer):
        if peer.number > 0:
            peer.serve_all()
            return
        peer.request()
        peer.say(said)
        if end == "reset":
            peer.reset()

    with canned(script) as server:
        call = caller(server.endpoint)
        with pytest.raises(ReplyLost):
            call()
        assert call().status == 200
        assert [number for number, _, _ in server.requests] == [0, 1]


@pytest.mark.parametrize(
    "said",
    [
        WHOLE.replace(b"x-amz-crc32: ", b"x-amz-crc32: 1"),
        WHOLE.replace(b"x-amz-crc32: ", b"x-amz-crc32: x"),
        WHOLE.replace(b"0.10", b"0.11"),
        answer(b"<html>not JSON</html>"),
        answer(b"[]"),
        answer(b"gibberish", headers=["Content-Encoding: gzip"]),
        answer(b"gibberish", headers=["Content-Encoding: br"]),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x00" * 100,
        WHOLE.replace(b"Content-Length: ", b"Content-Length: x"),
    ],
)
def test_an_unreadable_reply_is_lost(caller, said):
    """Bytes that are no whole, right reply leave the outcome unknown; the connection is closed."""
    with canned(lambda peer: peer.serve_all(said if peer.number == 0 else WHOLE)) as server:
        call = caller(server.endpoint)
        with pytest.raises(ReplyLost):
            call()
        assert call().body == {"Item": ITEM}
        assert [number for number, _, _ in server.requests] == [0, 1]


@pytest.mark.parametrize("extra", [b"\r\nrubbish", WHOLE])
def test_more_than_was_asked_for(caller, extra):
    """Bytes behind a reply are never taken for the reply to the next request."""
    marked = answer(b'{"number": 0}')

    def script(peer):
        if peer.number == 0:
            peer.serve(marked + extra)
        else:
            peer.serve_all(answer(b'{"number": 1}'))

    with canned(script) as server:
        call = caller(server.endpoint)
        assert call().body == {"number": 0}
        assert call().body == {"number": 1}
        assert server.accepted == 2


@pytest.mark.parametrize("header", ["Connection: close", "connection: Close"])
def test_a_last_reply(caller, header):
    """A connection that the server announces to close is not used again."""
    with canned(lambda peer: peer.serve_all(answer(headers=[header]))) as server:
        call = caller(server.endpoint)
        for _ in range(3):
            assert call().status == 200
        assert [number for number, _, _ in server.requests] == [0, 1, 2]


@pytest.mark.parametrize("how", ["close", "half", "reset", "chatter"])
def test_a_dead_idle_connection_costs_nothing(caller, how):
    """A connection that ended while idle is replaced before anything is sent on it."""

    def script(peer):
        if peer.number > 0:
            peer.serve_all()
            return
        peer.request()
        peer.say(answer())
        if how == "reset":
            peer.reset()
        elif how == "close":
            peer.sock.close()
        elif how == "half":
            peer.sock.shutdown(socket.SHUT_WR)
            peer.request()
        else:
            time.sleep(0.02)
            peer.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            peer.request()

    with canned(script) as server:
        call = caller(server.endpoint)
        assert call().status == 200
        time.sleep(0.2)
        assert call().status == 200
        assert [number for number, _, _ in server.requests] == [0, 1]


def test_nobody_there(caller):
    """A refused connection is a request that was not sent, and names the place."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(NotSent, match=f"http://127.0.0.1:{port}: no connection: "):
        caller(f"http://127.0.0.1:{port}")()


def test_no_name(caller):
    """A name that does not exist is a request that was not sent."""
    with pytest.raises(NotSent, match=r"http://nowhere\.invalid: no connection: "):
        caller("http://nowhere.invalid")()


def took(call, expected, **options):
    """Return how long the call took to fail so."""
    start = time.monotonic()
    with pytest.raises(expected):
        call(**options)
    return time.monotonic() - start


def silent(peer):
    peer.request()
    peer.request()


def dripping(peer):
    peer.request()
    for byte in answer():
        peer.say(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.parametrize("script", [silent, dripping])
def test_the_budget_is_kept(caller, script):
    """Neither silence nor a trickle keeps a call beyond what it may take in all."""
    with canned(script) as server:
        call = caller(server.endpoint)
        assert 0.25 <= took(call, ReplyLost, within=0.3) < 3


def test_silence_has_a_limit_of_its_own(caller):
    """With budget left, a reply of which nothing comes for the read limit is given up."""
    with canned(silent) as server:
        call = caller(server.endpoint, limits=Limits(read=0.2))
        assert 0.15 <= took(call, ReplyLost, within=20) < 5


def test_a_slow_reply_within_the_limits(caller):
    """A reply that takes longer than the read limit, but keeps coming, arrives."""

    def script(peer):
        while peer.request() is not None:
            for at in range(0, len(WHOLE), 32):
                peer.say(WHOLE[at : at + 32])
                time.sleep(0.1)

    with canned(script) as server:
        call = caller(server.endpoint, limits=Limits(read=0.8))
        assert call(within=20).body == {"Item": ITEM}
        assert call(within=20).body == {"Item": ITEM}


def test_a_short_budget_does_not_shorten_the_next(caller):
    """The time limits of one call are not those of the next on the same connection."""

    def script(peer):
        while (got := peer.request()) is not None:
            if b"slow" in got[1]:
                time.sleep(1.3)
            peer.say(answer())

    with canned(script) as server:
        call = caller(server.endpoint)
        assert call(within=1.0).status == 200
        assert call(request={"slow": 1}, within=20).status == 200
        assert call(within=1.0).status == 200
        assert server.accepted == 1


def test_a_connection_that_is_not_accepted(caller):
    """Where connecting takes too long, the request was not sent; the connect limit holds."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            call = caller(f"http://127.0.0.1:{full.getsockname()[1]}", limits=Limits(connect=0.3))
            assert 0.2 <= took(call, NotSent, within=20) < 5
            assert took(call, NotSent, within=0.1) < 3
        finally:
            for filler in fillers:
                filler.close()


def test_a_request_nobody_reads(caller):
    """A large request that the peer does not take in ends with the budget, outcome unknown."""

    def script(peer):
        time.sleep(1.5)

    with canned(script) as server:
        call = caller(server.endpoint)
        request = {"x": "y" * 15_000_000}
        assert 0.4 <= took(call, ReplyLost, request=request, within=0.5) < 5


def test_closed(caller):
    """A closed transport refuses to work, and closing twice is fine."""
    with canned(lambda peer: peer.serve_all()) as server:
        call = caller(server.endpoint)
        assert call().status == 200
        call.transport.close()
        call.transport.close()
        with pytest.raises(StoreError, match="closed"):
            call()


def test_names_are_resolved_anew(caller, monkeypatch):
    """A new connection goes to where the name leads now."""
    real = socket.getaddrinfo
    with (
        canned(lambda peer: peer.serve(answer(b'{"n": 1}', headers=["Connection: close"]))) as one,
        canned(lambda peer: peer.serve_all(answer(b'{"n": 2}'))) as two,
    ):
        leads = [one]

        def resolve(host, port, *args, **kwargs):
            if host == "moving.test" and args[2:4] != (0, socket.AI_NUMERICHOST):
                if args[-1:] == (socket.AI_NUMERICHOST,):
                    raise socket.gaierror(socket.EAI_NONAME, "not a number")
                return real("127.0.0.1", leads[0].port, *args, **kwargs)
            return real(host, port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        call = caller("http://moving.test")
        assert call().body == {"n": 1}
        leads[0] = two
        assert call().body == {"n": 2}


def test_a_family_that_the_system_has_not(caller, monkeypatch):
    """An address of which no socket can be made, as IPv6's on some systems, is passed over."""
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host != "two.test":
            return real(host, port, *args, **kwargs)
        if socket.AI_NUMERICHOST in args:
            raise socket.gaierror("a name")
        found = real("127.0.0.1", port, type=socket.SOCK_STREAM)
        return [(99, *found[0][1:]), *found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with canned(lambda peer: peer.serve_all(answer())) as server:
        assert caller(f"http://two.test:{server.port}")().status == 200


def test_a_resolver_that_hangs(caller, monkeypatch):
    """A name server that does not answer costs no more than the connect limit."""
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host == "slow.test" and socket.AI_NUMERICHOST not in args:
            time.sleep(2.0)
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    call = caller("http://slow.test", limits=Limits(connect=0.2))
    assert 0.15 <= took(call, NotSent, within=20) < 1.8

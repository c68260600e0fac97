"""A server of HTTP that says too much: refused before it fills memory or time."""

import gzip
import time
import tracemalloc
import zlib
from contextlib import closing, suppress

import boto3
import pytest
from botocore.config import Config

from lpcm.engine.drive import run
from lpcm.errors import ConfigError
from lpcm.stores.dynamodb.http import endpoint, messages
from lpcm.stores.dynamodb.http.boto3_client import ClientTransport
from lpcm.stores.dynamodb.http.port import ReplyLost
from tests.transport.canned import answer, canned

HEAD = b"HTTP/1.1 200 OK\r\n"
SMALL = 1 << 20  # a limit for the tests, which would take long with the real one


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(messages, "LIMIT", SMALL)


def flood(head, piece, times):
    """Say ``head``, then ``piece`` over and over, to each request."""

    def script(peer):
        with suppress(OSError):
            while peer.request() is not None:
                peer.say(head)
                for _ in range(times):
                    peer.say(piece)

    return script


def bomb(size):
    packed = gzip.compress(b'"' + b"x" * size + b'"')
    return answer(packed, headers=["Content-Encoding: gzip"])


BOMB = bomb(50_000_000)
FLOODS = {
    "headers": flood(HEAD, b"".join(b"h%d: x\r\n" % n for n in range(8000)), 400),
    "one header": flood(HEAD + b"h: ", b"x" * 65_536, 400),
    "no end of 1xx": flood(b"", b"HTTP/1.1 100 Continue\r\nh: x\r\n\r\n" * 2000, 400),
    "body": flood(HEAD + b"Content-Length: 9999999999\r\n\r\n", b"x" * 65_536, 400),
    "body without a length": flood(HEAD + b"\r\n", b"x" * 65_536, 400),
    "chunks": flood(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000, 400),
    "one chunk": flood(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"x" * 65_536, 400
    ),
    "trailers": flood(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        b"".join(b"t%d: x\r\n" % n for n in range(8000)),
        400,
    ),
    "gzip": lambda peer: peer.serve_all(BOMB),
}


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("script", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_lost(caller, script):
    """Whatever of a reply is too much, the reply is lost, in little time and memory."""
    with canned(script) as server:
        call = caller(server.endpoint)
        tracemalloc.start()
        try:
            begun = time.process_time()
            with pytest.raises(ReplyLost):
                call()
            assert time.process_time() - begun < 2
            assert tracemalloc.get_traced_memory()[1] < 12 * SMALL
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("reply", [answer(b"{}" + b" " * SMALL), bomb(SMALL)], ids=["body", "gzip"])
@pytest.mark.usefixtures("small_limit")
def test_a_reply_through_boto3_is_limited_too(reply, aws):
    """A client of boto3 has read a reply before lpcm sees it; it goes no further."""
    once = Config(retries={"total_max_attempts": 1}, region_name="eu-west-1")
    with canned(lambda peer: peer.serve_all(reply)) as server:
        client = boto3.client("dynamodb", endpoint_url=server.endpoint, config=once)
        with closing(client), pytest.raises(ReplyLost):
            transport = ClientTransport(client)
            run(transport.call("GetItem", {"TableName": "ttt", "Key": {"pk": {"S": "a"}}}, 20.0))


def test_what_dynamodb_gives_at_most_is_taken(caller):
    """16 MB of items, whose JSON takes more, are a reply, compressed or not."""
    body = b'{"Items":[' + b",".join([b'{"v":{"B":"%b"}}' % (b"A" * 540_000)] * 40) + b"]}"
    packed = answer(gzip.compress(body, 1), headers=["Content-Encoding: gzip"])
    for reply in (answer(body), packed):
        with canned(lambda peer, reply=reply: peer.serve_all(reply)) as server:
            assert len(caller(server.endpoint)().body["Items"]) == 40


def test_gzip_that_is_cut_is_lost(caller):
    """A compressed body that ends too early is no reply."""
    cut = gzip.compress(b'{"Item": {}}')[:-3]
    crc = b"x-amz-crc32: %d" % zlib.crc32(cut)
    reply = answer(cut, headers=["Content-Encoding: gzip", crc.decode()])
    with canned(lambda peer: peer.serve_all(reply)) as server, pytest.raises(ReplyLost):
        caller(server.endpoint)()


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "x" * 64 + ".com"])
def test_an_endpoint_that_no_resolver_can_be_asked_for(host):
    """A host that is no name is refused where it is configured."""
    with pytest.raises(ConfigError, match="not an endpoint"):
        endpoint.parse(f"http://{host}", "eu-west-1")

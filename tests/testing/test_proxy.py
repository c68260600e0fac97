"""The proxy that hurts: each fault is what it says, and is counted when it happened."""

import json
import socket
import time
from contextlib import closing, contextmanager

import pytest

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.connection import Limits
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.verify.proxy import Faults, http_proxy, proxy
from tests.transport.canned import answer, canned


def echo(peer):
    while (got := peer.request()) is not None:
        peer.say(answer(got[1]))


@contextmanager
def between(faults, kind=http_proxy, script=echo, seed=1):
    """Give what calls through a proxy with these faults, the proxy and the server."""
    with canned(script) as server, kind("127.0.0.1", server.port, faults, seed=seed) as made:
        identity = Credentials("eu-west-1", made.endpoint)
        identity.keys(20.0)  # now, not within a test's short budget
        with closing(SocketTransport(identity, limits=Limits(read=1.0))) as transport:
            yield (
                lambda request=None, within=20.0: run(
                    transport.call("BatchWriteItem", request or {"a": 1}, within)
                ),
                made,
                server,
            )


@pytest.mark.parametrize("kind", [proxy, http_proxy])
def test_without_faults_everything_passes(aws, kind):
    """A proxy without faults changes nothing, whatever the size."""
    with between(Faults(), kind) as (call, made, server):
        for size in (1, 1_000_000, 1):
            assert call({"x": "y" * size}).body == {"x": "y" * size}
        assert len(server.requests) == 3
        assert made.counts["connections"] == 1
        assert made.counts["passed"] >= 3


@pytest.mark.parametrize("kind", [proxy, http_proxy])
@pytest.mark.parametrize(
    ("fault", "arrives"), [("refuse", 0), ("lose", 1), ("cut", 1), ("hang", 1)]
)
def test_a_reply_that_is_hurt(aws, kind, fault, arrives):
    """The client loses its reply; whether the server had the request is the fault's difference."""
    with between(Faults(**{fault: 1.0}), kind) as (call, made, server):
        for number in range(1, 4):
            with pytest.raises(ReplyLost):
                call(within=0.6)
            deadline = time.monotonic() + 10
            while made.counts[fault] < number and time.monotonic() < deadline:
                time.sleep(0.01)
            assert made.counts[fault] == number
        assert len(server.requests) == arrives * 3
        assert made.counts["passed"] == 0
        made.faults = Faults()
        assert call().status == 200


@pytest.mark.parametrize(
    ("fault", "status", "error", "arrives"),
    [
        ("fail", 500, "InternalServerError", 0),
        ("fail_after", 500, "InternalServerError", 1),
        ("throttle", 400, "ProvisionedThroughputExceededException", 0),
    ],
)
def test_an_answer_in_the_servers_place(aws, fault, status, error, arrives):
    """The client gets DynamoDB's own error; the server had the request or had not."""
    with between(Faults(**{fault: 1.0})) as (call, made, server):
        for _ in range(3):
            reply = call()
            assert (reply.status, reply.error) == (status, error)
        assert made.counts[fault] == 3
        assert len(server.requests) == arrives * 3
        assert made.counts["connections"] == 1


def done(peer):
    while peer.request() is not None:
        peer.say(answer(b'{"UnprocessedItems": {}}'))


def test_a_batch_in_part(aws):
    """What was passed on of a batch and what is called unprocessed make up the batch."""
    puts = [{"PutRequest": {"Item": {"k": {"N": str(number)}}}} for number in range(25)]
    with between(Faults(unprocess=1.0), script=done) as (call, made, server):
        sizes = set()
        for _ in range(20):
            reply = call({"RequestItems": {"t": puts}})
            left = reply.body["UnprocessedItems"].get("t", [])
            passed = json.loads(server.requests[-1][2])["RequestItems"]["t"]
            assert sorted(map(json.dumps, left + passed)) == sorted(map(json.dumps, puts))
            assert passed
            sizes.add(len(left))
        assert len(sizes) > 5
        assert 10 <= made.counts["unprocess"] <= 20
        assert call({"Key": 1}).body == {"UnprocessedItems": {}}


def found(peer):
    while (got := peer.request()) is not None:
        keys = json.loads(got[1])["RequestItems"]["t"]["Keys"]
        peer.say(answer(json.dumps({"Responses": {"t": keys}}).encode()))


def test_a_batch_of_reads_in_part(aws):
    """The keys of a batch of reads come back as found or as unprocessed, with their options."""
    keys = [{"k": {"N": str(number)}} for number in range(100)]
    with between(Faults(unprocess=1.0), script=found) as (call, _, _):
        reply = call({"RequestItems": {"t": {"Keys": keys, "ConsistentRead": True}}})
        left = reply.body["UnprocessedKeys"]["t"]
        assert left["ConsistentRead"] is True
        everything = reply.body["Responses"]["t"] + left["Keys"]
        assert sorted(map(json.dumps, everything)) == sorted(map(json.dumps, keys))


def test_delays(aws):
    """A delay holds a reply back for as long as was said, and hurts nothing else."""
    with between(Faults(delay=1.0, seconds=(0.1, 0.15))) as (call, made, _):
        start = time.monotonic()
        for _ in range(3):
            assert call().status == 200
        assert time.monotonic() - start >= 0.3
        assert made.counts["delay"] == 3


def test_the_seed_decides(aws):
    """The same seed hurts the same requests of one client, another seed others."""

    def story(seed):
        with between(Faults(throttle=0.3, fail=0.2), seed=seed) as (call, _, _):
            return [call().error for _ in range(40)]

    assert story(1) == story(1) != story(2)
    assert len(set(story(3))) == 3


def test_down_and_up(aws):
    """A server that is cut off is gone for all, connections that stand included, until it is up."""
    with between(Faults()) as (call, made, server):
        assert call().status == 200
        made.down()
        for _ in range(3):
            with pytest.raises((NotSent, ReplyLost)):
                call()
        assert len(server.requests) == 1
        made.up()
        assert call().status == 200
        made.cut()
        time.sleep(0.1)
        assert call().status == 200


def test_in_front_of_memcached(memcached):
    """Any protocol passes, and can be cut."""
    with proxy(memcached.host, memcached.port) as made:
        address = (made.host, made.port)
        with socket.create_connection(address, 10) as client:
            client.sendall(b"set proxied 0 60 3\r\nyes\r\n")
            assert client.recv(100) == b"STORED\r\n"
            client.sendall(b"get proxied\r\n")
            assert client.recv(100) == b"VALUE proxied 0 3\r\nyes\r\nEND\r\n"
        made.faults = Faults(lose=1.0)
        with socket.create_connection(address, 10) as client:
            client.sendall(b"set proxied 0 60 2\r\nno\r\n")
            assert client.recv(100) == b""
        made.faults = Faults()
        with socket.create_connection(address, 10) as client:
            client.sendall(b"get proxied\r\n")
            assert client.recv(100) == b"VALUE proxied 0 2\r\nno\r\nEND\r\n"
        assert made.counts["lose"] == 1

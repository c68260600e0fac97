"""lpcm on DynamoDB against boto3, and against a socket that does the least there is to do."""

from __future__ import annotations

import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import orjson
from harness import Action, Candidate, Limit, Scale, Target

from checks import servers
from lpcm import LPCM, Engine
from lpcm.engine.drive import run
from lpcm.ports import Form, MapInfo
from lpcm.stores.dynamodb import catalogue
from lpcm.stores.dynamodb import items as wire
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.values.codec import Codec
from lpcm.values.keys import encode, partition

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

TITLE = "lpcm on DynamoDB and boto3"
ABOUT = """
The store answers at once and always the same: a process of its own that replays AWS's headers and
lpcm's items, so that what is measured is the client. Values are 100 characters. All are pinned to
one core with the server, so elapsed time holds the server's part too; the targets compare the
client's own *processor* time where they say so.

- *raw socket* is the floor: one connection, a signature (Version 4) whose key and second are kept,
  orjson both ways, no check, no limit of time, no pool, no thread; items are left as they come.
- *transport* is lpcm's below the store: as above, with checksums, time limits and a pool.
- *lpcm* is the whole map over that: keys and values encoded and decoded, expiry looked at.
- *boto3* is a client with its defaults, called as its documentation shows; items left as they come.
- *read 100* is one `get_many` (BatchGetItem), *read 1,000* one walk over all entries (one Query).
- *miss* and *write, cached* have a real memcached in front (three round trips each); *its parts*
  is an uncached read by lpcm and two bare round trips to memcached.
"""
TABLE, MAP, N = "bench", "bench", 1000
AWS = {**servers.AWS, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ACCESS_KEY_ID": "AKID"}
VALUE = "x" * 100
NAMES = [f"user/{number:06d}" for number in range(N)]


def some(rng: random.Random, count: int) -> list[str]:
    return [rng.choice(NAMES) for _ in range(count)]


def fresh(rng: random.Random, count: int) -> list[str]:
    return [f"user/{os.getpid()}/{rng.getrandbits(60)}" for _ in range(count)]


ACTIONS = [
    Action("read", 200, lambda rng: some(rng, 200)),
    Action("write", 200, lambda rng: some(rng, 200)),
    Action("read 100", 10, lambda _: NAMES[:100]),
    Action("read 1,000", 3),
    Action("miss", 200, lambda rng: fresh(rng, 200)),
    Action("write, cached", 200, lambda rng: some(rng, 200)),
]
TARGETS: Sequence[Target | Limit] = [
    Target("read", "lpcm", "raw socket", 2.0, cpu=True),
    Target("read", "lpcm", "boto3", 1 / 12, cpu=True),
    Target("read 100", "lpcm", "raw socket", 1.5, cpu=True),
    Target("read 1,000", "lpcm", "raw socket", 1.5, cpu=True),
    Target("read 100", "transport", "raw socket", 1.5, cpu=True),
    Target("read 1,000", "transport", "raw socket", 1.5, cpu=True),
    Target("read 100", "lpcm", "boto3", 1 / 8, cpu=True),
    Target("read 1,000", "lpcm", "boto3", 1 / 4, cpu=True),
    Limit("miss", "lpcm", 140e-6),
    Limit("write, cached", "lpcm", 140e-6),
    Target("miss", "lpcm", "its parts", 1.5),
]
PLOT = ["read", "write", "read 100", "read 1,000", "miss", "write, cached"]


def key(name: str) -> dict[str, Any]:
    return wire.key(partition("default", MAP), encode(name))


def replies() -> dict[str, str]:
    """Return what the server says, by operation."""
    cell = Codec(Form.TREE).encode(VALUE)
    items = [
        wire.item(partition("default", MAP), encode(name), cell, 2**62 + number, None)
        for number, name in enumerate(NAMES)
    ]
    bodies = {
        "GetItem": {"Item": items[0]},
        "catalogue": {"Item": catalogue.row("default", MapInfo(MAP))},
        "PutItem": {},
        "BatchGetItem": {"Responses": {TABLE: items[:100]}, "UnprocessedKeys": {}},
        "Query": {"Items": items, "Count": N, "ScannedCount": N},
    }
    return {name: json.dumps(body, separators=(",", ":")) for name, body in bodies.items()}


class Raw:
    """A bare socket that signs."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.second = 0
        self.day = ""

    def call(self, operation: str, request: dict[str, Any]) -> Any:
        body = orjson.dumps(request)
        second = int(time.time())
        if second != self.second:
            self.tick(second)
        signed = "content-type;host;x-amz-date;x-amz-target"
        canonical = (
            f"POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{self.host}\n"
            f"x-amz-date:{self.date}\nx-amz-target:DynamoDB_20120810.{operation}\n\n{signed}\n"
            f"{sha256(body).hexdigest()}"
        )
        to_sign = f"{self.head}{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self.key, to_sign.encode(), "sha256").hex()
        head = (
            f"POST / HTTP/1.1\r\ncontent-type: application/x-amz-json-1.0\r\nhost: {self.host}\r\n"
            f"x-amz-date: {self.date}\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential=AKID/{self.scope}, "
            f"SignedHeaders={signed}, Signature={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.sock.send(head.encode() + body)
        data = self.sock.recv(65536)
        at = data.index(b"\r\n\r\n") + 4
        start = data.index(b"Content-Length: ") + 16
        length = int(data[start : data.index(b"\r\n", start)])
        parts, have = [data[at:]], len(data) - at
        while have < length:
            parts.append(self.sock.recv(65536))
            have += len(parts[-1])
        return orjson.loads(b"".join(parts))

    def tick(self, second: int) -> None:
        self.second = second
        self.date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = self.date[:8]
        self.scope = f"{day}/eu-west-1/dynamodb/aws4_request"
        self.head = f"AWS4-HMAC-SHA256\n{self.date}\n{self.scope}\n"
        if day != self.day:
            self.day, secret = day, b"AWS4secret"
            for part in (day, "eu-west-1", "dynamodb", "aws4_request"):
                secret = hmac.digest(secret, part.encode(), "sha256")
            self.key = secret

    def close(self) -> None:
        self.sock.close()


class Bare:
    """A bare socket to memcached."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def trip(self) -> None:
        self.sock.send(b"mg nothing v\r\n")
        self.sock.recv(65536)

    def close(self) -> None:
        self.sock.close()


def each(function: Any) -> Any:
    """Return what does it for each of the material."""

    def loop(names: list[str]) -> None:
        for name in names:
            function(name)

    return loop


def repeat(times: int, function: Any) -> Any:
    def loop(material: Any) -> None:
        for _ in range(times):
            function(material)

    return loop


def ours(plain: LPCM[str, str], cached: LPCM[str, str]) -> dict[str, Any]:
    return {
        "read": each(plain.__getitem__),
        "write": each(lambda name: plain.set(name, VALUE)),
        "read 100": repeat(10, plain.get_many),
        "read 1,000": repeat(3, lambda _: deque(plain.items(), maxlen=0)),
        "miss": each(cached.__getitem__),
        "write, cached": each(lambda name: cached.set(name, VALUE)),
    }


def others(call: Any) -> dict[str, Any]:
    """Return the actions of whoever sends DynamoDB's own requests."""
    pk = partition("default", MAP)
    item = wire.item(pk, encode(NAMES[0]), Codec(Form.TREE).encode(VALUE), 2**62, None)
    query = {
        "TableName": TABLE,
        "ConsistentRead": True,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": pk}},
    }

    def read(name: str) -> None:
        call("GetItem", {"TableName": TABLE, "Key": key(name), "ConsistentRead": True})

    def write(name: str) -> None:
        call("PutItem", {"TableName": TABLE, "Item": item | {"sk": {"S": name}}})

    def read_many(names: list[str]) -> None:
        keys = {"Keys": [key(name) for name in names], "ConsistentRead": True}
        call("BatchGetItem", {"RequestItems": {TABLE: keys}})

    return {
        "read": each(read),
        "write": each(write),
        "read 100": repeat(10, read_many),
        "read 1,000": repeat(3, lambda _: call("Query", dict(query))),
    }


@contextmanager
def canned(folder: Path) -> Iterator[int]:
    path = folder / "replies.json"
    path.write_text(json.dumps(replies()), encoding="utf-8")
    script = Path(__file__).parents[1] / "canned_dynamodb.py"
    with subprocess.Popen(
        [sys.executable, script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def candidates(scale: Scale) -> Iterator[Sequence[Candidate]]:
    os.environ.update(AWS)
    with ExitStack() as stack:
        port = stack.enter_context(canned(scale.folder))
        memcached = stack.enter_context(servers.memcached())
        endpoint = f"http://127.0.0.1:{port}"
        url = f"dynamodb://{TABLE}?region=eu-west-1&endpoint={endpoint}"
        cache = f"memcached://{memcached.host}:{memcached.port}"
        plain = stack.enter_context(closing(Engine.open(url)))
        cached = stack.enter_context(closing(Engine.open(url, cache=cache)))
        users: LPCM[str, str] = LPCM(MAP, using=plain)
        raw = stack.enter_context(closing(Raw(port)))
        bare = stack.enter_context(closing(Bare(memcached.host, memcached.port)))
        own = stack.enter_context(closing(SocketTransport(Credentials("eu-west-1", endpoint))))
        client = boto3.client("dynamodb", endpoint_url=endpoint)
        methods = {
            "GetItem": client.get_item,
            "PutItem": client.put_item,
            "BatchGetItem": client.batch_get_item,
            "Query": client.query,
        }

        def parts(name: str) -> None:
            users.get(name)
            bare.trip()
            bare.trip()

        yield [
            Candidate("lpcm", ours(users, LPCM(MAP, using=cached))),
            Candidate("raw socket", others(raw.call)),
            Candidate("transport", others(lambda *what: run(own.call(*what, 5.0)))),
            Candidate("boto3", others(lambda operation, request: methods[operation](**request))),
            Candidate("its parts", {"miss": each(parts)}),
        ]

"""A proxy that injects faults: it delays, cuts and swallows what a client and a server send.

``proxy`` is for any TCP server (memcached, a database): a *reply* is what comes from the server
in one piece. ``http_proxy`` is for a server of HTTP (the DynamoDB engines): a reply is one message,
and the proxy can also answer in the server's place. Faults are drawn from a seeded generator of
the proxy's own. ``counts`` says which faults truly happened, so that a test in which no fault
happened can be recognised.

Runs in a thread of its own, with an event loop of its own. Knows nothing of lpcm. Invariant: a
request is passed on at most once. A fault is counted when it is done, not when it is drawn, and
before the client or server can notice it.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Sequence

__all__ = [
    "Ends", "Faults", "HTTPProxy", "Proxy", "framed", "http_proxy", "message", "proxy", "running",
    "with_rest",
]  # fmt: skip

AProxy = TypeVar("AProxy", bound="Proxy")

HOST = "127.0.0.1"
CHUNK = 64 * 1024


class Faults(NamedTuple):
    """The probability of each fault, for each request; at most one of them happens to a request.

    Those from ``fail`` to ``unprocess`` need HTTP. ``hold`` and ``delay`` come on top of any
    other.
    """

    refuse: float = 0.0
    """The request is not passed on, and the connection closed."""
    lose: float = 0.0
    """The request is passed on, its reply swallowed, the connection closed."""
    cut: float = 0.0
    """As above, but a part of the reply comes through."""
    hang: float = 0.0
    """The reply is swallowed and the connection stays open, silent from then on."""
    fail: float = 0.0
    """A 500 instead of passing the request on."""
    fail_after: float = 0.0
    """A 500 instead of the reply, the request having been passed on."""
    throttle: float = 0.0
    """A ProvisionedThroughputExceededException instead of passing the request on."""
    unprocess: float = 0.0
    """Of a batch, a part is passed on and the rest called unprocessed."""
    hold: float = 0.0
    """The request is held back, while those of other connections overtake it."""
    delay: float = 0.0
    """The reply is held back."""
    seconds: tuple[float, float] = (0.001, 0.02)
    """How long ``hold`` and ``delay`` last: from, to."""


class Proxy:
    """A running proxy. ``faults`` may be replaced at any time."""

    host = HOST

    def __init__(self, target: tuple[str, int], faults: Faults, seed: int | None) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
        """By the fault's name; ``requests`` that came, ``passed`` on without a fault."""
        self.port = 0
        self._target = target
        self._random = random.Random(seed)  # noqa: S311  # no secret depends on it
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._flows: set[Ends] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        """Its address as an HTTP URL."""
        return f"http://{self.host}:{self.port}"

    def cut(self) -> None:
        """Close every connection, now."""
        self._do(self._cut())

    def forget(self, *, reset: bool) -> None:
        """Forget every connection as a network does: neither end gets a notice.

        The client's next bytes are answered with a reset, or swallowed like all that follow.
        """
        self._do(self._forget("reset" if reset else "swallow"))

    def down(self) -> None:
        """Close every connection, and each new one at once, as if no server was there."""
        self._refusing = True
        self.cut()

    def up(self) -> None:
        """End ``down``."""
        self._refusing = False

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._do(self._listen())

    def close(self) -> None:
        """End the proxy, with all its connections."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _forget(self, how: str) -> None:
        for ends in self._flows:
            ends.forgotten = how

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        server: asyncio.StreamWriter | None = None
        try:
            if not self._refusing:
                replies, server = await asyncio.open_connection(*self._target, limit=CHUNK)
                self._open.add(server)
                self.counts["connections"] += 1
                ends = Ends(reader, writer, replies, server)
                self._flows.add(ends)
                try:
                    await self._serve(ends)
                finally:
                    self._flows.discard(ends)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client, the server or the proxy ended the connection
        finally:
            for end in (writer, server):
                if end is not None:
                    self._open.discard(end)
                    end.close()
            self._tasks.discard(task)

    async def _serve(self, ends: Ends) -> None:
        """Pass pieces both ways; a fault is drawn for each piece from the client."""
        up = asyncio.ensure_future(self._pump_up(ends))
        down = asyncio.ensure_future(self._pump_down(ends))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in (up, down):
                pump.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump_up(self, ends: Ends) -> None:
        while piece := await ends.requests.read(CHUNK):
            if ends.forgotten:
                await self._lose(ends)
                return
            self.counts["requests"] += 1
            ends.fault = self._draw(("refuse", "lose", "cut", "hang"))
            if ends.fault == "refuse":
                self.counts["refuse"] += 1
                return
            await self._wait("hold", self.faults.hold)
            ends.server.write(piece)
            await ends.server.drain()

    async def _lose(self, ends: Ends) -> None:
        """Answer a forgotten connection with a reset, or swallow all that comes over it."""
        self.counts[ends.forgotten] += 1
        if ends.forgotten == "reset":
            raw = ends.client.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ends.client.transport.abort()
        else:
            await ends.requests.read()  # until the client closes the connection

    async def _pump_down(self, ends: Ends) -> None:
        while piece := await ends.replies.read(CHUNK):
            await self._wait("delay", self.faults.delay)
            fault, ends.fault = ends.fault, ""
            if not await self._hurt(fault, piece, ends):
                return

    async def _hurt(self, fault: str, reply: bytes, ends: Ends) -> bool:
        """Apply the drawn fault to a reply; return whether the connection goes on."""
        match fault:
            case "lose":
                self.counts["lose"] += 1
                return False
            case "cut":
                self.counts["cut"] += 1
                ends.client.write(reply[: self._random.randrange(len(reply))])
                await ends.client.drain()
                return False
            case "hang":
                self.counts["hang"] += 1
                await ends.requests.read()  # until the client closes the connection
                return False
            case _:
                self.counts["passed"] += 1
                ends.client.write(reply)
                await ends.client.drain()
                return True

    async def _wait(self, name: str, probability: float) -> None:
        if self._random.random() < probability:
            await asyncio.sleep(self._random.uniform(*self.faults.seconds))
            self.counts[name] += 1

    def _draw(self, names: Sequence[str]) -> str:
        """Return the fault that is to happen; empty for none."""
        drawn = self._random.random()
        for name in names:
            drawn -= getattr(self.faults, name)
            if drawn < 0:
                return name
        return ""


class HTTPProxy(Proxy):
    """A proxy that knows where requests and replies end, and the form of DynamoDB's batches."""

    async def _serve(self, ends: Ends) -> None:
        while True:
            head, body = await message(ends.requests)
            if ends.forgotten:
                await self._lose(ends)
                return
            self.counts["requests"] += 1
            fault = self._draw((
                "refuse", "lose", "cut", "hang", "fail", "fail_after", "throttle", "unprocess",
            ))  # fmt: skip
            if not await self.exchange(fault, head, body, ends):
                return

    async def exchange(self, fault: str, head: bytes, body: bytes, ends: Ends) -> bool:
        """Pass a request on, and its reply back, with that fault; return whether to go on."""
        rest: dict[str, list[Any]] = {}
        match fault:
            case "refuse":
                self.counts[fault] += 1
                return False
            case "fail" | "throttle":
                self.counts[fault] += 1
                await self.answer(ends, *_ANSWERS[fault])
                return True
            case "unprocess":
                body, rest = self._divide(body)
            case _:
                pass
        await self._wait("hold", self.faults.hold)
        ends.server.write(framed(head, body))
        await ends.server.drain()
        reply_head, reply = await message(ends.replies)
        await self._wait("delay", self.faults.delay)
        if fault == "fail_after":
            self.counts[fault] += 1
            await self.answer(ends, *_ANSWERS["fail"])
            return True
        if rest and reply_head.startswith(b"HTTP/1.1 200"):
            reply = with_rest(reply, rest)
            self.counts["unprocess"] += 1
        return await self._hurt(fault, framed(reply_head, reply), ends)

    async def answer(self, ends: Ends, status: str, body: bytes) -> None:
        """Answer in the server's place."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 0"
        ends.client.write(framed(head.encode(), body))
        await ends.client.drain()

    def _divide(self, body: bytes) -> tuple[bytes, dict[str, Any]]:
        """Take a random part, but never all, out of a batch; nothing of another request."""
        request = json.loads(body)
        items = request.get("RequestItems")
        if not isinstance(items, dict):
            return body, {}
        rest: dict[str, Any] = {}
        for table, wanted in items.items():
            keys = wanted["Keys"] if isinstance(wanted, dict) else wanted
            self._random.shuffle(keys)
            cut = self._random.randrange(1, len(keys) + 1)
            kept, left = keys[:cut], keys[cut:]
            items[table] = {**wanted, "Keys": kept} if isinstance(wanted, dict) else kept
            if left:
                rest[table] = {**wanted, "Keys": left} if isinstance(wanted, dict) else left
        return json.dumps(request).encode(), rest


class Ends:
    """The two connections of one client."""

    def __init__(
        self,
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        replies: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self.requests = requests
        self.client = client
        self.replies = replies
        self.server = server
        self.fault = ""
        """The fault that is to happen to the next reply."""
        self.forgotten = ""
        """``reset`` or ``swallow``: how the proxy treats it after ``forget``; empty before."""


_ANSWERS = {
    "fail": (
        "500 Internal Server Error",
        b'{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"injected"}',
    ),
    "throttle": (
        "400 Bad Request",
        b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}',
    ),
}


async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request or reply that says its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head[:-4], await reader.readexactly(int(value))
    raise OSError("a message that does not say its length")


def framed(head: bytes, body: bytes) -> bytes:
    """Return head and body with the right length, and without a checksum, which may be wrong."""
    lines = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"content-length:", b"x-amz-crc32:"))
    ]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


def with_rest(reply: bytes, rest: dict[str, Any]) -> bytes:
    """Return a batch's reply that also says that the rest was not done."""
    content = json.loads(reply)
    name = "UnprocessedKeys" if "UnprocessedKeys" in content else "UnprocessedItems"
    if "Responses" in content:
        name = "UnprocessedKeys"
    content[name] = {**content.get(name, {}), **rest}
    return json.dumps(content).encode()


@contextmanager
def running(made: AProxy) -> Generator[AProxy, None, None]:
    """Run a proxy, of any class."""
    made.start()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def proxy(
    host: str, port: int, faults: Faults | None = None, *, seed: int | None = None
) -> Generator[Proxy, None, None]:
    """Run a proxy for any server; what comes from the server in one piece counts as a reply.

    >>> import socket
    >>> with socket.create_server(("127.0.0.1", 0)) as server:
    ...     with proxy(*server.getsockname(), Faults(refuse=1.0)) as between:
    ...         with socket.create_connection((between.host, between.port), 10) as client:
    ...             client.sendall(b"hello")
    ...             client.recv(10)
    ...         between.counts["refuse"]
    b''
    1
    """
    with running(Proxy((host, port), faults or Faults(), seed)) as made:
        yield made


@contextmanager
def http_proxy(
    host: str, port: int, faults: Faults | None = None, *, seed: int | None = None
) -> Generator[Proxy, None, None]:
    """Run a proxy for a server of HTTP/1.1 whose messages all say their length.

    ``unprocess`` changes requests, so a server that checks signatures refuses those.
    """
    with running(HTTPProxy((host, port), faults or Faults(), seed)) as made:
        yield made

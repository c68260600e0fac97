"""One connection to memcached on an event loop: requests out, replies in, in one order.

Knows no keys and no servers; ``aio`` makes the requests and decides what a failure means. It keeps
the invariants of ``aio``.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from lpcm.caches.memcached.meta import (
    GREETING,
    Parser,
    greeting_complete,
    login,
    records,
    server_checked,
)
from lpcm.caches.memcached.servers import PACE
from lpcm.ports import CacheLost, Result
from lpcm.system import network
from lpcm.system.process import follow, forked, same, sever
from lpcm.system.transports import abort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.caches.memcached.servers import Settings

__all__ = ["Answer", "Closed", "Connection"]

_PIECE: Final = 65_536
_ids = count(1)

Answer: TypeAlias = "list[Result] | CacheLost"


class Closed(CacheLost):
    """The server closed the connection between two replies: perhaps before it read the request."""


class _Due:
    """A request whose replies are due."""

    __slots__ = ("answer", "request", "results", "since", "wanted")

    def __init__(
        self, request: Sequence[bytes], answer: asyncio.Future[Answer], since: float
    ) -> None:
        self.request = request
        self.wanted = len(request)
        self.answer = answer
        self.since = since
        self.results: list[Result] = []


class Connection(asyncio.BufferedProtocol):
    """A connection: requests out, replies in, in one order."""

    def __init__(self, name: str, timeout: float, *, tls: bool) -> None:
        self.id = next(_ids)
        self.lost: CacheLost | None = None
        """Why the connection can no longer be used; None: it can."""
        self._name = name
        self._timeout = timeout
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._memory = memoryview(bytearray(_PIECE))
        self._parser = Parser()
        self._due: deque[_Due] = deque()
        self._unsent: list[bytes] = []
        self._heard = self._moved = self._loop.time()
        self._until = self._heard + network.LONGEST
        self._trusted = network.TRUSTED
        self._pieces = 0
        self._watched = False
        self._greeting = b""
        self._greeter: asyncio.Future[None] | None = None
        self._descriptor = -1
        follow(self, Connection._orphan)

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and set its socket's options."""
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            self._descriptor = raw.fileno()
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            network.keep_alive(raw)
        else:
            self._trusted = self._until = math.inf

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer: kept bytes are copied out of it."""
        del sizehint
        if not same[0]:
            forked()  # before the loop reads the parent's replies
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Give the replies that came to the requests that wait longest."""
        data = bytes(self._memory[:nbytes])
        if self._greeter is not None:
            self._greeting += data
            if not self._greeter.done():
                self._greeter.set_result(None)
            return
        self._heard = self._loop.time()
        try:
            results = self._parser.feed(data)
        except CacheLost as error:
            self.fail(CacheLost(f"memcached {self._name}: {error}"))
            return
        self._pieces += nbytes
        due = self._due
        for result in results:
            if not due:
                self.fail(CacheLost(f"memcached {self._name}: a reply to no request"))
                return
            first = due[0]
            first.results.append(result)
            if len(first.results) == first.wanted:
                due.popleft()
                self._moved, self._pieces = self._heard, 0
                if not first.answer.done():  # else: cancelled
                    first.answer.set_result(first.results)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        reason = exc or "it closed the connection"
        # Or the kernel's own probes went unanswered while it was idle: keep_alive().
        kind = Closed if not self._parser.pieces else CacheLost
        self.fail(kind(f"memcached {self._name}: {reason}"))

    # What a client calls

    def ask(self, request: Sequence[bytes]) -> asyncio.Future[Answer]:
        """Send commands, one in each part; return the future of their replies."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        now = self._loop.time()
        if not self._due and (now - self._heard > self._trusted or now > self._until):
            self.fail(Closed(f"memcached {self._name}: idle, or open, for too long"))
        if self.lost is not None:
            answer.set_result(self.lost)
            return answer
        if self._due:  # more are coming, probably
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent += request
        else:
            self._write(request)
        self._due.append(_Due(request, answer, now))
        if not self._watched:
            self._watched = True
            self._loop.call_later(self._timeout, self._watch)
        return answer

    def _flush(self) -> None:
        if not same[0]:
            forked()
        unsent, self._unsent = self._unsent, []
        if self.lost is None:
            self._write(unsent)

    def _write(self, parts: Sequence[bytes]) -> None:
        assert self._transport is not None
        if self._tls:
            for record in records(parts):
                self._transport.write(record)
        else:
            self._transport.write(b"".join(parts))

    def _watch(self) -> None:
        """Fail where the oldest request without a reply has had its time.

        Its time begins when it is sent or when the request before it is answered. It has
        ``timeout``, and the time that its bytes and its replies' bytes take at ``PACE``.
        """
        if not same[0]:
            forked()
        self._watched = False
        if not self._due or self._transport is None:
            return
        self._watched = True
        first = self._due[0]
        quiet = self._loop.time() - max(first.since, self._moved)
        quiet -= (self._pieces + sum(map(len, first.request))) / PACE
        if quiet < self._timeout:
            self._loop.call_later(max(self._timeout - quiet, 0.01), self._watch)
        else:
            self.fail(CacheLost(f"memcached {self._name}: no answer for {self._timeout} s"))

    def _orphan(self) -> None:
        """In a forked child: drop the parent's connection."""
        if self.lost is not None or self._transport is None:
            return
        sever(self._descriptor)
        self.lost = CacheLost(f"memcached {self._name}: the connection is another process's")
        try:
            self._loop.call_soon_threadsafe(self.fail, self.lost)
        except RuntimeError:  # the loop is closed, and no task waits
            return

    def fail(self, reason: CacheLost) -> None:
        """Close the connection, and fail all requests without a reply."""
        if self.lost is None:
            self.lost = reason
        transport, self._transport = self._transport, None
        if transport is not None:
            abort(transport)
        due, self._due = self._due, deque()
        if self._loop.is_closed():  # no task waits
            return
        for each in due:
            if not each.answer.done():
                each.answer.set_result(reason)
        if self._greeter is not None and not self._greeter.done():
            self._greeter.set_result(None)

    async def greet(self, settings: Settings) -> int | str:
        """Log in, and return the largest item; a str: why the server must not be used.

        **Raises** CacheLost.
        """
        if settings.login is not None:
            reply = await self._say(login(*settings.login))
            if reply != b"STORED\r\n":
                return f"it refuses the user and password: {reply[:80]!r}"
        reply = await self._say(GREETING)
        while not greeting_complete(reply):
            reply += await self._say(b"")
        self._greeter = None
        found = server_checked(reply)
        if isinstance(found, int):
            self._parser.limit = found
        return found

    async def _say(self, request: bytes) -> bytes:
        if self.lost is None and self._transport is not None:
            self._greeter = self._loop.create_future()
            if self._greeting:
                self._greeter.set_result(None)
            self._transport.write(request)
            await self._greeter
        if self.lost is not None:
            raise self.lost
        reply, self._greeting = self._greeting, b""
        return reply

"""The asyncio transport: the same requests over connections of one event loop.

Knows what ``blocking`` knows, and keeps its invariants. A transport belongs to the event
loop that it was first used on, and is not for threads. Time limits cost one timer a
connection, not one a request: at the limit of an earlier request the timer checks the present
request's limit, and is set to that. A child of a fork that goes on with its parent's loop does not
touch its parent's connections. Parent and child share that loop's selector; the child does not
change what the selector watches for the parent.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from lpcm.errors import StoreError, StoreUnavailable
from lpcm.stores.dynamodb.http.blocking import POOL
from lpcm.stores.dynamodb.http.connection import Limits
from lpcm.stores.dynamodb.http.credentials import Route, is_certificate_error, untrusted
from lpcm.stores.dynamodb.http.messages import CHUNK, Incoming, Malformed, encode
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.stores.dynamodb.http.proxy import refusal
from lpcm.system import network
from lpcm.system.process import follow, forked, same, sever
from lpcm.system.transports import abort
from lpcm.system.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.credentials import Credentials
    from lpcm.stores.dynamodb.http.port import Reply

__all__ = ["AsyncTransport"]

_lookups = Workers("lpcm-aws", 4, idle=1.0)
"""For calls that block: finding AWS keys and reading certificates."""


class AsyncTransport:
    """DynamoDB over connections of one event loop.

    ``pool`` is how many requests may be under way at once; more wait, within their budget.
    """

    blocking = False

    def __init__(
        self, credentials: Credentials, *, pool: int = POOL, limits: Limits | None = None
    ) -> None:
        self._credentials = credentials
        self._limits = limits or Limits()
        self._pool = pool
        self._busy = 0
        self._idle: list[_Connection] = []
        self._in_use: set[_Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        follow(self, AsyncTransport._orphan)

    @property
    def endpoint(self) -> str:
        """The endpoint's URL, for messages."""
        return self._credentials.endpoint

    async def call(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        """Send one request and return its reply; see ``port.Transport``."""
        if not same[0]:
            forked()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        deadline = loop.time() + within
        body = encode(request)
        if self._busy >= self._pool:
            await self._turn(deadline)
        self._busy += 1
        connection: _Connection | None = None
        clean = False
        try:
            connection = await self._connection(deadline)
            self._in_use.add(connection)
            keys = self._credentials.current(time.time())
            if keys is None:
                keys = await _lookups.call(partial(self._credentials.keys, _left(loop, deadline)))
            if connection.lost is not None:  # it was lost while the keys were looked up
                raise NotSent(self._story(operation, connection.lost))
            data = self._credentials.head(operation, body, keys) + body
            try:
                await connection.exchange(data, deadline)
                reply = connection.incoming.reply(len(data))
            except (OSError, Malformed) as error:
                raise ReplyLost(self._story(operation, error)) from error
            clean = connection.incoming.reusable and not self.closed
            return reply
        finally:
            self._busy -= 1
            if connection is not None:
                self._in_use.discard(connection)
                if clean:
                    self._idle.append(connection)
                else:
                    connection.close()
            self._wake()

    def renew(self) -> None:
        """Look the keys up again for the next request."""
        self._credentials.renew()

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Close every connection; a connection in use when its request is done.

        Where the loop does not run, no request can end: then all are closed at once.
        """
        self.closed = True
        if not same[0]:
            forked()
        while self._idle:
            self._idle.pop().close()
        if self._loop is not None and not self._loop.is_running():
            for connection in list(self._in_use):
                connection.close()

    def _orphan(self) -> None:
        """In a forked child: drop the idle connections, which are the parent's."""
        self._idle = []

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise RuntimeError("an asyncio transport was used on another event loop than before")
        self._loop = loop

    async def _turn(self, deadline: float) -> None:
        """Wait until fewer requests than ``pool`` are under way."""
        assert self._loop is not None
        while self._busy >= self._pool:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                async with asyncio.timeout_at(deadline):
                    await turn
            except BaseException as error:
                if turn.done() and not turn.cancelled():
                    self._wake()  # give this request's turn to the next
                if not isinstance(error, TimeoutError):
                    raise
                raise NotSent(
                    f"{self.endpoint}: {self._pool} requests were under way all the time: "
                    "raise `pool`"
                ) from None

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connection(self, deadline: float) -> _Connection:
        """Return an idle connection that is alive, or a new one."""
        if self.closed:
            raise StoreError(f"{self.endpoint}: closed")
        while self._idle:
            connection = self._idle.pop()
            if connection.trusted(time.time()) and await connection.quiet():
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + self._limits.connect)
        route = await self._reach(_left(loop, deadline))
        try:
            async with asyncio.timeout_at(until):
                return await _dial(loop, route, self._limits.read, until)
        except OSError as error:
            if route.endpoint.secure and is_certificate_error(error):
                raise StoreUnavailable(untrusted(route.endpoint.url, error)) from error
            through = f" through {route.proxy}" if route.proxy else ""
            why = str(error) or "the time is up"
            raise NotSent(f"{route.endpoint.url}: no connection{through}: {why}") from error

    async def _reach(self, within: float) -> Route:
        endpoint = self._credentials.target
        if endpoint is None or endpoint.secure:
            return await _lookups.call(partial(self._credentials.reach, within))
        return Route(endpoint, None, None, [])

    def _story(self, operation: str, what: object) -> str:
        return f"{self.endpoint}: {operation}: {what}"


def _left(loop: asyncio.AbstractEventLoop, deadline: float) -> float:
    return max(0.0, deadline - loop.time())


async def _connect(
    loop: asyncio.AbstractEventLoop, host: str, port: int, until: float
) -> socket.socket:
    """Return a socket connected to one of the host's addresses, as ``network.connect`` does.

    Not ``create_connection`` with a ``happy_eyeballs_delay``: where a busy loop sees the connection
    and the deadline at the same time, its race of addresses drops the connected socket unclosed.
    """
    targets = network.numeric(host, port) or [
        (found[0], found[4])
        for found in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ]
    attempts = network.Attempts(targets)
    for sock, address, share in attempts:
        with attempts.closing(sock):
            sock.setblocking(False)
            async with asyncio.timeout(_left(loop, until) / share):
                await loop.sock_connect(sock, address)
            return sock
    raise attempts.error


async def _dial(
    loop: asyncio.AbstractEventLoop, route: Route, read: float, until: float
) -> _Connection:
    endpoint, context, proxy, _ = route
    end = proxy or endpoint
    sock = await _connect(loop, end.host, end.port, until)
    if proxy is None:
        name = endpoint.host if context is not None else None
        _, connection = await loop.create_connection(
            lambda: _Connection(loop, read), sock=sock, ssl=context, server_hostname=name
        )
        return connection
    raw, asked = await loop.create_connection(lambda: _Asked(loop), sock=sock)
    try:
        raw.write(proxy.request)
        await asked.connected
        assert context is not None
        connection = _Connection(loop, read)
        over = await loop.start_tls(raw, connection, context, server_hostname=endpoint.host)
    except BaseException:
        raw.abort()
        raise
    assert over is not None
    connection.connection_made(over)
    return connection


class _Asked(asyncio.Protocol):
    """A proxy that was sent a CONNECT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.connected: asyncio.Future[None] = loop.create_future()
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        """Take the proxy's answer; TLS begins only after the proxy has connected."""
        self._answer += data
        why = refusal(self._answer)
        if why is None or self.connected.done():
            return
        if why:
            self.connected.set_exception(OSError(why))
        else:
            self.connected.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if not self.connected.done():
            self.connected.set_exception(exc or OSError("it closed the connection"))


class _Connection(asyncio.BufferedProtocol):
    """One connection; one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, read: float) -> None:
        self._loop = loop
        self._read = read
        self._buffer = memoryview(bytearray(CHUNK))
        self._transport: Any = None
        self._poll: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._heard = 0.0
        self._used = time.time()
        self._until = loop.time() + network.LONGEST
        self.incoming = Incoming()
        self.lost: Exception | None = None
        """Why the connection cannot be used any more; None: it can."""
        self._descriptor = -1
        follow(self, _Connection._orphan)

    def _orphan(self) -> None:
        if self._descriptor < 0:
            return
        sever(self._descriptor)
        self.lost = self.lost or ConnectionError("the connection is another process's")
        with suppress(RuntimeError):  # the loop is closed, and no task waits
            self._loop.call_soon_threadsafe(self._abandon)

    def _abandon(self) -> None:
        self._fail(ConnectionError("the connection is another process's"))
        self.close()

    async def exchange(self, data: bytes, deadline: float) -> None:
        """Send a request and wait for the reply. **Raises** OSError, Malformed."""
        self.incoming.expect()
        self._used = time.time()
        self._heard = self._loop.time()
        self._deadline = deadline
        limit = self._limit()
        if self._timer is None or self._timer.when() > limit:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(limit, self._ring)
        waiter = self._waiter = self._loop.create_future()
        try:
            self._transport.write(data)
            await waiter
        finally:
            self._waiter = None

    def trusted(self, now: float) -> bool:
        """Tell whether the network still knows the connection (see ``network``).

        ``now`` is in epoch seconds: the wall clock goes on while a machine sleeps or is frozen.
        """
        return 0 <= now - self._used <= network.TRUSTED and self._loop.time() < self._until

    async def quiet(self) -> bool:
        """Tell whether the peer has neither closed nor sent anything since the last reply."""
        for _ in range(3):
            if self.lost is not None or self._transport.is_closing():
                return False
            if self._poll is None or not self._poll.poll(0):
                return True
            # Data came that the loop has not read yet: the end, or messages of TLS itself.
            await asyncio.sleep(0)
        return False

    def close(self) -> None:
        """Close; never fails."""
        self._descriptor = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        abort(self._transport)

    def _limit(self) -> float:
        return min(self._deadline, self._heard + self._read)

    def _ring(self) -> None:
        if not same[0]:
            forked()
        self._timer = None
        if self._waiter is None:
            return
        limit = self._limit()
        if self._loop.time() < limit:
            self._timer = self._loop.call_at(limit, self._ring)
        elif limit < self._deadline:
            self._fail(TimeoutError(f"no byte came for {self._read:.1f} s"))
        else:
            self._fail(TimeoutError("the time is up"))

    def _fail(self, error: Exception) -> None:
        self.lost = self.lost or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and poll its socket later, where it has one."""
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._descriptor = sock.fileno()
        if sock is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Return the buffer: the parser copies kept bytes out of it."""
        if not same[0]:
            forked()  # before the loop reads the parent's replies
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the data that came."""
        if self._waiter is None:
            self.lost = Malformed("bytes without a request")
            self.close()
            return
        self._heard = self._loop.time()
        try:
            complete = self.incoming.feed(self._buffer[:nbytes])
        except Malformed as error:
            self._fail(error)
            return
        if complete and not self._waiter.done():
            self._waiter.set_result(None)

    def eof_received(self) -> bool:
        """Note the end; close."""
        self._fail(ConnectionResetError("the connection was closed"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._descriptor = -1
        self._fail(exc or ConnectionResetError("the connection was closed"))

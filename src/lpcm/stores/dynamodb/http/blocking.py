"""The blocking transport: a pool of signed, kept-alive HTTP/1.1 connections.

Knows how a request travels, not what it means: a request is not looked into, and never sent
twice. Any number of threads may use one transport; each call has a connection to itself. No
connection is opened, and nothing looked up or imported from botocore, before the first call.

Invariants:

1. A connection goes back into the pool only after one whole reply to one request, which the
   server did not announce to be its last. In any other case the connection is closed.
2. A failure is ``NotSent`` only where no byte of the request was given to the kernel. So an idle
   connection is polled before it is used: the server may have closed it. A connection that was
   idle for too long is not used: the network may have forgotten it (see ``network``).
3. A child of a fork, noticed at each call, starts with an empty pool; the parent's
   connections stay the parent's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from lpcm.errors import StoreError
from lpcm.stores.dynamodb.http.connection import Limits, Unsent, dial
from lpcm.stores.dynamodb.http.messages import Incoming, Malformed, encode
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.system import network
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.connection import Connection
    from lpcm.stores.dynamodb.http.credentials import Credentials
    from lpcm.stores.dynamodb.http.port import Reply

__all__ = ["POOL", "SocketTransport"]

POOL = 64
_LOOK = 0.1
"""Seconds after which a waiter looks for a slot by itself: another may have taken the one that
was given back."""


class SocketTransport:
    """DynamoDB over lpcm's own sockets.

    ``pool`` is how many requests may be under way at once; more wait, within their budget.
    """

    blocking = True

    def __init__(
        self,
        credentials: Credentials,
        *,
        pool: int = POOL,
        limits: Limits | None = None,
    ) -> None:
        self._credentials = credentials
        self._limits = limits or Limits()
        self._pool = pool
        self.closed = False
        self._start()
        follow(self, SocketTransport._orphan)

    @property
    def endpoint(self) -> str:
        """The endpoint's URL, for messages."""
        return self._credentials.endpoint

    async def call(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        """Send one request and return its reply; see ``port.Transport``."""
        if not same[0]:
            forked()
        begun = time.monotonic()
        deadline = begun + within
        body = encode(request)
        credentials = self._credentials
        taken: list[_Slot] = []
        try:
            self._take(taken, deadline)
            (slot,) = taken
            connection, now = slot.connection, time.time()
            # By the wall clock, which goes on while a machine sleeps or is frozen.
            trusted = 0 <= now - slot.used <= network.TRUSTED and begun < slot.until
            if connection is None or not trusted or not connection.quiet():
                slot.drop()
                route = credentials.reach(_left(deadline))
                connection = slot.connection = dial(route, self._limits, deadline)
                slot.until = begun + network.LONGEST
                now = time.time()
            slot.used = now
            keys = credentials.current(now) or credentials.keys(_left(deadline))
            data = credentials.head(operation, body, keys) + body
            incoming = slot.incoming
            incoming.expect()
            clean = False
            try:
                connection.send(data, deadline)
                receive = connection.receive
                while not incoming.feed(received := receive(deadline)):
                    if not received:
                        raise ReplyLost(self._story(operation, "the connection was closed"))
                clean = incoming.reusable and not self.closed
                return incoming.reply(len(data))
            except Unsent as error:
                raise NotSent(self._story(operation, error)) from error
            except (OSError, Malformed) as error:
                clean = False
                raise ReplyLost(self._story(operation, error)) from error
            finally:
                if not clean:
                    slot.drop()
        finally:
            self._slots.extend(taken)
            if self._waiting:
                with suppress(IndexError):
                    self._waiting.popleft().release()

    def renew(self) -> None:
        """Look the keys up again for the next request."""
        self._credentials.renew()

    async def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)  # noqa: ASYNC251  # a blocking transport never runs on an event loop

    def close(self) -> None:
        """Close every connection; a connection in use when its request is done."""
        self.closed = True
        for _ in range(len(self._slots)):
            try:
                slot = self._slots.popleft()
            except IndexError:
                return
            slot.drop()
            self._slots.append(slot)

    def _start(self) -> None:
        self._all = [_Slot() for _ in range(self._pool)]
        self._slots = deque(self._all)
        self._waiting: deque[threading.Lock] = deque()

    def _take(self, taken: list[_Slot], deadline: float) -> None:
        """Move the slot that was used last into ``taken``, waiting for one if need be.

        Each move is one call of C: an exception out of a signal handler comes before or after.
        """
        if self.closed:
            raise StoreError(f"{self.endpoint}: closed")
        try:
            taken.extend(map(deque.pop, (self._slots,)))
        except IndexError:
            self._wait(taken, deadline)

    def _wait(self, taken: list[_Slot], deadline: float) -> None:
        while not taken:
            waiter = threading.Lock()
            waiter.acquire()
            # Added before the second look: a slot that is given back after that look wakes it.
            self._waiting.append(waiter)
            try:
                with suppress(IndexError):
                    taken.extend(map(deque.pop, (self._slots,)))
                if not taken:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        self._give_up()
                    waiter.acquire(timeout=min(left, _LOOK))
            finally:
                with suppress(ValueError):  # woken
                    self._waiting.remove(waiter)

    def _give_up(self) -> NoReturn:
        raise NotSent(
            f"{self.endpoint}: {self._pool} requests were under way all the time: raise `pool`"
        )

    def _story(self, operation: str, what: object) -> str:
        return f"{self.endpoint}: {operation}: {what}"

    def _orphan(self) -> None:
        """In a forked child: start with an empty pool."""
        left = self._all
        self._start()
        for slot in left:
            slot.drop()  # closes this process's descriptor only: the parent notices nothing


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


class _Slot:
    """A slot of the pool, for one connection."""

    __slots__ = ("connection", "incoming", "until", "used")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.used = 0.0
        """When the last request began, in epoch seconds."""
        self.until = 0.0
        """When the connection is to be replaced, by the monotonic clock."""
        self.incoming = Incoming()

    def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.incoming = Incoming()
            connection.close()

"""The connections to one server, and which operation may use which.

An operation takes an idle connection, or opens one, and gives it back when the replies are read to
the last byte. In any other case the connection is closed. So no operation can read another
operation's reply. Knows nothing of commands.

Invariants:

1. A token (a CAS id) goes back over the very connection that it came from, for memcached counts
   from 1 again when it restarts. Where another thread is using that connection, the token's
   owner waits for it; where the connection is gone, so is the token (``CacheLost``). Connection
   ids are never used again.
2. Waiting cannot deadlock: an operation that needs several connections takes those of tokens
   first, by rising id, and never waits for any other.
3. No write goes out on a connection that the network may have forgotten, or whose name may
   have moved (see ``network``). Reads do, so that a hit reads no clock. Where a read is lost
   because of that, it is repeated after ``timeout`` on a new connection, and the server is not
   marked down.
4. After a fork the child has no connections: it would share them with its parent. A caller
   checks ``process.same`` before it uses a pool.
"""

from __future__ import annotations

import errno
import itertools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn
from weakref import ref

from lpcm.caches.memcached.meta import MAX_DATA, OutOfStep, Parser, records
from lpcm.caches.memcached.servers import PACE, Breaker
from lpcm.caches.memcached.sockets import PIECE, connect
from lpcm.ports import CacheLost
from lpcm.system import network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    from lpcm.caches.memcached.servers import Address, Settings
    from lpcm.ports import Result

__all__ = ["Connection", "Pool"]

_ids = itertools.count(1)


class Connection:
    """A connection, used by one operation at a time."""

    __slots__ = (
        "__weakref__", "id", "parser", "recv", "send", "socket", "timeout", "tls", "trusted",
        "until", "waiting",
    )  # fmt: skip

    def __init__(
        self, raw: socket, timeout: float = 1.0, *, tls: bool, limit: int = MAX_DATA
    ) -> None:
        self.id = next(_ids)
        self.timeout = timeout
        self.until = time.monotonic() + network.LONGEST
        """The time at which the connection is to be replaced."""
        self.trusted = min(time.monotonic() + network.TRUSTED, self.until)
        """The time until which a write needs no check of the connection."""
        self.tls = tls
        self.socket = raw
        self.send = raw.sendall
        self.recv = raw.recv
        self.parser = Parser(limit)
        self.waiting: deque[_Waiter] = deque()
        """Threads that have a token of this connection and wait until it is idle."""

    def __del__(self) -> None:
        self.socket.close()

    def send_all(self, parts: Sequence[bytes]) -> None:
        """Send commands, one in each part.

        **Raises** TimeoutError where the server reads them too slowly.
        """
        if self.tls:
            deadline, sent = 0.0, 0
            for record in records(parts):
                if sent:
                    deadline = self.in_time(deadline, sent)
                self.send(record)
                sent = len(record)
            return
        data = b"".join(parts)
        sent = self.socket.send(data)
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        # Not sendall: with the kernel's limits each of its sends would have the whole time.
        deadline, sent = 0.0, 0
        while rest:
            deadline = self.in_time(deadline, sent)
            sent = self.socket.send(rest)
            rest = rest[sent:]

    def receive(self, wanted: int, results: list[Result]) -> None:
        """Add the next replies to ``results`` until there are ``wanted``."""
        deadline, data = 0.0, b""
        while len(results) < wanted:
            if data:
                deadline = self.in_time(deadline, len(data))
            data = self.recv(PIECE)
            if not data:
                raise ConnectionResetError("it closed the connection")
            results += self.parser.feed(data)
        if len(results) > wanted or self.parser.pieces:
            raise OutOfStep("more replies than commands")

    def in_time(self, deadline: float, received: int) -> float:
        """Return the deadline of the next piece; ``deadline`` 0: none has come yet.

        **Raises** TimeoutError after the deadline, so that a reply in very small pieces ends too.
        """
        now = time.monotonic()
        if not deadline:
            return now + self.timeout
        if now > deadline + received / PACE:
            raise TimeoutError("it works too slowly")
        return deadline + received / PACE


class _Waiter:
    """A thread that waits for a connection to be handed over."""

    __slots__ = ("closed", "lock")

    def __init__(self) -> None:
        self.closed = False
        self.lock = threading.Lock()
        self.lock.acquire()


class _Closed:
    """The idle connections of a closed client: there are none."""

    def pop(self) -> NoReturn:
        raise CacheLost("this client of memcached is closed")

    def append(self, connection: Connection) -> None:
        connection.socket.close()

    def remove(self, connection: Connection) -> None:
        raise ValueError(connection)


class Pool:
    """The connections to one server, and whether it is up."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self.settings = settings
        self.breaker = Breaker(str(address))
        self.idle: deque[Connection] | _Closed = deque()
        # Weak references: a connection that an exception out of a signal handler lost on its way
        # is closed by the garbage collector.
        self.open: dict[int, ref[Connection]] = {}
        self.lock = threading.RLock()  # reentrant: a listener of events may use the pool
        self.limit = MAX_DATA
        """Bytes of the largest item, as the server says in its greeting."""

    def take(self) -> Connection:
        """Return a connection that no operation is using."""
        try:
            connection = self.idle.pop()
        except IndexError:
            return self.connect()
        if time.monotonic() < connection.trusted:
            return connection
        return connection if self._known(connection) else self.connect()

    def _known(self, connection: Connection) -> bool:
        """Tell whether the network still knows a connection; close it where it may not."""
        now = time.monotonic()
        quiet = network.silence(connection.socket)
        if quiet is None:
            quiet = now - connection.trusted + network.TRUSTED
        if not self.address.port:  # a unix socket: no network in between
            quiet = 0.0
        if quiet < network.TRUSTED and now < connection.until:
            connection.trusted = min(now + network.TRUSTED - quiet, connection.until)
            return True
        self.discard(connection)
        if now < connection.until:
            self.forget()  # the connections below it have been idle even longer
        return False

    def exactly(self, id: int) -> Connection:
        """Return the connection of that id, waiting for it where it is in use."""
        known = self.open.get(id)
        connection = None if known is None else known()
        if connection is None:
            raise CacheLost(f"memcached {self.address}: the token's connection is gone")
        if self._remove(connection):
            return connection
        waiter = _Waiter()
        connection.waiting.append(waiter)
        if self._remove(connection):  # given back before the waiter was added
            connection.waiting.remove(waiter)
            return connection
        if id not in self.open or not waiter.lock.acquire(timeout=self.settings.timeout):
            try:
                connection.waiting.remove(waiter)
            except ValueError:  # handed over at the last moment
                waiter.lock.acquire()
            else:
                if self._remove(connection):  # given back by a thread that was then interrupted
                    return connection
                raise CacheLost(f"memcached {self.address}: the token's connection is in use")
        if waiter.closed:
            raise CacheLost(f"memcached {self.address}: the token's connection is gone")
        return connection

    def _remove(self, connection: Connection) -> bool:
        removed: list[None] = []
        try:
            # One call of C: ``removed`` says whether the connection is removed, also where an
            # exception comes out of a signal handler.
            removed.extend(map(self.idle.remove, (connection,)))
        except ValueError:
            return False
        except BaseException:
            if removed:
                self.discard(connection)
            raise
        return True

    def give_back(self, connection: Connection) -> None:
        """Give back a token's connection; close it where it is to be replaced."""
        if time.monotonic() > connection.until:
            self.discard(connection)
            return
        self.idle.append(connection)
        if connection.waiting:
            self.hand_over(connection)

    def hand_over(self, connection: Connection) -> None:
        """Give an idle connection to a waiter, unless another operation has taken it."""
        while connection.waiting and self._remove(connection):
            try:
                connection.waiting.popleft().lock.release()
            except IndexError:  # the waiter gave up
                self.idle.append(connection)
            else:
                return

    def lost(self, connection: Connection, error: BaseException, *, again: bool) -> None:
        """Close a failed connection, and raise; return only where the request may be sent again.

        With ``again`` that is where the server had closed the connection while it was idle, or the
        network had forgotten it.
        """
        forgotten = isinstance(error, TimeoutError | BlockingIOError) and self._forgotten(
            connection, error
        )
        self.discard(connection)
        match error:
            case BlockingIOError() | TimeoutError() if forgotten:
                self.forget()
                if again:
                    return
            case BlockingIOError() | TimeoutError():
                self._failed(f"no answer for {self.settings.timeout} s")
            case CacheLost() | ValueError():  # out of step
                raise CacheLost(f"memcached {self.address}: {error}") from error
            case OSError():
                self.forget()  # the server process has ended, probably, and with it the others
                if again and isinstance(error, ConnectionError):
                    return
                raise CacheLost(f"memcached {self.address}: {error}") from error
            case _:
                raise error
        raise CacheLost(f"memcached {self.address}: no answer in time") from error

    def _forgotten(self, connection: Connection, error: OSError) -> bool:
        """Tell whether there was no reply because the network had forgotten the connection."""
        if error.errno == errno.ETIMEDOUT:  # the kernel's own probes went unanswered
            return True
        quiet = network.silence(connection.socket) if self.address.port else None
        return quiet is not None and quiet > network.TRUSTED + 0.9 * self.settings.timeout

    def discard(self, connection: Connection) -> None:
        """Close a connection that is in use."""
        self.open.pop(connection.id, None)
        connection.socket.close()
        while connection.waiting:
            try:
                waiter = connection.waiting.popleft()
            except IndexError:
                return
            waiter.closed = True
            waiter.lock.release()

    def forget(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                connection = self.idle.pop()
            except (IndexError, CacheLost):
                return
            self.discard(connection)

    def _failed(self, reason: str, *, trial: bool = False) -> None:
        with self.lock:
            self.breaker.failed(time.monotonic(), reason, trial=trial)
        self.forget()

    # Connecting

    def connect(self) -> Connection:
        """Open a connection, check the server, and return the connection."""
        if isinstance(self.idle, _Closed):
            self.idle.pop()
        patience = self.settings.connect_timeout
        with self.lock:
            trial = self.breaker.admit(time.monotonic(), 2 * patience)
        try:
            opened = connect(self.address, self.settings)
        except (OSError, OutOfStep) as error:
            text = f"no connection in {patience} s" if isinstance(error, TimeoutError) else error
            self._failed(str(text), trial=trial)
            raise CacheLost(f"memcached {self.address}: {text}") from error
        if isinstance(opened, str):
            with self.lock:
                self.breaker.refused(time.monotonic(), opened)
            raise CacheLost(f"memcached {self.address}: {opened}")
        with self.lock:
            self.breaker.worked()
        raw, self.limit = opened
        connection = Connection(
            raw, self.settings.timeout, tls=self.settings.tls is not None, limit=self.limit
        )
        known, number = self.open, connection.id
        known[number] = ref(connection, lambda _: known.pop(number, None))
        return connection

    def close(self) -> None:
        """Close idle connections now, and connections in use when they are given back."""
        idle, self.idle = self.idle, _Closed()
        while isinstance(idle, deque) and idle:
            self.discard(idle.pop())

    def orphan(self) -> None:
        """In a forked child: drop the parent's connections."""
        self.lock = threading.RLock()
        for known in list(self.open.values()):
            connection = known()
            if connection is not None:
                # An operation that the fork interrupted must not read the parent's replies.
                connection.socket.close()
        self.open.clear()
        if isinstance(self.idle, deque):
            self.idle.clear()

"""One connection to DynamoDB: opened, polled, written and read within time limits.

Knows bytes and deadlines, nothing of HTTP replies or signatures. A plain connection is a
blocking socket with the kernel's own timeouts: with ``settimeout`` CPython polls
before each call (2 µs of 20). OpenSSL retries after such a timeout for ever, and sockets of gevent
and eventlet never time out so; these connections use ``settimeout``.

Two kinds of failure are distinguished here (see ``port``): ``Unsent`` where no byte of
the request was given to the kernel, ``OSError`` where some bytes were or might have been.
"""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lpcm.errors import StoreUnavailable
from lpcm.stores.dynamodb.http.credentials import is_certificate_error, untrusted
from lpcm.stores.dynamodb.http.messages import CHUNK
from lpcm.stores.dynamodb.http.port import NotSent
from lpcm.stores.dynamodb.http.proxy import refusal
from lpcm.system.network import connect, left, waits

if TYPE_CHECKING:
    import ssl

    from lpcm.stores.dynamodb.http.credentials import Route
    from lpcm.stores.dynamodb.http.proxy import Proxy

TICK = 0.25
"""Seconds for which a blocking socket waits at once. As long as a caller has more time, the
kernel's limits need not be set again."""

__all__ = ["Connection", "Limits", "Unsent", "dial"]


class Limits(NamedTuple):
    """Seconds, each within the caller's own limit."""

    connect: float = 2.0
    """To resolve the name, connect and shake hands."""
    read: float = 5.0
    """To wait for the next byte of a reply."""


class Unsent(OSError):
    """Nothing of the request was sent."""


class Connection(Protocol):
    """One open connection."""

    def quiet(self) -> bool:
        """Tell whether the peer has neither closed nor sent anything since the last reply."""
        ...

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. **Raises** Unsent, OSError."""
        ...

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes; empty at the end. **Raises** OSError."""
        ...

    def close(self) -> None:
        """Close; never fails."""
        ...


class _Plain:
    """A blocking socket whose timeouts are the kernel's (see ``network.waits``)."""

    __slots__ = ("_patience", "_poll", "_read", "_sock")

    def __init__(self, sock: socket.socket, read: float) -> None:
        self._sock = sock
        self._read = read
        self._poll = _poller(sock)
        self._patience = 0.0
        self._wait_at_most(TICK)

    def _wait_at_most(self, seconds: float) -> None:
        self._patience = seconds = min(max(seconds, 0.001), TICK)  # 0 would mean for ever
        timeval = struct.pack("@ll", 0, int(seconds * 1e6))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def quiet(self) -> bool:
        return not self._poll(0)

    def send(self, data: bytes, deadline: float) -> None:
        if self._patience < TICK:  # an earlier request had less time
            self._wait_at_most(TICK)
        try:
            sent = self._sock.send(data)
        except OSError as error:
            raise Unsent(*error.args) from error
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            self._wait_at_most(left(deadline))
            with suppress(BlockingIOError):  # the deadline is checked above
                rest = rest[self._sock.send(rest) :]

    def receive(self, deadline: float) -> bytes:
        waited = 0.0
        while True:
            # Checked each time: a reply in very small pieces must end by the deadline, too.
            if deadline - monotonic() < self._patience:
                self._wait_at_most(left(deadline))
            try:
                return self._sock.recv(CHUNK)
            except BlockingIOError:
                waited += self._patience
            if waited >= self._read:
                raise TimeoutError(f"no byte came for {waited:.1f} s")
            if self._read - waited < self._patience:
                self._wait_at_most(self._read - waited)

    def close(self) -> None:
        self._sock.close()


class _Timed:
    """A TLS or green thread's socket, whose timeouts are Python's."""

    __slots__ = ("_poll", "_read", "_sessions", "_sock", "_tls")

    def __init__(
        self, sock: socket.socket, read: float, sessions: list[ssl.SSLSession] | None
    ) -> None:
        self._sock: Any = sock
        self._read = read
        self._poll = _poller(sock)
        self._tls = sessions is not None
        self._sessions = sessions
        """Where the session is to be put, once: servers give it with their first bytes."""

    def quiet(self) -> bool:
        if not self._poll(0):
            return True
        if not self._tls:
            return False
        # TLS has messages of its own (session tickets), which are read here.
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except OSError as error:
            import ssl

            return isinstance(error, ssl.SSLWantReadError)
        return False

    def send(self, data: bytes, deadline: float) -> None:
        self._sock.settimeout(left(deadline))
        try:
            sent = self._sock.send(data)
        except OSError as error:
            if self._tls:
                raise
            raise Unsent(*error.args) from error
        rest = memoryview(data)[sent:]
        while rest:  # not sendall: over TLS its limit is for each part
            self._sock.settimeout(left(deadline))
            rest = rest[self._sock.send(rest) :]

    def receive(self, deadline: float) -> bytes:
        self._sock.settimeout(min(left(deadline), self._read))
        received: bytes = self._sock.recv(CHUNK)
        if self._sessions is not None:
            self._sessions[:] = [self._sock.session]
            self._sessions = None
        return received

    def close(self) -> None:
        self._sock.close()


def _poller(sock: socket.socket) -> Any:
    """Return a function that returns, called with 0, the events on the socket."""
    if not hasattr(select, "poll"):
        return lambda _: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def dial(route: Route, limits: Limits, deadline: float) -> Connection:
    """Connect to one of the name's addresses, as they are now.

    **Raises** NotSent; StoreUnavailable for a certificate that is not trusted.
    """
    deadline = min(deadline, monotonic() + limits.connect)
    endpoint, context, proxy, sessions = route
    end = proxy or endpoint
    try:
        sock = connect(end.host, end.port, deadline)
        try:
            if proxy is not None:
                _ask(sock, proxy, deadline)
            if context is not None:
                sock.settimeout(left(deadline))
                session = sessions[0] if sessions else None
                sock = context.wrap_socket(sock, server_hostname=endpoint.host, session=session)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        if context is not None and is_certificate_error(error):
            raise StoreUnavailable(untrusted(endpoint.url, error)) from error
        through = f" through {proxy}" if proxy else ""
        raise NotSent(f"{endpoint.url}: no connection{through}: {error}") from error
    if context is None and waits(sock):
        return _Plain(sock, limits.read)
    return _Timed(sock, limits.read, None if context is None else sessions)


def _ask(sock: socket.socket, proxy: Proxy, deadline: float) -> None:
    """Send the proxy a CONNECT, and read its answer."""
    sock.settimeout(left(deadline))
    sock.sendall(proxy.request)
    answer = b""
    while (why := refusal(answer)) is None:
        sock.settimeout(left(deadline))
        # Byte by byte: the bytes that follow belong to TLS. It happens once a connection.
        received = sock.recv(1)
        if not received:
            raise OSError("it closed the connection")
        answer += received
    if why:
        raise OSError(why)

"""One connection to DynamoDB: dialled, watched, written and read within time limits.

Knows bytes and deadlines, nothing of HTTP replies or signatures. A plain connection is a
blocking socket with the kernel's own timeouts: ``settimeout`` would have CPython poll
before each call (2 µs of 20). OpenSSL retries such a timeout for ever, so a TLS
connection does use ``settimeout``.

What a failure means is told apart here (see ``port``): ``Unsent`` where not one byte of
the request was handed to the kernel, ``OSError`` where some was or might have been.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lpcm.stores.dynamodb.exchange import CHUNK
from lpcm.stores.dynamodb.port import NotSent
from lpcm.stores.dynamodb.tunnel import refusal

if TYPE_CHECKING:
    from lpcm.stores.dynamodb.identity import Way
    from lpcm.stores.dynamodb.tunnel import Tunnel

TICK = 0.25
"""Seconds a blocking socket waits before it is asked what its limits are: as long as a
caller has more, they need not be told to the kernel."""

__all__ = ["Limits", "Link", "Unsent", "addresses", "dial"]


class Limits(NamedTuple):
    """Seconds, each within what the caller allows."""

    connect: float = 2.0
    """To resolve the name, connect and shake hands."""
    read: float = 5.0
    """To wait for the next byte of a reply."""


class Unsent(OSError):
    """Nothing of the request was sent."""


class Link(Protocol):
    """One open connection."""

    def quiet(self) -> bool:
        """Tell whether the peer has neither closed nor said anything since the last reply."""
        ...

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. **Raises** Unsent, OSError."""
        ...

    def receive(self, deadline: float) -> bytes:
        """Return what comes next; empty at the end. **Raises** OSError."""
        ...

    def close(self) -> None:
        """Close; never fails."""
        ...


class _Plain:
    """A blocking socket whose timeouts are the kernel's."""

    __slots__ = ("_patience", "_poll", "_read", "_sock")

    def __init__(self, sock: socket.socket, read: float) -> None:
        self._sock = sock
        self._read = read
        self._poll = _poller(sock)
        sock.setblocking(True)
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
            self._wait_at_most(_left(deadline))
            with suppress(BlockingIOError):  # the time is looked at above
                rest = rest[self._sock.send(rest) :]

    def receive(self, deadline: float) -> bytes:
        waited = 0.0
        while True:
            left = deadline - monotonic()  # each time: what comes in drops must end too
            if left < self._patience:
                self._wait_at_most(_left(deadline))
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
    """A socket, maybe TLS, whose timeouts are Python's."""

    __slots__ = ("_poll", "_read", "_sock")

    def __init__(self, sock: socket.socket, read: float) -> None:
        self._sock = sock
        self._read = read
        self._poll = _poller(sock)

    def quiet(self) -> bool:
        if not self._poll(0):
            return True
        # TLS has messages of its own (session tickets): those are read here.
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except OSError as error:
            import ssl

            return isinstance(error, ssl.SSLWantReadError)
        return False

    def send(self, data: bytes, deadline: float) -> None:
        # One limit for all of it: sendall keeps it over its parts.
        self._sock.settimeout(_left(deadline))
        self._sock.sendall(data)

    def receive(self, deadline: float) -> bytes:
        self._sock.settimeout(min(_left(deadline), self._read))
        return self._sock.recv(CHUNK)

    def close(self) -> None:
        self._sock.close()


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the time is up")
    return left


def _poller(sock: socket.socket) -> Any:
    """Return a function that tells, for 0, what happened on the socket."""
    if not hasattr(select, "poll"):
        return lambda _: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def dial(way: Way, limits: Limits, deadline: float) -> Link:
    """Connect to one of the name's addresses, as they are now. **Raises** NotSent."""
    deadline = min(deadline, monotonic() + limits.connect)
    place, context, via = way
    end = via or place
    try:
        sock = _connect(addresses(end.host, end.port, deadline), deadline)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if via is not None:
                _ask(sock, via, deadline)
            if context is not None:
                sock.settimeout(_left(deadline))
                sock = context.wrap_socket(sock, server_hostname=place.host)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        through = f" through {via}" if via else ""
        raise NotSent(f"{place.url}: no connection{through}: {error}") from error
    if context is not None or sys.platform == "win32":
        return _Timed(sock, limits.read)
    return _Plain(sock, limits.read)


def _ask(sock: socket.socket, via: Tunnel, deadline: float) -> None:
    """Have the proxy connect."""
    sock.settimeout(_left(deadline))
    sock.sendall(via.request)
    answer = b""
    while (why := refusal(answer)) is None:
        sock.settimeout(_left(deadline))
        # Byte by byte, since what follows is TLS's; it happens once a connection.
        received = sock.recv(1)
        if not received:
            raise OSError("it closed the connection")
        answer += received
    if why:
        raise OSError(why)


Address = tuple[int, Any]


def addresses(host: str, port: int, deadline: float) -> list[Address]:
    """Return the (family, address) pairs of a host. **Raises** OSError.

    The resolver of the C library knows no time limit (it may take half a minute where no
    name server answers), so it works on a thread of its own that is left behind if need be.
    """
    kind, flags = socket.SOCK_STREAM, socket.AI_NUMERICHOST
    with suppress(socket.gaierror):
        return [(found[0], found[4]) for found in socket.getaddrinfo(host, port, 0, kind, 0, flags)]
    result: list[Any] = []

    def resolve() -> None:
        try:
            result.append(socket.getaddrinfo(host, port, type=kind))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=resolve, name="lpcm-resolver", daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if not result:
        raise TimeoutError(f"the name {host} was not resolved in time")
    if isinstance(result[0], OSError):
        raise result[0]
    return [(found[0], found[4]) for found in result[0]]


def _connect(targets: list[Address], deadline: float) -> socket.socket:
    error: OSError = OSError("the name has no address")
    for index, (family, address) in enumerate(targets):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A share of what is left for each, so that a dead one leaves time for the next.
            sock.settimeout(_left(deadline) / (len(targets) - index))
            sock.connect(address)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error

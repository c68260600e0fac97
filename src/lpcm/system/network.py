"""TCP connections as every adapter opens them, and how long a connection may be used.

Resolves names, connects, finds out whether the kernel keeps the time limits of a socket, and how
long a connection has been silent. Knows no protocol and no server.

Invariant: every wait in this module ends by its deadline. The adapters replace a connection
without traffic for ``TRUSTED`` seconds, or open for ``LONGEST``, before the next write:

- Networks forget connections. A NAT gateway of AWS drops a flow after 350 s without packets, other
  gateways and firewalls after 60 to 300 s; the next packet is answered with a reset, or swallowed.
  20 s are shorter than all of these, and for a client that waits longer between its operations,
  the time of a new connection does not matter.
- Names move. A connection to the name's old address works until that machine is gone.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

__all__ = [
    "LONGEST",
    "TRUSTED",
    "Attempts",
    "addresses",
    "connect",
    "keep_alive",
    "left",
    "numeric",
    "silence",
    "waits",
]

TRUSTED: Final = 20.0
"""Seconds without traffic after which no write goes out on a connection."""
LONGEST: Final = 600.0
"""Seconds after which a connection is replaced, and its name resolved again."""

Address = tuple[int, Any]


def left(deadline: float) -> float:
    """Return the seconds until a deadline. **Raises** TimeoutError after it."""
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise TimeoutError("the time is up")
    return seconds


def waits(sock: socket.socket) -> bool:
    """Make the socket blocking, and tell whether the kernel then waits and keeps its time limits.

    Where it does, SO_RCVTIMEO and SO_SNDTIMEO are the limits, which cost less than ``settimeout``.
    Sockets of gevent and eventlet stay non-blocking underneath, even after ``setblocking(True)``:
    only ``settimeout`` limits them. Each socket is checked, since programs patch the module at
    any time. (Windows takes other options than these.)
    """
    sock.setblocking(True)
    return sys.platform != "win32" and os.get_blocking(sock.fileno())


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel send probes on a quiet connection, so that the network does not forget it.

    The probes cost the program nothing. Where no probe is answered, the next use of the socket
    fails at once, with ETIMEDOUT.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def silence(sock: socket.socket) -> float | None:
    """Return the seconds since data last came over a TCP connection; None where that is unknown.

    Linux counts them for every connection, so that no operation has to read a clock.
    """
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 56)
    except OSError:
        return None
    # struct tcp_info: 8 bytes, then words, of which the twelfth is tcpi_last_data_recv in ms.
    return int.from_bytes(info[52:56], sys.byteorder) / 1000 if len(info) == 56 else None


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Return a socket connected to one of the host's addresses, as they are now.

    **Raises** OSError where none can be reached in time.
    """
    attempts = Attempts(addresses(host, port, deadline))
    for sock, address, share in attempts:
        with attempts.closing(sock):
            sock.settimeout(left(deadline) / share)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise attempts.error


class Attempts:
    """Sockets for the addresses of a host, one after the other, until one is connected."""

    def __init__(self, targets: Sequence[Address]) -> None:
        self._targets = targets
        self.error: OSError = OSError("the name has no address")
        """Why the last attempt failed."""

    def __iter__(self) -> Iterator[tuple[socket.socket, Any, int]]:
        """Yield a socket, its address, and the part of the time that is left: one in so many.

        So a dead address leaves time for the next.
        """
        for index, (family, address) in enumerate(self._targets):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as failure:  # the system has no addresses of this family
                self.error = failure
            else:
                yield sock, address, len(self._targets) - index

    @contextmanager
    def closing(self, sock: socket.socket) -> Generator[None, None, None]:
        """Close a socket that the block does not connect; an OSError of the block ends here."""
        try:
            yield
        except OSError as failure:
            sock.close()
            self.error = failure
        except BaseException:
            sock.close()
            raise


def addresses(host: str, port: int, deadline: float) -> list[Address]:
    """Return the (family, address) pairs of a host. **Raises** OSError.

    The resolver of the C library has no time limit (it may take half a minute where no name
    server answers), so it runs on a thread of its own, which is left behind at the deadline.
    """
    if found := numeric(host, port):
        return found
    result: list[Any] = []

    def resolve() -> None:
        try:
            result.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=resolve, name="lpcm-resolver", daemon=True)
    thread.start()
    thread.join(left(deadline))
    if not result:
        raise TimeoutError(f"the name {host} was not resolved in time")
    if isinstance(result[0], OSError):
        raise result[0]
    return [(found[0], found[4]) for found in result[0]]


def numeric(host: str, port: int) -> list[Address]:
    """Return the pair of a host that is given by its address; none where it is given by a name."""
    kind, flags = socket.SOCK_STREAM, socket.AI_NUMERICHOST
    with suppress(socket.gaierror):
        return [(found[0], found[4]) for found in socket.getaddrinfo(host, port, 0, kind, 0, flags)]
    return []

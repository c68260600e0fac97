"""Opening a blocking socket to a server that may be used: connect, TLS, login, greeting.

Knows no pool and no commands but the greeting's. Invariant: the server of a returned socket has
answered, within ``connect_timeout`` in all, and every later wait on the socket is finite. The
limits are the kernel's (``SO_RCVTIMEO``, ``SO_SNDTIMEO``), for with ``settimeout`` Python polls
before each read. They are Python's only where the kernel does not wait (``network.waits``).
"""

from __future__ import annotations

import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from lpcm.caches.memcached.meta import GREETING, greeting_complete, login, server_checked
from lpcm.system import network

if TYPE_CHECKING:
    from lpcm.caches.memcached.servers import Address, Settings

__all__ = ["PIECE", "connect"]

PIECE: Final = 65_536
"""Bytes to read at once; over 128 KiB the C library would map and unmap memory."""


def connect(address: Address, settings: Settings) -> tuple[socket.socket, int] | str:
    """Return a connected socket, and the bytes of the largest item that the server takes.

    A str: why the server must not be used.

    **Raises** OSError where the server cannot be reached in time.
    """
    deadline = monotonic() + settings.connect_timeout
    raw = _open(address, settings, deadline)
    try:
        limit = _greet(raw, settings, deadline)
        _limit(raw, settings)
    except BaseException:
        raw.close()
        raise
    if isinstance(limit, str):
        raw.close()
        return limit
    return raw, limit


def _open(address: Address, settings: Settings, deadline: float) -> socket.socket:
    host, port = address
    if not port:
        raw = socket.socket(socket.AF_UNIX)
        try:
            raw.settimeout(network.left(deadline))
            raw.connect(host)
        except BaseException:
            raw.close()
            raise
        return raw
    raw = network.connect(host, port, deadline)
    try:
        network.keep_alive(raw)
        raw.settimeout(network.left(deadline))
        return settings.tls.wrap_socket(raw, server_hostname=host) if settings.tls else raw
    except BaseException:
        raw.close()
        raise


def _greet(raw: socket.socket, settings: Settings, deadline: float) -> int | str:
    """Log in, and return the largest item; a str: why the server must not be used."""
    if settings.login is not None:
        reply = _answer(raw, login(*settings.login), deadline)
        if reply != b"STORED\r\n":
            return f"it refuses the user and password: {reply[:80]!r}"
    reply = _answer(raw, GREETING, deadline)
    while not greeting_complete(reply):
        reply += _answer(raw, b"", deadline)
    return server_checked(reply)


def _answer(raw: socket.socket, request: bytes, deadline: float) -> bytes:
    raw.settimeout(network.left(deadline))
    raw.sendall(request)
    data = raw.recv(PIECE)
    if not data:
        raise ConnectionResetError("it closed the connection")
    return data


def _limit(raw: socket.socket, settings: Settings) -> None:
    """Bound every later wait."""
    # With the kernel's limits, OpenSSL would start a timed-out read again, for ever.
    if settings.tls is not None or not network.waits(raw):
        raw.settimeout(settings.timeout)
        return
    seconds, part = divmod(settings.timeout, 1)
    packed = struct.pack("ll", int(seconds), max(1, int(part * 1_000_000)))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, packed)

"""Transports: ending the connections of an event loop that does not run any more.

``Transport.abort`` only asks the loop to close the socket later. A loop that was closed never
does, and the descriptor stays until the garbage collector finds it. Knows what is inside
asyncio's own transports; those of another loop are aborted, and closed as that loop closes them.

Invariant: after ``abort`` the socket is closed, or the running loop is about to close it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["abort"]


def abort(transport: Any) -> None:
    """Close a transport, dropping what was not sent; never fails, and may be done twice.

    From the thread of its loop, or, where the loop does not run, from any.
    """
    raw = transport
    over = getattr(transport, "_ssl_protocol", None)
    if over is not None:  # TLS: the socket is that of the transport below
        raw = getattr(over, "_transport", None) or transport
    loop = getattr(raw, "_loop", None)
    if loop is None or loop.is_running() or not hasattr(raw, "_call_connection_lost"):
        with suppress(RuntimeError):  # its loop is closed
            transport.abort()
    elif getattr(raw, "_sock", None) is not None:
        _sever(raw, loop)


def _sever(raw: Any, loop: Any) -> None:
    """Do at once what ``abort`` would have the loop do later."""
    if hasattr(loop, "_remove_reader"):
        loop._remove_reader(raw._sock_fd)  # noqa: SLF001  # the public one refuses transports
        loop._remove_writer(raw._sock_fd)  # noqa: SLF001  # as above
    raw._closing = True  # noqa: SLF001  # so that nothing is written to it
    raw._conn_lost += 1  # noqa: SLF001  # as above
    with suppress(RuntimeError):  # whom the protocol tells may want a loop that is not closed
        raw._call_connection_lost(None)  # noqa: SLF001  # nothing public closes the socket now

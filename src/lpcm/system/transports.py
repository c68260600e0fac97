"""Transports: ending the connections of an event loop that does not run any more.

``Transport.abort`` only asks the loop to close the socket later. A closed loop never does, and
the descriptor stays open until the garbage collector finds it. Knows the insides of asyncio's own
transports; other loops' transports are aborted, and those loops close them.

Invariant: after ``abort`` the socket is closed, or the running loop is about to close it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["abort"]


def abort(transport: Any) -> None:
    """Close a transport, dropping unsent data; never fails, and may be called twice.

    Call it from the thread of the transport's loop; from any thread where the loop does not run.
    """
    raw = transport
    over = getattr(transport, "_ssl_protocol", None)
    if over is not None:  # TLS: the transport below has the socket
        raw = getattr(over, "_transport", None) or transport
    loop = getattr(raw, "_loop", None)
    if loop is None or loop.is_running() or not hasattr(raw, "_call_connection_lost"):
        with suppress(RuntimeError):  # its loop is closed
            transport.abort()
    elif getattr(raw, "_sock", None) is not None:
        _sever(raw, loop)


def _sever(raw: Any, loop: Any) -> None:
    """Do at once the steps that ``abort`` leaves to the loop."""
    if hasattr(loop, "_remove_reader"):
        loop._remove_reader(raw._sock_fd)  # noqa: SLF001  # the public one refuses transports
        loop._remove_writer(raw._sock_fd)  # noqa: SLF001  # as above
    raw._closing = True  # noqa: SLF001  # so that nothing is written to it
    raw._conn_lost += 1  # noqa: SLF001  # as above
    with suppress(RuntimeError):  # the protocol's callbacks may use the loop, which is closed
        raw._call_connection_lost(None)  # noqa: SLF001  # nothing public closes the socket now

"""Closing connections that a fork in C left in its child, so that the log stays.

Knows SQLite's locks as bytes of a file; nothing of who opened the connections.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from lpcm.stores.sqlite import byte_locks

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["nothing_deleted"]

_SHARED = (0x40000000 + 2, 510)  # the bytes of a file that SQLite locks, for its readers
_PATIENCE = 5.0


@contextlib.contextmanager
def nothing_deleted(
    path: str, connections: Sequence[sqlite3.Connection]
) -> Generator[bool, None, None]:
    """Have connections closed here leave the log alone; False if that cannot be.

    The last to close a database takes its log into it and deletes the log: by its name. The
    one inherited may have been deleted long ago, by the parent's close, and another process
    have written another one since, and died.
    """
    if hasattr(sqlite3, "SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE"):  # from Python 3.12
        for raw in connections:
            raw.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE)  # type: ignore[attr-defined,unused-ignore]  # as above
        yield True
        return
    lock = _shared_lock(path)
    try:
        yield lock is not None
    finally:
        # Closing any descriptor drops the process's locks; it has none on this file yet.
        if lock is not None and lock >= 0:
            os.close(lock)


def _shared_lock(path: str) -> int | None:
    """Lock the file against all, this process too; None if impossible, -1 if it is gone."""
    if not byte_locks.OWN:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1  # SQLite deletes nothing where the database itself has moved
    except OSError:
        return None
    deadline = time.monotonic() + _PATIENCE
    while not byte_locks.lock(descriptor, *_SHARED, shared=True):
        if time.monotonic() > deadline:
            os.close(descriptor)
            return None
        time.sleep(0.005)
    return descriptor

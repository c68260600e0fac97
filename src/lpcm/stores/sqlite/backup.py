"""A copy of a SQLite file while it is in use, as of one instant.

The copy is made by SQLite's backup API on a connection of the store itself, never by reading
the file: the content is in the file and its log together, and whoever closes a descriptor of
the file drops all locks that this process has on it (POSIX locks belong to a process, not to
a descriptor). Another process may then remove the log, with acknowledged writes in it.

Knows nothing of what stands in the tables. Invariant: under the name of the backup there is at
any moment the old file or the whole new one.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from stat import S_ISREG
from typing import TYPE_CHECKING

from lpcm.errors import StoreError, StoreFull, StoreUnavailable
from lpcm.stores.sqlite.confirm import confirm
from lpcm.stores.sqlite.connections import operations
from lpcm.system.files import replacing

if TYPE_CHECKING:
    from lpcm.stores.sqlite.file import File

__all__ = ["backup"]

operations.add(__name__)

# ruff: noqa: PTH110, PTH116, PTH120, PTH121  # pathlib costs import time

_STEP = 4096  # pages between two looks at whether there is a signal to handle
_BESIDE = ("-wal", "-shm", "-journal")


def backup(file: File, path: str) -> None:
    """Write the file's content to ``path``; what is there before is replaced at the end.

    Others read and write meanwhile; the log cannot be reset, so it grows by what is written.
    A fork by another thread waits. **Raises** ``StoreError``; then nothing is replaced.
    """
    target = os.path.realpath(path)
    _check(file, target)
    try:
        with replacing(target, mode=0o600) as beside:
            _copy(file, beside, target)
    except FileNotFoundError as error:
        folder = os.path.dirname(target)
        raise StoreUnavailable(
            f"{target}: there is no directory {folder!r}: create it first"
        ) from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        kind = StoreFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreUnavailable
        raise kind(f"{target}: cannot write the backup: {error.strerror}") from error


def _copy(file: File, beside: str, target: str) -> None:
    with (
        file.connection() as connection,
        connection.lock,
        closing(sqlite3.connect(beside, isolation_level=None)) as copy,
    ):
        raw = connection.raw or connection.open()
        connection.execute("BEGIN")
        # The whole backup reads this one snapshot, so no writer makes it start again.
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        copy.execute("PRAGMA journal_mode = OFF")  # a copy that is broken off is thrown away
        try:
            # SQLite does not see signals; between two steps Python does.
            raw.backup(copy, pages=_STEP, progress=_between)
        except sqlite3.Error as error:
            reason = file.translated(error)
            raise type(reason)(f"{target}: the backup failed: {reason}") from error
        connection.execute("COMMIT")
        confirm(file, connection, wrote=False)


def _between(status: int, remaining: int, total: int) -> None:
    pass


def _check(file: File, target: str) -> None:
    """Refuse a target that is, or may be, a database in use."""
    live = os.path.realpath(file.path)
    if target in {live, *(live + end for end in _BESIDE)} or _same(target, live):
        raise StoreError(f"{target}: is the database itself: name another file for its backup")
    for end in _BESIDE:
        if os.path.exists(target + end):
            raise StoreError(
                f"{target}: is a database in use, for {target + end} is there: name another file, "
                "or open and close it once no process uses it"
            )
    if os.path.exists(target) and not S_ISREG(os.stat(target).st_mode):
        raise StoreUnavailable(f"{target}: is no regular file: name a file for the backup")


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False

"""What is done where a file, or its log, is no more where it was opened.

Whether it is, ``location`` knows. Here all connections are closed then, so that no operation
begins on a file that is out of its place. What the log has is first copied into the file, wherever
that is now, and the log is emptied: one that is left beside another file would be applied to that.
Where only the log was deleted, the next operation makes a new one.

Invariant: when ``confirm`` has returned, what its connection committed or read before is in the
file that has the name, with its log beside it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from lpcm.errors import OutcomeUnknown, StoreUnavailable
from lpcm.stores.sqlite.location import MOVED

if TYPE_CHECKING:
    from lpcm.errors import LPCMError
    from lpcm.stores.sqlite.database import Database, Handle

__all__ = ["confirm", "opened", "unmoved"]


def unmoved(file: Database) -> None:
    """Raise StoreUnavailable, before anything is opened, where another file has the name."""
    if file.place.moved:
        _part(file)
        raise _error(file, MOVED, wrote=False)


def opened(file: Database, raw: sqlite3.Connection) -> None:
    """Take note of the files that a new connection has; refuse others than before."""
    raw.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the log
    if wrong := file.place.opened(first=not any(one.raw for one in file.connections())):
        _part(file)
        raise _error(file, wrong, wrote=False)


def confirm(file: Database, connection: Handle, *, wrote: bool = True, now: float = 0.0) -> None:
    """Raise if what a connection, whose lock is held, just read or wrote is out of its place.

    **Raises** ``OutcomeUnknown`` after a write, ``StoreUnavailable`` after a read.
    """
    if wrong := file.place.look(now):
        _part(file, connection)
        raise _error(file, wrong, wrote=wrote)


def _part(file: Database, own: Handle | None = None) -> None:
    """Disconnect ``own`` and each connection that is not in use; those look by themselves."""
    for one in file.connections():
        taken: list[bool] = []
        try:
            if one is not own:
                taken.extend(map(one.lock.acquire, (False,)))  # see connections
                if not taken[0]:
                    continue
            if one.raw is not None:
                with suppress(sqlite3.Error):
                    one.raw.execute("PRAGMA busy_timeout = 100")
                    one.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            one.shut()
        finally:
            if True in taken:
                one.lock.release()


def _error(file: Database, wrong: str, *, wrote: bool) -> LPCMError:
    message = f"{file.path}: {wrong}"
    if wrote:
        return OutcomeUnknown(f"{message}: the last write may be lost: read before writing again")
    return StoreUnavailable(
        f"{message}: start the program again, or call lpcm.close(), to use what is there now"
    )

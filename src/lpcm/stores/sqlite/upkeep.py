"""What keeps a SQLite file and its log small: a little work after some writes, or all at once.

After so many writes, ``look`` deletes a few expired rows, gives back a few free pages, and
restarts a log that has become long. ``purge`` and ``vacuum`` do the first two to the end.

Knows rows by their expiry alone. Invariant: nothing here fails or undoes the write before it,
and no step takes long: others write in between.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lpcm.errors import LPCMError
from lpcm.ports import Delete, Purged
from lpcm.stores.sqlite.confirm import confirm
from lpcm.stores.sqlite.connections import operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from lpcm.ports import Op
    from lpcm.stores.sqlite.connections import Connection
    from lpcm.stores.sqlite.file import File

__all__ = ["LOAD", "PAGES_KEPT", "Upkeep"]

operations.add(__name__)

T = TypeVar("T")

LOAD = 64
"""The load, in writes of a page or less, after which a store looks after its file."""
_EXPIRING, _DELETING = 4, 2  # what a write that may expire, and one that deletes, weigh
_PURGED = _EXPIRING // 2  # rows for so much load: twice as many as have been written meanwhile
_PURGE_BULK = 1000
_PAGES_STEP = 256
PAGES_KEPT = 128  # free pages that are always left for what comes
_WAIT = 0.2  # seconds that a step waits for others
_WAIT_MOST = 2.0
_MOMENT = 0.001
_PAUSE, _PAUSE_MOST = 0.05, 5.0  # seconds until the next attempt at a log that was in use
_GROWN = 1.25  # or until the log has grown so many times: as seldom, for a log that only grows

_HAS_EXPIRED = "SELECT 1 FROM entries INDEXED BY expiry WHERE x <= ? LIMIT 1"
_PURGE = (
    "DELETE FROM entries WHERE rowid IN"
    " (SELECT rowid FROM entries INDEXED BY expiry WHERE x <= ? LIMIT ?)"
)
_MAPS = 500  # in one statement: older SQLite takes 999 parameters
_COUNT = (
    "SELECT (SELECT total(one.count) FROM (SELECT (SELECT count(*) FROM entries"
    " WHERE entries.pk = maps.pk) AS count FROM maps) AS one),"
    " (SELECT count(*) FROM entries INDEXED BY expiry WHERE x <= ?)"
)


class Upkeep:
    """What one store does for its file."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._log = os.path.realpath(file.path) + "-wal"
        self._not_before = 0.0
        self._not_below = 0.0
        self._pause = _PAUSE
        self.load = LOAD
        """Each write adds to the load; from LOAD on, ``look``. The first write looks: programs that
        write a little and end, again and again, are many writers too."""

    def wrote(self, ops: Sequence[Op], now: float) -> None:
        """Look after the file where that is due after these writes."""
        if self.due(ops):
            self.look(now)

    def due(self, ops: Sequence[Op]) -> bool:
        """Count these writes; tell whether the file is to be looked after."""
        self.load += len(ops)
        for op in ops:
            if type(op) is Delete:
                self.load += _DELETING - 1
            elif getattr(op, "expires", None) is not None:
                self.load += _EXPIRING - 1
        return self.load >= LOAD

    def look(self, now: float) -> None:
        """Do a little of each. Cost: 15 µs where nothing is to be done."""
        load, self.load = self.load, 0
        with suppress(LPCMError):  # the write it follows is done: say nothing else
            self._restart_log()
            self._impatiently(partial(self._tidy, now, min(load // _PURGED, _PURGE_BULK)))

    def give_back(self) -> None:
        """Shrink the file by the free pages that it need not keep, step by step."""
        with suppress(LPCMError):
            self._restart_log()
            left = True
            while left:
                left = self._impatiently(_give_back)
                self._restart_log()

    def _impatiently(self, work: Callable[[Connection], T], patience: float = _WAIT) -> T:
        """Call ``work`` with a connection that does not wait long for others.

        No context manager made of a generator: an exception of a signal handler can come when the
        generator has run and ``with`` has not begun, and its traceback would keep the lock taken.
        """
        with self._file.connection() as connection, connection.lock:
            connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
            connection.hasty = True
            try:
                return work(connection)
            finally:
                connection.end_statement()
                if connection.raw is not None:
                    connection.calm()

    def _tidy(self, now: float, most: int, connection: Connection) -> None:
        self._purge_some(connection, now, most)
        _give_back(connection)

    def _purge_some(self, connection: Connection, now: float, most: int) -> None:
        # Of every map in the file: so by the system's clock too, as a caller whose clock is
        # ahead, or a test's, must not delete what is alive to the others.
        now = min(now, time.time())
        if connection.execute(_HAS_EXPIRED, (now,)).fetchone():
            connection.execute(_PURGE, (now, most))

    def _restart_log(self) -> None:
        """Copy a long log into the file, so that the next write begins it anew.

        SQLite does this by itself where it finds no reader in the log and no writer at its end;
        where there is always one, the log grows for ever. So here others are waited for, the
        longer the more there is of it.
        """
        try:
            size = os.stat(self._log).st_size  # noqa: PTH116  # pathlib costs import time
        except OSError:
            return
        begun = time.monotonic()
        if size <= self._file.log_size or (begun < self._not_before and size < self._not_below):
            return
        patience = min(_WAIT * size / self._file.log_size, _WAIT_MOST, self._file.busy_timeout)

        def restart(connection: Connection) -> None:
            # It waits for readers and writers, but not for another checkpoint, as SQLite makes
            # one at each write to a long log.
            while connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
                now = time.monotonic()
                if now > begun + patience:
                    self._pause = min(2 * self._pause, _PAUSE_MOST)
                    self._not_before = now + self._pause
                    self._not_below = _GROWN * size
                    return
                time.sleep(_MOMENT)
            self._pause = _PAUSE

        self._impatiently(restart, patience)

    # At once

    async def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:
        """Delete what has expired from these maps, ``most`` rows at a time."""
        for start in range(0, len(maps), _MAPS):
            chunk = maps[start : start + _MAPS]
            purge = _PURGE.replace(" LIMIT", f" AND pk IN ({', '.join('?' * len(chunk))}) LIMIT")
            count = most
            while count == most:
                with self._file.connection() as connection, connection.lock:
                    connection.calm()
                    count = connection.execute(purge, (now, *chunk, most)).rowcount
                    confirm(self._file, connection)
                yield Purged(count, count)
        self.give_back()

    def vacuum(self) -> None:
        """Write the file anew, without free pages, and empty its log."""
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            # Takes effect where the file is written anew, so for files of earlier versions.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA temp_store = FILE")  # for its copy of the whole file
            try:
                connection.execute("VACUUM")
            finally:
                connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            confirm(self._file, connection)

    def info(self, now: float) -> dict[str, Any]:
        """Return the sizes of the file and its log, in bytes, and how many entries it has."""
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            pragma = _pragmas(connection)
            page = pragma("page_size")
            size, free = pragma("page_count") * page, pragma("freelist_count") * page
            vacuumed = pragma("auto_vacuum") == 2
            held, expired = connection.execute(_COUNT, (now,)).fetchone()
            confirm(self._file, connection, wrote=False)
        try:
            log = os.stat(self._log).st_size  # noqa: PTH116  # as above
        except OSError:
            log = 0
        return {
            "file": self._file.path,
            "size": size,
            "free": free,
            "shrinks": vacuumed,
            "log": log,
            "entries": int(held) - expired,
            "expired": expired,
        }


def _give_back(connection: Connection) -> bool:
    """Shrink the file by some pages; tell whether there are more to be given back."""
    pragma = _pragmas(connection)
    free = pragma("freelist_count")
    # A fifth of the file is kept for what is written next: growing again costs more.
    if free <= PAGES_KEPT or 5 * free <= (pages := pragma("page_count")):
        return False
    if pragma("auto_vacuum") != 2:  # made by an earlier version: see vacuum
        return False
    excess = min(free - PAGES_KEPT, (5 * free - pages) // 4 + 1)
    # A page for each row, of no columns, which Python fetches but in a script.
    connection.execute("SELECT 1").executescript(
        f"PRAGMA incremental_vacuum({min(_PAGES_STEP, excess)})"
    )
    return excess > _PAGES_STEP


def _pragmas(connection: Connection) -> Callable[[str], int]:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    return pragma

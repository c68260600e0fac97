"""Whether a database and its log are still where this process opened them.

A process that has a file open goes on writing into it after another program has deleted it,
moved it away or put another one in its place, and SQLite notices only some of that. So each
write looks after its commit, before it is acknowledged: what is acknowledged is in the file of
that name, with its log beside it. Most reads look, too; a read of one entry every 0.1 s.

Looking is one ``stat``, of the directory: whatever takes a name in it away, or gives a name to
another file, changes the time stamp of the directory. Only where that has changed are the files
themselves looked at. A time stamp is remembered when it is older than the clock that makes it is
coarse: two changes within one tick have the same.

Knows file names and numbers, nothing of SQLite. Invariant: ``ctime`` and ``inode`` are those of
the directory at a moment when everything was in its place, and any later change gives others.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GONE", "MOVED", "PERIOD", "Directory", "Place", "directory"]

# ruff: noqa: PTH120, PTH114  # pathlib costs import time

PERIOD = 0.1
"""Seconds for which a read of one entry takes for granted what an earlier one saw."""
MOVED = "the file was deleted, moved or replaced while in use"
_TICK = 0.1
_WHOLE_SECONDS = 3.0  # where time stamps have no fraction, as on FAT
_LOG = ("-wal", "-shm")


class Directory(NamedTuple):
    """What is asked of a directory: the names are those of ``os.stat_result``."""

    st_ctime_ns: int
    st_ino: int
    st_ctime: float = 0.0


GONE = Directory(-1, -1)


def nowhere_else(path: str) -> Directory:  # noqa: ARG001  # the signature of os.stat
    """Return the same for every directory, for systems where nothing open can move."""
    return Directory(0, 0)


_NEVER_MOVED: bool = os.name == "nt"  # Windows deletes and renames no file that is open
directory: Callable[[str], Directory | os.stat_result] = nowhere_else if _NEVER_MOVED else os.stat


class Place:
    """Where a database was opened, and what was there."""

    __slots__ = ("_database", "_linked", "_log", "_path", "_real", "ctime", "folder", "inode",
                 "since", "until")  # fmt: skip

    def __init__(self, path: str) -> None:
        self._path = path
        self._linked = os.path.islink(path)
        self._real = os.path.realpath(path) if self._linked else path
        self._database: tuple[int, int] | None = None
        self._log: list[tuple[int, int] | None] = [None, None]
        self.folder = os.path.dirname(self._real)
        self.ctime = self.inode = 0
        # The times of a caller's clock between which a read need not look.
        self.since = self.until = 0.0

    def opened(self, *, first: bool) -> str:
        """Take what is there for what was opened; return what is wrong if it is another file.

        ``first``: no other connection is open, so the log may be a new one.
        """
        if _NEVER_MOVED:
            return ""
        self.ctime = 0
        found = _number(self._real)
        if self._database is None:
            self._database = found
        if first:
            self._log = [_number(self._real + end) for end in _LOG]
        return self._wrong()

    def look(self, now: float = 0.0) -> str:
        """Return what is no more in its place, "" if everything is."""
        # In this order: a change after the first line gives the directory another time.
        try:
            folder = directory(self.folder)
        except OSError:
            folder = GONE
        if folder.st_ctime_ns != self.ctime or folder.st_ino != self.inode:
            self.ctime = 0
            if wrong := self._wrong():
                self.until = 0.0
                return wrong
            tick = _TICK if folder.st_ctime_ns % 1_000_000_000 else _WHOLE_SECONDS
            if not self._linked and time.time() - folder.st_ctime > tick:
                self.ctime, self.inode = folder.st_ctime_ns, folder.st_ino
        self.since, self.until = now, now + PERIOD
        return ""

    def _wrong(self) -> str:
        if self.moved:
            return MOVED
        for end, number in zip(_LOG, self._log, strict=True):
            if number is not None and _number(self._real + end) != number:
                return f"{self._real + end}, a part of it, was deleted or replaced while in use"
        return ""

    @property
    def moved(self) -> bool:
        """Whether the name does not lead to the file that was opened."""
        return self._database is not None and (
            _number(self._real) != self._database
            or (self._linked and os.path.realpath(self._path) != self._real)
        )


def _number(path: str) -> tuple[int, int] | None:
    """Return what tells a file from every other that exists, None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

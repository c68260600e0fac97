"""The lines of processes at a SQLite file, or at one key in it: first come, first served.

SQLite has no line for its lock: each process asks again and again, and the one that has just let
the lock go asks first. Here a process that waits holds a lock on one byte of the log (``-wal``).
The byte's number is the microsecond at which it came. So it is the first one where no other process
holds an earlier byte of the same line: one attempt to lock them all. The bytes need not be in the
file. Nothing is stored, and the system drops the locks of a process that ends.

- **SQLite locks the database and its index, never the log.** So a descriptor of the log can be
  closed without harm to SQLite's locks.
- **A line gives an order, and no exclusion**: what its processes do is right without it. One that
  has stood in it for longer than ``PATIENCE`` holds nobody up any more, be it stopped or at work.
- **Who has had its turn goes on for ``TURN``** without a look at the line, and then stands at its
  end. Handing over costs about as much as a write.
- The time is that of the system's clock, which all processes share, those in containers too. After
  it is set back, or once in half a year, some come earlier than they should.

Where locks belong to the open file (Linux), each line of a process has its own. Elsewhere they are
the process's, and one that has several lines may lose its place in one. Without locks (Windows) a
process waits for a moment instead, at the end of its turn.

Knows no connection and no write. Invariant: a process that has left, or ended, holds nobody up.
"""

from __future__ import annotations

import time
from io import FileIO
from typing import Final
from zlib import crc32

from lpcm.stores.sqlite import byte_locks
from lpcm.system.process import follow, forked, same

__all__ = ["OFTEN", "PATIENCE", "TURN", "KeyLine", "Line", "Lines"]

PATIENCE: Final = 0.5
"""Seconds after which a process that stands in a line is passed."""
TURN: Final = 0.002
"""Seconds for which a process goes on before it stands in the line again."""
OFTEN: Final = 0.0001
_SELDOM: Final = 0.005
"""Seconds between two looks of a process whether it is the first one, at least and at most."""
_MOMENT: Final = 0.001
"""Seconds for which a process waits that has no place."""
_WRAP: Final = 1 << 44
"""Bytes of the log that a line has: microseconds of half a year."""
_LINES: Final = 1 << 18
_MOST: Final = 256
"""The lines that are remembered for their next use."""


class _Log(FileIO):
    """The log, opened."""

    def __del__(self) -> None:
        self.close()  # without a warning, where an exception came between two steps


class Line:
    """The place of this process in one line. One thread or task at a time stands in it."""

    __slots__ = ("__weakref__", "_base", "_came", "_expected", "_followed", "_log", "_path",
                 "_since", "_until", "standing")  # fmt: skip

    def __init__(self, path: str, number: int = 0) -> None:
        self._path = path
        self._base = number * _WRAP
        self._followed = False
        self._came = 0
        self._since = 0.0
        self._until = 0.0
        """The end of this process's turn."""
        self._expected = 0.0
        """How long it stood there last."""
        self._log: _Log | None = None
        """The file whose byte it holds; None: it has no place that others see."""
        self.standing = False

    def _after_fork(self) -> None:
        log, self._log = self._log, None
        self.standing = False
        self._until = 0.0
        if log is not None:
            log.close()  # and not unlocked: the lock is the parent's

    def ours(self) -> bool:
        """Tell whether this process has its turn still."""
        return time.monotonic() < self._until

    def stand(self) -> bool:
        """Stand at the end, or keep the place; tell whether the others see it."""
        if not same[0]:
            forked()
        if not self.standing:
            if not self._followed:
                follow(self, Line._after_fork)
                self._followed = True
            self.standing = True
            self._since = time.monotonic()
            self._log = self._placed()
        return self._log is not None

    def _placed(self) -> _Log | None:
        log = _opened(self._path)
        if log is None:
            return None
        self._came = time.time_ns() // 1000 % _WRAP
        if byte_locks.lock(log, self._base + self._came, 1):
            return log
        log.close()  # another one came in this very microsecond
        return None

    def first(self) -> bool:
        """Tell whether nobody stands before this process. Cost: one call of the system.

        Where it has no place it waits for a moment, so that others are not always too late.
        """
        log = self._log
        waited = time.monotonic() - self._since
        if log is None:
            return waited >= _MOMENT
        # Not those who have waited for so long; and this process not for them.
        before = min(int(1e6 * (PATIENCE - waited)), self._came)
        start = self._base + self._came - before
        return before <= 0 or byte_locks.lock(log, start, before + 1)

    def pause(self) -> float:
        """Return the seconds until the next look: the fewer, the nearer its turn must be."""
        if self._log is None:
            return _MOMENT
        left = self._expected - (time.monotonic() - self._since)
        return min(_SELDOM, max(OFTEN, left / 2))

    def leave(self) -> None:
        """Leave the line for a turn, where this process stands in it."""
        if not self.standing:
            return
        log, self._log = self._log, None
        self.standing = False
        now = time.monotonic()
        self._expected = now - self._since
        self._until = now + TURN
        if log is not None:
            byte_locks.unlock(log, self._base, _WRAP)
            log.close()


class KeyLine(Line):
    """The same in the line of a key."""

    __slots__ = ("_among",)

    def __init__(self, path: str, number: int, among: Lines) -> None:
        super().__init__(path, number)
        self._among = among

    def free(self) -> bool:
        """Tell whether this process need not stand in the line: in its turn, or where nobody does.

        Cost: that of ``Lines.quiet``; nothing in a turn.
        """
        return self.ours() or self._among.quiet()


class Lines:
    """The lines of the keys of one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: dict[int, KeyLine] = {}
        self._quiet_until = 0.0

    def of(self, map: str, sk: str) -> KeyLine:
        """Return the line of a key; few of the others have the same."""
        number = 1 + crc32(f"{map}{sk}".encode(errors="surrogatepass")) % (_LINES - 1)
        line = self._lines.get(number)
        if line is None:
            if len(self._lines) >= _MOST:
                self._lines = {}
            line = self._lines[number] = KeyLine(self._path, number, self)
        return line

    def quiet(self) -> bool:
        """Tell whether no process stands in any of them, or did when last asked, 2 ms ago at most.

        Cost: three calls of the system, 5 microseconds, once in ``TURN``: so what is done at many
        keys, one after the other, does not look at the line of each.
        """
        now = time.monotonic()
        if now < self._quiet_until:
            return True
        log = _opened(self._path)
        if log is not None:
            with log:
                if byte_locks.LOCKS and not byte_locks.is_free(log, _WRAP, (_LINES - 1) * _WRAP):
                    return False
        self._quiet_until = now + TURN
        return True


def _opened(path: str) -> _Log | None:
    """Open the log of a database; None where it is not there: nobody waits."""
    try:
        return _Log(f"{path}-wal", "r+")
    except OSError:
        return None

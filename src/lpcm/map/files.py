"""Values of bytes as files, for ``LPCM.open``: Python's own interfaces over ``operations.files``.

Imported by those who open one. Invariant: a file that was not closed, whatever became of it, has
changed nothing.
"""

from __future__ import annotations

import io
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast

from lpcm.engine.drive import do
from lpcm.operations.binding import closed_error
from lpcm.operations.files import Reading, Writing
from lpcm.ports import When

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries

__all__ = ["opened"]

T = TypeVar("T")

_BUFFER: Final = 64 * 1024
"""Bytes that a reading file has in its buffer beside the part that it is in."""


class Reader(io.RawIOBase):
    """The raw file of a value that is read."""

    def __init__(self, use: Entries, reading: Reading) -> None:
        super().__init__()
        self._entries = use
        self._reading = reading
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read some bytes into a buffer; return how many: 0 at the end."""
        self._check_open()
        check_open(self._entries)
        into = memoryview(buffer).cast("B")
        if not into:
            return 0
        found = do(self._reading.at, self._place)
        count = min(len(into), len(found))
        into[:count] = found[:count]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; return it."""
        self._check_open()
        self._place = sought(offset, whence, self._place, self._reading.size)
        return self._place

    def _check_open(self) -> None:
        if self.closed:
            raise closed_file()


class Writer(io.BufferedIOBase):
    """The file of a value that is written."""

    def __init__(self, use: Entries, writing: Writing, key: object) -> None:
        super().__init__()
        self._entries = use
        self._writing: Writing | None = writing
        self._key = key
        self._place = 0
        self._turn = threading.Lock()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Take all of the bytes; return how many. One thread at a time: else RuntimeError."""
        view = memoryview(data).cast("B")
        self._alone(partial(self._write, view))
        return len(view)

    def _write(self, view: memoryview, writing: Writing) -> None:
        try:
            check_open(self._entries)
            do(writing.write, view)
        except BaseException:
            # A request may be on its way still, and store a part after it was deleted: a sweep
            # deletes what there is, later.
            self._let_go()
            raise
        self._place += len(view)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._alone(lambda _: self._place)

    def close(self) -> None:
        """Store what was written as the value, in one instant; a second time: do nothing."""
        if self._writing is not None:
            self._alone(self._finish)

    def _finish(self, writing: Writing) -> None:
        self._let_go()
        check_open(self._entries)
        if not do(writing.finish):
            raise already_there(self._entries, self._key)

    def _alone(self, work: Callable[[Writing], T]) -> T:
        """Do the work with the open file; refuse it in the midst of another thread's."""
        taken: list[bool] = []
        try:
            taken.extend(map(self._turn.acquire, (False,)))  # as connections have it
            if not taken[0]:
                raise RuntimeError("another thread is writing to the file: one write at a time")
            if self._writing is None:
                raise closed_file()
            return work(self._writing)
        finally:
            if True in taken:
                self._turn.release()

    def _let_go(self) -> None:
        """Be closed, without a write."""
        self._writing = None
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writing = self._writing
        if kind is None:
            self.close()
        elif writing is not None:
            busy = self._turn.locked()
            self._let_go()
            if not busy:  # else a sweep does it: another thread is still at a request
                do(writing.abandon)

    def __del__(self) -> None:
        # io's own closes the file, which would store half a value.
        if getattr(self, "_writing", None) is not None:
            self._let_go()
            warnings.warn(
                not_closed(self._entries, self._key), ResourceWarning, stacklevel=2, source=self
            )


# What both kinds of files say and refuse.


def check_open(use: Entries) -> None:
    """Raise what the map itself raises where it is closed."""
    if use.binding.closed:
        raise closed_error(use.binding.name)


def closed_file() -> ValueError:
    """Return Python's own error for a file that is closed."""
    return ValueError("I/O operation on closed file")


def already_there(use: Entries, key: object) -> FileExistsError:
    """Return the error of a file in the mode ``xb`` whose key is present."""
    return FileExistsError(f"{key!r} is in map {use.binding.name!r}: nothing was written")


def not_closed(use: Entries, key: object) -> str:
    """Return the warning of a file that was written to and forgotten."""
    name = use.binding.name
    return f"a file of {key!r} in map {name!r} was not closed: nothing was written"


def sought(offset: int, whence: int, place: int, size: int) -> int:
    """Return the place that a ``seek`` leads to, from a place in a file of that size.

    >>> sought(-1, 2, 0, 10)
    9
    """
    starts = {io.SEEK_SET: 0, io.SEEK_CUR: place, io.SEEK_END: size}
    if whence not in starts:
        raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
    place = starts[whence] + offset
    if place < 0:
        raise ValueError(f"negative seek position {place}")
    return place


def begun(mode: str, ttl: TTL) -> When | None:
    """Return the condition of a file that is written; None: it is read."""
    if mode == "rb":
        if ttl is not None:
            raise ValueError("ttl is of a file that is written")
        return None
    if mode not in {"wb", "xb"}:
        raise ValueError(f"a value is opened 'rb', 'wb' or 'xb', not {mode!r}")
    return When.ABSENT if mode == "xb" else When.ALWAYS


def opened(use: Entries, key: object, mode: str, ttl: TTL) -> io.BufferedReader | BinaryIO:
    """Return the file of a key: see ``LPCM.open``."""
    when = begun(mode, ttl)
    if when is None:
        return io.BufferedReader(Reader(use, do(Reading.begin, use, key)), _BUFFER)
    return cast("BinaryIO", Writer(use, Writing(use, key, ttl, when), key))

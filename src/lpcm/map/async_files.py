"""Values of bytes as files of an event loop, for ``LPCM.aopen``, over ``operations.files``.

The other face of ``map.files``, with the names of Python's files; what may send a request is
awaited. Imported by those who open one. Invariants: a file that was not closed, whatever became of
it, has changed nothing; a request is sent by one task at a time.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from lpcm.map.files import already_there, begun, check_open, closed_file, not_closed, sought
from lpcm.operations.files import Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from types import TracebackType
    from typing import Self

    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries

__all__ = ["AsyncReader", "AsyncWriter", "Opening", "aopened"]

_LOOK: Final = 8 * 1024
"""Bytes that are searched for the end of a line at once."""

F = TypeVar("F", bound="AsyncReader | AsyncWriter")


class Opening(Generic[F]):
    """A file that is opened by ``await``, or by ``async with``, which closes it too."""

    def __init__(self, begin: Callable[[], Awaitable[F]]) -> None:
        self._begin = begin
        self._file: F | None = None

    def __await__(self) -> Generator[Any, None, F]:
        return self._begin().__await__()

    async def __aenter__(self) -> F:
        self._file = await self._begin()
        return self._file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None, "it was entered"
        await self._file.__aexit__(kind, error, trace)


class AsyncReader:
    """A value of bytes that is read; iterated over, its lines."""

    def __init__(self, use: Entries, reading: Reading) -> None:
        self._entries = use
        self._reading: Reading | None = reading
        self._place = 0

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._reading is None

    async def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, or all to the end; fewer only at the end.

        Where it raises, or is cancelled, it has read nothing, and may be called again. Cost: a
        request for each part that is read.
        """
        left = float("inf") if size is None or size < 0 else size
        pieces: list[bytes] = []
        place = self._place
        while left and (found := await self._at(place)):
            piece = bytes(found if left >= len(found) else found[: int(left)])
            pieces.append(piece)
            place += len(piece)
            left -= len(piece)
        self._place = place
        return b"".join(pieces)

    async def readline(self, size: int | None = -1, /) -> bytes:
        r"""Return the bytes to the next ``\n``, that included, or to the end; so many at most."""
        left = float("inf") if size is None or size < 0 else size
        pieces: list[bytes] = []
        place = self._place
        while left and (found := await self._at(place)):
            piece = bytes(found[: int(min(left, _LOOK))])
            end = piece.find(b"\n") + 1
            pieces.append(piece[:end] if end else piece)
            place += len(pieces[-1])
            left = 0 if end else left - len(piece)
        self._place = place
        return b"".join(pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; return it. Sends nothing."""
        self._place = sought(offset, whence, self._place, self._open().size)
        return self._place

    async def tell(self) -> int:
        """Return the place."""
        self._open()
        return self._place

    async def aclose(self) -> None:
        """Close it. Sends nothing."""
        self._reading = None

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _at(self, place: int) -> memoryview:
        reading = self._open()
        check_open(self._entries)
        found = reading.at_hand(place)  # without a thread's or a loop's turn for each line
        if found is None:
            found = await self._entries.drive(reading.at(place), reads=True)
        return found

    def _open(self) -> Reading:
        if self._reading is None:
            raise closed_file()
        return self._reading


class AsyncWriter:
    """A value of bytes that is written, and stored by ``aclose``."""

    def __init__(self, use: Entries, writing: Writing, key: object) -> None:
        self._entries = use
        self._writing: Writing | None = writing
        self._key = key
        self._place = 0
        self._busy = False

    @property
    def closed(self) -> bool:
        """Whether it was closed, or has failed."""
        return self._writing is None

    async def write(self, data: Any, /) -> int:
        """Take all of the bytes; return how many.

        Cost: a request for each 390 KB of a value over 400 KB. Where it raises, or is cancelled,
        the file is closed and nothing is written; a sweep deletes its parts. **Raises**
        RuntimeError while another task writes.
        """
        writing = self._open()
        view = memoryview(data).cast("B")
        self._busy = True
        try:
            check_open(self._entries)
            await self._run(writing, writing.write(view))
        except BaseException:
            # A request may be on its way still, and store a part after it was deleted: a sweep
            # deletes what there is, later.
            self._writing = None
            raise
        finally:
            self._busy = False
        self._place += len(view)
        return len(view)

    async def tell(self) -> int:
        """Return the number of bytes written."""
        self._open()
        return self._place

    async def aclose(self) -> None:
        """Store what was written as the value, in one instant; a second time: do nothing.

        Where it is cancelled it may still be stored, as by any write that is cancelled.
        """
        if self._writing is None:
            return
        writing = self._open()
        self._writing = None
        check_open(self._entries)
        if not await self._entries.drive(writing.finish()):
            raise already_there(self._entries, self._key)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writing = self._writing
        if kind is None:
            await self.aclose()
        elif writing is not None:
            self._writing = None
            if not self._busy:  # else a sweep does it: another task is still at a request
                await self._run(writing, writing.abandon())

    async def _run(self, writing: Writing, operation: Coroutine[Any, Any, None]) -> None:
        """Await what sends requests for a value in parts alone, and else takes no time."""
        await (self._entries.drive(operation) if writing.in_parts else operation)

    def _open(self) -> Writing:
        if self._writing is None:
            raise closed_file()
        if self._busy:
            raise RuntimeError("another task is writing to the file: await one write at a time")
        return self._writing

    def __del__(self) -> None:
        if getattr(self, "_writing", None) is not None:
            self._writing = None
            warnings.warn(
                not_closed(self._entries, self._key), ResourceWarning, stacklevel=2, source=self
            )


def aopened(ause: Callable[[], Entries], key: object, mode: str, ttl: TTL) -> Opening[Any]:
    """Return what opens the file of a key: see ``LPCM.aopen``."""

    async def begin() -> AsyncReader | AsyncWriter:
        use = ause()
        when = begun(mode, ttl)
        if when is not None:
            return AsyncWriter(use, Writing(use, key, ttl, when), key)
        return AsyncReader(use, await use.drive(Reading.begin(use, key), reads=True))

    return Opening(begin)

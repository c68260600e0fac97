"""A write to a SQLite file that waits for its turn, and who waits for it: a thread or a task.

Threads whose writes have ended together wake one after another: each wakes the next one as soon as
it runs. All of them at once would wait for the interpreter's lock: twice the processor time for a
write of 32 threads.

Knows neither the queue nor the file. Invariant: a thread or task that waits wakes when its write
has ended; where another one that was to wake it does not run, a moment later: see ``commit``.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Op
    from lpcm.stores.sqlite.bulk import Row
    from lpcm.stores.sqlite.connections import Connection

__all__ = ["Write", "end", "pass_on", "wake"]


class Write:
    """A write that waits for its turn, or has had it."""

    __slots__ = ("do", "ended", "error", "loop", "next", "now", "outcome", "plain", "rows",
                 "settle", "several", "since", "size", "wake")  # fmt: skip

    def __init__(
        self,
        do: Callable[[Connection], Any],
        rows: Sequence[tuple[str, str, Op]] | None = None,
        *,
        now: float = 0.0,
        size: int = 0,
        several: bool = False,
        plain: Row | None = None,
    ) -> None:
        self.do = do
        """Does it, on a connection; may be called again where nothing of it was committed."""
        self.rows = rows
        """Map, key and operation of each entry it writes, for each of which ``do`` returns an
        outcome, in a list, if it has written at all; None: any entries."""
        self.now = now
        """The time by its caller's clock."""
        self.size = size
        self.several = several
        """Whether it has more than one statement that changes something."""
        self.plain = plain
        """The row of a put without a condition, for ``bulk.put_rows``; None: another write."""
        self.since = time.monotonic()
        self.ended = False
        self.outcome: Any = None
        self.error: Exception | None = None
        self.loop: Any = None
        """The event loop that ``settle`` is to be called on; None: a thread waits for ``wake``."""
        self.settle: Callable[[], object] | None = None
        self.wake = threading.Lock()
        self.wake.acquire()
        self.next: Write | None = None
        """The write whose thread is to be woken by this one's: see ``end``."""

    def dropped(self) -> bool:
        """Tell whether its loop is closed: nobody awaits it any more."""
        return self.loop is not None and bool(self.loop.is_closed())

    def result(self) -> Any:
        """Return the outcome, or raise the error."""
        if self.error is None:
            return self.outcome
        try:
            raise self.error
        finally:
            self.error = None  # a cycle: its traceback has the frame that has this


def end(writes: Sequence[Write]) -> None:
    """Tell writes, which have an outcome or an error, that they have ended; again: no harm."""
    awaited: dict[Any, list[Write]] = {}
    threads: list[Write] = []
    for write in writes:
        if write.loop is None:
            threads.append(write)
        else:
            awaited.setdefault(write.loop, []).append(write)
    for write, next_ in pairwise(threads):
        write.next = next_
    for write in threads:
        write.ended = True
    for write in threads[:1]:
        wake(write)
    for loop, those in awaited.items():
        with suppress(RuntimeError):  # it is closed: no task waits
            loop.call_soon_threadsafe(_settle_all, those)


def wake(write: Write) -> None:
    """Have the thread that waits for it look."""
    with suppress(RuntimeError):  # it is awake
        write.wake.release()


def pass_on(write: Write) -> None:
    """Wake the next of the threads whose writes have ended together with this one."""
    next_, write.next = write.next, None
    if next_ is not None:
        wake(next_)


def _settle_all(writes: Sequence[Write]) -> None:
    for write in writes:
        write.ended = True
        if write.settle is not None:
            write.settle()

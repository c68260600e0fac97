"""A write to a SQLite file that waits for its turn, and who waits for it: a thread or a task.

Knows neither the queue nor the file. Invariant: a thread or task that waits wakes when its write
has ended.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Op
    from lpcm.stores.sqlite.connections import Connection

__all__ = ["Write", "end", "wake"]


class Write:
    """A write that waits for its turn, or has had it."""

    __slots__ = ("do", "ended", "error", "loop", "now", "outcome", "rows", "settle", "several",
                 "since", "size", "wake")  # fmt: skip

    def __init__(
        self,
        do: Callable[[Connection], Any],
        rows: Sequence[tuple[str, str, Op]] | None = None,
        *,
        now: float = 0.0,
        size: int = 0,
        several: bool = False,
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
        self.since = time.monotonic()
        self.ended = False
        self.outcome: Any = None
        self.error: Exception | None = None
        self.loop: Any = None
        """The event loop that ``settle`` is to be called on; None: a thread waits for ``wake``."""
        self.settle: Callable[[], object] | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

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
    """Tell writes, which have an outcome or an error, that they have ended; again: nothing."""
    awaited: dict[Any, list[Write]] = {}
    for write in writes:
        if write.loop is not None:
            awaited.setdefault(write.loop, []).append(write)
        elif not write.ended:
            write.ended = True
            wake(write)
    for loop, those in awaited.items():
        with suppress(RuntimeError):  # it is closed: no task waits
            loop.call_soon_threadsafe(_settle_all, those)


def wake(write: Write) -> None:
    """Have the thread that waits for it look."""
    with suppress(RuntimeError):  # it is awake
        write.wake.release()


def _settle_all(writes: Sequence[Write]) -> None:
    for write in writes:
        write.ended = True
        if write.settle is not None:
            write.settle()

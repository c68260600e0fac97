"""The drivers: how the one coroutine text becomes blocking calls and awaitable ones.

All operations of lpcm are coroutines over ports (``ports.py``). A blocking adapter's
coroutines never suspend, so one ``send`` runs them to their end: no event loop, no
thread, 0.3 µs a call. ``arun`` offers the same operation to an event loop by one hop to
a worker thread per operation (not per port call), so that a disk or a lock never blocks
the loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["SystemClock", "arun", "run"]

T = TypeVar("T")


def run(operation: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result.

    >>> async def answer():
    ...     return 42
    >>> run(answer())
    42
    >>> import asyncio
    >>> run(asyncio.sleep(0))
    Traceback (most recent call last):
        ...
    RuntimeError: a blocking operation suspended: ...
    """
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
    operation.close()
    raise RuntimeError(f"a blocking operation suspended: {operation!r}")


async def arun(operation: Coroutine[Any, Any, T]) -> T:
    """Run such a coroutine on a worker thread of the running loop's default executor.

    Cancelling the awaiting task does not stop an operation under way: a write may still
    happen.
    """
    import asyncio  # 20 ms to import, and whoever awaits has it already

    return await asyncio.to_thread(run, operation)


class SystemClock:
    """The machine's clock, for blocking drivers."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)  # noqa: ASYNC251  # never runs on an event loop: see arun

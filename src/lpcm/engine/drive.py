"""The drivers: how the one coroutine text becomes blocking calls and awaitable ones.

All operations of lpcm are coroutines over ports (``ports.py``). A blocking adapter's
coroutines never suspend, so one ``send`` runs them to their end: no event loop, no
thread, 0.3 µs a call. Where all adapters have an awaitable form, an event loop drives the
same text over those; so it does where a store is given ``Threads`` for what blocks (SQLite). Where
an adapter has none, ``Threads`` makes one hop to a worker thread per operation (not per port call),
so that a disk or a lock never blocks the loop.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

from lpcm.system.turns import LoopBell, ThreadBell
from lpcm.system.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lpcm.system.turns import Bell

__all__ = ["LoopClock", "SystemClock", "Threads", "do", "run", "running_loop"]

T = TypeVar("T")
Given = TypeVarTuple("Given")


def do(operation: Callable[[*Given], Coroutine[Any, Any, T]], /, *given: *Given) -> T:
    """Call the operation, run its coroutine as ``run`` does, and return the result.

    For operations that a signal handler's exception (Ctrl-C) may break off. CPython looks for no
    signal between the two steps here. ``run`` is called with a coroutine that has not begun, and
    may lose it, with the warning that it "was never awaited".

    >>> async def add(a, b):
    ...     return a + b
    >>> do(add, 1, 2)
    3
    """
    make: Any = operation
    one: Any = given  # of the length that is asked for below
    count = len(given)
    try:
        # Not make(*given): that is a call of C, and CPython looks for signals when one returns.
        if count == 1:
            make(one[0]).send(None)
        elif count == 2:  # it is unrolled
            make(one[0], one[1]).send(None)
        elif count == 3:  # as above
            make(one[0], one[1], one[2]).send(None)
        elif count == 4:  # as above
            make(one[0], one[1], one[2], one[3]).send(None)
        else:
            make().send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
    raise RuntimeError(f"a blocking operation suspended: {operation!r}")


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


READERS: Final = 8
WRITERS: Final = 4


class Threads:
    """Awaits such coroutines, each run on one of an engine's own worker threads.

    Reads have threads apart from writes: a write that waits for another process to end its own
    delays no read. Nothing runs in the event loop's default executor, which looks up the names
    of hosts. Cancelling the awaiting task withdraws an operation that has not begun; one under
    way goes on, and a write may still happen.
    """

    def __init__(self) -> None:
        self._readers = Workers("lpcm-read", READERS)
        self._writers = Workers("lpcm-write", WRITERS)

    async def __call__(self, operation: Coroutine[Any, Any, T], /, *, reads: bool = False) -> T:
        """Await the operation; ``reads``: it writes nothing to the store."""
        workers = self._readers if reads else self._writers
        return await workers.call(partial(run, operation), operation.close)

    def post(self, work: Callable[[], object], withdrawn: Callable[[], object]) -> None:
        """Have ``work()`` done on a thread for writes, or ``withdrawn()`` when they are stopped."""
        self._writers.post(work, withdrawn)

    def stop(self, patience: float) -> None:
        """Withdraw operations that have not begun; wait ``patience`` seconds at most for others."""
        until = time.monotonic() + patience
        self._writers.stop(patience)
        self._readers.stop(max(0.0, until - time.monotonic()))


class SystemClock:
    """The machine's clock, for blocking drivers."""

    bell: Callable[[], Bell] = ThreadBell

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)  # noqa: ASYNC251  # never runs on an event loop: see Threads


class LoopClock(SystemClock):
    """The machine's clock, for event loops."""

    bell = LoopBell

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        import asyncio  # 20 ms to import; a program that awaits has it already

        await asyncio.sleep(seconds)


def running_loop() -> Any:
    """Return the event loop that runs in this thread; RuntimeError where none does."""
    import asyncio  # 20 ms to import; a program that awaits has it already

    return asyncio.get_running_loop()

"""The drivers: how the one coroutine text becomes blocking calls and awaitable ones.

All operations of lpcm are coroutines over ports (``ports.py``). A blocking adapter's
coroutines never suspend, so one ``send`` runs them to their end: no event loop, no
thread, 0.3 µs a call. Where all adapters have an awaitable form, an event loop drives the
same text over those. Where one has not, ``arun`` makes one hop to a worker thread per
operation (not per port call), so that a disk or a lock never blocks the loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

__all__ = ["LoopClock", "SystemClock", "arun", "at_shutdown", "run", "run_in", "running_loop"]

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


class LoopClock(SystemClock):
    """The machine's clock, for event loops."""

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        import asyncio  # see arun

        await asyncio.sleep(seconds)


def running_loop() -> Any:
    """Return the event loop that runs in this thread; RuntimeError where none does."""
    import asyncio  # see arun

    return asyncio.get_running_loop()


def at_shutdown(close: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """Await ``close()`` when the running event loop shuts down, or what is returned is let go.

    An event loop closes its asynchronous generators before it ends, and tells nobody else.
    """

    async def wait() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await close()

    generator = wait()
    run(generator.asend(None))  # up to its yield: now the loop knows of it
    return generator


def run_in(loop: Any, operation: Coroutine[Any, Any, None]) -> None:
    """Have an event loop run this, if it still runs; from any thread, without waiting."""
    import asyncio  # see arun

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(operation, loop)
    else:
        operation.close()

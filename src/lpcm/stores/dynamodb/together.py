"""Together: several jobs at once, whichever way the transport is driven.

Over a blocking transport they share a few threads, over an asyncio one the event loop.
Knows nothing of what the jobs do. Invariant: when ``run`` returns, every job has ended,
and the events of all have been told by the caller.
"""

from __future__ import annotations

import os
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lpcm import events
from lpcm.stores.dynamodb.calls import postponed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["WIDTH", "Together"]

WIDTH: Final = 8
"""How many jobs are under way at once."""

T = TypeVar("T")


class Together:
    """What runs the jobs of one store."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0

    async def run(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Return the results; after all have ended, raise the first error there was."""
        if len(jobs) == 1:
            return [await jobs[0]]
        if not self._blocking:
            return await _on_the_loop(jobs)
        return self._on_threads(jobs)

    def close(self) -> None:
        """Let the threads go."""
        threads, self._threads = self._threads, None
        if threads is not None and self._pid == os.getpid():
            threads.shutdown(wait=False)

    def _on_threads(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        heard: list[events.Request] = []
        futures = [self._pool().submit(_context(heard).run, _drive, job) for job in jobs]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for event in heard:
            events.emit(event)
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None or self._pid != os.getpid():  # a fork takes no threads along
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(WIDTH, thread_name_prefix="lpcm-dynamodb")
            self._pid = os.getpid()
        return self._threads


def _context(heard: list[events.Request]) -> Context:
    """Return a context like the caller's, of which events wait for the caller."""
    context = copy_context()
    context.run(postponed.set, heard)
    return context


def _drive(job: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        job.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    job.close()
    raise RuntimeError(f"a blocking transport suspended: {job!r}")


async def _on_the_loop(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    import asyncio

    room = asyncio.Semaphore(WIDTH)

    async def within(job: Coroutine[Any, Any, T]) -> T:
        async with room:
            return await job

    results = await asyncio.gather(*map(within, jobs), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]

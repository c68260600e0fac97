"""Runner: several jobs at once, whichever way the transport is driven.

Over a blocking transport they share a few threads, over an asyncio one the event loop.
Knows nothing of what the jobs do. Invariant: when ``run`` returns, every job has ended,
and the events of all have been told by the caller.
"""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from lpcm import events
from lpcm.stores.dynamodb.retries import postponed
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence

__all__ = ["WIDTH", "Runner", "later"]

WIDTH: Final = 8
"""How many jobs are under way at once."""

T = TypeVar("T")
Given = TypeVar("Given")


class Runner:
    """What runs the jobs of one store."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._threads: _Threads | None = None
        follow(self, Runner._orphan)

    async def run(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Return the results; after all have ended, raise the first error there was."""
        if len(jobs) == 1:
            return [await jobs[0]]
        if not self._blocking:
            return await _on_the_loop(jobs)
        return self._on_threads(jobs)

    def close(self) -> None:
        """Let the threads go."""
        self._threads = None

    def _orphan(self) -> None:
        """In a forked child: have threads of its own, for a fork takes none along."""
        self._threads = None

    def _on_threads(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        if not same[0]:
            forked()
        threads = self._threads
        if threads is None:
            threads = self._threads = _Threads()
        collected: list[events.Request] = []
        done: SimpleQueue[None] = SimpleQueue()
        results: dict[int, T] = {}
        errors: dict[int, BaseException] = {}

        def work(number: int, context: Context, job: Coroutine[Any, Any, T]) -> None:
            try:
                results[number] = context.run(_drive, job)
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                errors[number] = error
            finally:
                done.put(None)

        for number, job in enumerate(jobs):
            threads.submit(partial(work, number, _context(collected), job))
        for _ in jobs:
            done.get()
        for event in collected:
            events.emit(event)
        if errors:
            raise errors[min(errors)]
        return [results[number] for number in range(len(jobs))]


class _Threads:
    """Threads, started as they are needed, that end when nobody refers to this any more.

    Not an executor: one lock of ``concurrent.futures`` is the whole process's, and stays held
    in the child of a fork in C that another thread held it at.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have one of them do this."""
        if self._started < WIDTH:
            name = f"lpcm-dynamodb_{self._started}"
            threading.Thread(target=_serve, args=(self._jobs,), name=name, daemon=True).start()
            self._started += 1
        self._jobs.put(job)

    def __del__(self) -> None:
        for _ in range(self._started):
            self._jobs.put(None)


def _serve(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # and with it what it refers to, before the next is waited for


def _context(collected: list[events.Request]) -> Context:
    """Return a context like the caller's, of which events wait for the caller."""
    context = copy_context()
    context.run(postponed.set, collected)
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


def later(make: Callable[[Given], Coroutine[Any, Any, T]], given: Given) -> Coroutine[Any, Any, T]:
    """Return a job that makes its coroutine, of what is given, when it begins.

    So that one that never does, because an exception came out before, leaves nothing behind:
    Python warns of a coroutine that was made and "never awaited".
    """
    return cast("Coroutine[Any, Any, T]", _later(make, given))


@coroutine
def _later(make: Callable[[Given], Coroutine[Any, Any, T]], given: Given) -> Generator[Any, Any, T]:
    result: T = yield from make(given)
    return result

"""Concurrency: several jobs at once, over a blocking transport or on an event loop.

Over a blocking transport the jobs share a few threads, over an asyncio transport the event loop.
Knows nothing of the jobs. Invariant: when ``run`` returns, every job has ended, and the calling
thread has emitted the events of all jobs.
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from lpcm import events
from lpcm.stores.dynamodb.retries import postponed
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence

__all__ = ["WIDTH", "Runner", "later"]

WIDTH: Final = 8
"""The number of jobs that are under way at once."""

T = TypeVar("T")
Given = TypeVar("Given")


class Runner:
    """Runs the jobs of one store."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._threads: _Threads | None = None
        follow(self, Runner._orphan)

    async def run(self, jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Return the results; raise the first error after all jobs have ended."""
        if len(jobs) == 1:
            return [await jobs[0]]
        if not self._blocking:
            return await _on_the_loop(jobs)
        return self._on_threads(jobs)

    def close(self) -> None:
        """Let the threads end."""
        self._threads = None

    def _orphan(self) -> None:
        """In a forked child: start new threads, for a fork takes none along."""
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
            except BaseException as error:  # noqa: BLE001  # raised by the waiting thread
                errors[number] = error
            finally:
                done.put(None)

        threads.submit(
            [partial(work, number, _context(collected), job) for number, job in enumerate(jobs)]
        )
        for _ in jobs:
            done.get()
        outer = postponed.get()  # where a job of another runner has run these
        for event in collected:
            events.emit(event) if outer is None else outer.append(event)
        if errors:
            raise errors[min(errors)]
        return [results[number] for number in range(len(jobs))]


class _Threads:
    """Threads, started as they are needed, that end when this object has no more references.

    The callers take turns: one whose jobs wait for their partition's limit holds nobody else up.

    Not an executor: ``concurrent.futures`` has one lock for the whole process. The lock stays held
    in the child of a fork in C, if another thread held it at the fork.
    """

    def __init__(self) -> None:
        self._callers: SimpleQueue[deque[Callable[[], None]] | None] = SimpleQueue()
        """The jobs of each caller that have not begun, while there are any."""
        self._started = 0

    def submit(self, jobs: Iterable[Callable[[], None]]) -> None:
        """Run the jobs of a caller on the threads, in order."""
        waiting = deque(jobs)
        for _ in range(min(len(waiting), WIDTH - self._started)):
            name = f"lpcm-dynamodb_{self._started}"
            threading.Thread(target=_serve, args=(self._callers,), name=name, daemon=True).start()
            self._started += 1
        if waiting:
            self._callers.put(waiting)

    def __del__(self) -> None:
        for _ in range(self._started):
            self._callers.put(None)


def _serve(callers: SimpleQueue[deque[Callable[[], None]] | None]) -> None:
    while (waiting := callers.get()) is not None:
        job = waiting.popleft()
        if waiting:
            callers.put(waiting)  # at the end, behind those of other callers
        job()
        del job, waiting  # and with it the objects that it refers to, before the next wait


def _context(collected: list[events.Request]) -> Context:
    """Return a copy of the caller's context, in which events are collected for the caller."""
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
    """Return a job that calls ``make(given)``, which makes its coroutine, when it begins.

    A job may never begin, because an exception came before. Then no coroutine has been made: Python
    warns of a coroutine that was made and "never awaited".
    """
    return cast("Coroutine[Any, Any, T]", _later(make, given))


@coroutine
def _later(make: Callable[[Given], Coroutine[Any, Any, T]], given: Given) -> Generator[Any, Any, T]:
    result: T = yield from make(given)
    return result

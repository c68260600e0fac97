"""Worker threads: functions that would block an event loop run on them, and tasks await the result.

``Workers`` are a few daemon threads with one queue. They are started as they are needed and end
when they have been idle for a while, at ``stop`` and at the exit of the interpreter. Why not
``concurrent.futures``: its threads do not survive a fork, which it does not notice; the exit of the
interpreter waits until its whole queue is done; and it does not say whether a cancelled call had
begun.

Knows nothing of the functions. Invariant: a call either begins, once, or is *withdrawn*, once:
its awaiter was cancelled, its event loop was closed, its workers were stopped, or it is a copy
in the child of a fork. The first thread that pops ``_Call.unclaimed`` decides which.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lpcm.errors import StoreError
from lpcm.system import process
from lpcm.system.instances import Instances

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers"]

T = TypeVar("T")

IDLE: Final = 20.0
"""Seconds after which a thread without work ends, by default."""
EXIT: Final = 5.0
"""Seconds the exit of the interpreter waits for calls under way."""


class _Job:
    """A function to call on a thread, whose result nobody awaits."""

    __slots__ = ("unclaimed", "withdrawn")

    def __init__(
        self, function: Callable[[], object], withdrawn: Callable[[], object] | None
    ) -> None:
        self.unclaimed = [function]
        self.withdrawn = withdrawn

    def run(self) -> None:
        """Call the function on this thread, unless the job was withdrawn."""
        try:
            function = self.unclaimed.pop()
        except IndexError:
            return
        try:
            function()
        except BaseException as error:  # noqa: BLE001  # the thread goes on
            given = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(given))

    def withdraw(self, error: Exception | None = None) -> None:  # noqa: ARG002  # as a call's
        """Keep the job from beginning; do nothing if it has begun."""
        try:
            self.unclaimed.pop()
        except IndexError:
            return
        if self.withdrawn is not None:
            self.withdrawn()


class _Call:
    """One call, with the future that its result goes to."""

    __slots__ = ("context", "future", "loop", "unclaimed", "withdrawn")

    def __init__(
        self,
        loop: Any,
        function: Callable[[], object],
        withdrawn: Callable[[], object] | None,
    ) -> None:
        self.loop = loop
        self.future: Any = loop.create_future()
        self.context = copy_context()
        self.withdrawn = withdrawn
        self.unclaimed = [function]

    def run(self) -> None:
        """Run the function on this thread, unless the call was withdrawn."""
        if self.loop.is_closed():
            self.withdraw()
        try:
            function = self.unclaimed.pop()
        except IndexError:
            return
        try:
            result = self.context.run(function)
        except BaseException as error:  # noqa: BLE001  # belongs to the awaiter, SystemExit included
            self._deliver(self.future.set_exception, error)
        else:
            self._deliver(self.future.set_result, result)
        finally:
            del self  # a cycle: the future holds the error, its traceback, and so this frame

    def withdraw(self, error: Exception | None = None) -> None:
        """Keep the call from beginning; do nothing if it has begun."""
        try:
            self.unclaimed.pop()
        except IndexError:
            return
        if self.withdrawn is not None:
            self.withdrawn()
        if error is not None:
            self._deliver(self.future.set_exception, error)

    def _deliver(self, put: Callable[[Any], object], what: object) -> None:
        try:
            self.loop.call_soon_threadsafe(_settle, self.future, put, what)
        except RuntimeError:  # the loop is closed: no task waits
            pass


def _settle(future: Any, put: Callable[[Any], object], what: object) -> None:
    if not future.done():  # else: cancelled
        put(what)


class _Worker:
    """One thread's place in the pool."""

    __slots__ = ("call", "wake")

    def __init__(self, call: _Call | _Job | None) -> None:
        self.call = call
        self.wake = threading.Lock()
        self.wake.acquire()


class Workers:
    """At most ``most`` threads of that name, with one queue; a thread ends after ``idle`` seconds.

    >>> import asyncio
    >>> workers = Workers("example", 2)
    >>> asyncio.run(workers.call(lambda: threading.current_thread().name))
    'example-1'
    >>> workers.stop()
    """

    def __init__(self, name: str, most: int, idle: float = IDLE) -> None:
        self.name = name
        self._most = most
        self._patience = idle
        self._forget()
        _known.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[_Call | _Job] = deque()
        self._idle: list[_Worker] = []
        self._threads: set[threading.Thread] = set()
        self._numbers = 0
        self._stopped = False

    async def call(
        self, function: Callable[[], T], withdrawn: Callable[[], object] | None = None
    ) -> T:
        """Await ``function()``, called on a worker thread in a copy of this context.

        A call that is cancelled before it began never begins, and ``withdrawn()`` is called
        instead. A call that is cancelled later goes on, and its result is dropped. **Raises** the
        function's exception; StoreError where the workers were stopped before the call began.
        """
        import asyncio  # 20 ms to import, and a program that awaits has imported it

        call = _Call(asyncio.get_running_loop(), function, withdrawn)
        try:
            self._enter(call)
            result: T = await call.future
        except BaseException:  # cancelled, interrupted, or closed with its loop
            call.withdraw()
            raise
        return result

    def post(
        self, function: Callable[[], object], withdrawn: Callable[[], object] | None = None
    ) -> None:
        """Have ``function()`` called on a worker thread; from any thread, and nobody waits for it.

        Where the workers are stopped before it began, ``withdrawn()`` is called instead.
        """
        self._enter(_Job(function, withdrawn))

    def _enter(self, call: _Call | _Job) -> None:
        if not process.same[0]:
            process.forked()
        with self._lock:
            if self._idle:
                # The worker that was idle last: so that the fewest threads stay busy.
                worker = self._idle[-1]
                worker.call = call
                self._idle.pop()
                worker.wake.release()
            elif len(self._threads) < self._most:
                self._start(call)
            else:
                self._queue.append(call)

    def _start(self, call: _Call | _Job) -> None:
        self._numbers = self._numbers % self._most + 1
        name = f"{self.name}-{self._numbers}"
        thread = threading.Thread(target=self._work, args=(_Worker(call),), name=name, daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:  # the interpreter exits, or the system has no more threads
            self._threads.discard(thread)
            raise

    def _work(self, worker: _Worker) -> None:
        while (call := worker.call) is not None:
            call.run()
            call = worker.call = None  # keep nothing alive while idle
            self._await_work(worker)

    def _await_work(self, worker: _Worker) -> None:
        """Wait for the worker's next call; where none comes, ``worker.call`` is None."""
        with self._lock:
            if self._queue:
                worker.call = self._queue.popleft()
                return
            if not self._stopped:
                self._idle.append(worker)
        if not self._stopped:
            worker.wake.acquire(timeout=self._patience)
        with self._lock:
            if worker.call is not None:
                if not worker.wake.locked():  # woken just when its patience had ended
                    worker.wake.acquire()
            elif self._queue:
                worker.call = self._queue.popleft()
            else:
                if worker in self._idle:
                    self._idle.remove(worker)
                self._threads.discard(threading.current_thread())

    def stop(self, patience: float = 0.0) -> None:
        """Withdraw calls that have not begun; wait ``patience`` seconds for others; end threads.

        A later call starts threads again, which end as soon as they are idle.
        """
        if not process.same[0]:
            process.forked()
        with self._lock:
            self._stopped = True
            calls = list(self._queue)
            self._queue.clear()
            idle, self._idle = self._idle, []
            for worker in idle:
                worker.wake.release()
            threads = list(self._threads)
        for call in calls:
            call.withdraw(StoreError("closed while this waited for a thread: nothing was done"))
        until = time.monotonic() + patience
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _after_fork(self) -> None:
        # A fork takes no thread along. The queued calls are the parent's to run.
        calls = list(self._queue)
        self._forget()
        for call in calls:
            call.withdraw()


_known: Instances[Workers] = Instances()


def _after_fork_in_child() -> None:
    for workers in _known.all():
        workers._after_fork()  # noqa: SLF001  # same module


def _at_exit() -> None:
    until = time.monotonic() + EXIT
    for workers in _known.all():
        workers.stop(max(0.0, until - time.monotonic()))


process.after_fork_in_child(_after_fork_in_child)
atexit.register(_at_exit)

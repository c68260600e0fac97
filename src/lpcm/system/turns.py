"""Turns: callers that meet at a key go in order, first come, first served.

A caller that met no other one takes no turn. The rest stand in a *line*: the first of it goes, and
rings for the next one when it leaves. A line is one process's. Where the store has a line of
processes (``ProcessLine``), the first caller stands in that, too, for its process. A line gives an
order, and no exclusion: what the callers do is right without it. So a caller whose line has not
moved for a while goes all the same, be it that the first one takes long, or waits for the caller
itself.

Knows neither entries nor the work that is done. Invariant: a caller that ends, however it does,
leaves its line.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType
    from typing import Self

__all__ = ["LoopBell", "ThreadBell", "Turn", "Turns"]

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds after which a caller whose line has not moved goes all the same."""


class Clock(Protocol):
    """The clock of a thread or a task.

    It may have ``bell()``, which makes a ``Bell``; without one its callers take no turns.
    """

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Bell(Protocol):
    """What wakes a caller."""

    def ring(self) -> None:
        """Have the caller look, from any thread."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until it rings or has rung, so many seconds at most."""
        ...


class ThreadBell:
    """A bell for a thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread."""
        with suppress(RuntimeError):  # it has rung already
            self._lock.release()

    async def wait(self, seconds: float) -> None:
        """Block this thread."""
        self._lock.acquire(timeout=seconds)


class LoopBell:
    """A bell for a task of the running event loop."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        import asyncio  # 20 ms to import; a program that awaits has it already

        self._loop = asyncio.get_running_loop()
        self._future = self._loop.create_future()

    def ring(self) -> None:
        """Wake the task."""
        with suppress(RuntimeError):  # the loop is closed: no task waits
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Let other tasks run."""
        import asyncio  # see above

        await asyncio.wait([self._future], timeout=seconds)


class ProcessLine(Protocol):
    """The line of the processes that meet at a key, where a store has one: see ``ports.Store``."""

    def free(self) -> bool:
        """Tell whether this process need not stand in it; sends nothing, and takes no place."""
        ...

    def stand(self) -> bool:
        """Stand at its end, or keep the place; tell whether the others see it."""
        ...

    def first(self) -> bool:
        """Tell whether nobody stands before this process."""
        ...

    def pause(self) -> float:
        """Return the seconds until the next look."""
        ...

    def leave(self) -> None:
        """Leave the line, if this process stands in it."""
        ...


class _Line:
    """The callers that wait for one key, the one whose turn it is first."""

    __slots__ = ("callers", "left")

    def __init__(self) -> None:
        self.callers: list[Turn] = []
        self.left: Any = None
        """What the last one left to the next one."""


class Turns:
    """The lines of one engine. Each step is one call of C: so no lock is needed."""

    def __init__(self) -> None:
        self._forget()
        follow(self, Turns._forget)

    def _forget(self) -> None:
        """Drop the lines: in a fork's child they are another process's."""
        self.lines: dict[Hashable, _Line] = {}
        self.inside: set[int] = set()
        """The threads that are in the midst of a caller's function."""


class Turn:
    """The place of one caller at one key; a context manager for its whole operation."""

    __slots__ = ("_bell", "_clock", "_found", "_key", "_line", "_outside", "_stood", "_turns",
                 "first", "left")  # fmt: skip

    def __init__(
        self, turns: Turns, key: Hashable, clock: Clock, outside: ProcessLine | None = None
    ) -> None:
        self._turns = turns
        self._key = key
        self._clock = clock
        self._line: _Line | None = None
        self._bell: Bell | None = None  # until it stands in a line
        self._found: Any = None
        self._outside = outside
        self._stood = False
        self.first = False
        """Whether all that take turns wait behind this caller, those of other processes, too."""
        self.left: Any = None
        """What this caller leaves to the next one."""

    def __enter__(self) -> Self:
        if not same[0]:
            forked()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stood and self._outside is not None:
            self._outside.leave()
        line = self._line
        if line is not None:
            self._leave(line)

    def _leave(self, line: _Line) -> None:
        first = line.callers[:1] == [self]
        if first:
            line.left = self.left
        with suppress(ValueError):  # broken off before it was in
            line.callers.remove(self)
        for following in line.callers[:1]:
            following.ring()
        # Who has this line already, and joins it only now, is alone in it.
        if not line.callers and self._turns.lines.get(self._key) is line:
            self._turns.lines.pop(self._key, None)

    def ring(self) -> None:
        """Have the caller look whether it is the first one now."""
        if self._bell is not None:
            self._bell.ring()

    async def follow(self) -> bool:
        """Wait behind those that are in line for the key; tell whether there were any."""
        if self._key in self._turns.lines:
            return await self.take()
        outside = self._outside
        if outside is None or self._bells() is None or outside.free():
            return False
        return await self.take()

    def _bells(self) -> Callable[[], Bell] | None:
        """Return what makes a bell for this caller; None: it must not wait."""
        if threading.get_ident() in self._turns.inside:
            return None
        make: Callable[[], Bell] | None = getattr(self._clock, "bell", None)
        return make

    async def take(self) -> bool:
        """Wait for the turn, which lasts until the end; tell whether the caller had to wait.

        A caller that is within another one's function does not wait: that one waits for it.
        """
        make = self._bells()
        if self._line is not None or make is None:
            return False
        bell = self._bell = make()
        self._line = line = self._turns.lines.setdefault(self._key, _Line())
        line.callers.append(self)
        waited = line.callers[0] is not self
        if waited:
            await self._stand_in(line, bell)
            self._found = line.left
        return await self._take_outside() or waited

    async def _take_outside(self) -> bool:
        """Wait for this process's turn among those at the key; tell whether it had to wait."""
        outside, waited = self._outside, False
        if outside is None:
            return False
        self._stood = True
        if not outside.stand():
            return False
        self.first = True
        while not outside.first():
            await self._clock.sleep(outside.pause())
            self._found, waited = None, True
        return waited

    async def _stand_in(self, line: _Line, bell: Bell) -> None:
        place, since = len(line.callers), self._clock.monotonic()
        while at := line.callers.index(self):
            now = self._clock.monotonic()
            if at < place:
                place, since = at, now
            elif now - since >= PATIENCE:
                return
            await bell.wait(PATIENCE)

    def inherit(self) -> Any:
        """Return what the caller before this one left, once; None: nothing."""
        found, self._found = self._found, None
        return found

    def call(self, fn: Callable[[Any], T], value: object) -> T:
        """Call a caller's function, which may itself come to a line."""
        inside, me = self._turns.inside, threading.get_ident()
        if me in inside:
            return fn(value)
        inside.add(me)
        try:
            return fn(value)
        finally:
            inside.discard(me)

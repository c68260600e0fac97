"""Retries of what another write prevented: a compare-and-set, a transaction.

Before another attempt there is a pause at random, up to the *windows* of the keys that were refused
(``system.backoff.Windows``): the engine remembers them from one operation to the next. A single key
is tried twice between pauses. A transaction is not: refused, it costs what it does when done, and
reading is cheap beside it. Knows no entry.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from lpcm.errors import Conflict
from lpcm.system.backoff import jitter

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from lpcm.ports import Clock
    from lpcm.system.backoff import Windows
    from lpcm.system.turns import Turn

__all__ = ["UNCHANGED", "Retry"]


class Unchanged(Enum):
    """The result of a change that left everything as it was."""

    UNCHANGED = "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED

_LONGER: Final = 2
"""How many times as long a transaction waits, which takes longer and is dearer in vain."""


class Retry:
    """The pauses between attempts of one operation, within the engine's timeout."""

    def __init__(
        self, clock: Clock, timeout: float, what: str, name: str, windows: Windows
    ) -> None:
        self._clock = clock
        self._windows = windows
        self._timeout = timeout
        self._what = f"{what} in {name!r}"
        self._began = clock.monotonic()
        self._deadline = self._began + timeout
        self._losses = 0
        self._paused = False

    async def pause(self, keys: Collection[Hashable], turn: Turn) -> bool:
        """Wait for the turn, then after every other refusal; raise Conflict when time is up.

        After the first refusal: behind those of this process that have lost at the same key. That
        time does not count. Then as ``wait`` does, for other processes.

        Return whether there was a pause. If so, the caller must read the entry anew: the one that
        the refusal brought is old by now, and a write on an old etag is refused without fail. So
        all writers that meet have the same chance, and the last winner no better one. The other
        refusals are answered at once, with the entry that they brought: where a write has to wait
        for a lock, as on SQLite, no read before that wait brings a newer one. Who is the first one
        of all processes never pauses: the others wait for it.
        """
        self._losses += 1
        if await turn.take():
            self.restart()
            return True
        if self._losses % 2 or turn.first:
            self._check_time()
            return False
        await self.wait(keys)
        return True

    async def give_way(self, keys: Collection[Hashable], turn: Turn) -> None:
        """Wait for the turn; then as ``wait`` does, unless all others wait for this one."""
        if await turn.take():
            self.restart()
        elif turn.first:
            self._check_time()
        else:
            await self.wait(keys, _LONGER)

    def restart(self) -> None:
        """Begin anew, after a wait for others of this process: none of them has won against it."""
        self._began = self._clock.monotonic()
        self._deadline = self._began + self._timeout

    async def wait(self, keys: Collection[Hashable], times: int = 1) -> None:
        """Wait a random moment, up to ``times`` the widest window; raise Conflict when time is up.

        The windows grow at least by the length of the attempts since the last pause: those that
        took long met many others, or a busy store.
        """
        now = self._check_time()
        self._paused = True
        width = self._windows.widen(keys, now - self._began)
        await self._clock.sleep(jitter(0.0, times * width))
        self._began = self._clock.monotonic()

    def won(self, keys: Collection[Hashable]) -> None:
        """Note that the operation was done."""
        if self._paused:
            self._windows.narrow(keys)

    def _check_time(self) -> float:
        now = self._clock.monotonic()
        if now >= self._deadline:
            raise Conflict(
                f"{self._what} lost against other writers for {self._timeout:g} s; nothing was "
                "written"
            )
        return now

"""Retries of a compare-and-set that another write prevented.

Knows no entry.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from lpcm.errors import Conflict
from lpcm.system.backoff import backoff, jitter

if TYPE_CHECKING:
    from lpcm.ports import Clock
    from lpcm.system.turns import Turn

__all__ = ["UNCHANGED", "Retry"]


class Unchanged(Enum):
    """The result of a change that left everything as it was."""

    UNCHANGED = "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED

_FIRST: Final = 0.001
_FIRST_PAUSE: Final = 0.004
_MOST: Final = 0.064
"""Seconds of a pause: with shorter ones most of 32 writers send their requests in vain."""
_LENGTHS: Final = 2
_DOUBLINGS: Final = 3
_PART: Final = 1 / 32


class Retry:
    """The pauses between attempts of one compare-and-set, within the engine's timeout."""

    def __init__(self, clock: Clock, timeout: float, what: str, name: str) -> None:
        self._clock = clock
        self._timeout = timeout
        self._what = f"{what} in {name!r}"
        self._began = clock.monotonic()
        self._deadline = self._began + timeout
        self._losses = 0
        self._waits = 0

    async def pause(self, turn: Turn) -> bool:
        """Wait for the turn, then after every other refusal; raise Conflict when time is up.

        After the first refusal: behind those of this process that have lost at the same key. That
        time does not count. Then a random moment, for other processes.

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
        self._check_time()
        if self._losses % 2 or turn.first:
            return False
        await self._clock.sleep(backoff(self._losses // 2 - 1, first=_FIRST_PAUSE, most=_MOST))
        return True

    def restart(self) -> None:
        """Begin anew, after a wait for others of this process: none of them has won against it."""
        self._began = self._clock.monotonic()
        self._deadline = self._began + self._timeout

    async def wait(self) -> None:
        """Wait a random moment, by the length of the attempt; raise Conflict when time is up.

        Each attempt costs the others time: one that took long met many others, or a busy store. So
        few of many are at it at a time.
        """
        now = self._check_time()
        first = max(_FIRST, _LENGTHS * (now - self._began))
        longest = first * 2 ** min(self._waits, _DOUBLINGS)
        self._waits += 1
        await self._clock.sleep(jitter(0.0, min(longest, self._timeout * _PART)))
        self._began = self._clock.monotonic()

    def _check_time(self) -> float:
        now = self._clock.monotonic()
        if now >= self._deadline:
            raise Conflict(
                f"{self._what} lost against other writers for {self._timeout:g} s; nothing was "
                "written"
            )
        return now

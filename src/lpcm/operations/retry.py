"""Retries of a compare-and-set that another write prevented.

Knows no entry.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from lpcm.errors import Conflict
from lpcm.system.backoff import backoff

if TYPE_CHECKING:
    from lpcm.ports import Clock

__all__ = ["UNCHANGED", "Retry"]


class Unchanged(Enum):
    """The result of a change that left everything as it was."""

    UNCHANGED = "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED


class Retry:
    """The pauses between attempts of one compare-and-set, within the engine's timeout."""

    def __init__(self, clock: Clock, timeout: float, what: str, name: str) -> None:
        self._clock = clock
        self._timeout = timeout
        self._what = f"{what} in {name!r}"
        self._deadline = clock.monotonic() + timeout
        self._attempt = 0

    async def pause(self) -> None:
        """Wait a random moment, longer each time; raise Conflict when time is up."""
        if self._clock.monotonic() >= self._deadline:
            raise Conflict(
                f"{self._what} lost against other writers for {self._timeout:g} s; nothing was "
                "written"
            )
        await self._clock.sleep(backoff(self._attempt, first=0.001, most=0.064))
        self._attempt += 1

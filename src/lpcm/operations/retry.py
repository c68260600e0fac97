"""Attempts: the etag of each write, and the pauses between those that others prevented.

Knows no entry. Invariant: no two writes have one etag, of whatever thread or process.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Final

from lpcm.errors import Conflict
from lpcm.system.process import after_fork_in_child, forked, same

if TYPE_CHECKING:
    from lpcm.ports import Clock

__all__ = ["UNCHANGED", "Retry", "etag"]


class Unchanged(Enum):
    """What a change returns that left everything as it was."""

    UNCHANGED = "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED


# Drawn in advance, for asking the system each time is a tenth of an embedded write. From
# os.urandom and not random: users seed the latter, and it goes on alike after a fork in C.
_etags: list[int] = []


def etag() -> int:
    """Return a new etag."""
    if not same[0]:
        forked()
    mine = _etags
    try:
        return mine.pop()
    except IndexError:
        drawn = memoryview(os.urandom(8 * 128)).cast("q").tolist()
        mine.extend(drawn[1:])
        return drawn[0]


def _draw_anew() -> None:
    # Replaced and not cleared: a signal handler may have forked amid ``extend`` above.
    global _etags  # noqa: PLW0603  # the child's own
    _etags = []


after_fork_in_child(_draw_anew)


class Retry:
    """The pauses between attempts of one compare-and-set, within the engine's timeout."""

    def __init__(self, clock: Clock, timeout: float, what: str, name: str) -> None:
        self._clock = clock
        self._timeout = timeout
        self._what = f"{what} in {name!r}"
        self._deadline = clock.monotonic() + timeout
        self._ceiling = 0.001

    async def pause(self) -> None:
        """Wait a random moment, longer each time; raise Conflict when time is up."""
        if self._clock.monotonic() >= self._deadline:
            raise Conflict(
                f"{self._what} lost against other writers for {self._timeout:g} s; nothing was "
                "written"
            )
        from random import SystemRandom  # 4 ms to import, for contended keys alone

        # Of the system, as the etags, and for the same reasons.
        await self._clock.sleep(SystemRandom().uniform(0, self._ceiling))
        self._ceiling = min(self._ceiling * 2, 0.064)

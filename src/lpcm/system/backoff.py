"""Back-off: how long to wait before another attempt, at random, so that rivals come apart.

Knows no clock: the caller waits. Invariant: no two processes draw the same pauses, whatever seeds
their ``random`` has, and whether or not one is a fork of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["backoff", "jitter", "shuffled"]

T = TypeVar("T")

_DOUBLINGS = 30


def jitter(least: float, most: float) -> float:
    """Return so many seconds, at random."""
    from random import SystemRandom  # 4 ms to import, for contended keys and failures alone

    # Of the system: users seed the module's own, and it goes on alike after a fork in C.
    return SystemRandom().uniform(least, most)


def shuffled(items: Iterable[T]) -> list[T]:
    """Return the items in an order that rivals do not share."""
    from random import SystemRandom  # see jitter

    found = list(items)
    SystemRandom().shuffle(found)
    return found


def backoff(attempt: int, first: float, most: float) -> float:
    """Return the seconds before an attempt: up to ``first``, doubled by each, up to ``most``.

    >>> 0 <= backoff(0, 0.001, 0.064) <= 0.001, backoff(10_000, 0.001, 0.064) <= 0.064
    (True, True)
    """
    return jitter(0.0, min(most, first * 2 ** min(attempt, _DOUBLINGS)))

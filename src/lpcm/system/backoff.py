"""Back-off: how long to wait before another attempt, at random, so that rivals come apart.

``backoff`` is for the attempts of one call. ``Windows`` is for writers that meet at keys again and
again, and learns from what becomes of them. Knows no clock: the caller waits. Invariant: no two
processes draw the same pauses, whatever seeds their ``random`` has, and whether or not one is a
fork of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["Windows", "backoff", "jitter", "shuffled"]

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


STEP: Final = 0.008
"""Seconds by which a pause widens a window, at least."""
MOST: Final = 0.032
"""Seconds of the widest window."""
PART: Final = 0.8
"""The part of a window that is left when an operation is done."""
KEYS: Final = 1000
"""The most keys that have a window."""


class Windows:
    """The longest pause at each key where attempts were refused, in seconds.

    Each pause widens the key's window, by ``STEP`` or by the length of the attempts; an operation
    that is done after pauses narrows it by a fifth. So it comes to fit how many pauses one takes:
    the more writers meet, the wider their windows, and the fewer are at the key at a time. Widened
    by sums and narrowed by parts, as TCP's windows are the other way round: so the windows of all
    writers come to the same width. One that is done without a pause narrows nothing: else who wins
    a few times in a row would be sooner there again for that, and get all.

    Not locked: a race of threads loses a step.
    """

    def __init__(self) -> None:
        self._widths: dict[Hashable, float] = {}

    def __len__(self) -> int:
        """Return the number of keys that have a window."""
        return len(self._widths)

    def widen(self, keys: Iterable[Hashable], step: float = 0.0) -> float:
        """Note that attempts were refused at these keys; return the width of the widest window.

        ``step``: by how much to widen it, if that is more than ``STEP``.

        >>> windows = Windows()
        >>> [round(windows.widen(["k"]), 3) for _ in range(3)], windows.widen(["k", "other"])
        ([0.008, 0.016, 0.024], 0.032)
        """
        widths, step = self._widths, max(STEP, step)
        if len(widths) >= KEYS:  # left by writers that met once, and came no more
            widths.clear()
        widest = min(MOST, step)
        for key in keys:
            widths[key] = width = min(MOST, widths.get(key, 0.0) + step)
            widest = max(widest, width)
        return widest

    def narrow(self, keys: Iterable[Hashable]) -> None:
        """Note that an operation on these keys was done, after pauses.

        >>> windows = Windows()
        >>> _ = windows.widen(["k"])
        >>> for _ in range(4):
        ...     windows.narrow(["k", "other"])
        >>> len(windows)
        0
        """
        widths = self._widths
        if not widths:
            return
        for key in keys:
            width = widths.get(key, 0.0) * PART
            if width >= STEP / 2:
                widths[key] = width
            else:
                widths.pop(key, None)

"""Pace: how fast this process sends what goes over a limit of DynamoDB, and in which order.

There is none until a request is throttled. From then on the requests to the same partition key,
or to the table, wait for their turn: first come, first served, and one that is throttled again
keeps its place. The rate follows what gets through: each refusal lowers it to a little less, each
success raises it while others wait. So hundreds of callers over a limit take as long as the limit
asks for, with few refusals, and none of them starves.

Knows no request and no transport: the caller waits. Invariant: a caller that gives up leaves the
queue, and no other waits for it.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from itertools import count
from typing import Final

from lpcm.system.process import Lock

__all__ = ["Pace", "ticket"]

_FIRST: Final = 1000.0
"""Units a second that one partition key gives at most, on AWS."""
_LEAST: Final = 4.0
_LONGEST: Final = 0.25
"""Seconds from one request to the next at most, however many units it has."""
_LESS: Final = 0.95
_GROWTH: Final = 0.05
"""By which part the rate grows in the first second after a refusal; doubled each second,"""
_MOST_GROWTH: Final = 1.0
"""up to this."""
_EPOCH: Final = 0.03
"""Seconds between two reductions of the rate."""
_WINDOW: Final = 0.25
"""Seconds that must have been observed before the rate follows the observation."""
_SAVED: Final = 0.05
"""Seconds whose units may be saved up."""
_MOMENT: Final = 0.001
_FORGET: Final = 30.0
"""Seconds after the last refusal when the pace is forgotten."""

_lock = Lock()
_tickets = count(1)


def ticket() -> int:
    """Return a place in the queues: after all that were given before."""
    return next(_tickets)


class Pace:
    """The rate and the queue of what goes over one limit."""

    def __init__(self) -> None:
        now = time.monotonic()
        self.rate = _FIRST
        """Units a second."""
        self.why = ""
        """What the last refusal said, and what to do."""
        self._next = now
        self._waiting: list[int] = []
        self._cut = now
        self._done = 0.0

    def enter(self, place: int) -> None:
        """Join the queue."""
        with _lock():
            insort(self._waiting, place)

    def leave(self, place: int) -> None:
        """Leave the queue; nothing where the caller has had its turn."""
        with _lock():
            at = bisect_left(self._waiting, place)
            if self._waiting[at : at + 1] == [place]:
                del self._waiting[at]

    def wait(self, place: int, units: float) -> float:
        """Take the turn and return 0, or return the seconds until it is worth to ask again."""
        now = time.monotonic()
        with _lock():
            self._next = max(self._next, now - _SAVED)
            at = bisect_left(self._waiting, place)
            # Not the first alone: its thread may be late.
            if at <= (now - self._next) * self.rate:
                self._next += min(units / self.rate, _LONGEST)
                del self._waiting[at]
                return 0.0
            due = self._next + at / self.rate - now
        return max(_MOMENT, due if at == 0 else due / 2)  # the rate may rise meanwhile

    def succeeded(self, units: float) -> None:
        """Note what got through."""
        now = time.monotonic()
        with _lock():
            self._done += units
            if self._waiting:
                self.rate += units * min(_MOST_GROWTH, _GROWTH * 2 ** (now - self._cut))

    def refused(self, sent: float, units: float = 0.0) -> None:
        """Note a refusal of what was sent at that time, and what of it had counted as success."""
        now = time.monotonic()
        with _lock():
            self._done -= units
            length = now - self._cut
            if sent < self._cut or length < _EPOCH:  # it says nothing about the present rate
                return
            observed = self._done / length
            wanted = observed * _LESS if length >= _WINDOW else max(observed, self.rate / 2)
            self.rate = max(_LEAST, min(self.rate, wanted))
            self._cut = now
            self._done = 0.0

    def is_over(self) -> bool:
        """Tell whether nothing was refused for so long that no pace is needed."""
        return not self._waiting and time.monotonic() - self._cut > _FORGET

"""Invalidations that could not be made: kept in a queue, and made when the cache answers again.

Knows the cache and the clock; never what is stored, nor why an item must be invalidated.

Invariant: a key that was enqueued is invalidated before it leaves the queue, or leaves the queue
with a ``dropped`` event. The queue is bounded and dies with the process: beyond that, the cache
TTL bounds how long an old value is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm import events
from lpcm.coherence.item import invalidation, invalidation_failure
from lpcm.ports import Packet

if TYPE_CHECKING:
    from lpcm.coherence.item import Policy
    from lpcm.ports import Cache, Clock

__all__ = ["Queue"]

_MOST: Final = 10_000
_AT_ONCE: Final = 200
"""The most invalidations that one operation makes on behalf of the others."""
_SOON: Final = 0.1
_LATER: Final = 1.0


class Queue:
    """The pending invalidations of one tier."""

    def __init__(self, cache: Cache, clock: Clock, policy: Policy) -> None:
        self._cache = cache
        self._clock = clock
        self._commands = invalidation(policy.mark)
        self._after = 0.0
        self.pending: dict[str, None] = {}
        """The keys in the order in which they were enqueued."""

    def enqueue(self, key: str) -> None:
        """Add an invalidation that is to be made as soon as the cache answers again."""
        if not self.pending:
            self._after = self._clock.monotonic() + _SOON
        self._keep(key)
        events.emit(events.Invalidation(key, "queued"))

    def take_over(self, other: Queue) -> None:
        """Take over the pending invalidations of another queue of the same cache, which ends."""
        if other.pending and not self.pending:
            self._after = self._clock.monotonic() + _SOON
        for key in list(other.pending):
            other.pending.pop(key, None)
            self._keep(key)

    async def retry(self) -> None:
        """Make some of the pending invalidations, if it is time: called by each operation."""
        if self._clock.monotonic() >= self._after:
            await self._retry()

    async def flush(self) -> int:
        """Try all pending invalidations, also on servers marked down; return how many are left."""
        self._cache.retry()
        before = len(self.pending) + 1
        while self.pending and len(self.pending) < before:
            before = len(self.pending)
            await self._retry()
        return len(self.pending)

    async def _retry(self) -> None:
        # Before the first await: so other operations of this process do not retry as well.
        self._after = self._clock.monotonic() + _LATER
        keys = list(self.pending)[:_AT_ONCE]
        for key in keys:
            self.pending.pop(key, None)
        landed: set[str] = set()
        try:
            replies = await self._cache.send_many([Packet(key, self._commands) for key in keys])
            landed.update(
                key
                for key, reply in zip(keys, replies, strict=True)
                if invalidation_failure(key, reply) is None
            )
        finally:  # also when cancelled in the middle
            for key in keys:
                if key not in landed:
                    self._keep(key)
        for key in keys:
            if key in landed:
                events.emit(events.Invalidation(key, "landed"))
        if len(landed) == len(keys):
            self._after = 0.0  # the cache answers: the next operation may retry at once

    def _keep(self, key: str) -> None:
        if len(self.pending) >= _MOST and key not in self.pending:
            dropped = next(iter(self.pending))
            self.pending.pop(dropped, None)
            events.emit(events.Invalidation(dropped, "dropped"))
        self.pending[key] = None

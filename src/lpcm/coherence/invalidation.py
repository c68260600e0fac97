"""Invalidations: made at once, or owed to a cache that could not be reached.

Empties items, and remembers those it could not empty, to try again as operations go on.
Knows the cache and the clock; never what is stored, nor why an item must go.

Invariant: an item that ``owe`` was called with is emptied once more before it leaves the
queue, or leaves it as a ``dropped`` event. The queue is bounded and dies with the process:
beyond that the cache TTL is the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm import events
from lpcm.coherence.item import exchange, invalidation, refused
from lpcm.ports import CacheLost, Packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.coherence.item import Policy
    from lpcm.ports import Cache, Clock, Replies

__all__ = ["Invalidations"]

_MOST: Final = 10_000
_AT_ONCE: Final = 200
"""How many one operation pays for the others, at most."""
_SOON: Final = 0.1
_LATER: Final = 1.0


class Invalidations:
    """What empties items, and the queue of what could not be emptied."""

    def __init__(self, cache: Cache, clock: Clock, policy: Policy) -> None:
        self._cache = cache
        self._clock = clock
        self._commands = invalidation(policy.mark)
        self._after = 0.0
        self.owed: dict[str, None] = {}
        """Keys in the order they came; empty when all is well."""

    async def make(self, keys: Sequence[str]) -> list[CacheLost | None]:
        """Empty these items; None for each that is, or why it may not be.

        What fails is tried once more on a fresh connection: the first may have been left
        over from a server that restarted. Not after a fresh one failed too.
        """
        replies = await self._send(keys)
        broken = False
        for at, reply in enumerate(replies):
            if refused(reply) and not broken:
                try:
                    packet = Packet(keys[at], self._commands)
                    replies[at] = await self._cache.send(packet, fresh=True)
                except CacheLost as lost:
                    replies[at] = lost
                    broken = True
        return [_loss(key, reply) for key, reply in zip(keys, replies, strict=True)]

    def owe(self, key: str) -> None:
        """Remember an invalidation to be made as soon as the cache answers again."""
        if not self.owed:
            self._after = self._clock.monotonic() + _SOON
        self._keep(key)
        events.emit(events.Invalidation(key, "queued"))

    def take_over(self, other: Invalidations) -> None:
        """Owe what another one, which is at its end, owes to the same cache."""
        if other.owed and not self.owed:
            self._after = self._clock.monotonic() + _SOON
        for key in list(other.owed):
            other.owed.pop(key, None)
            self._keep(key)

    async def pay(self) -> None:
        """Make some of the invalidations owed, once in a while: called by each operation."""
        if self._clock.monotonic() >= self._after:
            await self._pay()

    async def settle(self) -> int:
        """Try all that are owed, also on servers given up; return how many are left."""
        self._cache.retry()
        before = len(self.owed) + 1
        while self.owed and len(self.owed) < before:
            before = len(self.owed)
            await self._pay()
        return len(self.owed)

    async def _pay(self) -> None:
        # Before the first await: other operations of this process need not pay as well.
        self._after = self._clock.monotonic() + _LATER
        keys = list(self.owed)[:_AT_ONCE]
        for key in keys:
            self.owed.pop(key, None)
        landed: set[str] = set()
        try:
            replies = await self._send(keys)
            landed.update(k for k, reply in zip(keys, replies, strict=True) if not refused(reply))
        finally:  # also when given up amid it
            for key in keys:
                if key not in landed:
                    self._keep(key)
        for key in keys:
            if key in landed:
                events.emit(events.Invalidation(key, "landed"))
        if len(landed) == len(keys):
            self._after = 0.0  # the cache is well: the next operation may go on

    def _keep(self, key: str) -> None:
        if len(self.owed) >= _MOST and key not in self.owed:
            dropped = next(iter(self.owed))
            self.owed.pop(dropped, None)
            events.emit(events.Invalidation(dropped, "dropped"))
        self.owed[key] = None

    async def _send(self, keys: Sequence[str]) -> list[Replies | CacheLost]:
        return await exchange(self._cache, [Packet(key, self._commands) for key in keys])


def _loss(key: str, reply: Replies | CacheLost) -> CacheLost | None:
    if isinstance(reply, CacheLost):
        return reply
    return CacheLost(f"the cache refuses to invalidate {key}") if refused(reply) else None

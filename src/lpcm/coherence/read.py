"""The read side of the protocol: from a first look at items to entries that may be returned.

Responsible for rule R1 of ``coherence.tier``: a value read from the store leaves here only
after it was published with a token taken before the read, or after an invalidation made
after it. Chooses who fills a cold key, and who waits for whom. Knows nothing of writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.coherence.item import MARK, exchange, lookup, publication, token
from lpcm.coherence.payload import Unreadable, unpack
from lpcm.errors import CacheUnavailable
from lpcm.ports import CacheLost, Get, Invalidate, Packet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.coherence.invalidation import Invalidations
    from lpcm.coherence.item import Item, Policy, Token
    from lpcm.ports import Cache, Clock, Replies, Store, Stored

__all__ = ["Reading", "live"]


class _Wait:
    """What a reader remembers of a key that someone else is filling."""

    __slots__ = ("cas", "patience", "since")

    def __init__(self, patience: float) -> None:
        self.cas = 0
        self.since = 0.0
        self.patience = patience


class _Sorted:
    """Items by what the last look at them asks for."""

    __slots__ = ("doubtful", "unreached", "waiting", "won")

    def __init__(self) -> None:
        self.won: list[tuple[Item, Token]] = []
        """To fill."""
        self.waiting: list[Item] = []
        """To look at again: someone else fills them."""
        self.doubtful: list[Item] = []
        """To read, and to invalidate after that: they cannot be published."""
        self.unreached: list[Item] = []
        """To read only."""


class Reading:
    """What brings reads of one map's entries to their end."""

    published = frozenset({"HD"})
    """The replies to a fill after which its value may be returned (R1)."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        clock: Clock,
        policy: Policy,
        invalidations: Invalidations,
        *,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._policy = policy
        self._invalidations = invalidations
        self._jitter = jitter

    async def finish(
        self,
        map: str,
        items: Sequence[Item],
        replies: Sequence[Replies | CacheLost | None],
        now: float,
    ) -> list[Stored | None]:
        """Return the entries, given the first look's reply to each (None: unreadable)."""
        found: dict[str, Stored | None] = {}
        deadline = self._clock.monotonic() + self._policy.deadline
        waits = {each.sk: _Wait(self._policy.patience) for each in items}
        pending = items
        while True:
            todo = self._sort(pending, replies, waits, found, now)
            beaten: list[Item] = []
            if todo.won:
                beaten, unfit = await self._fill(map, todo.won, found, now)
                todo.waiting += beaten
                todo.doubtful += unfit
            if todo.waiting and self._clock.monotonic() >= deadline:
                todo.doubtful += todo.waiting
                todo.waiting = []
            if todo.doubtful:
                await self._read_in_doubt(map, todo.doubtful, found, now)
            if todo.unreached:
                await self._read_stored(map, todo.unreached, found, now)
            if not todo.waiting:
                return [found[each.sk] for each in items]
            if not beaten:
                await self._clock.sleep(self._jitter())
            pending = todo.waiting
            packets = [self._look_or_steal(each, waits[each.sk]) for each in pending]
            replies = await exchange(self._cache, packets)

    def _sort(
        self,
        items: Sequence[Item],
        replies: Sequence[Replies | CacheLost | None],
        waits: dict[str, _Wait],
        found: dict[str, Stored | None],
        now: float,
    ) -> _Sorted:
        todo = _Sorted()
        for each, reply in zip(items, replies, strict=True):
            if reply is None:
                todo.doubtful.append(each)
                continue
            if isinstance(reply, CacheLost):
                self._reached(each, reply)
                todo.unreached.append(each)
                continue
            seen = reply.results[-1]
            if seen.base > 0:
                try:
                    found[each.sk] = live(unpack(seen.data[: seen.base], each.name), now)
                except Unreadable:
                    todo.doubtful.append(each)
            elif seen.won:
                todo.won.append((each, token(reply, seen)))
            elif seen.status in {"VA", "HD"}:
                wait = waits[each.sk]
                if wait.cas != seen.cas:
                    wait.cas = seen.cas
                    wait.since = self._clock.monotonic()
                todo.waiting.append(each)
            else:  # the cache has no room even for a stub
                todo.doubtful.append(each)
        return todo

    def _look_or_steal(self, each: Item, wait: _Wait) -> Packet:
        """Look again, or take the lease from one who does not deliver.

        Only the look's reply counts, whatever became of the steal before it: its token
        is taken before the read that follows.
        """
        if wait.cas and self._clock.monotonic() - wait.since >= wait.patience:
            wait.patience *= 2
            steal = Invalidate(self._policy.mark, wait.cas)
            return Packet(each.key, (steal, Get(self._policy.lease)))
        return lookup(each.key, self._policy.lease)

    async def _fill(
        self,
        map: str,
        won: list[tuple[Item, Token]],
        found: dict[str, Stored | None],
        now: float,
    ) -> tuple[list[Item], list[Item]]:
        """Publish what the store has (R1, first form); return who looks again, and who cannot."""
        entries = await self._from_store(map, [each for each, _ in won], now)
        again: list[Item] = []
        unfit: list[Item] = []
        tried: list[tuple[Item, Stored | None]] = []
        packets: list[Packet] = []
        moment = self._clock.now()
        for (each, right), entry in zip(won, entries, strict=True):
            ttl, mark = self._life(right)
            packet = publication(each, entry, right, ttl=ttl, mark=mark, now=moment)
            if packet is None:
                unfit.append(each)
            else:
                tried.append((each, entry))
                packets.append(packet)
        replies = await exchange(self._cache, packets)
        for (each, entry), reply in zip(tried, replies, strict=True):
            status = "" if isinstance(reply, CacheLost) else reply.results[0].status
            if status in self.published:
                found[each.sk] = entry
            elif status in {"TL", "NS"}:
                unfit.append(each)
            else:
                again.append(each)
        return again, unfit

    def _life(self, right: Token) -> tuple[int, bytes]:
        """Return how long a fill lives, and the mark it keeps (R3)."""
        if not right.marks:
            return self._policy.ttl, b""
        return max(1, min(self._policy.mark, right.ttl)), MARK

    async def _read_in_doubt(
        self, map: str, items: list[Item], found: dict[str, Stored | None], now: float
    ) -> None:
        """Read the store, then invalidate (R1, second form)."""
        entries = await self._from_store(map, items, now)
        losses = await self._invalidations.make([each.key for each in items])
        for each, entry, loss in zip(items, entries, losses, strict=True):
            if loss is not None:
                self._reached(each, loss)
            found[each.sk] = entry

    async def _read_stored(
        self, map: str, items: list[Item], found: dict[str, Stored | None], now: float
    ) -> None:
        """Read past a cache that cannot be reached."""
        entries = await self._from_store(map, items, now)
        for each, entry in zip(items, entries, strict=True):
            found[each.sk] = entry

    async def _from_store(self, map: str, items: list[Item], now: float) -> Sequence[Stored | None]:
        if len(items) == 1:
            return [await self._store.read(map, items[0].sk, now)]
        return await self._store.read_many(map, [each.sk for each in items], now)

    def _reached(self, each: Item, lost: CacheLost) -> None:
        """Raise, unless the policy is to do without the cache."""
        if self._policy.strict:
            raise CacheUnavailable(f"{lost} (key {each.key})") from lost


def live(entry: Stored | None, now: float) -> Stored | None:
    """Return the entry unless it has expired."""
    if entry is None or (entry.expires is not None and entry.expires <= now):
        return None
    return entry

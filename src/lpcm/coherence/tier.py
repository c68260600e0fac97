"""Coherence: a store with memcached in front of it, as one tier that never lies.

The promise, for each key (docs/explanation/coherence.md has it whole): all operations made
through lpcm by clients that reach the same memcached process are linearizable, whatever
memcached forgets, whichever clients crash, stall or lose replies, whatever their clocks.

This text is the protocol, once, with ``read``, ``write``, ``invalidation`` and ``item`` beside
it: coroutines over ``ports.Store``, ``ports.Cache`` and ``ports.Clock``. They know no socket,
thread or event loop; blocking and awaiting callers drive them, and so does the model checker
(``checks.explorer``): what is checked is what ships.

Rules
-----
An item is ``base + b"+" * n``; memcached's client flags say how long the base is. ``n``
counts the writes in doubt. **An entry is servable iff its base is not empty.** memcached's
own flags (won, stale, taken) only steer who refills.

R1  A value read from the store is returned only after publishing it by a CAS whose token
    was taken *before* that read, or after an invalidation made *after* it.
R2  A write is acknowledged only after publishing its result by a CAS whose token was taken
    *before* the commit, or after an invalidation made *after* it. (An item that is gone
    counts: then nothing is cached.)
R3  An item is marked before the store is written, its time cut to ``mark`` seconds; while
    marks exist, whatever is published keeps one and lives no longer than that. Only a
    writer that saw its own mark alone publishes clean.
R4  A token is valid only on the connection that issued it: memcached counts from 1 again
    when it restarts.

Theory of operation
-------------------
Say a reader takes a token, reads v1 from the store, and stalls; a writer then commits v2.
The writer either published v2 by CAS, or invalidated: both gave the item a new CAS id, so
the reader's publication fails and it looks again (R1 meets R2). Were the reader to return
v1 without publishing, it might do so after another reader had v2: hence R1. Were the
writer to take its token after its commit, a fill of v1 could lie between the two, and a
token says nothing of what came before it: hence R2.

A writer that dies after its commit publishes nothing, and readers would be served the old
base until it expires: R3 bounds that by ``mark``. A second writer cannot know whether the
first, whose mark it sees, is dead; what it publishes may be older than the first one's
commit, so it leaves a mark. Safety never depends on a mark: memcached may lose any of them.

Readers go on hitting the old base during a write that is not acknowledged yet. A cold key
has one reader to fill it, who won the lease; the others wait, and steal the lease from one
who does not deliver.

Round trips (cache / store): hit 1/0, miss 2/1, write 2/1, overlapping writers 3/1. Bulk is
the same per key, pipelined: linearizable per key, not atomic across keys.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from lpcm.coherence.invalidation import Invalidations
from lpcm.coherence.item import PLAIN, Item, Policy, exchange, item, places
from lpcm.coherence.payload import Unreadable, unpack
from lpcm.coherence.read import Reading
from lpcm.coherence.write import Writing
from lpcm.errors import CacheUnavailable, LPCMError
from lpcm.ports import CacheLost, Delete, Get, KeyRange, Packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lpcm.ports import (
        Aborted,
        Applied,
        Cache,
        Change,
        Check,
        Clock,
        Op,
        Outcome,
        Replies,
        Store,
        Stored,
    )

__all__ = ["Coherent", "Policy", "Uncached"]

_BULK: Final = 1000
"""Keys that share a round: few enough that their leases and marks outlive it."""


class Coherent:
    """A ``ports.Tier``: the store's entries, served from the cache.

    ``prefix`` stands before every key in the cache and must differ for every set of
    servers. ``jitter`` gives the pauses of a reader that waits for another one's fill.
    """

    reading: Callable[..., Reading] = Reading
    writing: Callable[..., Writing] = Writing

    def __init__(
        self,
        store: Store,
        cache: Cache,
        clock: Clock,
        policy: Policy,
        prefix: str = "",
        *,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._look = cache.look
        self._clock = clock
        self._prefix = prefix
        self._lease = policy.lease
        self._invalidations = Invalidations(cache, clock, policy)
        self._owed = self._invalidations.owed
        self._reading = self.reading(
            store, cache, clock, policy, self._invalidations, jitter=jitter or _jitter
        )
        self._writing = self.writing(store, cache, clock, policy, self._invalidations)

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry: one cache trip on a hit; two, and one read, on a miss."""
        # The hot path: `item`, without its call and its tuple where the key stands as it is.
        key, name = f"{self._prefix}{map}{sk}", b""
        if len(key) > PLAIN or " " in key or not (key.isascii() and key.isprintable()):
            _, key, name = item(self._prefix, map, sk)
        if self._owed:
            await self._invalidations.pay()
        try:
            found = await self._look(key, self._lease)
            if type(found) is bytes:
                entry = unpack(found, name)
                if entry is None or (entry.expires is not None and entry.expires <= now):
                    return None
                return entry
            first: Replies | CacheLost | None = cast("Replies", found)
        except CacheLost as lost:
            first = lost
        except Unreadable:
            first = None
        (entry,) = await self._reading.finish(map, [Item(sk, key, name)], [first], now)
        return entry

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries: one pipelined trip for the hits, two and a batch for the rest."""
        if self._owed:
            await self._invalidations.pay()
        found: dict[str, Stored | None] = {}
        wanted, new = iter(dict.fromkeys(sks)), tuple.__new__
        while chunk := list(islice(wanted, _BULK)):
            keys, names = places(self._prefix, map, chunk)
            looks = await self._cache.look_many(keys, self._lease)
            items: list[Item] = []
            first: list[Replies | CacheLost | None] = []
            for sk, key, name, look in zip(chunk, keys, names, looks, strict=False):
                if type(look) is bytes:
                    try:
                        entry = unpack(look, name)
                    except Unreadable:
                        items.append(Item(sk, key, name))
                        first.append(None)
                        continue
                    if entry is not None and (expires := entry[3]) is not None and expires <= now:
                        entry = None
                    found[sk] = entry
                else:
                    items.append(new(Item, (sk, key, name)))
                    first.append(cast("Replies | CacheLost", look))
            if items:
                entries = await self._reading.finish(map, items, first, now)
                found.update(zip([each.sk for each in items], entries, strict=True))
        return [found[sk] for sk in sks]

    async def cached(self, map: str, sks: Sequence[str]) -> dict[str, Stored | None]:
        """Return what the cache would serve of these now; None: that the entry is absent.

        One pipelined trip for each thousand; fills and changes nothing. **Raises** CacheLost.
        """
        found: dict[str, Stored | None] = {}
        for start in range(0, len(sks), _BULK):
            items = [item(self._prefix, map, sk) for sk in sks[start : start + _BULK]]
            replies = await exchange(self._cache, [Packet(each.key, (Get(),)) for each in items])
            for each, reply in zip(items, replies, strict=True):
                if isinstance(reply, CacheLost):
                    raise reply
                seen = reply.results[0]
                if seen.base > 0:
                    try:
                        found[each.sk] = unpack(seen.data[: seen.base], each.name)
                    except Unreadable:
                        continue
        return found

    async def read_stored(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return what the store has, and invalidate it (R1, second form)."""
        if self._owed:
            await self._invalidations.pay()
        wanted = list(dict.fromkeys(sks))
        items = [item(self._prefix, map, sk) for sk in wanted]
        entries = await self._reading.finish(map, items, [None] * len(items), now)
        found = dict(zip(wanted, entries, strict=True))
        return [found[sk] for sk in sks]

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write: two cache trips, and the store's own."""
        if self._owed:
            await self._invalidations.pay()
        return await self._writing.one(map, item(self._prefix, map, sk), op, now)

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes: two pipelined trips, and the store's own batches."""
        if self._owed:
            await self._invalidations.pay()
        outcomes: list[Outcome | Exception] = []
        for chunk in _rounds(writes):
            items = [item(self._prefix, map, sk) for sk, _ in chunk]
            try:
                outcomes += await self._writing.many(map, items, chunk, now)
            except LPCMError as error:
                if not outcomes:
                    raise
                # An earlier round was done: the error stands for each of the rest.
                outcomes += [error] * (len(writes) - len(outcomes))
                break
        first = outcomes[0] if outcomes else None
        if isinstance(first, CacheUnavailable) and all(
            isinstance(outcome, CacheUnavailable) for outcome in outcomes
        ):
            raise first
        return outcomes

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes or none: each key marked and published as by a write of its own.

        Readers may see some of the changes before the others.
        """
        if self._owed:
            await self._invalidations.pay()
        written = [(item(self._prefix, each.map, each.sk), each) for each in changes]
        checked = [(item(self._prefix, each.map, each.sk), each) for each in checks]
        return await self._writing.together(written, checked, now)

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete every entry of the range, each as a write of its own; pages of 1,000.

        Not the store's own ``clear``: whatever that deleted would still be cached.
        """
        after: str | None = None
        while True:
            # As of the beginning of time, so that what has expired goes as well.
            page = await self._store.scan(map, keys, 0.0, after=after, limit=_BULK, values=False)
            now = self._clock.now()
            outcomes = await self.apply_many(map, [(sk, Delete()) for sk, _ in page.entries], now)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            after = page.resume
            if after is None:
                return

    @property
    def owed(self) -> int:
        """How many invalidations wait for the cache to come back."""
        return len(self._owed)

    def take_over(self, other: Coherent) -> None:
        """Owe what another one in front of the same cache still owes, which is at its end."""
        self._invalidations.take_over(other._invalidations)

    async def settle(self) -> int:
        """Try the invalidations owed, before the process goes; return how many are left."""
        return await self._invalidations.settle() if self._owed else 0


class Uncached:
    """The same tier for who wants to see the store: reads ask it, and empty what is cached."""

    def __init__(self, coherent: Coherent) -> None:
        self.read_many = coherent.read_stored
        self.apply = coherent.apply
        self.apply_many = coherent.apply_many
        self.transact = coherent.transact
        self.clear = coherent.clear

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry: one read of the store and one cache trip."""
        (entry,) = await self.read_many(map, [sk], now)
        return entry


def _rounds(writes: Sequence[tuple[str, Op]]) -> Iterator[Sequence[tuple[str, Op]]]:
    """Split where a key comes again, so that its writes keep their order, or a round is full."""
    start, seen = 0, set[str]()
    for at, (sk, _) in enumerate(writes):
        if sk in seen or len(seen) == _BULK:
            yield writes[start:at]
            start, seen = at, set()
        seen.add(sk)
    if seen:
        yield writes[start:]


def _jitter() -> float:
    from random import SystemRandom  # 4 ms to import, for contended keys alone

    # Of the system: after a fork in C, parent and child would go on with equal numbers.
    return SystemRandom().uniform(0.002, 0.020)

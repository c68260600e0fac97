"""The tier: a store with memcached in front of it, as one ``ports.Tier``.

The promise, for each key (docs/explanation/coherence.md has all of it): all operations made
through lpcm by clients that reach the same memcached process are linearizable, whatever
memcached forgets, whichever clients crash, stall or lose replies, whatever their clocks. Reads that
a near cache serves (``near``) are outside of it, by the bound it was given.

``protocol`` keeps the promise for one key. This module makes the operations of the port from it:
a hit is served before any generator is made; everything else is generators that ``play`` plays.
Bulk is the same per key, pipelined: linearizable per key, not atomic across keys. Knows no socket,
thread or event loop.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from lpcm.coherence.catalogue import NEVER, Fixed, Prefixes
from lpcm.coherence.invalidation import Queue
from lpcm.coherence.item import PLAIN, Item, Policy, item, keys_and_names
from lpcm.coherence.payload import Unreadable, unpack
from lpcm.coherence.play import Calls, exchange, play
from lpcm.coherence.protocol import Protocol
from lpcm.errors import CacheUnavailable, LPCMError, StoreError
from lpcm.ports import Aborted, Applied, CacheLost, Delete, Get, KeyRange, Packet, Scan
from lpcm.system.backoff import jitter
from lpcm.system.process import forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lpcm.coherence.protocol import Getting
    from lpcm.ports import (
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

_OTHER_CONDITION_FAILED: Final = StoreError("another key's condition failed: nothing was written")
"""The outcome of a change of an aborted transaction whose own condition held."""
_BULK: Final = 1000
"""Keys that share a round: few enough that their leases and marks outlive the round."""


class Coherent:
    """A ``ports.Tier``: the store's entries, served from the cache.

    ``prefix`` stands before every key in the cache, and must differ for every store and every
    set of servers; ``Prefixes`` give the prefix of each map. ``jitter`` gives the pauses of a
    reader that waits for another reader's fill.
    """

    protocol: Callable[..., Protocol] = Protocol

    def __init__(
        self,
        store: Store,
        cache: Cache,
        clock: Clock,
        policy: Policy,
        prefix: str | Prefixes = "",
        *,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._look = cache.look
        self._clock = clock
        self._prefixes = prefix if isinstance(prefix, Prefixes) else Fixed(prefix)
        self._looked = self._prefixes.looked
        self._lease = policy.lease
        self._queue = Queue(cache, clock, policy)
        self._pending = self._queue.pending
        self._protocol = self.protocol(clock, policy, self._queue, jitter or _jitter)

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry: one cache trip on a hit; two, and one read, on a miss."""
        # The hot path: `item`, without its call and its tuple where the cache takes the key.
        if not same[0]:
            forked()  # before the prefix is taken: a child's memory is another store
        try:
            prefix = self._prefixes[map]
        except KeyError:
            (entry,) = await self._read_new(map, [sk], now)
            return entry
        key, name = f"{prefix}{map}{sk}", b""
        if len(key) > PLAIN or " " in key or not (key.isascii() and key.isprintable()):
            _, key, name = item(prefix, map, sk)
        if self._pending:
            await self._queue.retry()
        try:
            found = await self._look(key, self._lease)
            if type(found) is bytes:
                entry = unpack(found, name)
                if entry is None or ((expires := entry[3]) is not None and expires <= now):
                    return None
                return entry
            first: Replies | CacheLost | None = cast("Replies", found)
        except CacheLost as lost:
            first = lost
        except Unreadable:
            first = None
        since, until = self._looked.get(map, NEVER)
        if not since <= now < until and await self._current(map) != prefix:
            return await self.read(map, sk, now)
        generator = self._protocol.get(Item(sk, key, name), first, now)
        (entry,) = await self._get(map, [generator], now)
        return entry

    async def _read_new(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Read entries of a map whose items have no prefix yet, and perhaps need none.

        Where the namespace has no identity, no client has cached any of its items. The identity is
        asked for again *after* the read of the store: else this read could return a write made in
        between while the cache still serves other readers the value before it (R1).
        """
        if await self._current(map) is None:
            entries = await self._read_uncached(map, sks, now)
            if await self._current(map, anew=True) is None:
                return entries
        return await self.read_many(map, sks, now)

    async def _read_uncached(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        if len(sks) == 1:
            return [await self._store.read(map, sks[0], now)]
        return await self._store.read_many(map, sks, now)

    async def _current(self, map: str, *, anew: bool = False) -> str | None:
        return await self._prefixes.current(self._store, map, self._clock.now(), anew=anew)

    async def _for_writing(self, map: str) -> str:
        return await self._prefixes.for_writing(self._store, map, self._clock.now())

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries: one pipelined trip for the hits, two and a batch for the rest."""
        if not same[0]:
            forked()
        try:
            prefix = self._prefixes[map]
        except KeyError:
            return await self._read_new(map, sks, now)
        if self._pending:
            await self._queue.retry()
        found: dict[str, Stored | None] = {}
        wanted, new, get = iter(dict.fromkeys(sks)), tuple.__new__, self._protocol.get
        while chunk := list(islice(wanted, _BULK)):
            keys, names = keys_and_names(prefix, map, chunk)
            looks = await self._cache.look_many(keys, self._lease)
            missed: list[str] = []
            generators: list[Getting] = []
            for sk, key, name, look in zip(chunk, keys, names, looks, strict=False):
                if type(look) is bytes:
                    try:
                        entry = unpack(look, name)
                    except Unreadable:
                        missed.append(sk)
                        generators.append(get(Item(sk, key, name), None, now))
                        continue
                    if entry is not None and (expires := entry[3]) is not None and expires <= now:
                        entry = None
                    found[sk] = entry
                else:
                    missed.append(sk)
                    first = cast("Replies | CacheLost", look)
                    generators.append(get(new(Item, (sk, key, name)), first, now))
            if generators:
                since, until = self._looked.get(map, NEVER)
                if not since <= now < until and await self._current(map) != prefix:
                    return await self.read_many(map, sks, now)
                found.update(zip(missed, await self._get(map, generators, now), strict=True))
        return [found[sk] for sk in sks]

    async def cached(self, map: str, sks: Sequence[str]) -> dict[str, Stored | None]:
        """Return the entries that the cache would serve now; None stands for an absent entry.

        One pipelined trip for each 1,000 keys; fills and changes nothing. **Raises** CacheLost.
        """
        found: dict[str, Stored | None] = {}
        prefix = await self._current(map)
        if prefix is None:
            return found
        for start in range(0, len(sks), _BULK):
            items = [item(prefix, map, sk) for sk in sks[start : start + _BULK]]
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
        """Return the entries in the store, and invalidate their items (R1, second form)."""
        if self._pending:
            await self._queue.retry()
        if not same[0]:
            forked()
        wanted = list(dict.fromkeys(sks))
        prefix = await self._current(map)
        if prefix is None:
            entries = await self._read_uncached(map, wanted, now)
            prefix = await self._current(map, anew=True)
            if prefix is None:
                found = dict(zip(wanted, entries, strict=True))
                return [found[sk] for sk in sks]
        generators = [self._protocol.read_stored(item(prefix, map, sk)) for sk in wanted]
        found = dict(zip(wanted, await self._get(map, generators, now), strict=True))
        return [found[sk] for sk in sks]

    async def _get(
        self, map: str, generators: Sequence[Getting], now: float
    ) -> Sequence[Stored | None]:
        """Play reads; raise the first failure."""
        entries = await play(generators, self._calls(map, now))
        for entry in entries:
            if isinstance(entry, Exception):
                raise entry
        return entries

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write: two cache trips, and the store's own."""
        if not same[0]:
            forked()
        since, until = self._looked.get(map, NEVER)
        prefix = self._prefixes.get(map) if since <= now < until else None
        if prefix is None:
            prefix = await self._for_writing(map)
        if self._pending:
            await self._queue.retry()
        generator = self._protocol.write(item(prefix, map, sk), op)
        (outcome,) = await play([generator], self._calls(map, now))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]  # what write returns

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes: two pipelined trips, and the store's own batches."""
        if not writes:
            return []
        if not same[0]:
            forked()
        since, until = self._looked.get(map, NEVER)
        prefix = self._prefixes.get(map) if since <= now < until else None
        if prefix is None:
            prefix = await self._for_writing(map)
        if self._pending:
            await self._queue.retry()
        failure: LPCMError | None = None

        async def write(writes: Sequence[tuple[str, Op]]) -> Sequence[Outcome | Exception]:
            nonlocal failure
            try:
                return await self._store.apply_many(map, writes, now)
            except LPCMError as error:
                failure = error  # it concerns all writes, and nothing was written
                raise

        outcomes: list[Outcome | Exception] = []
        calls = self._calls(map, now)._replace(write=write)
        for chunk in _rounds(writes):
            generators = [self._protocol.write(item(prefix, map, sk), op) for sk, op in chunk]
            done = await play(generators, calls)
            if failure is not None:
                if not outcomes:
                    raise failure
                # An earlier round was done: the error is the outcome of each write of the rest.
                outcomes += [failure] * (len(writes) - len(outcomes))
                break
            outcomes += done
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
        if not same[0]:
            forked()
        prefixes: dict[str, str] = {}
        for pk in dict.fromkeys(each.map for each in changes):
            prefixes[pk] = await self._for_writing(pk)
        for pk in dict.fromkeys(each.map for each in checks):
            if pk not in prefixes:  # without a prefix no item is cached, nor need be invalidated
                prefixes[pk] = await self._current(pk) or ""
        if self._pending:
            await self._queue.retry()
        aborted: Aborted | None = None

        async def write(writes: Sequence[tuple[str, Op]]) -> Sequence[Outcome | Exception]:
            nonlocal aborted
            if len(writes) < len(changes):  # strict, and one of the keys could not be marked
                raise CacheUnavailable("another key of the transaction: nothing was written")
            done = await self._store.transact(changes, checks, now)
            if not isinstance(done, Aborted):
                return done
            aborted = done
            refused = {(pk, sk): outcome for pk, sk, outcome in done.reasons}
            return [refused.get((pk, sk), _OTHER_CONDITION_FAILED) for pk, sk, _ in changes]

        generators = [
            self._protocol.write(item(prefixes[each.map], each.map, each.sk), each.op)
            for each in changes
        ]
        calls = self._calls("", now)._replace(write=write)
        # A transaction may have checks alone.
        outcomes: list[Any] = await play(generators, calls) if generators else [*await write(())]
        for outcome in outcomes:
            if isinstance(outcome, Exception) and outcome is not _OTHER_CONDITION_FAILED:
                raise outcome
        if aborted is None:
            return outcomes
        failed = {(pk, sk) for pk, sk, _ in aborted.reasons}
        invalidations = [
            self._protocol.invalidate_changed(item(prefixes[each.map], each.map, each.sk))
            for each in checks
            if (each.map, each.sk) in failed
        ]
        for failure in await play(invalidations, calls):
            if failure is not None:
                raise failure
        return aborted

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete every entry of the range, each as a write of its own; pages of 1,000.

        Not the store's own ``clear``: entries that it deletes would still be cached.
        """
        after: str | None = None
        while True:
            # With ``now`` 0 no entry has expired, so that expired entries are deleted as well.
            page = await self._store.scan(map, Scan(keys, after, _BULK, values=False), 0.0)
            now = self._clock.now()
            outcomes = await self.apply_many(map, [(sk, Delete()) for sk, _ in page.entries], now)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            after = page.resume
            if after is None:
                return

    def _calls(self, map: str, now: float) -> Calls:
        """Return the calls of the ports for keys of one map."""
        store = self._store

        async def read(sks: Sequence[str]) -> Sequence[Stored | None]:
            if len(sks) == 1:
                return [await store.read(map, sks[0], now)]
            return await store.read_many(map, sks, now)

        async def write(writes: Sequence[tuple[str, Op]]) -> Sequence[Outcome | Exception]:
            if len(writes) == 1:
                # Not apply(map, *writes[0], now): a signal may interrupt such a call after it
                # made its coroutine, and before the coroutine is awaited.
                ((sk, op),) = writes
                return [await store.apply(map, sk, op, now)]
            return await store.apply_many(map, writes, now)

        return tuple.__new__(Calls, (self._cache, self._clock, read, write))

    @property
    def pending(self) -> int:
        """The number of invalidations that wait for the cache to answer again."""
        return len(self._pending)

    def take_over(self, other: Coherent) -> None:
        """Take over the pending invalidations of another tier in front of the same cache."""
        self._queue.take_over(other._queue)

    async def flush(self) -> int:
        """Try the pending invalidations, before the process ends; return how many are left."""
        return await self._queue.flush() if self._pending else 0


class Uncached:
    """The same tier for readers past the cache: reads ask the store, and invalidate the items."""

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
    """Split where a key comes again, to keep the order of its writes, or where a round is full."""
    start, seen = 0, set[str]()
    for at, (sk, _) in enumerate(writes):
        if sk in seen or len(seen) == _BULK:
            yield writes[start:at]
            start, seen = at, set()
        seen.add(sk)
    if seen:
        yield writes[start:]


def _jitter() -> float:
    return jitter(0.002, 0.020)

"""Shards: one map's entries, spread over several partitions by their keys.

Between the tiers and the store. What is above knows a map by its name alone, cached items included;
what is below knows partitions alone. The first has the map's own partition key, ``default/users/``,
which is all that a map of one shard has; shard 3 has ``default/users/3/``. An entry is in the shard
of that number: the SHA-256 of its encoded key, the first four bytes as a number, modulo the
map's number of shards.

How many a map has is asked of the catalogue (``ports.shards``). Invariants:

1. The number of a map that is not in the catalogue is asked for within each operation: another
   client may enter it at any moment. So no read misses an entry whose write was acknowledged. A
   write enters it, so no entry is without a number.
2. A map of one shard sends the requests that it would send without this module.
3. A page of entries is in key order over all shards, without a gap (``merge``).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lpcm.ports import Aborted, Reads, Store
from lpcm.stores.dynamodb.concurrency import Runner, later
from lpcm.stores.dynamodb.merge import PAGE, Merge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from lpcm.ports import (
        Applied,
        Change,
        Check,
        Form,
        KeyRange,
        MapInfo,
        MapState,
        Op,
        Outcome,
        Page,
        Purged,
        Scan,
        Stored,
    )
    from lpcm.ports.shards import Shards

__all__ = ["Partitioned", "Sharded", "eventual_reads", "partitions", "shard"]


class Partitioned(Store, Protocol):
    """A store whose batches may have keys of several partitions."""

    consistency: str
    purge_rate: float

    @property
    def eventual(self) -> Reads | None:
        """See ``ports.Store``."""
        ...

    async def read(
        self, map: str, sk: str, now: float, *, consistent: bool = True
    ) -> Stored | None:
        """Return the entry."""
        ...

    async def read_many(
        self, map: str, sks: Sequence[str], now: float, *, consistent: bool = True
    ) -> list[Stored | None]:
        """Return the entries."""
        ...

    async def scan(self, map: str, wanted: Scan, now: float, *, consistent: bool = True) -> Page:
        """Return a page."""
        ...

    async def count(self, map: str, keys: KeyRange, now: float, *, consistent: bool = True) -> int:
        """Count the range."""
        ...

    def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:
        """Delete what has expired from these partitions, and yield after each step."""
        ...

    async def read_spread(
        self, pks: Mapping[str, str], sks: Sequence[str], now: float, *, consistent: bool = True
    ) -> list[Stored | None]:
        """Return the entries in the order of ``sks``; ``pks`` has the partition of each."""
        ...

    async def apply_spread(
        self, pks: Mapping[str, str], writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes; ``pks`` has the partition of each key."""
        ...


def eventual_reads(store: Partitioned | Sharded) -> Reads:
    """Return a store's reads at half the price, which may miss the last writes."""
    return Reads(
        partial(store.read, consistent=False),
        partial(store.read_many, consistent=False),
        partial(store.scan, consistent=False),
        partial(store.count, consistent=False),
    )


def shard(map: str, sk: str, shards: int) -> str:
    """Return the partition key of an entry.

    >>> [shard("default/users/", sk, 16) for sk in ("pi", "!1a7", "5", "")]
    ['default/users/7/', 'default/users/1/', 'default/users/13/', 'default/users/2/']
    >>> shard("default/users/", "pi", 1)
    'default/users/'
    """
    from hashlib import sha256  # 3 ms to import, for maps of several shards alone

    return _partition(map, int.from_bytes(sha256(sk.encode()).digest()[:4]) % shards)


def partitions(map: str, shards: int) -> list[str]:
    """Return the partition keys of a map.

    >>> partitions("default/users/", 3)
    ['default/users/', 'default/users/1/', 'default/users/2/']
    """
    return [_partition(map, number) for number in range(shards)]


def _partition(map: str, number: int) -> str:
    return f"{map}{number}/" if number else map


class Sharded:
    """A ``ports.Store`` of maps of one partition or several, over one that knows partitions.

    Costs are those of the store for operations on keys, however many shards there are. What asks
    for a page, counts or clears sends so many requests to each shard, eight at a time.
    """

    remote = True

    def __init__(self, store: Partitioned, shards: Shards) -> None:
        self.form: Form = store.form
        self.blocking = store.blocking
        self.consistency = store.consistency
        self.purge_rate = store.purge_rate
        self._store = store
        self._shards = shards
        self._known = shards.known
        # Not the store's own: a job on its threads must not wait for another one there.
        self._runner = Runner(blocking=store.blocking)
        self._sizes: dict[str, float] = {}
        """Bytes of a value, by map, as the last page had them."""

    @property
    def identity(self) -> str:
        """That of the store."""
        return self._store.identity

    @property
    def eventual(self) -> Reads | None:
        """The same reads at half the price; None unless the store was opened to read so."""
        return None if self._store.eventual is None else eventual_reads(self)

    def __repr__(self) -> str:
        return repr(self._store)

    async def _count(self, map: str, *, write: bool = False) -> int:
        known = self._known.get(map)
        if known is not None:
            return known
        return await (self._shards.enter(map) if write else self._shards.ask(map))

    async def _find(self, map: str, sk: str, *, write: bool = False) -> str:
        shards = await self._count(map, write=write)
        return map if shards == 1 else shard(map, sk, shards)

    async def _find_all(
        self, map: str, sks: Sequence[str], *, write: bool = False
    ) -> dict[str, str]:
        shards = await self._count(map, write=write)
        return {sk: map if shards == 1 else shard(map, sk, shards) for sk in sks}

    # Entries

    async def read(
        self, map: str, sk: str, now: float, *, consistent: bool = True
    ) -> Stored | None:
        """Return the entry."""
        pk = map if self._known.get(map) == 1 else await self._find(map, sk)
        return await self._store.read(pk, sk, now, consistent=consistent)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        pk = map if self._known.get(map) == 1 else await self._find(map, sk, write=True)
        return await self._store.apply(pk, sk, op, now)

    async def read_many(
        self, map: str, sks: Sequence[str], now: float, *, consistent: bool = True
    ) -> list[Stored | None]:
        """Return the entries: the keys of one batch may be of any shards."""
        pks = await self._find_all(map, sks)
        return await self._store.read_spread(pks, sks, now, consistent=consistent)

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes: the keys of one batch may be of any shards."""
        pks = await self._find_all(map, [sk for sk, _ in writes], write=True)
        return await self._store.apply_spread(pks, writes, now)

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none."""
        maps: dict[tuple[str, str], str] = {}

        async def place(map: str, sk: str, *, write: bool = False) -> str:
            pk = await self._find(map, sk, write=write)
            maps[pk, sk] = map
            return pk

        placed = [each._replace(map=await place(each.map, each.sk, write=True)) for each in changes]
        placed_checks = [each._replace(map=await place(each.map, each.sk)) for each in checks]
        outcome = await self._store.transact(placed, placed_checks, now)
        if isinstance(outcome, Aborted):
            return Aborted([(maps[pk, sk], sk, refused) for pk, sk, refused in outcome.reasons])
        return outcome

    # The whole map

    async def scan(self, map: str, wanted: Scan, now: float, *, consistent: bool = True) -> Page:
        """Return a page, in key order over all shards.

        Cost: one scan of each shard, and a second one of some. Together they read about an eighth
        more than ``wanted.limit`` entries, and one of each shard at least.
        """
        shards = await self._count(map)
        if shards == 1:
            return await self._store.scan(map, wanted, now, consistent=consistent)
        if wanted.values and (mean := self._sizes.get(map)):
            # What is read and then left out, because the page is full, is paid for.
            wanted = wanted._replace(limit=min(wanted.limit, math.ceil(PAGE / mean)))
        merge = Merge(wanted, partitions(map, shards))

        def page(asked: tuple[str, Scan]) -> Coroutine[Any, Any, Page]:
            return self._store.scan(*asked, now, consistent=consistent)

        while asked := merge.next():
            merge.take(await self._runner.run([later(page, each) for each in asked]))
        found = merge.page()
        if merge.mean:
            self._sizes[map] = merge.mean
        return found

    async def count(self, map: str, keys: KeyRange, now: float, *, consistent: bool = True) -> int:
        """Count the range, in all shards at once."""

        def count(pk: str) -> Coroutine[Any, Any, int]:
            return self._store.count(pk, keys, now, consistent=consistent)

        return sum(await self._each(map, count))

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range, in all shards at once."""
        await self._each(map, lambda pk: self._store.clear(pk, keys))

    async def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:
        """Delete what has expired from these maps, a shard after the other."""
        for map in maps:  # noqa: A001  # the field's word
            pks = partitions(map, await self._count(map))
            async for step in self._store.purge(pks, now, most):
                yield step

    async def _each(self, map: str, make: Callable[[str], Coroutine[Any, Any, Any]]) -> list[Any]:
        pks = partitions(map, await self._count(map))
        return await self._runner.run([later(make, pk) for pk in pks])

    # The catalogue

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return a map's state in the catalogue."""
        return await self._store.describe(namespace, name)

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue."""
        return await self._store.register(namespace, info)

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity."""
        await self._store.renew(namespace)

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue."""
        return await self._store.maps(namespace)

    async def drop(self, namespace: str) -> None:
        """Clear every map of the catalogue, in all its shards, then the catalogue."""
        await self._store.drop(namespace)

    def close(self) -> None:
        """Close the store."""
        self._runner.close()
        self._store.close()

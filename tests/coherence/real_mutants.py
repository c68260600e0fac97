"""What others do, as tiers over real servers: the recorded histories must find it wrong."""

from __future__ import annotations

from lpcm.coherence import near
from lpcm.coherence.item import item
from lpcm.coherence.payload import pack, unpack
from lpcm.coherence.tier import Coherent
from lpcm.errors import LPCMError
from lpcm.ports import CacheLost, Get, Packet, Set
from tests.coherence.mutants import NoR1

__all__ = ["DeleteAfterWrite", "Failing", "LeaseWithoutR1", "NearTooLong", "SetThrough"]

LeaseWithoutR1 = NoR1


class _Simple(Coherent):
    """Cache-aside: a miss is read from the store, and set whatever happened meanwhile."""

    async def read(self, map, sk, now):
        where = item(await self._for_writing(map), map, sk)
        try:
            reply = await self._cache.send(Packet(where.key, (Get(),)))
        except CacheLost:
            return await self._store.read(map, sk, now)
        found = reply.results[0]
        if found.base > 0:
            return unpack(found.data[: found.base], where.name)
        entry = await self._store.read(map, sk, now)
        await self._set(where, entry)
        return entry

    async def read_many(self, map, sks, now):
        return [await self.read(map, sk, now) for sk in sks]

    async def apply_many(self, map, writes, now):
        outcomes = []
        for sk, op in writes:
            try:
                outcomes.append(await self.apply(map, sk, op, now))
            except LPCMError as error:
                outcomes.append(error)
        return outcomes

    async def _set(self, where, entry):
        base = pack(entry, where.name)
        await self._send(where, Set(base, len(base), 3600))

    async def _send(self, where, command):
        try:
            await self._cache.send(Packet(where.key, (command,)))
        except CacheLost:
            pass


class Failing(Coherent):
    """Raise what lpcm does not document, now and then."""

    async def apply(self, map, sk, op, now):
        outcome = await super().apply(map, sk, op, now)
        if op.etag % 8 == 0:
            raise RuntimeError("deque mutated during iteration")
        return outcome


class SetThrough(_Simple):
    """Write to the store, then to the cache."""

    async def apply(self, map, sk, op, now):
        outcome = await self._store.apply(map, sk, op, now)
        await self._set(item(await self._for_writing(map), map, sk), outcome.entry)
        return outcome


class DeleteAfterWrite(_Simple):
    """Write to the store, then delete from the cache."""

    async def apply(self, map, sk, op, now):
        outcome = await self._store.apply(map, sk, op, now)
        await self._send(item(await self._for_writing(map), map, sk), Set(b"", 0, 1))
        return outcome


class NearTooLong(Coherent):
    """A near cache that serves for four times as long as it may."""

    def __init__(self, *given):
        super().__init__(*given)
        settle = near.AgingCache.settle
        near.AgingCache.settle = lambda self, begun, *rest: settle(
            self, (begun[0], begun[1] + 3 * self.max_stale), *rest
        )

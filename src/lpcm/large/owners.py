"""Owners: whose the parts under a content id are, and whether they may be deleted.

An owner is an entry of the partition ``ports.heads.owners`` under its content id. Its data name the
logical key, the number of parts, when it was written, and the etag that it has while it is *open*.
Condemning an owner gives it another etag, so that no head that names its parts can be put any more;
opening it again gives the old etag back. Knows the store's port, and no cache.

Invariant: parts are deleted only behind a condemned owner whose head was read again *after* it was
condemned and named other parts, or behind one whose head the caller itself has replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.errors import ValueDecodingError
from lpcm.large.parts import write_parts
from lpcm.ports import Applied, Delete, KeyRange, Put, Scan, When
from lpcm.ports.etags import new_etag
from lpcm.ports.heads import Head, Owner, head_of, owner_of, owners, part_name
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from lpcm.ports import Op, Store, Stored
    from lpcm.ports.heads import PartStore

__all__ = ["AGE", "Owners"]

AGE: Final = 3600.0
"""Seconds for which a writer may take to put its head before a sweeper looks at its owner."""
_SKEW: Final = 60.0
"""Seconds by which an expired head still counts as there: clocks differ."""
_PAGE: Final = 100
_AT_ONCE: Final = 25
"""Parts that are deleted by one call: a request of DynamoDB."""


class Owners:
    """The owners of one store: ``store`` as it knows partitions, ``heads`` as it knows maps."""

    def __init__(self, store: PartStore, heads: Store) -> None:
        self._store = store
        self._heads = heads

    async def write(self, map: str, sk: str, head: Head, now: float) -> None:
        """Enter an open owner, before the first of its parts. Cost: one write."""
        owner = Owner(sk, head.parts, float(now), head.owner)
        put = Put(owner.cell(), head.owner, None, When.ABSENT)
        await self._store.apply(owners(map), head.content, put, now)

    async def renew(self, map: str, sk: str, head: Head, etag: int, now: float) -> bool:
        """Enter an open owner anew, of the head's etag, if it has this one; tell whether it had.

        The new etag makes a sweeper fail that has read the owner as it was, with its number of
        parts. Cost: one write.
        """
        owner = Owner(sk, head.parts, float(now), head.owner)
        return await self._change(map, head.content, owner, (etag, head.owner), now)

    async def remove(self, map: str, content: str, count: int, now: float) -> None:
        """Delete parts, then their owner: no head names them, and none ever will.

        Cost: a write for each part, of its size; 25 to a request. After an error the owner stays,
        for a later sweep.
        """
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, count))
            left: Sequence[tuple[str, Op]] = [(part_name(each), Delete()) for each in numbers]
            while left:
                left = await write_parts(self._store, map, content, left, now)
        await self._store.apply(owners(map), content, Delete(), now)

    async def found(
        self, map: str, now: float, after: str | None = None, limit: int = _PAGE
    ) -> AsyncIterator[tuple[str, Stored]]:
        """Yield the owners of a map's parts, by content id, to the last page."""
        wanted = Scan(KeyRange(), after, limit)
        while True:
            page = await self._store.scan(owners(map), wanted, now)
            for content, stored in page.entries:
                yield content, stored
            if page.resume is None:
                return
            wanted = wanted._replace(after=page.resume)

    async def some(self, map: str, after: str, count: int, now: float) -> list[tuple[str, Stored]]:
        """Return so many owners behind a content id. Cost: one request."""
        page = await self._store.scan(owners(map), Scan(KeyRange(), after, count), now)
        return list(page.entries)

    async def sweep(self, map: str, content: str, stored: Stored, now: float) -> bool:
        """Delete the parts of an owner over an hour old if no head names them; tell whether.

        It never finishes a write. Cost: a read for an owner whose parts are named; four requests
        and a write for each part where they are deleted.
        """
        owner = owner_of(stored)
        if owner is None or now - owner.written <= AGE:
            return False
        if await self._names(map, owner, content, now):
            return False
        mine = new_etag()
        if not await self._change(map, content, owner, (stored.etag, mine), now):
            return False
        # A writer that stalled may have put the head between the read and this. From here on none
        # can: what is read now holds until the parts are deleted.
        if await self._names(map, owner, content, now):
            await self._change(map, content, owner, (mine, owner.open), now)
            return False
        await self.remove(map, content, owner.parts, now)
        return True

    async def _names(self, map: str, owner: Owner, content: str, now: float) -> bool:
        """Tell whether the head in the store names these parts."""
        entry = await self._heads.read(map, owner.key, now - _SKEW)
        if entry is None or entry.kind != HEAD:
            return False
        try:
            return head_of(entry).content == content
        except ValueDecodingError:  # of another program: who knows what it names
            return True

    async def _change(
        self, map: str, content: str, owner: Owner, etags: tuple[int, int], now: float
    ) -> bool:
        """Give an owner another etag if it still has that one; tell whether it had."""
        before, after = etags
        put = Put(owner.cell(), after, None, before)
        return isinstance(await self._store.apply(owners(map), content, put, now), Applied)

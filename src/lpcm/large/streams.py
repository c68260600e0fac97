"""Values of bytes in parts, read and written part by part: for files, with a few parts in memory.

Beside ``large.large``, with its layout and its order of a write. What is different: the number of
parts is not known when the owner is entered. So the owner says an upper bound, and is *renewed*
before a part beyond it is stored, or one half an hour after it was entered. A renewal is on
condition of the owner's etag and gives it another one. So it fails where a sweeper has condemned
the owner, and a sweeper fails that had read the owner before it.

Invariants: no more parts are stored than the owner says; none is stored over ``STALL`` seconds
after its owner was entered or renewed; a ``Source`` gives the bytes of one head alone.
"""

# ruff: noqa: SLF001  # a part of ``Large``, in a module of its own

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lpcm.errors import LPCMError, StoreBusy
from lpcm.large import large as parts_of
from lpcm.large.parts import write_parts
from lpcm.ports import Cell, Put
from lpcm.ports.etags import new_etag
from lpcm.ports.heads import FORMAT, PART, Head, head_of, part_name
from lpcm.values.form import HEAD
from lpcm.values.keys import key_of
from lpcm.values.size import too_large

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lpcm.large.large import Coherence, Large
    from lpcm.ports import Outcome, Stored

__all__ = ["BYTES", "Sink", "Source", "source"]

BYTES: Final = "b"
"""The form of bytes that are not compressed: a letter of ``values.serial``."""
_FIRST: Final = 16
"""The parts that an owner says at first: 6 MB."""


class Source:
    """A value of bytes in parts, as one head names them."""

    def __init__(
        self, large: Large, map: str, sk: str, head: Head, coherent: Coherence | None
    ) -> None:
        self._large = large
        self._map = map
        self._sk = sk
        self._head = head
        self._coherent = coherent
        self.held: tuple[int, bytes] = (-1, b"")
        """The part that was read last, with its number."""
        self.size = head.size
        """The bytes of the value."""

    async def find(self, number: int) -> bytes | None:
        """Return a part, from the cache if it has it; None where it is missing.

        Cost: one request to the cache, and one to the store where that has not got it. The part
        that was returned last costs nothing.
        """
        if self.held[0] == number:
            return self.held[1]
        self.held = (-1, b"")  # two of them are never in memory
        head = self._head
        (piece,) = await self._large._pieces(self._map, head, [part_name(number)])
        expected = min(PART, head.size - number * PART)
        if piece is None or len(piece) != expected:
            return None
        self.held = number, piece
        return piece

    async def piece(self, number: int) -> bytes:
        """Return a part.

        **Raises** StoreBusy where it is gone because its head was replaced; StoreCorrupt where its
        head is still there.
        """
        piece = await self.find(number)
        if piece is not None:
            return piece
        # And invalidate: else who opens the file again might hit the same old head in the cache.
        found = await self._large.read_again(self._map, self._sk, self._coherent)
        there = found is not None and found.kind == HEAD and head_of(found).content
        if there == self._head.content:
            raise parts_of.missing(self._sk)
        raise StoreBusy(
            f"{key_of(self._sk)!r:.60} was replaced or deleted while it was read: open it again"
        )


async def source(
    large: Large, map: str, sk: str, stored: Stored, coherent: Coherence | None
) -> Source | Stored | None:
    """Return what reads the value of a head, if that is bytes in parts.

    Else the entry with its value, and None where the entry is gone meanwhile. Cost: the first part.
    **Raises** StoreCorrupt where parts are missing for good.
    """

    async def read(head: Head, found: Stored) -> Source | Stored | None:
        if head.form != BYTES:
            return await large.read(map, head, found)
        made = Source(large, map, sk, head, coherent)
        return None if await made.find(0) is None else made

    return await large.current(map, sk, stored, coherent, read)


class Sink:
    """A value of bytes that is stored part by part, and seen when its head is put.

    The map must be in the catalogue. Each part but the last has ``PART`` bytes.
    """

    def __init__(self, large: Large, map: str, sk: str) -> None:
        self._large = large
        self._map = map
        self._sk = sk
        self._owner: Head | None = None
        """What the owner says; its parts are the upper bound."""
        self._entered = 0.0
        self._count = 0
        self._size = 0

    async def store(self, piece: bytes) -> None:
        """Store the next part.

        Cost: one request, and two before the first part; a write unit for each KB. **Raises**
        ValueTooLarge over the map's limit; StoreBusy where a sweeper has given up the value.
        """
        large = self._large
        size = self._size + len(piece)
        if large._most is not None and size > large._most:
            await self.abandon()
            raise too_large(large._parts.identity, size, large._most)
        owner, now = await self._entered_owner()
        writes = [(part_name(self._count), Put(Cell(piece, None), new_etag()))]
        await write_parts(large._parts, self._map, owner.content, writes, now)
        self._count += 1
        self._size = size

    async def _entered_owner(self) -> tuple[Head, float]:
        """Return an owner under which one more part may be stored, as of now."""
        if self._owner is None:
            await self._enter()
        # Looked at again after each request: this client may have been stopped for hours in it.
        while True:
            owner, now = self._owner, self._large._clock.now()
            assert owner is not None, "it was entered"
            fresh = self._entered <= now < self._entered + parts_of.STALL
            if fresh and self._count < owner.parts:
                return owner, now
            await self._renew(owner, now)

    async def _enter(self) -> None:
        large = self._large
        await large._catalogue.raise_format(large._parts, self._map, FORMAT, large._clock.now())
        owner = Head(parts_of.new_content(), _FIRST, 0, BYTES, new_etag())
        self._entered = large._clock.now()
        await large.owners.write(self._map, self._sk, owner, self._entered)
        self._owner = owner

    async def _renew(self, owner: Head, now: float) -> None:
        bound = owner.parts if self._count < owner.parts else 2 * owner.parts
        renewed = owner._replace(parts=bound, owner=new_etag())
        owners = self._large.owners
        if not await owners.renew(self._map, self._sk, renewed, owner.owner, now):
            raise StoreBusy(
                f"the file of {key_of(self._sk)!r:.60} was not written to for an hour, and a sweep "
                "has given it up: nothing was written; write it again"
            )
        self._entered, self._owner = now, renewed

    async def finish(self, put: Callable[[Cell], Awaitable[Outcome]]) -> Outcome:
        """Put the head, by ``put``: from then on the value is seen, whole.

        Cost: one request. It also looks at two owners, and deletes what is due. **Raises**
        StoreBusy where a sweeper has given up the value.
        """
        owner = self._owner
        assert owner is not None, "a part was stored"
        head = owner._replace(parts=self._count, size=self._size)
        cell = Cell(head.text(), HEAD)
        return await self._large.publish(self._map, lambda: put(cell), self.abandon)

    async def abandon(self) -> None:
        """Delete the parts, of which no head was put or ever will be."""
        owner, self._owner = self._owner, None
        if owner is not None:
            with suppress(LPCMError):  # else a sweeper does it
                now = self._large._clock.now()
                await self._large.owners.remove(self._map, owner.content, self._count, now)

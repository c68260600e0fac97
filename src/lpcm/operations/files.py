"""Values of bytes as files: what a file reads and writes, as coroutines.

Operations of one map, as those of ``operations``; ``map.files`` makes Python's files of them. Knows
``Access`` and no store. Invariants: what a ``Reading`` gives is of one value, as it was stored in
one instant; nothing that was given to a ``Writing`` is seen before its ``finish``, and then all.
"""

# ruff: noqa: SLF001  # operations, in a module of their own

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.engine.insulation import check_fence
from lpcm.errors import ValueDecodingError
from lpcm.operations.damage import read_again
from lpcm.ports import Applied, Put
from lpcm.ports.etags import new_etag
from lpcm.ports.heads import PART
from lpcm.values.form import HEAD
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from lpcm.large.streams import Sink, Source
    from lpcm.operations.access import Access
    from lpcm.operations.entry import TTL
    from lpcm.ports import Cell, Outcome, When

__all__ = ["Reading", "Writing"]

_SURELY: Final = 410_000
"""Bytes that no store of items of 400 KB holds in one: a file of more goes in parts."""


class Reading:
    """A value of bytes that is read by and by."""

    def __init__(self, found: Source | bytes) -> None:
        self._found = found
        self.size = len(found) if isinstance(found, bytes) else found.size
        """The bytes of the value."""

    @classmethod
    async def begin(cls, use: Access, key: object) -> Reading:
        """Find the value; else raise KeyError, or TypeError where it is not bytes."""
        return cls(await _found(use, key))

    def at_hand(self, place: int) -> memoryview | None:
        """Return bytes from a place on, as ``at``; None where that has to send a request."""
        if isinstance(self._found, bytes):
            return memoryview(self._found)[place:]
        if place >= self.size:
            return memoryview(b"")
        number, start = divmod(place, PART)
        held, piece = self._found.held
        return memoryview(piece)[start:] if held == number else None

    async def at(self, place: int) -> memoryview:
        """Return bytes from a place on: at least one, where the value goes on there."""
        found = self.at_hand(place)
        if found is not None:
            return found
        assert not isinstance(self._found, bytes), "they are at hand"
        number, start = divmod(place, PART)
        return memoryview(await self._found.piece(number))[start:]


async def _found(use: Access, key: object) -> Source | bytes:
    stored = await use._present(key)
    sk = encode(key)
    if stored.kind == HEAD and use._large is not None:
        from lpcm.large.streams import Source, source  # for values in parts

        try:
            made = await source(use._large, use._map, sk, stored, use._coherent)
        except ValueDecodingError as error:
            raise use._unreadable(key, error) from error
        if isinstance(made, Source):
            return made
        if made is None:  # it has gone meanwhile
            raise KeyError(key)
        stored = made
    try:
        value = use._value(stored)
    except ValueDecodingError as error:
        again = await read_again(use, key, sk, stored, error)
        if again is None:
            raise KeyError(key) from None
        value = use._value(again)
    if isinstance(value, bytes):
        return value
    raise TypeError(
        f"a file is of a value of bytes: {key!r} in map {use._name!r} has a "
        f"{type(value).__name__}, read it as m[key]"
    )


class Writing:
    """A value of bytes that is written by and by, and stored by ``finish``."""

    def __init__(self, use: Access, key: object, ttl: TTL, when: When) -> None:
        self._use = use
        self._key = key
        self._sk = encode(key)
        self._ttl = ttl
        self._when = when
        self._held = bytearray()
        self._sink: Sink | None = None
        self.in_parts = use._large is not None and use.streams
        """Whether ``write`` may store parts; else it neither waits nor sends anything."""
        use.encode(b"")  # TypeError where the map's values are of another type
        use._expiry(ttl)  # refuses an invalid ttl

    async def write(self, data: memoryview) -> None:
        """Take more bytes of the value; store them where the value is too large for one item."""
        held = self._held
        for start in range(0, len(data), PART):
            held += data[start : start + PART]
            if self._sink is None and len(held) > _SURELY:
                self._sink = await self._first()
            while self._sink is not None and len(held) >= PART:
                piece = bytes(memoryview(held)[:PART])
                del held[:PART]
                await self._store(self._sink, piece)

    async def _first(self) -> Sink | None:
        """Return where parts go; None where the value is stored as a whole."""
        use = self._use
        if use._large is None or not self.in_parts:
            return None
        from lpcm.large.streams import Sink  # for values in parts

        await use._enter_catalogue()
        return Sink(use._large, use._map, self._sk)

    async def _store(self, sink: Sink, piece: bytes) -> None:
        check_fence(self._use._namespace)  # tests may have begun, or ended, since the last one
        await sink.store(piece)

    async def finish(self) -> bool:
        """Store the value in place of the whole entry; tell whether its condition held.

        **Raises** what any write of the value does; StoreBusy where it was given up.
        """
        held, self._held = self._held, bytearray()
        if self._sink is None:
            value = bytes(held)
            held.clear()
            put = self._use._put(value, self._use._expiry(self._ttl), self._when)
            return isinstance(await self._use._apply(self._sk, put), Applied)
        if held:
            await self._store(self._sink, bytes(held))
        return isinstance(await self._sink.finish(self._put), Applied)

    async def _put(self, head: Cell) -> Outcome:
        put = Put(head, new_etag(), self._use._expiry(self._ttl), self._when)
        return await self._use._apply(self._sk, put)

    async def abandon(self) -> None:
        """Delete what was stored of it; nothing of the value is seen, now or later."""
        self._held = bytearray()
        if self._sink is not None:
            await self._sink.abandon()

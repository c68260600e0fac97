"""Values of any size: written in parts behind a head, and read as wholes.

Above the coherent cache, so that the head is an entry as any other there, and the parts, which
never change, are items by content id. Knows ports, and no adapter. A write, in this order:

1. the map's format is raised, so that an lpcm that knows no heads refuses the map;
2. the *owner* is entered, before the first part, so that a sweeper finds what a dead writer left;
3. the parts are stored;
4. the head is put, by the tier's own protocol, on condition that the owner is still open. So
   readers find the old value or the new one, and a writer is refused that a sweeper has given up.

A client whose write replaced a head learns from the store which one. It deletes the parts of that
head after ``GRACE`` seconds, with its next large write or at the end: by then readers of the old
head have its parts. All other parts without a head are the sweeper's.

A reader that misses a part reads the head *from the store and invalidates* its item (R1, second
form): else others could go on hitting the old head whose parts they still find in the cache.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from lpcm.errors import (
    LPCMError,
    OutcomeUnknown,
    StoreBusy,
    StoreCorrupt,
    ValueDecodingError,
)
from lpcm.large.cells import Encoded, beginning, joined
from lpcm.large.owners import AGE, Owners
from lpcm.large.parts import TOGETHER, read_parts, write_parts
from lpcm.ports import Aborted, Applied, CacheLost, Cell, Change, Get, Packet, Put, Set, Stored
from lpcm.ports.etags import new_etag
from lpcm.ports.heads import FORMAT, PART, Head, head_of, part_name, parts
from lpcm.values.form import HEAD
from lpcm.values.keys import key_of
from lpcm.values.size import too_large

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lpcm.coherence.catalogue import Catalogue
    from lpcm.ports import Cache, Check, Clock, Op, Outcome, Store
    from lpcm.ports.heads import PartStore

    Apply = Callable[[str, str, Put, float], Awaitable[Outcome]]
    Transact = Callable[
        [Sequence[Change], Sequence[Check], float], Awaitable[list[Applied] | Aborted]
    ]

__all__ = ["GRACE", "STALL", "Coherence", "Large", "missing", "new_content"]

T = TypeVar("T")

STALL: Final = AGE / 2
"""Seconds after which a writer stores no more parts."""
GRACE: Final = 60.0
"""Seconds after which the parts of a replaced head are deleted."""
_TRIES: Final = 10
_FLUSH: Final = 1.0
"""Seconds after which a stack that is closed deletes nothing more."""
_REMEMBERED: Final = 1000
"""Replaced heads whose parts this client is to delete; those of earlier ones are the sweeper's."""
_SWEPT: Final = 2
"""Owners that each write looks at."""


class Coherence(Protocol):
    """What of a coherent cache is needed here."""

    async def read_stored(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries in the store, and invalidate their items."""
        ...


class _Dead(NamedTuple):
    """Parts that no head names any more."""

    due: float
    """By the monotonic clock."""
    map: str
    head: Head


class Large:
    """The large values of one stack.

    ``parts`` is the store as it knows partitions, ``store`` as it knows maps: the same, or over it.
    ``cache``: where parts are kept for ``ttl`` seconds, None: nowhere. ``most``: bytes of the
    largest value.
    """

    def __init__(
        self,
        parts: PartStore,
        store: Store,
        catalogue: Catalogue,
        clock: Clock,
        cache: Cache | None,
        *,
        ttl: int,
        most: int | None,
    ) -> None:
        self._parts = parts
        self._store = store
        self.splits = parts.splits
        self._catalogue = catalogue
        self._clock = clock
        self._cache = cache
        self._ttl = ttl
        self._most = most
        self._dead: deque[_Dead] = deque(maxlen=_REMEMBERED)
        self.owners = Owners(parts, store)

    # Writing

    async def put(self, map: str, sk: str, op: Put, apply: Apply) -> Outcome:
        """Store a value in parts, and its head by ``apply``; the outcome is that of the whole.

        Cost: four requests, and one for each four parts; about a write unit for each KB, and 6. It
        also looks at two owners, and deletes what is due of heads that were replaced.
        """
        head, put = await self.split(map, sk, op)
        outcome = await self.publish(
            map,
            lambda: apply(map, sk, put, self._clock.now()),
            lambda: self._abandon(map, head),
        )
        if not isinstance(outcome, Applied):
            return outcome
        self.replaced(map, outcome.previous)
        return Applied(Stored(*op.cell, op.etag, op.expires))

    async def publish(
        self,
        map: str,
        put: Callable[[], Awaitable[Outcome]],
        abandon: Callable[[], Awaitable[None]],
    ) -> Outcome:
        """Put a head, whose parts are stored; abandon the parts where the head is not put."""
        try:
            outcome = await put()
        except OutcomeUnknown:  # the head may be there, or come: a sweeper decides
            raise
        except LPCMError:
            await abandon()
            raise
        if isinstance(outcome, Applied):
            await self._tidy(map)
        else:
            await abandon()
        return outcome

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], transact: Transact
    ) -> list[Applied] | Aborted:
        """Do a transaction of which some values are too large: the heads are its changes.

        Cost: that of each value's parts before it, and two write units for each head and owner.
        """
        heads: list[tuple[str, Head]] = []
        made: list[Change] = []
        try:
            for change in changes:
                pk, sk, op = change
                if isinstance(op, Put) and self.splits(pk, sk, op):
                    head, put = await self.split(pk, sk, op)
                    heads.append((pk, head))
                    made.append(Change(pk, sk, put))
                else:
                    made.append(change)
            done = await transact(made, checks, self._clock.now())
        except OutcomeUnknown:
            raise
        except LPCMError:
            for pk, head in heads:
                await self._abandon(pk, head)
            raise
        if isinstance(done, Aborted):
            for pk, head in heads:
                await self._abandon(pk, head)
            return done
        return [
            Applied(Stored(*op.cell, op.etag, op.expires) if isinstance(op, Put) else None)
            for _, _, op in changes
        ]

    async def split(self, map: str, sk: str, op: Put) -> tuple[Head, Put]:
        """Store a value's owner and parts; return the head, and what puts it."""
        data = Encoded(op.cell)
        if self._most is not None and len(data) > self._most:
            raise too_large(self._parts.identity, len(data), self._most)
        await self._catalogue.raise_format(self._parts, map, FORMAT, self._clock.now())
        content = new_content()
        head = Head(content, -(-len(data) // PART), len(data), data.form, new_etag())
        began = self._clock.now()
        await self.owners.write(map, sk, head, began)
        await self.store_parts(map, head, data, began)
        return head, op._replace(cell=Cell(head.text(), HEAD))

    async def store_parts(self, map: str, head: Head, data: Encoded, began: float) -> None:
        """Store the parts of a head, a few at a time; ``began``: when the owner was made.

        **Raises** StoreBusy where that is long ago.
        """
        names = (part_name(number) for number in range(head.parts))
        named = zip(names, data.parts(), strict=True)
        left: Sequence[tuple[str, Op]]
        while left := [
            (name, Put(Cell(piece, None), new_etag())) for name, piece in islice(named, TOGETHER)
        ]:
            while left:  # none is left, and so in memory, when the next parts are made
                now = self._clock.now()
                # Else a writer that was stopped in here might store parts after a sweeper has
                # deleted their owner. If it died then, nobody would ever find them. (A request that
                # was stopped on its way is refused for its signature, whose time is over sooner
                # than this.)
                if not began <= now < began + STALL:
                    raise StoreBusy(f"a value's parts took over {STALL:g} s; nothing was written")
                left = await write_parts(self._parts, map, head.content, left, now)

    def replaced(self, map: str, previous: Stored | None) -> None:
        """Have the parts of a head deleted that this client's own write has replaced."""
        if previous is not None and previous.kind == HEAD:
            with suppress(ValueDecodingError):
                dead = _Dead(self._clock.monotonic() + GRACE, map, head_of(previous))
                self._dead.append(dead)

    async def _abandon(self, map: str, head: Head) -> None:
        """Delete parts whose head was never put, and whose owner no other client knows."""
        with suppress(LPCMError):  # else a sweeper does it
            await self.owners.remove(map, head.content, head.parts, self._clock.now())

    async def _tidy(self, map: str) -> None:
        """Delete what is due, and sweep two owners of the map from a random one on."""
        now = self._clock.now()
        with suppress(LPCMError):  # the caller's write is done: the next one, or a sweep, goes on
            await self._bury(now)
            for content, stored in await self.owners.some(map, new_content(), _SWEPT, now):
                await self.owners.sweep(map, content, stored, now)

    async def _bury(self, now: float, within: float = inf) -> None:
        """Delete the parts that are due, and begin with none after so many seconds."""
        end = self._clock.monotonic() + within
        while self._dead and self._dead[0].due <= (at := self._clock.monotonic()) and at < end:
            try:
                dead = self._dead.popleft()
            except IndexError:  # another thread was faster
                return
            await self.owners.remove(dead.map, dead.head.content, dead.head.parts, now)

    async def flush(self) -> None:
        """Delete the parts that are due, for about a second: the stack is being closed.

        Those that are not due yet, for readers may still have their heads, are the sweeper's.
        """
        with suppress(LPCMError):  # else a sweeper does it
            await self._bury(self._clock.now(), _FLUSH)

    async def sweep(self, map: str) -> tuple[int, int]:
        """Delete the parts of a map that no head names.

        Return how many owners were there, and how many of them were swept.

        Cost: a request for each hundred owners, a read of each head whose owner is over an hour
        old, and a write for each part that is deleted.
        """
        seen = swept = 0
        now = self._clock.now()
        async for content, stored in self.owners.found(map, now):
            seen += 1
            swept += await self.owners.sweep(map, content, stored, self._clock.now())
        return seen, swept

    # Reading

    async def whole(
        self,
        map: str,
        sk: str,
        stored: Stored,
        coherent: Coherence | None,
    ) -> Stored | None:
        """Return the entry of a head with its value; None where it is gone meanwhile.

        ``coherent`` is the cache that may have served the head. Cost: the parts from the cache, or
        one request for each four of them, a read unit for each 4 KB. **Raises** StoreCorrupt where
        parts are missing for good.
        """
        return await self.current(
            map, sk, stored, coherent, lambda head, found: self.read(map, head, found)
        )

    async def read(self, map: str, head: Head, found: Stored) -> Stored | None:
        """Return the entry of a head with its value; None where a part is missing."""
        data = await self._assembled(map, head)
        if data is None:
            return None
        return Stored(*joined(head.form, data), found.etag, found.expires)

    async def current(
        self,
        map: str,
        sk: str,
        stored: Stored,
        coherent: Coherence | None,
        read: Callable[[Head, Stored], Awaitable[T | None]],
    ) -> T | Stored | None:
        """Return what ``read`` makes of a head, or of the head that is in its place by now.

        ``read`` returns None where a part is missing. Where another entry, or none, is in the
        head's place, that is returned. **Raises** StoreCorrupt where parts are missing for good.
        """
        for _ in range(_TRIES):
            head = head_of(stored)
            made = await read(head, stored)
            if made is not None:
                return made
            found = await self.read_again(map, sk, coherent)
            if found is None or found.kind != HEAD:
                return found
            if head_of(found).content == head.content:
                raise missing(sk)
            stored = found
        raise StoreBusy(f"{key_of(sk)!r:.60} was replaced all the time; nothing was read")

    async def read_again(self, map: str, sk: str, coherent: Coherence | None) -> Stored | None:
        """Return the entry in the store, and invalidate what is cached of it."""
        if coherent is None:
            return await self._store.read(map, sk, self._clock.now())
        (entry,) = await coherent.read_stored(map, [sk], self._clock.now())
        return entry

    async def beginning(self, map: str, stored: Stored, most: int) -> str | None:
        """Return what the first bytes of a head's value say, at most so many, as text.

        None: the first part is gone. Cost: one request, up to 98 read units. Fills no cache.
        """
        head, now = head_of(stored), self._clock.now()
        name = part_name(0)
        part = await self._parts.read(parts(map, head.content, [name])[name], name, now)
        if part is None or type(part.data) is not bytes:
            return None
        return beginning(head.form, part.data, most)

    async def _assembled(self, map: str, head: Head) -> bytearray | None:
        """Return the bytes of all parts, a few at a time; None where one is missing."""
        data = bytearray()
        for first in range(0, head.parts, TOGETHER):
            numbers = range(first, min(first + TOGETHER, head.parts))
            for piece in await self._pieces(map, head, [part_name(each) for each in numbers]):
                if piece is None:
                    return None
                data += piece
        return data if len(data) == head.size else None

    async def _pieces(self, map: str, head: Head, names: Sequence[str]) -> list[bytes | None]:
        """Return parts, from the cache as far as it has them."""
        found = await self._cached(head, names)
        missing = [name for name in names if name not in found]
        if missing:
            now = self._clock.now()
            fresh = await read_parts(self._parts, map, head.content, missing, now)
            await self._fill(head, fresh)
            found |= fresh
        return [found.get(name) for name in names]

    async def _cached(self, head: Head, names: Sequence[str]) -> dict[str, bytes]:
        """Return those parts that the cache has: whatever it has of a content id is right."""
        if self._cache is None:
            return {}
        packets = [Packet(_item(head, name), (Get(),)) for name in names]
        found: dict[str, bytes] = {}
        for name, reply in zip(names, await self._cache.send_many(packets), strict=True):
            if not isinstance(reply, CacheLost) and (seen := reply.results[0]).base > 0:
                found[name] = seen.data[: seen.base]
        return found

    async def _fill(self, head: Head, pieces: dict[str, bytes]) -> None:
        if self._cache is not None and pieces:
            await self._cache.send_many(
                [
                    Packet(_item(head, name), (Set(piece, len(piece), self._ttl),))
                    for name, piece in pieces.items()
                ]
            )


def missing(sk: str) -> StoreCorrupt:
    """Return the error of a head in the store whose parts are not there."""
    return StoreCorrupt(
        f"parts of {key_of(sk)!r:.60} are missing: others have deleted them, or "
        "restored the table without them: write or delete the entry"
    )


def new_content() -> str:
    """Return a content id that nobody else has, or will have."""
    return os.urandom(16).hex()


def _item(head: Head, name: str) -> str:
    """Return the cache's key of a part: a content id is never used twice, in whatever store."""
    return f"part:{head.content}/{name}"

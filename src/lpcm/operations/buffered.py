"""The operations of a map in a transaction: the same as outside, over a buffering tier.

Where they differ is here. An assignment keeps the expiry of an entry that the transaction read, a
deletion that returns nothing reads nothing, and the catalogue is asked when the transaction ends.
Where an event loop runs the transaction, blocking methods work on what is at hand.

Invariant: no operation here reaches the store but through the buffering tier.
"""

# ruff: noqa: SLF001  # the operations of the map outside, with another tier

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import KeyEncodingError, LPCMError
from lpcm.operations.absent import absent
from lpcm.operations.binding import MapBinding
from lpcm.operations.buffer import BufferingTier, MustAwait
from lpcm.operations.operations import Entries
from lpcm.ports import Delete, Scan
from lpcm.system.turns import Turn
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from lpcm.operations.buffer import Buffer
    from lpcm.operations.entry import TTL
    from lpcm.ports import Applied, KeyRange, Op, Page, Refused, Stored

__all__ = ["TransactionBinding"]


class BufferedEntries(Entries):
    """The operations on the entries of one map in one transaction."""

    reaches = True
    """Whether they may go to the store."""
    streams = False

    def __init__(self, buffer: Buffer, outside: Entries, binding: TransactionBinding) -> None:
        vars(self).update(vars(outside))
        tier: Any = BufferingTier(buffer, outside, reaches=self.reaches)
        self._buffer = buffer
        self._tier: BufferingTier = tier
        self._read = tier.read
        self._reads = outside._reads._replace(read=tier.read, read_many=tier.read_many)
        self._coherent = None if outside._coherent is None else tier
        self.hit = self.hit_item = None  # what is read becomes a condition
        self._until = self._until_whole = math.inf  # the operations outside look, as they read
        self.binding = binding
        self.identity = binding.identity

    async def assign(self, key: object, value: object, ttl: TTL = None) -> None:
        """Store the value; without any ttl, an entry that the caller has seen keeps its expiry."""
        address = self._map, (sk := encode(key))
        expires = self._expiry(ttl)
        if expires is None and self._buffer.seen(address):
            held = self._buffer.look(address, self._now())
            expires = None if held is None else held.expires
        await self._apply(sk, self._put(value, expires))

    async def discard(self, key: object) -> bool:
        """Remove the entry if there is one, without a condition and so without a read."""
        try:
            await self._apply(encode(key), Delete())
        except KeyEncodingError as error:
            absent(key, error)
        return True

    async def count(self, keys: KeyRange) -> int:
        """Count the range's entries, each of which becomes a condition."""
        count = 0
        wanted: Scan | None = Scan(keys)
        while wanted is not None:
            page = await self._scan(wanted)
            count += len(page.entries)
            wanted = None if page.resume is None else wanted._replace(after=page.resume)
        return count

    def _apply(self, sk: str, op: Op) -> Coroutine[Any, Any, Applied | Refused]:
        return self._tier.apply(self._map, sk, op, self._now())

    def _turn(self, sk: str) -> Turn:
        """Return the place among this transaction's own compare-and-sets, of its tasks."""
        return Turn(self._engine.turns, (id(self._buffer), self._map, sk), self._clock)

    async def _enter_catalogue(self) -> None:
        """Do nothing: the end does it, before it writes."""

    async def _scan(self, wanted: Scan) -> Page:
        return await self._tier.scan(self._map, wanted)

    _walk = _scan

    async def _latest(self, sk: str) -> Stored | None:
        """Return the entry as another task of this transaction has left it."""
        return await self.find(sk)

    async def _whole(self, key: object, sk: str, head: Stored) -> Stored | None:
        self._tier.check_reach()
        return await super()._whole(key, sk, head)

    async def _read_store(self, sk: str) -> Stored | None:
        self._tier.check_reach()
        return await super()._read_store(sk)


class AtHand(BufferedEntries):
    """The same for blocking methods where an event loop runs the transaction.

    What would have to reach the store raises LPCMError, which names the method to await.
    """

    reaches = False


TWINS: Final[Mapping[str, str]] = {
    "item": "agetitem",
    "get": "aget",
    "contains": "acontains",
    "entry": "aentry",
    "ttl": "attl",
    "get_many": "aget_many",
    "known": "aget_many",
    "add": "aadd",
    "get_or_add": "aget_or_add",
    "setdefault": "asetdefault",
    "replace": "areplace",
    "delete": "adelete",
    "remove": "adelitem",
    "pop": "apop",
    "popitem": "apopitem",
    "peekitem": "apeekitem",
    "expire": "aexpire",
    "touch": "atouch",
    "increment": "aincrement",
    "decrement": "adecrement",
    "increment_existing": "aincrement_existing",
    "transform": "atransform",
    "mutate": "ainsert_values(...) or aremove_values",
    "page": "aitems",
    "entries": "aitems",
    "any": "abool",
    "count": "alen",
    "clear": "aclear",
}
"""The operations that may have to read, and what awaits each."""


def _naming(name: str, twin: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    operation = getattr(BufferedEntries, name)

    async def named(self: AtHand, *args: Any, **options: Any) -> Any:
        try:
            return await operation(self, *args, **options)
        except MustAwait:
            raise LPCMError(
                f"an event loop runs this transaction, and reading {self._name!r} here would block "
                f"the loop: await {twin}(...) instead; nothing was read"
            ) from None

    return named


for _name, _twin in TWINS.items():
    setattr(AtHand, _name, _naming(_name, _twin))


class TransactionBinding(MapBinding):
    """A map's binding within one transaction, for the map there and its live values."""

    def __init__(self, buffer: Buffer, outside: MapBinding) -> None:
        self.engine = outside.engine
        self.name = outside.name
        self.namespace = outside.namespace
        self.identity = id(buffer), outside.identity[1]
        self.outside = outside
        self._buffer = buffer
        self._made: dict[bool, tuple[Entries, BufferedEntries]] = {}

    def use(self) -> Entries:
        """Return the entries for blocking use; where an event loop runs it, what is at hand."""
        self._buffer.check_open()
        if self._buffer.awaited:
            return self._over(self.outside.ause(), AtHand, awaited=False)
        return self._over(self.outside.use(), BufferedEntries, awaited=False)

    def ause(self) -> Entries:
        """Return the entries for the running event loop."""
        self._buffer.check_open()
        return self._over(self.outside.ause(), BufferedEntries, awaited=True)

    def _over(self, outside: Entries, kind: type[BufferedEntries], *, awaited: bool) -> Entries:
        made = self._made.get(awaited)
        if made is None or made[0] is not outside:
            made = self._made[awaited] = outside, kind(self._buffer, outside, self)
        return made[1]

    def forget(self) -> None:
        """Let go of the entries, which refer to this: no cycle is left of a transaction."""
        self._made.clear()

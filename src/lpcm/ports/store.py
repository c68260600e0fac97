"""The port of a store: what a store is to the rest of lpcm, and the types that cross the line.

Everything above (coherence, engine, operations) knows stores by these protocols only; every
adapter (``lpcm.stores.*``) implements them.

Invariants every store keeps, held to by ``lpcm.testing.StoreContract``:

1. One ``apply`` is atomic: its condition, its effect and the entry it returns belong to
   one instant, among all threads, processes and machines on the same store.
2. An entry with ``expires <= now`` is absent: to reads, to scans, to counts and to every
   condition. ``now`` is the caller's clock, in epoch seconds.
3. An ``apply`` that returned is durable to the degree the store is configured for; one
   that raised has written nothing, unless the exception is ``OutcomeUnknown``.
4. Scans return entries in the order of their encoded keys (code point order of ``sk``,
   which equals UTF-8 byte order). A scan is not a snapshot: an entry that is present
   during the whole iteration is returned exactly once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from lpcm.values.codec import DAMAGED, Cell, Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports.updates import Action, Step

__all__ = [
    "MAX_KEY",
    "Aborted",
    "Add",
    "Applied",
    "Change",
    "Check",
    "Condition",
    "Delete",
    "KeyRange",
    "MapInfo",
    "MapState",
    "Op",
    "Outcome",
    "Page",
    "Put",
    "Refused",
    "Scan",
    "Store",
    "Stored",
    "Tier",
    "Touch",
    "Update",
    "When",
    "damaged",
]

MAX_KEY = "\U0010ffff" * 256
"""An upper bound: no encoded key (at most 1,024 bytes of UTF-8) sorts after it."""


# The types that cross on every operation are NamedTuples, not frozen dataclasses: making
# one costs 0.2 instead of 0.6 µs, of a budget of 6 µs for a whole embedded read.
class Stored(NamedTuple):
    """One entry as the store holds it."""

    data: object
    """The value in the store's form (see ``codec.Form``)."""
    kind: str | None
    """How to read ``data``: the codec's business, opaque to stores but for ``Add``."""
    etag: int
    """A signed 64-bit nonce, new with each write; equal etags mean the same write."""
    expires: float | None
    """Epoch seconds from which the entry is absent; None: never."""


def damaged(why: str, etag: Any, expires: float | None = None) -> Stored:
    """Return what stands for an entry that lpcm did not write: it is there, and cannot be read.

    So it is in nobody's way: it is found, counted, replaced and deleted as any other, and only
    who asks for its value gets a ValueDecodingError, which says why. ``etag`` is what the store
    will compare it with, whatever that is.
    """
    return Stored(why, DAMAGED, etag, expires)


class When(Enum):
    """A condition on the entry's presence, for writes."""

    ALWAYS = "always"
    ABSENT = "absent"
    PRESENT = "present"


Condition: TypeAlias = When | int
"""A presence, or the etag the entry must have (an absent entry has none, so it fails)."""


class Put(NamedTuple):
    """Store this value, replacing the entry whole, expiry included."""

    cell: Cell
    etag: int
    expires: float | None = None
    when: Condition = When.ALWAYS


class Delete(NamedTuple):
    """Remove the entry.

    With ``returning`` the caller needs the removed entry in ``Applied.previous``, even
    if a reply of a remote store is lost on the way; without, ``previous`` may be None.
    """

    when: Condition = When.ALWAYS
    returning: bool = False


class Add(NamedTuple):
    """Add an int to a stored int, natively: read no further than the store itself.

    Applied only where the result is exactly Python's: the entry holds an int and the sum
    is one the store can hold and add natively; the expiry is kept. An absent entry
    becomes ``initial + delta`` that expires at ``expires``, or is refused when ``initial``
    is None. Anything else is ``Refused`` with the current entry, for the caller to compare-and-set.
    """

    delta: int
    initial: int | None
    etag: int
    expires: float | None = None


class Touch(NamedTuple):
    """Change a present entry's expiry (None: never expires) and etag, not its value."""

    expires: float | None
    etag: int


class Update(NamedTuple):
    """Change a part of a stored value, natively: read no further than the store itself.

    Applied only where the result is exactly what Python's containers would make of the
    stored value, in the form the codec would give it; the expiry is kept. Anything else is
    ``Refused`` with the current entry, for the caller to compare-and-set: the entry is
    absent, the path leads nowhere or to another type, the set's members are of another
    type than those given, none would be left, an int or a value would leave the store's
    range. A store that can do less, or nothing, refuses more.
    """

    path: tuple[Step, ...]
    action: Action
    etag: int


Op: TypeAlias = Put | Delete | Add | Touch | Update


class Applied(NamedTuple):
    """The write happened."""

    entry: Stored | None
    """The entry after it; None when it is gone."""
    previous: Stored | None = None
    """The entry before, for ``Delete(returning=True)``; None where it was absent."""


class Refused(NamedTuple):
    """The condition failed; nothing was written."""

    entry: Stored | None
    """The entry that refused it, read in the same instant; None when absent."""


Outcome: TypeAlias = Applied | Refused


class Change(NamedTuple):
    """A write of a transaction."""

    map: str
    sk: str
    op: Put | Delete


class Check(NamedTuple):
    """A condition of a transaction on an entry it does not write."""

    map: str
    sk: str
    when: Condition


class Aborted(NamedTuple):
    """The transaction did not happen; nothing was written."""

    reasons: Sequence[tuple[str, str, Refused]]
    """(map, sk, what refused it) of each condition that failed, at least one."""


class KeyRange(NamedTuple):
    """Encoded keys ``low <= sk < high``, in code point order."""

    low: str = ""
    high: str = MAX_KEY


class Scan(NamedTuple):
    """A request for the next entries of a map, in the order of their keys."""

    keys: KeyRange = KeyRange()
    after: str | None = None
    """Begin behind this key, in the direction of travel; None: at the first."""
    limit: int = 1000
    """Return so many entries at most."""
    reverse: bool = False
    """Begin at the last key."""
    values: bool = True
    """False: the entries' ``data`` is None, and is not read where the store can avoid it."""


class Page(NamedTuple):
    """The entries that a scan found, in the order asked for."""

    entries: Sequence[tuple[str, Stored]]
    """(sk, entry), expired ones left out; empty pages before the last one are legal."""
    resume: str | None
    """Pass as ``after`` to go on; None: the scan is complete."""


class MapInfo(NamedTuple):
    """A map's row in the catalogue, written before the map's first entry."""

    name: str
    format: int = 1
    codec: str = "typed"
    shards: int = 1


class MapState(NamedTuple):
    """What a store's catalogue says of a map, and of the namespace that holds the map."""

    identity: str | None
    """What tells the namespace from all others, of whatever store; None: nothing was ever
    written to it. Two stores never have one identity, copies of a store included."""
    info: MapInfo | None
    """The map's row; None: the map was never written."""


class Tier(Protocol):
    """Entries of maps, one key at a time or in bulk: the face a map works on.

    A store is one; the coherent cache in front of a store is another. ``map`` is the
    encoded partition (``keys.partition``), ``sk`` an encoded key (``keys.encode``).
    """

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry, as of an instant within the call; None when absent."""
        ...

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write, atomically."""
        ...

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries in the order of ``sks`` (duplicates allowed)."""
        ...

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes in order, each atomic by itself; one result for each.

        A write that failed stands as its exception in the result; the rest is done. An
        error that concerns the whole batch, nothing having been written, is raised.
        """
        ...

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes if every condition holds, theirs and the checks', in one instant.

        One ``Applied`` for each change, in order. At most 100 changes and checks together,
        no two of one entry. Where another transaction is in the way the store waits for
        it, within its time budget. **Raises** ``StoreError`` where it cannot do transactions.
        """
        ...

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete every entry of the range, in bulk; not atomic as a whole."""
        ...


class Store(Tier, Protocol):
    """The truth: where entries live."""

    form: Form
    """The form of ``Stored.data`` this store holds; the codec is made for it."""
    identity: str
    """Where the store is, for messages and for copies; see ``MapState.identity`` for what it is."""
    blocking: bool
    """True: the methods never suspend but may block the thread (files, sockets)."""

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return the wanted entries, but no more than about 1 MB."""
        ...

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the entries of the range. Cost: reads every one of them."""
        ...

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says, strongly consistent. Writes nothing.

        **Raises** ``StoreDenied`` where this client may not read the catalogue.
        """
        ...

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue unless it is there; return what stands there.

        Makes the namespace's identity as well unless it has one: random, by a put that only
        one of all clients can win.
        """
        ...

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity: what caches hold of it counts no more."""
        ...

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue, sorted by name."""
        ...

    async def drop(self, namespace: str) -> None:
        """Delete every entry and catalogue row of the namespace."""
        ...

    def close(self) -> None:
        """Let go of every connection; safe to call twice, and while others are in use."""
        ...

"""The port of a store: the protocol of a store, and the types that cross it.

All packages above (coherence, engine, operations) know stores by these protocols only; every
adapter (``lpcm.stores.*``) implements them.

Every store keeps these invariants; ``lpcm.testing.StoreContract`` checks them:

1. One ``apply`` is atomic: its condition, its effect and the entry it returns belong to
   one instant, among all threads, processes and machines on the same store.
2. An entry with ``expires <= now`` is absent: to reads, to scans, to counts and to every
   condition. ``now`` is the caller's clock, in epoch seconds.
3. An ``apply`` that returned is durable to the degree the store is configured for; an ``apply``
   that raised has written nothing, unless the exception is ``OutcomeUnknown``.
4. Scans return entries in the order of their encoded keys (code point order of ``sk``,
   which equals UTF-8 byte order). A scan is not a snapshot: an entry that is present
   during the whole iteration is returned exactly once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lpcm.system.records import NamedTuple
from lpcm.values.codec import DAMAGED, Cell, Form

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

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
    "Purged",
    "Put",
    "Reads",
    "Refused",
    "Rewrite",
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


# The types of every operation are NamedTuples, not frozen dataclasses: a NamedTuple takes 0.2
# instead of 0.6 µs to make, of a budget of 6 µs for a whole embedded read.
class Stored(NamedTuple):
    """One entry as the store holds it."""

    data: object
    """The value in the store's form (see ``codec.Form``)."""
    kind: str | None
    """How to read ``data``: for the codec; stores look at the kind for ``Add`` alone."""
    etag: int
    """A signed 64-bit nonce, new with each write; equal etags mean the same write."""
    expires: float | None
    """Epoch seconds from which the entry is absent; None: never."""


def damaged(why: str, etag: Any, expires: float | None = None) -> Stored:
    """Return an entry that stands for one that lpcm did not write and cannot read.

    Such an entry is found, counted, replaced and deleted as any other. Only a read of its value
    raises ValueDecodingError, which says why. ``etag`` is the value that the store compares in a
    condition.
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
    """Store this value in place of the whole entry, its expiry included."""

    cell: Cell
    etag: int
    expires: float | None = None
    when: Condition = When.ALWAYS


class Delete(NamedTuple):
    """Remove the entry.

    With ``returning`` the removed entry is in ``Applied.previous``, even where a reply of a remote
    store was lost; without, ``previous`` may be None.
    """

    when: Condition = When.ALWAYS
    returning: bool = False


class Add(NamedTuple):
    """Add an int to a stored int, natively: within the store.

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
    """Change a part of a stored value, natively: within the store.

    Applied only where the result is exactly what Python's containers would make of the
    stored value, in the form the codec would give it; the expiry is kept. Anything else is
    ``Refused`` with the current entry, for the caller to compare-and-set: the entry is
    absent, the path leads nowhere or to another type, the set's members are of another
    type than the given ones, no member would be left, an int or a value would leave the store's
    range. A store that can do fewer updates natively, or none, refuses more.
    """

    path: tuple[Step, ...]
    action: Action
    etag: int


class Rewrite(NamedTuple):
    """Store what a function makes of the entry that is stored in the instant of the write.

    For stores with ``rewrites = True``, which hold their lock while they decide: such a write never
    loses against another one. Refused where ``make`` returns None, and by all other stores.
    """

    make: Callable[[Stored | None], Put | None]
    """Returns the put to do on the entry, whose ``when`` does not count; None: do nothing.

    The store calls it under its lock, perhaps several times, on any thread. So it is quick, raises
    nothing and uses no store."""


Op: TypeAlias = Put | Delete | Add | Touch | Update | Rewrite


class Applied(NamedTuple):
    """The write was done."""

    entry: Stored | None
    """The entry after it; None when it is gone."""
    previous: Stored | None = None
    """The entry before, for ``Delete(returning=True)``; None where it was absent."""


class Refused(NamedTuple):
    """The condition failed; nothing was written."""

    entry: Stored | None
    """The entry that refused the write, read in the same instant; None when absent."""


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
    """The transaction was not done; nothing was written."""

    reasons: Sequence[tuple[str, str, Refused]]
    """(map, sk, the refusing entry) of each failed condition, at least one."""


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
    """The ``after`` of the next page; None: the scan is complete."""


class Purged(NamedTuple):
    """A step of a purge."""

    entries: int
    """How many it deleted."""
    units: float
    """What it cost, by the measure of the store's ``purge_rate``."""


class Reads(NamedTuple):
    """The reads of a store, each as in ``Store``, for what no write depends on."""

    read: Callable[[str, str, float], Coroutine[Any, Any, Stored | None]]
    read_many: Callable[[str, Sequence[str], float], Coroutine[Any, Any, list[Stored | None]]]
    scan: Callable[[str, Scan, float], Coroutine[Any, Any, Page]]
    length: Callable[[str, KeyRange, float], Coroutine[Any, Any, int]]
    """``Store.count``."""


class MapInfo(NamedTuple):
    """A map's row in the catalogue, written before the map's first entry."""

    name: str
    format: int = 1
    codec: str = "typed"
    shards: int = 1


class MapState(NamedTuple):
    """The state of a map, and of its namespace, in a store's catalogue."""

    identity: str | None
    """A text that no other namespace of any store has, copies of a store included; None: nothing
    was ever written to the namespace."""
    info: MapInfo | None
    """The map's row; None: the map was never written."""


class Tier(Protocol):
    """Entries of maps, one key at a time or in bulk: what the operations of a map work on.

    A store is a tier; the coherent cache in front of a store is another. ``map`` is the
    encoded partition (``keys.partition``), ``sk`` an encoded key (``keys.encode``).
    """

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry at an instant within the call; None when absent."""
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

        The result of a failed write is its exception; the other writes are done. An error of the
        whole batch, after which nothing was written, is raised.
        """
        ...

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes in one instant, if every condition of the changes and checks holds.

        One ``Applied`` for each change, in order. At most 100 changes and checks together,
        no two of one entry. Where another transaction has locked an entry, the store waits for
        it, within its time budget. **Raises** ``StoreError`` where it cannot do transactions.
        """
        ...

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete every entry of the range, in bulk; not atomic as a whole."""
        ...


class Store(Tier, Protocol):
    """The truth: where entries live.

    It may have ``remote = True``, where each write is a request on a network: then increments of
    one key that meet in a process are sent as one ``Add``. It may have ``rewrites = True``: then
    it is sent ``Rewrite``, for increments that are no ``Add``. It may have ``sharded``: see
    ``ports.shards``.

    It may have ``line(map, sk)``, where processes share it: the line of those whose
    compare-and-sets meet at a key, a ``system.turns.ProcessLine``, whose methods do not block.

    It may have ``eventual``, its reads that cost less and may miss the last writes; None where the
    store was not opened to read so. They serve what no write depends on, and fill no cache.

    It may have ``purge(maps, now, most)``, which deletes what has expired from these maps, ``most``
    entries in a step, and yields a ``Purged`` after each step; and with it ``purge_rate``, the
    units a second that a purge may cost unless its caller says otherwise.
    """

    form: Form
    """The form of ``Stored.data`` in this store; the codec is made for it."""
    blocking: bool
    """True: the methods never suspend but may block the thread (files, sockets)."""

    @property
    def identity(self) -> str:
        """The store's location, for messages and copies. ``MapState.identity`` is another thing."""
        ...

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return the wanted entries, but no more than about 1 MB."""
        ...

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the entries of the range. Cost: reads every one of them."""
        ...

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return a map's state in the catalogue, strongly consistent. Writes nothing.

        **Raises** ``StoreDenied`` where this client may not read the catalogue.
        """
        ...

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue unless it is there; return its state there.

        Also makes the namespace's identity unless there is one: random, by a conditional put that
        only one client can win.
        """
        ...

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity: its items in caches are not used any more."""
        ...

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue, sorted by name."""
        ...

    async def drop(self, namespace: str) -> None:
        """Delete every entry and catalogue row of the namespace."""
        ...

    def close(self) -> None:
        """Close every connection; safe to call twice, and while other threads use the store."""
        ...

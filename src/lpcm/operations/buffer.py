"""The buffer of a transaction: what it has read, what it will write, and the tier made of both.

A read goes to the store once and is remembered: the etag, or the absence of the entry, becomes a
condition. An attempt that follows a refused one reads together what that read key by key. A write
is decided here, on the entry as the transaction has read or written it, and is kept for the one
request at the end. Knows keys and values in their encoded form, and the operations of the map
outside the transaction, by which it reads.

Invariants: what a transaction has read stays the same within it, until it expires; every entry
that the caller saw is a condition of the end, or is the transaction's own write; nothing here
writes to a store.
"""

# ruff: noqa: SLF001  # a tier in front of the operations of the map outside

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from lpcm.errors import LPCMError, ValueTooLarge
from lpcm.operations.entry import MISSING
from lpcm.ports import (
    DAMAGED,
    Aborted,
    Add,
    Applied,
    Cell,
    Change,
    Check,
    Delete,
    Form,
    Page,
    Put,
    Refused,
    Scan,
    Touch,
    When,
)
from lpcm.ports.decisions import decide
from lpcm.system.process import Lock
from lpcm.values.form import HEAD
from lpcm.values.size import size

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lpcm.operations.operations import Entries
    from lpcm.ports import Condition, KeyRange, Op, Outcome, Stored

__all__ = ["Address", "Buffer", "BufferingTier", "MustAwait"]

MOST_KEYS: Final = 100
MOST_BYTES: Final = 4 * 1024 * 1024

Address: TypeAlias = tuple[str, str]
"""An encoded map and an encoded key."""
_Saved: TypeAlias = "tuple[dict[Address, Stored | None], dict[Address, int], int]"

_lock = Lock()
"""Held while a write is decided: tasks of one transaction may run on several worker threads."""


class MustAwait(Exception):
    """A blocking method would have to reach the store from an event loop: made an LPCMError."""


class Buffer:
    """The reads and writes of one transaction, over all its maps."""

    def __init__(self) -> None:
        self.reads: dict[Address, Stored | None] = {}
        self.writes: dict[Address, Stored | None] = {}
        """The entry that each write leaves; None: no entry."""
        self.refused: Sequence[Address] = ()
        """The entries that refused the transaction at its end."""
        self.ahead: dict[Address, Stored | None] = {}
        """What was read together with others, no condition until the caller asks for it."""
        self._asked: list[Address] = []
        """What the caller has read by key."""
        self._expected: Collection[Address] = ()
        """What the attempt before this one has read by key, and this one reads together."""
        self.awaited = False
        """Whether an event loop runs the transaction, which nothing may block."""
        self.ended = False
        self._seen: set[Address] = set()
        """The own writes that the caller has looked at."""
        self._sizes: dict[Address, int] = {}
        self._size = 0

    def check_open(self) -> None:
        """Refuse to be used after the end: a write would be lost then."""
        if self.ended:
            raise LPCMError("this transaction has ended: begin another")

    def at_hand(self, address: Address) -> bool:
        """Tell whether the transaction has read or written the entry."""
        return address in self.writes or address in self.reads

    def look(self, address: Address, now: float) -> Stored | None:
        """Return an entry that is at hand: as the transaction left it, else as it was read.

        One that has expired meanwhile is absent; its condition stays, and so is a conflict.
        """
        if address in self.writes:
            self._seen.add(address)
            entry = self.writes[address]
        else:
            entry = self.reads[address]
        if entry is None or ((expires := entry[3]) is not None and expires <= now):
            return None
        return entry

    def expect(self, before: Buffer) -> None:
        """Read in one request for each map what an earlier attempt has read by key.

        That is done as soon as the caller asks for one of the map's keys.
        """
        self._expected = dict.fromkeys(before._asked)

    def take(self, map: str, sks: Sequence[str]) -> list[str]:
        """Read what was read ahead; return the keys to ask the store for, with those expected."""
        missing: list[str] = []
        for sk in dict.fromkeys(sks):
            address = map, sk
            if self.at_hand(address):
                continue
            self._asked.append(address)
            found = self.ahead.pop(address, MISSING)
            if found is MISSING:
                missing.append(sk)
            else:
                self.reads.setdefault(address, found)
        if not any((map, sk) in self._expected for sk in missing):
            return missing
        expected = [each for each in self._expected if each[0] == map and not self.at_hand(each)]
        self._expected = [each for each in self._expected if each[0] != map]
        return [*dict.fromkeys([*missing, *(sk for _, sk in expected)])]

    def seen(self, address: Address) -> bool:
        """Tell whether the caller has looked at the entry."""
        return address in self.reads or address in self._seen

    def write(self, address: Address, entry: Stored | None) -> None:
        """Keep a write for the end."""
        if self.ended:
            self.check_open()
        self.check_room((address,))
        length = 0 if entry is None else size(entry.data)
        total = self._size + length - self._sizes.get(address, 0)
        if total > MOST_BYTES:
            raise ValueTooLarge(f"a transaction writes at most {MOST_BYTES:,} bytes, not {total:,}")
        self.writes[address] = entry
        self._sizes[address] = length
        self._size = total

    def saved(self) -> _Saved:
        """Return the writes so far, for ``restore``."""
        return dict(self.writes), dict(self._sizes), self._size

    def restore(self, saved: _Saved) -> None:
        """Keep the writes that there were, and no later one."""
        self.writes, self._sizes, self._size = saved

    def check_room(self, addresses: Collection[Address]) -> None:
        """Refuse more keys than every store can write and check together."""
        if len(self.reads) + len(self.writes) + len(addresses) <= MOST_KEYS:
            return
        if len({*self.reads, *self.writes, *addresses}) > MOST_KEYS:
            raise ValueTooLarge(
                f"a transaction is of at most {MOST_KEYS} keys, read or written; the keys that a "
                "walk meets count as read"
            )

    def requests(self) -> tuple[list[Change], list[Check]]:
        """Return the writes with their conditions, and the conditions of what was only read."""
        reads, writes = dict(self.reads), dict(self.writes)  # a cancelled read may still come in
        changes: list[Change] = []
        for address, entry in writes.items():
            when = _condition(reads[address]) if address in reads else When.ALWAYS
            op: Put | Delete = Delete(when)
            if entry is not None:
                op = Put(Cell(entry.data, entry.kind), entry.etag, entry.expires, when)
            changes.append(Change(*address, op))
        checks = [
            Check(*address, _condition(found))
            for address, found in reads.items()
            if address not in writes
        ]
        return changes, checks


def _condition(found: Stored | None) -> Condition:
    return When.ABSENT if found is None else found.etag


class BufferingTier:
    """A ``ports.Tier``: one map's entries as a transaction has read and written them.

    ``reaches`` says whether the tier may go to the store; where it may not, that is MustAwait.
    """

    def __init__(self, buffer: Buffer, outside: Entries, *, reaches: bool) -> None:
        self._buffer = buffer
        self._outside = outside
        self._reaches = reaches
        self._adds = outside.codec.form is Form.TEXT

    def check_reach(self) -> None:
        """Refuse to go to the store after the end, or where that would block an event loop."""
        self._buffer.check_open()
        if not self._reaches:
            raise MustAwait

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry; ask the store unless the entry is at hand."""
        buffer, address = self._buffer, (map, sk)
        if (address in buffer.writes or address in buffer.reads) and not buffer.ended:
            return buffer.look(address, now)
        if buffer.ended or not self._reaches:
            self.check_reach()
        buffer.check_room((address,))
        await self._fetch(map, (sk,), now)
        return buffer.look(address, now)

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries; ask the store, in bulk, for those that are not at hand."""
        buffer = self._buffer
        buffer.check_open()
        missing = [sk for sk in dict.fromkeys(sks) if not buffer.at_hand((map, sk))]
        if missing:
            self.check_reach()
            buffer.check_room([(map, sk) for sk in missing])
            await self._fetch(map, missing, now)
        return [buffer.look((map, sk), now) for sk in sks]

    async def _fetch(self, map: str, sks: Sequence[str], now: float) -> None:
        """Read entries that are not at hand: ask the store, in bulk if there are several."""
        buffer, outside = self._buffer, self._outside
        missing = buffer.take(map, sks)
        found: Sequence[Stored | None] = ()
        if len(missing) == 1:
            found = (await outside.find(missing[0]),)
        elif missing:
            if now >= outside._until:
                await outside._look(now)
            found = await outside._tier.read_many(map, missing, now)
        for sk, entry in zip(missing, found, strict=True):
            # Another task may have read or written the entry meanwhile.
            (buffer.reads if sk in sks else buffer.ahead).setdefault((map, sk), entry)

    async def read_stored(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Read entries past the cache: these, and not the cache's, are conditions from now on."""
        coherent = self._outside._coherent
        assert coherent is not None, "entries are read past a cache where there is one"
        found = await coherent.read_stored(map, sks, now)
        for sk, entry in zip(sks, found, strict=True):
            self._buffer.reads[map, sk] = entry
        return found

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Decide one write on the entry that is at hand; read the entry first if need be."""
        buffer, address = self._buffer, (map, sk)
        blind = _is_blind(op)
        if not (blind or address in buffer.writes or address in buffer.reads):
            await self.read(map, sk, now)
        with _lock():
            current = None if blind else buffer.look(address, now)
            outcome = Refused(current) if self._refuses(op, current) else decide(current, op)
            if isinstance(outcome, Applied):
                buffer.write(address, outcome.entry)
        return outcome

    def _refuses(self, op: Op, current: Stored | None) -> bool:
        """Tell whether the operations must do it another way, or cannot do it at all."""
        if isinstance(op, Add):
            return not self._adds  # by compare-and-set, for a sum has another kind there
        if current is not None and current.kind == HEAD:  # its value must be read before it goes
            return isinstance(op, Delete) and op.returning and op.when != current.etag
        if current is None or current.kind != DAMAGED:
            return False
        return isinstance(op, Touch) or (isinstance(op, Delete) and op.returning)

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Decide the writes; where there is no room for all of them, keep none."""
        before = self._buffer.saved()
        try:
            return [await self.apply(map, sk, op, now) for sk, op in writes]
        except BaseException:
            self._buffer.restore(before)
            raise

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Refuse a transaction within a transaction."""
        del changes, checks, now
        raise LPCMError("this map is a transaction's: begin another with the map itself")

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the entries that a scan finds; where they are too many, delete none."""
        there: list[str] = []
        wanted: Scan | None = Scan(keys)
        while wanted is not None:
            page = await self.scan(map, wanted)
            there += [sk for sk, _ in page.entries]
            wanted = None if page.resume is None else wanted._replace(after=page.resume)
        for sk in there:
            self._buffer.write((map, sk), None)

    async def scan(self, map: str, wanted: Scan) -> Page:
        """Return a page of the store, with the entries at hand in their places, and remember it.

        Reads values too, for the caller may ask for them next. Entries that come to the range
        later are no conflict.
        """
        self.check_reach()
        buffer, now = self._buffer, self._outside._now()
        limit = min(wanted.limit, MOST_KEYS + 1)  # more would be refused
        page = await self._outside._scan(wanted._replace(limit=limit, values=True))
        found: dict[str, Stored | None] = dict(page.entries)
        for address in [*buffer.reads, *buffer.writes]:
            if address[0] == map and _covers(wanted, page.resume, address[1]):
                found[address[1]] = buffer.look(address, now)
        there = [
            (sk, entry)
            for sk in sorted(found, reverse=wanted.reverse)
            if (entry := found[sk]) is not None
        ]
        resume = page.resume
        if len(there) > limit:
            del there[limit:]
            resume = there[-1][0]
        buffer.check_room([(map, sk) for sk, _ in there])
        for sk, entry in there:
            if (map, sk) not in buffer.writes:
                buffer.reads.setdefault((map, sk), entry)
        return Page(there, resume)


def _is_blind(op: Op) -> bool:
    """Tell whether a write leaves the same, whatever entry is there."""
    if isinstance(op, Put):
        return op.when is When.ALWAYS
    return isinstance(op, Delete) and op.when is When.ALWAYS and not op.returning


def _covers(wanted: Scan, resume: str | None, sk: str) -> bool:
    """Tell whether the key is in the part of the range that a page up to ``resume`` shows."""
    (low, high), after = wanted.keys, wanted.after
    if not low <= sk < high:
        return False
    if wanted.reverse:
        return (after is None or sk < after) and (resume is None or sk >= resume)
    return (after is None or sk > after) and (resume is None or sk <= resume)

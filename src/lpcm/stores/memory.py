"""The memory store: the reference of what a store is, and the one for tests.

Obviously right rather than fast: one lock, one dict and one sorted list of keys for each
map. Values are the immutable scalars of ``Form.TEXT``, so handing one out aliases nothing.

Invariant: a map's ``keys`` are exactly its ``entries``' keys, in order, whenever the lock
is free. A fork takes the lock first, so the child starts with a consistent copy of its
own: what either process writes afterwards, the other does not see.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, insort
from typing import TYPE_CHECKING
from weakref import WeakSet

from lpcm.errors import StoreError, ValueTooLarge
from lpcm.keys import partition
from lpcm.ports import (
    Aborted,
    Applied,
    Cell,
    Form,
    MapInfo,
    Page,
    Put,
    Refused,
    Stored,
    Update,
)
from lpcm.stores._deciding import decide, holds, size
from lpcm.stores._trees import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lpcm.ports import Change, Check, KeyRange, Op, Outcome

__all__ = ["OPTIONS", "MemoryStore", "open_store"]

_PAGE_BYTES = 1_000_000


class _Map:
    """One map's entries, expired ones included, and their keys in order."""

    def __init__(self) -> None:
        self.entries: dict[str, Stored] = {}
        self.keys: list[str] = []
        self.expiring_writes = 0

    def get(self, sk: str, now: float) -> Stored | None:
        entry = self.entries.get(sk)
        return None if entry is None or _expired(entry, now) else entry

    def set(self, sk: str, entry: Stored, now: float) -> None:
        if sk not in self.entries:
            insort(self.keys, sk)
        self.entries[sk] = entry
        if entry.expires is not None:
            self.expiring_writes += 1
            # Half as many writes as there are entries pay for one look at all of them.
            if self.expiring_writes > max(256, len(self.keys) // 2):
                self.purge(now)

    def remove(self, sk: str) -> None:
        if self.entries.pop(sk, None) is not None:
            del self.keys[bisect_left(self.keys, sk)]

    def range(self, low: str, high: str) -> list[str]:
        return self.keys[bisect_left(self.keys, low) : bisect_left(self.keys, high)]

    def purge(self, now: float) -> None:
        self.expiring_writes = 0
        self.entries = {sk: e for sk, e in self.entries.items() if not _expired(e, now)}
        self.keys = sorted(self.entries)


class _Data:
    """What the stores of one name share."""

    def __init__(self) -> None:
        self.identity = os.urandom(8).hex()
        self.lock = threading.RLock()
        self.maps: dict[str, _Map] = {}
        self.catalogue: dict[str, dict[str, MapInfo]] = {}
        _all.add(self)


class MemoryStore:
    """A ``ports.Store`` in this process's memory. See ``open_store``."""

    form = Form.TEXT
    blocking = True

    def __init__(self, data: _Data, max_value: int | None) -> None:
        self.identity = f"memory:{data.identity}"
        self._open: _Data | None = data
        self._max_value = max_value

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry."""
        data = self._data()
        with data.lock:
            return self._map(data, map).get(sk, now)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        self._check_size(op)
        data = self._data()
        with data.lock:
            entries = self._map(data, map)
            if type(op) is Update:
                return self._update(entries, sk, op, now)
            return _apply(entries, sk, op, now)

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries."""
        data = self._data()
        with data.lock:
            entries = self._map(data, map)
            return [entries.get(sk, now) for sk in sks]

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes."""
        outcomes: list[Outcome | Exception] = []
        for sk, op in writes:
            try:
                outcomes.append(await self.apply(map, sk, op, now))
            except ValueTooLarge as error:
                outcomes.append(error)
        return outcomes

    async def scan(
        self,
        map: str,
        keys: KeyRange,
        now: float,
        *,
        after: str | None = None,
        reverse: bool = False,
        limit: int = 1000,
        values: bool = True,
    ) -> Page:
        """Return a page."""
        low, high = keys
        if after is not None and reverse:
            high = min(high, after)
        elif after is not None:
            low = max(low, after + "\0")  # the very next string
        found: list[tuple[str, Stored]] = []
        room = _PAGE_BYTES
        data = self._data()
        with data.lock:
            entries = self._map(data, map)
            sks = entries.range(low, high)
            for sk in reversed(sks) if reverse else sks:
                entry = entries.get(sk, now)
                if entry is None:
                    continue
                found.append((sk, entry if values else Stored(None, None, *entry[2:])))
                room -= size(entry.data) if values else 0
                if room <= 0 or len(found) == limit:
                    return Page(found, sk)
        return Page(found, None)

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the range."""
        data = self._data()
        with data.lock:
            entries = self._map(data, map)
            return sum(entries.get(sk, now) is not None for sk in entries.range(*keys))

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range."""
        data = self._data()
        with data.lock:
            entries = self._map(data, map)
            for sk in entries.range(*keys):
                del entries.entries[sk]
            entries.keys = sorted(entries.entries)

    async def register(self, namespace: str, info: MapInfo) -> MapInfo:
        """Enter a map into the catalogue."""
        data = self._data()
        with data.lock:
            return data.catalogue.setdefault(namespace, {}).setdefault(info.name, info)

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none."""
        for change in changes:
            self._check_size(change.op)
        data = self._data()
        with data.lock:
            conditions = [(pk, sk, op.when) for pk, sk, op in changes]
            reasons: list[tuple[str, str, Refused]] = []
            for pk, sk, when in (*conditions, *checks):
                current = self._map(data, pk).get(sk, now)
                if not holds(when, current):
                    reasons.append((pk, sk, Refused(current)))
            if reasons:
                return Aborted(reasons)
            outcomes = [_apply(self._map(data, pk), sk, op, now) for pk, sk, op in changes]
        return [outcome for outcome in outcomes if isinstance(outcome, Applied)]

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue."""
        data = self._data()
        with data.lock:
            return sorted(data.catalogue.get(namespace, {}).values())

    async def drop(self, namespace: str) -> None:
        """Delete the namespace."""
        prefix = partition(namespace)
        data = self._data()
        with data.lock:
            data.maps = {pk: m for pk, m in data.maps.items() if not pk.startswith(prefix)}
            data.catalogue.pop(namespace, None)

    def close(self) -> None:
        """Let go of the data; using the store again raises ``StoreError``."""
        self._open = None

    def _data(self) -> _Data:
        data = self._open
        if data is None:
            raise StoreError("memory store: closed")
        return data

    def _map(self, data: _Data, map: str) -> _Map:
        return data.maps.setdefault(map, _Map())

    def _update(self, entries: _Map, sk: str, op: Update, now: float) -> Outcome:
        current = entries.get(sk, now)
        text = changed(current, op)
        if current is None or text is None:
            return Refused(current)
        put = Put(Cell(text, current.kind), op.etag, current.expires)
        self._check_size(put)
        return _apply(entries, sk, put, now)

    def _check_size(self, op: Op) -> None:
        if self._max_value is None or not isinstance(op, Put):
            return
        length = size(op.cell.data)
        if length > self._max_value:
            raise ValueTooLarge(
                f"memory store: a value of {length:,} bytes is over the limit of "
                f"{self._max_value:,}"
            )


def _apply(entries: _Map, sk: str, op: Op, now: float) -> Outcome:
    outcome = decide(entries.get(sk, now), op)
    if isinstance(outcome, Applied):
        if outcome.entry is None:
            entries.remove(sk)
        else:
            entries.set(sk, outcome.entry, now)
    return outcome


def _expired(entry: Stored, now: float) -> bool:
    return entry.expires is not None and entry.expires <= now


# Opening


def _max_value(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("use a number of bytes, 1 or more")
    return number


OPTIONS: Mapping[str, Callable[[str], object]] = {"max_value": _max_value}

_all: WeakSet[_Data] = WeakSet()
_named: dict[str, _Data] = {}
_held: list[_Data] = []


def open_store(path: str = "", *, max_value: int | None = None) -> MemoryStore:
    """Open a store of this process: its own if ``path`` is empty, else the one of that name.

    ``max_value``: bytes of one value, without limit by default.
    """
    data = _named.setdefault(path, _Data()) if path else _Data()
    return MemoryStore(data, max_value)


def _before_fork() -> None:
    for data in list(_all):
        data.lock.acquire()
        _held.append(data)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()


def _after_fork_in_child() -> None:
    while _held:
        # Not released but replaced: other threads, gone now, may have been waiting for it.
        _held.pop().lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

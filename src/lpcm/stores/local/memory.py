"""The memory store: the reference implementation of a store, and the store for tests.

Obviously right rather than fast: one lock, one dict and one sorted list of keys for each
map. Values are the immutable scalars of ``Form.TEXT``, so a returned value aliases nothing.

Invariant: a map's ``keys`` are None or exactly its ``entries``' keys, in order, whenever the
lock is free. A child of a fork, wherever the parent's threads were, has a consistent copy of
its own: neither process sees what the other writes afterwards.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from lpcm.errors import StoreError, ValueTooLarge
from lpcm.ports import (
    Aborted,
    Applied,
    Form,
    MapInfo,
    MapState,
    Page,
    Put,
    Refused,
    Rewrite,
    Stored,
    Update,
)
from lpcm.ports.decisions import decide, holds
from lpcm.ports.options import at_least_one
from lpcm.stores.local.update_json import rewritten
from lpcm.system.process import follow, forked, same
from lpcm.values.keys import partition
from lpcm.values.size import size, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lpcm.ports import Change, Check, KeyRange, Op, Outcome, Scan

__all__ = ["OPTIONS", "MemoryStore", "open_store"]

_PAGE_BYTES = 1_000_000


class _Map:
    """One map's entries, expired ones included, and their keys in order.

    The entries are the truth. A change of the entries, also one that was interrupted, may set
    ``keys`` to None: the keys are sorted again when they are next needed.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Stored] = {}
        self.keys: list[str] | None = []
        self.expiring_writes = 0

    def get(self, sk: str, now: float) -> Stored | None:
        entry = self.entries.get(sk)
        return None if entry is None or _expired(entry, now) else entry

    def put(self, sk: str, entry: Stored | None, now: float) -> None:
        """Store the entry; None: remove it."""
        if entry is None:
            self.remove(sk)
        else:
            self.set(sk, entry, now)

    def set(self, sk: str, entry: Stored, now: float) -> None:
        new, keys = sk not in self.entries, self.keys
        self.entries[sk] = entry
        if new and keys is not None:
            insort(keys, sk)
        if entry.expires is not None:
            self.expiring_writes += 1
            # One purge of all entries for each half as many writes.
            if self.expiring_writes > max(256, len(self.entries) // 2):
                self.purge(now)

    def remove(self, sk: str) -> None:
        if sk in self.entries:
            # An exception out of a signal handler comes after a call: not between the deletions.
            keys = self.keys
            at = 0 if keys is None else bisect_left(keys, sk)
            del self.entries[sk]
            if keys is not None:
                del keys[at]

    def range(self, low: str, high: str) -> list[str]:
        keys = self.keys
        if keys is None:
            keys = self.keys = sorted(self.entries)
        return keys[bisect_left(keys, low) : bisect_left(keys, high)]

    def purge(self, now: float) -> None:
        self.expiring_writes = 0
        self.entries = {sk: e for sk, e in self.entries.items() if not _expired(e, now)}
        self.keys = None


class _Data:
    """The data that the stores of one name share."""

    def __init__(self) -> None:
        self.identity = os.urandom(8).hex()
        self.identities: dict[str, str] = {}
        """The identity of each namespace."""
        self.lock = threading.RLock()
        self.maps: dict[str, _Map] = {}
        self.catalogue: dict[str, dict[str, MapInfo]] = {}
        self.decided: Sequence[tuple[_Map, str, Stored | None]] = ()
        """The changes of a transaction under way: done as a whole, or not at all."""
        follow(self, _Data._orphan)

    def _orphan(self) -> None:
        """In a forked child: complete the changes of other threads, which are not in the child."""
        self.lock = threading.RLock()
        self.identities = {name: os.urandom(8).hex() for name in self.identities}
        for entries, sk, entry in self.decided:
            if entry is None:
                entries.entries.pop(sk, None)
            else:
                entries.entries[sk] = entry
        self.decided = ()
        for entries in list(self.maps.values()):
            entries.keys = None


class MemoryStore:
    """A ``ports.Store`` in this process's memory. See ``open_store``."""

    form = Form.TEXT
    blocking = True
    rewrites = True

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
            if type(op) is Update or type(op) is Rewrite:
                return self._rewrite(entries, sk, op, now)
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

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return a page."""
        (low, high), after, limit, reverse, values = wanted
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
            gone = entries.range(*keys)
            entries.keys = None
            for sk in gone:
                del entries.entries[sk]

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return a map's state in the catalogue."""
        data = self._data()
        with data.lock:
            info = data.catalogue.get(namespace, {}).get(name)
            return MapState(data.identities.get(namespace), info)

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue."""
        data = self._data()
        with data.lock:
            known = data.catalogue.setdefault(namespace, {}).setdefault(info.name, info)
            identity = data.identities.setdefault(namespace, os.urandom(8).hex())
            return MapState(identity, known)

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity."""
        data = self._data()
        with data.lock:
            data.identities[namespace] = os.urandom(8).hex()

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
            maps = [self._map(data, pk) for pk, _, _ in changes]
            outcomes = [
                outcome
                for entries, (_, sk, op) in zip(maps, changes, strict=True)
                if isinstance(outcome := decide(entries.get(sk, now), op), Applied)
            ]
            data.decided = [
                (entries, sk, outcome.entry)
                for entries, (_, sk, _), outcome in zip(maps, changes, outcomes, strict=True)
            ]
            try:
                for entries, sk, entry in data.decided:
                    entries.put(sk, entry, now)
            except BaseException:  # out of a signal handler: complete the transaction all the same
                for entries, sk, entry in data.decided:
                    entries.put(sk, entry, now)
                raise
            finally:
                data.decided = ()
        return outcomes

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
            data.identities.pop(namespace, None)

    def close(self) -> None:
        """Close; using the store again raises ``StoreError``."""
        self._open = None

    def _data(self) -> _Data:
        if not same[0]:
            forked()
        data = self._open
        if data is None:
            raise StoreError("memory store: closed")
        return data

    def _map(self, data: _Data, map: str) -> _Map:
        return data.maps.setdefault(map, _Map())

    def _rewrite(self, entries: _Map, sk: str, op: Update | Rewrite, now: float) -> Outcome:
        current = entries.get(sk, now)
        put = rewritten(current, op)
        if put is None:
            return Refused(current)
        self._check_size(put)
        return _apply(entries, sk, put, now)

    def _check_size(self, op: Op) -> None:
        if self._max_value is None or not isinstance(op, Put):
            return
        length = size(op.cell.data)
        if length > self._max_value:
            raise too_large("memory store", length, self._max_value)


def _apply(entries: _Map, sk: str, op: Op, now: float) -> Outcome:
    outcome = decide(entries.get(sk, now), op)
    if isinstance(outcome, Applied):
        entries.put(sk, outcome.entry, now)
    return outcome


def _expired(entry: Stored, now: float) -> bool:
    return entry.expires is not None and entry.expires <= now


# Opening


OPTIONS: Mapping[str, Callable[[str], object]] = {"max_value": at_least_one("bytes")}

_named: dict[str, _Data] = {}


def open_store(path: str = "", *, max_value: int | None = None) -> MemoryStore:
    """Open a store of this process: its own if ``path`` is empty, else the one of that name.

    ``max_value``: bytes of one value, without limit by default.
    """
    data = _named.setdefault(path, _Data()) if path else _Data()
    return MemoryStore(data, max_value)

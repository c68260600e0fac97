"""The memory cache: memcached's semantics in one process, for tests and for development.

It has no network that could fail, and no other process shares it. So use it in front of a
store that only this process uses: another process, a forked child included, has a cache
of its own, which does not see this process's writes.

Items are kept in order of use; the least recently used are evicted over ``max_bytes``. Every CAS id
is a token for as long as the process lives.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from lpcm.ports import CacheLost, Get, Invalidate, Replies, Result, Set
from lpcm.ports.options import at_least_one
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lpcm.ports import Command, Packet

__all__ = ["OPTIONS", "MemoryCache", "open_cache"]

_MAX_BYTES: Final = 64 << 20
_LONGEST: Final = 30 * 24 * 3600
_ITEM: Final = 300
"""Bytes an item costs beside its key and data."""


class _Item:
    __slots__ = ("base", "cas", "data", "leased", "stale", "until")

    def __init__(self, data: bytes, base: int, cas: int, until: float) -> None:
        self.data = data
        self.base = base
        self.cas = cas
        self.until = until
        self.stale = False
        self.leased = False


class _Items:
    """The items that the caches of one name share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: OrderedDict[str, _Item] = OrderedDict()
        self.cas = 0
        self.size = 0
        follow(self, _Items.orphan)

    def orphan(self) -> None:
        """In a forked child: drop all items."""
        # Another thread, which is not in the child, may have held the lock.
        self.lock = threading.Lock()
        self.items = OrderedDict()
        self.size = 0

    def find(self, key: str, now: float) -> _Item | None:
        """Return the item of a key, unless it has expired."""
        item = self.items.get(key)
        if item is None:
            return None
        if item.until <= now:
            self.drop(key)
            return None
        self.items.move_to_end(key)
        return item

    def put(self, key: str, item: _Item) -> None:
        """Store the item, in place of an older one."""
        self.drop(key)
        self.items[key] = item
        self.size += _ITEM + len(key) + len(item.data)

    def drop(self, key: str) -> None:
        """Drop the item, if there is one."""
        item = self.items.pop(key, None)
        if item is not None:
            self.size -= _ITEM + len(key) + len(item.data)

    def shrink(self, most: int) -> None:
        """Evict the least recently used items."""
        while self.size > most and self.items:
            self.drop(next(iter(self.items)))

    def new_cas(self) -> int:
        """Return an id that no item has had."""
        self.cas += 1
        return self.cas


class MemoryCache:
    """A ``ports.Cache`` in this process. See ``open_cache``."""

    blocking = True

    def __init__(self, items: _Items, max_bytes: int) -> None:
        self.identity = f"memory:{id(items)}"
        self._shared: _Items | None = items
        self._max_bytes = max_bytes

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Look an item up."""
        (result,) = self._do(key, (Get(lease),))
        return result.data[: result.base] if result.base else Replies((result,), 1)

    async def look_many(self, keys: Sequence[str], lease: int) -> list[bytes | Replies | CacheLost]:
        """Look many items up, each at one instant."""
        answers: list[bytes | Replies | CacheLost] = []
        for key in keys:
            try:
                answers.append(await self.look(key, lease))
            except CacheLost as lost:
                answers.append(lost)
        return answers

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do the commands, all at one instant."""
        if packet.connection not in {None, 1} and not fresh:
            raise CacheLost("the memory cache has only one connection, of number 1")
        return Replies(self._do(packet.key, packet.commands), 1)

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets, each at one instant."""
        answers: list[Replies | CacheLost] = []
        for packet in packets:
            try:
                answers.append(await self.send(packet))
            except CacheLost as lost:
                answers.append(lost)
        return answers

    def retry(self) -> None:
        """Do nothing: there is no server that could be down."""

    def close(self) -> None:
        """Close; other caches of the same name keep the items."""
        self._shared = None

    def _do(self, key: str, commands: Sequence[Command]) -> list[Result]:
        if not same[0]:
            forked()
        shared = self._shared
        if shared is None:
            raise CacheLost("this memory cache is closed")
        if not (0 < len(key) <= 250 and key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(f"no key for a cache: {key!r}")
        for command in commands:
            _check(command)
        now = time.monotonic()
        with shared.lock:
            results = [self._one(shared, key, command, now) for command in commands]
            shared.shrink(self._max_bytes)
        return results

    def _one(self, shared: _Items, key: str, command: Command, now: float) -> Result:
        item = shared.find(key, now)
        match command:
            case Get():
                return _get(shared, key, item, command, now)
            case Set():
                return self._set(shared, key, item, command, now)
            case Invalidate(ttl, cas):
                if item is None:
                    return Result("NF")
                if cas not in {None, item.cas}:
                    return Result("EX")
                item.cas = shared.new_cas()
                item.stale, item.leased = True, False
                if ttl is not None:
                    item.until = now + ttl
                return Result("HD")

    def _set(
        self, shared: _Items, key: str, item: _Item | None, command: Set, now: float
    ) -> Result:
        data, base, ttl, mode, cas = command
        if mode != "S" and (item is None) != (mode == "E"):
            return Result("NS")
        if cas is not None and item is None:
            return Result("NF")
        if cas is not None and item is not None and cas != item.cas:
            return Result("EX")
        until = now + ttl
        if mode == "A" and item is not None:
            data, base, until = item.data + data, item.base, item.until
        if _ITEM + len(key) + len(data) > self._max_bytes:
            shared.drop(key)
            return Result("TL")
        made = _Item(data, base, shared.new_cas(), until)
        shared.put(key, made)
        return Result("HD", cas=made.cas)


def _check(command: Command) -> None:
    """Refuse a command that memcached would not take."""
    times: tuple[int | None, ...]
    match command:
        case Get(lease, touch):
            times = lease, touch
        case Invalidate(ttl):
            times = (ttl,)
        case Set(data, base, ttl, mode, cas):
            times = (None if mode == "A" else ttl,)
            if cas is not None and mode != "S":
                raise ValueError(f"a CAS id with mode {mode!r} of a Set")
            if mode not in {"A", "E", "S"} or not 0 <= base <= len(data):
                raise ValueError(f"no Set of {len(data)} bytes: mode {mode!r}, base {base}")
    for each in times:
        if each is not None and not 1 <= each <= _LONGEST:
            raise ValueError(f"seconds must be 1 to {_LONGEST} (30 days), not {each}")


def _get(shared: _Items, key: str, item: _Item | None, command: Get, now: float) -> Result:
    won = False
    if item is None:
        if command.lease is None:
            return Result("EN")
        item = _Item(b"", 0, shared.new_cas(), now + command.lease)
        item.leased = won = True
        shared.put(key, item)
    else:
        if command.touch is not None:
            item.until = now + command.touch
        if item.stale and not item.leased:
            item.leased = won = True
    return Result(
        "VA" if command.value else "HD",
        item.data if command.value else b"",
        item.cas,
        len(item.data),
        item.base,
        math.ceil(item.until - now),
        won,
        item.stale,
        item.leased and not won,
    )


OPTIONS: Mapping[str, Callable[[str], object]] = {"max_bytes": at_least_one("bytes")}

_named: dict[str, _Items] = {}


def open_cache(
    path: str = "", *, scheme: str = "memory", max_bytes: int = _MAX_BYTES
) -> MemoryCache:
    """Open a cache of this process: its own if ``path`` is empty, else the one of that name."""
    del scheme
    return MemoryCache(_items(path), max_bytes)


def _items(path: str) -> _Items:
    return _named.setdefault(path, _Items()) if path else _Items()

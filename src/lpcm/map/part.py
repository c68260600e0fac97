"""One map in a transaction: its methods, on what the transaction has read and will write.

Knows the operations of maps; what becomes of reads and writes is ``map.transaction``.
Invariant: nothing here writes to a store.
"""

# ruff: noqa: SLF001  # the other half of a transaction

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from lpcm.engine.config import seconds
from lpcm.engine.drive import do
from lpcm.errors import KeyEncodingError, LPCMError
from lpcm.operations.absent import absent
from lpcm.operations.entry import MISSING
from lpcm.values.arithmetic import add, check_delta, negate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lpcm.map.map import LPCM
    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries
    from lpcm.ports import Cell

__all__ = ["Part", "Write"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Whole: TypeAlias = Any
"""The transaction, ``transaction.Transaction``, which imports this module."""


class Write(NamedTuple):
    """What a transaction will write: a cell, or None to delete."""

    cell: Cell | None
    expires: float | None = None


class Part(Generic[K, V]):
    """A map as a transaction sees it: what others write shows at the end, as a conflict.

    Values are plain: assign what you change. What was read here keeps its expiry when it is
    assigned, unless the map has a ``ttl`` of its own, which it then gets.
    Reading is I/O, and has a-twins; writing is not. In an ``async with`` a method that would have
    to read raises LPCMError, naming its twin, and reads nothing; what was read or written in the
    transaction before, it has at hand.
    """

    def __init__(self, whole: Whole, map: LPCM[K, V]) -> None:
        self._whole = whole
        self._map = map

    def __getitem__(self, key: K) -> V:
        use = self._entries()
        return _found(key, self._run(self._get, use, key, "agetitem"))  # type: ignore[no-any-return]  # stored as V

    def get(self, key: K, default: Any = None, /) -> Any:
        """Return the value, else the default, else the map's own."""
        use = self._entries()
        value = self._run(self._get, use, key, "aget")
        return default if value is MISSING else value

    def __contains__(self, key: object) -> bool:
        use = self._entries()
        return self._run(self._whole._stored, use, key, "acontains") is not MISSING

    async def agetitem(self, key: K) -> V:
        """Await ``part[key]``."""
        use = self._map._ause()
        return _found(key, await use.drive(self._get(use, key), reads=True))  # type: ignore[no-any-return]  # as above

    async def aget(self, key: K, default: Any = None, /) -> Any:
        """Await ``get``."""
        use = self._map._ause()
        value = await use.drive(self._get(use, key), reads=True)
        return default if value is MISSING else value

    async def acontains(self, key: object) -> bool:
        """Await ``key in part``."""
        use = self._map._ause()
        return await use.drive(self._whole._stored(use, key), reads=True) is not MISSING

    async def _get(self, use: Entries, key: object) -> Any:
        value = await self._whole._stored(use, key)
        return use.default() if value is MISSING else value

    def __setitem__(self, key: K, value: V) -> None:
        use = self._entries()
        expires = self._whole._assigned(use, key)
        self._whole._write(use, key, Write(use.encode(value), expires))

    def set(self, key: K, value: V, *, ttl: TTL = None) -> None:
        """Store the value at the end, expiring ``ttl`` seconds from now, else as the map says."""
        use = self._entries()
        self._whole._write(use, key, Write(use.encode(value), use._expiry(ttl)))

    def delete(self, key: K) -> None:
        """Remove the entry at the end, if there is one."""
        try:
            self._whole._write(self._entries(), key, Write(None))
        except KeyEncodingError as error:
            absent(key, error)

    def __delitem__(self, key: K) -> None:
        use = self._entries()
        stored = self._run(self._whole._stored, use, key, "adelitem")
        _found(key, stored)
        self.delete(key)

    async def adelitem(self, key: K) -> None:
        """Await ``del part[key]``."""
        if not await self.acontains(key):
            raise KeyError(key)
        self.delete(key)

    def add(self, key: K, value: V, *, ttl: TTL = None) -> bool:
        """Store the value at the end unless the key is present; tell whether it will be."""
        use = self._entries()
        stored = self._run(self._whole._stored, use, key, "aadd")
        return self._put_absent(stored, key, value, ttl)

    async def aadd(self, key: K, value: V, *, ttl: TTL = None) -> bool:
        """Await ``add``."""
        use = self._map._ause()
        stored = await use.drive(self._whole._stored(use, key), reads=True)
        return self._put_absent(stored, key, value, ttl)

    def _put_absent(self, stored: Any, key: K, value: V, ttl: TTL) -> bool:
        if stored is not MISSING:
            return False
        self.set(key, value, ttl=ttl)
        return True

    def touch(self, key: K, ttl: TTL) -> bool:
        """Let the entry expire ``ttl`` seconds from now, None: never; False when absent."""
        use = self._entries()
        return self._touched(self._run(self._whole._stored, use, key, "atouch"), key, ttl)

    async def atouch(self, key: K, ttl: TTL) -> bool:
        """Await ``touch``."""
        use = self._map._ause()
        stored = await use.drive(self._whole._stored(use, key), reads=True)
        return self._touched(stored, key, ttl)

    def _touched(self, stored: Any, key: K, ttl: TTL) -> bool:
        use = self._entries()
        expires = None if ttl is None else use._now() + seconds(ttl)
        if stored is MISSING:
            return False
        self._whole._write(use, key, Write(use.encode(stored), expires))
        return True

    def increment(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> Any:
        """Leave what ``part[key] + delta`` would be, from the map's default or 0; return it.

        An entry keeps its expiry; ``ttl`` is of a new one.
        """
        return self._change(key, _adds(delta), self._start(), ttl, "aincrement")

    async def aincrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> Any:
        """Await ``increment``."""
        return await self.atransform(key, _adds(delta), self._start(), ttl=ttl)

    def decrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> Any:
        """Leave what ``part[key] - delta`` would be; else like ``increment``."""
        return self._change(key, _adds(negate(delta)), self._start(), ttl, "adecrement")

    async def adecrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> Any:
        """Await ``decrement``."""
        return await self.atransform(key, _adds(negate(delta)), self._start(), ttl=ttl)

    def _start(self) -> Any:
        start = self._entries().default()
        return 0 if start is MISSING else start

    def transform(
        self, key: K, fn: Callable[[Any], Any], default: Any = MISSING, *, ttl: TTL = None
    ) -> Any:
        """Leave ``fn(part[key])``, and return it; a missing key gives ``fn`` the default.

        An entry keeps its expiry; ``ttl`` is of a new one. **Raises** KeyError when absent without
        any default.
        """
        return self._change(key, fn, default, ttl, "atransform")

    def _change(self, key: K, fn: Callable[[Any], Any], default: Any, ttl: TTL, twin: str) -> Any:
        stored = self._run(self._whole._stored, self._entries(), key, twin)
        return self._changed(stored, key, fn, default, ttl)

    async def atransform(
        self, key: K, fn: Callable[[Any], Any], default: Any = MISSING, *, ttl: TTL = None
    ) -> Any:
        """Await ``transform``."""
        use = self._map._ause()
        stored = await use.drive(self._whole._stored(use, key), reads=True)
        return self._changed(stored, key, fn, default, ttl)

    def _changed(
        self, stored: Any, key: K, fn: Callable[[Any], Any], default: Any, ttl: TTL
    ) -> Any:
        use = self._entries()
        if stored is MISSING:
            stored = use.default() if default is MISSING else default
        expires = self._whole._expires(use, key, ttl)
        cell = use.encode(fn(_found(key, stored)))
        self._whole._write(use, key, Write(cell, expires))
        return use.codec.decode(*cell)

    def _run(
        self,
        operation: Callable[[Entries, object], Coroutine[Any, Any, T]],
        use: Entries,
        key: object,
        twin: str,
    ) -> T:
        """Run what reads, unless that would block an event loop."""
        whole = self._whole
        if whole._awaited and not whole._known(use, key):
            raise LPCMError(
                f"this transaction is an event loop's, which reading {key!r} here would block: "
                f"await {twin}(...) instead; nothing was read"
            )
        return do(operation, use, key)

    def _entries(self) -> Entries:
        """Return the entries the transaction reads with, else those for its kind of use."""
        use = self._map._ause() if self._whole._awaited else self._map._use()
        return self._whole._entries.get(use._map, use)  # type: ignore[no-any-return]  # as above


def _adds(delta: Any) -> Callable[[Any], Any]:
    check_delta(delta)
    return lambda value: add(value, delta)


def _found(key: object, value: Any) -> Any:
    if value is MISSING:
        raise KeyError(key)
    return value

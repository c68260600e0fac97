"""What a map is, in fifty lines of dict: the model that the state machine holds maps to.

Knows the documentation only, never lpcm's code, so it says everything a second time. It
has the map's own methods, under the same names, with the same results and errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from itertools import count
from typing import Any
from uuid import UUID

from tests.strategies import as_map_key

MISSING = object()
EXACT = Context(
    prec=50_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, Overflow]
)


def place(key: Any) -> Any:
    """Return what sorts as the key does: types one after the other, then as Python has it."""
    match as_map_key(key):
        case None:
            return (0,)
        case int() | float() | Decimal() as number:
            return 1, number
        case bytes() as data:
            return 2, data
        case datetime() as moment:
            return (4 if moment.utcoffset() is None else 5), moment
        case date() as day:
            return 3, day
        case time() as clock:
            return (6 if clock.utcoffset() is None else 7), clock
        case timedelta() as length:
            return 8, length
        case UUID() as uuid:
            return 9, uuid
        case tuple() as parts:
            return 10, tuple(map(place, parts))
        case str() as text:
            return 11, text
        case other:
            raise AssertionError(other)


def begins(key: Any, prefix: Any) -> bool:
    """Tell whether a key begins with a prefix, which is text, bytes or a tuple."""
    key, prefix = as_map_key(key), as_map_key(prefix)
    return type(key) is type(prefix) and key[: len(prefix)] == prefix


def plus(value: Any, delta: Any) -> Any:
    """Return the sum as Python has it, a Decimal one exact or an error."""
    for number in (delta, value):
        if not isinstance(number, int | float | Decimal):
            raise TypeError(number)
    with localcontext(EXACT):
        return value + delta


def minus(delta: Any) -> Any:
    """Return the opposite of a delta, exact."""
    return delta.copy_negate() if isinstance(delta, Decimal) else -delta


@dataclass
class Held:
    """An entry. No two writes have one version, and an etag is the map's name for it."""

    value: Any
    expires: float | None
    version: int


class Model:
    """A map with a default and a ttl; ``of`` gives the same entries another face."""

    def __init__(self, clock: Any, *, default: Any = MISSING, ttl: float | None = None) -> None:
        self._clock = clock
        self._default = default
        self._ttl = ttl
        self._entries: dict[Any, Held] = {}
        self._versions = count()

    def of(self, *, default: Any = MISSING, ttl: float | None = None) -> Model:
        """Return another handle of the same entries."""
        face = Model(self._clock, default=default, ttl=ttl)
        face._entries, face._versions = self._entries, self._versions
        return face

    # Pieces

    def held(self, key: Any) -> Held | None:
        """Return the live entry."""
        held = self._entries.get(as_map_key(key))
        return None if held is None or self._dead(held) else held

    def _dead(self, held: Held) -> bool:
        return held.expires is not None and held.expires <= self._clock.now()

    def _present(self, key: Any) -> Held:
        held = self.held(key)
        if held is None:
            raise KeyError(key)
        return held

    def start(self) -> Any:
        """Return what a missing key reads as, or MISSING."""
        return self._default() if callable(self._default) else self._default

    def _put(self, key: Any, value: Any, expires: float | None) -> Any:
        self._entries[as_map_key(key)] = Held(value, expires, next(self._versions))
        return value

    def _until(self, ttl: Any) -> float | None:
        length = self._ttl if ttl is None else ttl
        if isinstance(length, timedelta):
            length = length.total_seconds()
        return None if length is None else self._clock.now() + length

    # The face of a map

    def __getitem__(self, key: Any) -> Any:
        held, start = self.held(key), self.start()
        if held is None and start is MISSING:
            raise KeyError(key)
        return start if held is None else held.value

    def get(self, key: Any, default: Any = MISSING) -> Any:
        held = self.held(key)
        if held is not None:
            return held.value
        if default is not MISSING:
            return default
        return None if (start := self.start()) is MISSING else start

    def __contains__(self, key: Any) -> bool:
        return self.held(key) is not None

    def ttl(self, key: Any) -> float | None:
        expires = self._present(key).expires
        return None if expires is None else expires - self._clock.now()

    def get_many(self, keys: Any) -> dict[Any, Any]:
        return {key: held.value for key in keys if (held := self.held(key)) is not None}

    def set(self, key: Any, value: Any, *, ttl: Any = None) -> None:
        self._put(key, value, self._until(ttl))

    __setitem__ = set  # noqa: A003  # its own method is meant

    def setdefault(self, key: Any, default: Any = MISSING, *, ttl: Any = None) -> Any:
        if (held := self.held(key)) is not None:
            return held.value
        if default is MISSING:
            default = None if (start := self.start()) is MISSING else start
        return self._put(key, default, self._until(ttl))

    def add(self, key: Any, value: Any, *, ttl: Any = None) -> bool:
        if self.held(key) is not None:
            return False
        self._put(key, value, self._until(ttl))
        return True

    def get_or_add(self, key: Any, value: Any, *, ttl: Any = None) -> tuple[Held, bool]:
        added = self.add(key, value, ttl=ttl)
        return self._present(key), added

    def replace(self, key: Any, value: Any, *, ttl: Any = None) -> None:
        self._present(key)
        self._put(key, value, self._until(ttl))

    def __delitem__(self, key: Any) -> None:
        self._present(key)
        del self._entries[as_map_key(key)]

    def delete(self, key: Any) -> None:
        self._entries.pop(as_map_key(key), None)

    def pop(self, key: Any, default: Any = MISSING) -> Any:
        if default is not MISSING and key not in self:
            return default
        held = self._present(key)
        del self[key]
        return held.value

    def popitem(self, *, last: bool = True) -> tuple[Any, Any]:
        items = self.items()
        if not items:
            raise KeyError("popitem(): map is empty")
        self.delete(items[-last][0])
        return items[-last]

    def expire(self, key: Any, ttl: Any) -> None:
        held = self._present(key)
        self._put(key, held.value, None if ttl is None else self._until(ttl))

    def touch(self, key: Any, ttl: Any) -> bool:
        if (held := self.held(key)) is None:
            return False
        self._put(key, held.value, None if ttl is None else self._until(ttl))
        return True

    def increment(self, key: Any, delta: Any = 1, *, ttl: Any = None) -> Any:
        return self.transform(key, lambda value: plus(value, delta), self._zero(), ttl=ttl)

    def increment_existing(self, key: Any, delta: Any = 1) -> Any:
        if not isinstance(delta, int | float | Decimal):
            raise TypeError(delta)
        return self.transform(key, lambda value: plus(value, delta))

    def decrement(self, key: Any, delta: Any = 1, *, ttl: Any = None) -> Any:
        if not isinstance(delta, int | float | Decimal):
            raise TypeError(delta)
        return self.increment(key, minus(delta), ttl=ttl)

    def _zero(self) -> Any:
        return 0 if (start := self.start()) is MISSING else start

    def transform(self, key: Any, fn: Any, default: Any = MISSING, *, ttl: Any = None) -> Any:
        if (held := self.held(key)) is not None:
            return self._put(key, fn(held.value), held.expires)
        value = self.start() if default is MISSING else default
        if value is MISSING:
            raise KeyError(key)
        return self._put(key, fn(value), self._until(ttl))

    def set_many(self, entries: Any, *, ttl: Any = None) -> None:
        for key, value in entries.items() if isinstance(entries, dict) else entries:
            self.set(key, value, ttl=ttl)

    def update(self, entries: Any = (), /, **more: Any) -> None:
        self.set_many(entries)
        self.set_many(more)

    def delete_many(self, keys: Any) -> None:
        for key in keys:
            self.delete(key)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self.items())

    def items(
        self, *, prefix: Any = None, start: Any = None, stop: Any = None, reverse: bool = False
    ) -> list[tuple[Any, Any]]:
        """Return the live entries of a range, in key order."""
        found = [
            (key, held.value)
            for key, held in self._entries.items()
            if not self._dead(held)
            and (prefix is None or begins(key, prefix))
            and (start is None or place(key) >= place(start))
            and (stop is None or place(key) < place(stop))
        ]
        return sorted(found, key=lambda pair: place(pair[0]), reverse=reverse)

    def copy(self) -> dict[Any, Any]:
        return dict(self.items())

"""Copies of a value that was decoded once and is kept: what one reader changes no other sees.

Containers are copied at every depth; what nothing can change is shared. Knows no store and no form.
Invariant: a value that has a ``weight`` equals its copies, which have its types.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["COPIES", "UNCHANGING", "weight"]

UNCHANGING: Final = frozenset({
    type(None), str, bytes, int, float, bool, Decimal, date, datetime, time, timedelta,
})  # fmt: skip
_PART: Final = 36  # bytes of a part that is no container, beside its text, on the average
_GC: Final = 16  # what the garbage collector keeps of a container


def weight(value: Any) -> int | None:
    """Return about the bytes that a value takes, beside its text; few questions tell.

    None: a part is an object that may change.

    >>> weight([1, 2]) > weight([1]), weight({"a": object()})
    (True, None)
    """
    kind = type(value)
    if kind in UNCHANGING:
        return _PART
    if kind not in _CONTAINERS:
        return None
    total = getsizeof(value) + _GC + _PART * len(value)
    parts: Collection[Any] = value
    if kind is dict:
        if not UNCHANGING.issuperset(map(type, value)):
            return None
        parts = value.values()
        total += _PART * len(value)
    if UNCHANGING.issuperset(map(type, parts)):
        return total
    for part in parts:
        if type(part) not in UNCHANGING:
            more = weight(part)
            if more is None:
                return None
            total += more - _PART
    return total


def _dict(value: dict[Any, Any]) -> dict[Any, Any]:
    made = value.copy()
    for key, part in value.items():
        if type(part) in COPIES:
            made[key] = COPIES[type(part)](part)
    return made


def _list(value: list[Any]) -> list[Any]:
    made = value.copy()
    for at, part in enumerate(value):
        if type(part) in COPIES:
            made[at] = COPIES[type(part)](part)
    return made


def _tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([COPIES[type(part)](part) if type(part) in COPIES else part for part in value])


COPIES: Final[dict[type, Callable[[Any], Any]]] = {
    dict: _dict,
    list: _list,
    set: set.copy,  # its members cannot change
    tuple: _tuple,
}
"""By type, what returns a copy of a value that has a weight; other types need none."""
_CONTAINERS: Final = frozenset({*COPIES, frozenset})

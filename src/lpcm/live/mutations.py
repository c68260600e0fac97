"""Deeds: each method of Python's containers that changes one, as something to do to a store.

A deed holds the call with its arguments, so it can be done to a plain container again and
again, and where the port has an action that does the same, that too. Which methods have one
is listed in docs/explanation/live-values.md. Knows no entry and does nothing by itself.

Invariant: an argument that can be walked once only is walked here, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.live.location import Deed
from lpcm.operations.retry import UNCHANGED
from lpcm.ports import Drop, Extend, Join, Leave, Merge, Place
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.live.location import Spot

__all__ = [
    "call",
    "dict_pop",
    "dict_set",
    "dict_setdefault",
    "dict_update",
    "discard",
    "drop",
    "extend",
    "join",
    "leave",
    "list_set",
    "remove",
]

_NAMES = 25
"""More than these at once are left to compare-and-set: expressions have limits."""
_INT = 10**38


def call(method: str, *args: Any, **options: Any) -> Deed:
    """Call the method; never native."""
    return Deed(method, lambda container: getattr(container, method)(*args, **options))


def drop(at: Any) -> Deed:
    """``del container[at]``."""

    def change(container: Any) -> None:
        del container[at]

    name = at if type(at) is int and at >= 0 else step(at)
    return Deed("__delitem__", change, None if name is None else Drop(name))


# Lists


def extend(spot: Spot, method: str, items: list[Any]) -> Deed:
    """``list.extend``, and ``append`` of one."""

    def change(container: Any) -> Any:
        container.extend(items)
        return None if items else UNCHANGED

    parts = spot.part(items) if items else None
    return Deed(method, change, Extend(parts) if isinstance(parts, list) else None)


def list_set(spot: Spot, at: int, value: Any) -> Deed:
    """``list[at] = value``."""

    def change(container: Any) -> None:
        container[at] = value

    parts = spot.part([value]) if at >= 0 else None
    action = Place(at, parts[0]) if isinstance(parts, list) else None
    return Deed("__setitem__", change, action)


# Dicts


def _merge(spot: Spot, items: dict[Any, Any], seen: Iterable[Any], **options: Any) -> Merge | None:
    names = {step(key): key for key in items}
    if None in names or not 0 < len(names) <= _NAMES:
        return None
    parts = spot.part(items)
    if not isinstance(parts, dict) or parts.keys() != names.keys():
        return None
    beside = next((step(key) for key in seen if key not in items), None)
    return Merge(parts, beside=beside, **options)


def dict_set(spot: Spot, key: Any, value: Any, seen: Iterable[Any]) -> Deed:
    """``dict[key] = value``; ``seen`` are names the copy at hand has."""

    def change(container: Any) -> None:
        container[key] = value

    return Deed("__setitem__", change, _merge(spot, {key: value}, seen))


def dict_update(spot: Spot, items: dict[Any, Any], seen: Iterable[Any]) -> Deed:
    """``dict.update``."""

    def change(container: Any) -> Any:
        container.update(items)
        return None if items else UNCHANGED

    return Deed("update", change, _merge(spot, items, seen))


def dict_setdefault(spot: Spot, key: Any, value: Any, seen: Iterable[Any]) -> Deed:
    """``dict.setdefault``."""

    def change(container: Any) -> Any:
        if key in container:
            return UNCHANGED
        container[key] = value
        return None

    return Deed("setdefault", change, _merge(spot, {key: value}, seen, absent=True))


def dict_pop(key: Any, fallback: tuple[Any, ...]) -> Deed:
    """``dict.pop``."""

    def change(container: Any) -> Any:
        if fallback and key not in container:
            return UNCHANGED
        return container.pop(key)

    return Deed("pop", change)


# Sets


def _members(spot: Spot, members: set[Any]) -> frozenset[Any] | None:
    """Return members of one type that a store has sets of; refuse what no value can be."""
    spot.place.engine.codec.part(members)
    kinds = {type(member) for member in members}
    if kinds in ({str}, {bytes}) or (kinds == {int} and all(abs(m) < _INT for m in members)):
        return frozenset(members)
    return None


def join(spot: Spot, method: str, members: set[Any]) -> Deed:
    """``set.update``, and ``add`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(spot, members)
    return Deed(method, change, None if native is None else Join(native))


def leave(spot: Spot, method: str, members: set[Any]) -> Deed:
    """``set.difference_update``, and ``discard`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.difference_update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(spot, members)
    return Deed(method, change, None if native is None else Leave(native))


def discard(spot: Spot, member: Any) -> Deed:
    """``set.discard``."""
    return leave(spot, "discard", {member})


def remove(spot: Spot, member: Any) -> Deed:
    """``set.remove``."""
    native = _members(spot, {member})
    action = None if native is None else Leave(native, present=True)
    return Deed("remove", lambda container: container.remove(member), action)

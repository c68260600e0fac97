"""Mutations: each method of Python's containers that changes one, as a change of a store.

A mutation holds the call with its arguments, so it can be applied to a plain container any
number of times. Where the port has an action that makes the same change, the mutation holds that
too: docs/explanation/live-values.md lists those methods. Knows no entry and changes nothing itself.

Invariant: an argument that can be iterated only once is iterated here, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.live.location import Mutation
from lpcm.operations.retry import UNCHANGED
from lpcm.ports import DeleteItem, Extend, ListSet, Merge, SetAdd, SetRemove
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.live.location import ValuePath

__all__ = [
    "call",
    "delete_item",
    "dict_pop",
    "dict_set",
    "dict_setdefault",
    "dict_update",
    "extend",
    "list_set",
    "set_add",
    "set_discard",
    "set_remove",
]

_NAMES = 25
"""More keys than these at once go by compare-and-set: a store's expressions have limits."""
_INT = 10**38


def call(method: str, *args: Any, **options: Any) -> Mutation:
    """Any method, by compare-and-set."""
    return Mutation(method, lambda container: getattr(container, method)(*args, **options))


def delete_item(at: Any) -> Mutation:
    """``del container[at]``."""

    def change(container: Any) -> None:
        del container[at]

    name = at if type(at) is int and at >= 0 else step(at)
    return Mutation("__delitem__", change, None if name is None else DeleteItem(name))


# Lists


def extend(path: ValuePath, method: str, items: list[Any]) -> Mutation:
    """``list.extend``, and ``append`` of one."""

    def change(container: Any) -> Any:
        container.extend(items)
        return None if items else UNCHANGED

    parts = path.part(items) if items else None
    return Mutation(method, change, Extend(parts) if isinstance(parts, list) else None)


def list_set(path: ValuePath, at: int, value: Any) -> Mutation:
    """``list[at] = value``."""

    def change(container: Any) -> None:
        container[at] = value

    parts = path.part([value]) if at >= 0 else None
    action = ListSet(at, parts[0]) if isinstance(parts, list) else None
    return Mutation("__setitem__", change, action)


# Dicts


def _merge(
    path: ValuePath, items: dict[Any, Any], seen: Iterable[Any], **options: Any
) -> Merge | None:
    names = {step(key): key for key in items}
    if None in names or not 0 < len(names) <= _NAMES:
        return None
    parts = path.part(items)
    if not isinstance(parts, dict) or parts.keys() != names.keys():
        return None
    beside = next((step(key) for key in seen if key not in items), None)
    return Merge(parts, beside=beside, **options)


def dict_set(path: ValuePath, key: Any, value: Any, seen: Iterable[Any]) -> Mutation:
    """``dict[key] = value``; ``seen`` are the keys that the caller's copy has."""

    def change(container: Any) -> None:
        container[key] = value

    return Mutation("__setitem__", change, _merge(path, {key: value}, seen))


def dict_update(path: ValuePath, items: dict[Any, Any], seen: Iterable[Any]) -> Mutation:
    """``dict.update``."""

    def change(container: Any) -> Any:
        container.update(items)
        return None if items else UNCHANGED

    return Mutation("update", change, _merge(path, items, seen))


def dict_setdefault(path: ValuePath, key: Any, value: Any, seen: Iterable[Any]) -> Mutation:
    """``dict.setdefault``."""

    def change(container: Any) -> Any:
        if key in container:
            return UNCHANGED
        container[key] = value
        return None

    return Mutation("setdefault", change, _merge(path, {key: value}, seen, absent=True))


def dict_pop(key: Any, fallback: tuple[Any, ...]) -> Mutation:
    """``dict.pop``."""

    def change(container: Any) -> Any:
        if fallback and key not in container:
            return UNCHANGED
        return container.pop(key)

    return Mutation("pop", change)


# Sets


def _members(path: ValuePath, members: set[Any]) -> frozenset[Any] | None:
    """Return the members if stores have sets of their type; refuse one that no value can be."""
    path.binding.engine.codec.part(members)
    kinds = {type(member) for member in members}
    if kinds in ({str}, {bytes}) or (kinds == {int} and all(abs(m) < _INT for m in members)):
        return frozenset(members)
    return None


def set_add(path: ValuePath, method: str, members: set[Any]) -> Mutation:
    """``set.update``, and ``add`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(path, members)
    return Mutation(method, change, None if native is None else SetAdd(native))


def set_discard(path: ValuePath, method: str, members: set[Any]) -> Mutation:
    """``set.difference_update``, and ``discard`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.difference_update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(path, members)
    return Mutation(method, change, None if native is None else SetRemove(native))


def set_remove(path: ValuePath, member: Any) -> Mutation:
    """``set.remove``."""
    native = _members(path, {member})
    action = None if native is None else SetRemove(native, present=True)
    return Mutation("remove", lambda container: container.remove(member), action)

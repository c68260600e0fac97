"""What the methods of Python's containers change, as mutations of a stored container.

A mutation holds a call with its arguments, so it can be applied to a plain container any number of
times. Where the port has an action that makes the same change, the mutation holds that too:
docs/explanation/live-values.md lists those methods. Knows no entry and changes nothing itself.

The three tables at the end list the methods. Each function has the name, the arguments and the
docstring of a method, and returns its mutation: ``Mutation[int]`` is of a method that returns an
int. ``operators`` says which in-place operator is the same as which method. ``live.containers``
makes the methods, their a-twins and the operators from the tables.

Invariant: an argument that can be iterated only once is iterated here, once.
"""

# the functions of the tables are methods of the live containers

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Final

from lpcm.live.location import Mutation
from lpcm.operations.entry import MISSING
from lpcm.operations.retry import UNCHANGED
from lpcm.ports import DeleteItem, Extend, ListSet, Merge, SetAdd, SetRemove
from lpcm.values.native_number import LIMIT
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.live.location import ValuePath

__all__ = [
    "DictMethods",
    "ListMethods",
    "SetMethods",
    "set_add",
    "set_discard",
]

_NAMES = 25
"""More keys than these at once go by compare-and-set: a store's expressions have limits."""


def call(method: str, *args: Any, **options: Any) -> Mutation[Any]:
    """Any method, by compare-and-set."""
    return Mutation(method, lambda container: getattr(container, method)(*args, **options))


def delete_item(at: Any) -> Mutation[None]:
    """``del container[at]``."""

    def change(container: Any) -> None:
        del container[at]

    name = at if type(at) is int and at >= 0 else step(at)
    return Mutation("__delitem__", change, None if name is None else DeleteItem(name))


# Lists


def extend(path: ValuePath, method: str, items: list[Any]) -> Mutation[None]:
    """``list.extend``, and ``append`` of one."""

    def change(container: Any) -> Any:
        container.extend(items)
        return None if items else UNCHANGED

    parts = path.part(items) if items else None
    return Mutation(method, change, Extend(parts) if isinstance(parts, list) else None)


def list_set(path: ValuePath, at: int, value: Any) -> Mutation[None]:
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


def dict_update(
    path: ValuePath, method: str, items: dict[Any, Any], seen: Iterable[Any]
) -> Mutation[None]:
    """``dict.update``, and ``dict[key] = value``; ``seen`` are the keys of the caller's copy."""

    def change(container: Any) -> Any:
        container.update(items)
        return None if items else UNCHANGED

    return Mutation(method, change, _merge(path, items, seen))


def dict_setdefault(path: ValuePath, key: Any, value: Any, seen: Iterable[Any]) -> Mutation[Any]:
    """``dict.setdefault``."""

    def change(container: Any) -> Any:
        if key in container:
            return UNCHANGED
        container[key] = value
        return None

    action = _merge(path, {key: value}, seen, absent=True)
    return Mutation("setdefault", change, action, answer=lambda copy: copy[key])


def dict_pop(key: Any, default: Any) -> Mutation[Any]:
    """``dict.pop``; without a default it is ``MISSING``."""
    if default is MISSING:
        return call("pop", key)

    def change(container: Any) -> Any:
        return container.pop(key) if key in container else UNCHANGED

    return Mutation("pop", change, unchanged=default)


# Sets


def _members(path: ValuePath, members: set[Any]) -> frozenset[Any] | None:
    """Return the members if stores have sets of their type; refuse one that no value can be."""
    path.binding.engine.codec.part(members)
    kinds = {type(member) for member in members}
    if kinds in ({str}, {bytes}) or (kinds == {int} and all(abs(m) < LIMIT for m in members)):
        return frozenset(members)
    return None


def set_add(path: ValuePath, method: str, members: set[Any]) -> Mutation[None]:
    """``set.update``, and ``add`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(path, members)
    return Mutation(method, change, None if native is None else SetAdd(native))


def set_discard(path: ValuePath, method: str, members: set[Any]) -> Mutation[None]:
    """``set.difference_update``, and ``discard`` of one."""

    def change(container: Any) -> Any:
        before = len(container)
        container.difference_update(members)
        return UNCHANGED if len(container) == before else None

    native = _members(path, members)
    return Mutation(method, change, None if native is None else SetRemove(native))


def set_remove(path: ValuePath, member: Any) -> Mutation[None]:
    """``set.remove``."""
    native = _members(path, {member})
    action = None if native is None else SetRemove(native, present=True)
    return Mutation("remove", lambda container: container.remove(member), action)


# The tables


class DictMethods:
    """The methods that change a dict."""

    operators: Final = {"__ior__": "update"}
    operands: Final = object

    def __setitem__(self: Any, key: Any, value: Any) -> Mutation[None]:
        """Set the key in the stored dict."""
        return dict_update(self._path, "__setitem__", {key: value}, self)

    def __delitem__(self: Any, key: Any) -> Mutation[None]:
        """Remove the key from the stored dict; else raise KeyError."""
        return delete_item(key) if type(key) is str else call("__delitem__", key)

    def pop(self: Any, key: Any, default: Any = MISSING, /) -> Mutation[Any]:
        """Remove the key from the stored dict and return its value, plain, else the default."""
        return dict_pop(key, default)

    def popitem(self: Any) -> Mutation[tuple[Any, Any]]:
        """Remove the last item in key order from the stored dict, and return it, plain."""
        return call("popitem")

    def clear(self: Any) -> Mutation[None]:
        """Remove all items from the stored dict."""
        return call("clear")

    def update(self: Any, items: Any = (), /, **more: Any) -> Mutation[None]:
        """Set these items in the stored dict."""
        return dict_update(self._path, "update", dict(items, **more), self)

    def setdefault(self: Any, key: Any, default: Any = None, /) -> Mutation[Any]:
        """Set the key in the stored dict unless it is there; return the value stored then, live."""
        return dict_setdefault(self._path, key, default, self)


class ListMethods:
    """The methods that change a list."""

    operators: Final = {"__iadd__": "extend", "__imul__": "__imul__"}
    operands: Final = object

    def __setitem__(self: Any, at: Any, value: Any) -> Mutation[None]:
        """Set the item, or the slice, of the stored list."""
        if isinstance(at, slice):
            return call("__setitem__", at, list(value))
        return list_set(self._path, index(at), value)

    def __delitem__(self: Any, at: Any) -> Mutation[None]:
        """Remove the item, or the slice, of the stored list."""
        if isinstance(at, slice):
            return call("__delitem__", at)
        return delete_item(index(at))

    def append(self: Any, item: Any, /) -> Mutation[None]:
        """Append to the stored list."""
        return extend(self._path, "append", [item])

    def extend(self: Any, items: Iterable[Any], /) -> Mutation[None]:
        """Extend the stored list."""
        return extend(self._path, "extend", list(items))

    def insert(self: Any, at: Any, item: Any, /) -> Mutation[None]:
        """Insert into the stored list."""
        return call("insert", at, item)

    def remove(self: Any, item: Any, /) -> Mutation[None]:
        """Remove the first such item from the stored list; else raise ValueError."""
        return call("remove", item)

    def pop(self: Any, at: Any = -1, /) -> Mutation[Any]:
        """Remove an item of the stored list and return it, plain."""
        return call("pop", at)

    def clear(self: Any) -> Mutation[None]:
        """Remove all items from the stored list."""
        return call("clear")

    def sort(self: Any, *, key: Any = None, reverse: bool = False) -> Mutation[None]:
        """Sort the stored list; ``key`` may be called several times for an item."""
        return call("sort", key=key, reverse=reverse)

    def reverse(self: Any) -> Mutation[None]:
        """Reverse the stored list."""
        return call("reverse")

    def __imul__(self: Any, times: Any, /) -> Mutation[Any]:
        """Repeat the stored list."""
        return call("__imul__", index(times))


class SetMethods:
    """The methods that change a set."""

    operators: Final = {
        "__ior__": "update",
        "__isub__": "difference_update",
        "__iand__": "intersection_update",
        "__ixor__": "symmetric_difference_update",
    }
    operands: Final = set, frozenset

    def add(self: Any, member: Any, /) -> Mutation[None]:
        """Add to the stored set."""
        return set_add(self._path, "add", {member})

    def update(self: Any, *others: Iterable[Any]) -> Mutation[None]:
        """Add all of these to the stored set."""
        return set_add(self._path, "update", set().union(*others))

    def discard(self: Any, member: Any, /) -> Mutation[None]:
        """Remove the member from the stored set, if it is there."""
        return set_discard(self._path, "discard", {member})

    def remove(self: Any, member: Any, /) -> Mutation[None]:
        """Remove the member from the stored set; else raise KeyError."""
        return set_remove(self._path, member)

    def pop(self: Any) -> Mutation[Any]:
        """Remove some member from the stored set, and return it."""
        return call("pop")

    def clear(self: Any) -> Mutation[None]:
        """Remove all members from the stored set."""
        return call("clear")

    def difference_update(self: Any, *others: Iterable[Any]) -> Mutation[None]:
        """Remove all of these from the stored set."""
        return set_discard(self._path, "difference_update", set().union(*others))

    def intersection_update(self: Any, *others: Iterable[Any]) -> Mutation[None]:
        """Keep the members that are in all the others, in the stored set."""
        return call("intersection_update", *map(set, others))

    def symmetric_difference_update(self: Any, other: Iterable[Any], /) -> Mutation[None]:
        """Keep the members that are in one of the two only, in the stored set."""
        return call("symmetric_difference_update", set(other))

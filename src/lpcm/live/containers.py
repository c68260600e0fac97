"""Live containers: a method that changes one is applied to the stored container, atomically.

Dicts, lists and sets that were read from a map, at any depth, also inside tuples. Each method
of Python's that changes the container changes the stored one, natively where the store can and
else by compare-and-set. Then the container shows what is stored now: it is a copy, and reading it
sends no request. Each such method has an a-twin.

Invariant: the elements are plain numbers and live containers, and the path of an inner container
begins with the path of the outer one. What is made of a live container (copies, slices, pickles,
results of ``|`` and ``+``) is plain; its elements are shared as Python shares them.
"""

# ruff: noqa: SLF001  # the functions here are the three classes' methods

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from lpcm.engine.drive import do
from lpcm.live import mutations as _mutations
from lpcm.live import numbers as _numbers
from lpcm.live.location import Mutation, ValuePath, perform
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt
from lpcm.operations.retry import UNCHANGED
from lpcm.values.codec import accept
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.operations.binding import MapBinding

__all__ = ["CONTAINERS", "NUMBERS", "LiveDict", "LiveList", "LiveSet", "is_echo", "make_live"]

NUMBERS = frozenset({LiveInt, LiveFloat, LiveDecimal})


def _do(self: Any, mutation: Mutation) -> Any:
    """Change the stored container; then let the copy show what is stored."""
    path: ValuePath = self._path
    after, result = do(perform, path.binding.use(), path, (self._kind,), mutation)
    self._refresh(after)
    return result


async def _ado(self: Any, mutation: Mutation) -> Any:
    """Await ``_do``."""
    path: ValuePath = self._path
    use = path.binding.ause()
    after, result = await use.drive(perform(use, path, (self._kind,), mutation))
    self._refresh(after)
    return result


def _in_place(self: Any, mutation: Mutation) -> Any:
    """Apply an operator like ``+=``: Python assigns what it returns once more."""
    _do(self, mutation)
    self._echo = True
    return self


def _assign_back(self: Any, at: Any, value: Any) -> bool:
    """Apply ``self[at] = value`` if the value was read from ``self[at]``; tell whether it was."""
    path: ValuePath = self._path
    steps = (*path.steps, at)
    if type(value) in NUMBERS:
        if not _numbers.returns_to(value, path.binding.identity, path.key, steps):
            return False
        with _numbers.using_ticket(value):
            _do(self, _numbers.mutation(at, value))
        return True
    return type(value) in CONTAINERS and is_echo(value, path.binding.identity, path.key, steps)


def is_echo(value: Any, identity: tuple[int, str], key: object, steps: tuple[Any, ...]) -> bool:
    """Tell whether this assignment follows an operator like ``|=``, which has stored already."""
    if value._echo and value._path.leads_to(identity, key, steps):
        value._echo = False
        return True
    return False


class LiveDict(dict[Any, Any]):
    """A dict that remembers where it was read."""

    __slots__ = ("_echo", "_path")
    _kind = dict
    _path: ValuePath
    _echo: bool

    def __new__(cls, *args: Any, **more: Any) -> dict[Any, Any]:  # type: ignore[misc]  # plain
        """Return a plain dict: only a map makes live ones."""
        return dict(*args, **more)

    def _refresh(self, after: dict[Any, Any]) -> None:
        before = dict(self)
        dict.clear(self)
        dict.update(self, after)
        named = all(type(key) is str for key in after)
        for key, value in after.items():
            if type(value) in _KINDS:
                path = self._path.inside(key, step(key) if named else None)
                dict.__setitem__(self, key, _live(value, path, before.get(key)))

    def __getitem__(self, key: Any) -> Any:
        return _numbers.element(dict.__getitem__(self, key), self._path, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not _assign_back(self, key, value):
            _do(self, _mutations.dict_set(self._path, key, value, self))

    def __delitem__(self, key: Any) -> None:
        _do(self, _delete_key(key))

    def pop(self, key: Any, /, *fallback: Any) -> Any:
        """Remove the key from the stored dict and return its value, plain."""
        result = _do(self, _mutations.dict_pop(key, fallback))
        return fallback[0] if result is UNCHANGED else result

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last item in key order from the stored dict, and return it."""
        return _do(self, _mutations.call("popitem"))  # type: ignore[no-any-return]  # what popitem returns

    def clear(self) -> None:
        """Remove all items from the stored container."""
        _do(self, _mutations.call("clear"))

    def update(self, *args: Any, **more: Any) -> None:
        """Set these items in the stored dict."""
        _do(self, _mutations.dict_update(self._path, dict(*args, **more), self))

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """Set the key in the stored dict unless it is there; return the value stored then, live."""
        _do(self, _mutations.dict_setdefault(self._path, key, default, self))
        return self[key]

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # dict's | and |= differ too
        return _in_place(self, _mutations.dict_update(self._path, dict(other), self))

    async def asetitem(self, key: Any, value: Any) -> None:
        """Await ``d[key] = value``."""
        await _ado(self, _mutations.dict_set(self._path, key, value, self))

    async def adelitem(self, key: Any) -> None:
        """Await ``del d[key]``."""
        await _ado(self, _delete_key(key))

    async def apop(self, key: Any, /, *fallback: Any) -> Any:
        """Await ``pop``."""
        result = await _ado(self, _mutations.dict_pop(key, fallback))
        return fallback[0] if result is UNCHANGED else result

    async def apopitem(self) -> tuple[Any, Any]:
        """Await ``popitem``."""
        return await _ado(self, _mutations.call("popitem"))  # type: ignore[no-any-return]  # as popitem

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _mutations.call("clear"))

    async def aupdate(self, *args: Any, **more: Any) -> None:
        """Await ``update``."""
        await _ado(self, _mutations.dict_update(self._path, dict(*args, **more), self))

    async def asetdefault(self, key: Any, default: Any = None, /) -> Any:
        """Await ``setdefault``."""
        await _ado(self, _mutations.dict_setdefault(self._path, key, default, self))
        return self[key]

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _delete_key(key: Any) -> Mutation:
    return _mutations.delete_item(key) if type(key) is str else _mutations.call("__delitem__", key)


class LiveList(list[Any]):
    """A list that remembers where it was read."""

    __slots__ = ("_echo", "_path")
    _kind = list
    _path: ValuePath
    _echo: bool

    def __new__(cls, *args: Any) -> list[Any]:  # type: ignore[misc]  # plain
        """Return a plain list: only a map makes live ones."""
        return list(*args)

    def _refresh(self, after: list[Any]) -> None:
        before = list(self)
        list.__setitem__(self, slice(None), after)
        for at, value in enumerate(after):
            if type(value) in _KINDS:
                had = before[at] if at < len(before) else None
                list.__setitem__(self, at, _live(value, self._path.inside(at, at), had))

    def __getitem__(self, at: Any) -> Any:
        value = list.__getitem__(self, at)
        if isinstance(at, slice):
            return value
        return _numbers.element(value, self._path, index(at) % len(self))

    def __setitem__(self, at: Any, value: Any) -> None:
        if isinstance(at, slice):
            _do(self, _mutations.call("__setitem__", at, list(value)))
            return
        at = index(at)
        if -len(self) <= at < len(self) and _assign_back(self, at % len(self), value):
            return
        _do(self, _mutations.list_set(self._path, at, value))

    def __delitem__(self, at: Any) -> None:
        _do(self, _delete_at(at))

    def append(self, item: Any, /) -> None:
        """Append to the stored list."""
        _do(self, _mutations.extend(self._path, "append", [item]))

    def extend(self, items: Iterable[Any], /) -> None:
        """Extend the stored list."""
        _do(self, _mutations.extend(self._path, "extend", list(items)))

    def insert(self, at: Any, item: Any, /) -> None:
        """Insert into the stored list."""
        _do(self, _mutations.call("insert", at, item))

    def remove(self, item: Any, /) -> None:
        """Remove the first such item from the stored list."""
        _do(self, _mutations.call("remove", item))

    def pop(self, at: Any = -1, /) -> Any:
        """Remove an item of the stored list and return it, plain."""
        return _do(self, _mutations.call("pop", at))

    def clear(self) -> None:
        """Remove all items from the stored container."""
        _do(self, _mutations.call("clear"))

    def sort(self, **options: Any) -> None:
        """Sort the stored list; ``key`` may be called several times for an item."""
        _do(self, _mutations.call("sort", **options))

    def reverse(self) -> None:
        """Reverse the stored list."""
        _do(self, _mutations.call("reverse"))

    def __iadd__(self, items: Iterable[Any]) -> Any:  # type: ignore[misc]  # typed as list
        return _in_place(self, _mutations.extend(self._path, "extend", list(items)))

    def __imul__(self, times: Any) -> Any:  # type: ignore[misc]  # typed as list
        return _in_place(self, _mutations.call("__imul__", index(times)))

    async def asetitem(self, at: Any, value: Any) -> None:
        """Await ``l[at] = value``."""
        if isinstance(at, slice):
            await _ado(self, _mutations.call("__setitem__", at, list(value)))
        else:
            await _ado(self, _mutations.list_set(self._path, index(at), value))

    async def adelitem(self, at: Any) -> None:
        """Await ``del l[at]``."""
        await _ado(self, _delete_at(at))

    async def aappend(self, item: Any, /) -> None:
        """Await ``append``."""
        await _ado(self, _mutations.extend(self._path, "append", [item]))

    async def aextend(self, items: Iterable[Any], /) -> None:
        """Await ``extend``."""
        await _ado(self, _mutations.extend(self._path, "extend", list(items)))

    async def ainsert(self, at: Any, item: Any, /) -> None:
        """Await ``insert``."""
        await _ado(self, _mutations.call("insert", at, item))

    async def aremove(self, item: Any, /) -> None:
        """Await ``remove``."""
        await _ado(self, _mutations.call("remove", item))

    async def apop(self, at: Any = -1, /) -> Any:
        """Await ``pop``."""
        return await _ado(self, _mutations.call("pop", at))

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _mutations.call("clear"))

    async def asort(self, **options: Any) -> None:
        """Await ``sort``."""
        await _ado(self, _mutations.call("sort", **options))

    async def areverse(self) -> None:
        """Await ``reverse``."""
        await _ado(self, _mutations.call("reverse"))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return list, (list(self),)


def _delete_at(at: Any) -> Mutation:
    if isinstance(at, slice):
        return _mutations.call("__delitem__", at)
    return _mutations.delete_item(index(at))


class LiveSet(set[Any]):
    """A set that remembers where it was read."""

    __slots__ = ("_echo", "_path")
    _kind = set
    _path: ValuePath
    _echo: bool

    def __new__(cls, *args: Any) -> set[Any]:  # type: ignore[misc]  # plain
        """Return a plain set: only a map makes live ones."""
        return set(*args)

    def _refresh(self, after: set[Any]) -> None:
        set.clear(self)
        set.update(self, after)

    def add(self, member: Any, /) -> None:
        """Add to the stored set."""
        _do(self, _mutations.set_add(self._path, "add", {member}))

    def update(self, *others: Iterable[Any]) -> None:
        """Add all of these to the stored set."""
        _do(self, _mutations.set_add(self._path, "update", set().union(*others)))

    def discard(self, member: Any, /) -> None:
        """Remove the member from the stored set, if it is there."""
        _do(self, _mutations.set_discard(self._path, "discard", {member}))

    def remove(self, member: Any, /) -> None:
        """Remove the member from the stored set; else raise KeyError."""
        _do(self, _mutations.set_remove(self._path, member))

    def pop(self) -> Any:
        """Remove some member from the stored set, and return it."""
        return _do(self, _mutations.call("pop"))

    def clear(self) -> None:
        """Remove all members from the stored set."""
        _do(self, _mutations.call("clear"))

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove all of these from the stored set."""
        _do(
            self,
            _mutations.set_discard(self._path, "difference_update", set().union(*others)),
        )

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep the members that are in all the others, in the stored set."""
        _do(self, _mutations.call("intersection_update", *map(set, others)))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Keep the members that are in one of the two only, in the stored set."""
        _do(self, _mutations.call("symmetric_difference_update", set(other)))

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _mutations.set_add(self._path, "update", set(other)))

    def __isub__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _mutations.set_discard(self._path, "difference_update", set(other)))

    def __iand__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _mutations.call("intersection_update", set(other)))

    def __ixor__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _mutations.call("symmetric_difference_update", set(other)))

    async def aadd(self, member: Any, /) -> None:
        """Await ``add``."""
        await _ado(self, _mutations.set_add(self._path, "add", {member}))

    async def aupdate(self, *others: Iterable[Any]) -> None:
        """Await ``update``."""
        await _ado(self, _mutations.set_add(self._path, "update", set().union(*others)))

    async def adiscard(self, member: Any, /) -> None:
        """Await ``discard``."""
        await _ado(self, _mutations.set_discard(self._path, "discard", {member}))

    async def aremove(self, member: Any, /) -> None:
        """Await ``remove``."""
        await _ado(self, _mutations.set_remove(self._path, member))

    async def apop(self) -> Any:
        """Await ``pop``."""
        return await _ado(self, _mutations.call("pop"))

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _mutations.call("clear"))

    async def adifference_update(self, *others: Iterable[Any]) -> None:
        """Await ``difference_update``."""
        mutation = _mutations.set_discard(self._path, "difference_update", set().union(*others))
        await _ado(self, mutation)

    async def aintersection_update(self, *others: Iterable[Any]) -> None:
        """Await ``intersection_update``."""
        await _ado(self, _mutations.call("intersection_update", *map(set, others)))

    async def asymmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Await ``symmetric_difference_update``."""
        await _ado(self, _mutations.call("symmetric_difference_update", set(other)))

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return set, (set(self),)


_KINDS: dict[type, Any] = {dict: LiveDict, list: LiveList, set: LiveSet, tuple: tuple}
CONTAINERS: frozenset[type] = frozenset({LiveDict, LiveList, LiveSet})
for _kind in (dict, list, set):
    accept(_KINDS[_kind], _kind)


def make_live(value: Any, binding: MapBinding, key: object) -> Any:
    """Return the live container of one that was just read."""
    return _live(value, ValuePath(binding, key), None)


def _live(value: Any, path: ValuePath, had: Any) -> Any:
    """Return a live container: the one that was there before, if of the same kind."""
    kind: Any = type(value)
    if kind is tuple:
        members = enumerate(value)
        return tuple(
            _live(member, path.inside(at, "!tuple", at), None) if type(member) in _KINDS else member
            for at, member in members
        )
    live = _KINDS[kind]
    if type(had) is live:
        made = had
    else:
        made = kind.__new__(live)
        made._echo = False
    made._path = path
    made._refresh(value)
    return made

"""Live containers: a method that changes one is applied to what is stored, atomically.

Dicts, lists and sets that were read from a map, at any depth, also inside tuples. Each
method of Python's that changes the container does so in the store, natively where the store
can and else by compare-and-set, and then shows here what is stored there now: the container
itself is a copy, and reading it costs nothing. Each has an a-twin.

Invariant: the elements are plain numbers and live containers, the latter with spots inside
this one's. What is made of a live container (copies, slices, pickles, what ``|`` and ``+``
return) is plain; its elements are shared as Python shares them.
"""

# ruff: noqa: SLF001  # the functions here are the three classes' methods

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from lpcm.engine.drive import do
from lpcm.live import mutations as _deeds
from lpcm.live import numbers as _numbers
from lpcm.live.location import Deed, Spot, perform
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt
from lpcm.operations.retry import UNCHANGED
from lpcm.values.codec import accept
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.operations.binding import Place

__all__ = ["CONTAINERS", "NUMBERS", "LiveDict", "LiveList", "LiveSet", "echoes", "wake"]

NUMBERS = frozenset({LiveInt, LiveFloat, LiveDecimal})


def _do(live: Any, deed: Deed) -> Any:
    """Do a deed where the container is stored, and show what is there then."""
    spot: Spot = live._spot
    after, result = do(perform, spot.place.use(), spot, (live._kind,), deed)
    live._show(after)
    return result


async def _ado(live: Any, deed: Deed) -> Any:
    """Await the same."""
    spot: Spot = live._spot
    use = spot.place.ause()
    after, result = await use.drive(perform(use, spot, (live._kind,), deed))
    live._show(after)
    return result


def _in_place(live: Any, deed: Deed) -> Any:
    """Do the deed of an operator like ``+=``: Python assigns what it returns once more."""
    _do(live, deed)
    live._echo = True
    return live


def _comes_back(live: Any, at: Any, value: Any) -> bool:
    """Do what ``live[at] = value`` means if the value comes back to where it was read."""
    spot: Spot = live._spot
    path = (*spot.path, at)
    if type(value) in NUMBERS:
        if not _numbers.comes_back(value, spot.place.identity, spot.key, path):
            return False
        with _numbers.spending(value):
            _do(live, _numbers.coming(at, value))
        return True
    return type(value) in CONTAINERS and echoes(value, spot.place.identity, spot.key, path)


def echoes(value: Any, place: tuple[int, str], key: object, path: tuple[Any, ...]) -> bool:
    """Tell whether Python assigns what an operator like ``|=`` has stored already."""
    if value._echo and value._spot.leads_to(place, key, path):
        value._echo = False
        return True
    return False


class LiveDict(dict[Any, Any]):
    """A dict that knows where it was read."""

    __slots__ = ("_echo", "_spot")
    _kind = dict
    _spot: Spot
    _echo: bool

    def __new__(cls, *args: Any, **more: Any) -> dict[Any, Any]:  # type: ignore[misc]  # plain
        """Return a plain dict: only a map makes live ones."""
        return dict(*args, **more)

    def _show(self, after: dict[Any, Any]) -> None:
        before = dict(self)
        dict.clear(self)
        dict.update(self, after)
        named = all(type(key) is str for key in after)
        for key, value in after.items():
            if type(value) in _KINDS:
                spot = self._spot.inside(key, step(key) if named else None)
                dict.__setitem__(self, key, _awake(value, spot, before.get(key)))

    def __getitem__(self, key: Any) -> Any:
        return _numbers.inner(dict.__getitem__(self, key), self._spot, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not _comes_back(self, key, value):
            _do(self, _deeds.dict_set(self._spot, key, value, self))

    def __delitem__(self, key: Any) -> None:
        _do(self, _deeds.drop(key) if type(key) is str else _deeds.call("__delitem__", key))

    def pop(self, key: Any, /, *fallback: Any) -> Any:
        """Remove the key where it is stored and return its value, a plain one."""
        result = _do(self, _deeds.dict_pop(key, fallback))
        return fallback[0] if result is UNCHANGED else result

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last item in key order where it is stored, and return it."""
        return _do(self, _deeds.call("popitem"))  # type: ignore[no-any-return]  # what popitem returns

    def clear(self) -> None:
        """Remove all items where they are stored."""
        _do(self, _deeds.call("clear"))

    def update(self, *args: Any, **more: Any) -> None:
        """Set these items where they are stored."""
        _do(self, _deeds.dict_update(self._spot, dict(*args, **more), self))

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """Set the key where it is stored unless it is there; return what is there then, live."""
        _do(self, _deeds.dict_setdefault(self._spot, key, default, self))
        return self[key]

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # dict's | and |= differ too
        return _in_place(self, _deeds.dict_update(self._spot, dict(other), self))

    async def asetitem(self, key: Any, value: Any) -> None:
        """Await ``d[key] = value``."""
        await _ado(self, _deeds.dict_set(self._spot, key, value, self))

    async def adelitem(self, key: Any) -> None:
        """Await ``del d[key]``."""
        await _ado(self, _deeds.drop(key) if type(key) is str else _deeds.call("__delitem__", key))

    async def apop(self, key: Any, /, *fallback: Any) -> Any:
        """Await ``pop``."""
        result = await _ado(self, _deeds.dict_pop(key, fallback))
        return fallback[0] if result is UNCHANGED else result

    async def apopitem(self) -> tuple[Any, Any]:
        """Await ``popitem``."""
        return await _ado(self, _deeds.call("popitem"))  # type: ignore[no-any-return]  # as popitem

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _deeds.call("clear"))

    async def aupdate(self, *args: Any, **more: Any) -> None:
        """Await ``update``."""
        await _ado(self, _deeds.dict_update(self._spot, dict(*args, **more), self))

    async def asetdefault(self, key: Any, default: Any = None, /) -> Any:
        """Await ``setdefault``."""
        await _ado(self, _deeds.dict_setdefault(self._spot, key, default, self))
        return self[key]

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return dict, (dict(self),)


class LiveList(list[Any]):
    """A list that knows where it was read."""

    __slots__ = ("_echo", "_spot")
    _kind = list
    _spot: Spot
    _echo: bool

    def __new__(cls, *args: Any) -> list[Any]:  # type: ignore[misc]  # plain
        """Return a plain list: only a map makes live ones."""
        return list(*args)

    def _show(self, after: list[Any]) -> None:
        before = list(self)
        list.__setitem__(self, slice(None), after)
        for at, value in enumerate(after):
            if type(value) in _KINDS:
                had = before[at] if at < len(before) else None
                list.__setitem__(self, at, _awake(value, self._spot.inside(at, at), had))

    def __getitem__(self, at: Any) -> Any:
        value = list.__getitem__(self, at)
        if isinstance(at, slice):
            return value
        return _numbers.inner(value, self._spot, index(at) % len(self))

    def __setitem__(self, at: Any, value: Any) -> None:
        if isinstance(at, slice):
            _do(self, _deeds.call("__setitem__", at, list(value)))
            return
        at = index(at)
        if -len(self) <= at < len(self) and _comes_back(self, at % len(self), value):
            return
        _do(self, _deeds.list_set(self._spot, at, value))

    def __delitem__(self, at: Any) -> None:
        _do(self, _delete(at))

    def append(self, item: Any, /) -> None:
        """Append where it is stored."""
        _do(self, _deeds.extend(self._spot, "append", [item]))

    def extend(self, items: Iterable[Any], /) -> None:
        """Extend where it is stored."""
        _do(self, _deeds.extend(self._spot, "extend", list(items)))

    def insert(self, at: Any, item: Any, /) -> None:
        """Insert where it is stored."""
        _do(self, _deeds.call("insert", at, item))

    def remove(self, item: Any, /) -> None:
        """Remove the first such item where it is stored."""
        _do(self, _deeds.call("remove", item))

    def pop(self, at: Any = -1, /) -> Any:
        """Remove an item where it is stored and return it, a plain one."""
        return _do(self, _deeds.call("pop", at))

    def clear(self) -> None:
        """Remove all items where they are stored."""
        _do(self, _deeds.call("clear"))

    def sort(self, **options: Any) -> None:
        """Sort where it is stored; ``key`` is called for what is there, perhaps repeatedly."""
        _do(self, _deeds.call("sort", **options))

    def reverse(self) -> None:
        """Reverse where it is stored."""
        _do(self, _deeds.call("reverse"))

    def __iadd__(self, items: Iterable[Any]) -> Any:  # type: ignore[misc]  # typed as list
        return _in_place(self, _deeds.extend(self._spot, "extend", list(items)))

    def __imul__(self, times: Any) -> Any:  # type: ignore[misc]  # typed as list
        return _in_place(self, _deeds.call("__imul__", index(times)))

    async def asetitem(self, at: Any, value: Any) -> None:
        """Await ``l[at] = value``."""
        if isinstance(at, slice):
            await _ado(self, _deeds.call("__setitem__", at, list(value)))
        else:
            await _ado(self, _deeds.list_set(self._spot, index(at), value))

    async def adelitem(self, at: Any) -> None:
        """Await ``del l[at]``."""
        await _ado(self, _delete(at))

    async def aappend(self, item: Any, /) -> None:
        """Await ``append``."""
        await _ado(self, _deeds.extend(self._spot, "append", [item]))

    async def aextend(self, items: Iterable[Any], /) -> None:
        """Await ``extend``."""
        await _ado(self, _deeds.extend(self._spot, "extend", list(items)))

    async def ainsert(self, at: Any, item: Any, /) -> None:
        """Await ``insert``."""
        await _ado(self, _deeds.call("insert", at, item))

    async def aremove(self, item: Any, /) -> None:
        """Await ``remove``."""
        await _ado(self, _deeds.call("remove", item))

    async def apop(self, at: Any = -1, /) -> Any:
        """Await ``pop``."""
        return await _ado(self, _deeds.call("pop", at))

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _deeds.call("clear"))

    async def asort(self, **options: Any) -> None:
        """Await ``sort``."""
        await _ado(self, _deeds.call("sort", **options))

    async def areverse(self) -> None:
        """Await ``reverse``."""
        await _ado(self, _deeds.call("reverse"))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return list, (list(self),)


def _delete(at: Any) -> Deed:
    return _deeds.call("__delitem__", at) if isinstance(at, slice) else _deeds.drop(index(at))


class LiveSet(set[Any]):
    """A set that knows where it was read."""

    __slots__ = ("_echo", "_spot")
    _kind = set
    _spot: Spot
    _echo: bool

    def __new__(cls, *args: Any) -> set[Any]:  # type: ignore[misc]  # plain
        """Return a plain set: only a map makes live ones."""
        return set(*args)

    def _show(self, after: set[Any]) -> None:
        set.clear(self)
        set.update(self, after)

    def add(self, member: Any, /) -> None:
        """Add where it is stored."""
        _do(self, _deeds.join(self._spot, "add", {member}))

    def update(self, *others: Iterable[Any]) -> None:
        """Add all these where it is stored."""
        _do(self, _deeds.join(self._spot, "update", set().union(*others)))

    def discard(self, member: Any, /) -> None:
        """Take the member away where it is stored, if it is there."""
        _do(self, _deeds.discard(self._spot, member))

    def remove(self, member: Any, /) -> None:
        """Take the member away where it is stored; else raise KeyError."""
        _do(self, _deeds.remove(self._spot, member))

    def pop(self) -> Any:
        """Take some member away where it is stored, and return it."""
        return _do(self, _deeds.call("pop"))

    def clear(self) -> None:
        """Take all members away where it is stored."""
        _do(self, _deeds.call("clear"))

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Take all these away where it is stored."""
        _do(self, _deeds.leave(self._spot, "difference_update", set().union(*others)))

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep what is in all the others, where it is stored."""
        _do(self, _deeds.call("intersection_update", *map(set, others)))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Keep what is in one only, where it is stored."""
        _do(self, _deeds.call("symmetric_difference_update", set(other)))

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _deeds.join(self._spot, "update", set(other)))

    def __isub__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _deeds.leave(self._spot, "difference_update", set(other)))

    def __iand__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _deeds.call("intersection_update", set(other)))

    def __ixor__(self, other: Any) -> Any:  # type: ignore[misc]  # typed as set
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return _in_place(self, _deeds.call("symmetric_difference_update", set(other)))

    async def aadd(self, member: Any, /) -> None:
        """Await ``add``."""
        await _ado(self, _deeds.join(self._spot, "add", {member}))

    async def aupdate(self, *others: Iterable[Any]) -> None:
        """Await ``update``."""
        await _ado(self, _deeds.join(self._spot, "update", set().union(*others)))

    async def adiscard(self, member: Any, /) -> None:
        """Await ``discard``."""
        await _ado(self, _deeds.discard(self._spot, member))

    async def aremove(self, member: Any, /) -> None:
        """Await ``remove``."""
        await _ado(self, _deeds.remove(self._spot, member))

    async def apop(self) -> Any:
        """Await ``pop``."""
        return await _ado(self, _deeds.call("pop"))

    async def aclear(self) -> None:
        """Await ``clear``."""
        await _ado(self, _deeds.call("clear"))

    async def adifference_update(self, *others: Iterable[Any]) -> None:
        """Await ``difference_update``."""
        deed = _deeds.leave(self._spot, "difference_update", set().union(*others))
        await _ado(self, deed)

    async def aintersection_update(self, *others: Iterable[Any]) -> None:
        """Await ``intersection_update``."""
        await _ado(self, _deeds.call("intersection_update", *map(set, others)))

    async def asymmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Await ``symmetric_difference_update``."""
        await _ado(self, _deeds.call("symmetric_difference_update", set(other)))

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return set, (set(self),)


_KINDS: dict[type, Any] = {dict: LiveDict, list: LiveList, set: LiveSet, tuple: tuple}
CONTAINERS: frozenset[type] = frozenset({LiveDict, LiveList, LiveSet})
for _kind in (dict, list, set):
    accept(_KINDS[_kind], _kind)


def wake(value: Any, place: Place, key: object) -> Any:
    """Return a container that was just read live."""
    return _awake(value, Spot(place, key), None)


def _awake(value: Any, spot: Spot, had: Any) -> Any:
    """Return a container live: the one that stood there if it is of the same kind."""
    kind: Any = type(value)
    if kind is tuple:
        members = enumerate(value)
        return tuple(
            _awake(member, spot.inside(at, "!tuple", at), None)
            if type(member) in _KINDS
            else member
            for at, member in members
        )
    live = _KINDS[kind]
    if type(had) is live:
        made = had
    else:
        made = kind.__new__(live)
        made._echo = False
    made._spot = spot
    made._show(value)
    return made

"""Live containers: a method that changes one is applied to the stored container, atomically.

Dicts, lists and sets that were read from a map, at any depth, also inside tuples. Each method
of Python's that changes the container changes the stored one, natively where the store can and
else by compare-and-set. Then the container shows what is stored now: it is a copy, and reading it
sends no request. Those methods, and their a-twins, are made from the tables of ``live.mutations``.

Invariant: the elements are plain numbers and live containers, and the path of an inner container
begins with the path of the outer one. What is made of a live container (copies, slices, pickles,
results of ``|`` and ``+``) is plain; its elements are shared as Python shares them.
"""

# ruff: noqa: SLF001  # the functions here are the three classes' methods

from __future__ import annotations

from decimal import Decimal
from operator import index
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final
from warnings import warn

from lpcm.engine.drive import do
from lpcm.errors import LiveValueWarning, OutcomeUnknown
from lpcm.live import numbers as _numbers
from lpcm.live.location import Mutation, path_of, perform
from lpcm.live.mutations import DictMethods, ListMethods, SetMethods
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt
from lpcm.values.codec import accept
from lpcm.values.path import shown

if TYPE_CHECKING:
    from lpcm.live.location import Link, ValuePath
    from lpcm.operations.binding import MapBinding

__all__ = ["CONTAINERS", "NUMBERS", "LiveDict", "LiveList", "LiveSet", "is_echo", "make_live"]

NUMBERS = frozenset({LiveInt, LiveFloat, LiveDecimal})


def _path(self: Any) -> ValuePath:
    """Return where it is stored; made when that is asked for, which most copies never are."""
    return path_of(self._link)


def _apply(self: Any, mutation: Mutation[Any]) -> Any:
    """Change the stored container; then let the copy show what is stored."""
    if self._seen != self:
        _check(self, 4)
    path: ValuePath = self._path
    after, result = do(perform, path.binding.use(), path, (self._kind,), mutation)
    _MAKERS[self._kind](after, self._link, self)
    return result if mutation.answer is None else mutation.answer(self)


async def _aapply(self: Any, mutation: Mutation[Any]) -> Any:
    if self._seen != self:
        _check(self, 4)
    path: ValuePath = self._path
    use = path.binding.ause()
    after, result = await use.drive(perform(use, path, (self._kind,), mutation))
    _MAKERS[self._kind](after, self._link, self)
    return result if mutation.answer is None else mutation.answer(self)


# C code can change the copy without its methods: ``heapq`` does, and ``list.append(copy, 1)``. Then
# nothing is stored. So each container keeps as ``_seen`` what the store had: the elements, or of a
# long one a sketch of them. Both are compared at the next change, and when the container ends.

_BARE: Final = frozenset({int, float, Decimal})
_LONG: Final = 64
_EXAMPLES: Final = {dict: "exec, dict.update", list: "heapq, list.append", set: "set.add"}
_pending: list[tuple[ValuePath, LiveValueWarning]] = []
"""The last warning that a filter made an error where no error can be raised, in ``__del__``."""


def _check(self: Any, level: int = 3) -> None:
    """Warn if C code has changed the copy, whose ``_seen`` does not equal it."""
    if self._seen == self._sketch():
        return
    self._seen = self._kind(self)
    path: ValuePath = self._path
    kind, key = self._kind.__name__, shown(path.key)
    here = f"m[{key}]{''.join(f'[{shown(at)}]' for at in path.steps)}"
    warn(
        f"the {kind} {here} of map {path.binding.name!r} was changed by code that does not call "
        f"its methods ({_EXAMPLES[self._kind]}); nothing was stored. To change the stored {kind}: "
        f"m.transform({key}, fn). To change a copy: {kind}({here})",
        LiveValueWarning,
        stacklevel=level,
    )


def _end(self: Any) -> None:
    """Warn, as ``__del__``, if C code has changed the copy."""
    try:
        if self._seen == self:
            return
    except AttributeError:  # its elements could not be made live
        return
    try:
        _check(self)
    except LiveValueWarning as error:
        _pending[:] = [(self._path, error.with_traceback(None))]
        raise  # Python reports an error in ``__del__``, and goes on


def _raise_pending(binding: MapBinding, key: object) -> None:
    """Raise the pending warning if it is of this entry, so that a loop ends."""
    for path, error in _pending[:]:
        if path.leads_to(binding.identity, key, path.steps):
            _pending.clear()
            raise error


def _methods_of(table: Any) -> dict[str, Any]:
    """Return the methods that a table describes, their a-twins, and the in-place operators."""
    made: dict[str, Any] = {}
    for name, make in vars(table).items():
        if isinstance(make, FunctionType) and name not in table.operators:
            made[name] = _named(name, _blocking(make), make, make.__doc__)
            twin = f"a{name.strip('_')}"
            made[twin] = _named(twin, _awaitable(make), make, f"Await ``{name}``.")
    for name, function in table.operators.items():
        make = getattr(table, function)
        made[name] = _named(name, _in_place(make, table.operands), make, make.__doc__)
    return made


def _blocking(make: Any) -> Any:
    def method(self: Any, /, *args: Any, **options: Any) -> Any:
        return _apply(self, make(self, *args, **options))

    return method


def _awaitable(make: Any) -> Any:
    async def twin(self: Any, /, *args: Any, **options: Any) -> Any:
        return await _aapply(self, make(self, *args, **options))

    return twin


def _in_place(make: Any, operands: Any) -> Any:
    def operator(self: Any, other: Any, /) -> Any:
        if not isinstance(other, operands):
            return NotImplemented
        _apply(self, make(self, other))
        self._echo = True  # Python assigns the result once more
        return self

    return operator


def _named(name: str, method: Any, make: Any, text: str | None) -> Any:
    """Return the method, of which ``help`` and ``inspect.signature`` show what the table says."""
    method.__name__ = name
    method.__qualname__ = f"Live{make.__qualname__.partition('Methods')[0]}.{name}"
    method.__doc__ = text
    method.__wrapped__ = make
    shown = make.__annotations__
    shown.pop("self", None)
    if shown["return"].startswith("Mutation["):
        shown["return"] = shown["return"][len("Mutation[") : -1]
    return method


def _assign_back(self: Any, at: Any, value: Any) -> bool:
    """Apply ``self[at] = value`` if the value was read from ``self[at]``; tell whether it was."""
    path: ValuePath = self._path
    steps = (*path.steps, at)
    if type(value) in NUMBERS:
        if not _numbers.returns_to(value, path.binding.identity, path.key, steps):
            return False
        try:
            value._ticket.used = True
            _apply(self, _numbers.mutation(at, value))
        except BaseException as error:
            value._ticket.used = isinstance(error, OutcomeUnknown)
            raise
        return True
    return type(value) in CONTAINERS and is_echo(value, path.binding.identity, path.key, steps)


def is_echo(value: Any, identity: tuple[int, str], key: object, steps: tuple[Any, ...]) -> bool:
    """Tell whether this assignment follows an operator like ``|=``, which has stored already."""
    if hasattr(value, "_echo") and value._path.leads_to(identity, key, steps):
        del value._echo
        return True
    return False


class LiveDict(dict[Any, Any]):
    """A dict that remembers where it was read."""

    __slots__ = ("_echo", "_link", "_seen")
    vars().update(_methods_of(DictMethods))
    _kind = dict
    _link: Link
    _path = property(_path)
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any, **more: Any) -> dict[Any, Any]:  # type: ignore[misc]  # plain
        """Return a plain dict: only a map makes live ones."""
        return dict(*args, **more)

    def _sketch(self) -> Any:
        return len(self), next(reversed(self.items()), None)

    def __getitem__(self, key: Any) -> Any:
        value = dict.__getitem__(self, key)
        return value if type(value) not in _BARE else _numbers.element(value, self._path, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not _assign_back(self, key, value):
            _apply(self, DictMethods.__setitem__(self, key, value))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return dict, (dict(self),)


class LiveList(list[Any]):
    """A list that remembers where it was read."""

    __slots__ = ("_echo", "_link", "_seen")
    vars().update(_methods_of(ListMethods))
    _kind = list
    _link: Link
    _path = property(_path)
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any) -> list[Any]:  # type: ignore[misc]  # plain
        """Return a plain list: only a map makes live ones."""
        return list(*args)

    def _sketch(self) -> Any:
        return len(self), *list.__getitem__(self, slice(None, None, max(1, len(self) - 1)))

    def __getitem__(self, at: Any) -> Any:
        value = list.__getitem__(self, at)
        if type(value) not in _BARE:
            return value
        return _numbers.element(value, self._path, index(at) % len(self))

    def __setitem__(self, at: Any, value: Any) -> None:
        if not isinstance(at, slice):
            at = index(at)
            if -len(self) <= at < len(self) and _assign_back(self, at % len(self), value):
                return
        _apply(self, ListMethods.__setitem__(self, at, value))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return list, (list(self),)


class LiveSet(set[Any]):
    """A set that remembers where it was read."""

    __slots__ = ("_echo", "_link", "_seen")
    vars().update(_methods_of(SetMethods))
    _kind = set
    _link: Link
    _path = property(_path)
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any) -> set[Any]:  # type: ignore[misc]  # plain
        """Return a plain set: only a map makes live ones."""
        return set(*args)

    def _sketch(self) -> Any:
        return (len(self),)

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return set, (set(self),)


_KINDS: dict[type, Any] = {dict: LiveDict, list: LiveList, set: LiveSet, tuple: tuple}
CONTAINERS: frozenset[type] = frozenset({LiveDict, LiveList, LiveSet})
for _kind in (dict, list, set):
    accept(_KINDS[_kind], _kind)


def make_live(value: Any, binding: MapBinding, key: object) -> Any:
    """Return the live container of one that was just read; the plain one stays as it is."""
    if _pending:
        _raise_pending(binding, key)
    return _MAKERS[type(value)](value, (binding, key), None)


# Each makes the live container of a plain one: a new one, or ``had``, which shows the plain one's
# elements then. One function each, and loops of Python: every read of a record runs them.

_NAMES: Final = frozenset({str})


def _dict(value: dict[Any, Any], link: Link, had: LiveDict | None) -> Any:
    seen = value.copy()
    named: type | None = tuple  # not known yet
    for key, part in value.items():
        if type(part) in _KINDS:
            if named is tuple:
                named = dict if _NAMES.issuperset(map(type, value)) else None
            if had is None:
                seen[key] = _MAKERS[type(part)](part, (link, key, named), None)
            else:
                seen[key] = _again(part, (link, key, named), dict.get(had, key))
    made: Any = had
    if had is None:
        made = dict.__new__(LiveDict)
        made._link = link
    else:
        dict.clear(made)
    dict.update(made, seen)
    made._seen = seen if len(seen) <= _LONG else made._sketch()
    return made


def _list(value: list[Any], link: Link, had: LiveList | None) -> Any:
    seen = value.copy()
    for at, part in enumerate(value):
        if type(part) in _KINDS:
            if had is None:
                seen[at] = _MAKERS[type(part)](part, (link, at, list), None)
            else:
                before = list.__getitem__(had, at) if at < len(had) else None
                seen[at] = _again(part, (link, at, list), before)
    made: Any = had
    if had is None:
        made = list.__new__(LiveList)
        made._link = link
    list.__init__(made, seen)
    made._seen = seen if len(seen) <= _LONG else made._sketch()
    return made


def _set(value: set[Any], link: Link, had: LiveSet | None) -> Any:
    made: Any = had
    if had is None:
        made = set.__new__(LiveSet)
        made._link = link
    else:
        set.clear(made)
    set.update(made, value)
    made._seen = value.copy() if len(value) <= _LONG else made._sketch()
    return made


def _tuple(value: tuple[Any, ...], link: Link, _: None) -> Any:
    return tuple(
        _MAKERS[type(part)](part, (link, at, tuple), None) if type(part) in _KINDS else part
        for at, part in enumerate(value)
    )


_MAKERS: Final[dict[type, Any]] = {dict: _dict, list: _list, set: _set, tuple: _tuple}


def _again(value: Any, link: Link, had: Any) -> Any:
    """Return the live container: the one that was there before, if of the same kind."""
    kind = type(value)
    if kind is tuple or type(had) is not _KINDS[kind]:
        return _MAKERS[kind](value, link, None)
    if had._seen != had:
        _check(had)
    had._link = link
    return _MAKERS[kind](value, link, had)

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

from operator import index
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final
from warnings import warn

from lpcm.engine.drive import do
from lpcm.errors import LiveValueWarning, OutcomeUnknown
from lpcm.live import numbers as _numbers
from lpcm.live.location import Mutation, ValuePath, perform
from lpcm.live.mutations import DictMethods, ListMethods, SetMethods
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt
from lpcm.values.codec import accept
from lpcm.values.path import shown, step

if TYPE_CHECKING:
    from lpcm.operations.binding import MapBinding

__all__ = ["CONTAINERS", "NUMBERS", "LiveDict", "LiveList", "LiveSet", "is_echo", "make_live"]

NUMBERS = frozenset({LiveInt, LiveFloat, LiveDecimal})


def _apply(self: Any, mutation: Mutation[Any]) -> Any:
    """Change the stored container; then let the copy show what is stored."""
    if self._seen != self:
        _check(self, 4)
    path: ValuePath = self._path
    after, result = do(perform, path.binding.use(), path, (self._kind,), mutation)
    self._refresh(after)
    return result if mutation.answer is None else mutation.answer(self)


async def _aapply(self: Any, mutation: Mutation[Any]) -> Any:
    if self._seen != self:
        _check(self, 4)
    path: ValuePath = self._path
    use = path.binding.ause()
    after, result = await use.drive(perform(use, path, (self._kind,), mutation))
    self._refresh(after)
    return result if mutation.answer is None else mutation.answer(self)


# C code can change the copy without its methods: ``heapq`` does, and ``list.append(copy, 1)``. Then
# nothing is stored. So each container keeps as ``_seen`` what the store had: the elements, or of a
# long one a sketch of them. Both are compared at the next change, and when the container ends.

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
    if value._echo and value._path.leads_to(identity, key, steps):
        value._echo = False
        return True
    return False


class LiveDict(dict[Any, Any]):
    """A dict that remembers where it was read."""

    __slots__ = ("_echo", "_path", "_seen")
    vars().update(_methods_of(DictMethods))
    _kind = dict
    _path: ValuePath
    _echo: bool
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any, **more: Any) -> dict[Any, Any]:  # type: ignore[misc]  # plain
        """Return a plain dict: only a map makes live ones."""
        return dict(*args, **more)

    def _refresh(self, after: dict[Any, Any]) -> None:
        after = after.copy()
        if not _INNER.isdisjoint(map(type, after.values())):
            named = {str}.issuperset(map(type, after))
            for key, value in after.items():
                if type(value) in _KINDS:
                    path = self._path.inside(key, step(key) if named else None)
                    after[key] = _live(value, path, dict.get(self, key))
        dict.clear(self)
        dict.update(self, after)
        self._seen = after if len(after) <= _LONG else self._sketch()

    def _sketch(self) -> Any:
        return len(self), next(reversed(self.items()), None)

    def __getitem__(self, key: Any) -> Any:
        return _numbers.element(dict.__getitem__(self, key), self._path, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not _assign_back(self, key, value):
            _apply(self, DictMethods.__setitem__(self, key, value))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return dict, (dict(self),)


class LiveList(list[Any]):
    """A list that remembers where it was read."""

    __slots__ = ("_echo", "_path", "_seen")
    vars().update(_methods_of(ListMethods))
    _kind = list
    _path: ValuePath
    _echo: bool
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any) -> list[Any]:  # type: ignore[misc]  # plain
        """Return a plain list: only a map makes live ones."""
        return list(*args)

    def _refresh(self, after: list[Any]) -> None:
        after = after.copy()
        if not _INNER.isdisjoint(map(type, after)):
            before = list(self)
            for at, value in enumerate(after):
                if type(value) in _KINDS:
                    had = before[at] if at < len(before) else None
                    after[at] = _live(value, self._path.inside(at, at), had)
        list.__init__(self, after)
        self._seen = after if len(after) <= _LONG else self._sketch()

    def _sketch(self) -> Any:
        return len(self), *list.__getitem__(self, slice(None, None, max(1, len(self) - 1)))

    def __getitem__(self, at: Any) -> Any:
        value = list.__getitem__(self, at)
        if isinstance(at, slice):
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

    __slots__ = ("_echo", "_path", "_seen")
    vars().update(_methods_of(SetMethods))
    _kind = set
    _path: ValuePath
    _echo: bool
    _seen: Any
    __del__ = _end

    def __new__(cls, *args: Any) -> set[Any]:  # type: ignore[misc]  # plain
        """Return a plain set: only a map makes live ones."""
        return set(*args)

    def _refresh(self, after: set[Any]) -> None:
        set.clear(self)
        set.update(self, after)
        self._seen = after.copy() if len(after) <= _LONG else self._sketch()

    def _sketch(self) -> Any:
        return (len(self),)

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return set, (set(self),)


_INNER: Final = frozenset({dict, list, set, tuple})
_KINDS: dict[type, Any] = {dict: LiveDict, list: LiveList, set: LiveSet, tuple: tuple}
CONTAINERS: frozenset[type] = frozenset({LiveDict, LiveList, LiveSet})
for _kind in (dict, list, set):
    accept(_KINDS[_kind], _kind)


def make_live(value: Any, binding: MapBinding, key: object) -> Any:
    """Return the live container of one that was just read."""
    if _pending:
        _raise_pending(binding, key)
    # ValuePath's own constructor takes twice as long.
    return _live(value, tuple.__new__(ValuePath, (binding, key, (), ())), None)


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
        if made._seen != made:
            _check(made)
    else:
        made = kind.__new__(live)
        made._echo = False
    made._path = path
    made._refresh(value)
    return made

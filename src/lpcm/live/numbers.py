"""Live numbers: ``m[k] += n`` adds n to the stored number, whatever others add meanwhile.

An int, float or Decimal that was read by subscripting remembers where. ``+=`` and ``-=`` make a
number that also remembers the sum added so far. Its first assignment back to the place it was read
from adds that sum to the number stored then. The other operators, ``*=`` and so on, make a number
that remembers the operations so far; its first assignment back applies those to the number stored
then. Every other use is the plain number's.

Invariant: a sum is added once, and operations are applied once. The numbers made from one read
share a *ticket*. The first assignment uses the ticket; where nothing was written, it gives the
ticket back.
"""

# ruff: noqa: SLF001  # the functions here are the three classes' methods

from __future__ import annotations

import operator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lpcm.engine.drive import do
from lpcm.errors import OutcomeUnknown
from lpcm.live.location import Mutation, ValuePath, perform
from lpcm.ports import Sum
from lpcm.values.arithmetic import add, check_delta, negate
from lpcm.values.codec import accept
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.binding import MapBinding
    from lpcm.operations.operations import Entries

__all__ = [
    "LiveDecimal",
    "LiveFloat",
    "LiveInt",
    "apply_to_entry",
    "element",
    "mutation",
    "returns_to",
]


def _plain(value: Any) -> Any:
    """Return a number as an instance of Python's own class."""
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return Decimal(value)


class Ticket:
    """The right to store what was done to a number: of its first assignment back alone.

    The assignment sets ``used``, and clears it where an error says that nothing was written.
    """

    used = False


def _derived(number: Any, value: Any) -> Any:
    """Return a live number of that value that was read where this number was, with its ticket."""
    kind: Any = type(value)
    made = kind.__new__(_CLASSES[kind], value)
    made._binding, made._key = number._binding, number._key
    made._container, made._at = number._container, number._at
    if number._ticket is None:
        number._ticket = Ticket()
    made._ticket = number._ticket
    return made


def _operator(operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the method of an operator other than ``+=`` and ``-=``."""

    def operated(self: Any, other: Any, /) -> Any:
        if not isinstance(other, (int, float, Decimal)):
            # A list times a number, and operators that other classes define.
            return operate(_plain(self), other)
        other = _plain(other)
        result = operate(_plain(self), other)
        if type(result) not in _CLASSES:
            return result
        made = _derived(self, result)
        before = () if self._sum is None else ((add, self._sum),)
        made._operations = (*(self._operations or before), (operate, other))
        return made

    return operated


_OPERATORS: dict[str, Any] = {
    name: _operator(getattr(operator, f"__{name}__"))
    for name in (
        *("mul", "truediv", "floordiv", "mod", "pow"),
        *("lshift", "rshift", "and", "or", "xor"),
    )
}
"""The operators, other than ``+=`` and ``-=``, that change a number in place."""


class _Number:
    """What the three classes share. It is copied into each: a base class slows every read."""

    _binding: MapBinding
    _key: object
    _container: ValuePath | None = None
    """The path of the container that holds the number; None: it is the entry's value."""
    _at: Any = None
    """Its key or index in that container."""
    _sum: Any = None
    """The sum added since it was read."""
    _operations: tuple[tuple[Callable[[Any, Any], Any], Any], ...] | None = None
    """Where other operators were applied: the functions and their operands."""
    _ticket: Ticket | None = None

    def __iadd__(self: Any, other: Any, /) -> Any:
        """Return the sum as a live number that remembers what was added."""
        if not isinstance(other, (int, float, Decimal)):
            return NotImplemented
        if type(other) not in _CLASSES:
            other = _plain(other)
        made = _derived(self, add(self, other))  # a plain number: Python's own ``+``
        if self._operations is not None:
            made._operations = (*self._operations, (add, other))
        else:
            made._sum = other if self._sum is None else add(self._sum, other)
        return made

    def __isub__(self: Any, other: Any, /) -> Any:
        if not isinstance(other, (int, float, Decimal)):
            return NotImplemented
        return self.__iadd__(negate(_plain(other)))

    def increment(self: Any, delta: Any = 1) -> Any:
        """Add to the stored number, atomically, and return the new value, a plain number.

        **Raises** KeyError when the entry is gone and the map has no default; TypeError when
        the stored value is no number any more.
        """
        return do(_add_to_stored, self._binding.use(), self, delta)

    def decrement(self: Any, delta: Any = 1) -> Any:
        """Subtract from the stored number; else like ``increment``."""
        return do(_add_to_stored, self._binding.use(), self, negate(delta))

    async def aincrement(self: Any, delta: Any = 1) -> Any:
        """Await ``increment``."""
        use = self._binding.ause()
        return await use.drive(_add_to_stored(use, self, delta))

    async def adecrement(self: Any, delta: Any = 1) -> Any:
        """Await ``decrement``."""
        use = self._binding.ause()
        return await use.drive(_add_to_stored(use, self, negate(delta)))


def _methods(kind: Any) -> dict[str, Any]:
    """Return what the live class of one of Python's own has beyond it."""

    def new(_: object, *args: Any) -> Any:
        """Return a plain number: only a map makes live ones."""
        return kind(*args)

    made = {
        name: item
        for name, item in vars(_Number).items()
        if name in {"__iadd__", "__isub__"} or not name.startswith("__")
    }
    for name, method in _OPERATORS.items():
        if hasattr(kind, f"__{name}__"):
            made[f"__i{name}__"] = method
    return {**made, "__new__": new}


class LiveInt(int):
    """An int that remembers where it was read."""

    vars().update(_methods(int))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return int, (int(self),)


class LiveFloat(float):
    """A float that remembers where it was read."""

    vars().update(_methods(float))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return float, (float(self),)


class LiveDecimal(Decimal):
    """A Decimal that remembers where it was read."""

    vars().update(_methods(Decimal))

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return Decimal, (str(self),)

    def __copy__(self) -> Decimal:  # type: ignore[override]  # plain
        return Decimal(self)

    def __deepcopy__(self, _: object, /) -> Decimal:  # type: ignore[override]  # plain
        return Decimal(self)

    def __repr__(self) -> str:
        return repr(Decimal(self))


_CLASSES: dict[type, Any] = {int: LiveInt, float: LiveFloat, Decimal: LiveDecimal}
for _kind, _class in _CLASSES.items():
    accept(_class, _kind)


def element(value: Any, path: ValuePath, at: Any) -> Any:
    """Return a number of the container at that path live."""
    kind: Any = type(value)
    live = kind.__new__(_CLASSES[kind], value)
    live._binding, live._key, live._container, live._at = path.binding, path.key, path, at
    return live


def returns_to(value: Any, identity: tuple[int, str], key: object, steps: tuple[Any, ...]) -> bool:
    """Tell whether this is a changed number's first assignment back to where it was read."""
    if value._sum is None and value._operations is None:
        return False
    if value._ticket.used or value._binding.identity != identity:
        return False
    if not (value._key is key or value._key == key):
        return False
    own = () if value._container is None else (*value._container.steps, value._at)
    return bool(own == steps)


def apply_to_entry(value: Any, use: Entries) -> None:
    """Add the sum to the entry it was read from, or apply the operations to it."""
    try:  # not a context manager: two calls more for each ``+=``
        value._ticket.used = True
        if value._operations is None:
            do(use.increment_existing, value._key, value._sum)
        else:
            do(use.transform, value._key, _applying(value._operations))
    except BaseException as error:
        value._ticket.used = isinstance(error, OutcomeUnknown)
        raise


def _applying(operations: Any) -> Callable[[Any], Any]:
    """Return a function that applies these operations to a number; TypeError for anything else."""

    def apply(number: Any) -> Any:
        for operate, operand in operations:
            if not isinstance(number, (int, float, Decimal)):
                raise TypeError(f"cannot change a {type(number).__name__} as a number")
            number = operate(number, operand)
        return number

    return apply


def mutation(at: Any, value: Any) -> Mutation[None]:
    """Return the mutation of a changed number's assignment back to its key or index."""
    if value._operations is None:
        return _addition(at, value._sum)
    applied = _applying(value._operations)

    def change(container: Any) -> None:
        container[at] = applied(container[at])

    return Mutation("__setitem__", change)


def _addition(at: Any, delta: Any) -> Mutation[None]:
    """Return the mutation that adds to the number at a key or index of a container."""

    def change(container: Any) -> None:
        container[at] = add(container[at], delta)

    name = at if type(at) is int and at >= 0 else step(at)
    if type(delta) is not int or name is None:
        return Mutation("__setitem__", change)
    return Mutation("__setitem__", change, Sum(delta), (name,))


async def _add_to_stored(use: Entries, value: Any, delta: Any) -> Any:
    """Add to the stored number where this one was read; return the new value."""
    check_delta(delta)
    delta = _plain(delta)
    if value._container is None:
        return await use.increment_existing(value._key, delta)
    container, _ = await perform(use, value._container, (dict, list), _addition(value._at, delta))
    return container[value._at]

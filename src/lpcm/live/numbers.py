"""Live numbers: ``m[k] += n`` adds n to what is stored, whoever else does.

An int, float or Decimal that was read by subscripting remembers where. ``+=`` and ``-=``
make a number that remembers the sum so far as well; the first assignment of it back to the
same spot adds that sum to what is stored then. The other operators, ``*=`` and so on, make one
that remembers the steps so far, which are then taken from what is stored. Every other use is the
plain number's.

Invariant: a sum is added once, and steps are taken once. Numbers made from one read share a
*ticket*, which the first assignment takes; where nothing was written, the ticket is given back.
"""

# ruff: noqa: SLF001  # the functions here are the three classes' methods

from __future__ import annotations

import operator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lpcm.engine.drive import do
from lpcm.errors import OutcomeUnknown
from lpcm.live.location import Deed, Spot, perform
from lpcm.ports import Sum
from lpcm.values.arithmetic import add, check_delta, negate
from lpcm.values.codec import accept
from lpcm.values.path import step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lpcm.operations.binding import Place
    from lpcm.operations.operations import Entries

__all__ = [
    "LiveDecimal",
    "LiveFloat",
    "LiveInt",
    "comes_back",
    "coming",
    "inner",
    "settle",
    "spending",
]


def _plain(value: Any) -> Any:
    """Return a number as one of Python's own: whatever its class adds is gone."""
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return Decimal(value)


def _plus(self: Any, delta: Any) -> Any:
    """Return the sum as Python has it, and where it belongs."""
    if not isinstance(delta, (int, float, Decimal)):
        return NotImplemented
    delta = _plain(delta)
    total = add(_plain(self), delta)
    kind: Any = type(total)
    made = kind.__new__(_CLASSES[kind], total)
    made._place, made._key, made._spot, made._at = self._place, self._key, self._spot, self._at
    if self._ticket is None:
        self._ticket = [True]
    made._ticket = self._ticket
    if self._steps is not None:
        made._steps = (*self._steps, (add, delta))
    else:
        made._sum = delta if self._sum is None else add(self._sum, delta)
    return made


def _stepping(operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the method of an operator that is no sum."""

    def operated(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float, Decimal)):
            return operate(_plain(self), other)  # a list times a number, and what others define
        other = _plain(other)
        result = operate(_plain(self), other)
        kind: Any = type(result)
        if kind not in _CLASSES:
            return result
        made = kind.__new__(_CLASSES[kind], result)
        made._place, made._key, made._spot, made._at = self._place, self._key, self._spot, self._at
        if self._ticket is None:
            self._ticket = [True]
        made._ticket = self._ticket
        before = () if self._sum is None else ((add, self._sum),)
        made._steps = (*(self._steps or before), (operate, other))
        return made

    return operated


_multiply, _divide, _floor, _modulo, _power = map(
    _stepping, (operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow)
)
_left, _right, _and, _or, _xor = map(
    _stepping, (operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor)
)


def _minus(self: Any, delta: Any) -> Any:
    if not isinstance(delta, (int, float, Decimal)):
        return NotImplemented
    return _plus(self, negate(_plain(delta)))


def _increment(self: Any, delta: Any = 1) -> Any:
    """Add to what is stored, atomically, and return the new value, a plain number.

    **Raises** KeyError when the entry is gone and the map has no default; TypeError when
    what is there is no number by now.
    """
    return do(_grow, self._place.use(), self, delta)


def _decrement(self: Any, delta: Any = 1) -> Any:
    """Subtract from what is stored; else like ``increment``."""
    return do(_grow, self._place.use(), self, negate(delta))


async def _aincrement(self: Any, delta: Any = 1) -> Any:
    """Await ``increment``."""
    use = self._place.ause()
    return await use.drive(_grow(use, self, delta))


async def _adecrement(self: Any, delta: Any = 1) -> Any:
    """Await ``decrement``."""
    use = self._place.ause()
    return await use.drive(_grow(use, self, negate(delta)))


# Three times the same body: a class between these and Python's own would slow every read.
class LiveInt(int):
    """An int that knows where it was read."""

    _place: Place
    _key: object
    _spot: Spot | None = None
    """The container it stands in; None: it is the entry's value."""
    _at: Any = None
    """Its key or index there."""
    _sum: Any = None
    """What was added since it was read."""
    _steps: tuple[tuple[Callable[[Any, Any], Any], Any], ...] | None = None
    """What was done to it instead, where that is no sum: functions and what they were given."""
    _ticket: list[bool] | None = None

    def __new__(cls, value: Any = 0, /) -> int:  # type: ignore[misc]  # plain
        """Return a plain number: only a map makes live ones."""
        return int(value)

    __iadd__ = _plus
    __isub__ = _minus
    __imul__, __itruediv__, __ifloordiv__ = _multiply, _divide, _floor
    __imod__, __ipow__ = _modulo, _power
    __ilshift__, __irshift__ = _left, _right
    __iand__, __ior__, __ixor__ = _and, _or, _xor
    increment, decrement = _increment, _decrement
    aincrement, adecrement = _aincrement, _adecrement

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return int, (int(self),)


class LiveFloat(float):
    """A float that knows where it was read."""

    _place: Place
    _key: object
    _spot: Spot | None = None
    _at: Any = None
    _sum: Any = None
    _steps: tuple[tuple[Callable[[Any, Any], Any], Any], ...] | None = None
    _ticket: list[bool] | None = None

    def __new__(cls, value: Any = 0.0, /) -> float:  # type: ignore[misc]  # plain
        """Return a plain number: only a map makes live ones."""
        return float(value)

    __iadd__ = _plus
    __isub__ = _minus
    __imul__, __itruediv__, __ifloordiv__ = _multiply, _divide, _floor
    __imod__, __ipow__ = _modulo, _power
    increment, decrement = _increment, _decrement
    aincrement, adecrement = _aincrement, _adecrement

    def __reduce_ex__(self, _: object, /) -> tuple[Any, ...]:
        return float, (float(self),)


class LiveDecimal(Decimal):
    """A Decimal that knows where it was read."""

    _place: Place
    _key: object
    _spot: Spot | None = None
    _at: Any = None
    _sum: Any = None
    _steps: tuple[tuple[Callable[[Any, Any], Any], Any], ...] | None = None
    _ticket: list[bool] | None = None

    def __new__(cls, value: Any = "0", context: Any = None) -> Decimal:  # type: ignore[misc]  # plain
        """Return a plain number: only a map makes live ones."""
        return Decimal(value, context)

    __iadd__ = _plus
    __isub__ = _minus
    __imul__, __itruediv__, __ifloordiv__ = _multiply, _divide, _floor
    __imod__, __ipow__ = _modulo, _power
    increment, decrement = _increment, _decrement
    aincrement, adecrement = _aincrement, _adecrement

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


def inner(value: Any, spot: Spot, at: Any) -> Any:
    """Return a number of the container at that spot live, anything else as it is."""
    kind: Any = type(value)
    made = _CLASSES.get(kind)
    if made is None:
        return value
    live = kind.__new__(made, value)
    live._place, live._key, live._spot, live._at = spot.place, spot.key, spot, at
    return live


def comes_back(value: Any, place: tuple[int, str], key: object, path: tuple[Any, ...]) -> bool:
    """Tell whether this is the first assignment of a sum or of steps back to where it was read."""
    if value._sum is None and value._steps is None:
        return False
    if not value._ticket[0] or value._place.identity != place:
        return False
    if not (value._key is key or value._key == key):
        return False
    at = () if value._spot is None else (*value._spot.path, value._at)
    return bool(at == path)


@contextmanager
def spending(value: Any) -> Generator[None, None, None]:
    """Take the number's ticket; give it back if nothing was written."""
    ticket = value._ticket
    ticket[0] = False
    try:
        yield
    except OutcomeUnknown:
        raise
    except BaseException:
        ticket[0] = True
        raise


def settle(value: Any, use: Entries) -> None:
    """Add the sum to the entry it was read from, or take the steps there."""
    with spending(value):
        if value._steps is None:
            do(use.grow, value._key, value._sum)
        else:
            do(use.transform, value._key, _taking(value._steps))


def _taking(steps: Any) -> Callable[[Any], Any]:
    """Return what takes these steps from a number; TypeError if it is none."""

    def take(number: Any) -> Any:
        for operate, operand in steps:
            if not isinstance(number, (int, float, Decimal)):
                raise TypeError(f"cannot change a {type(number).__name__} as a number")
            number = operate(number, operand)
        return number

    return take


def coming(at: Any, value: Any) -> Deed:
    """Return the deed that a number means that comes back to a key or index of a container."""
    if value._steps is None:
        return adding(at, value._sum)
    take = _taking(value._steps)

    def change(container: Any) -> None:
        container[at] = take(container[at])

    return Deed("__setitem__", change)


def adding(at: Any, delta: Any) -> Deed:
    """Return the deed that adds to the number at a key or index of a container."""

    def change(container: Any) -> None:
        container[at] = add(container[at], delta)

    name = at if type(at) is int and at >= 0 else step(at)
    if type(delta) is not int or name is None:
        return Deed("__setitem__", change)
    return Deed("__setitem__", change, Sum(delta), (name,))


async def _grow(use: Entries, value: Any, delta: Any) -> Any:
    """Add to what is stored where a number was read; return the new value."""
    check_delta(delta)
    delta = _plain(delta)
    if value._spot is None:
        return await use.grow(value._key, delta)
    container, _ = await perform(use, value._spot, (dict, list), adding(value._at, delta))
    return container[value._at]

"""Live values: what a map returns knows where it came from, and changes are made there.

Numbers (``live.numbers``) and containers (``live.containers``) are subclasses of Python's own that
remember where they were read. This module says which values become live and how they are
made, and what it means to assign one to a key of a map.

Invariant: a live value is the plain value it was read as, to equality, hash, repr, copy,
pickle and the codec; only changing it, or assigning it back where it came from, differs.
"""

# ruff: noqa: SLF001  # a live value's memory is its own and this module's

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lpcm.live.containers import CONTAINERS, NUMBERS, echoes, wake
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt, comes_back, settle

if TYPE_CHECKING:
    from lpcm.operations.operations import Entries
    from lpcm.operations.options import Waker, Wakers

__all__ = ["ASLEEP", "AWAKE", "TYPES", "returns"]

TYPES: Final = NUMBERS | CONTAINERS


# Not by one function for all: these are on the path of every read.
def _int(value: int, place: Any, key: object) -> Any:
    number: Any = int.__new__(LiveInt, value)
    number._place = place
    number._key = key
    return number


def _float(value: float, place: Any, key: object) -> Any:
    number: Any = float.__new__(LiveFloat, value)
    number._place = place
    number._key = key
    return number


def _decimal(value: Decimal, place: Any, key: object) -> Any:
    number: Any = Decimal.__new__(LiveDecimal, value)
    number._place = place
    number._key = key
    return number


_CONTAINERS: dict[type, Waker] = dict.fromkeys((dict, list, set, tuple), wake)
AWAKE: Final[Wakers] = (
    _CONTAINERS,
    {**_CONTAINERS, int: _int, float: _float, Decimal: _decimal},
)
ASLEEP: Final[Wakers] = ({}, {})


def returns(value: Any, use: Entries, key: object) -> bool:
    """Do what ``m[key] = value`` means where a live value comes back; else do nothing.

    A sum is added to what is stored, what ``*=`` did to a number is done to that; what an operator
    like ``|=`` made of a container is stored already.
    """
    if type(value) in NUMBERS:
        if not comes_back(value, use.identity, key, ()):
            return False
        settle(value, use)
        return True
    return echoes(value, use.identity, key, ())

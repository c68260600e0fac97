"""Live values: a value of a map remembers where it was read, and is changed there.

Numbers (``live.numbers``) and containers (``live.containers``) are subclasses of Python's own that
remember where they were read. This module says which values become live, makes the live numbers,
and decides what assigning a live value to a key of a map does.

Invariant: a live value equals the plain value it was read as, and has its hash, repr, copy, pickle
and encoding. It differs when it is changed, or assigned back to where it was read.
"""

# ruff: noqa: SLF001  # what a live value remembers is private to this package

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lpcm.live.containers import CONTAINERS, NUMBERS, is_echo, make_live
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt, apply_to_entry, returns_to

if TYPE_CHECKING:
    from lpcm.operations.operations import Entries
    from lpcm.operations.options import LiveMakers, MakeLive

__all__ = ["LIVE", "PLAIN", "TYPES", "assigned_back"]

TYPES: Final = NUMBERS | CONTAINERS


# Not one function for all: every read calls one of these.
def _int(value: int, binding: Any, key: object) -> Any:
    number: Any = int.__new__(LiveInt, value)
    number._binding = binding
    number._key = key
    return number


def _float(value: float, binding: Any, key: object) -> Any:
    number: Any = float.__new__(LiveFloat, value)
    number._binding = binding
    number._key = key
    return number


def _decimal(value: Decimal, binding: Any, key: object) -> Any:
    number: Any = Decimal.__new__(LiveDecimal, value)
    number._binding = binding
    number._key = key
    return number


_CONTAINERS: dict[type, MakeLive] = dict.fromkeys((dict, list, set, tuple), make_live)
LIVE: Final[LiveMakers] = (
    _CONTAINERS,
    {**_CONTAINERS, int: _int, float: _float, Decimal: _decimal},
)
PLAIN: Final[LiveMakers] = ({}, {})


def assigned_back(value: Any, use: Entries, key: object) -> bool:
    """Apply ``m[key] = value`` if the live value was read from ``m[key]``; tell whether it was.

    A changed number changes the stored one likewise. An operator like ``|=`` has changed the
    stored container already.
    """
    if type(value) in NUMBERS:
        if not returns_to(value, use.identity, key, ()):
            return False
        apply_to_entry(value, use)
        return True
    return is_echo(value, use.identity, key, ())

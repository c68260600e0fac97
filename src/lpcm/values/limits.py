"""Limits on the work that data of other programs may cause in Python's own types.

Responsible for bounds on numbers and on members of sets and dicts that come from a store, a
cache, a file or a command line. Knows no store. Invariant: data that pass here cost time and
memory in proportion to their length: no exponent is written out as digits, no digits are turned
into an int in quadratic time, no set is filled with members whose hashes are all equal.

What Python does unbounded: ``int(Decimal("1E999999"))`` takes half a minute; an int of a
million decimal digits takes seconds where a process has lifted Python's limit on digits; a
set of 25,000 multiples of 2**61 - 1, which all have the hash 0, takes 3.5 s.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ALIKE", "DIGITS", "EXPANDED", "check_hashes", "integer", "whole"]

DIGITS: Final = 4300
"""The most decimal digits of an int in text: Python's own default. Values of maps are written in
hexadecimal from 10**38 on (``!int``), which has no limit and costs little."""
ALIKE: Final = 256
"""The most members of a set, or keys of a dict, that may have one hash."""
EXPANDED: Final = 64 * 1024 * 1024
"""The most bytes that compressed data may expand to, where nobody has set ``max_value``."""
_EXPONENT: Final = DIGITS


def integer(text: str) -> int:
    """Return the int of decimal digits.

    >>> integer("-12")
    -12
    >>> integer("9" * 5000)
    Traceback (most recent call last):
        ...
    ValueError: an int of over 4300 digits
    """
    if len(text) > DIGITS + 1:  # the sign
        raise ValueError(f"an int of over {DIGITS} digits")
    return int(text)


def whole(number: Any) -> int:
    """Return the int that equals a number of a store, which may have an exponent.

    >>> whole(Decimal("1E+3"))
    1000
    >>> whole(Decimal("1E999999"))
    Traceback (most recent call last):
        ...
    ValueError: an int of over 4300 digits
    """
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() > _EXPONENT:
        raise ValueError(f"an int of over {DIGITS} digits")
    if isinstance(number, str):
        return integer(number)
    return int(number)


def check_hashes(members: Collection[object]) -> None:
    """Refuse members of which over ``ALIKE`` have one hash: Python would compare each with all.

    >>> check_hashes(range(100_000))
    >>> check_hashes([number * (2**61 - 1) for number in range(300)])
    Traceback (most recent call last):
        ...
    ValueError: 300 members have one hash, more than 256
    """
    if len(members) > ALIKE:
        most = max(Counter(map(hash, members)).values())
        if most > ALIKE:
            raise ValueError(f"{most} members have one hash, more than {ALIKE}")

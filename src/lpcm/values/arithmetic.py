"""The result of an increment: Python's ``+``, exact, for the numbers that a value can be.

===================== ====== ======= =========
stored, down; delta    int    float   Decimal
===================== ====== ======= =========
int (and bool)         int    float   Decimal
float                  float  float   TypeError
Decimal                Decimal TypeError Decimal
===================== ====== ======= =========

A float sum is IEEE 754's, as ``+`` gives it. A Decimal sum is exact where the current
context would have rounded it.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from typing import Any

from lpcm.values.path import shown

__all__ = ["add", "check_delta", "negate"]

# Room for the sum of any two numbers that a map can hold in practice. A sum that needs more
# digits (1E+9999 + 1E-9999 needs 20,000) raises Inexact instead of losing digits.
_EXACT = Context(
    prec=50_000, Emax=999_999, Emin=-999_999, traps=[InvalidOperation, Inexact, Overflow]
)


_BITS = 170_000  # of an int of over prec digits


def check_delta(delta: object) -> None:
    """Refuse a delta that is not a number.

    >>> check_delta("1")
    Traceback (most recent call last):
        ...
    TypeError: an increment must be an int, float or Decimal, not str '1'
    """
    if not isinstance(delta, (int, float, Decimal)):
        raise TypeError(
            f"an increment must be an int, float or Decimal, not {type(delta).__name__} "
            f"{shown(delta)}"
        )


def negate(delta: object) -> Any:
    """Return ``-delta``, exact.

    >>> negate(Decimal("0.5"))
    Decimal('-0.5')
    """
    check_delta(delta)
    number: Any = delta
    # Unary minus would round a Decimal to the current context.
    return number.copy_negate() if isinstance(number, Decimal) else -number


def add(value: Any, delta: Any) -> Any:
    """Return ``value + delta``, exact.

    >>> add(1, 0.5), add(Decimal("0.1"), 1), add(10**40, 1) - 10**40
    (1.5, Decimal('1.1'), 1)
    >>> add("1", 1)
    Traceback (most recent call last):
        ...
    TypeError: cannot increment a str: '1' + 1
    """
    number: Any = value
    if not isinstance(value, (int, float, Decimal)):
        raise TypeError(
            f"cannot increment a {type(value).__name__}: {shown(value)} + {shown(delta)}"
        )
    if isinstance(value, Decimal) or isinstance(delta, Decimal):
        for part in (value, delta):  # checked first: to make such an int a Decimal is quadratic
            if isinstance(part, int) and part.bit_length() > _BITS:
                raise Inexact("an int of more digits than an exact sum may have")
        with localcontext(_EXACT):
            return number + delta  # float + Decimal raises, as in Python
    return number + delta

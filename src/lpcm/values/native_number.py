"""Which numbers DynamoDB's number type holds: 38 digits, from 1E-130 to below 1E+126.

Values are encoded by these bounds for every store, so that an entry can move from one to another.
Knows no store.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

__all__ = ["DIGITS", "LIMIT", "gives_back", "gives_back_float", "keeps"]

DIGITS: Final = 38
LIMIT: Final = 10**DIGITS
"""The smallest positive int that is not held; sums beyond it are not exact."""


def keeps(number: float | Decimal) -> bool:
    """Tell whether the number is held without being rounded. A Decimal's last zeros are no digits.

    >>> keeps(10**38 - 1), keeps(10**38), keeps(1e-130), keeps(1e-131), keeps(Decimal("1E+125"))
    (True, False, True, False, True)
    """
    match number:
        case int():
            return -LIMIT < number < LIMIT
        case float():
            return not number or 1e-130 <= abs(number) < 1e126
        case Decimal():
            if not number.is_finite():
                return False
            digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
            return not number or (len(digits) <= DIGITS and -130 <= number.adjusted() <= 125)


def gives_back(number: Decimal) -> bool:
    """Tell whether the number comes back as it was written.

    Zeros at the end, the sign of zero and the way of writing are dropped.

    >>> gives_back(Decimal("1.5")), gives_back(Decimal("1.50")), gives_back(Decimal("1E+2"))
    (True, False, False)
    """
    if not number.is_finite():
        return False
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if not number:
        return not sign and exponent == 0
    if exponent > 0 or (exponent < 0 and digits[-1] == 0):
        return False
    return len(digits) <= DIGITS and -130 <= number.adjusted() <= 125


def gives_back_float(number: float) -> bool:
    """Tell the same of a float, which never has over 17 digits and one way to be written."""
    return 1e-130 <= abs(number) < 1e126 or (not number and math.copysign(1, number) > 0)

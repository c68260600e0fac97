"""NumPy's scalars, which equal Python's numbers without being of their types.

Does not import NumPy: a program that has such a number has imported it.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["numpy_number"]


def numpy_number(value: object) -> bool | int | float | None:
    """Return the Python number that a NumPy integer, boolean or float equals, else None."""
    if type(value).__module__ != "numpy":
        return None
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.number, numpy.bool_)):
        return None
    scalar: Any = value
    # Not a timedelta64, an integer to NumPy, nor a longdouble or complex, which stay themselves.
    item = scalar.item() if scalar.dtype.kind in "biuf" else None
    return item if type(item) in {bool, int, float} else None

"""Live values: numbers and containers that change what is stored.

Type checkers read ``__init__.pyi``, which says what the classes can do.
"""

from lpcm.live.containers import LiveDict, LiveList, LiveSet
from lpcm.live.numbers import LiveDecimal, LiveFloat, LiveInt

__all__ = ["LiveDecimal", "LiveDict", "LiveFloat", "LiveInt", "LiveList", "LiveSet"]

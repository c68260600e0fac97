"""Options of adapters: parsers from the text in a URL to a value.

For an adapter's ``OPTIONS``. Knows no option. Invariant: text that makes no value is a
``ValueError`` that says what to write instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["at_least_one", "near_cache", "one_of", "seconds", "truth"]


def seconds(text: str) -> float:
    """Return a duration.

    >>> seconds("0.5")
    0.5
    >>> seconds("nan")
    Traceback (most recent call last):
        ...
    ValueError: use a positive, finite number of seconds
    """
    duration = float(text)
    if not 0 < duration < math.inf:
        raise ValueError("use a positive, finite number of seconds")
    return duration


def at_least_one(unit: str) -> Callable[[str], int]:
    """Return the parser of a number of these.

    >>> at_least_one("bytes")("0")
    Traceback (most recent call last):
        ...
    ValueError: use a number of bytes, 1 or more
    """

    def parse(text: str) -> int:
        number = int(text)
        if number < 1:
            raise ValueError(f"use a number of {unit}, 1 or more")
        return number

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return the parser of one of these words.

    >>> one_of("zlib", "zstd", "none")("gzip")
    Traceback (most recent call last):
        ...
    ValueError: use zlib, zstd or none
    """

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"use {', '.join(words[:-1])} or {words[-1]}")
        return text

    return parse


def near_cache(text: str) -> int:
    """Return the size of a near cache.

    >>> near_cache("-1")
    Traceback (most recent call last):
        ...
    ValueError: use a number of bytes, 0 for none
    """
    size = int(text)
    if size < 0:
        raise ValueError("use a number of bytes, 0 for none")
    return size


def truth(text: str) -> bool:
    """Return a bool.

    >>> truth("True")
    True
    >>> truth("yes")
    Traceback (most recent call last):
        ...
    ValueError: use true or false
    """
    if text.lower() not in {"true", "false"}:
        raise ValueError("use true or false")
    return text.lower() == "true"

"""How many bytes values take in a store, to a few bytes for each part.

Knows no store: each has rules of its own.
"""

from __future__ import annotations

from lpcm.errors import ValueTooLarge

__all__ = ["size", "too_large"]


def size(data: object) -> int:
    """Return about how many bytes a value takes in a store.

    >>> size("abc"), size(["a", {"b": 7}])
    (3, 19)
    """
    match data:
        case str():
            return len(data) if data.isascii() else len(data.encode())
        case bytes():
            return len(data)
        case dict():
            return 3 + sum(1 + size(name) + size(value) for name, value in data.items())
        case list() | frozenset():
            return 3 + sum(1 + size(member) for member in data)
        case _:
            return 8


def too_large(where: str, length: int, most: int) -> ValueTooLarge:
    """Return the error of a value of so many bytes, where a store takes at most so many.

    >>> too_large("memory store", 1200, 1000)
    ValueTooLarge('memory store: a value of 1,200 bytes is over the limit of 1,000; ...')
    """
    return ValueTooLarge(
        f"{where}: a value of {length:,} bytes is over the limit of {most:,}; nothing was written"
    )

"""How many bytes values take in a store, to a few bytes for each part.

Knows no store: each has rules of its own.
"""

from __future__ import annotations

__all__ = ["size"]


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

"""Partitions: the text that all entries of a map share, and that they are found by together.

Knows the rules of names and no store.
"""

from __future__ import annotations

import re
from typing import Final

from lpcm.errors import ConfigError

__all__ = ["MOST_SHARDS", "check_shards", "partition"]

MOST_SHARDS: Final = 1000
"""The partitions of one map, at most: an operation on the whole map asks each of them."""

_PARTITION_LIMIT: Final = 2000  # of DynamoDB's 2,048: the rest is for a shard's number


def partition(namespace: str, map: str | None = None) -> str:
    """Return the partition key of a map, or of its namespace's catalogue.

    Each name is escaped (percent-encoding of ``%``, ``/`` and control characters) and
    *terminated*, so that nothing made for ``a`` matches ``ab``.

    >>> partition("default", "users"), partition("default"), partition("eu/1", "50%")
    ('default/users/', 'default/', 'eu%2F1/50%25/')
    >>> partition("default", "")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: a map's name must be text of at least one character, not ''
    """
    text = _name("a namespace", namespace)
    if map is not None:
        text += _name("a map's name", map)
    size = len(text.encode())
    if size > _PARTITION_LIMIT:
        raise ConfigError(
            f"namespace and map name take {size} bytes, over the limit of {_PARTITION_LIMIT}"
        )
    return text


def check_shards(shards: int) -> int:
    """Return a number of partitions that a map can have.

    >>> check_shards(16)
    16
    >>> check_shards(0)
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: a map has 1 to 1000 shards, not 0
    """
    if type(shards) is not int or not 1 <= shards <= MOST_SHARDS:
        raise ConfigError(f"a map has 1 to {MOST_SHARDS} shards, not {shards!r}")
    return shards


_UNSAFE = re.compile(r"[\x00-\x1f\x7f%/]")


def _is_text(name: object) -> bool:
    return isinstance(name, str)


def _name(what: str, name: str) -> str:
    if not _is_text(name) or not name:
        raise ConfigError(f"{what} must be text of at least one character, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what} has a lone surrogate, which is no text: {name!a}") from None
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name) + "/"

"""Partitions: the text that all entries of a map share, and that they are found by together.

Knows the rules of names and no store.
"""

from __future__ import annotations

import re
from typing import Final

from lpcm.errors import ConfigError

__all__ = ["partition"]

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

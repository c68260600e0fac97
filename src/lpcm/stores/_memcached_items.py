"""Entries as items of memcached, for maps that live there alone.

A line of JSON (the whole name; the type of the data, the kind, the etag, the expiry), then the
data. Invariant: an item that lpcm did not write is no entry, as if it had been evicted.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.ports import Result

__all__ = ["PREFIX", "entry_of", "item", "key", "name_of"]

PREFIX: Final = "only:"


def key(name: str) -> str:
    """Return an item's key: the name where memcached takes it, else its digest."""
    if len(name) <= 200 and name.isascii() and name.isprintable() and " " not in name:
        return PREFIX + name
    # A name always has a slash, from its partition; the digest's alphabet has none.
    return PREFIX + urlsafe_b64encode(sha256(name.encode()).digest()).decode()


_WRITE: Final[dict[type, tuple[str, Callable[[Any], bytes]]]] = {
    str: ("s", str.encode),
    bytes: ("b", bytes),
    int: ("i", lambda data: b"%d" % data),
    float: ("f", lambda data: repr(data).encode()),
}
_NOT_OURS: Final = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_READ: Final[dict[str, Callable[[bytes], object]]] = {
    "s": bytes.decode,
    "b": bytes,
    "i": int,
    "f": float,
}


def item(name: str, entry: Stored | None) -> tuple[bytes, int]:
    if entry is None:
        head: list[object] = [name]
        data = b""
    else:
        mark, write = _WRITE[type(entry.data)]
        head = [name, mark, entry.kind, entry.etag, entry.expires]
        data = write(entry.data)
    made = json.dumps(head).encode() + b"\n" + data
    return made, len(made)


def name_of(seen: Result) -> str | None:
    if seen.status != "VA":
        return None
    try:
        name = json.loads(seen.data.partition(b"\n")[0])[0]
    except _NOT_OURS:
        return None
    return name if isinstance(name, str) else None


def entry_of(seen: Result, map: str, sk: str) -> Stored | None:
    """Return the entry of an item; None where there is none, or a tombstone."""
    if seen.status != "VA":
        return None
    head, _, data = seen.data.partition(b"\n")
    try:
        name, *rest = json.loads(head)
        if not rest or name != map + sk:  # another name of the same digest: as if evicted
            return None
        mark, kind, etag, expires = rest
        if type(etag) is not int or not (expires is None or math.isfinite(expires)):
            return None
        return Stored(_READ[mark](data), kind, etag, expires)
    except _NOT_OURS:
        return None  # not written by lpcm: as if evicted

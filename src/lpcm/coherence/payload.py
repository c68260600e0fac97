"""The *base* of a cached item: an entry as bytes, and back.

One type byte, then the etag and the expiry (NaN: never) as little-endian binary, then the
data. ``A`` alone says that the store has no such entry. Where the cache's key is a digest,
``#``, a length and the whole name come first, so that the entry of another key with the
same digest is not used. Bytes that cannot be read raise ``Unreadable``, and the protocol then
reads the store: a read never returns a wrong value, whatever program wrote the bytes.

Knows no cache. Trees (``codec.Form.TREE``) are written as JSON with the codec's own tags.
"""

from __future__ import annotations

import functools
import json
from binascii import b2a_base64
from decimal import Decimal
from struct import Struct
from struct import error as StructError  # noqa: N812  # it is a class
from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import Stored
from lpcm.values.compact_json import compact_json
from lpcm.values.limits import DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ABSENT", "Unreadable", "pack", "unpack"]

ABSENT: Final = b"A"

_HEAD = Struct("<cqd")
_unpack_head = _HEAD.unpack_from
_new = tuple.__new__
_NEVER: Final = float("nan")
_LENGTH = Struct("<cI")


class Unreadable(ValueError):
    """Bytes of another version or for another key; or data that this version cannot write."""


def _json(tree: object) -> bytes:
    return _encoder()(tree).encode()


@functools.cache
def _encoder() -> Callable[[object], str]:
    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_tagged).encode


def _tagged(part: object) -> object:
    match part:
        case bytes():
            return {"!bytes": b2a_base64(part, newline=False).decode()}
        case frozenset():
            return {"!set": list(part)}
        case Decimal():
            return {"!decimal": str(part)}
        case _:
            raise TypeError(f"no part of a stored tree: {part!r}")


# Type byte → (kind, function that reads the data). The type byte says the kind, to be compact.
_READ: dict[bytes, tuple[str | None, Callable[[bytes], Any]]] = {
    b"s": (None, bytes.decode),
    b"j": ("json", bytes.decode),
    b"i": (None, int),
    b"I": ("int", int),
    b"f": (None, float),
    b"F": ("float", float),
    b"D": ("decimal", lambda data: Decimal(data.decode())),
    b"b": (None, bytes),
    b"t": (None, lambda data: compact_json().loads(data.decode())),
    b"x": ("str+zlib", bytes),
    b"y": ("bytes+zlib", bytes),
    b"z": ("json+zlib", bytes),
    b"X": ("str+zstd", bytes),
    b"Y": ("bytes+zstd", bytes),
    b"Z": ("json+zstd", bytes),
}
_WRITE: dict[tuple[type, str | None], tuple[bytes, Callable[[Any], bytes]]] = {
    (str, None): (b"s", str.encode),
    (str, "json"): (b"j", str.encode),
    (int, None): (b"i", lambda data: b"%d" % data),
    (int, "int"): (b"I", lambda data: b"%d" % data),
    (float, None): (b"f", lambda data: repr(data).encode()),
    (float, "float"): (b"F", lambda data: repr(data).encode()),
    (Decimal, "decimal"): (b"D", lambda data: str(data).encode()),
    (bytes, None): (b"b", bytes),
    **{(bytes, kind): (mark, bytes) for mark, (kind, _) in _READ.items() if mark in b"xyzXYZ"},
}


def pack(entry: Stored | None, name: bytes = b"") -> bytes:
    """Return the base of an entry, with its whole name where the cache's key is a digest.

    >>> pack(Stored("pi", None, 7, None))[:1], pack(None)
    (b's', b'A')
    """
    if entry is None:
        base = ABSENT
    else:
        data, kind, etag, expires = entry
        mark, write = _WRITE.get((type(data), kind), (b"t", _json))
        if mark == b"t" and kind is not None:
            raise Unreadable(f"no bytes for a stored {type(data).__name__} of kind {kind!r}")
        try:
            base = _HEAD.pack(mark, etag, _NEVER if expires is None else expires) + write(data)
        except (StructError, TypeError, ValueError, RecursionError) as error:
            raise Unreadable(f"no bytes for a stored {type(data).__name__}: {error}") from error
    return _LENGTH.pack(b"#", len(name)) + name + base if name else base


def unpack(base: bytes, name: bytes = b"") -> Stored | None:
    """Return the entry; None where the base says that the entry is absent.

    >>> unpack(pack(Stored("pi", None, 7, 1.5)))
    Stored(data='pi', kind=None, etag=7, expires=1.5)
    >>> unpack(b"?")
    Traceback (most recent call last):
        ...
    lpcm.coherence.payload.Unreadable: ...
    """
    try:
        if name:
            mark, length = _LENGTH.unpack_from(base)
            start = _LENGTH.size + length
            if mark != b"#" or base[_LENGTH.size : start] != name:
                raise Unreadable("the entry of another key")
            base = base[start:]
        if base == ABSENT:
            return None
        mark, etag, expires = _unpack_head(base)
        if len(base) > _HEAD.size + 1 + DIGITS and mark in b"iI":  # 1: a sign
            raise Unreadable("an int of too many digits")
        kind, read = _READ[mark]
        data = read(base[17:])
    except (StructError, KeyError, ValueError, ArithmeticError, RecursionError) as error:
        raise Unreadable(f"not an entry of this version: {base[:40]!r}") from error
    # Stored(...) would take twice as long, and this is every cached read.
    return _new(Stored, (data, kind, etag, expires if expires == expires else None))  # noqa: PLR0124  # NaN

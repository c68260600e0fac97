"""The *base* of a cached item: an entry as bytes, and back.

One type byte, then the etag and the expiry (NaN: never) as little-endian binary, then the
data (``values.serial``). ``A`` alone says that the store has no such entry. Where the cache's key
is a digest, ``#``, a length and the whole name come first, so that the entry of another key with
the same digest is not used. Bytes that cannot be read raise ``Unreadable``, and the protocol then
reads the store: a read never returns a wrong value, whatever program wrote the bytes.

Knows no cache.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812  # it is a class
from typing import Final

from lpcm.ports import Stored
from lpcm.values.limits import DIGITS
from lpcm.values.serial import READ, TREE, WRITE

__all__ = ["ABSENT", "Unreadable", "pack", "unpack"]

ABSENT: Final = b"A"

_HEAD = Struct("<cqd")
_unpack_head = _HEAD.unpack_from
_new = tuple.__new__
_NEVER: Final = float("nan")
_LENGTH = Struct("<cI")


class Unreadable(ValueError):
    """Bytes of another version or for another key; or data that this version cannot write."""


def pack(entry: Stored | None, name: bytes = b"") -> bytes:
    """Return the base of an entry, with its whole name where the cache's key is a digest.

    >>> pack(Stored("pi", None, 7, None))[:1], pack(None)
    (b's', b'A')
    """
    if entry is None:
        base = ABSENT
    else:
        data, kind, etag, expires = entry
        mark, write = WRITE.get((type(data), kind), TREE)
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
        kind, read = READ[mark]
        data = read(base[17:])
    except (StructError, KeyError, ValueError, ArithmeticError, RecursionError) as error:
        raise Unreadable(f"not an entry of this version: {base[:40]!r}") from error
    # Stored(...) would take twice as long, and this is every cached read.
    return _new(Stored, (data, kind, etag, expires if expires == expires else None))  # noqa: PLR0124  # NaN

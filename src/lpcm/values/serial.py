"""Cells as bytes, and back: for the caches of entries, and for values that are stored in parts.

One letter says how to read the bytes, the cell's kind included. Trees (``Form.TREE``) are written
as JSON with the codec's own tags. Knows cells, and neither caches nor stores.
"""

from __future__ import annotations

import functools
import json
from binascii import b2a_base64
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lpcm.values.compact_json import compact_json
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READ", "TREE", "WRITE", "write_json"]


def write_json(tree: object) -> str:
    """Return a tree as JSON, in the order of its names."""
    return _encoder()(tree)


def _json(tree: object) -> bytes:
    return _encoder()(tree).encode()  # not by ``write_json``: each small value comes here


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


# Letter → (kind, function that reads the data). The letter says the kind, to be compact.
READ: Final[dict[bytes, tuple[str | None, Callable[[bytes], Any]]]] = {
    b"s": (None, bytes.decode),
    b"j": ("json", bytes.decode),
    b"i": (None, int),
    b"I": ("int", int),
    b"f": (None, float),
    b"F": ("float", float),
    b"D": ("decimal", lambda data: Decimal(data.decode())),
    b"b": (None, bytes),
    b"t": (None, lambda data: compact_json().loads(data.decode())),
    b"h": (HEAD, bytes.decode),
    b"x": ("str+zlib", bytes),
    b"y": ("bytes+zlib", bytes),
    b"z": ("json+zlib", bytes),
    b"X": ("str+zstd", bytes),
    b"Y": ("bytes+zstd", bytes),
    b"Z": ("json+zstd", bytes),
}
WRITE: Final[dict[tuple[type, str | None], tuple[bytes, Callable[[Any], bytes]]]] = {
    (str, None): (b"s", str.encode),
    (str, "json"): (b"j", str.encode),
    (int, None): (b"i", lambda data: b"%d" % data),
    (int, "int"): (b"I", lambda data: b"%d" % data),
    (float, None): (b"f", lambda data: repr(data).encode()),
    (float, "float"): (b"F", lambda data: repr(data).encode()),
    (Decimal, "decimal"): (b"D", lambda data: str(data).encode()),
    (bytes, None): (b"b", bytes),
    (str, HEAD): (b"h", str.encode),
    **{(bytes, kind): (letter, bytes) for letter, (kind, _) in READ.items() if letter in b"xyzXYZ"},
}
TREE: Final = (b"t", _json)
"""The letter of any other cell, which has no kind."""

"""Values as JSON text: for exports, the command line and pages.

Plain JSON for the types that JSON has, and the tags of ``codec.Form.TEXT`` for the rest, so that
every value and key comes back with its type, in any process. ``printable`` escapes characters that
could do more on a screen than show text; the result is still the same JSON.
"""

from __future__ import annotations

import json
from typing import Any

from lpcm.errors import ValueDecodingError
from lpcm.values import limits
from lpcm.values.codec import Encoder, Form, plain
from lpcm.values.keys import RawKey

__all__ = ["from_json", "printable", "to_json"]

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


_RAW = "!key"
"""The tag of a key that lpcm did not write, at the top only: ``{"!key": "!x"}``."""
_TOO_DEEP = "not JSON that a value can have: it nests too deep"


def _no_constant(name: str) -> object:
    raise ValueError(f'{name} (write {{"!float": "nan"}}, "inf" or "-inf")')


_read = json.JSONDecoder(parse_constant=_no_constant, parse_int=limits.integer).decode


def to_json(value: object) -> str:
    """Return the value as tagged JSON.

    **Raises** ValueEncodingError for a value that no map can hold.

    >>> to_json((1, b"x", "pi"))
    '{"!tuple":[1,{"!bytes":"eA=="},"pi"]}'
    >>> to_json(object())
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueEncodingError: value is of type object: ...
    """
    if type(value) is RawKey:
        return _write({_RAW: value.sk})
    return _write(Encoder(Form.TEXT).whole(value))


def from_json(text: str) -> Any:
    """Return the value of tagged or plain JSON.

    A bare whole number has at most 4,300 digits; any int can be ``{"!int": "0x..."}``.

    **Raises** ValueDecodingError for text that is neither.

    >>> from_json('{"!tuple": [1, 2]}'), from_json("[1.5, null]")
    ((1, 2), [1.5, None])
    >>> from_json("NaN")
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueDecodingError: not JSON: NaN (write {"!float": "nan"}, "inf" or "-inf")
    """
    try:
        tree = _read(text)
    except ValueError as error:
        raise ValueDecodingError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueDecodingError(_TOO_DEEP) from error
    if type(tree) is dict and list(tree) == [_RAW] and type(tree[_RAW]) is str:
        return _raw(tree[_RAW])
    try:
        return plain(tree)
    except RecursionError as error:
        raise ValueDecodingError(_TOO_DEEP) from error


def _raw(sk: str) -> RawKey:
    try:
        return RawKey(sk)
    except ValueError as error:
        raise ValueDecodingError(f"not a stored key: {error}") from error


def printable(text: str) -> str:
    r"""Return JSON text with all characters that are not printable as ``\u`` escapes.

    Within JSON, such characters can only stand in strings, where an escape means the same.

    >>> print(printable('"caf\u00e9 \u202e \x9b2J"'))
    "café \u202e \u009b2J"
    """
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _escape(part) for part in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

"""Decoding: from stored data to Python objects, or one ValueDecodingError.

The second half of ``codec``. Knows the tags and kinds, and no store. Invariant: data that lpcm
did not write are decoded only where they have one meaning, else they raise ValueDecodingError: no
number is rounded, no text read as a number, and no other exception is raised, for any data.
"""

from __future__ import annotations

from binascii import a2b_base64
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ValueDecodingError
from lpcm.values import datetimes, limits, registry
from lpcm.values.compact_json import compact_json
from lpcm.values.path import DEPTH_LIMIT, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DAMAGED", "decode_text", "decode_tree", "plain"]

DAMAGED: Final = "!damaged"
"""The kind of a cell that lpcm did not write; its data say why, and so does its decoding error."""


def _exactly(data: Decimal) -> int:
    whole = limits.whole(data)
    if whole != data:
        raise ValueError("no whole number")
    return whole


# By the kind and the type of the data, so that data are never read as something else: no 1.5 as
# an int, no text as a number.
_NUMBERS: dict[tuple[str, type], Callable[[Any], Any]] = {
    ("int", int): int,
    ("int", Decimal): _exactly,
    ("float", float): float,
    ("float", int): float,
    ("float", Decimal): float,
    ("decimal", int): Decimal,
    ("decimal", Decimal): Decimal,
}
_KINDS_OF_NUMBERS = ("int", "float", "decimal")


_DEEP: Final = 8 * DEPTH_LIMIT
"""The deepest nesting of containers that Python can follow; lpcm's own is 32."""
_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def _check_depth(text: str) -> None:
    """Refuse JSON that nests deeper than Python can follow."""
    import re

    def depth(text: str) -> int:
        return max(accumulate(map(_STEPS.__getitem__, re.findall(r"[][{}]", text))), default=0)

    # First with the brackets in strings, which is faster; without them only where that is too deep.
    # A string that never ends is taken to the end of the text: else each quotation mark in it is
    # tried as its beginning, in time that grows with the square of the text.
    if depth(text) > _DEEP and depth(re.sub(r'"(?:[^"\\]++|\\.)*+"?', "", text)) > _DEEP:
        raise ValueDecodingError("not a stored value: it nests too deep")


def decode_text(text: Any, kind: str | None, most: int = limits.EXPANDED) -> Any:
    """Return the value of a cell of text, a new object each time.

    ``most``: bytes that compressed data may expand to.
    """
    if kind != "json":
        if kind is not None:
            return _decode_compressed(text, kind, most)
        if text is None:  # None is stored as JSON
            raise ValueDecodingError("not a stored value: NULL")
        return text
    try:
        if len(text) > 2 * _DEEP and text.count("[") + text.count("{") > _DEEP:
            _check_depth(text)
        tree = compact_json().loads(text)
        # First one character alone, of which most text has none: it is found ten times as fast.
        return plain(tree) if "!" in text and '"!' in text else tree
    except ValueDecodingError:
        raise
    except (TypeError, ValueError, RecursionError, AttributeError, LookupError) as error:
        raise ValueDecodingError(f"not a stored value: {shown(text)}") from error


def _decode_other(data: Any, kind: str, most: int) -> Any:
    """Return the value of a bare number of that kind, or of compressed data."""
    try:
        return _NUMBERS[kind, type(data)](data)
    # TypeError: a kind that has no hash.
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        if kind in _KINDS_OF_NUMBERS:
            raise ValueDecodingError(f"not a stored {kind}: {shown(data)}") from error
    return _decode_compressed(data, kind, most)


def _decode_compressed(data: Any, kind: object, most: int) -> Any:
    """Return the value of compressed data; no other kind is known any more."""
    from lpcm.values.compress import expand  # for maps that have such values

    if kind == DAMAGED:
        raise ValueDecodingError(f"not written by lpcm: {data}")
    found = expand(data, kind, most)
    if found is None:
        raise ValueDecodingError(f"unknown kind {shown(kind)} of a stored value: upgrade lpcm")
    return decode_text(*found)


def decode_tree(data: Any, kind: str | None, most: int = limits.EXPANDED) -> Any:
    """Return the value of a cell of a tree, of a bare number, or of compressed data."""
    if kind is not None:
        return _decode_other(data, kind, most)
    try:
        return plain(data)
    except RecursionError as error:
        raise ValueDecodingError("not a stored value: it nests too deep") from error


_LEAVES: Final = frozenset({str, int, float, bool, type(None), Decimal, bytes})


def plain(part: Any) -> Any:
    """Return the value of a tree."""
    kind = type(part)
    if kind is list:
        return [member if type(member) in _LEAVES else plain(member) for member in part]
    if kind is dict:
        if len(part) == 1:
            ((tag, payload),) = part.items()
            if tag[:1] == "!" and tag[:2] != "!!":
                return _untag(tag, payload)
        made: dict[str, Any] = {}
        for key in sorted(part):  # the order of their names, too: see _name
            member = part[key]
            name = key if key[:1] != "!" else _name(key)
            made[name] = member if type(member) in _LEAVES else plain(member)
        return made
    if kind is frozenset or kind is set:
        if len(part) > limits.ALIKE:
            limits.check_hashes(part)
        return set(part)
    return part


def _name(key: str) -> str:
    """Return the name that a key with a ``!`` in front has, where it has one more."""
    if key[:2] != "!!":
        raise ValueDecodingError(f"not a stored value: the tag {key!r} beside other keys")
    return key[1:]


def _untag(tag: str, payload: Any) -> Any:
    decoder = _DECODERS.get(tag)
    if decoder is None and tag[:2] != "!@":
        raise ValueDecodingError(f"unknown tag {tag!r} in a stored value: upgrade lpcm")
    try:
        if decoder is not None:
            return decoder(payload)
        name, _, version = tag[2:].rpartition("/")
        return registry.revive(name, int(version if len(version) < 20 else ""), plain(payload))
    except ValueDecodingError:
        raise
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise ValueDecodingError(f"not a stored value: {tag} {shown(payload)}: {error}") from error


def _listed(payload: Any) -> list[Any]:
    if type(payload) is not list:
        raise TypeError("no list")
    return [plain(member) for member in payload]


def _of(*kinds: type) -> Callable[[Any], Any]:
    """Return a function that returns a payload of one of these types, and refuses any other."""

    def check(payload: Any) -> Any:
        if type(payload) not in kinds:
            raise TypeError(f"a {type(payload).__name__}")
        return payload

    return check


_text, _whole, _number = _of(str), _of(int), _of(str, int, float, Decimal)


def _decode_dict(payload: Any) -> dict[Any, Any]:
    pairs: Iterable[list[Any]] = map(_listed, payload)
    if len(payload) > limits.ALIKE:
        pairs = list(pairs)
        limits.check_hashes([key for key, _ in pairs])
    return dict(pairs)


def _members(payload: Any) -> list[Any]:
    members = _listed(payload)
    if len(members) > limits.ALIKE:
        limits.check_hashes(members)
    return members


def _decode_uuid(payload: str) -> object:
    from uuid import UUID  # 2 ms to import, and few need it

    return UUID(payload)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "!int": lambda payload: int(payload, 16),
    "!float": lambda payload: float(_number(payload)),
    "!decimal": lambda payload: Decimal(_text(payload)),
    "!bytes": lambda payload: a2b_base64(_text(payload), strict_mode=True),
    "!tuple": lambda payload: tuple(_listed(payload)),
    "!set": lambda payload: set(_members(payload)),
    "!frozenset": lambda payload: frozenset(_members(payload)),
    "!dict": _decode_dict,
    "!date": date.fromisoformat,
    "!time": datetimes.read_time,
    "!datetime": datetimes.read_datetime,
    "!timedelta": lambda payload: timedelta(microseconds=_whole(payload)),
    "!uuid": _decode_uuid,
}

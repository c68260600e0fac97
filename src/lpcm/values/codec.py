"""Values: from Python objects to the form that a store holds, and back, with their types.

Responsible for which values are accepted and for their encoding; knows no store, only
the two *forms* that stores take. Invariant: ``decode(*encode(v))`` equals ``v`` and has
its type, at every depth. A value that would not come back so is refused, with the path to the part.

A value becomes a tree of plain parts (None, bool, int, str, lists, dicts with str keys,
and the other types that the form holds natively). A part of any other type is *tagged*, as a
dict of one entry under a reserved key: ``{"!tuple": [1, 2]}``. A user's own key that
begins with ``!`` gets one more ``!``, so it is never read as a tag. Tags are local: a change of
one part never touches another.

================ ================================= ==========================
type             ``Form.TEXT`` (JSON in SQLite)    ``Form.TREE`` (DynamoDB)
================ ================================= ==========================
int              bare below 10**38, else ``!int``  the same
float            bare; nan and inf ``!float``      ``!float``; bare at the top
Decimal          ``!decimal``                      ``!decimal``; bare at the top
bytes            ``!bytes`` (base64)               bare
set              ``!set``                          bare where homogeneous
tuple, frozenset ``!tuple``, ``!frozenset``
other dicts      ``!dict``, a list of pairs         the same; and with a key "" or over
                                                   16,000 characters
dates, times     ``!date`` ``!time`` ``!datetime`` in ISO 8601, ``!timedelta`` (microseconds)
UUID             ``!uuid``
registered       ``!@Name/version``
================ ================================= ==========================

Dicts come back in sorted key order on every store, since DynamoDB keeps no order. At most 32
containers nest, tags counted, as DynamoDB allows.
"""

# ruff: noqa: SLF001  # the table of encoders stands outside the class they are methods of

from __future__ import annotations

import math
import sys
from binascii import b2a_base64
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import KeyEncodingError, ValueEncodingError
from lpcm.values import datetimes, keys, limits, registry
from lpcm.values.compact_json import compact_json
from lpcm.values.decode import DAMAGED, decode_text, decode_tree, plain
from lpcm.values.form import Cell, Form
from lpcm.values.native_number import LIMIT, gives_back, gives_back_float
from lpcm.values.path import DEPTH_LIMIT, INSIDE, NAME_LIMIT, Member, check_text, depth, where

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["DAMAGED", "Cell", "Codec", "Encoder", "Form", "accept", "is_number", "plain"]


_ALLOWED: Final = (
    "a value is None, bool, int, float, Decimal, str, bytes, list, tuple, dict, set, frozenset, "
    "date, time, datetime, timedelta, UUID, or of a class given to lpcm.register"
)


class Codec:
    """The codec for stores of one form.

    >>> codec = Codec(Form.TEXT)
    >>> codec.encode("pi"), codec.encode((1, {2}))
    (Cell(data='pi', kind=None), Cell(data='{"!tuple":[1,{"!set":[2]}]}', kind='json'))
    >>> codec.decode('{"!tuple":[1,{"!set":[2]}]}', "json")
    (1, {2})
    >>> codec.encode({"a": [1, object()]})
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueEncodingError: value['a'][1] is of type object: a value is None, ...
    """

    def __init__(self, form: Form, most: int = limits.EXPANDED) -> None:
        self.form = form
        self.most = most
        """Bytes that compressed data may expand to."""
        text = form is Form.TEXT
        self.encode: Callable[[object], Cell] = _encode_text if text else _encode_tree
        decode: Callable[..., Any] = decode_text if text else decode_tree
        if most != limits.EXPANDED:
            decode = partial(decode, most=most)
        self.decode: Callable[[Any, str | None], Any] = decode
        """Return the value of a cell's data and kind, a new object each time.

        **Raises** ValueDecodingError for an unregistered class, a newer version, or text that no
        codec has written.
        """

    def encoder(self, method: str, over: int) -> Callable[[object], Cell]:
        """Return an ``encode`` that compresses, by a method or by none, what is over so many bytes.

        **Raises** ConfigError where this process cannot compress so.

        >>> codec = Codec(Form.TREE)
        >>> encode = codec.encoder("zlib", 1024)
        >>> encode(["short"])
        Cell(data=['short'], kind=None)
        >>> cell = encode(["to be or not to be"] * 100)
        >>> cell.kind, len(cell.data) < 60, codec.decode(*cell)[99]
        ('json+zlib', True, 'to be or not to be')
        """
        if method == "none":
            return self.encode
        from lpcm.values.compress import compressing  # for maps that compress

        return compressing(self.encode, _encode_text, method, over, self.most)

    def part(self, value: object) -> object:
        """Return a value as a part of a tree; a number is tagged where the form requires it."""
        return Encoder(self.form).whole(value)


def _encode_text(value: object) -> Cell:
    kind = type(value)
    if kind is str:
        if not value.isascii():  # type: ignore[attr-defined]  # a str by its type
            check_text(value, ())  # type: ignore[arg-type]  # as above
        return Cell(value, None)
    if kind is int and -(2**63) <= value < 2**63:  # type: ignore[operator]  # an int by its type
        return Cell(value, None)
    if kind is bytes or (kind is float and value == value):  # noqa: PLR0124  # not nan
        return Cell(value, None)
    if kind in _PLAIN:
        return _encode_text(_PLAIN[kind](value))
    text = _json(value) if kind is dict or kind is list else None
    if text is None:
        text = compact_json().dumps(Encoder(Form.TEXT).whole(value))
    return tuple.__new__(Cell, (text, "json"))  # its own constructor takes twice as long


_NUMBER_TAGS: Final = ('{"!decimal":"', '{"!float":"', '{"!int":"')


def is_number(data: object, kind: str | None) -> bool:
    """Tell whether a cell of text is surely an int, float or Decimal, without decoding it.

    >>> from decimal import Decimal
    >>> [is_number(*_encode_text(value)) for value in (1, 10**40, 0.5, Decimal("0.5"), "1", [1])]
    [True, True, True, True, False, False]
    """
    if kind is None:
        return type(data) is float or type(data) is int
    return kind == "json" and isinstance(data, str) and data.startswith(_NUMBER_TAGS)


_SHALLOW: Final = 9
"""Containers that nest no deeper need no count: see ``Encoder.whole``."""
_NAMES: Final = frozenset({str})
_JSON_LEAVES: Final = frozenset({str, float, bool, type(None)})


def _json(value: Any) -> str | None:
    """Return a value's text at once where it needs no tags; None where it may need some."""
    if not _is_json(value, _SHALLOW):
        return None
    try:
        text = compact_json().dumps(value)
        if not text.isascii():
            text.encode()
    except ValueError:  # nan, inf, a lone surrogate
        return None
    return None if "!" in text and '"!' in text else text  # as in ``decode_text``


def _is_json(value: Any, levels: int) -> bool:
    """Tell whether a list, or a dict, has only what JSON has, and no deeper than so many levels."""
    parts = value
    if type(value) is dict:
        if not _NAMES.issuperset(map(type, value)):
            return False
        parts = value.values()
    for part in parts:
        kind = type(part)
        if kind in _JSON_LEAVES:
            continue
        if kind is int:
            if not -LIMIT < part < LIMIT:
                return False
        elif not ((kind is dict or kind is list) and levels and _is_json(part, levels - 1)):
            return False
    return True


def _encode_tree(value: object) -> Cell:
    match value:
        case int() if type(value) is int and abs(value) < LIMIT:
            return Cell(value, "int")
        case float() if type(value) is float and gives_back_float(value):
            return Cell(value, "float")
        case Decimal() if type(value) is Decimal and gives_back(value):
            return Cell(value, "decimal")
        case _ if type(value) in _PLAIN:
            return _encode_tree(_PLAIN[type(value)](value))
        case _:
            return Cell(Encoder(Form.TREE).whole(value), None)


class Encoder:
    """Makes a tree of one value; knows the path to the present part."""

    def __init__(self, form: Form) -> None:
        self._text = form is Form.TEXT
        self._path: list[object] = []
        self._steps = 0

    def whole(self, value: object) -> object:
        """Return the tree of the whole value."""
        tree = self.tree(value)
        # A step down is three levels at the most, {"!dict": [[key, value]]}, and a tag.
        if 3 * self._steps + 1 > DEPTH_LIMIT and depth(tree) > DEPTH_LIMIT:
            raise self._too_deep()
        return tree

    def tree(self, value: object) -> object:
        """Return the tree of a value at the present path."""
        kind = type(value)
        if kind is str:
            if not value.isascii():  # type: ignore[attr-defined]  # a str by its type
                check_text(value, self._path)  # type: ignore[arg-type]  # as above
            return value
        if kind is bool or value is None:
            return value
        if kind is int:
            small = -LIMIT < value < LIMIT  # type: ignore[operator]  # an int by its type
            return value if small else self._tag("!int", hex(value))  # type: ignore[arg-type]  # as above
        encoder = _ENCODERS.get(kind)
        if encoder is not None:
            return encoder(self, value)
        if kind.__name__ == "UUID" and kind is getattr(sys.modules.get("uuid"), "UUID", None):
            return self._tag("!uuid", str(value))
        return self._registered(value)

    def _refuse(self, why: str) -> ValueEncodingError:
        return ValueEncodingError(f"value{where(self._path)} {why}")

    def _enter(self) -> list[object]:
        """Enter a container; return the path, for the steps to its members."""
        steps = len(self._path) + 1
        if steps > self._steps:
            self._steps = steps
            if steps > DEPTH_LIMIT:
                raise self._too_deep()
        return self._path

    def _too_deep(self) -> ValueEncodingError:
        place = where(self._path[:4])
        return ValueEncodingError(
            f"value{place} nests more than {DEPTH_LIMIT} deep (tags counted), or contains itself"
        )

    def _tag(self, tag: str, payload: object) -> dict[str, object]:
        return {tag: payload}

    def _members(self, members: Iterable[Any]) -> list[object]:
        path = self._enter()
        parts: list[object] = []
        for index, member in enumerate(members):
            if type(member) is str and member.isascii():  # as in ``tree``, without its call
                parts.append(member)
                continue
            path.append(index)
            parts.append(self.tree(member))
            path.pop()
        return parts

    def _float(self, value: float) -> object:
        if not self._text:
            return self._tag("!float", value if gives_back_float(value) else repr(value))
        return value if math.isfinite(value) else self._tag("!float", repr(value))

    def _decimal(self, value: Decimal) -> object:
        return self._tag("!decimal", str(value))

    def _bytes(self, value: bytes) -> object:
        if not self._text:
            return value
        return self._tag("!bytes", b2a_base64(value, newline=False).decode())

    def _list(self, value: list[object]) -> object:
        return self._members(value)

    def _tuple(self, value: tuple[object, ...]) -> object:
        return self._tag("!tuple", self._members(value))

    def _set(self, value: set[Any]) -> object:
        if len(value) > limits.ALIKE:
            self._check_hashes(value)
        if not self._text and value:
            kinds = {type(member) for member in value}
            if kinds in ({str}, {bytes}) or (
                kinds == {int} and all(abs(member) < LIMIT for member in value)
            ):
                self._unordered(value)
                return frozenset(value)
        return self._tag("!set", self._unordered(value))

    def _frozenset(self, value: frozenset[object]) -> object:
        if len(value) > limits.ALIKE:
            self._check_hashes(value)
        return self._tag("!frozenset", self._unordered(value))

    def _check_hashes(self, members: Collection[object]) -> None:
        try:
            limits.check_hashes(members)
        except ValueError as error:
            raise self._refuse(f"would take too long to read: {error}") from error

    def _unordered(self, value: Iterable[object]) -> list[object]:
        """Encode members in an order that is the same for equal sets."""
        path = self._enter()
        parts: list[object] = []
        for member in value:
            path.append(Member(member))
            parts.append(self.tree(member))
            path.pop()
        return sorted(parts, key=_order)

    def _dict(self, value: dict[Any, object]) -> object:
        if _NAMES.issuperset(map(type, value)):
            if self._text or ("" not in value and max(map(len, value), default=0) <= NAME_LIMIT):
                return self._str_dict(value)
            ordered = sorted(value)
        else:
            if len(value) > limits.ALIKE:
                self._check_hashes(value)
            try:
                ordered = sorted(value, key=keys.encode)
            except KeyEncodingError as error:
                raise self._refuse(f"has a key that cannot be one: {error}") from error
        path = self._enter()
        pairs: list[object] = []
        for key in ordered:
            path.append(key)
            pairs.append([self.tree(key), self.tree(value[key])])
            path.pop()
        return self._tag("!dict", pairs)

    def _str_dict(self, value: dict[str, Any]) -> object:
        path = self._enter()
        tree: dict[str, object] = {}
        for key in sorted(value):
            name = f"!{key}" if key[:1] == "!" else key
            member = value[key]
            if type(member) is str and member.isascii() and key.isascii():  # as in _members
                tree[name] = member
                continue
            path.append(key)
            if not key.isascii():
                check_text(key, path)
            tree[name] = self.tree(member)
            path.pop()
        return tree

    def _date(self, value: date) -> object:
        return self._tag("!date", value.isoformat())

    def _time(self, value: time) -> object:
        return self._tag("!time", datetimes.write_time(value))

    def _datetime(self, value: datetime) -> object:
        return self._tag("!datetime", datetimes.write_datetime(value))

    def _timedelta(self, value: timedelta) -> object:
        return self._tag("!timedelta", value // timedelta(microseconds=1))

    def _registered(self, value: object) -> object:
        if isinstance(value, registry.Foreign):
            name, version, data = value.name, value.version, value.data
        else:
            name, version, data = self._described(value)
        path = self._enter()
        path.append(INSIDE)
        payload = self.tree(data)
        path.pop()
        return self._tag(f"!@{name}/{version}", payload)

    def _described(self, value: object) -> tuple[str, int, object]:
        """Return the name, version and data of an object of a registered class."""
        found = registry.find(type(value))
        if found is None:
            hint = registry.hint(value)
            raise self._refuse(f"is of type {type(value).__qualname__}: {hint or _ALLOWED}")
        try:
            return found.name, found.version, found.encode(value)
        except (TypeError, ValueError) as error:
            raise self._refuse(f"cannot be stored as a {found.name}: {error}") from error


_ENCODERS: dict[type, Callable[[Encoder, Any], object]] = {
    float: Encoder._float,
    Decimal: Encoder._decimal,
    bytes: Encoder._bytes,
    list: Encoder._list,
    tuple: Encoder._tuple,
    set: Encoder._set,
    frozenset: Encoder._frozenset,
    dict: Encoder._dict,
    date: Encoder._date,
    time: Encoder._time,
    datetime: Encoder._datetime,
    timedelta: Encoder._timedelta,
}


_PLAIN: dict[type, Callable[[Any], object]] = {}


def accept(cls: type, plain: Callable[[Any], object]) -> None:
    """Encode objects of a class as the value that ``plain`` makes of them, and so return that."""
    _PLAIN[cls] = plain
    _ENCODERS[cls] = lambda encoder, value: encoder.tree(plain(value))


def _order(part: object) -> tuple[str, str]:
    return type(part).__name__, compact_json().order(part)

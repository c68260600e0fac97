"""Items: trees and entries as DynamoDB's attribute values, and their sizes.

Knows the layout of an item and nothing of requests. Values take DynamoDB's own types
wherever those can hold them; the codec has tagged all others before (``codec.Form.TREE``).

======= ==== ==========================================================================
``pk``  S    the map (``keys.partition``)
``sk``  S    the encoded key (``keys.encode``)
``v``   any  the value
``t``   S    how to read a bare number in ``v``: ``int``, ``float`` or ``decimal``
``etag``  N  the write's 64-bit nonce
``x``   N    epoch seconds from which the entry is absent; the table's TTL attribute
``f``   N    3: a head, whose ``v`` names the parts of the value (``ports.heads``). An item with
              another ``f`` is of a later format, and raises StoreTooNew here
======= ==== ==========================================================================

Invariant: ``decode(encode(tree)) == tree`` to the last of 38 digits; a number that
DynamoDB would round is refused.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import StoreTooNew, ValueDecodingError, ValueEncodingError, ValueTooLarge
from lpcm.ports import Stored, damaged
from lpcm.values.form import HEAD
from lpcm.values.limits import ALIKE, check_hashes
from lpcm.values.native_number import DIGITS, LIMIT, keeps
from lpcm.values.path import shown
from lpcm.values.size import too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.ports import Cell, Put

__all__ = [
    "ITEM_LIMIT",
    "LARGE",
    "check_format",
    "checked",
    "decode",
    "encode",
    "entry",
    "etag",
    "head",
    "item",
    "key",
    "number",
    "size",
    "weight",
]

ITEM_LIMIT: Final = 409_600
"""Bytes of one item, names included: 400 KB."""
LARGE: Final = {"N": "3"}
"""The attribute ``f`` of a head."""
_NUMBER_LIMIT: Final = 400
"""Characters and exponent of a number that is read: DynamoDB's have 38 digits, from 1E-130 to
1E+126, and some engines write the zeros of the exponent out."""


# Values


def encode(part: Any) -> dict[str, Any]:
    r"""Return the attribute value of a tree.

    **Raises** ValueEncodingError for a number that DynamoDB would round.

    >>> encode({"name": "pi", "digits": [3, 1, 4], "seen": frozenset({"a"}), "raw": b"\0"})
    {'M': {'name': {'S': 'pi'}, 'digits': {'L': [{'N': '3'}, ...]}, 'seen': {'SS': ['a']}, ...}}
    >>> encode(10**38)
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueEncodingError: DynamoDB would round 1000...: it keeps 38 digits, ...
    """
    encoder = _ENCODERS.get(type(part))
    if encoder is None:
        raise ValueEncodingError(f"DynamoDB holds no {type(part).__name__}: {part!r}")
    return encoder(part)


def _encode_number(part: float | Decimal) -> dict[str, Any]:
    return {"N": number(part)}


def _encode_set(part: frozenset[Any]) -> dict[str, Any]:
    kinds = {type(member) for member in part}
    if kinds == {str}:
        return {"SS": sorted(part)}
    if kinds == {bytes}:
        return {"BS": [b64encode(member).decode() for member in sorted(part)]}
    if kinds <= {int, Decimal}:  # fractions are in sets of others alone
        return {"NS": [number(member) for member in sorted(part)]}
    raise ValueEncodingError(f"DynamoDB holds no such set: {part!r}")


def _encode_list(part: list[Any]) -> dict[str, Any]:
    # Text without a call: most parts are.
    return {"L": [{"S": each} if type(each) is str else encode(each) for each in part]}


def _encode_dict(part: dict[str, Any]) -> dict[str, Any]:
    members = part.items()
    return {"M": {k: {"S": each} if type(each) is str else encode(each) for k, each in members}}


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    str: lambda part: {"S": part},
    int: _encode_number,
    bool: lambda part: {"BOOL": part},
    type(None): lambda _: {"NULL": True},
    float: _encode_number,
    Decimal: _encode_number,
    bytes: lambda part: {"B": b64encode(part).decode()},
    list: _encode_list,
    dict: _encode_dict,
    frozenset: _encode_set,
}


def number(value: float | Decimal) -> str:
    """Return a number as DynamoDB's text, exact.

    >>> number(7), number(0.1), number(Decimal("1E+125"))
    ('7', '0.1', '1E+125')
    """
    # The first is what keeps says of it, without the call.
    exact = -LIMIT < value < LIMIT if type(value) is int else keeps(value)
    if not exact:
        raise ValueEncodingError(
            f"DynamoDB would round {value!s:.60}: it keeps {DIGITS} digits, of 1E-130 to 1E+126"
        )
    return str(value)


def decode(attribute: Mapping[str, Any]) -> Any:
    """Return the tree of an attribute value. Whole numbers are ints, others Decimals.

    >>> decode({"L": [{"N": "1"}, {"N": "0.5"}, {"M": {"a": {"NULL": True}}}]})
    [1, Decimal('0.5'), {'a': None}]
    >>> decode({"Q": "?"})
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueDecodingError: not an attribute value of DynamoDB: {'Q': '?'}
    """
    try:
        ((tag, payload),) = attribute.items()
        return payload if tag == "S" else _DECODERS[tag](payload)
    except ValueDecodingError:
        raise
    except RecursionError as error:
        raise ValueDecodingError("an attribute value of DynamoDB that nests too deep") from error
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueDecodingError(
            f"not an attribute value of DynamoDB: {shown(attribute)}"
        ) from error


def _decode_number(text: str) -> int | Decimal:
    if len(text) > _NUMBER_LIMIT:
        raise ValueError(f"a number of {len(text)} characters")
    if text.isdecimal() and len(text) <= DIGITS:
        return int(text)
    exact = Decimal(text)
    if not -_NUMBER_LIMIT < exact.adjusted() < _NUMBER_LIMIT:  # before the digits are written out
        raise ValueError(f"an exponent of {exact.adjusted()}")
    if exact.adjusted() >= DIGITS:  # no int of lpcm's; so it can be written as it was read
        sign, digits, exponent = exact.as_tuple()
        kept = digits[: len("".join(map(str, digits)).rstrip("0"))]
        return Decimal((sign, kept, int(exponent) + len(digits) - len(kept)))
    return int(exact) if exact == exact.to_integral_value() else exact


def _number_set(members: list[str]) -> frozenset[int | Decimal]:
    numbers = list(map(_decode_number, members))
    if len(numbers) > ALIKE:
        try:
            check_hashes(numbers)
        except ValueError as error:
            raise ValueDecodingError(f"not a set of DynamoDB: {error}") from error
    return frozenset(numbers)


def _decode_binary(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "N": _decode_number,
    "S": str,
    "B": _decode_binary,
    "BOOL": bool,
    "NULL": lambda _: None,
    "L": lambda members: [decode(member) for member in members],
    "M": lambda members: {name: decode(member) for name, member in members.items()},
    "SS": frozenset,
    "NS": _number_set,
    "BS": lambda members: frozenset(map(_decode_binary, members)),
}


# Entries


def key(map: str, sk: str) -> dict[str, Any]:
    """Return an entry's primary key."""
    return {"pk": {"S": map}, "sk": {"S": sk}}


def item(map: str, sk: str, cell: Cell, nonce: int, expires: float | None) -> dict[str, Any]:
    """Return an entry as an item."""
    data, kind = cell
    made = {"pk": {"S": map}, "sk": {"S": sk}, "v": encode(data), "etag": {"N": str(nonce)}}
    if kind == HEAD:
        made["f"] = LARGE
    elif kind is not None:
        made["t"] = {"S": kind}
    if expires is not None:
        made["x"] = {"N": number(expires)}
    return made


def entry(item: Mapping[str, Any] | None, now: float) -> Stored | None:
    """Return the entry of an item; None where there is no item, or the entry has expired.

    An item whose attributes have other types than lpcm's is a ``ports.damaged`` entry.
    """
    if not item:
        return None
    check_format(item)
    try:
        expires = None
        if "x" in item:
            expires = float(item["x"]["N"])
            if expires <= now:
                return None
        kind = item["t"]["S"] if "t" in item else HEAD if "f" in item else None
        data = decode(item["v"]) if "v" in item else _emptied(item)
        return Stored(data, kind, etag(item), expires)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        return _damaged(item, error)


def head(item: Mapping[str, Any]) -> Stored:
    """Return the entry of an item whose value was not read."""
    check_format(item)
    return Stored(None, HEAD if "f" in item else None, etag(item), _expiry(item))


_OF_EMPTIED: Final = {"pk", "sk", "etag", "x"}


def _emptied(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of a set that a native update emptied, which removes the attribute.

    DynamoDB holds no empty set. lpcm stores an empty set by its tag, but other programs that write
    this layout may leave such an item: it has an etag of 64 bits, and no other attributes than the
    layout's.
    """
    if item.keys() <= _OF_EMPTIED and -(2**63) <= int(item["etag"]["N"]) < 2**63:
        return {"!set": []}
    raise ValueError("no attribute v")


def _damaged(item: Mapping[str, Any], error: Exception) -> Stored:
    why = [
        f"the attribute {name} is {shown(item[name])}"
        for name, kind in (("x", "N"), ("t", "S"))
        if name in item and list(item[name]) != [kind]
    ]
    if "v" not in item:
        why.append("there is no attribute v")
    return damaged("; ".join(why) or str(error), etag(item), _expiry(item))


def _expiry(item: Mapping[str, Any]) -> float | None:
    try:
        return float(item["x"]["N"]) if "x" in item else None
    except (LookupError, TypeError, ValueError):
        return None


def check_format(item: Mapping[str, Any]) -> None:
    """Refuse an item of a later format, whose attributes may mean something else."""
    if "f" in item and item["f"] != LARGE:
        raise StoreTooNew(
            f"the entry {item.get('sk', {}).get('S')!r:.60} is of a later format than this version "
            "of lpcm reads and writes: upgrade lpcm"
        )


def etag(item: Mapping[str, Any]) -> int:
    """Return an item's etag; 0 where it has none: another program may have written the item."""
    try:
        return int(item["etag"]["N"]) if "etag" in item else 0
    except (LookupError, TypeError, ValueError):
        return _odd_etag(item["etag"])  # type: ignore[no-any-return]  # a Decimal, which a condition takes


def _odd_etag(attribute: Mapping[str, Any]) -> Any:
    """Return a number that a condition can compare; 0 for an etag that is no number."""
    try:
        return Decimal(attribute["N"])
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return 0


# Sizes


def checked(map: str, sk: str, op: Put, where: str, most: int | None) -> dict[str, Any]:
    """Return what an op puts as an item, whose value has at most ``most`` bytes.

    The value is weighed before the item is made: as attribute values it takes up to 17 times the
    memory. **Raises** ValueTooLarge; over DynamoDB's limit, too.
    """
    cell, nonce, expires, _ = op
    data = cell.data
    if most is not None and (length := _weight(data)) > most:
        raise too_large(where, length, most)
    # Of shorter text no item is too large: the rest is at most 4 KB.
    if type(data) is not str or len(data) >= ITEM_LIMIT // 8:
        length = weight(map, sk, cell, nonce, expires)
        if length > ITEM_LIMIT:
            raise ValueTooLarge(
                f"{where}: the entry {sk!r:.60} takes {length:,} bytes, over DynamoDB's limit of "
                f"{ITEM_LIMIT:,}; nothing was sent"
            )
    return item(map, sk, cell, nonce, expires)


def weight(map: str, sk: str, cell: Cell, nonce: int, expires: float | None) -> int:
    """Return the size of an entry as an item, by DynamoDB's rules, without making the item.

    >>> from lpcm.ports import Cell
    >>> weight("users", "é", Cell([-100, True], None), 0, None)
    26
    """
    data, kind = cell
    total = len("pkskvetag") + _text_size(map) + _text_size(sk) + _weight(nonce) + _weight(data)
    if kind == HEAD:
        total += len("f") + _weight(int(LARGE["N"]))
    elif kind is not None:
        total += len("t") + _text_size(kind)
    if expires is not None:
        total += len("x") + _weight(expires)
    return total


def size(item: Mapping[str, Any]) -> int:
    """Return the size of an item in bytes, by DynamoDB's rules.

    >>> size({"pk": {"S": "é"}, "v": {"L": [{"N": "-100"}, {"BOOL": True}]}})
    14
    """
    return sum(_text_size(name) + _weight(decode(value)) for name, value in item.items())


def _weight(part: Any) -> int:
    """Return the size of a tree as an attribute value."""
    kind = type(part)
    if kind is str:
        return len(part) if part.isascii() else len(part.encode())
    if kind is dict:
        return 3 + sum(1 + _text_size(name) + _weight(member) for name, member in part.items())
    if kind is list:
        return 3 + sum(1 + _weight(member) for member in part)
    if kind is bytes:
        return len(part)
    if kind is frozenset:
        return sum(map(_weight, part))
    if kind is bool or part is None:
        return 1
    text = number(part)
    if kind is int:  # as ``_number_size``, in a tenth of its time
        digits = text.lstrip("-").rstrip("0")
        return (len(digits) + 1) // 2 + 1 + text.startswith("-")
    return _number_size(text)


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _number_size(text: str) -> int:
    """Return a number's size: a byte for two digits on each side of the point, 1, 1 for a minus.

    AWS calls its own formula approximate; this is the larger of two engines' results.
    """
    negative, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    significant = "".join(map(str, digits))
    whole = len(significant.lstrip("0")) + exponent
    significant = significant.strip("0")
    if 0 < whole < len(significant):
        pairs = (whole + 1) // 2 + (len(significant) - whole + 1) // 2
    else:
        pairs = (len(significant) + 1) // 2
    return pairs + 1 + negative

"""Keys: from Python values to text that sorts like the values, and back.

Responsible for two encodings and nothing else: ``encode`` gives the sort key of an entry,
``partition`` the partition that a map's entries share. Knows no store.

Invariants, for any two keys that ``encode`` takes: ``encode(a) == encode(b)`` iff
``a == b``, and within a type ``encode(a) < encode(b)`` iff ``a < b``, comparing text by
code point (which orders UTF-8 bytes alike). Types follow each other in the order of the
table. The format is frozen: entries in files and tables depend on it.

========== ==================================== ====================
tag        type                                 example
========== ==================================== ====================
``!0``     None                                 ``!0``
``!1``     int, float, Decimal, bool            ``42`` → ``!1b42``
``!2``     bytes                                ``b"ab"`` → ``!2ab``
``!3``     date                                 ``!32026-05-01``
``!4``     datetime, naive                      ``!42026-05-01T12:00:00``
``!5``     datetime, aware: its instant in UTC  ``!52026-05-01T10:00:00``
``!6``     time, naive                          ``!612:00:00``
``!7``     time, aware                          microseconds less the offset
``!8``     timedelta                            microseconds, as a number
``!9``     UUID                                 its usual text
``!:``     tuple                                ``("eu", 7)`` → ``!:eu !1a7 ``
(none)     str                                  ``pi`` → ``pi``
========== ==================================== ====================

Text is unchanged, but for its first character where that is ``!`` or sorts before it,
the empty string (``!?``), and NUL and U+0001 anywhere (no NUL ever reaches a store).
Elements of a tuple end in a space; in their text, and in bytes, every character up to
``!`` is escaped as ``!`` and the character 64 places on (``@`` to ``a``), which sorts
after every tag and before every other character.

A number is its exact value: a letter for its decimal exponent (``a`` for 0, so ``b`` says
two digits before the point; ``Z`` for -1; four digits follow ``y`` and ``C`` beyond 23),
then its digits; below zero all of it mirrored, after ``-`` and before ``~``.

Aware datetimes go by their instant, also where Python's ``==`` does not: in the hour that
a zone repeats, it calls both passes equal, and neither equal to another zone's.
"""

from __future__ import annotations

import math
import re
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from lpcm.errors import KeyEncodingError, KeyTooLong, ValueDecodingError
from lpcm.values.numpy_number import numpy_number
from lpcm.values.partitions import partition
from lpcm.values.path import shown
from lpcm.values.raw_key import RawKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    _Scalar: TypeAlias = str | bytes | float | Decimal | UUID | date | time | timedelta | None
    Key: TypeAlias = _Scalar | tuple["Key", ...]  # bool and int are floats, a datetime a date

__all__ = ["LIMIT", "RawKey", "decode", "encode", "key_of", "partition", "prefix_range"]

LIMIT: Final = 1024
"""Bytes of UTF-8 an encoded key may have: DynamoDB's limit for a sort key."""

_END: Final = "\U0010ffff" * (LIMIT // 4)  # every range ends before this text, so it is no key
_DEPTH_LIMIT: Final = 32
_EXPONENT_LIMIT: Final = 9999
_LONG_INT: Final = 2048  # bits; a process may refuse str() of 641 digits
_WHOLE_LIMIT: Final = 1000  # decimal exponent from which a whole number stays a Decimal
_ALLOWED: Final = (
    "use str, bytes, int, float, bool, None, Decimal, UUID, date, time, datetime, timedelta "
    "or a tuple of these"
)

_MICROSECOND = timedelta(microseconds=1)
_DAY_US = 86_400_000_000

_ESCAPES = {code: f"!{chr(code + 64)}" for code in range(34)}
_ESCAPED = re.compile("!([@-a])")

_LETTERS = "".join(map(chr, [*range(ord("B"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)]))
_MIRROR = str.maketrans("0123456789" + _LETTERS, "9876543210" + _LETTERS[::-1])


def encode(key: object) -> str:
    """Return the sort key of a Python key.

    **Raises** KeyEncodingError for a type or value that no key can have, KeyTooLong for over
    1,024 bytes.

    >>> encode("pi"), encode(7), encode(12.5), encode(("eu", 7))
    ('pi', '!1a7', '!1b12.5', '!:eu !1a7 ')
    >>> encode(True) == encode(1.0) == encode(Decimal(1))
    True
    >>> encode(("a", [1]))
    Traceback (most recent call last):
        ...
    lpcm.errors.KeyEncodingError: key[1] is a list, which no key can be: use str, bytes, ...
    """
    if type(key) is str and key > '"' and key.isascii() and "\x01" not in key and "\x00" not in key:
        if len(key) <= LIMIT:
            return key
        raise _too_long(key, len(key))
    if type(key) is RawKey:
        return key.sk
    encoded = _text(key, "key") if isinstance(key, str) else _element(key, "key", 0)
    if len(encoded) * 4 >= LIMIT:
        size = len(encoded.encode())
        if size > LIMIT or encoded == _END:
            raise _too_long(key, size)
    return encoded


def _too_long(key: object, size: int) -> KeyTooLong:
    shown = f"{ascii(key)[:50]}..." if isinstance(key, (str, bytes)) else f"a {type(key).__name__}"
    return KeyTooLong(f"key {shown} takes {size} bytes encoded, over the limit of {LIMIT}")


def _text(key: str, where: str) -> str:
    """Encode a top-level string."""
    text = _utf8(key, where)
    if not text:
        return "!?"
    first, rest = text[0], text[1:]
    if "\x00" in rest or "\x01" in rest:
        rest = rest.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return (_ESCAPES[ord(first)] if first <= "!" else first) + rest


def _utf8(key: str, where: str) -> str:
    text = str.__str__(key)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise KeyEncodingError(
            f"{where} has a lone surrogate at position {error.start}, which is no text: {key!a}"
        ) from None
    return text


def _element(key: object, where: str, depth: int) -> str:
    """Encode a member of a tuple, or at the top any key but a string."""
    match key:
        case None:
            return "!0"
        case str():
            return _utf8(key, where).translate(_ESCAPES) or "!?"
        case int():
            return f"!1{_whole(int(key), where)}"
        case float() | Decimal():
            return f"!1{_number(key, where)}"
        case bytes():
            return f"!2{bytes.decode(key, 'latin-1').translate(_ESCAPES)}"
        case tuple():
            return _tuple(key, where, depth)
        case datetime() | date() | time() | timedelta():
            return _moment(key, where)
        case _ if _is_uuid(key):
            return f"!9{key}"
        case _ if (number := numpy_number(key)) is not None:
            return f"!1{_number(number, where)}"
        case _:
            raise KeyEncodingError(
                f"{where} is a {type(key).__name__}, which no key can be: {_ALLOWED}"
            )


def _is_uuid(key: object) -> bool:
    # uuid takes 2 ms to import; a program that has a UUID has imported it.
    return type(key).__name__ == "UUID" and type(key) is getattr(
        sys.modules.get("uuid"), "UUID", None
    )


def _decode_uuid(body: str) -> UUID:
    from uuid import UUID  # see _is_uuid

    return UUID(body)


def _tuple(key: tuple[object, ...], where: str, depth: int) -> str:
    if depth == _DEPTH_LIMIT:
        raise KeyEncodingError(f"{where}: tuples nest more than {_DEPTH_LIMIT} deep")
    parts: list[str] = []
    size = 0
    for i, part in enumerate(key):
        parts.append(_element(part, f"{where}[{i}]", depth + 1))
        size += len(parts[-1]) + 1
        if size > LIMIT:  # checked here: to encode all of t = (t, t), repeated, takes for ever
            raise KeyTooLong(f"{where} takes over {LIMIT} bytes encoded, the limit of a whole key")
    return "!:" + "".join([f"{part} " for part in parts])


def _whole(number: int, where: str) -> str:
    if number.bit_length() > _LONG_INT:
        if number.bit_length() > 33_220:  # 10**10000
            raise _huge_exponent(where)
        return _number(Decimal(number), where)
    digits = str(abs(number))
    if len(digits) > 24:
        return _signed(_scientific(len(digits) - 1, digits.rstrip("0")), negative=number < 0)
    if not number:
        return "0"
    return _signed(chr(96 + len(digits)) + digits, negative=number < 0)


def _huge_exponent(where: str) -> KeyTooLong:
    return KeyTooLong(f"{where} is a number with an exponent over {_EXPONENT_LIMIT}")


def _number(number: float | Decimal, where: str) -> str:
    # from_float: a context may trap Decimal(0.5).
    exact = number if isinstance(number, Decimal) else Decimal.from_float(number)  # noqa: FURB164
    if exact.is_nan():
        raise KeyEncodingError(f"{where} is NaN, which equals no key, not even itself")
    if exact.is_infinite():
        return _signed("z", negative=exact.is_signed())
    if exact.is_zero():
        return "0"
    power = exact.adjusted()
    if abs(power) > _EXPONENT_LIMIT:
        raise _huge_exponent(where)
    # str() of a million digits takes 1 ms, as_tuple() 100.
    digits = str(exact).partition("E")[0].replace(".", "").lstrip("-0").rstrip("0")
    return _signed(_scientific(power, digits), negative=exact.is_signed())


def _scientific(power: int, digits: str) -> str:
    """Encode digits[0].digits[1:] times ten to the power."""
    if 0 <= power <= 23:
        whole, fraction = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
        return f"{chr(97 + power)}{whole}{'.' if fraction else ''}{fraction}"
    if power > 23:
        return f"y{power:04}{digits}"
    if power >= -23:
        return f"{chr(91 + power)}{digits}"
    return f"C{_EXPONENT_LIMIT + power:04}{digits}"


def _signed(body: str, *, negative: bool) -> str:
    return f"-{body.translate(_MIRROR)}~" if negative else body


def _moment(key: date | time | timedelta, where: str) -> str:
    match key:
        case datetime():
            return _datetime(key, where)
        case date():
            return f"!3{key.isoformat()}"
        case time():
            return _time(key, where)
        case timedelta():
            exact = timedelta(key.days, key.seconds, key.microseconds)
            return f"!8{_whole(_alike(exact, key, where) // _MICROSECOND, where)}"


def _datetime(key: datetime, where: str) -> str:
    if type(key) is not datetime:
        exact = datetime.combine(datetime.date(key), datetime.timetz(key))
        key = _alike(exact, key, where)
    if key.utcoffset() is None:
        return f"!4{key.replace(tzinfo=None).isoformat()}"
    try:
        return f"!5{key.astimezone(UTC).replace(tzinfo=None).isoformat()}"
    except OverflowError:
        raise KeyEncodingError(f"{where} is {key!r}, outside UTC's calendar") from None


_M = TypeVar("_M", datetime, timedelta)
_N = TypeVar("_N", datetime, time)


def _alike(exact: _M, key: _M, where: str) -> _M:
    """Return the plain datetime or timedelta that equals one of a subclass."""
    if exact != key:  # pandas' have nanoseconds: without them two keys would be one
        raise KeyEncodingError(f"{where} is {key!r}, which is no whole number of microseconds")
    return exact


def _time(key: time, where: str) -> str:
    offset = key.utcoffset()
    if offset is None:
        return f"!6{key.replace(tzinfo=None).isoformat()}"
    if offset.microseconds:
        raise KeyEncodingError(f"{where} is {key!r}: its offset has a fraction of a second")
    since = timedelta(
        hours=key.hour, minutes=key.minute, seconds=key.second, microseconds=key.microsecond
    )
    # From under -24 h to under +48 h, so a day more keeps it positive.
    return f"!7{(since - offset) // _MICROSECOND + _DAY_US:012}"


def decode(sk: str) -> Key:
    """Return the key that encodes to ``sk``.

    A whole number comes back as int (from 1E+1000 on as Decimal), another as float where
    one equals it, else as Decimal; an aware datetime in UTC.

    >>> decode("pi"), decode("!1b12.5"), decode("!:eu !1a7 ")
    ('pi', 12.5, ('eu', 7))
    >>> decode("!x")
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueDecodingError: not an encoded key: '!x'
    """
    if sk > '"' and "\x01" not in sk and "\x00" not in sk and len(sk) <= LIMIT // 4:
        return sk
    if len(sk) > LIMIT:
        raise ValueDecodingError(f"not an encoded key, which has {LIMIT} bytes: {sk[:40]!r}...")
    digits = sk[3:]
    if sk[:2] == "!1" and digits.isdecimal() and digits.isascii() and digits[0] != "0":  # noqa: SIM102  # longer
        if len(digits) <= 24 and sk[2] == chr(96 + len(digits)):
            return int(digits)  # the int that _whole encodes as this text
    try:
        key = _decoded(sk)
        if encode(key) == sk:  # else the entry could not be found by its key
            return key
    except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError) as error:
        raise ValueDecodingError(f"not an encoded key: {sk!r}") from error
    raise ValueDecodingError(f"not an encoded key: {sk!r}, which were {encode(key)!r}")


def key_of(sk: str) -> Key | RawKey:
    """Return the key that encodes to ``sk``, or a RawKey where none does."""
    try:
        return decode(sk)
    except ValueDecodingError:
        return RawKey(sk)


def _decoded(sk: str) -> Key:
    if sk[0] != "!" or sk[1] in _ESCAPED_BY:
        if sk[0] == "!":
            sk = _ESCAPED_BY[sk[1]] + sk[2:]
        elif sk[0] <= "!":
            raise ValueError(sk)
        first, rest = sk[0], sk[1:]
        return first + rest.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")
    return _tuple_at(sk, 2, "", 1)[0] if sk[1] == ":" else _DECODERS[sk[1]](sk[2:])


def _tuple_at(text: str, at: int, end: str, depth: int) -> tuple[tuple[Key, ...], int]:
    """Read elements until ``end`` (a space; at the top the end of the text)."""
    if depth > _DEPTH_LIMIT:
        raise ValueError(text)
    parts: list[Key] = []
    part: Key
    while at < len(text) and text[at] != " ":
        if text.startswith("!:", at):
            part, at = _tuple_at(text, at + 2, " ", depth + 1)
        else:
            stop = text.index(" ", at)
            part, at = _part(text[at:stop]), stop
        if text[at] != " ":
            raise ValueError(text)
        parts.append(part)
        at += 1
    if text[at : at + 1] != end:
        raise ValueError(text)
    return tuple(parts), at


def _part(body: str) -> Key:
    if body[0] == "!" and body[1] not in _ESCAPED_BY:
        return _DECODERS[body[1]](body[2:])
    return _unescape(body)


def _unescape(body: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPED_BY[found[1]], body)


def _decode_number(body: str) -> int | float | Decimal:
    if body == "0":
        return 0
    negative = body[0] == "-"
    if negative:
        body = body[1:-1].translate(_MIRROR)
    if body == "z":
        return -math.inf if negative else math.inf
    letter, digits = body[0], body[1:]
    if letter in "yC":
        power = int(digits[:4]) - (_EXPONENT_LIMIT if letter == "C" else 0)
        digits = digits[4:]
    else:
        power = _POWERS[letter]
    digits = digits.replace(".", "")
    if not digits.isdecimal():
        raise ValueError(body)
    return _shortest(negative, digits.rstrip("0"), power)


def _shortest(negative: bool, digits: str, power: int) -> int | float | Decimal:  # noqa: FBT001
    sign = "-" if negative else ""
    if len(digits) - 1 <= power < 600:
        return int(sign + digits.ljust(power + 1, "0"))
    exact = Decimal((int(negative), tuple(map(int, digits)), power - len(digits) + 1))
    if len(digits) - 1 <= power < _WHOLE_LIMIT:
        return int(exact)  # see _LONG_INT
    if -400 < power < 400:
        near = float(exact)
        if math.isfinite(near) and Decimal.from_float(near) == exact:  # noqa: FURB164
            return near
    return exact


def _decode_time(body: str) -> time:
    """Return a time in UTC, or in the nearest zone that has this time."""
    micros = int(body) - _DAY_US
    offset = timedelta(0)
    if micros < 0:
        offset = timedelta(seconds=-(micros // 1_000_000))
    elif micros >= _DAY_US:
        offset = timedelta(seconds=-((micros - _DAY_US) // 1_000_000 + 1))
    wall = datetime(1, 1, 1) + (timedelta(microseconds=micros) + offset)  # noqa: DTZ001  # a time of day
    return wall.time().replace(tzinfo=timezone(offset) if offset else UTC)


def _naive(moment: _N) -> _N:
    if moment.tzinfo is not None:  # the tag says that there is none
        raise ValueError(moment)
    return moment


def _nothing(body: str, key: str | None) -> str | None:
    if body:
        raise ValueError(body)
    return key


_POWERS = {chr((97 if power >= 0 else 91) + power): power for power in range(-23, 24)}
_ESCAPED_BY = {chr(code + 64): chr(code) for code in range(34)}
_DECODERS: dict[str, Callable[[str], Key]] = {
    "0": lambda body: _nothing(body, None),
    "1": _decode_number,
    "2": lambda body: _unescape(body).encode("latin-1"),
    "3": date.fromisoformat,
    "4": lambda body: _naive(datetime.fromisoformat(body)),
    "5": lambda body: _naive(datetime.fromisoformat(body)).replace(tzinfo=UTC),
    "6": lambda body: _naive(time.fromisoformat(body)),
    "7": _decode_time,
    "8": lambda body: timedelta(microseconds=int(_decode_number(body))),
    "9": _decode_uuid,
    "?": lambda body: _nothing(body, ""),
}


def prefix_range(prefix: object) -> tuple[str, str]:
    """Return the range [low, high) of the encoded keys that begin with ``prefix``.

    For text and bytes: those that start with it. For a tuple: tuples whose first elements
    are its elements.

    >>> prefix_range("eu/"), prefix_range(("eu",))
    (('eu/', 'eu0'), ('!:eu ', '!:eu!'))
    >>> prefix_range(7)
    Traceback (most recent call last):
        ...
    lpcm.errors.KeyEncodingError: a prefix is str, bytes or tuple, not int 7
    """
    if not isinstance(prefix, (str, bytes, tuple)):
        raise KeyEncodingError(
            f"a prefix is str, bytes or tuple, not {type(prefix).__name__} {shown(prefix)}"
        )
    if isinstance(prefix, str) and not prefix:
        return "!?", _END
    low = encode(prefix)
    # The next text after all that begin with it; no key has a surrogate.
    body = low.rstrip("\U0010ffff")
    if not body:
        return low, _END
    following = ord(body[-1]) + 1
    return low, body[:-1] + chr(0xE000 if following == 0xD800 else following)

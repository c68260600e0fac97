"""Hypothesis strategies for keys and values, and what it means that a value came back.

Knows lpcm's documentation only, never its code: ``as_map_key`` and ``same`` are the models
that the code is tested against. What is generated is always accepted: keys fit 1,024 bytes
encoded, values nest at most a dozen deep, no value needs a registration.

Both strategies are cached, so call them as often as it reads well. Simplest comes first in
every ``one_of`` and list, for that is where Hypothesis shrinks to.
"""

# ruff: noqa: DTZ001, DTZ901  # naive datetimes are keys and values too

from __future__ import annotations

import functools
import math
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

__all__ = ["TRICKY_KEYS", "Colour", "Size", "as_map_key", "fingerprint", "keys", "same", "values"]


class Colour(StrEnum):
    """A str Enum: as a key it is its value."""

    RED = "red"
    EMPTY = ""


class Size(IntEnum):
    """An int Enum: as a key it is its value."""

    SMALL = 1
    HUGE = 2**70


BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its summer time is half an hour
ZONES = (
    UTC,
    timezone(timedelta(hours=2)),
    timezone(timedelta(hours=-5, minutes=-30)),
    timezone(timedelta(hours=23, minutes=59, seconds=59)),
    timezone(-timedelta(hours=23, minutes=59, seconds=59)),
    BERLIN,
    NEW_YORK,
    LORD_HOWE,
)
CLOCK_CHANGES = (
    datetime(2026, 3, 29, 2, 30),  # skipped in Berlin
    datetime(2026, 10, 25, 2, 30),  # twice in Berlin
    datetime(2026, 10, 25, 1, 30),
    datetime(2026, 11, 1, 1, 30),  # twice in New York
    datetime(2026, 4, 5, 1, 45),  # twice on Lord Howe Island
)

# What strings and bytes are made of: tags, escapes and their neighbours, then the edges of
# UTF-8's lengths and of the surrogates' gap.
LETTERS = (
    """a0!\x00\x01\x02\x1f "#/@AZ:?~\x7f\x80é\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"""
)

TRICKY_TEXTS = ("", "a", "ab", "b", "1", "!", "!!", "!0", "!1a1", "!?", "!:", " ", "  ", "a ", " a",
    "a!", "a\x00", "a\x01", "a\x00\x01", "a\x01\x01", "a\x01\x02", "a\x02", "\x00", "\x01", "\x02",
    "\x00a", "\x1f", '"', "#", "@", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff",
    "\U0010ffff" * 3, "red", "2026-05-01", "x" * 200)  # fmt: skip
TRICKY_NUMBERS: tuple[Any, ...] = (
    0, False, 0.0, -0.0, Decimal(0), Decimal("-0"), Decimal("0E+9999"), 1, True, 1.0, Decimal(1),
    Decimal("1.000"), -1, -1.0, 2, 9, 10, 11, 12, 12.5, -12, -12.5, Decimal("-12.55"), 99, 100, 0.1,
    Decimal("0.1"), -0.1, Decimal("-0.1"), 0.5, Decimal("0.5"), 0.05, Decimal("1E-9999"), 5e-324,
    -5e-324, 2.0**-24, Decimal("1E-23"), Decimal("1E-24"), Decimal("9E-24"), 10**23, 10**24, 1e23,
    1e24, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**38, 1.8e308,
    -1.7976931348623157e308, 10**999, 10**1000, Decimal("1E+1000"), Decimal("9.9E+9999"), math.inf,
    -math.inf, Decimal("Infinity"), Decimal("-Infinity"), Size.SMALL, Size.HUGE, 2**70,
)  # fmt: skip
TRICKY_BYTES = (b"", b"a", b"ab", b"b", b"!", b"a!", b" ", b"a ", b"\x00", b"\x01", b"a\x00",
    b"a\x00\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff")  # fmt: skip
TRICKY_MOMENTS: tuple[Any, ...] = (
    date.min, date(2026, 5, 1), date.max, datetime.min, datetime(2026, 5, 1),
    datetime(2026, 5, 1, 12), datetime(2026, 5, 1, 12, 0, 0, 1), datetime(2026, 5, 1, 12, fold=1),
    datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 1, 14, tzinfo=BERLIN),
    datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))),
    *(CLOCK_CHANGES[1].replace(tzinfo=BERLIN, fold=fold) for fold in (0, 1)),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    *(CLOCK_CHANGES[0].replace(tzinfo=BERLIN, fold=fold) for fold in (0, 1)),
    time.min, time(12), time(12, fold=1), time(12, 0, 0, 1), time(12, tzinfo=BERLIN), time.max,
    *(time(hour, tzinfo=zone) for hour in (0, 12, 23) for zone in ZONES[:5]),
    timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(days=1),
    timedelta(hours=24), timedelta.min, timedelta.max,
)  # fmt: skip
TRICKY_TUPLES: tuple[Any, ...] = (
    (), ((),), ((), ()), (((),),), ("",), ("", ""), ("a",), ("a", "b"), ("a ",), ("a", ""), ("ab",),
    ("a\x00",), ("a", None), (None,), ("!",), ("!0",), (" ",), (1,), (1, 0), (1.0,), (True, False),
    (0.1,), (Decimal("0.1"),), (-1,), (-1, 1), (b"a",), (b"a", b""), (b"\x00",), (("a",), "b"),
    (("a", "b"),), (("a", "b"), ()), ((1,), 2), ("eu", 7), ("eu", 70), ("eu/", 7), (UUID(int=0), 1),
    (date(2026, 5, 1), time(12)), (datetime(2026, 5, 1, 12),), (datetime(2026, 5, 1, 12, 0, 0, 1),),
    (datetime(2026, 5, 1, 12, tzinfo=UTC),), (datetime(2026, 5, 1, 14, tzinfo=BERLIN),),
)  # fmt: skip
TRICKY_KEYS: tuple[Any, ...] = (
    *TRICKY_TEXTS, *TRICKY_NUMBERS, *TRICKY_BYTES, *TRICKY_MOMENTS, *TRICKY_TUPLES,
    None, UUID(int=0), UUID(int=1), UUID(int=2**128 - 1), Colour.RED, Colour.EMPTY,
)  # fmt: skip
"""Keys chosen to collide, few enough to try every pair of them."""


def as_map_key(key: Any) -> Any:
    """Return the key as a map sees it: an Enum as its value, an aware datetime in UTC.

    Between results, Python's own ``==`` and ``<`` are those of keys. (Between aware
    datetimes they are not: in the hour that a zone repeats, both passes are equal.)
    """
    match key:
        case Enum():
            return key.value
        case datetime() if key.utcoffset() is not None:
            return key.astimezone(UTC)
        case tuple():
            return tuple(map(as_map_key, key))
        case _:
            return key


def same(one: Any, two: Any) -> bool:
    """Tell whether two values are equal with all their types, at every depth.

    Unlike ``==``, tells 1 from 1.0 and True, 0.0 from -0.0, Decimals by how they are
    written; nan is nan. Order counts in lists and tuples, not in dicts and sets. Aware
    datetimes are the same with the same clock, fold and ``ZoneInfo``, or else offset.
    """
    return bool(fingerprint(one) == fingerprint(two))


def fingerprint(value: Any) -> Any:
    """Return something hashable that is equal for values that are the same."""
    kind = type(value)
    match value:
        case float():
            return kind, value.hex()
        case Decimal():
            return kind, value.as_tuple()
        case list() | tuple():
            return kind, tuple(map(fingerprint, value))
        case dict():
            return kind, _bag(fingerprint(pair) for pair in value.items())
        case set() | frozenset():
            return kind, _bag(map(fingerprint, value))
        case datetime() | time():
            zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
            clock = value.replace(tzinfo=None, fold=0)
            return kind, clock, value.fold, value.utcoffset(), zone
        case _:
            return kind, value


def _bag(members: Any) -> frozenset[Any]:
    return frozenset(Counter(members).items())  # counted, as a set may hold two nans


def _texts(size: int) -> st.SearchStrategy[str]:
    return st.text(LETTERS, max_size=size) | st.text(max_size=size)


def _binary(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=size) | st.text(LETTERS, max_size=size // 2).map(str.encode)


def _decimals(digits: int) -> st.SearchStrategy[Decimal]:
    """Return finite Decimals with so many digits at the most, of any exponent a key may have."""
    return st.builds(
        lambda number, exponent: Decimal(number).scaleb(exponent),
        st.integers(-(10**digits) + 1, 10**digits - 1),
        st.sampled_from([0, -1, -2, 3, -23, -24, 23, 24, 400, -400, -9000, 9000])
        | st.integers(-50, 50),
    )


def _moments(*, calendar: st.SearchStrategy[datetime]) -> list[st.SearchStrategy[Any]]:
    folds = st.integers(0, 1)
    clock = st.sampled_from(CLOCK_CHANGES) | calendar
    return [
        st.dates(),
        st.builds(lambda moment, fold: moment.replace(fold=fold), clock, folds),
        st.builds(
            lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
            clock,
            st.sampled_from(ZONES),
            folds,
        ),
        st.builds(
            lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
            st.times(),
            st.sampled_from([None, *ZONES]),
            folds,
        ),
        st.timedeltas(),
    ]


# Two days from the ends, so that each datetime has its like in UTC.
_in_utc = st.datetimes(datetime.min + timedelta(days=2), datetime.max - timedelta(days=2))


def _scalars() -> list[st.SearchStrategy[Any]]:
    """Return strategies for keys of every type but tuples, each below 200 bytes encoded."""
    return [
        _texts(8),
        st.integers(-(2**70), 2**70),
        st.none(),
        st.booleans(),
        # Small enough in exponent for under 150 digits: a float is its exact value.
        st.floats(-(2.0**100), 2.0**100).filter(lambda x: not x or abs(x) > 2.0**-70),
        _decimals(20),
        st.sampled_from([1.0, 0.1, Decimal("0.1"), -0.0, math.inf, -math.inf]),
        _binary(8),
        *_moments(calendar=_in_utc),
        st.uuids(),
    ]


@functools.cache
def keys(*, enums: bool = True) -> st.SearchStrategy[Any]:
    """Return a strategy for keys of every type, tuples that nest included."""
    scalar = st.one_of(*_scalars(), *([st.sampled_from([*Colour, *Size])] if enums else []))
    # Five leaves of 200 bytes, and what holds them, are under 1,024.
    tuples = st.recursive(
        scalar,
        lambda part: st.lists(part, max_size=3).map(tuple),
        max_leaves=5,
    ).filter(lambda key: _leaves(key) <= 5)
    tricky = [key for key in TRICKY_KEYS if enums or not isinstance(key, Enum)]
    long = [_texts(60), st.integers(-(10**900), 10**900), st.floats(allow_nan=False)]
    return st.one_of(scalar, tuples, st.sampled_from(tricky), *long)


def _leaves(key: Any) -> int:
    return sum(map(_leaves, key)) if isinstance(key, tuple) else 1


def _hashable() -> st.SearchStrategy[Any]:
    """Return a strategy for what may be in a set."""
    scalar = st.one_of(
        *_scalars(),
        st.floats(),
        st.integers(-(10**60), 10**60),
        st.sampled_from([Decimal("NaN"), Decimal("-0"), Decimal("0E-5"), Decimal("1E+9999999")]),
    )
    return st.recursive(
        scalar,
        lambda part: st.lists(part, max_size=3).map(tuple) | st.frozensets(part, max_size=3),
        max_leaves=4,
    )


@functools.cache
def values() -> st.SearchStrategy[Any]:
    """Return a strategy for values of every type that needs no registration."""
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**80), 10**80),
        st.sampled_from([10**38 - 1, 10**38, -(10**38), 2**63, 2**63 - 1, -(2**63) - 1, 2**4000]),
        st.floats(),
        st.sampled_from([-0.0, 0.0, 1.0, 100.0, 1e126, 9e125, 1e-130, 1e-131, 5e-324, math.nan]),
        st.decimals(),
        _decimals(45),
        st.sampled_from(["NaN", "sNaN123", "-NaN7", "-0", "0.00", "1.50", "1E+5", "1E-999999"]).map(
            Decimal
        ),
        _texts(20),
        _binary(20),
        *_moments(calendar=st.datetimes()),
        st.uuids(),
        _sets(),
    )
    texts = st.sampled_from(["a", "b", "!", "!!", "!tuple", "!!tuple", "!x"]) | _texts(5)
    # Ten leaves show every pairing of containers; an example takes a millisecond or two.
    return st.recursive(
        leaf,
        lambda part: st.one_of(
            st.lists(part, max_size=4),
            st.lists(part, max_size=4).map(tuple),
            st.dictionaries(texts, part, max_size=4),
            st.dictionaries(keys(enums=False), part, max_size=3),
        ),
        max_leaves=10,
    )


def _sets() -> st.SearchStrategy[Any]:
    members = _hashable()
    return st.one_of(
        st.sets(members, max_size=4),
        st.frozensets(members, max_size=4),
        st.sets(_texts(4), max_size=4),  # of one kind, which DynamoDB holds as they are
        st.sets(st.integers(-(10**39), 10**39), max_size=4),
        st.sets(_binary(4), max_size=4),
    )

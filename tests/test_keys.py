"""Keys as text: equal where Python's keys are, ordered as they are, and never in another format."""

# ruff: noqa: DTZ001  # naive datetimes are keys too

from __future__ import annotations

import decimal
import math
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import groupby, pairwise, product
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from django.utils.safestring import SafeString
from hypothesis import assume, example, given, reject, settings
from hypothesis import strategies as st

from lpcm.errors import ConfigError, KeyEncodingError, KeyTooLong, ValueDecodingError
from lpcm.values.keys import LIMIT, decode, encode, partition, prefix_range
from tests.strategies import BERLIN, TRICKY_KEYS, Colour, Size, as_map_key, keys, same

MANY = settings(max_examples=5 * settings().max_examples)

# The kinds of keys that compare with each other, in the order in which they follow.
KINDS = ("None", "number", "bytes", "date", "naive datetime", "aware datetime", "naive time",
    "aware time", "timedelta", "UUID", "tuple", "str")  # fmt: skip


def kind_of(key: Any) -> str:
    """Return which of ``KINDS`` a key is."""
    match key:
        case int() | float() | Decimal():
            return "number"
        case datetime() | time():
            return f"{'naive' if key.utcoffset() is None else 'aware'} {type(key).__name__}"
        case None:
            return "None"
        case _:
            return type(key).__name__


def before(one: Any, two: Any) -> bool:
    """Tell whether a key is less than another: by kind, then as Python has it."""
    if kind_of(one) != kind_of(two):
        return KINDS.index(kind_of(one)) < KINDS.index(kind_of(two))
    if isinstance(one, tuple):
        for part, other in zip(one, two, strict=False):
            if part != other:
                return before(part, other)
        return len(one) < len(two)
    return one is not None and bool(one < two)


def shortest(key: Any) -> Any:
    """Return what a key comes back as, of all that equal it."""
    key = as_map_key(key)
    match key:
        case float() | Decimal() if Decimal(key).is_infinite():
            return float(key)
        case int() | float() | Decimal():
            exact = Decimal(key)
            if exact == 0 or (exact.adjusted() < 1000 and exact == exact.to_integral_value()):
                return int(exact)
            if abs(exact.adjusted()) < 400 and Decimal(float(exact)) == exact:
                return float(exact)
            return exact
        case _:
            return key


def check_laws(one: Any, two: Any) -> None:
    """Assert that two keys' texts compare as the keys do."""
    a, b = encode(one), encode(two)
    one, two = as_map_key(one), as_map_key(two)
    assert (a == b) == (one == two)
    assert (a < b) == (one != two and before(one, two))
    assert (a < b) == (a.encode() < b.encode())


# Laws


def test_every_pair_of_tricky_keys_keeps_both_laws():
    """Of keys chosen to collide, two have one text iff equal, and texts sort as keys do."""
    for one, two in product(TRICKY_KEYS, repeat=2):
        check_laws(one, two)


@MANY
@given(keys(), keys())
def test_any_two_keys_keep_both_laws(one, two):
    """Two keys have one text iff they are equal, and texts sort as keys do."""
    check_laws(one, two)


@st.composite
def close_pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw two keys of one kind with much in common."""
    number = st.integers(-9999, 9999) | st.floats(-100, 100) | st.decimals(-9, 9, places=2)
    atom = st.one_of(
        st.text('a!\x00\x01\x02 \x1f"~', max_size=3),
        number,
        st.binary(max_size=2),
        st.integers(-(10**30), 10**30).map(Decimal),
        st.none(),
    )
    kind = draw(
        st.sampled_from(
            [
                st.text('a!\x00\x01\x02 \x1f"~', max_size=4),
                number | st.decimals(allow_nan=False, allow_infinity=False, places=30),
                st.sampled_from([0.1, 10.0, 1e22, 1e23, 1e24, 2.0**-24]).flatmap(
                    lambda near: st.integers(-3, 3).map(lambda ulps: near + ulps * math.ulp(near))
                ),
                st.binary(max_size=3),
                st.recursive(
                    atom, lambda part: st.lists(part, max_size=3).map(tuple), max_leaves=4
                ),
                st.times(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])),
                st.timedeltas(timedelta(seconds=-1), timedelta(seconds=1)),
                st.datetimes(
                    datetime(2026, 10, 24),
                    datetime(2026, 10, 26),
                    timezones=st.just(UTC) | st.just(BERLIN),
                ),
            ]
        )
    )
    return draw(kind), draw(kind)


@MANY
@given(close_pairs())
@example((-12.5, -12))
@example((("a",), ("a\x00",)))
@example((datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)))
def test_close_keys_of_a_kind_keep_both_laws(pair):
    """Two keys of one kind that differ little have one text iff equal, and sort as they do."""
    try:
        check_laws(*pair)
    except KeyTooLong:  # a drawn tuple may be: what that raises is tested elsewhere
        reject()


@given(st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_one_key_in_every_type(number):
    """Numbers equal in Python have one text, whatever their types and digits."""
    exact = Decimal(number)
    forms = [number, exact, Decimal(f"{exact:f}.0" if exact == int(exact) else f"{exact:f}0")]
    forms += [form(number) for form in (int, float) if form(number) == number]
    assert {encode(form) for form in forms} == {encode(number)}
    assert {encode((form,)) for form in forms} == {encode((number,))}


@MANY
@given(keys())
def test_a_key_comes_back(key):
    """A key comes back equal, a number in its shortest type, an aware datetime in UTC."""
    back = decode(encode(key))
    if kind_of(key) == "aware time":  # in whatever zone can tell it
        assert back == key
        assert back.utcoffset() is not None
    else:
        assert back == as_map_key(key)
    assert encode(back) == encode(key)


def test_tricky_keys_come_back_as_the_type_promised():
    """A whole number comes back as int below 1E+1000, another as float if one equals it."""
    for key in TRICKY_KEYS:
        if kind_of(key) not in {"aware time", "tuple"}:
            back = decode(encode(key))
            assert type(back) is type(shortest(key)), key
            assert back == shortest(key)


@pytest.mark.parametrize(
    ("key", "back"),
    [
        (True, 1), (-0.0, 0), (2.0, 2), (Decimal("5.00"), 5), (Decimal("0.5"), 0.5),
        (Decimal("0.1"), Decimal("0.1")), (0.1, 0.1), (1e23, int(1e23)), (10**999, 10**999),
        (10**1000, Decimal("1E+1000")), (Decimal("1E-9999"), Decimal("1E-9999")),
        (Decimal("Infinity"), math.inf), (Colour.RED, "red"), (Size.HUGE, 2**70),
        ((True, (Decimal(2), Colour.EMPTY)), (1, (2, ""))),
        (datetime(2026, 5, 1, 14, tzinfo=BERLIN), datetime(2026, 5, 1, 12, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, fold=1), datetime(2026, 10, 25, 2, 30)),
        (time(12, tzinfo=BERLIN), time(12)),
        (time(12, tzinfo=UTC), time(12, tzinfo=UTC)),
        (time(12, tzinfo=timezone(timedelta(hours=2))), time(10, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_what_a_key_comes_back_as(key, back):
    """These keys come back in these types."""
    assert same(decode(encode(key)), back)


def test_both_passes_of_a_repeated_hour_are_keys():
    """The hour that a zone repeats has two keys, for Python calls its two passes equal."""
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1))
    assert first == second
    assert encode(first) < encode(second)
    assert encode(first) == encode(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert encode(second) == encode(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))


def test_kinds_follow_each_other():
    """Keys of mixed types sort by type first, in the order of the table."""
    ordered = sorted(TRICKY_KEYS, key=encode)
    assert (
        tuple(kind for kind, _ in groupby(ordered, lambda key: kind_of(as_map_key(key)))) == KINDS
    )


def test_a_subclass_is_what_it_equals():
    """An instance of a subclass is the key that it equals, in its text and when it comes back."""

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    class Octets(bytes):
        def decode(self, *_: object) -> str:
            return "something else"

    class Pair(NamedTuple):
        a: int
        b: int

    class Moment(datetime):
        def isoformat(self, *_: object) -> str:
            return "another text"

    assert encode(Text("pi")) == "pi"
    assert encode((Text("pi"),)) == encode(("pi",))
    assert encode(Octets(b"pi")) == encode(b"pi")
    assert encode(SafeString("pi")) == "pi"
    assert encode(SafeString("é ")) == encode("é ")
    assert encode(Pair(1, 2)) == encode((1, 2))
    assert encode(Moment(2026, 5, 1)) == encode(datetime(2026, 5, 1))


def test_a_numpy_number_is_what_it_equals():
    """A NumPy integer, boolean, float, str or bytes is the key of Python's that it equals."""
    for key, plain in [
        (np.int64(-7), -7),
        (np.uint8(200), 200),
        (np.bool_(1), True),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.5), 0.5),
        (np.str_("pi"), "pi"),
        (np.bytes_(b"pi"), b"pi"),
    ]:
        assert key == plain
        assert encode(key) == encode(plain)
        assert encode(("a", key)) == encode(("a", plain))
        assert type(decode(encode(key))) is type(decode(encode(plain)))
    with pytest.raises(KeyEncodingError, match="key is NaN"):
        encode(np.float32("nan"))


# The format


FROZEN: list[tuple[Any, str]] = [
    ("pi", "pi"),
    ("eu/7 é ~", "eu/7 é ~"),
    ("", "!?"),
    ("!", "!a"),
    ("!tuple", "!atuple"),
    ("a!", "a!"),
    (" a", "!`a"),
    ("\x00", "!@"),
    ("a\x00b", "a\x01\x01b"),
    ("a\x01b", "a\x01\x02b"),
    (None, "!0"),
    (0, "!10"),
    (7, "!1a7"),
    (42, "!1b42"),
    (-7, "!1-a2~"),
    (-42, "!1-Z57~"),
    (0.5, "!1Z5"),
    (-0.5, "!1-b4~"),
    (0.05, "!1Y5000000000000000277555756156289135105907917022705078125"),
    (12.5, "!1b12.5"),
    (-12.5, "!1-Z87.4~"),
    (Decimal("0.1"), "!1Z1"),
    (0.1, "!1Z1000000000000000055511151231257827021181583404541015625"),
    (10**23, "!1x100000000000000000000000"),
    (10**24, "!1y00241"),
    (-(10**24), "!1-C99758~"),
    (123 * 10**24, "!1y0026123"),
    (Decimal("1E-23"), "!1D1"),
    (Decimal("1E-24"), "!1C99751"),
    (Decimal("-1E-24"), "!1-y00248~"),
    (Decimal("1E-9999"), "!1C00001"),
    (Decimal("1.5E+9999"), "!1y999915"),
    (math.inf, "!1z"),
    (-math.inf, "!1-B~"),
    (b"", "!2"),
    (b"ab", "!2ab"),
    (b"\x00!\xff", "!2!@!aÿ"),
    (date(2026, 5, 1), "!32026-05-01"),
    (date(1, 1, 1), "!30001-01-01"),
    (datetime(2026, 5, 1, 12), "!42026-05-01T12:00:00"),
    (datetime(2026, 5, 1, 12, 0, 0, 5), "!42026-05-01T12:00:00.000005"),
    (datetime(2026, 5, 1, 12, tzinfo=BERLIN), "!52026-05-01T10:00:00"),
    (time(12), "!612:00:00"),
    (time(12, tzinfo=UTC), "!7129600000000"),
    (time(0, tzinfo=timezone(timedelta(hours=2))), "!7079200000000"),
    (timedelta(0), "!80"),
    (timedelta(days=1), "!8k86400000000"),
    (timedelta(microseconds=-1), "!8-a8~"),
    (UUID(int=1), "!900000000-0000-0000-0000-000000000001"),
    ((), "!:"),
    (((),), "!:!: "),
    (("eu", 7), "!:eu !1a7 "),
    (("", None), "!:!? !0 "),
    (("a b!", b" "), "!:a!`b!a !2!` "),
    ((("a",), 1.5), "!:!:a  !1a1.5 "),
]


@pytest.mark.parametrize(("key", "text"), FROZEN)
def test_the_format_is_frozen(key, text):
    """What is written today is read for ever, so these texts never change."""
    assert encode(key) == text
    assert decode(text) == as_map_key(key)


@given(st.text(st.characters(min_codepoint=ord('"'), exclude_categories=["Cs"]), min_size=1))
def test_a_plain_string_stands_as_it_is(text):
    """A person finds a string under its own text, unless it begins like an escape."""
    assert encode(text) == text


@given(keys())
def test_no_nul_reaches_a_store(key):
    """No text has a NUL, which SQLite's tools and some drivers cut off, or is empty."""
    text = encode(key)
    assert text
    assert "\x00" not in text
    assert len(text.encode()) <= LIMIT


@pytest.mark.parametrize(
    "text",
    ["", "!", "!x", "!0x", "!1", "!1a", "!1b", "!1ax", "!1?1", "!1z5", "!1-z5~",
    "!1y00", "!3", "!32026-13-01",
    "!4x", "!5x", "!6x", "!7x", "!8z", "!8", "!9", "!9x", "!?x", "!:a", "!:a  ", "!: ", "!:!:a ",
    "!:!x ", " a", "\x02a", "!2\u0100", "!79999999999999999999", "!:" * 100_000],
)  # fmt: skip
def test_other_text_is_refused(text):
    """Text that no key has is a ValueDecodingError, whatever is wrong with it."""
    with pytest.raises(ValueDecodingError, match="not an encoded key"):
        decode(text)


# Limits and refusals


@pytest.mark.parametrize(
    ("fits", "over"),
    [
        ("x" * 1024, "x" * 1025),
        ("é" * 512, "é" * 512 + "x"),
        ("\x00" + "x" * 1022, "\x00" + "x" * 1023),
        ("x" + "\x00" * 511, "x" + "\x00" * 512),
        (b"x" * 1022, b"x" * 1023),
        (b"\xff" * 511, b"\xff" * 512),
        (("x" * 1021,), ("x" * 1022,)),
        ((7,) * 204, (7,) * 205),
        (10**1017 - 1, 10**1018 - 1),
        (Decimal("9.9E+9999"), Decimal("1E+10000")),
        (Decimal("1E-9999"), Decimal("9E-10000")),
        (10**9999, 10**10_000),
        (-(10**9999), -(10**10_000)),
        (1, 2**1_000_000),
        (1, Decimal("1E+999999999999999999")),
        ("\U0010ffff" * 255, "\U0010ffff" * 256),  # the end of every range
    ],
    ids=lambda key: type(key).__name__,  # for a text is long, and an int may refuse to be one
)
def test_a_key_has_1024_bytes_at_the_most(fits, over):
    """A key over 1,024 bytes encoded, or with an exponent over 9,999, is KeyTooLong."""
    assert decode(encode(fits)) == fits
    with pytest.raises(KeyTooLong) as caught:
        encode(over)
    assert len(str(caught.value)) < 200
    with pytest.raises(KeyTooLong):
        encode((over,))


def test_a_tuple_that_holds_itself_twice_is_refused_at_once():
    """A tuple over the limit is refused without encoding all of it, which could take for ever."""
    doubling: Any = ("a",)
    for _ in range(30):
        doubling = (doubling, doubling)
    with pytest.raises(KeyTooLong):
        encode(doubling)


def nested(depth: int) -> Any:
    """Return a tuple of that many levels."""
    key: Any = ()
    for _ in range(depth - 1):
        key = (key,)
    return key


def test_tuples_nest_32_deep():
    """A tuple may nest 32 deep and no deeper."""
    assert decode(encode(nested(32))) == nested(32)
    with pytest.raises(KeyEncodingError, match="more than 32 deep"):
        encode(nested(33))


class Plain(Enum):
    """An Enum of neither str nor int."""

    ONE = 1


class Nanoseconds(datetime):
    """A datetime finer than its fields, as pandas has them."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (math.nan, "key is NaN, which equals no key"),
        (Decimal("NaN"), "key is NaN"),
        (Decimal("sNaN"), "key is NaN"),
        (["a"], "key is a list, which no key can be: use str, bytes, int"),
        ({"a"}, "key is a set"),
        ({}, "key is a dict"),
        (frozenset(), "key is a frozenset"),
        (bytearray(b"a"), "key is a bytearray"),
        (1j, "key is a complex"),
        (object(), "key is a object"),
        (str, "key is a type"),
        (Plain.ONE, "key is a Plain"),
        (np.timedelta64(1, "us"), "key is a timedelta64"),
        (np.datetime64(1, "ns"), "key is a datetime64"),
        (np.complex64(1), "key is a complex64"),
        (np.longdouble(1), "key is a longdouble"),
        (np.array(1), "key is a ndarray"),
        ("a\ud800", "key has a lone surrogate at position 1, which is no text"),
        (("a", [1]), r"key\[1\] is a list"),
        (("a", ("b", math.nan)), r"key\[1\]\[1\] is NaN"),
        (("a", "\udfff"), r"key\[1\] has a lone surrogate at position 0"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "outside UTC's calendar"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "outside UTC's calendar"),
        (time(12, tzinfo=timezone(timedelta(microseconds=1))), "fraction of a second"),
        (Nanoseconds(2026, 5, 1), "no whole number of microseconds"),
    ],
)
def test_what_no_key_can_be_is_refused(key, message):
    """A key of another type, or that equals nothing, is a KeyEncodingError that says which part."""
    with pytest.raises(KeyEncodingError, match=message) as caught:
        encode(key)
    assert not isinstance(caught.value, KeyTooLong)
    assert isinstance(caught.value, TypeError)


def test_a_decimal_context_changes_nothing():
    """Keys are exact under any Decimal context, even one that rounds or forbids floats."""
    with decimal.localcontext(prec=1, Emax=3, Emin=-3, traps=[decimal.FloatOperation]):
        assert encode(12.5) == "!1b12.5"
        assert decode("!1b12.5") == 12.5
        assert encode(Decimal("1E-9999")) == "!1C00001"
        assert decode("!1y02469") == Decimal("9E+246")


def test_long_numbers_need_no_long_int_text():
    """Keys work where the process writes ints of 640 digits only."""
    code = (
        "from lpcm.values.keys import encode, decode\n"
        "for key in (10**639, 10**700 - 1, 10**999, -10**1000 + 1, 7 * 10**5000):\n"
        "    assert decode(encode(key)) == key\n"
    )
    subprocess.run([sys.executable, "-X", "int_max_str_digits=640", "-c", code], check=True)


# Ranges


@given(st.text(max_size=4) | st.text("a!\x00\x01 \U0010ffff\ud7ff", max_size=3), keys())
@example("\U0010ffff", "\U0010ffff" * 254)
@example("\ud7ff", "\ud7ff")
def test_a_prefix_of_text_selects_what_starts_with_it(prefix, key):
    """The range of a str prefix holds the strings that start with it and no other key."""
    low, high = prefix_range(prefix)
    for text in (key, prefix + key if isinstance(key, str) else prefix):
        is_text = isinstance(text, str)
        assert (low <= encode(text) < high) == (is_text and as_map_key(text).startswith(prefix))


@given(st.binary(max_size=3), keys())
@example(b"\xff", b"\xff\xff")
def test_a_prefix_of_bytes_selects_what_starts_with_it(prefix, key):
    """The range of a bytes prefix holds the bytes that start with it and no other key."""
    low, high = prefix_range(prefix)
    for data in (key, prefix + key if isinstance(key, bytes) else prefix):
        expected = isinstance(data, bytes) and data.startswith(prefix)
        assert (low <= encode(data) < high) == expected


@given(st.lists(keys(), max_size=2).map(tuple), keys(), st.lists(keys(), max_size=2))
@example(("eu",), ("eu/", 7), [])
@example((1,), (1.0, 2), [])
def test_a_prefix_of_a_tuple_selects_what_starts_with_it(prefix, key, more):
    """The range of a tuple prefix holds the tuples that begin with its elements, and no others."""
    try:
        low, high = prefix_range(prefix)
        encode((*prefix, *more))
    except KeyTooLong:
        assume(False)
    for whole in (key, (*prefix, *more)):
        plain = as_map_key(whole)
        expected = isinstance(plain, tuple) and plain[: len(prefix)] == as_map_key(prefix)
        assert (low <= encode(whole) < high) == expected


@pytest.mark.parametrize("prefix", [7, 1.5, None, date(2026, 5, 1), ["a"], UUID(int=1)])
def test_only_text_bytes_and_tuples_are_prefixes(prefix):
    """A prefix of another type is refused, since nothing starts with it."""
    with pytest.raises(KeyEncodingError, match="a prefix is str, bytes or tuple"):
        prefix_range(prefix)


def test_a_prefix_is_refused_as_a_key_is():
    """A prefix that no key can have is refused as that key would be."""
    with pytest.raises(KeyEncodingError, match="lone surrogate"):
        prefix_range("\ud800")
    with pytest.raises(KeyTooLong):
        prefix_range("x" * 1025)


# Partitions

NAMES = st.text("ab/%2F\x00é", min_size=1, max_size=5) | st.text(min_size=1, max_size=20)


@given(NAMES, NAMES, NAMES, NAMES)
@example("a", "b", "a/b", "c")
@example("a", "%2F", "a", "/")
@example("a", "x", "a", "xy")
def test_no_partition_begins_another(namespace, name, other, another):
    """A policy made for one map's partition as a prefix matches no other map's."""
    if (namespace, name) != (other, another):
        assert not partition(other, another).startswith(partition(namespace, name))


@given(NAMES, NAMES, NAMES)
@example("a", "ab", "x")
def test_a_namespace_begins_only_its_own(namespace, other, name):
    """A policy made for a namespace matches all of its maps and no other namespace's."""
    assert partition(other, name).startswith(partition(namespace)) == (namespace == other)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("default", "users"), "default/users/"),
        (("default",), "default/"),
        (("eu/1", "50%"), "eu%2F1/50%25/"),
        (("a\x00\x1f\x7f", "é b"), "a%00%1F%7F/é b/"),
    ],
)
def test_the_format_of_partitions_is_frozen(names, text):
    """What is written today is read for ever, so these texts never change."""
    assert partition(*names) == text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("", "m"), "a namespace must be text of at least one character, not ''"),
        (("n", ""), "a map's name must be text of at least one character, not ''"),
        (("n", 7), "a map's name must be text of at least one character, not 7"),
        ((b"n", "m"), "a namespace must be text"),
        (("n", "\ud800"), "a map's name has a lone surrogate"),
        (("n", "x" * 1998), "take 2001 bytes, over the limit of 2000"),
        (("n", "/" * 666), "take 2001 bytes"),
    ],
)
def test_a_name_that_makes_no_partition_is_refused(names, message):
    """A name that is empty, no text or too long is a ConfigError that says which name."""
    with pytest.raises(ConfigError, match=message):
        partition(*names)


def test_a_partition_leaves_room_for_a_shard():
    """The longest names leave 48 of DynamoDB's 2,048 bytes free."""
    assert len(partition("n", "x" * 1997)) == 2000


def test_the_tricky_keys_are_what_they_are_for():
    """The keys tried in pairs include equal ones of different types, where there are such."""
    ordered = sorted(map(as_map_key, TRICKY_KEYS), key=encode)
    equal = {kind_of(one) for one, two in pairwise(ordered) if one == two and not same(one, two)}
    assert {"number", "tuple", "naive datetime"} <= equal

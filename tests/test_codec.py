"""Values in the two forms of stores: what goes in comes back, type and all, or is refused."""

# ruff: noqa: DTZ001  # naive datetimes are values too

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.utils.safestring import SafeString
from hypothesis import given, settings

from lpcm.errors import ValueDecodingError, ValueEncodingError
from lpcm.values.codec import Codec, Encoder, Form
from lpcm.values.compact_json import compact_json
from tests.strategies import BERLIN, Colour, same, values

MANY = settings(max_examples=5 * settings().max_examples)
TEXT = Codec(Form.TEXT)
TREE = Codec(Form.TREE)
both_forms = pytest.mark.parametrize("codec", [TEXT, TREE], ids=["text", "tree"])


def round_trip(codec: Codec, value: Any) -> Any:
    """Return what comes back of a value."""
    return codec.decode(*codec.encode(value))


def check_dynamodb(part: Any) -> None:
    """Assert that DynamoDB holds this part of a tree, and would give back the very same."""
    kind = type(part)
    if kind is int:
        assert abs(part) < 10**38
    elif kind is float:
        assert (not part and math.copysign(1, part) > 0) or 1e-130 <= abs(part) < 1e126
    elif kind is frozenset:
        assert {type(member) for member in part} in ({str}, {bytes}, {int})
        for member in part:
            check_dynamodb(member)
    elif kind is list:
        for member in part:
            check_dynamodb(member)
    elif kind is dict:
        for name, member in part.items():
            assert type(name) is str
            assert 1 <= len(name.encode()) <= 65_535
            check_dynamodb(member)
    else:
        assert part is None or kind in {bool, str, bytes}


def as_dynamodb(part: Any) -> Any:
    """Return a tree as DynamoDB gives it back: numbers without their type, maps in any order."""
    if type(part) is float:
        exact = Decimal(repr(part))
        return int(exact) if exact == exact.to_integral_value() else exact
    if type(part) is list:
        return list(map(as_dynamodb, part))
    if type(part) is dict:
        return {name: as_dynamodb(part[name]) for name in reversed(part)}
    return part


def check_sorted(value: Any) -> None:
    """Assert that dicts of str keys are in order, at every depth."""
    match value:
        case dict():
            if all(type(key) is str for key in value):
                assert list(value) == sorted(value)
            for member in value.values():
                check_sorted(member)
        case list() | tuple():
            for member in value:
                check_sorted(member)


# Round trips


@MANY
@given(values())
def test_a_value_comes_back_from_text(value):
    """A value comes back equal and with its types from a store of scalars and JSON text."""
    cell = TEXT.encode(value)
    if cell.kind is None:
        assert type(cell.data) in {str, int, float, bytes}
        assert type(cell.data) is not int or -(2**63) <= cell.data < 2**63
        assert cell.data == cell.data  # SQLite has no nan
    else:
        assert cell.kind == "json"
        assert type(cell.data) is str
    back = TEXT.decode(*cell)
    assert same(back, value)
    check_sorted(back)


@MANY
@given(values())
def test_a_value_comes_back_from_a_tree(value):
    """A value comes back equal and with its types from a tree of DynamoDB's own types."""
    cell = TREE.encode(value)
    if cell.kind is None:
        check_dynamodb(cell.data)
    else:
        assert cell.kind == type(value).__name__.lower()
        number = Decimal(repr(cell.data)) if cell.kind == "float" else Decimal(cell.data)
        digits = number.as_tuple().digits
        assert len(digits) <= 38
        assert not number or -130 <= number.adjusted() <= 125
    back = TREE.decode(as_dynamodb(cell.data), cell.kind)
    assert same(back, value)
    check_sorted(back)


@given(values())
def test_the_text_is_json_and_the_same_for_the_same_value(value):
    """The text is compact JSON that any language reads, with one text for one value."""
    cell = TEXT.encode(value)
    assert TEXT.encode(TEXT.decode(*cell)) == cell
    if cell.kind == "json":
        refuse: Any = pytest.fail
        tree = json.loads(cell.data, parse_constant=refuse)  # NaN and Infinity are not JSON
        assert json.dumps(tree, ensure_ascii=False, separators=(",", ":")) == cell.data


@both_forms
@pytest.mark.parametrize(
    "value",
    [
        2**20_000, -(2**20_000), {2**20_000}, {2**20_000: 1}, ["x" * 100_000], {"x" * 70_000: 1},
        {"": {"": 1}}, {"é" * 40_000: 1, "a": 2}, {"", "a"}, {b"", b"a"}, [[[[]]]], {(): ()},
        {True: 1, 2: "a", 2.5: "b", Decimal("0.1"): "c", 0.1: "d", "1": "e", b"1": "f"},
        {math.inf: 1, -math.inf: 2, None: 3, "!": 4, "!dict": 5, UUID(int=1): 6},
        {frozenset({1, (2, frozenset())})}, [0.1, Decimal("0.1")], {-0.0}, {Decimal("0.00")},
        Decimal("9" * 38), Decimal("9" * 39), Decimal("1E-130"), Decimal("1E-131"),
        Decimal("12345678901234567890.1234567890123456789"), 9.999e125, 1.0e126, 1e-130, 1e-131,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_extreme_values_come_back(codec, value):
    """These values, at the edges of the forms, come back equal and with their types."""
    if isinstance(value, dict) and 2**20_000 in value:
        with pytest.raises(ValueEncodingError, match="has a key that cannot be one"):
            codec.encode(value)
        return
    cell = codec.encode(value)
    if codec is TREE and cell.kind is None:
        check_dynamodb(cell.data)
    assert same(codec.decode(*cell), value)


@both_forms
def test_an_aware_moment_keeps_its_zone_and_fold(codec):
    """A ZoneInfo comes back as itself, another tzinfo as its offset, the fold as it was."""

    class Summer(tzinfo):
        def utcoffset(self, _when: datetime | None) -> timedelta:
            return timedelta(hours=2)

        def tzname(self, _when: datetime | None) -> str:
            return "summer"

        def dst(self, _when: datetime | None) -> None:
            return None

    for fold in (0, 1):
        for day in (datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30)):  # twice, never
            moment = day.replace(tzinfo=BERLIN, fold=fold)
            back = round_trip(codec, moment)
            assert same(back, moment)
            assert back.tzinfo is BERLIN
            assert back.astimezone(UTC) == moment.astimezone(UTC)
    back = round_trip(codec, datetime(2026, 5, 1, 12, tzinfo=Summer()))
    assert same(back, datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert round_trip(codec, time(12, tzinfo=Summer())).tzinfo == timezone(timedelta(hours=2))
    assert round_trip(codec, time(12, tzinfo=BERLIN)).tzinfo is BERLIN
    assert round_trip(codec, datetime(2026, 5, 1, tzinfo=UTC)).tzinfo is UTC
    assert round_trip(codec, datetime(2026, 5, 1, tzinfo=ZoneInfo("UTC"))).tzinfo == ZoneInfo("UTC")


def test_a_changed_or_unknown_zone_keeps_the_instant():
    """Where a zone's rules have changed the instant holds, where it is unknown the offset."""
    text = '{"!datetime":"2026-05-01T12:00:00+05:00[%s]"}'
    changed = TEXT.decode(text % "Europe/Berlin", "json")
    assert same(changed, datetime(2026, 5, 1, 9, tzinfo=BERLIN))
    for unknown in ("Mars/Olympus", "../etc/passwd"):
        back = TEXT.decode(text % unknown, "json")
        assert same(back, datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5))))


@both_forms
def test_dicts_come_back_in_key_order(codec):
    """A nested dict comes back in the order of its keys, those of mixed types as a map's are."""
    value = {"b": {"é": 1, "z": 2, "!": 3, "": 4}, "a": 1, "B": 2, "!z": 3}
    back = round_trip(codec, value)
    assert list(back) == ["!z", "B", "a", "b"]
    assert list(back["b"]) == ["", "!", "z", "é"]
    back = round_trip(codec, [{"a": 1, (1,): 2, 10: 3, 9.5: 4, None: 5, b"": 6, "": 7}])
    assert list(back[0]) == [None, 9.5, 10, b"", (1,), "", "a"]


def test_equal_sets_have_equal_cells():
    """Sets that are equal are stored alike, whatever order their members happen to have."""
    code = (
        "from lpcm.values.codec import *\n"
        "value = ({'a', 'bb', 'ccc', 1, (2,)}, frozenset('abcdefgh'))\n"
        "print([ascii(Codec(form).encode(value)) for form in Form])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "123"
    }
    assert len(runs) == 1


@both_forms
def test_a_users_key_is_never_a_tag(codec):
    """A dict with a key that looks like a tag comes back as that dict."""
    for key in ("!", "!!", "!tuple", "!!tuple", "!int", "!@Point/1", "!nonsense"):
        for value in ({key: [1]}, {key: 1, "a": 2}, {key: {key: {}}}, [{key: "0x1"}]):
            assert same(round_trip(codec, value), value)


# The format

MOMENT = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
FROZEN: list[tuple[Any, Any, Any]] = [
    ("pi", ("pi", None), ("pi", None)),
    (7, (7, None), (7, "int")),
    (2**63, ("9223372036854775808", "json"), (2**63, "int")),
    (10**38 - 1, ("9" * 38, "json"), (10**38 - 1, "int")),
    (-(10**38), ('{"!int":"-0x4b3b4ca85a86c47a098a224000000000"}', "json"),
        ({"!int": "-0x4b3b4ca85a86c47a098a224000000000"}, None)),
    (True, ("true", "json"), (True, None)),
    (None, ("null", "json"), (None, None)),
    (1.5, (1.5, None), (1.5, "float")),
    (1.0, (1.0, None), (1.0, "float")),
    (-0.0, (-0.0, None), ({"!float": "-0.0"}, None)),
    (1e126, (1e126, None), ({"!float": "1e+126"}, None)),
    (math.inf, (math.inf, None), ({"!float": "inf"}, None)),
    (math.nan, ('{"!float":"nan"}', "json"), ({"!float": "nan"}, None)),
    ([math.inf, 0.5], ('[{"!float":"inf"},0.5]', "json"),
        ([{"!float": "inf"}, {"!float": 0.5}], None)),
    (Decimal("1.5"), ('{"!decimal":"1.5"}', "json"), (Decimal("1.5"), "decimal")),
    (Decimal("1.50"), ('{"!decimal":"1.50"}', "json"), ({"!decimal": "1.50"}, None)),
    (Decimal("1E+3"), ('{"!decimal":"1E+3"}', "json"), ({"!decimal": "1E+3"}, None)),
    (Decimal("-0"), ('{"!decimal":"-0"}', "json"), ({"!decimal": "-0"}, None)),
    (Decimal("sNaN7"), ('{"!decimal":"sNaN7"}', "json"), ({"!decimal": "sNaN7"}, None)),
    (b"\x00\xff", (b"\x00\xff", None), (b"\x00\xff", None)),
    ([b"\x00\xff"], ('[{"!bytes":"AP8="}]', "json"), ([b"\x00\xff"], None)),
    ([1, "é", None], ('[1,"é",null]', "json"), ([1, "é", None], None)),
    ((1, [2]), ('{"!tuple":[1,[2]]}', "json"), ({"!tuple": [1, [2]]}, None)),
    ({"b": 1, "a": 2}, ('{"a":2,"b":1}', "json"), ({"a": 2, "b": 1}, None)),
    ({"!b": {"!": 1}}, ('{"!!b":{"!!":1}}', "json"), ({"!!b": {"!!": 1}}, None)),
    ({"": 1}, ('{"":1}', "json"), ({"!dict": [["", 1]]}, None)),
    ({1: 2, "a": 3, (1,): 4}, ('{"!dict":[[1,2],[{"!tuple":[1]},4],["a",3]]}', "json"),
        ({"!dict": [[1, 2], [{"!tuple": [1]}, 4], ["a", 3]]}, None)),
    (set(), ('{"!set":[]}', "json"), ({"!set": []}, None)),
    ({"a", "b"}, ('{"!set":["a","b"]}', "json"), (frozenset({"a", "b"}), None)),
    ({1, 2}, ('{"!set":[1,2]}', "json"), (frozenset({1, 2}), None)),
    ({b"a"}, ('{"!set":[{"!bytes":"YQ=="}]}', "json"), (frozenset({b"a"}), None)),
    ({1, "a"}, ('{"!set":[1,"a"]}', "json"), ({"!set": [1, "a"]}, None)),
    ({True}, ('{"!set":[true]}', "json"), ({"!set": [True]}, None)),
    (frozenset({"a"}), ('{"!frozenset":["a"]}', "json"), ({"!frozenset": ["a"]}, None)),
    (date(2026, 5, 1), ('{"!date":"2026-05-01"}', "json"), ({"!date": "2026-05-01"}, None)),
    (time(12, tzinfo=UTC), ('{"!time":"12:00:00+00:00"}', "json"),
        ({"!time": "12:00:00+00:00"}, None)),
    (time(12, tzinfo=BERLIN), ('{"!time":"12:00:00[Europe/Berlin]"}', "json"),
        ({"!time": "12:00:00[Europe/Berlin]"}, None)),
    (datetime(2026, 5, 1, 12), ('{"!datetime":"2026-05-01T12:00:00"}', "json"),
        ({"!datetime": "2026-05-01T12:00:00"}, None)),
    (MOMENT, ('{"!datetime":"2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]"}', "json"),
        ({"!datetime": "2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]"}, None)),
    (timedelta(days=-1), ('{"!timedelta":-86400000000}', "json"),
        ({"!timedelta": -86400000000}, None)),
    (UUID(int=1), ('{"!uuid":"00000000-0000-0000-0000-000000000001"}', "json"),
        ({"!uuid": "00000000-0000-0000-0000-000000000001"}, None)),
]  # fmt: skip


def slowly(value: Any) -> str:
    """Return a value's text by the encoder that knows all tags."""
    return compact_json().dumps(Encoder(Form.TEXT).whole(value))


@given(values())
def test_the_short_way_is_the_long_one(value):
    """A value without tags has the same text as by the way of all others."""
    text, kind = TEXT.encode(value)
    if kind == "json":
        assert text == slowly(value)


@pytest.mark.parametrize(
    "value",
    [
        {"b": [1, "é", None, True, 1.5], "a": {"": {}}, "ä": [[]]},
        {"!a": 1, "a": "!b", "c": ['"!']},
        [math.nan, math.inf], [10**38, -(10**38), 10**38 - 1], [0.0, -0.0, 1e300],
        {1: 2}, {"a": {1: 2}}, [b"x"], [{"a": {1}}], {"z": 1, "A": 2, " ": 3, "\x00": 4},
    ],
)  # fmt: skip
def test_what_needs_tags_has_them(value):
    """What only nearly needs no tags has the text of the long way, too."""
    assert TEXT.encode(value) == (slowly(value), "json")
    assert same(TEXT.decode(*TEXT.encode(value)), value)


@pytest.mark.parametrize(("value", "text", "tree"), FROZEN)
def test_the_format_is_frozen(value, text, tree):
    """What is written today is read for ever, so these cells never change."""
    for codec, cell in ((TEXT, text), (TREE, tree)):
        assert same(tuple(codec.encode(value)), cell)
        assert same(codec.decode(*cell), value)


# Limits and refusals


def nested(depth: int, step: Any) -> Any:
    """Return a value that is ``step`` applied so many times."""
    value: Any = 1
    for _ in range(depth):
        value = step(value)
    return value


def wrapped(value: Any, levels: int) -> Any:
    """Return the value within so many lists."""
    for _ in range(levels):
        value = [value]
    return value


STEPS = [  # each with the levels it takes
    (1, lambda part: [part]),
    (1, lambda part: {"a": part}),
    (2, lambda part: (part,)),
    (2, lambda part: frozenset({part})),
    (3, lambda part: {1: part}),
]


@both_forms
@pytest.mark.parametrize(("levels", "step"), STEPS)
def test_values_nest_32_levels(codec, levels, step):
    """A tree of 32 levels is stored, one of 33 is refused, tags counted."""
    fits = wrapped(nested(32 // levels, step), 32 % levels)
    assert same(round_trip(codec, fits), fits)
    with pytest.raises(ValueEncodingError, match="nests more than 32 deep"):
        codec.encode([fits])


@both_forms
def test_the_tag_of_a_scalar_is_a_level(codec):
    """A scalar that is tagged takes a level, for its tag is a container in the store."""
    leaf = UUID(int=1)
    assert same(round_trip(codec, wrapped(leaf, 31)), wrapped(leaf, 31))
    with pytest.raises(ValueEncodingError, match="nests more than 32 deep"):
        codec.encode(wrapped(leaf, 32))
    assert same(round_trip(codec, wrapped("a", 32)), wrapped("a", 32))


@both_forms
def test_a_value_that_contains_itself_is_refused(codec):
    """A cycle is refused as too deep, through any container, and says so."""
    by_list: list[Any] = []
    by_list.append(by_list)
    by_dict: dict[str, Any] = {}
    by_dict["a"] = [by_dict]
    by_tuple: Any = ([],)
    by_tuple[0].append(by_tuple)
    by_key: dict[int, Any] = {}
    by_key[1] = by_key
    for cycle in (by_list, by_dict, by_tuple, by_key):
        with pytest.raises(ValueEncodingError, match="or contains itself"):
            codec.encode(cycle)


class Thing:
    """A class that is not registered."""


class Text(str):
    """A subclass whose type would not come back."""

    __slots__ = ()


class Octets(bytes):
    """A subclass of bytes, likewise."""


@both_forms
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Thing(), "value is of type Thing: a value is None, bool, int"),
        ({"a": [0, 1, 2, Thing()]}, r"value\['a'\]\[3\] is of type Thing"),
        ([{1: (0, Thing())}], r"value\[0\]\[1\]\[1\] is of type Thing"),
        ({(1, "b"): Thing()}, r"value\[\(1, 'b'\)\] is of type Thing"),
        ([{"x" * 100: Thing()}], r"value\[0\]\['x+\.\.\.\] is of type Thing"),
        ({"a": 1j}, r"value\['a'\] is of type complex"),
        ([len], r"value\[0\] is of type builtin_function_or_method"),
        ([int], r"value\[0\] is of type type"),
        (iter([]), "value is of type list_iterator"),
        (bytearray(b"a"), r"its type would not come back; store bytes\(\.\.\.\)"),
        (OrderedDict(a=1), r"OrderedDict: its type would not come back; store dict\(\.\.\.\)"),
        (Text("a"), r"Text: its type would not come back; store str\(\.\.\.\)"),
        (SafeString("a"), r"SafeString: .*; store str\.__str__\(\.\.\.\) of it"),
        (Octets(b"a"), r"Octets: its type would not come back; store bytes\(\.\.\.\)"),
        (Counter("a"), r"store dict\(\.\.\.\) of it, or lpcm\.register\(Counter, encode="),
        (defaultdict(int), r"store dict\(\.\.\.\) of it, or lpcm\.register\(defaultdict, encode="),
        ([np.int64(1)], r"value\[0\] is of type int64: NumPy's .*; store int\(\.\.\.\) of it"),
        (np.bool_(1), r"; store bool\(\.\.\.\) of it"),
        (np.float32(1), r"; store float\(\.\.\.\) of it"),
        (np.float64(1), r"float64: its type would not come back; store float\(\.\.\.\) of it"),
        ({"a": np.str_("a")}, r"value\['a'\] is of type str_: .*; store str\(\.\.\.\) of it"),
        ({np.int64(1): 1}, r"store int\(\.\.\.\) of it"),
        ([Colour.RED], r"value\[0\] is of type Colour: lpcm.register\(Colour\) first"),
        ({Colour.RED: 1}, r"of type Colour: lpcm.register\(Colour\) first"),
        ("a\ud800", "value has a lone surrogate at position 1, which is no text: 'a"),
        (["é", {"a": "\udfff"}], r"value\[1\]\['a'\] has a lone surrogate at position 0"),
        ({"\ud800": 1}, r"value\['\\ud800'\] has a lone surrogate"),
        ({"\ud800"}, "has a lone surrogate"),
        ([{1: 1, "\ud800": 2}], r"value\[0\] has a key that cannot be one: key has a lone"),
        ({math.nan: 1}, "value has a key that cannot be one: key is NaN"),
        ([{frozenset(): 1}], r"value\[0\] has a key that cannot be one: key is a frozenset"),
        ({b"x" * 2000: 1}, "value has a key that cannot be one: key b'x+.* over the limit"),
    ],
)  # fmt: skip
def test_what_would_not_come_back_is_refused(codec, value, message):
    """A part of another type is a ValueEncodingError, a TypeError, that says where and why."""
    with pytest.raises(ValueEncodingError, match=message) as caught:
        codec.encode(value)
    assert isinstance(caught.value, TypeError)


# Reading what no codec wrote


@pytest.mark.parametrize(
    "text",
    ["", "{", "nonsense", "[1,]", "[" * 100_000, '{"!nonsense":1}', '[{"a":{"!":1}}]',
    '{"!tuple":1}', '{"!tuple":"ab"}', '{"!tuple":{"a":1}}', '{"!set":[[1]]}', '{"!set":"ab"}',
    '{"!frozenset":null}', '{"!dict":["ab"]}', '{"!dict":[[1]]}', '{"!dict":[[[],1]]}',
    '{"!dict":1}',
    '{"!int":1}', '{"!int":"z"}', '{"!float":"z"}', '{"!float":null}', '{"!decimal":"z"}',
    '{"!decimal":null}', '{"!bytes":"?"}', '{"!bytes":1}', '{"!date":"z"}', '{"!date":1}',
    '{"!time":"z"}', '{"!time":1}', '{"!datetime":"z"}', '{"!datetime":"[Europe/Berlin]"}',
    '{"!datetime":1}', '{"!timedelta":"z"}', '{"!timedelta":1e99}', '{"!uuid":"z"}', '{"!uuid":1}',
    '{"!tuple":[],"a":1}', '{"!a":1,"!b":2}', '{"!@":1}', '{"!@Nobody/1":1}', '{"!@Nobody/x":1}',
    '{"!@Nobody":1}', '{"!tuple":' * 3000 + "[]" + "}" * 3000, "9" * 5000],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_text_that_no_codec_wrote_is_refused(text):
    """Garbage, an unknown tag or a tag that does not fit is a ValueDecodingError."""
    with pytest.raises(ValueDecodingError) as caught:
        TEXT.decode(text, "json")
    assert len(str(caught.value)) < 300


def test_a_newer_format_is_refused():
    """A tag or kind of a newer version is a ValueDecodingError that says to upgrade."""
    with pytest.raises(
        ValueDecodingError, match="unknown tag '!matrix' in a stored value: upgrade"
    ):
        TEXT.decode('[{"!matrix":[1]}]', "json")
    with pytest.raises(
        ValueDecodingError, match="unknown tag '!matrix' in a stored value: upgrade"
    ):
        TREE.decode([{"!matrix": [1]}], None)
    for codec, data in ((TEXT, "[1]"), (TREE, 1)):
        with pytest.raises(ValueDecodingError, match=r"unknown kind 'gzip' .*: upgrade"):
            codec.decode(data, "gzip")


@pytest.mark.parametrize(
    ("data", "kind"), [("z", "int"), (None, "int"), ("z", "float"), ([], "float"), ("z", "decimal")]
)
def test_a_number_that_is_none_is_refused(data, kind):
    """A bare number's kind beside other data is a ValueDecodingError."""
    with pytest.raises(ValueDecodingError, match=f"not a stored {kind}"):
        TREE.decode(data, kind)


@pytest.mark.parametrize("kind", ["int", "float", "decimal"])
def test_a_native_number_comes_back_in_the_kind_beside_it(kind):
    """A bare number has the type that stands beside it, whichever the driver gives."""
    expected = {"int": 5, "float": 5.0, "decimal": Decimal(5)}[kind]
    assert same(TREE.decode(Decimal(5), kind), expected)
    assert same(TREE.decode(5, kind), expected)


# Nothing is shared


@both_forms
def test_what_comes_back_is_new_each_time(codec):
    """Each decode gives new containers, and changing one changes neither cell nor input."""
    value = {"list": [1, [2]], "set": {1, 2}, "dict": {"a": {}}, "tuple": ([],), "any": {1: []}}
    expected = copy.deepcopy(value)
    cell = codec.encode(value)
    value["list"][1].append(3)
    value["set"].add(3)
    value["dict"]["a"]["b"] = 1
    one = codec.decode(*cell)
    assert one == expected
    one["list"][1].append(3)
    one["set"].add(3)
    one["dict"]["a"]["b"] = 1
    one["tuple"][0].append(1)
    one["any"][1].append(1)
    assert codec.decode(*cell) == expected

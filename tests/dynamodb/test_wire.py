"""Values and items as DynamoDB's: exact, of the documented layout, and no larger than it takes."""

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import inf
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpcm import LPCM, Engine
from lpcm.coherence.catalogue import new_row
from lpcm.engine.drive import run
from lpcm.errors import ConfigError, ValueDecodingError, ValueEncodingError, ValueTooLarge
from lpcm.ports import Add, Applied, Cell, KeyRange, MapInfo, Put, Refused, Stored, Touch
from lpcm.stores.dynamodb import items as wire
from lpcm.stores.dynamodb.expressions import last
from lpcm.testing.contracts.store.case import MAP, NOW, apply, keys_of, read, scan
from lpcm.values.codec import Codec, Form
from lpcm.values.keys import LIMIT, encode, prefix_range
from tests import strategies
from tests.strategies import fingerprint

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "dynamodb.md"
FROZEN = json.loads((HERE / "frozen.json").read_text(encoding="utf-8"))
NAMES = {
    "Decimal": Decimal,
    "UTC": UTC,
    "UUID": UUID,
    "date": date,
    "datetime": datetime,
    "inf": inf,
    "time": time,
    "timedelta": timedelta,
}


@pytest.fixture(params=["dynoxide", "extenddb"])
def table(request):
    table = request.getfixturevalue(f"{request.param}_table")
    table.empty()
    return table


@pytest.fixture
def store(table):
    store = table.open()
    yield store
    store.close()


# The layout


@given(strategies.values())
def test_values_come_back(value):
    """Every value the codec takes is the same, type and all, after it was an attribute value."""
    codec = Codec(Form.TREE)
    data, kind = codec.encode(value)
    text = json.dumps(wire.encode(data))
    again = codec.decode(wire.decode(json.loads(text)), kind)
    assert fingerprint(again) == fingerprint(value)


def frozen(entry):
    return eval(entry["key"], dict(NAMES)), eval(entry["value"], dict(NAMES))


def test_items_of_every_age_are_read(table):
    """Items in the documented layout, from any writer, are read as their values."""
    for entry in FROZEN:
        table.call("PutItem", TableName=table.name, Item=entry["item"])
    engine = Engine.open(table.url)
    users = LPCM("users", live=False, using=engine)
    for entry in FROZEN:
        key, value = frozen(entry)
        assert fingerprint(users.get(key)) == fingerprint(value), key
    assert len(users) == len(FROZEN)
    in_order = sorted(FROZEN, key=lambda entry: entry["item"]["sk"]["S"])
    assert fingerprint(users.copy()) == fingerprint(dict(map(frozen, in_order)))
    engine.close()


def test_items_are_written_as_documented(table):
    """What is written has the frozen layout to the last attribute, but for the random etag."""
    engine = Engine.open(table.url)
    users = LPCM("users", live=False, using=engine)
    ours = [entry for entry in FROZEN if {"v", "etag"} <= entry["item"].keys()]
    for entry in ours:
        key, value = frozen(entry)
        expires = entry["item"].get("x")
        users.set(key, value)
        item = ordered({**entry["item"], "etag": None, "x": None})
        (found,) = [each for each in table.items() if each["sk"] == item["sk"]]
        assert re.fullmatch(r"-?\d{1,19}", found["etag"]["N"])
        assert ordered({**found, "etag": None, "x": None}) == item
        assert expires is None or "x" not in found
    engine.close()


def ordered(part):
    """Return a copy in which sets, which have no order, have one."""
    if isinstance(part, dict):
        return {
            name: sorted(each) if name in {"SS", "NS", "BS"} else ordered(each)
            for name, each in part.items()
            if each is not None
        }
    return [ordered(each) for each in part] if isinstance(part, list) else part


def test_the_page_shows_items_that_are_so(table):
    """The items printed in the documentation are those that are written and read."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    items = [json.loads(block) for block in blocks]
    entries = [item for item in items if "v" in item and "f" not in item]
    rows = [item for item in items if "shards" in item]
    known = [entry["item"] for entry in FROZEN]
    assert len(entries) >= 3
    assert all(item in known for item in entries)
    store = table.open()
    state = run(store.register("default", MapInfo("users")))
    run(store.register("default", new_row("events", 16)))
    for row in rows:
        if "identity" in row:
            row["identity"] = {"S": str(state.identity).partition(":")[0]}
    assert {row["sk"]["S"]: row for row in table.items()} == {row["sk"]["S"]: row for row in rows}
    store.close()


def test_what_somebody_else_wrote_can_be_changed(table):
    """An item without an etag takes part in everything: compare-and-set, live values, deletion."""
    theirs = {"pk": {"S": "default/users/"}, "sk": {"S": "k"}, "v": {"L": [{"N": "1"}]}}
    table.call("PutItem", TableName=table.name, Item=theirs)
    engine = Engine.open(table.url)
    users = LPCM("users", live=False, using=engine)
    assert users.entry("k").etag == 0
    users.transform("k", lambda value: [*value, 2])
    assert users["k"] == [1, 2]
    table.call("PutItem", TableName=table.name, Item=theirs)
    assert users.popitem() == ("k", [1])
    assert len(users) == 0
    engine.close()


@pytest.mark.parametrize(
    "attribute",
    [
        {"Q": "?"},
        {},
        {"N": "one"},
        {"N": "1", "S": "1"},
        {"NS": ["x"]},
        {"B": "%"},
        {"L": [{"N": None}]},
        {"M": {"a": 1}},
        7,
    ],
)
def test_what_is_no_attribute_value(attribute):
    """Nonsense in an item is one clear error."""
    with pytest.raises(ValueDecodingError, match="not an attribute value"):
        wire.decode(attribute)


# Numbers


@pytest.mark.parametrize(
    "number",
    [10**38, -(10**38), inf, float("nan"), 1e126, 1e-131, Decimal("1E+126"), Decimal("NaN"),
     Decimal("1." + "1" * 38), Decimal("1E-131"), Decimal("Infinity")],
)  # fmt: skip
def test_what_would_be_rounded_is_refused(number):
    """A number that DynamoDB would round or refuse does not reach it."""
    with pytest.raises(ValueEncodingError, match="would round"):
        wire.encode([number])


@given(
    st.integers(1 - 10**38, 10**38 - 1)
    | st.decimals(-1, 1, places=37).map(lambda number: number.normalize())
    | st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda number: not number or 1e-130 <= abs(number) < 1e126
    )
)
def test_numbers_are_exact(number):
    """Every number of 38 digits is its text and back."""
    again = wire.decode(wire.encode(number))
    assert again == (Decimal(repr(number)) if isinstance(number, float) else number)


@pytest.mark.parametrize(
    "text", ["1" * 38 + ".00", "1" * 38 + "000", "0." + "1" * 38 + "00", "10E124"]
)
def test_zeros_at_the_end_are_no_digits(store, text):
    """DynamoDB counts no zeros at the end: a number with 38 digits before them is kept."""
    number = Decimal(text)
    apply(store, "k", Put(Cell({"part": number}, None), 1))
    assert read(store, "k").data == {"part": number}


@pytest.mark.parametrize("text", ["1" * 39 + ".00", "1" * 39 + "000", "1" + "0" * 37 + "10"])
def test_zeros_between_digits_are_digits(text):
    """A number of 39 digits before the zeros at its end does not reach DynamoDB."""
    with pytest.raises(ValueEncodingError, match="would round"):
        wire.encode(Decimal(text))


EDGE = 10**38 - 1


@pytest.mark.parametrize(
    ("start", "delta", "total"),
    [
        (EDGE - 1, 1, EDGE),
        (EDGE, 1, None),
        (1 - EDGE, -1, -EDGE),
        (-EDGE, -1, None),
        (EDGE, -EDGE, 0),
        (EDGE, -(10**38), None),
        (-EDGE, EDGE, 0),
        (10**37, EDGE, None),
    ],
)
def test_sums_at_the_edge(store, start, delta, total):
    """A native sum of up to 38 digits is exact; beyond, it is left to the caller."""
    for entry in (Stored(start, "int", 1, None), None):
        if entry is not None:
            apply(store, "k", Put(Cell(start, "int"), 1))
        outcome = apply(store, "k" if entry else "new", Add(delta, start, 2))
        if total is None:
            assert outcome == Refused(entry)
        else:
            assert outcome == Applied(Stored(total, "int", 2, None))


# Limits


PARTS = [
    1, -12, 123, 10**37, -EDGE, Decimal("0.1"), Decimal("12.3"), Decimal("1E-130"), b"\0\1\2",
    "é", True, None, [], {}, [[1], {"é": {"a": "b"}}], frozenset({1, 22}), frozenset({"a", "ü"}),
    frozenset({b"abc", b"d"}),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_the_limit_of_an_item_is_exact(store, table, part):
    """409,600 bytes are taken; one more is ValueTooLarge before anything is sent."""
    empty = wire.item(MAP, "k", Cell({"pad": "", "part": part}, None), 7, None)
    room = wire.ITEM_LIMIT - wire.size(empty)
    apply(store, "k", Put(Cell({"pad": "x" * room, "part": part}, None), 7))
    assert read(store, "k").data["part"] == part
    larger = Cell({"pad": "x" * (room + 1), "part": part}, None)
    sent = store._transport.call
    store._transport.call = None
    with pytest.raises(ValueTooLarge, match="409,601 bytes"):
        apply(store, "k", Put(larger, 7))
    store._transport.call = sent
    item = wire.item(MAP, "k", larger, 7, None)
    reply = run(table.transport.call("PutItem", {"TableName": table.name, "Item": item}, 20.0))
    assert (reply.status, reply.error) == (400, "ValidationException")


def test_growing_over_the_limit(store):
    """An update that would make an item too large is ValueTooLarge, and writes nothing."""
    room = wire.ITEM_LIMIT - wire.size(wire.item(MAP, "k", Cell("", None), 7, None))
    apply(store, "k", Put(Cell("x" * room, None), 7))
    before = read(store, "k")
    with pytest.raises(ValueTooLarge):
        apply(store, "k", Touch(NOW + 60, 7))
    assert read(store, "k") == before


def test_the_longest_key(store):
    """A sort key of 1,024 bytes is stored, found, scanned and ranged over."""
    for sk in ("k" * LIMIT, "\U0010fffe" * (LIMIT // 4), "a" + "é" * 511 + "b"):
        assert len(sk.encode()) == LIMIT
        apply(store, sk, Put(Cell("x", None), 1))
        assert read(store, sk) == Stored("x", None, 1, None)
        assert keys_of(store, keys=KeyRange(*prefix_range(sk))) == [sk]
        assert keys_of(store, keys=KeyRange(sk[:-1], sk + "\0")) == [sk]
        assert keys_of(store, keys=KeyRange("", sk)) == []
        assert scan(store, after=sk, limit=5).entries == []
        run(store.clear(MAP, KeyRange()))


def test_a_name_too_long_for_the_catalogue(store):
    """A map's name over 1,024 bytes is a ConfigError, and nothing is written."""
    with pytest.raises(ConfigError, match="1024"):
        run(store.register("ns", MapInfo("m" * 1025)))
    assert run(store.register("ns", MapInfo("m" * 1024))).info == MapInfo("m" * 1024)


TEXTS = st.text(max_size=300) | st.text(
    st.sampled_from("a\0\x7f\ud7ff\ue000\U0010ffff"), max_size=5
)


@given(TEXTS, TEXTS)
def test_the_last_key_before_another(high, text):
    """Nothing lies between a bound and the last key before it; both are possible keys."""
    high, text = (each.encode("utf-8", "ignore").decode() for each in (high, text))
    end = last(high)
    assert len(end.encode()) <= LIMIT
    assert end < high or not high
    if len(text.encode()) <= LIMIT:
        assert (text < high) == (text <= end) or not high


def test_an_ordinary_key_is_readable():
    """A plain string stands in the table as a person would look for it."""
    assert encode("eu/Zoë 7") == "eu/Zoë 7"

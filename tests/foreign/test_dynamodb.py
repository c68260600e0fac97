"""DynamoDB items that lpcm did not write, planted by raw requests."""

import pytest
from hypothesis import HealthCheck, given, settings

from lpcm import LPCM, Engine, RawKey
from lpcm.errors import LPCMError, ValueDecodingError
from tests.dynamodb.conftest import dynoxide_table, extenddb_table
from tests.foreign import strategies
from tests.foreign.properties import behaves

__all__ = ["dynoxide_table", "extenddb_table"]

BESIDE = {"a": 1, "z": [2]}
PAID = {"v": {"S": "paid"}, "etag": {"N": "5"}}


class Planted:
    """A map in a table, and a way past lpcm."""

    def __init__(self, table, options=""):
        table.empty()
        self.table = table
        self.engine = Engine.open(table.url + options)
        self.map = LPCM("orders", using=self.engine)
        self.map.update(BESIDE)
        self.partition = self.map._use()._map

    def plant(self, sk="k", pk=None, **item):
        item |= {"pk": {"S": pk or self.partition}, "sk": {"S": sk}}
        self.table.call("PutItem", TableName=self.table.name, Item=item)


@pytest.fixture(params=["dynoxide_table", "extenddb_table"])
def both(request):
    made = Planted(request.getfixturevalue(request.param))
    yield made
    made.engine.close()


@pytest.fixture
def planted(dynoxide_table):
    made = Planted(dynoxide_table)
    yield made
    made.engine.close()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({**PAID, "x": {"S": "2026-05-01"}}, "the attribute x is"),
        ({**PAID, "x": {"NULL": True}}, "the attribute x is"),
        ({}, "there is no attribute v"),
        ({"etag": {"N": "5"}, "status": {"S": "paid"}}, "there is no attribute v"),
        ({"etag": {"N": "5"}, "t": {"S": "int"}}, "there is no attribute v"),
        ({"etag": {"S": "5"}}, "there is no attribute v"),
        ({"status": {"S": "paid"}}, "there is no attribute v"),
        ({"v": {"N": "1.5"}, "t": {"S": "int"}}, "not a stored int"),
        ({"v": {"S": "5"}, "t": {"S": "int"}}, "not a stored int"),
        ({"v": {"BOOL": True}, "t": {"S": "float"}}, "not a stored float"),
        ({**PAID, "t": {"N": "1"}}, "the attribute t is"),
        ({**PAID, "v": {"M": {"!tuple": {"S": "ab"}}}}, "!tuple"),
        ({**PAID, "v": {"M": {"!timedelta": {"N": "1.5"}}}}, "!timedelta"),
        ({**PAID, "v": {"M": {"!set": {"L": [{"L": []}]}}}}, "!set"),
    ],
    ids=repr,
)
def test_an_item_of_others_is_one_error_with_map_and_key(both, item, said):
    """What cannot be read is a ValueDecodingError; walks, deleting and replacing go on."""
    both.plant(**item)
    with pytest.raises(ValueDecodingError, match="'k' in map 'orders'.*" + said):
        both.map["k"]
    behaves(both.map, "k", BESIDE)


def test_an_order_of_others_is_never_taken_for_absent(both):
    """A text in ``x`` keeps the entry: ``setdefault`` and ``pop`` do not lose it."""
    both.plant(**PAID, x={"S": "never"})
    for attempt in (
        lambda: both.map.setdefault("k", "new"),
        lambda: both.map.get("k", "none"),
        lambda: both.map.pop("k", None),
        lambda: both.map.increment("k"),
    ):
        with pytest.raises(ValueDecodingError):
            attempt()
    (item,) = [item for item in both.table.items() if item["sk"] == {"S": "k"}]
    assert {name: item[name] for name in ("v", "x", "etag")} == {**PAID, "x": {"S": "never"}}


def test_an_emptied_set_is_told_from_an_item_of_others(both):
    """One that a native update left, its etag and no more, is the empty set."""
    both.plant(etag={"N": "5"})
    assert both.map["k"] == set()


@pytest.mark.parametrize("etag", [{"S": "abc"}, {"N": "1.5"}, {"NULL": True}, None], ids=repr)
def test_an_etag_of_others_can_be_replaced(both, etag):
    """The value is read, and compare-and-set works on it."""
    both.plant(v={"N": "5"}, t={"S": "int"}, **({"etag": etag} if etag else {}))
    assert both.map["k"] == 5
    assert both.map.transform("k", lambda value: value * 2) == 10
    assert both.map.entry("k").value == 10


@pytest.mark.parametrize("number", ["1700000000000", "1E+30", "9.9E+125"])
def test_an_expiry_outside_the_calendar_is_kept(both, number):
    """Milliseconds for seconds, and later: the entry is there, and its expiry is shown as it is."""
    both.plant(**PAID, x={"N": number})
    assert both.map.entry("k").expires == float(number)
    assert both.map["k"] == "paid"


def test_a_key_of_others_is_a_raw_key(planted):
    """A walk gives it, and every operation takes it."""
    planted.plant("!x", **PAID)
    assert list(planted.map) == [RawKey("!x"), "a", "z"]
    assert planted.map.pop(RawKey("!x")) == "paid"
    assert dict(planted.map.items()) == BESIDE


def test_a_row_of_the_catalogue_of_others(planted):
    """It hides no other map; who would write that map gets an error that names it."""
    planted.plant("other", pk="default/", name={"N": "1"})
    engine = planted.engine
    row = next(it for it in planted.table.items() if it["sk"] == {"S": "orders"})
    planted.plant("other", pk=row["pk"]["S"], name={"N": "1"})
    from lpcm import maps

    assert maps(using=engine) == ["orders"]
    with pytest.raises(LPCMError, match="map 'other' was not written by lpcm"):
        LPCM("other", using=engine)["a"] = 1


def test_exactly_once_writes_no_damage(dynoxide_table):
    """A touch or pop of what cannot be read leaves it as it is."""
    planted = Planted(dynoxide_table, "&exactly_once=true")
    planted.plant(x={"S": "never"}, **PAID)
    for attempt in (lambda: planted.map.expire("k", 60), lambda: planted.map.pop("k")):
        with pytest.raises(ValueDecodingError):
            attempt()
    (item,) = [item for item in planted.table.items() if item["sk"] == {"S": "k"}]
    assert item["v"] == {"S": "paid"}
    planted.engine.close()


def test_a_number_of_many_zeros_is_given_back(planted):
    """What cannot be read is there after ``pop``, with a number that only DynamoDB writes so."""
    planted.plant(v={"M": {"!tuple": {"N": "1E+125"}}})
    with pytest.raises(ValueDecodingError):
        planted.map.pop("k")
    assert "k" in planted.map


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(item=strategies.items)
def test_any_item(planted, item):
    """Whatever the attributes are: the documented outcomes only."""
    planted.plant(**item)
    behaves(planted.map, "k", BESIDE)

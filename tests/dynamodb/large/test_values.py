"""Values over DynamoDB's 400 KB: they are stored in parts, and behave as any other."""

import asyncio
import json
import os

import pytest

from lpcm import (
    LPCM,
    Conflict,
    Engine,
    LPCMSet,
    ValueTooLarge,
    transaction,
)
from lpcm.administration import Records
from lpcm.stores.dynamodb.items import ITEM_LIMIT
from lpcm.testing import insulate
from tests.dynamodb.large.common import (
    BIG,
    OTHER,
    TEXT,
    TREE,
    places,
)

# What a user does


@pytest.mark.parametrize("value", [BIG, TEXT, TREE], ids=["bytes", "text", "tree"])
def test_a_value_comes_back(m, value):
    """Equal and of the same types, also where it is read again, and by another client."""
    m["k"] = value
    for _ in range(2):
        assert m["k"] == value
    assert repr(m.get("k")) == repr(value)


def test_the_limit_is_exact(m, table):
    """An item of 409,600 bytes is one item; one more byte, and the value is in parts."""
    m["k"] = ""
    (item,) = [item for item in table.items() if item["sk"]["S"] == "k"]
    room = ITEM_LIMIT - sum(len(name) for name in item) - len(item["pk"]["S"]) - 1 - 10
    for length, in_parts in ((room - 10, False), (room + 10, True)):
        m["k"] = "x" * length
        assert any("f" in item for item in table.items()) == in_parts
        assert m["k"] == "x" * length


def test_replaced_and_deleted(m, table):
    """By large and small values, in every way there is."""
    m["k"] = BIG
    m["k"] = OTHER
    assert m["k"] == OTHER
    m["k"] = "small"
    assert m["k"] == "small"
    m["k"] = BIG
    del m["k"]
    assert "k" not in m
    m.set_many({"a": BIG, "b": 1, "c": OTHER})
    assert m.get_many(["a", "b", "c", "d"]) == {"a": BIG, "b": 1, "c": OTHER}
    m.set_many({"a": 2, "c": BIG})
    assert m.copy() == {"a": 2, "b": 1, "c": BIG}
    m.delete_many(["a", "c"])
    assert m.copy() == {"b": 1}
    m["k"] = BIG
    m.clear()
    assert len(m) == 0
    assert places(table)[0] == 0


def test_conditions(m):
    """Each write on condition has its outcome, and the value that refused it."""
    assert m.add("k", BIG)
    assert not m.add("k", OTHER)
    assert m.setdefault("k", OTHER) == BIG
    entry, added = m.get_or_add("k", OTHER)
    assert (entry.value, added) == (BIG, False)
    assert m.entry("k") == entry
    with pytest.raises(Conflict):
        m.replace("k", OTHER, if_etag=entry.etag + 1)
    assert m.replace("k", OTHER, if_etag=entry.etag) == m.entry("k").etag
    assert m["k"] == OTHER
    with pytest.raises(KeyError):
        m.replace("l", OTHER)
    assert m.transform("k", lambda value: value + b"!") == OTHER + b"!"


def test_taken_out(m, table):
    """``pop`` and ``popitem`` return the value."""
    m["k"], m["l"], m["z"] = BIG, 1, OTHER
    assert m.pop("k") == BIG
    assert m.pop("k", None) is None
    assert m.popitem() == ("z", OTHER)
    assert m.popitem() == ("l", 1)
    assert places(table)[0] == 0


def test_expiry(m, engine):
    """A large value expires, and keeps its parts while its time is put off."""
    m.set("k", BIG, ttl=60)
    assert m.ttl("k") == pytest.approx(60)
    m.expire("k", 600)
    engine.test_clock.advance(120)
    assert m["k"] == BIG
    engine.test_clock.advance(500)
    assert "k" not in m
    m["k"] = OTHER
    assert m["k"] == OTHER
    m.set("k", BIG, ttl=1)
    engine.test_clock.advance(2)
    assert m.add("k", OTHER)


def test_walks(m, monkeypatch):
    """Values come in key order; a page has few of them at a time."""
    monkeypatch.setattr("lpcm.operations.damage.ROOM", len(BIG))
    wanted = {f"{number}": BIG if number % 2 else number for number in range(8)}
    m.update(wanted)
    assert list(m.items()) == list(wanted.items())
    assert m.copy() == wanted
    assert list(m) == list(wanted)
    pages = list(Records("m", using=m._use()._engine).pages())
    assert {each.key: each.value for page in pages for each in page.entries} == wanted
    assert len(pages) > 2


def test_live_changes(engine):
    """A live change of a large value is a compare-and-set; nothing of another client's is lost."""
    live = LPCM("m", using=engine)
    live["k"] = {"list": ["x" * 100] * 5000, "n": 1}
    live["k"]["list"].append("x")
    live["k"]["n"] += 1
    found = live.get("k")
    assert (found["n"], found["list"][-1], len(found["list"])) == (2, "x", 5001)
    tags = LPCMSet("tags", using=engine)
    tags.insert_values("k", {f"{number:0100}" for number in range(4500)})
    tags.insert_values("k", {"new"})
    tags.remove_values("k", {f"{0:0100}"})
    assert len(tags["k"]) == 4500


def test_an_increment_is_refused(m):
    """As by the value itself."""
    m["k"] = BIG
    with pytest.raises(TypeError):
        m.increment("k")
    assert m["k"] == BIG


def test_transactions(m):
    """The heads are put together, on condition of what was read."""
    with transaction() as t:
        t[m]["k"], t[m]["l"] = BIG, 1
    assert m.copy() == {"k": BIG, "l": 1}
    with transaction() as t:
        assert t[m]["k"] == BIG
        t[m]["k"] = OTHER
        t[m].expire("l", 60)
    assert m["k"] == OTHER
    with pytest.raises(Conflict), transaction() as t:
        t[m]["k"] = t[m]["k"] + b"!"
        m["k"] = BIG
    assert m["k"] == BIG
    with transaction() as t:
        t[m].expire("k", 60)
        t[m]["l"] = BIG
    assert m["k"] == BIG
    with transaction() as t:
        assert t[m].pop("k") == BIG
        del t[m]["l"]
    assert not m


def test_on_an_event_loop(engine):
    """The awaited methods do the same."""
    m = LPCM("m", using=engine)

    async def main():
        await m.aset("k", BIG)
        assert await m.aget("k") == BIG
        assert [key async for key, _ in m.aitems()] == ["k"]
        assert await m.apop("k") == BIG
        await asyncio.gather(*[m.aset(f"{n}", OTHER) for n in range(3)])
        assert await m.aget_many(["0", "2"]) == {"0": OTHER, "2": OTHER}
        await engine.aclose()

    asyncio.run(main())


def test_exactly_once(table):
    """Every write as a transaction of its own."""
    table.empty()
    with Engine.open(table.url, exactly_once=True) as engine:
        m = LPCM("m", using=engine)
        m["k"] = BIG
        m.expire("k", 60)
        assert m["k"] == BIG
        m["k"] = OTHER
        assert m.pop("k") == OTHER
        m["k"] = BIG
        m["k"] = 1
        assert m.copy() == {"k": 1}


def test_compressed(table, memcached):
    """What is compressed is compressed before it is cut, and read under any setting."""
    table.empty()
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    rows = [{"id": n, "noise": os.urandom(40).hex()} for n in range(20_000)]
    with Engine.open(url, compress="zlib") as engine, Engine.open(url) as plain:
        m, other = LPCM("m", using=engine, live=False), LPCM("m", using=plain, live=False)
        for value in (rows, "text of little content. " * 200_000, os.urandom(900_000)):
            m["k"] = value
            assert m["k"] == other["k"] == value
            assert other.transform("k", lambda found: found[:100]) == value[:100] == m["k"]
        m["rows"] = rows
        (head,) = [item for item in table.items() if item["sk"] == {"S": "rows"}]
        assert json.loads(head["v"]["S"])["form"] == "z"
        assert json.loads(head["v"]["S"])["size"] < 1_300_000


def test_max_value(table):
    """A limit of one's own holds for values in one item and in parts; nothing is sent."""
    table.empty()
    for limit, small, large in ((1000, "x" * 1000, "x" * 1001), (len(BIG), BIG, BIG + b"!")):
        with Engine.open(table.url, max_value=limit) as engine:
            m = LPCM("m", using=engine)
            m["k"] = small
            before = len(table.items())
            for refused in (m.set, m.add):
                with pytest.raises(ValueTooLarge, match=f"over the limit of {limit:,}"):
                    refused("l", large)
            assert m["k"] == small
            assert len(table.items()) == before


def test_insulated_tests_copy_it(table):
    """A test on a copy of the real entries has the value, and leaves no part of its own."""
    table.empty()
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = BIG
        there = sorted(json.dumps(item, sort_keys=True) for item in table.items())
        with insulate():
            m["k"] = OTHER
            assert m["k"] == OTHER
        assert sorted(json.dumps(item, sort_keys=True) for item in table.items()) == there
        assert m["k"] == BIG

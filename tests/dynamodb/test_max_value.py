"""``max_value`` on DynamoDB: it bounds what a map takes, however the value comes to its size."""

from __future__ import annotations

import pytest

import lpcm
from lpcm import LPCM, BatchError, Engine, ValueTooLarge
from lpcm.stores.dynamodb.items import ITEM_LIMIT
from lpcm.testing.limits import max_reads, max_writes

MOST = 2000


@pytest.fixture(params=["", "&exactly_once=true"], ids=["once", "exactly once"])
def m(request, dynoxide_table):
    """Yield a map whose values have at most so many bytes."""
    dynoxide_table.empty()
    with Engine.open(f"{dynoxide_table.url}{request.param}", max_value=MOST) as engine:
        yield LPCM("m", using=engine)


def refused(work):
    """Assert that the work is refused, in the words that every store has for that."""
    with pytest.raises(ValueTooLarge, match=r"over the limit of 2,000; nothing was written"):
        work()


def test_what_a_write_brings(m):
    """A value over the limit is refused by each way to write it, and leaves what there was."""
    large = "x" * (MOST + 1)
    m["k"] = "x" * MOST
    for value in (large, large.encode(), [large], {"a": {"b": large}}):
        refused(lambda value=value: m.__setitem__("k", value))
        refused(lambda value=value: m.add("new", value))
        refused(lambda value=value: m.transform("k", lambda _: value))
    with pytest.raises(BatchError) as caught:
        m.update({"a": 1, "b": large, "c": 2})
    assert list(caught.value.errors) == ["b"]
    with pytest.raises(ValueTooLarge), lpcm.transaction() as t:
        t[m]["k"] = large
    assert m.copy() == {"a": 1, "c": 2, "k": "x" * MOST}


def test_what_a_live_change_adds(m):
    """No live change makes a value of more bytes; changes that fit are made."""
    m["k"] = {"list": [], "dict": {}, "set": {"a", "b"}, "n": 1}
    large = "x" * MOST
    refused(lambda: m["k"]["list"].append(large))
    refused(lambda: m["k"]["dict"].update(a=large))
    refused(lambda: m["k"]["set"].add(large))
    m["k"]["list"].append("x")
    refused(lambda: m["k"]["list"].__setitem__(0, large))
    m["k"]["n"] += 1
    m["k"]["set"].discard("a")
    assert m["k"] == {"list": ["x"], "dict": {}, "set": {"b"}, "n": 2}


def test_a_compressed_value_counts_as_it_is(dynoxide_table):
    """The limit is on the value, not on what compression makes of it."""
    dynoxide_table.empty()
    with Engine.open(dynoxide_table.url, max_value=MOST, compress="zlib") as engine:
        m = LPCM("m", using=engine)
        m["k"] = "x" * MOST
        refused(lambda: m.__setitem__("k", "x" * (MOST + 1)))
        assert m["k"] == "x" * MOST


def test_over_an_item_s_size_it_costs_nothing(dynoxide_table):
    """With a limit over what an item holds, appending is still one request."""
    dynoxide_table.empty()
    with Engine.open(dynoxide_table.url, max_value=ITEM_LIMIT) as engine:
        m = LPCM("m", using=engine)
        m["k"] = [1]
        held = m["k"]
        with max_reads(0), max_writes(1):
            held.append(2)
        assert m["k"] == [1, 2]

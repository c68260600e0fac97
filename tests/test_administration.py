"""Maps as they are stored: what tools see of them, beyond what a map gives."""

import pytest

import lpcm
from lpcm import (
    LPCM,
    BatchError,
    Engine,
    Entry,
    Insulated,
    RawKey,
    StoreMissing,
    ValueEncodingError,
)
from lpcm import administration as admin
from lpcm.coherence.item import Policy
from lpcm.config import find
from lpcm.errors import CacheUnavailable, ValueDecodingError
from lpcm.events import recorded
from lpcm.ports import Cell, Put
from lpcm.testing import FakeClock, insulate, run
from lpcm.text import encode_key


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory://", "memory://?cache=memory://"])
def engine(request, clock):
    """Yield an engine with a cache and one without."""
    engine = Engine.open(request.param, clock=clock)
    yield engine
    engine.close()


def damage(engine, name, key, data="[", kind="json"):
    """Store what is no value."""
    run(engine.store.apply(engine.partition(name), key, Put(Cell(data, kind), 7), 0.0))


def test_pages_have_all_entries_readable_or_not(engine):
    """A page has each entry under its stored key; one that cannot be read fails alone."""
    m = LPCM("m", using=engine)
    m.update({"a": 1, ("t", 1): [2], "z": 3})
    damage(engine, "m", "b")
    records = admin.Records("m", using=engine)
    page = records.page(limit=10)
    assert [address for address, _ in page.entries] == [encode_key(("t", 1)), "a", "b", "z"]
    assert [records.value(stored) for address, stored in page.entries if address != "b"] == [
        [2],
        1,
        3,
    ]
    with pytest.raises(ValueDecodingError):
        records.value(dict(page.entries)["b"])
    first, second, *_ = records.pages(limit=2)
    assert [entry.key for entry in (*first.entries, *second.entries)] == [("t", 1), "a", "z"]
    assert (first.failed, list(second.failed)) == ({}, ["b"])
    assert [sk for sk, _ in records.page(prefix="b").entries] == ["b"]
    assert records.page(values=False).entries[0][1].data is None


def test_a_key_of_others_is_a_raw_one(engine):
    """What stands under no encoded key is there, under its own."""
    LPCM("m", using=engine)[RawKey("!x")] = 1
    ((entry,), failed, after) = admin.Records("m", using=engine).entries()
    assert (entry.key, entry.value, failed, after) == (RawKey("!x"), 1, {}, None)


def test_looking_fills_nothing_and_is_the_stores(clock):
    """What is read is what the store has; what the cache would serve is seen beside it."""
    engine = Engine.open("memory://?cache=memory://", clock=clock)
    m = LPCM("m", using=engine)
    m["a"] = m["b"] = 1
    records = admin.Records("m", using=engine)
    served = records.cached(["a", "b", "c"])
    assert {key: records.value(stored) for key, stored in served.items()} == {"a": 1, "b": 1}
    damage(engine, "m", "a", "2", None)
    (stored, gone) = records.read(["a", "c"])
    assert (records.value(stored), gone) == ("2", None)
    assert records.cached(["a"])["a"] != stored
    records.uncache(["a"])
    assert records.cached(["a"]) == {}
    assert m["a"] == "2"
    engine.close()


def test_a_cache_that_is_gone(clock):
    """An unreachable cache is said to be."""
    engine = Engine.open("memory://?cache=memcached://127.0.0.1:9", clock=clock)
    LPCM("m", using=engine)["a"] = 1
    with pytest.raises(CacheUnavailable):
        admin.Records("m", using=engine).cached(["a"])
    engine.close()


def test_entries_are_restored_with_their_ends(engine, clock):
    """Entries are stored as they were, of unknown classes too; etags are new."""
    records = admin.Records("m", using=engine)
    records.restore([Entry("a", [1], 5, clock.now() + 9), Entry("b", 2, 5, None)])
    m = LPCM("m", using=engine)
    assert (m.copy(), m.ttl("a"), m.ttl("b")) == ({"a": [1], "b": 2}, 9, None)
    assert m.entry("a").etag != 5
    assert lpcm.maps(using=engine) == ["m"]
    with pytest.raises(ValueEncodingError):
        records.restore([Entry("c", object(), 5, None)])
    damage(engine, "m", "k", '{"!@nobody.Knows/1":{"cents":5}}', "json")
    (page,) = records.pages()
    records.restore([entry for entry in page.entries if entry.key == "k"])
    with pytest.raises(ValueDecodingError, match="nobody"):
        m["k"]


def test_too_large_an_entry_is_told_by_its_key(clock):
    """What cannot be stored is named; the rest is done."""
    engine = Engine.open("memory://?max_value=10", clock=clock)
    with pytest.raises(BatchError) as caught:
        admin.Records("m", using=engine).restore(
            [Entry("a", "x" * 11, 0, None), Entry("b", 1, 0, None)]
        )
    assert list(caught.value.errors) == ["a"]
    assert LPCM("m", using=engine).copy() == {"b": 1}
    engine.close()


def test_a_namespace_beside(engine):
    """Records of another namespace are apart, and dropped with it alone."""
    LPCM("m", using=engine)["a"] = 1
    beside = admin.Records("m", using=engine, namespace="beside")
    beside.restore([Entry("a", 2, 0, None)])
    assert (beside.entry("a").value, LPCM("m", using=engine)["a"]) == (2, 1)
    admin.drop(engine, "beside")
    assert beside.page().entries == []
    assert LPCM("m", using=engine)["a"] == 1


def test_where_tests_run_records_are_fenced():
    """Records write to the tests' namespace, and to those within it."""
    with insulate("memory://") as namespace:
        admin.Records("m").restore([Entry("a", 1, 0, None)])
        admin.Records("m", namespace=f"{namespace}.x").restore([Entry("a", 1, 0, None)])
        for other in (f"{namespace}x", "default"):
            with pytest.raises(Insulated):
                admin.Records("m", namespace=other).restore([Entry("a", 1, 0, None)])
        admin.drop(admin.open_engine(), f"{namespace}.x")


def test_a_new_identity(clock):
    """After a renewal nothing that was cached counts."""
    engine = Engine.open("memory://?cache=memory://", clock=clock)
    m = LPCM("m", using=engine)
    m["a"] = 1
    damage(engine, "m", "a", "2", None)
    assert m["a"] == 1
    admin.renew_identity(engine)
    assert m["a"] == "2"
    engine.close()


def test_one_store_or_two(tmp_path):
    """URLs of one file lead to one store, whatever their options."""
    urls = [f"sqlite:///{tmp_path}/{rest}" for rest in ("a", "a?namespace=x", "b")]
    one, again, other = (admin.open_engine(url=url) for url in urls)
    assert admin.same_store(one, again)
    assert not admin.same_store(one, other)
    lpcm.close()


def test_a_file_that_is_not_there(tmp_path):
    """A file that would be made by looking at it is missing; other stores are not asked."""
    missing = find(url=f"sqlite:///{tmp_path}/m.sqlite3")
    with pytest.raises(StoreMissing, match="is not there: nothing to do"):
        admin.check_exists(missing, "nothing to do")
    admin.check_exists(find(url="memory://"), "nothing to do")
    LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")["a"] = 1
    admin.check_exists(missing, "nothing to do")
    lpcm.close()


def test_a_difference_outlives_a_mark():
    """What still differs when a mark has ended is no write under way."""
    assert Policy().mark < admin.SETTLED


def test_what_records_ask_is_not_the_maps(engine):
    """Looking at stored entries is no event of a map; restoring them is."""
    records = admin.Records("m", using=engine)
    with recorded() as calls:
        records.page()
        records.read(["a"])
        records.restore([Entry("a", 1, 0, None)])
    assert [call.kind for call in calls] == ["write"]

"""Maps of several shards: the contract, the number that a map has, what each operation sends."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpcm
from lpcm import LPCM, ConfigError, Engine, LPCMSet, StoreTooNew, events, transact
from lpcm.administration import drop, purge
from lpcm.coherence.catalogue import new_row
from lpcm.engine.drive import run
from lpcm.ports import KeyRange, Page, Scan, Stored
from lpcm.stores.dynamodb.merge import PAGE, Merge
from lpcm.stores.dynamodb.shards import partitions, shard
from lpcm.testing import FakeClock
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract
from lpcm.values.partitions import MOST_SHARDS

SHARDS = 4


class Known:
    """Every map has so many shards."""

    def __init__(self, shards):
        self.known = {}
        self._shards = shards

    async def ask(self, map):
        del map
        return self._shards

    enter = ask


class TestContract(StoreContract, UpdateContract, TransactionContract):
    """The store's contract, where each map has several shards."""

    row = new_row("map", SHARDS)

    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):
        self.table = dynoxide_table

    def open(self):
        self.table.empty()
        return self.table.open().sharded(Known(SHARDS))


@pytest.fixture
def engine(table):
    """Yield an engine on the table."""
    with Engine.open(table.url) as engine:
        yield engine


@pytest.fixture
def requests():
    """Return what is sent, as it is sent: the names of the operations."""
    sent = []
    with events.subscribe(lambda event: sent.append(event.operation), events.Request):
        yield sent


def taken(sent):
    """Return what was sent since."""
    found = [*sent]
    sent.clear()
    return found


def places(table, map="default/m/"):
    """Return the number of items by partition key, of one map."""
    found = {}
    for item in table.items():
        if (pk := item["pk"]["S"]).startswith(map):
            found[pk] = found.get(pk, 0) + 1
    return found


# Where an entry is


def test_entries_are_spread(table, engine):
    """Each entry is in the shard that its key says, and every shard has its part of them."""
    m = LPCM("m", using=engine, shards=16)
    m.update({number: number for number in range(1600)})
    counts = places(table)
    assert sorted(counts) == sorted(partitions("default/m/", 16))
    assert all(60 < count < 145 for count in counts.values()), counts
    for item in table.items():
        if item["pk"]["S"].startswith("default/m/"):
            assert item["pk"]["S"] == shard("default/m/", item["sk"]["S"], 16)


def test_the_row(table, engine):
    """A map of several shards has a later format, which an lpcm that knows one shard refuses."""
    LPCM("m", using=engine, shards=16)["k"] = 1
    (row,) = [item for item in table.items() if item["sk"]["S"] == "m"]
    assert (row["format"], row["shards"]) == ({"N": "2"}, {"N": "16"})
    LPCM("one", using=engine, shards=1)["k"] = 1
    (row,) = [item for item in table.items() if item["sk"]["S"] == "one"]
    assert (row["format"], row["shards"]) == ({"N": "1"}, {"N": "1"})
    with Engine.open(table.url) as other:
        other.catalogue.spreads = False  # as every version before
        with pytest.raises(StoreTooNew, match="upgrade"):
            LPCM("m", using=other).get("k")


@pytest.mark.parametrize("shards", [0, -1, MOST_SHARDS + 1, 2.0, True, "16"])
def test_a_number_that_no_map_has(shards):
    """The number is checked when the map is made, before anything is sent."""
    with pytest.raises(ConfigError, match="1 to 1000 shards"):
        LPCM("m", shards=shards)


@pytest.mark.parametrize("row", [(1, 4), (2, MOST_SHARDS + 1), (2, 0), (9, 4)])
def test_a_row_of_a_later_version(table, engine, row):
    """A format or a number that this version does not know is refused."""
    format_, shards = row
    run(engine.store.register("default", new_row("m")._replace(format=format_, shards=shards)))
    with pytest.raises(StoreTooNew):
        LPCM("m", using=engine).get("k")
    with pytest.raises(StoreTooNew):
        LPCM("m", using=engine)["k"] = 1


# Whose number counts


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "behind memcached"])
def test_another_number_is_refused(table, memcached, cached):
    """A map keeps the number of its first write; who wants another is refused before a write."""
    options = {"cache": f"memcached://{memcached.host}:{memcached.port}"} if cached else {}
    with Engine.open(table.url, **options) as engine:
        refuse_others(table, engine)


def refuse_others(table, engine):
    LPCM("m", using=engine, shards=4)["k"] = 1
    LPCM("old", using=engine)["k"] = 1
    assert LPCM("m", using=engine)["k"] == 1, "who says no number takes what is there"
    for name, shards, found in (("m", 16, 4), ("m", 1, 4), ("old", 16, 1)):
        before = table.items()
        m = LPCM(name, using=engine, shards=shards)
        for write in (
            lambda: m.set("k", 2),  # noqa: B023  # called at once
            lambda: m.update(a=1),  # noqa: B023
            m.clear,
            lambda: transact(lambda t: t[m].set("k", 2)),  # noqa: B023
            lambda: m.increment("k"),  # noqa: B023
        ):
            with pytest.raises(ConfigError, match=f"has {found} shards"):
                write()
        assert table.items() == before
    again = LPCM("m", using=engine, shards=4)
    again["k"] = 3
    assert len(again) == 1


def test_two_create_it_at_once(table):
    """Of clients that want different numbers one wins, and the others are refused."""
    begin = threading.Barrier(8)

    def create(shards):
        with Engine.open(table.url) as engine:
            m = LPCM("m", using=engine, shards=shards)
            begin.wait()
            try:
                m[shards] = shards
            except ConfigError:
                return None
            return shards

    for _ in range(3):
        table.empty()
        with ThreadPoolExecutor(8) as pool:
            won = {each for each in pool.map(create, [2, 3, 4, 5] * 2) if each is not None}
        assert len(won) == 1
        with Engine.open(table.url) as engine:
            assert list(LPCM("m", using=engine)) == list(won)


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "behind memcached"])
def test_a_map_that_another_client_makes(table, memcached, cached):
    """Who has looked, and found no map, sees what another client writes a moment later."""
    options = {"cache": f"memcached://{memcached.host}:{memcached.port}"} if cached else {}
    clock = FakeClock()
    with (
        Engine.open(table.url, clock=clock, **options) as one,
        Engine.open(table.url, clock=clock, **options) as other,
    ):
        LPCM("another", using=one)["k"] = 1  # there is an identity
        m = LPCM("m", using=one)
        assert m.get("absent") is None
        assert (len(m), list(m), m.get_many(["a", "b"])) == (0, [], {})
        theirs = LPCM("m", using=other, shards=16)
        theirs.update({number: number for number in range(20)})
        for number in range(20):
            assert m[number] == number
        assert len(m) == len(list(m)) == len(m.get_many(range(20))) == 20
        m[20] = 20
        assert theirs[20] == 20


def test_a_map_that_was_dropped(table):
    """A minute after a map was dropped and made anew, all clients use its new number."""
    clock = FakeClock()
    with Engine.open(table.url, clock=clock) as one, Engine.open(table.url, clock=clock) as other:
        m = LPCM("m", using=one, shards=4)
        m["k"] = 1
        drop(other)
        assert not table.items(), "of all shards"
        theirs = LPCM("m", using=other, shards=8)
        theirs["k"] = 2
        clock.advance(61)
        with pytest.raises(ConfigError, match="has 8 shards"):
            m["k"] = 3
        assert LPCM("m", using=one)["k"] == 2


def test_a_write_after_a_drop(table, engine):
    """A map that this process has dropped is entered anew, with its number, by its next write."""
    for operation in (lambda m: m.set("k", 2), lambda m: m.update(k=2, l=3), add_in_transaction):
        m = LPCM("m", using=engine, shards=4)
        m["k"] = 1
        drop(engine)
        operation(m)
        with Engine.open(table.url) as other:
            again = LPCM("m", using=other)
            assert again["k"] == 2
            assert len(again) == len(m)
            assert other.catalogue.shards[other.partition("m")] == 4
        m["new"] = 1
        drop(engine)


def add_in_transaction(m):
    transact(lambda t: t[m].set("k", 2))


def test_other_stores_ignore_it(tmp_path):
    """Production code that asks for shards works as it is on SQLite and in memory."""
    for url in (f"sqlite:///{tmp_path}/m.sqlite3", "memory://"):
        with Engine.open(url) as engine:
            LPCM("m", using=engine, shards=16)["k"] = 1
            LPCM("m", using=engine, shards=4)["k"] = 2
            assert LPCM("m", using=engine)["k"] == 2
    assert LPCM("m", shards=16, cache_only=True).get("k") is None
    assert LPCMSet("m", shards=16, cache_only=True).get("k") == set()


def test_a_pickled_map_keeps_its_number(table):
    """A map that travels asks for the same number where it arrives."""
    m = LPCM("m", url=table.url, shards=4)
    assert pickle.loads(pickle.dumps(m))._shards == 4


def test_what_has_expired_is_purged_from_all_shards(table, engine):
    """A purge deletes the expired entries of every shard, and no other."""
    m = LPCM("m", using=engine, shards=4)
    m.update({number: number for number in range(20)})
    run(m._use().restore(lpcm.Entry(f"old {number}", "x", 0, 1.0) for number in range(20)))
    assert sum(places(table).values()) == 40
    assert purge(using=engine) == 20
    assert sum(places(table).values()) == len(m) == 20


# What is sent


OPERATIONS = [
    ("aget", ["absent"], ["BatchGetItem", "GetItem"]),
    ("aget", ["absent"], ["GetItem"]),
    ("aset", ["a", 1], ["PutItem"]),
    ("aset", ["b", 1], ["PutItem"]),
    ("agetitem", ["a"], ["GetItem"]),
    ("acontains", ["a"], ["GetItem"]),
    ("aincrement", ["b"], ["UpdateItem"]),
    ("apop", ["a"], ["UpdateItem", "DeleteItem"]),
    ("aget_many", ["abc"], ["BatchGetItem"]),
    ("aset_many", [dict.fromkeys(range(30), 1)], ["BatchWriteItem"] * 2),
    ("alen", [], ["Query"]),
    ("apeekitem", [], ["Query"]),
    ("apopitem", [], ["Query", "UpdateItem", "DeleteItem"]),
    ("acopy", [], ["Query"]),
    ("aclear", [], ["Query", "BatchWriteItem", "BatchWriteItem"]),
]
"""What each sends for a map of one shard that another client has made, one after the other."""
FACES = {"agetitem": "__getitem__", "acontains": "__contains__", "alen": "__len__"}


@pytest.mark.parametrize("client", ["blocking", "awaiting"])
def test_a_map_of_one_shard_costs_what_it_did(table, engine, requests, client):
    """It sends the requests that it sent before there were shards: these, counted."""
    LPCM("m", using=engine)["first"] = 0

    async def operate(m):
        for name, arguments, expected in OPERATIONS:
            taken(requests)
            if client == "awaiting":
                await getattr(m, name)(*arguments)
            else:
                face = FACES.get(name, name[1:])
                getattr(m, face)(*arguments)
            assert (name, taken(requests)) == (name, expected)

    async def main(other):
        await operate(LPCM("m", using=other))
        await other.aclose()

    with Engine.open(table.url) as other:  # which knows nothing yet
        if client == "awaiting":
            asyncio.run(main(other))
        else:
            run(operate(LPCM("m", using=other)))


def test_a_map_of_several_shards_sends_as_many_for_keys(table, engine, requests):
    """What is of given keys sends no more than of one shard; what is of the map asks each shard."""
    LPCM("m", using=engine, shards=5)["first"] = 0
    each = {"alen": 1, "apeekitem": 1, "apopitem": 1, "acopy": 2, "aclear": 1}
    with Engine.open(table.url) as other:
        m = LPCM("m", using=other)
        for name, arguments, expected in OPERATIONS:
            taken(requests)
            face = FACES.get(name, name[1:])
            getattr(m, face)(*arguments)
            found = taken(requests)
            others = [each for each in found if each != "Query"]
            if name in each:
                assert 5 <= found.count("Query") <= 5 * each[name], name
            if name != "aclear":
                assert others == [each for each in expected if each != "Query"], name


def test_a_walk_reads_little_more_than_there_is(table, engine):
    """Pages of all shards are merged, and about an eighth of what is read is read again."""
    m = LPCM("m", using=engine, shards=16)
    wanted = {f"{number:05}": "x" * 1000 for number in range(4000)}
    m.update(wanted)
    with lpcm.meter() as meter:
        assert m.copy() == wanted
    assert meter.calls <= 5 * 2 * 16
    whole = 4000 * 1.1 / 4
    assert whole <= meter.read_units <= 1.3 * whole
    with lpcm.meter() as meter:
        found = [key for key in m.keys(prefix="02", limit=20)]  # noqa: C416  # list asks for len
    assert found == [f"{number:05}" for number in range(2000, 2020)]
    assert meter.calls <= 2 * 16
    assert meter.read_units <= 40
    with lpcm.meter() as meter:
        assert m.popitem() == ("03999", "x" * 1000)
    assert meter.calls == 16 + 2
    assert len(m) == 3999


# Pages


@st.composite
def sharded(draw):
    """Return the entries of some shards, some of them expired, and a scan."""
    keys = draw(st.sets(st.text("abc", max_size=4), max_size=40))
    shards = draw(st.integers(2, 6))
    entries = {f"{number}": [] for number in range(shards)}
    for key in sorted(keys):
        data = "x" * draw(st.sampled_from([1, 1, 400_000]))
        place = f"{draw(st.integers(0, shards - 1))}"
        entries[place].append((key, None if draw(st.booleans()) else Stored(data, None, 1, None)))
    keys_ = KeyRange(draw(st.text("abc", max_size=2)), draw(st.sampled_from(["b", "d"])))
    wanted = Scan(keys_, limit=draw(st.integers(1, 50)), reverse=draw(st.booleans()))
    return entries, wanted


def page_of(entries, wanted):
    """Return a page of one shard as DynamoDB does, which counts what has expired."""
    keys, after, limit, reverse, _ = wanted
    found = [each for each in entries if keys.low <= each[0] < keys.high]
    if reverse:
        found = [each for each in reversed(found) if after is None or each[0] < after]
    elif after is not None:
        found = [each for each in found if each[0] > after]
    page = [each for each in found[:limit] if each[1] is not None]
    return Page(page, found[limit - 1][0] if len(found) > limit else None)


def test_a_page_ends_amid_what_has_expired():
    """A page that found less than was wanted, for much had expired, says where to go on."""
    live = Stored("x", None, 1, None)
    entries = {"0": [("a", live)], "1": [(f"b{n:02}", None) for n in range(50)] + [("z", live)]}
    wanted: Scan | None = Scan(limit=3)
    pages = []
    while wanted is not None:
        merge = Merge(wanted, list(entries))
        while asked := merge.next():
            merge.take([page_of(entries[pk], scan) for pk, scan in asked])
        pages.append(merge.page())
        resume = pages[-1].resume
        wanted = None if resume is None else wanted._replace(after=resume)
    assert [sk for page in pages for sk, _ in page.entries] == ["a", "z"]
    assert len(pages) > 1


@given(sharded())
def test_merged_pages(case):
    """Page after page, all entries come in order, each once, within the limits of a page."""
    entries, wanted = case
    expected = sorted(
        (each for part in entries.values() for each in part if each[1] is not None),
        key=lambda each: each[0],
        reverse=wanted.reverse,
    )
    expected = [each for each in expected if wanted.keys.low <= each[0] < wanted.keys.high]
    found = []
    for _ in range(200):
        merge = Merge(wanted, list(entries))
        while asked := merge.next():
            assert all(scan.limit <= wanted.limit for _, scan in asked)
            merge.take([page_of(entries[pk], scan) for pk, scan in asked])
        page = merge.page()
        assert len(page.entries) <= wanted.limit
        assert sum(len(stored.data) for _, stored in page.entries[:-1]) < PAGE
        found += page.entries
        if page.resume is None:
            break
        wanted = wanted._replace(after=page.resume)
    assert found == expected

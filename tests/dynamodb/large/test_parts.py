"""The parts of values over DynamoDB's 400 KB: where they are, what they cost, and when they go."""

import asyncio
import base64
import json
import math
import re
import sys
import tracemalloc
from pathlib import Path

import pytest

import lpcm
from lpcm import (
    LPCM,
    Conflict,
    Engine,
    StoreBusy,
    StoreCorrupt,
)
from lpcm.administration import sweep
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.large import large as large_module
from lpcm.large.large import Large
from lpcm.large.owners import Owners
from lpcm.ports import Cell, Put, Scan
from lpcm.ports.heads import PART
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.store import DynamoDBStore
from lpcm.testing import FakeClock
from lpcm.values.keys import partition
from tests.dynamodb.large.common import (
    BIG,
    HOUR,
    OTHER,
    Faster,
    count,
    places,
)
from tests.dynamodb.tables import REGION

# What is in the table


def test_the_layout(m, table):
    """A head in the entry's place, an owner, and parts outside the map's keys."""
    m["k"] = BIG
    assert places(table) == (1, 1, count(BIG))
    (head,) = [item for item in table.items() if "f" in item]
    assert head["sk"] == {"S": "k"}
    assert head["f"] == {"N": "3"}
    content = large_module.head_of(run(m._use()._read_store("k"))).content
    pks = {item["pk"]["S"] for item in table.items()}
    own = {f"default/m/!{content}/00000{number}/" for number in range(count(BIG))}
    assert pks >= {"default/m/!/"} | own
    (row,) = [item for item in table.items() if item["sk"] == {"S": "m"}]
    assert row["format"] == {"N": "3"}
    assert all("x" not in item for item in table.items())


PAGE = Path(__file__).parents[3] / "docs" / "reference" / "dynamodb.md"


def test_the_page_shows_a_head_that_is_so(table):
    """A value whose items are written as the documentation says is read, by every later version."""
    table.empty()
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (head,) = [item for item in map(json.loads, blocks) if "f" in item]
    content = json.loads(head["v"]["S"])["content"]
    value = bytes(500_000)
    with Engine.open(table.url) as engine:
        m = LPCM("pages", using=engine)
        m["other"] = BIG
        for name, part in (("000000", value[:PART]), ("000001", value[PART:])):
            item = {
                "pk": {"S": f"default/pages/!{content}/{name}/"},
                "sk": {"S": name},
                "v": {"B": base64.b64encode(part).decode()},
                "etag": {"N": "1"},
            }
            table.call("PutItem", TableName=table.name, Item=item)
        table.call("PutItem", TableName=table.name, Item=head)
        assert m["home"] == value
        assert m.entry("home").etag == 7


@pytest.fixture
def faster(table):
    """Yield a map, its transport, which lets others be faster, and the same map of another client.

    The client of the first one gives up after half a second.
    """
    table.empty()
    transport = Faster(SocketTransport(Credentials(REGION, table.endpoint)))
    store = DynamoDBStore(transport, table.name, str, budget=0.5)
    with Engine(store, config.parse(table.url)) as slow, Engine.open(table.url) as quick:
        other = LPCM("m", using=quick)
        other["k"] = BIG
        yield LPCM("m", using=slow), transport, other


@pytest.mark.parametrize("there", [[OTHER], [OTHER, BIG, OTHER], [1], [OTHER, 1], [None]])
def test_others_are_faster(faster, there, monkeypatch):
    """A write over a head is done over what others have put in its place meanwhile, or nothing."""
    m, transport, other = faster
    monkeypatch.setattr(
        m._use()._engine.store._store._caller, "budget", 30.0
    )  # it is to get through
    left = list(there)

    def meddle():
        if left:
            value = left.pop(0)
            other.delete("k") if value is None else other.set("k", value)

    transport.meddle = meddle
    m["k"] = "mine"
    assert (other["k"], left) == ("mine", [])


def test_others_are_faster_than_a_condition(faster):
    """A write that is for one head alone does not replace the next one."""
    m, transport, other = faster
    etag = m.entry("k").etag
    transport.meddle = lambda: other.set("k", OTHER)
    with pytest.raises(Conflict):
        m.replace("k", "mine", if_etag=etag)
    assert other["k"] == OTHER


def test_others_are_always_faster(faster):
    """A write over a head gives up in time, and has written nothing."""
    m, transport, other = faster
    transport.meddle = lambda: other.set("k", OTHER)
    with pytest.raises(StoreBusy):
        m["k"] = "mine"
    assert other["k"] == OTHER


def test_few_replaced_heads_are_remembered(m, engine):
    """A process that stores no large value any more keeps no list of all it has replaced."""
    large = engine.stack.large
    m["k"] = BIG
    (head,) = [stored for _, stored in run(m._use()._scan(Scan())).entries]
    for _ in range(5000):
        large.replaced("default/m/", head)
    assert len(large._dead) == 1000


def test_small_values_raise_no_format(m, table):
    """A map without large values is one that earlier versions read."""
    m["k"] = "x" * 1000
    (row,) = [item for item in table.items() if item["sk"] == {"S": "m"}]
    assert row["format"]["N"] in {"1", "2"}


def test_what_it_costs(table):
    """About a unit for each KB, and few more; a small value over a large one costs one request."""
    table.empty()
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        m["first"] = BIG
        size = len(BIG) / 1024
        with lpcm.meter() as made:
            m["k"] = BIG
        assert size <= made.write_units <= size + count(BIG) + 12
        with lpcm.meter() as made:
            assert m["k"] == BIG
        assert size / 4 <= made.read_units <= size / 4 + count(BIG) + 2
        with lpcm.meter() as made:
            m["k"] = 1
        assert made.calls == 2
        with lpcm.meter() as made:
            m["k"] = 2
        assert made.calls == 1


def test_values_under_the_limit_call_nothing_of_it(table, memcached):
    """They go through no function that large values have brought, but the tier's own write."""
    table.empty()
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    large = {"cells.py", "heads.py", "large.py", "owners.py", "serial.py", "splitting.py"}
    called = []

    def profile(frame, event, _):
        name = Path(frame.f_code.co_filename).name
        if event == "call" and name in large:
            called.append(frame.f_code.co_name)

    for place in (table.url, url):
        with Engine.open(place) as engine:
            m = LPCM("m", using=engine)
            m["k"], m["n"] = "v", 1
            called.clear()
            sys.setprofile(profile)
            try:
                m["k"] = "w"
                m.get("k")
                m.add("k", 1)
                m.increment("n")
                m.expire("k", 60)
                m.pop("k")
                m.get_many(["k", "n"])
                list(m.items())
                del m["n"]
                m.set_many({"a": 1, "b": 2})
            finally:
                sys.setprofile(None)
            writes = ["apply"] * called.count("apply")
            assert [name for name in called if name != "<lambda>"] == [*writes, "_apply_many"]
            assert len(writes) == 6


def test_memory(table):
    """A writer and a reader take no more than twice the value, and a few parts."""
    table.empty()
    value = bytes(20_000_000)
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        m["warm"] = BIG
        assert m["warm"] == BIG
        few = 24_000_000  # eight parts, as they are on the wire
        tracemalloc.start()
        try:
            m["k"] = value
            _, wrote = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            assert len(m["k"]) == len(value)
            _, read = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert wrote < few
        assert read < 2 * len(value) + few


# Parts without a head


def test_a_replaced_value_goes_after_a_minute(m, engine, table):
    """Who replaces or deletes a head deletes its parts, when readers of it have them."""
    m["k"] = BIG
    m["k"] = OTHER
    assert places(table)[1] == 2
    engine.test_clock.advance(61)
    m["l"] = BIG
    assert places(table) == (2, 2, count(OTHER) + count(BIG))
    del m["l"]
    m["k"] = 1
    engine.test_clock.advance(61)
    m["k"] = BIG
    assert places(table) == (1, 1, count(BIG))


@pytest.mark.parametrize("awaited", [False, True])
def test_closing_deletes_what_is_due(table, awaited):
    """A process that ends deletes what it replaced over a minute ago, and leaves the rest."""
    table.empty()
    clock = FakeClock()
    engine = Engine.open(table.url, clock=clock)
    m = LPCM("m", using=engine, live=False)

    async def work():
        for key in ("due", "young"):
            await m.aset(key, BIG)
        await m.aset("due", 1)
        clock.advance(61)
        await m.adelete("young")
        assert places(table) == (1, 2, 2 * count(BIG))
        await engine.aclose()

    if awaited:
        asyncio.run(work())
    else:
        m.update(due=BIG, young=BIG)
        m["due"] = 1
        clock.advance(61)
        del m["young"]
        engine.close()
    assert places(table) == (1, 1, count(BIG))


def test_closing_takes_a_second(table, monkeypatch):
    """However much is due, and whatever the store says: a sweep does the rest."""
    table.empty()
    for seconds, left in ((0.6, 2), (math.inf, 4)):
        table.empty()
        clock = FakeClock()
        engine = Engine.open(table.url, clock=clock)
        m = LPCM("m", using=engine, live=False)
        for number in range(4):
            m[number] = BIG
        for number in range(4):
            m[number] = 1
        clock.advance(61)
        remove = Owners.remove

        async def slow(self, *given, seconds=seconds, clock=clock, remove=remove):
            if seconds == math.inf:
                raise StoreBusy("not now")
            await remove(self, *given)
            clock.advance(seconds)

        with monkeypatch.context() as patched:
            patched.setattr(Owners, "remove", slow)
            engine.close()
        assert places(table) == (4, left, left * count(BIG))


def test_a_sweep(m, engine, table):
    """What batches, expiries and clears leave is swept when it is an hour old."""
    m.set_many({"a": BIG, "b": BIG})
    m.set("c", BIG, ttl=60)
    m.set_many({"a": 1})
    engine.test_clock.advance(120)
    assert sweep(using=engine) == (3, 0)
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine, maps=["m"]) == (3, 2)
    assert m.copy() == {"a": 1, "b": BIG}
    assert places(table)[1:] == (1, count(BIG))
    with pytest.raises(KeyError):
        sweep(using=engine, maps=["none"])


class Killed(BaseException):
    """The end of a process."""


def test_a_writer_that_died(m, engine, table, monkeypatch):
    """Its parts are found by their owner, and the value before it stays."""
    m["k"] = BIG
    apply = type(engine.stack.large._parts).apply_spread

    async def dies(self, pks, writes, now):
        await apply(self, pks, writes[:1], now)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(type(engine.stack.large._parts), "apply_spread", dies)
        m["k"] = OTHER
    assert m["k"] == BIG
    assert places(table) == (1, 2, count(BIG) + 1)
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine) == (2, 1)
    assert places(table) == (1, 1, count(BIG))


def test_a_writer_that_stalled(m, engine, table, monkeypatch):
    """A head whose parts were swept is refused, and the value before it stays."""
    m["k"] = BIG
    store_parts = Large.store_parts

    async def stalls(self, *given):
        await store_parts(self, *given)
        engine.test_clock.advance(HOUR)
        await self.sweep(partition("default", "m"))

    with monkeypatch.context() as patched, pytest.raises(StoreBusy, match="write again"):
        patched.setattr(Large, "store_parts", stalls)
        m["k"] = OTHER
    assert m["k"] == BIG
    assert places(table) == (1, 1, count(BIG))


def test_large_writes_sweep(m, engine, table, monkeypatch):
    """Each looks at two owners, from a random one on."""
    for number in range(4):
        m[f"{number}"] = BIG
    m.set_many({f"{number}": 1 for number in range(4)})
    engine.test_clock.advance(HOUR)
    monkeypatch.setattr(large_module.Owners, "some", first := _first(large_module.Owners.some))
    m["k"] = BIG
    m["k"] = BIG
    assert first.counts == [2, 2]
    assert m.copy() == {**{f"{number}": 1 for number in range(4)}, "k": BIG}
    assert sweep(using=engine).swept <= 3


def _first(some):
    """Look from the first owner on, and count them."""

    async def first(self, map, after, count, now):
        del after
        found = await some(self, map, "", count, now)
        first.counts.append(len(found))
        return found

    first.counts = []
    return first


def test_missing_parts(m, engine, table):
    """They are an error that names the key; the entry can be replaced and deleted."""
    m["k"], m["l"] = BIG, 1
    content = large_module.head_of(run(m._use()._read_store("k"))).content
    key = {"pk": {"S": f"default/m/!{content}/000001/"}, "sk": {"S": "000001"}}
    table.call("DeleteItem", TableName=table.name, Key=key)
    reads = [
        lambda: m["k"],
        lambda: m.get_many(["k"]),
        lambda: m.pop("k"),
        lambda: m.popitem(last=False),
        lambda: m.transform("k", bytes.upper),
    ]
    for read in reads:
        with pytest.raises(StoreCorrupt, match="'k'"):
            read()
    assert "k" in m
    m["k"] = OTHER
    assert m["k"] == OTHER


def test_a_cached_head_whose_parts_are_gone(table, memcached):
    """A reader that hits an old head reads the store, and nobody hits the old head after that."""
    table.empty()
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    with Engine.open(url) as engine, Engine.open(table.url) as behind:
        m, back = LPCM("m", using=engine), LPCM("m", using=behind)
        m["k"] = BIG
        old = run(m._use()._read_store("k"))
        back["k"] = OTHER  # past the cache
        head = large_module.head_of(old)
        run(behind.stack.large.owners.remove("default/m/", head.content, head.parts, 0.0))
        assert m._use()._coherent is not None
        assert m["k"] == OTHER
        seen = run(engine.stack.coherent.cached("default/m/", ["k"]))
        assert seen.get("k") != old


def test_a_foreign_head(m, engine):
    """A head that another program has written is an error of its own, and nothing else is lost."""
    m["k"] = BIG
    m["l"] = 1
    use = m._use()
    stored = run(use._read_store("k"))
    parts = large_module.head_of(stored)
    for text in ("?", "[]", "{}", parts._replace(parts=0).text(), parts._replace(size=-1).text()):
        put = Put(Cell("x", None), 1)
        run(use._store.apply("default/m/", "k", put, 0.0))
        table_put(engine, text)
        with pytest.raises(lpcm.ValueDecodingError):
            m.get("k")
    assert m["l"] == 1
    m["k"] = OTHER
    assert m["k"] == OTHER


def table_put(engine, text):
    """Put a head past lpcm."""
    from lpcm.stores.dynamodb.shards import shard

    shards = 4 if engine.store._known.get("default/m/") == 4 else 1
    item = {
        "pk": {"S": shard("default/m/", "k", shards)},
        "sk": {"S": "k"},
        "v": {"S": text},
        "etag": {"N": "7"},
        "f": {"N": "3"},
    }
    parts = engine.stack.large._parts
    run(parts._call("PutItem", {"Item": item}))
    if engine.stack.coherent is not None:
        run(engine.stack.coherent.read_stored("default/m/", ["k"], 0.0))

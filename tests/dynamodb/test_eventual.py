"""Eventually consistent reads: what they serve, and that no write relies on them.

The engines always read strongly. So the requests are looked at, and a transport answers each
eventual read of a map from another one, which holds what the map held once.
"""

import asyncio
from copy import deepcopy

import pytest

import lpcm
from lpcm import LPCM, Conflict, Engine, LPCMSet, events
from lpcm.administration import Records
from lpcm.engine import config
from lpcm.errors import ConfigError
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.store import EVENTUAL, DynamoDBStore
from lpcm.values.keys import partition
from tests.dynamodb.hurting import Hurting
from tests.dynamodb.tables import REGION

NOW = partition("default", "m")
ONCE = partition("default", "once")
READS = {"GetItem", "BatchGetItem", "Query"}


class Behind(Hurting):
    """Answers an eventual read of the map by what the map held when ``stop`` was called."""

    def __init__(self, inner, **plan):
        super().__init__(inner, **plan)
        self.reads = []
        """The operation, the partition, and whether consistent, of each read."""

    async def call(self, operation, request, within):
        if operation in READS:
            at, consistent = self._of(operation, request)
            self.reads.append((operation, at, consistent))
            if at.startswith(NOW) and not consistent:
                request = _moved(request)
        return await super().call(operation, request, within)

    def _of(self, operation, request):
        match operation:
            case "GetItem":
                return request["Key"]["pk"]["S"], request["ConsistentRead"]
            case "Query":
                return request["ExpressionAttributeValues"][":0"]["S"], request["ConsistentRead"]
        (asked,) = request["RequestItems"].values()
        return asked["Keys"][0]["pk"]["S"], asked["ConsistentRead"]

    def of_entries(self):
        """Return whether each read of the map's entries was consistent, and forget them."""
        found = [consistent for _, at, consistent in self.reads if at.startswith(NOW)]
        self.reads.clear()
        return found


def _moved(part):
    """Return a copy of a request with the partitions of the other map."""
    match part:
        case dict():
            return {name: _moved(each) for name, each in part.items()}
        case list():
            return [_moved(each) for each in part]
        case str() if part.startswith(NOW):
            return ONCE + part.removeprefix(NOW)
        case _:
            return deepcopy(part)


@pytest.fixture
def transport(table):
    return Behind(SocketTransport(Credentials(REGION, table.endpoint)))


@pytest.fixture
def engine(table, transport):
    store = DynamoDBStore(transport, table.name, str, consistency=EVENTUAL)
    with Engine(store, config.parse(table.url)) as engine:
        yield engine


@pytest.fixture
def stop(table):
    """Return what stops the copy that eventual reads are answered by, at what the map holds now."""

    def stop():
        for item in table.items():
            if item["pk"]["S"].startswith(NOW):
                table.call("PutItem", TableName=table.name, Item=_moved(item))

    return stop


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def m(request, engine):
    return LPCM("m", using=engine, shards=request.param)


LOOKS = {
    "m[k]": (lambda m: m["a"], 1),
    "get": (lambda m: m.get("a"), 1),
    "in": (lambda m: "a" in m, True),
    "get_many": (lambda m: m.get_many(["a", "b"]), {"a": 1}),
    "keys &": (lambda m: m.keys() & {"a", "b"}, {"a"}),
    "item in items": (lambda m: ("a", 1) in m.items(), True),
    "iteration": (list, ["a"]),
    "items": (lambda m: [*m.items()], [("a", 1)]),
    "reversed": (lambda m: [*reversed(m)], ["a"]),
    "a range": (lambda m: [*m.keys(start="a")], ["a"]),
    "len": (len, 1),
    "bool": (bool, True),
    "peekitem": (lambda m: m.peekitem(), ("a", 1)),
    "copy": (lambda m: m.copy(), {"a": 1}),
    "==": (lambda m: m == {"a": 1}, True),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_asked_eventually(m, transport, stop, name):
    """A read that no write depends on costs half, and may be behind."""
    look, behind = LOOKS[name]
    m["a"] = 1
    stop()
    m.update(a=2, b=2)
    transport.reads.clear()
    assert look(m) == behind
    found = transport.of_entries()
    assert found
    assert not any(found)


def test_what_is_asked_eventually_on_an_event_loop(table):
    """The a-twins read so, too; an entry's etag is read strongly."""

    async def use():
        m = LPCM("m", using=engine)
        await m.aset("a", 1)
        with events.subscribe(sent.append, events.Request):
            assert await m.aget("a") == 1
            assert [each async for each in m.aitems()] == [("a", 1)]
            assert await m.alen() == 1
            assert (await m.aentry("a")).value == 1

    sent = []
    with Engine.open(f"{table.url}&consistency=eventual") as engine:
        asyncio.run(use())
    assert [event.read_units for event in sent] == [0.5, 0.5, 0.5, 1.0]


def test_strong_by_default(table):
    """Without the option every read is strong, as ``consistency=strong`` says."""
    for url in (table.url, f"{table.url}&consistency=strong"):
        with Engine.open(url) as engine:
            assert engine.stack.eventual is None


def replaced(m):
    entry = m.entry("a")
    m.replace("a", entry.value + 1, if_etag=entry.etag)


def transacted(m):
    with lpcm.transaction() as t:
        t[m]["a"] = t[m]["a"] + 1


def transacted_in_bulk(m):
    with lpcm.transaction() as t:
        (value,) = t[m].get_many(["a"]).values()
        t[m]["a"] = value + 1


def transacted_by_a_walk(m):
    with lpcm.transaction() as t:
        for key, value in t[m].items():
            t[m][key] = value + 1


def transacted_if_present(m):
    with lpcm.transaction() as t:
        assert "a" in t[m]
        t[m]["a"] = 8


CHANGES = {
    "increment": lambda m: m.increment("a"),
    "increment by a float": lambda m: m.increment("a", 1.0),
    "increment_existing": lambda m: m.increment_existing("a"),
    "+=": lambda m: m.__setitem__("a", m["a"].__iadd__(1)),
    "+= a float": lambda m: m.__setitem__("a", m["a"].__iadd__(1.0)),
    "transform": lambda m: m.transform("a", lambda value: value + 1),
    "replace": replaced,
    "transaction": transacted,
    "get_many in a transaction": transacted_in_bulk,
    "a walk in a transaction": transacted_by_a_walk,
    "in, in a transaction": transacted_if_present,
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_change_depends_on_an_eventual_read(m, stop, name):
    """A change is of the latest value, at once and without a Conflict."""
    m["a"] = 1
    stop()
    m["a"] = 7
    CHANGES[name](m)
    assert m.entry("a").value == 8


def test_another_attempt_reads_the_latest(m, stop):
    """A compare-and-set that lost twice, and waited, begins again from a strong read."""
    m["a"] = 1
    stop()

    def change(value):
        seen.append(value)
        if len(seen) < 3:
            m["a"] = 10 * len(seen)
        return value + 1

    seen = []
    assert m.transform("a", change) == 21
    assert seen == [1, 10, 20]


def test_containers_change_as_they_are(m, stop):
    """A method of a live container is applied to what is stored, not to what was read."""
    m["a"] = {"tags": ["x"], "seen": 1}
    stop()
    m["a"] = {"tags": ["y"], "seen": 5}
    m["a"]["tags"].append("z")
    m["a"]["tags"].insert(0, "w")
    m["a"]["seen"] += 1
    m["a"] |= {"more": 1}
    assert m.entry("a").value == {"tags": ["w", "y", "z"], "seen": 6, "more": 1}


def test_sets_change_as_they_are(engine, stop):
    """Members come and go in the stored set."""
    s = LPCMSet("m", using=engine)
    s["a"] = {1}
    stop()
    s["a"] = {2, 3}
    s["a"] |= {4}
    s.remove_values("a", {3})
    s.insert_values("a", {5})
    assert s.entry("a").value == {2, 4, 5}


def test_what_is_present_is_decided_in_the_store(m, stop):
    """No entry is added, kept, taken or found absent by an eventual read."""
    stop()  # to eventual reads the map is empty
    m["a"] = 1
    assert not m.add("a", 2)
    assert m.setdefault("a", 2) == 1
    assert m.entry("a").value == 1
    assert m.ttl("a") is None
    m.expire("a", 60)
    assert m.popitem() == ("a", 1)
    m["b"] = 2
    assert m.pop("b") == 2
    m["c"] = 3
    del m["c"]
    m.update(d=4, e=5)
    m.clear()
    assert Records("m", using=m._use()._engine).page().entries == []


def test_an_old_etag_is_refused(m, stop):
    """A write conditional on an etag is refused where the entry was written again."""
    m["a"] = 1
    etag = m.entry("a").etag
    stop()
    m["a"] = 2
    with pytest.raises(Conflict):
        m.replace("a", 3, if_etag=etag)


def test_a_lost_reply_is_recognised_by_a_strong_read(m, transport, stop):
    """The entry that says whether a write was applied is the latest."""
    m["a"] = 1
    stop()
    transport.plan["PutItem"] = ["lost after"]
    transport.plan["BatchWriteItem"] = ["lost after"]
    m["a"] = 2
    m.set_many({"a": 3, "b": 4})
    assert all(transport.of_entries())
    assert m.entry("a").value == 3


def test_records_are_the_latest(m, engine, stop):
    """What is copied, exported, audited, or shown in the admin is read strongly."""
    m["a"] = 1
    stop()
    m["a"] = 2
    records = Records("m", using=engine)
    assert [entry.value for page in records.pages() for entry in page.entries] == [2]
    assert records.entry("a").value == 2


def test_the_catalogue_is_read_strongly(m, transport, stop):
    """So is the row that says in which format a map is."""
    m["a"] = 1
    stop()
    _ = m["a"], len(m)
    of_catalogue = [strong for _, at, strong in transport.reads if at == partition("default")]
    assert of_catalogue
    assert all(of_catalogue)


def test_a_cache_is_filled_by_strong_reads(table, transport, stop, memcached):
    """Behind a cache iteration and ``len`` alone are eventual."""
    store = DynamoDBStore(transport, table.name, str, consistency=EVENTUAL)
    url = f"{table.url}&cache=memcached://127.0.0.1:{memcached.port}"
    settings = config.parse(url)
    from lpcm.engine.engine import open_adapters

    _, cache = open_adapters(settings)
    with Engine(store, settings, cache=cache) as engine:
        check_behind_a_cache(LPCM("m", using=engine), transport, stop)


def test_a_near_cache_is_filled_by_strong_reads(table, transport, stop):
    """So it is in front of a near cache, whose age would not be known else."""
    store = DynamoDBStore(transport, table.name, str, consistency=EVENTUAL)
    settings = config.parse(table.url, {"near_cache": 1_000_000, "max_stale": 0.001})
    with Engine(store, settings) as engine:
        check_behind_a_cache(LPCM("m", using=engine), transport, stop)


def check_behind_a_cache(m, transport, stop):
    m["a"] = 1
    stop()
    m["a"] = 2
    transport.reads.clear()
    m.update(b=3)
    assert (m["a"], m.get("a"), "a" in m, m.get_many(["a", "b"])) == (2, 2, True, {"a": 2, "b": 3})
    m.disable_caching()
    assert m["a"] == 2
    assert all(transport.of_entries())
    assert (len(m), [*m.items()]) == (1, [("a", 1)])
    assert not any(transport.of_entries())


def test_observed_reads_are_as_cheap(m, transport, stop):
    """With a listener reads are the same, and it hears of each."""
    m["a"] = 1
    stop()
    with events.recorded() as heard:
        transport.reads.clear()
        assert (m["a"], m.get_many(["a"]), len(m), [*m]) == (1, {"a": 1}, 1, ["a"])
    assert not any(transport.of_entries())
    assert [event.kind for event in heard] == ["read", "read", "count", "count", "scan"]


def test_only_dynamodb_takes_the_option():
    """Elsewhere there is nothing to choose, and a word that is none is refused."""
    for url in ("sqlite:///m.sqlite3", "memory://", "memcached://localhost"):
        with pytest.raises(ConfigError, match="unknown option 'consistency'"):
            config.parse(f"{url}?consistency=eventual")
    with pytest.raises(ConfigError, match="use strong or eventual"):
        config.parse("dynamodb://shop?consistency=weak")


def test_info_says_so(table):
    """``lpcm.info`` has it, for DynamoDB alone."""
    for consistency in ("strong", "eventual"):
        with Engine.open(f"{table.url}&consistency={consistency}") as engine:
            assert lpcm.info(using=engine)["consistency"] == consistency

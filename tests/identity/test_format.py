"""What a later version wrote is refused by every operation, and stays as it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lpcm import LPCM, Engine, StoreTooNew, atransact, transact
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import Cell, KeyRange, MapInfo, Put
from lpcm.stores.dynamodb.shards import Sharded
from lpcm.testing import FakeClock
from lpcm.values.keys import partition
from tests.dynamodb.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checks.servers import Server

OPERATIONS = {
    "m[k]": lambda m: m["k"],
    "get": lambda m: m.get("k"),
    "in": lambda m: "k" in m,
    "entry": lambda m: m.entry("k"),
    "get_many": lambda m: m.get_many(["k", "l"]),
    "set": lambda m: m.set("k", 1),
    "del": lambda m: m.delete("k"),
    "pop": lambda m: m.pop("k", None),
    "popitem": lambda m: m.popitem(),
    "setdefault": lambda m: m.setdefault("k", 1),
    "replace": lambda m: m.replace("k", 2),
    "expire": lambda m: m.expire("k", 60),
    "increment": lambda m: m.increment("k"),
    "increment by half": lambda m: m.increment("k", 0.5),
    "transform": lambda m: m.transform("k", str),
    "len": len,
    "bool": bool,
    "iteration": list,
    "items": lambda m: list(m.items()),
    "reversed": lambda m: list(reversed(m)),
    "clear": lambda m: m.clear(),
    "transaction that reads": lambda m: transact(lambda t: t[m].get("k")),
    "transaction that writes": lambda m: transact(lambda t: t[m].set("k", 1)),
}
BATCHES = {
    "set_many": lambda m: m.set_many({"k": 1, "l": 2}),
    "delete_many": lambda m: m.delete_many(["k", "l"]),
    "update": lambda m: m.update({"k": 1}),
}
NO_TRANSACTIONS = {"transaction that reads", "transaction that writes"}
LATER = {"format": MapInfo("m", 9), "shards": MapInfo("m", 1, "typed", 4)}


@pytest.fixture(params=["memory", "sqlite", "dynamodb", "memcached", "sqlite behind memcached"])
def url(request, tmp_path, memcached: Server) -> Iterator[str]:
    """Yield the URL of an empty store of each kind."""
    server = f"memcached://{memcached.host}:{memcached.port}"
    match request.param:
        case "memory":
            yield "memory://"
        case "sqlite":
            yield f"sqlite:///{tmp_path}/m.sqlite3"
        case "dynamodb":
            dynoxide = request.getfixturevalue("dynoxide")
            table = Table(f"http://{dynoxide.host}:{dynoxide.port}")
            table.empty()
            yield table.url
            table.close()
        case "memcached":
            yield f"{server}?namespace={tmp_path.name}"
        case _:
            yield f"sqlite:///{tmp_path}/m.sqlite3?cache={server}"


def _past_shards(store):
    """Return the store itself, where one stands in front of it that refuses the map, too."""
    return store._store if isinstance(store, Sharded) else store


@pytest.mark.parametrize("what", LATER)
def test_a_map_of_a_later_format(url, what):
    """No operation answers or changes anything; each raises StoreTooNew."""
    engine = Engine.open(url)
    place = partition(engine.namespace, "m")
    run(engine.store.register(engine.namespace, LATER[what]))
    store = _past_shards(engine.store)
    run(store.apply(place, "k", Put(Cell("later", None), 1), 0.0))
    m = LPCM("m", using=engine)
    for name, operation in {**OPERATIONS, **BATCHES}.items():
        if not (url.startswith("memcached") and name in NO_TRANSACTIONS):
            with pytest.raises(StoreTooNew, match="upgrade"):
                operation(m)
    assert run(store.count(place, KeyRange(), 0.0)) == 1
    stored = run(store.read(place, "k", 0.0))
    assert stored is not None
    assert stored.data == "later"
    engine.close()


def test_awaited(url):
    """The awaited operations raise it as well."""
    engine = Engine.open(url)
    run(engine.store.register(engine.namespace, LATER["format"]))
    m = LPCM("m", using=engine)

    async def change(t):
        return await t[m].aget("k")

    async def main():
        operations = [m.aget("k"), m.aset("k", 1), m.alen(), m.aclear(), m.aget_many(["k"])]
        if not url.startswith("memcached"):
            operations.append(atransact(change))
        for operation in operations:
            with pytest.raises(StoreTooNew):
                await operation
        with pytest.raises(StoreTooNew):
            async for _ in m.aitems():
                pass

    import asyncio

    asyncio.run(main())
    engine.close()


def test_live_values(url):
    """A change of a value that was read before the map got a later format is refused in time."""
    clock = FakeClock()
    engine = Engine.open(url, clock=clock)
    m = LPCM("m", using=engine)
    m["list"], m["number"] = [1], 1
    found, number = m["list"], m["number"]
    run(engine.store.drop(engine.namespace))
    run(engine.store.register(engine.namespace, LATER["format"]))
    clock.advance(61)
    with pytest.raises(StoreTooNew):
        found.append(2)
    with pytest.raises(StoreTooNew):
        number.increment()
    with pytest.raises(StoreTooNew):
        m["number"] += 1
    with pytest.raises(StoreTooNew):
        m["new"] = 1
    with pytest.raises(StoreTooNew):
        len(m)
    engine.close()


# DynamoDB's items


@pytest.fixture
def table(dynoxide: Server) -> Iterator[Table]:
    """Yield an empty table."""
    table = Table(f"http://{dynoxide.host}:{dynoxide.port}")
    table.empty()
    yield table
    table.close()


def test_an_item_of_a_later_format(table):
    """An item with the attribute ``f`` is refused by all that meets it, and stays."""
    engine = Engine.open(table.url)
    m = LPCM("m", using=engine)
    m["a"] = 1
    later = {
        "pk": {"S": "default/m/"},
        "sk": {"S": "k"},
        "v": {"L": [{"N": "1"}]},
        "etag": {"N": "7"},
        "f": {"N": "9"},
    }
    table.call("PutItem", TableName=table.name, Item=later)
    for name, operation in OPERATIONS.items():
        if name == "bool":
            continue  # it reads the first entry, which is another one
        with pytest.raises(StoreTooNew, match="upgrade"):
            pytest.fail(f"{name}: {operation(m)!r}")
    with pytest.raises(StoreTooNew):
        LPCM("m", using=engine, default=[])["k"].append(1)
    once = Engine.open(table.url, exactly_once=True)
    exactly = LPCM("m", using=once)
    for name in ("set", "del", "pop", "expire", "increment", "transform"):
        with pytest.raises(StoreTooNew):
            OPERATIONS[name](exactly)
    once.close()
    assert later in table.items()
    assert m["a"] == 1
    engine.close()


# What it costs


class Counting:
    """A store that counts the requests it passes on, by name."""

    def __init__(self, store):
        self._store = store
        self.requests = []

    def __getattr__(self, name):
        attribute = getattr(self._store, name)
        if name in {"form", "identity", "blocking", "close"}:
            return attribute

        async def counted(*args, **options):
            self.requests.append(name)
            return await attribute(*args, **options)

        return counted

    def taken(self):
        """Return what was asked since."""
        taken, self.requests = self.requests, []
        return taken


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "behind memcached"])
def test_requests(tmp_path, memcached, cached):
    """A map's first operation in a minute asks for its row once; a hit asks for nothing."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    options = {"cache": f"memcached://{memcached.host}:{memcached.port}"} if cached else {}
    inner, clock = Engine.open(url, **options), FakeClock()
    store = Counting(inner.store)
    settings = config.parse(url, options)

    def engine():
        return Engine(store, settings, cache=inner.stack.cache, clock=clock)

    m = LPCM("m", using=engine())
    m["k"] = 1
    m["l"] = 2
    assert store.taken() == ["register", "apply", "apply"]
    m = LPCM("m", using=engine())
    assert m["k"] == 1
    assert store.taken() == (["describe"] if cached else ["describe", "read"])
    assert m["k"] == 1
    assert store.taken() == ([] if cached else ["read"])
    again = LPCM("m", using=m._use()._engine)
    assert len(again) == 2
    assert store.taken() == ["count"]
    clock.advance(61)
    assert m["k"] == 1
    assert store.taken() == ([] if cached else ["describe", "read"])
    assert m.get("absent") is None
    assert store.taken() == (["describe", "read"] if cached else ["read"])
    m["k"] = 3
    assert store.taken() == ["apply"]
    clock.advance(61)
    m["k"] = 4
    assert store.taken() == ["describe", "apply"]
    inner.close()


def test_one_asks_for_all(tmp_path):
    """When a minute is over, one of many threads asks, and the others do not wait for it."""
    inner, clock = Engine.open(f"sqlite:///{tmp_path}/m.sqlite3"), FakeClock()
    store = Counting(inner.store)
    asking, go_on = threading.Event(), threading.Event()
    describe = store.describe

    async def slowly(*args):
        asking.set()
        assert go_on.wait(30)
        return await describe(*args)

    m = LPCM("m", using=Engine(store, config.parse("memory://"), clock=clock))
    m["k"] = 1
    clock.advance(60.5)
    store.taken()
    store.describe = slowly
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(m.get, "k")
        assert asking.wait(30)
        other = LPCM("m", using=m._use()._engine)
        assert [other["k"] for _ in range(5)] == [1] * 5
        go_on.set()
        assert first.result(30) == 1
    assert store.taken().count("describe") == 1
    inner.close()

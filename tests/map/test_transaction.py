"""Transactions over several maps, on every store, through the cache, and under contention."""

import asyncio
import copy
import gc
import inspect
import sqlite3
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import lpcm
from checks import servers
from lpcm import (
    LPCM,
    BatchError,
    CacheUnavailable,
    ConfigError,
    Conflict,
    Engine,
    LPCMError,
    LPCMSet,
    PickleRefused,
    ValueDecodingError,
    ValueTooLarge,
    events,
)
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.operations.buffered import TWINS, AtHand, BufferedEntries
from lpcm.ports import Cell, Put
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture
from tests.foreign.test_sqlite import File
from tests.map.test_requests import Counting


@pytest.fixture(scope="module", params=["memory", "sqlite", "dynoxide", "behind memcached"])
def engine(request, tmp_path_factory):
    """Yield an engine; the last two are DynamoDB without and with a cache."""
    if request.param == "memory":
        url = "memory://"
    elif request.param == "sqlite":
        path = tmp_path_factory.mktemp("transaction")
        url = f"sqlite:///{path}/m.sqlite3?synchronous=normal"
    else:
        url = request.getfixturevalue("dynoxide_table").url
        if request.param == "behind memcached":
            memcached = request.getfixturevalue("memcached")
            url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(url)
    yield engine
    engine.close()


@pytest.fixture
def maps(engine):
    """Return two empty maps."""
    made = [LPCM(name, using=engine) for name in ("one", "two")]
    for each in made:
        each.clear()
    return made


def test_all_is_written_or_nothing(maps):
    """Writes are seen by nobody before the end, and all of them after it; none if it raises."""
    one, two = maps
    one.update(a=1, gone=1)
    with lpcm.transaction() as t:
        t[one]["a"] += 5
        t[two]["b"] = {"x": [1, (2,)]}
        t[two].set("ttl", 1, ttl=60)
        del t[one]["gone"]
        assert t[one]["a"] == 6
        assert t[one].get("gone", "no") == "no"
        assert "gone" not in t[one]
        assert "b" in t[two]
        assert (one["a"], "b" in two, "gone" in one) == (1, False, True)
    assert (one.copy(), two["b"]) == ({"a": 6}, {"x": [1, (2,)]})
    assert 59 < two.ttl("ttl") <= 60
    with pytest.raises(ZeroDivisionError), lpcm.transaction() as t:
        t[one]["a"] = 1 / 0
    assert one["a"] == 6


def test_a_conflict_names_the_keys(maps):
    """What others wrote after it was read prevents all writes, read-only keys included."""
    one, two = maps
    one.update(a=1, b=1)

    def attempt(meanwhile):
        with lpcm.transaction() as t:
            t[two]["out"] = t[one]["a"] + t[one].get("none", 0)
            t[one]["b"] += 1
            meanwhile()

    for meanwhile, keys in (
        (lambda: one.increment("a"), [("one", "a")]),
        (lambda: one.increment("b"), [("one", "b")]),
        (lambda: one.delete("a"), [("one", "a")]),
        (lambda: one.update(a=1, none=1), [("one", "a"), ("one", "none")]),
    ):
        with pytest.raises(Conflict) as caught:
            attempt(meanwhile)
        assert sorted(caught.value.keys) == keys
        assert "out" not in two
        assert one.get_many(["a", "b"]) == LPCM("one", live=False, using=one._using).get_many(
            ["a", "b"]
        )
        one.update(a=1)
        one.delete("none")
    attempt(lambda: one.update(other=1))
    assert (two["out"], one["b"]) == (1, 3)


@pytest.mark.parametrize("changed", [True, False])
def test_what_changed_behind_the_cache_is_read_again(request, memcached, changed):
    """Whoever wrote an entry, and how: after a conflict it is read as it is stored."""
    table = request.getfixturevalue("dynoxide_table")
    behind = Engine.open(table.url)
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(url)
    one, two = LPCM("one", using=engine), LPCM("two", using=engine)
    one["a"] = 1
    assert one["a"] == 1  # cached
    LPCM("one", using=behind)["a"] = 2
    attempts = []

    def move(t):
        attempts.append(t[one]["a"])
        t[two]["b"] = t[one]["a"]
        if changed:
            t[one]["a"] += 10

    lpcm.transact(move)
    assert attempts == [1, 2]
    assert (one["a"], two["b"]) == (12 if changed else 2, 2)
    behind.close()
    engine.close()


def test_what_was_not_read_is_no_condition(maps):
    """A blind write happens whatever others did."""
    one, _ = maps
    with lpcm.transaction() as t:
        t[one]["k"] = 1
        one["k"] = 2
    assert one["k"] == 1
    with lpcm.transaction() as t:
        pass
    with lpcm.transaction() as t:
        t[one].delete("never")


def test_what_was_only_read_is_one_picture(maps):
    """A transaction that writes nothing ends well only if what it read was there at once."""
    one, two = maps
    one["a"], two["b"] = 1, 1
    with lpcm.transaction() as t:
        assert (t[one]["a"], t[two]["b"]) == (1, 1)

    def torn():
        with lpcm.transaction() as t:
            before = t[one]["a"]
            one["a"] = two["b"] = 2
            return before, t[two]["b"]

    with pytest.raises(Conflict):
        torn()


def test_an_expiry_stays_with_an_increment(maps):
    """``increment`` keeps the entry's expiry, of a pending write too; so does ``+=``."""
    one, _ = maps
    one.set("k", 1, ttl=60)
    one.set("j", 1, ttl=60)
    with lpcm.transaction() as t:
        assert t[one].increment("k") == 2
        assert t[one].increment("k", 3) == 5
        t[one].set("new", 1, ttl=30)
        t[one].increment("new")
        t[one]["j"] += 1
    assert one.copy() == {"k": 5, "j": 2, "new": 2}
    assert 59 < one.ttl("k") <= 60
    assert 29 < one.ttl("new") <= 30
    assert 59 < one.ttl("j") <= 60


VERBS = {
    "add": ("add", "k", 1),
    "increment": ("increment", "k", 2),
    "increment by a float": ("increment", "k", 0.5),
    "decrement": ("decrement", "k", 2),
    "transform": ("transform", "k", lambda value: value * 2, 7),
    "touch": ("touch", "k"),
}


@pytest.mark.parametrize("awaited", [False, True], ids=["blocking", "awaited"])
@pytest.mark.parametrize("own", [None, 1000])
@pytest.mark.parametrize("there", [False, True], ids=["absent", "there"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_in_a_transaction_what_it_does_outside(engine, verb, there, own, awaited):
    """A verb returns and leaves in a transaction what it does outside, expiry included."""
    name, key, *args = VERBS[verb]
    inside, outside = (LPCM(each, using=engine, ttl=own) for each in ("one", "two"))
    for each in (inside, outside):
        each.clear()
        if there:
            each.set(key, 3, ttl=500)

    async def main():
        async with lpcm.transaction() as t:
            within = await getattr(t[inside], f"a{name}")(key, *args, ttl=60)
        return within, await getattr(outside, f"a{name}")(key, *args, ttl=60)

    if awaited:
        returned = asyncio.run(main())
    else:
        with lpcm.transaction() as t:
            returned = getattr(t[inside], name)(key, *args, ttl=60)
        returned = returned, getattr(outside, name)(key, *args, ttl=60)
    assert returned[0] == returned[1]
    assert type(returned[0]) is type(returned[1])
    assert inside.copy() == outside.copy()
    for each in (inside, outside):
        if key in each:
            wanted = 500 if there and name != "touch" else 60
            assert wanted - 10 < each.ttl(key) <= wanted


def test_verbs_of_an_absent_key(maps):
    """``transform`` without any default is a KeyError, and nothing is written."""
    one, _ = maps
    with pytest.raises(KeyError), lpcm.transaction() as t:
        assert not t[one].touch("k", 1)
        t[one]["j"] = 1
        t[one].transform("k", str)
    assert one.copy() == {}


def test_sets_take_what_they_take(maps, engine):
    """A map of sets stores sets in a transaction as well, and reads a missing one as empty."""
    tags = LPCMSet("two", using=engine)
    with lpcm.transaction() as t:
        assert t[tags]["k"] == set()
        t[tags]["k"] |= {1}
        t[tags]["l"] = [1, 1]
        with pytest.raises(TypeError):
            t[tags]["k"] = 5
    assert tags.copy() == {"k": {1}, "l": {1}}


def test_an_ended_transaction_says_so(maps):
    """Neither reads nor writes are taken after the end, which would be lost."""
    one, _ = maps
    with lpcm.transaction() as t:
        t[one]["a"] = 1
    for attempt in (
        lambda: t[one].get("a"),
        lambda: t[one].set("a", 2),
        lambda: t[one].delete("a"),
    ):
        with pytest.raises(LPCMError, match="has ended"):
            attempt()
    one["a"] = 5
    with pytest.raises(LPCMError, match="has ended"), t:
        pass
    assert one["a"] == 5


def test_strict_writes_nothing_without_the_cache(tmp_path):
    """With ``on_cache_error=strict`` a transaction that cannot mark its entries is refused."""
    path = f"sqlite:///{tmp_path}/m.sqlite3"
    with servers.memcached() as memcached:
        url = f"{path}?cache=memcached://{memcached.host}:{memcached.port}&on_cache_error=strict"
        cached = LPCM("m", using=(engine := Engine.open(url)))
        cached["a"] = 1
        memcached.kill()
        with pytest.raises(CacheUnavailable), lpcm.transaction() as t:
            t[cached]["a"] = 2
        engine.close()
    assert LPCM("m", url=path).copy() == {"a": 1}


def test_missing_keys(maps, engine):
    """A missing key is a KeyError, or the map's default."""
    one, _ = maps
    with lpcm.transaction() as t:
        with pytest.raises(KeyError):
            t[one]["k"]
        with pytest.raises(KeyError):
            del t[one]["k"]
        counts = LPCM("two", default=5, using=engine)
        assert t[counts]["n"] == 5
        assert t[counts].increment("n") == 6
    assert counts.copy() == {"n": 6}


def test_limits(maps):
    """Over 100 keys, over 4 MB and maps of two stores are refused before anything is sent."""
    one, _ = maps
    with lpcm.transaction() as t:
        for n in range(100):
            t[one][n] = n
        with pytest.raises(ValueTooLarge):
            t[one][100] = 1
        with pytest.raises(ValueTooLarge):
            t[one][101]
        t[one][99] = "again"
    assert len(one) == 100
    with lpcm.transaction() as t:
        for n in range(13):
            t[one][n] = "x" * 320_000
        with pytest.raises(ValueTooLarge):
            t[one][13] = "x" * 320_000
        for n in range(13):
            t[one][n] = n
    elsewhere = Engine.open("memory://")
    with lpcm.transaction() as t, pytest.raises(ConfigError):
        t[one][1] = t[LPCM("m", using=elsewhere)].get(1)
    elsewhere.close()


def test_transact_retries(maps, engine):
    """``transact`` runs the function again after a conflict, and moves without loss."""
    one, _ = maps
    one.update(a=1000, b=0)
    barrier = threading.Barrier(8)

    def move(t):
        t[one]["a"] -= 1
        t[one]["b"] += 1
        return t[one]["b"]

    def client(_):
        barrier.wait()
        return [lpcm.transact(move) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        results = [result for results in pool.map(client, range(8)) for result in results]
    assert sorted(results) == list(range(1, 41))
    assert one.copy() == {"a": 960, "b": 40}
    with pytest.raises(ZeroDivisionError):
        lpcm.transact(lambda t: t[one].set("a", 1 / 0))


def test_async_twins(maps, engine):
    """``async with``, the reading a-twins and ``atransact`` do the same."""
    one, two = maps
    one["a"] = 1

    async def main():
        async with lpcm.transaction() as t:
            t[two]["first"] = 0
            t[one]["a"] = await t[one].agetitem("a") + 1
            assert await t[one].aget("none", 7) == 7
            assert not await t[two].acontains("none")
        with pytest.raises(Conflict):
            async with lpcm.transaction() as t:
                t[two]["b"] = await t[one].aget("a")
                await one.aincrement("a")

        async def move(t):
            t[two]["b"] = await t[one].agetitem("a")
            return t[two]["b"]

        return await lpcm.atransact(move)

    assert asyncio.run(main()) == 3
    assert (one["a"], two.copy()) == (3, {"b": 3, "first": 0})


@pytest.fixture
def unblocked(engine, monkeypatch):
    """Have whatever would block this thread raise instead: the blocking stack, used here."""
    mine = threading.get_ident()

    def guarded(method):
        async def guard(*args, **options):
            assert threading.get_ident() != mine, f"{method.__name__} blocks the event loop"
            return await method(*args, **options)

        return guard

    for part in {engine.stack.tier, engine.stack.store}:
        for name in ("read", "read_many", "apply", "apply_many", "transact", "scan", "register"):
            if hasattr(part, name):
                monkeypatch.setattr(part, name, guarded(getattr(part, name)))


def test_an_awaited_transaction_never_blocks_its_loop(maps, engine, unblocked):
    """Every method is awaited or needs no store; what would have to read names its twin."""
    one, two = maps
    asyncio.run(one.aupdate(a=1, b=2, c=3))
    # Such as remember no method from before it was guarded.
    one, two = (LPCM(name, using=engine, default=0) for name in ("one", "two"))

    async def main():
        async with lpcm.transaction() as t:
            part = t[one]
            for blocking, twin in (
                (lambda: part["a"], "agetitem"),
                (lambda: part.get("a"), "aget"),
                (lambda: "a" in part, "acontains"),
                (lambda: part.increment("a"), "aincrement"),
                (lambda: part.decrement("a"), "adecrement"),
                (lambda: part.transform("a", str), "atransform"),
                (lambda: part.add("a", 1), "aadd"),
                (lambda: part.touch("a", 1), "atouch"),
                (lambda: part.__delitem__("a"), "adelitem"),
                (lambda: part.pop("a"), "apop"),
                (lambda: part.setdefault("a", 1), "asetdefault"),
                (lambda: part.replace("a", 1), "areplace"),
                (lambda: part.expire("a", 1), "aexpire"),
                (lambda: part.entry("a"), "aentry"),
                (lambda: part.ttl("a"), "attl"),
                (lambda: part.get_many(["a"]), "aget_many"),
                (lambda: ("a", 1) in part.items(), "aget_many"),
                (part.copy, "aitems"),
                (part.popitem, "apopitem"),
                (part.peekitem, "apeekitem"),
                (part.clear, "aclear"),
                (lambda: len(part), "alen"),
                (lambda: bool(part), "abool"),
            ):
                with pytest.raises(LPCMError, match=rf"await {twin}\("):
                    blocking()
            assert await part.aincrement("a", 10) == 11
            assert await t[two].aincrement("new") == 1
            await part.adelitem("b")
            with pytest.raises(KeyError):
                await part.adelitem("b")
            with pytest.raises(KeyError):
                await part.adelitem("none")
            # At hand by now, so no wait is needed.
            assert (part["a"], part.get("a"), "a" in part, "b" in part) == (11, 11, True, False)
            part["a"] += 1
            assert part.increment("a") == 13
            t[two].set("set", 1, ttl=60)
            part.delete("c")
            del t[two]["set"]

        async def move(t):
            return await t[one].aincrement("a")

        return await lpcm.atransact(move), await one.acopy(), await two.acopy()

    assert asyncio.run(main()) == (14, {"a": 14}, {"new": 1})


def test_an_awaited_increment_keeps_expiry_and_condition(maps):
    """``aincrement`` is ``increment``: an entry keeps its expiry, and a change in between shows."""
    one, _ = maps
    one.set("a", 1, ttl=60)

    async def main():
        async with lpcm.transaction() as t:
            await t[one].aincrement("a", 2)
        async with lpcm.transaction() as t:
            await t[one].aincrement("a")
            await one.aincrement("a")

    with pytest.raises(Conflict):
        asyncio.run(main())
    assert one["a"] == 4
    assert 50 < one.ttl("a") <= 60


def test_an_explicit_default_wins(engine):
    """``get(key, default)`` prefers its own default to the map's, as outside."""
    m = LPCM("one", using=engine, default=1)
    m.clear()

    async def main():
        async with lpcm.transaction() as t:
            return await t[m].aget("k", 2), await t[m].aget("j"), t[m].get("k", 3)

    with lpcm.transaction() as t:
        assert (t[m].get("k", 2), t[m].get("k", None), t[m].get("k")) == (2, None, 1)
    assert (m.get("k", 2), m.get("k", None), m.get("k")) == (2, None, 1)
    assert asyncio.run(main()) == (2, 1, 3)


def test_live_values(maps, engine):
    """A change of a part of a value is the transaction's, and with it done or not done."""
    one, two = maps
    tags = LPCMSet("two", using=engine)
    one["x"] = {"tags": ["a"], "n": 1, "sub": {"deep": [1]}}
    two["s"] = {1}
    with lpcm.transaction() as t:
        t[one]["x"]["tags"].append("b")
        t[one]["x"]["tags"] += ["c"]
        t[one]["x"]["n"] += 2
        t[one].setdefault("y", []).append(1)
        del t[one]["x"]["sub"]["deep"][0]
        t[tags].insert_values("s", {2, 3})
        t[tags].remove_values("s", {1})
        t[two]["s"] |= {4}
        t[one]["n"] = 1
        assert t[one]["n"].increment() == 2
        held = t[one]["x"]
        assert held == {"tags": ["a", "b", "c"], "n": 3, "sub": {"deep": []}}
        assert one["x"] == {"tags": ["a"], "n": 1, "sub": {"deep": [1]}}
    assert one.copy() == {"x": held, "y": [1], "n": 2}
    assert two.copy() == {"s": {2, 3, 4}}
    with pytest.raises(LPCMError, match="has ended"):
        held["n"] += 1
    with pytest.raises(ZeroDivisionError), lpcm.transaction() as t:
        t[one]["x"]["tags"].append(1 / 0)
    with pytest.raises(Conflict), lpcm.transaction() as t:
        t[one]["x"]["tags"].append("d")
        one["x"]["tags"].append("somebody else's")
    assert one["x"]["tags"] == ["a", "b", "c", "somebody else's"]


def test_live_values_are_awaited(maps):
    """Where an event loop runs it, their a-twins do the same, and what is at hand needs none."""
    one, _ = maps
    one["x"] = {"tags": ["a"]}

    async def main():
        async with lpcm.transaction() as t:
            value = await t[one].agetitem("x")
            await value["tags"].aappend("b")
            value["tags"].append("c")
            t[one]["x"]["tags"].append("d")
            number = await t[one].asetdefault("n", 1)
            assert await number.aincrement(2) == 3

    asyncio.run(main())
    assert one.copy() == {"x": {"tags": ["a", "b", "c", "d"]}, "n": 3}


def test_a_number_from_outside_is_a_number(maps):
    """A sum of what was read outside is assigned in a transaction, and the other way round."""
    one, _ = maps
    one["k"] = 1
    outside = one["k"]
    outside += 1
    one["k"] = 10
    with lpcm.transaction() as t:
        t[one]["k"] = outside
        assert t[one]["k"] == 2
        inside = t[one]["k"]
        inside += 1
    one["k"] = inside
    assert one["k"] == 3


def test_a_walk_shows_what_the_transaction_wrote(maps):
    """Pages of the store and pending writes are one map, in key order, forwards and backwards."""
    one, _ = maps
    one.update({f"k{n:02}": n for n in range(30)})
    wanted = one.copy()
    with lpcm.transaction() as t:
        m = t[one]
        for n in range(0, 30, 3):
            del wanted[f"k{n:02}"]
            m.delete(f"k{n:02}")
        for n in (-1, 5, 7, 40, 41):
            wanted[f"k{n:02}"] = m[f"k{n:02}"] = [n]
        wanted = dict(sorted(wanted.items()))
        for limit in (1, 2, 5, 99):
            assert dict(m.items(limit=limit)) == dict([*wanted.items()][:limit])
            last = [*wanted][::-1][:limit]
            assert [*m.keys(reverse=True, limit=limit)] == last
        assert m.copy() == dict(m.items()) == wanted
        assert [*reversed(m)] == [*wanted][::-1]
        assert (len(m), bool(m), m == wanted) == (len(wanted), True, True)
        assert [*m.keys(start="k05", stop="k08")] == ["k05", "k07"]
        assert m.peekitem(last=False) == ("k-1", [-1])
        assert (m.popitem(), wanted.popitem()) == (("k41", [41]),) * 2
        assert m.popitem(last=False) == ("k-1", wanted.pop("k-1"))
        assert (m.pop("k08"), m.pop("k08", None)) == (wanted.pop("k08"), None)
        assert m.get_many(["k01", "k03", "k40"]) == {"k01": 1, "k40": [40]}
        m.delete_many(["k10", "gone"])
        del wanted["k10"]
        m["k05"] = m["k07"] = m["k40"] = wanted["k05"] = wanted["k07"] = wanted["k40"] = 0
        assert m.most_common(1) == [("k29", 29)]
    assert one.copy() == wanted


def test_pages_of_few_entries(tmp_path):
    """A page that ends amid the pending writes shows each of them once."""

    class Paging(Counting):
        async def scan(self, map, wanted, now):
            return await self._store.scan(map, wanted._replace(limit=min(wanted.limit, 3)), now)

    inner = Engine.open(f"sqlite:///{tmp_path}/m.sqlite3")
    engine = Engine(Paging(inner.store), config.parse("memory://"))
    m = LPCM("m", using=engine)
    m.update({n: n for n in range(0, 40, 2)})
    with lpcm.transaction() as t:
        for n in range(-5, 45, 3):
            t[m][n] = -n
        wanted = {**dict.fromkeys(range(0, 40, 2), None), **dict.fromkeys(range(-5, 45, 3), 1)}
        assert [*t[m]] == sorted(wanted)
        assert [*reversed(t[m])] == sorted(wanted, reverse=True)
        assert [*t[m].keys(start=1, stop=20, limit=7)] == sorted(k for k in wanted if k > 0)[:7]
        assert len(t[m]) == len(wanted)
        t[m].clear()
        assert not t[m]
    assert not m
    engine.close()
    inner.close()


def test_what_a_walk_met_is_a_condition(maps):
    """An entry that a walk met must be the same at the end; one that came since is no conflict."""
    one, two = maps
    one.update(a=1, b=2)

    def total(meanwhile):
        with lpcm.transaction() as t:
            t[two]["sum"] = sum(t[one].values())
            meanwhile()

    for meanwhile, keys in (
        (lambda: one.set("a", 5), [("one", "a")]),
        (lambda: one.delete("b"), [("one", "b")]),
    ):
        with pytest.raises(Conflict) as caught:
            total(meanwhile)
        assert list(caught.value.keys) == keys
        one.update(a=1, b=2)
    total(lambda: one.update(c=3))
    assert two["sum"] == 3
    for walk in (len, list, bool, lambda m: m.popitem(), lambda m: m.peekitem()):
        with pytest.raises(Conflict), lpcm.transaction() as t:
            assert walk(t[one])
            t[two]["k"] = 1
            one.update(dict.fromkeys("abc", 0))
    assert "k" not in two


def test_a_walk_of_too_many(maps):
    """A walk of over 100 entries is refused, and so is clearing them; a part of them is not."""
    one, _ = maps
    one.update({n: n for n in range(150)})
    for walk in (len, list, dict, lambda m: m.clear(), lambda m: m.copy()):
        with lpcm.transaction() as t:
            with pytest.raises(ValueTooLarge, match="100 keys"):
                walk(t[one])
            assert t[one][3] == 3
    with lpcm.transaction() as t:
        assert [*t[one].keys(start=10, stop=50)] == [*range(10, 50)]
        assert next(iter(t[one].keys(limit=1))) == 0
        t[one][0] = "changed"
    assert (one[0], len(one)) == ("changed", 150)


def test_what_is_too_much_together_is_not_done_in_part(maps):
    """A batch over the limits leaves the transaction as it was."""
    one, _ = maps
    with lpcm.transaction() as t:
        t[one]["k"] = 1
        with pytest.raises(ValueTooLarge):
            t[one].set_many({n: n for n in range(120)})
        with pytest.raises(ValueTooLarge):
            t[one].update(dict.fromkeys(range(14), "x" * 320000), k="y" * 10)
        assert t[one].copy() == {"k": 1}
        t[one].update(dict.fromkeys(range(13), "x" * 320000))
    assert len(one) == 14


def test_measuring_is_linear(request):
    """Each write is measured once: 40 keys of 1,000 items take twice the calls of 20."""
    engine = Engine.open(request.getfixturevalue("dynoxide_table").url)
    m = LPCM("one", using=engine)
    value = list(range(1000))
    counts = []
    for keys in (20, 40):
        t = lpcm.transaction()
        count = 0

        def call(frame, event, arg):
            nonlocal count
            count += event == "call"

        sys.setprofile(call)
        try:
            for n in range(keys):
                t[m][n] = value
        finally:
            sys.setprofile(None)
        counts.append(count)
    assert counts[1] < 2.2 * counts[0]
    engine.close()


def test_the_requests_of_a_transaction():
    """Each key is read once, what is only written not at all, and the end is one request."""
    inner = Engine.open("memory://")
    engine = Engine(Counting(inner.store), config.parse("memory://"))
    m, tags = LPCM("m", using=engine), LPCMSet("tags", using=engine)
    m.update(a=1, b=[1], c=1, d=1)
    tags["k"] = {1}
    sent = engine.store.requests
    sent.clear()
    with lpcm.transaction() as t:
        t[m]["a"] += 1
        t[m].increment("a", 2)
        t[m]["b"].append(2)
        t[m]["b"] += [3]
        t[m]["new"] = 1
        t[m].set("d", 2, ttl=60)
        t[m].delete("c")
        t[m].delete_many(["e", "f"])
        t[m].update(g=1, h=1)
        t[tags].insert_values("k", {2})
        assert t[m].get_many(["a", "b", "x", "y"]) == {"a": 4, "b": [1, 2, 3]}
        assert "x" not in t[m]
        assert t[m].entry("a").value == 4
    assert sent == ["read", "read", "read", "read_many", "transact"]
    sent.clear()
    with lpcm.transaction() as t:
        assert t[m]
    assert sent == ["scan", "transact"]
    sent.clear()
    with lpcm.transaction() as t:
        assert t[m].name == "m"
    assert sent == []
    engine.close()
    inner.close()


class Sevens(LPCM):
    """A subclass with everything of its own."""

    __slots__ = ("seven",)

    def __init__(self, *args, factor, **options):
        super().__init__(*args, **options)
        self.factor = factor
        self.seven = 7

    def __missing__(self, key):
        return self.seven

    def move(self, one, two):
        self[two] = self.pop(one) * self.factor


def test_a_map_in_a_transaction_is_of_its_class(engine):
    """``t[m]`` has the class of ``m``, its attributes and its methods, and is one object."""
    m = Sevens("one", using=engine, factor=2, default=0)
    m.clear()
    m["a"] = 3
    with lpcm.transaction() as t:
        t[m].move("a", "b")
        assert type(t[m]) is Sevens
        assert t[m] is t[m]
        assert t[m]["b"] == 6
        assert (t[m].name, repr(t[m]), t[m] == m) == ("one", repr(m), False)
        assert m.copy() == {"a": 3}
        with pytest.raises(LPCMError, match="is a transaction's"):
            t[t[m]]
        with pytest.raises(LPCMError, match="is a transaction's"):
            t[m].disable_caching()
        for way in (copy.copy, copy.deepcopy):
            with pytest.raises(PickleRefused):
                way(t[m])
    assert m.copy() == {"b": 6}
    plain = Sevens("two", using=engine, factor=2)
    plain.clear()
    with lpcm.transaction() as t:
        assert t[plain]["gone"] == 7


def test_two_handles_of_a_map_are_one_map(engine):
    """What one of them wrote in the transaction the other one finds there."""
    one, same = LPCM("one", using=engine), LPCM("one", using=engine, default=5)
    one.clear()
    with lpcm.transaction() as t:
        t[one]["a"] = 1
        assert t[same]["a"] == 1
        assert t[same]["b"] == 5
        t[same]["a"] += 1
        assert t[one]["a"] == 2
        assert t[one] == t[same]
    assert one.copy() == {"a": 2}


def test_conditions_within_a_transaction(maps):
    """``entry``, ``replace`` with its etag, ``add`` and ``expire`` are decided on what is there."""
    one, _ = maps
    one["a"] = 1
    with lpcm.transaction() as t:
        first = t[one].entry("a")
        second = t[one].replace("a", 2, if_etag=first.etag)
        with pytest.raises(Conflict):
            t[one].replace("a", 3, if_etag=first.etag)
        assert t[one].entry("a")[1:3] == (2, second)
        with pytest.raises(KeyError):
            t[one].replace("gone", 1)
        with pytest.raises(KeyError):
            t[one].expire("gone", 1)
        t[one].expire("a", 60)
        assert 59 < t[one].ttl("a") <= 60
        assert not t[one].add("a", 1)
        assert t[one].add("b", 1)
        etag = t[one].entry("a").etag
    assert one.entry("a")[1:3] == (2, etag)
    assert one["b"] == 1


def test_tasks_of_one_transaction(maps):
    """Reads and increments that are awaited together lose nothing, and agree on what they read."""
    one, _ = maps
    one["a"] = 1

    async def main():
        async with lpcm.transaction() as t:
            found = await asyncio.gather(*(t[one].aincrement("a") for _ in range(20)))
            await asyncio.gather(*(t[one].aset(n, n) for n in range(20)))
            return found

    assert sorted(asyncio.run(main())) == [*range(2, 22)]
    assert one.copy() == {"a": 21, **{n: n for n in range(20)}}


def test_every_operation_names_its_twin():
    """What may have to reach the store is in the table of twins; the rest reads nothing."""
    reads_nothing = {"assign", "discard", "set", "set_many", "delete_many", "restore"}
    operations = {
        name
        for name, operation in inspect.getmembers(BufferedEntries, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert operations - reads_nothing - {"find"} == {*TWINS}
    twins = {twin for twin in TWINS.values() if " " not in twin}
    assert all(hasattr(LPCM, twin) for twin in twins)
    assert not AtHand.reaches


def test_a_transaction_leaves_no_garbage(maps):
    """Nothing of an ended transaction waits for the collector of garbage."""
    one, _ = maps
    one["a"] = 1
    gc.collect()
    gc.disable()
    try:
        with lpcm.transaction() as t:
            t[one]["a"] += 1
            t[LPCM("one", using=one._using)]["a"] += 1
            held = weakref.ref(t[one]), weakref.ref(t)
        del t
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()


def test_what_others_wrote_is_in_a_transaction_what_it_is_outside(tmp_path):
    """An entry that cannot be read is there, is never lost, and can be replaced."""
    file = File(tmp_path / "m.sqlite3")

    def outcome(attempt, m):
        try:
            return attempt(m)
        except (ValueDecodingError, BatchError) as error:
            return type(error)

    for attempt in (
        lambda m: m["k"],
        lambda m: m.get("k", "none"),
        lambda m: m.setdefault("k", "new"),
        lambda m: m.pop("k"),
        lambda m: m.transform("k", str),
        lambda m: m.get_many(["a", "k"]),
        lambda m: m.copy(),
    ):
        for planted in ({"v": "{", "t": "json"}, {"x": "never"}, {"t": ("text", b"\xff")}):
            file.plant(**planted)
            with lpcm.transaction() as t:
                within = outcome(attempt, t[file.map])
                assert "k" in t[file.map]
                t[file.map]["done"] = 1
            with pytest.raises(ValueDecodingError):
                file.map["k"]
            assert file.map.pop("done") == 1
            assert within == outcome(attempt, file.map)
    with lpcm.transaction() as t:
        with pytest.raises(ValueDecodingError):  # to keep its value, which is not at hand
            t[file.map].touch("k", 60)
        assert "k" in t[file.map]
        t[file.map]["k"] = 1
    assert file.map["k"] == 1
    file.raw.close()


@pytest.mark.parametrize("awaited", [False, True], ids=["blocking", "awaited"])
def test_what_a_cache_has_damaged_is_read_from_the_store(tmp_path, memcached, awaited):
    """An item that cannot be read is replaced by the store's entry, which is the condition then."""
    cache = f"memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(f"sqlite:///{tmp_path}/m.sqlite3?cache={cache}")
    m = LPCM("m", using=engine)
    m["k"] = [1]

    def damage():
        spoilt = Cell("{", "json")
        run(engine.stack.tier.apply(m._use()._map, "k", Put(spoilt, 5), m._use()._now()))
        with sqlite3.connect(tmp_path / "m.sqlite3") as raw:
            raw.execute("UPDATE entries SET v = '[1]' WHERE v = '{'")
        raw.close()

    async def main():
        async with lpcm.transaction() as t:
            assert await t[m].acontains("k")
            with pytest.raises(LPCMError, match="await agetitem"):
                t[m]["k"]
            await (await t[m].agetitem("k")).aappend(2)

    damage()
    if awaited:
        asyncio.run(main())
    else:
        with lpcm.transaction() as t:
            t[m]["k"].append(2)
    assert m["k"] == [1, 2]
    damage()
    with lpcm.transaction() as t:
        assert t[m].get_many(["k", "none"]) == {"k": [1]}
        t[m]["k"] = 5
    assert m["k"] == 5
    engine.close()


def test_each_map_of_a_transaction_has_its_own_operation(maps):
    """Listeners see each write under its own map, and reads as they happen."""
    one, two = maps
    one["a"] = 1
    with events.recorded() as seen, lpcm.transaction() as t:
        t[one]["a"] += 1
        t[two]["b"] = t[one]["a"]
        t[one]["c"] = 1
    shown = [(each.map, each.kind, list(each.keys), list(each.applied)) for each in seen]
    assert shown == [
        ("one", "read", ["a"], []),
        ("one", "write", ["a", "c"], [True, True]),
        ("two", "write", ["b"], [True]),
    ]
    with events.recorded() as seen, pytest.raises(Conflict), lpcm.transaction() as t:
        t[two]["b"] = t[one]["a"]
        t[one]["c"] = 2
        two["b"] = 0
        one["a"] = 5
    assert [(each.map, list(each.applied)) for each in seen if each.kind == "write"] == [
        ("two", [True]),
        ("one", [True]),
        ("two", [False]),
        ("one", [False]),
    ]


def test_verbs_that_look_before_they_write(maps):
    """``get_or_add`` and ``increment_existing`` see what the transaction did, and end with it."""
    m, *_ = maps
    m["there"] = 1
    with lpcm.transaction() as t:
        part = t[m]
        assert (part.get_or_add("there", 2)[0].value, part.get_or_add("new", 2)[1]) == (1, True)
        assert (part.increment_existing("there"), part.increment_existing("new", 0.5)) == (2, 2.5)
        with pytest.raises(KeyError):
            part.increment_existing("gone")
        assert m.get("new") is None
    assert (m["there"], m["new"]) == (2, 2.5)

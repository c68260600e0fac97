"""Transactions over several maps, on every store, through the cache, and under contention."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import lpcm
from checks import servers
from lpcm import (
    LPCM,
    CacheUnavailable,
    ConfigError,
    Conflict,
    Engine,
    LPCMError,
    LPCMSet,
    ValueTooLarge,
)
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture


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

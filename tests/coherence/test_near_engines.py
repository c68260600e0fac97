"""Maps with a near cache in front of memcached and DynamoDB: real servers, and another process.

The other process is here an engine of its own, which keeps nothing near.
"""

import asyncio
import json
import os
import time

import pytest
from click.testing import CliRunner

import lpcm
from checks import servers
from checks.tables import make_table
from lpcm import LPCM, Conflict, Engine, LPCMError, events
from lpcm.cli import main
from lpcm.verify.targets import with_options

NEAR = {"near_cache": "1000000", "max_stale": "300"}
KINDS = ("dynamodb", "cached", "cached only")


@pytest.fixture(scope="module")
def urls(aws):
    """Yield the URLs of each kind of store."""
    with servers.memcached() as memcached, servers.dynoxide() as dynoxide:
        make_table(dynoxide.endpoint, "near", "eu-west-1")
        table = f"dynamodb://near?region=eu-west-1&endpoint={dynoxide.endpoint}"
        cache = f"memcached://{memcached.host}:{memcached.port}"
        yield dict(zip(KINDS, (table, f"{table}&cache={cache}", cache), strict=True))


@pytest.fixture(params=KINDS)
def url(request, urls):
    """Name a store, and a namespace of this test's own in it."""
    return with_options(urls[request.param], namespace=f"n{os.urandom(4).hex()}")


@pytest.fixture
def engine(url):
    """Yield an engine with a near cache."""
    with Engine.open(url, **NEAR) as engine:
        yield engine


@pytest.fixture
def m(engine):
    """Return a map with a near cache."""
    return LPCM("m", using=engine)


@pytest.fixture
def other(url):
    """Yield the same map of another process."""
    with Engine.open(url) as engine:
        yield LPCM("m", using=engine)


def test_hits(engine, m, other):
    """``m[key]``, ``get`` and their twins are served in the process, and nothing else is."""
    m.update(k="v", n=7, record={"a": [1]})
    other.update(k="w", n=8, record={"a": [2]})

    async def twins():
        return await m.agetitem("n"), await m.aget("k")

    hits = engine.near.hits
    assert (m["k"], m["n"], m.get("record")) == ("v", 7, {"a": [1]})
    assert asyncio.run(twins()) == (7, "v")
    assert engine.near.hits == hits + 5
    assert m.get_many(["k", "n"]) == {"k": "w", "n": 8}
    assert m.entry("record").value == {"a": [2]}
    assert engine.near.hits == hits + 5
    # And what these have shown, the next read shows, too.
    assert (m["k"], m["n"], m["record"]) == ("w", 8, {"a": [2]})
    assert engine.near.hits == hits + 8


def test_absent_entries(engine, m, other):
    """That a key is absent is kept, too, and ends with an own write."""
    assert m.get("k") is None
    other["k"] = 1
    hits = engine.near.hits
    assert m.get("k", 5) == 5
    with pytest.raises(KeyError):
        m["k"]
    assert engine.near.hits == hits + 2
    assert "k" in m
    assert m["k"] == 1


def test_own_writes_are_seen_at_once(m):
    """After each way to write, a read shows what was written."""
    m["k"] = 1
    assert m["k"] == 1
    m["k"] += 1
    assert m["k"] == 2
    assert m.increment("k") == m["k"] == 3
    m.set("k", 9, ttl=60)
    assert m["k"] == 9
    m.replace("k", [1])
    assert m["k"] == [1]
    m["k"].append(2)
    assert m["k"] == [1, 2]
    assert m.transform("k", lambda value: [*value, 3]) == m["k"] == [1, 2, 3]
    m.set_many({"k": 5})
    assert m["k"] == 5
    assert m.pop("k") == 5
    assert "k" not in m
    assert m.get("k") is None
    assert m.setdefault("k", 6) == m["k"] == 6
    m.clear()
    assert m.get("k") is None

    async def twins():
        await m.aset("k", 7)
        assert m["k"] == 7
        await m.adelete("k")
        assert await m.aget("k") is None

    asyncio.run(twins())


def test_maps_that_read_past_the_cache_take_part(engine, m):
    """What another map of the engine writes is seen at once, one that is not cached included."""
    past = LPCM("m", using=engine)
    past.disable_caching()
    m["k"] = 1
    past["k"] = 2
    assert m["k"] == 2
    assert past["k"] == 2


def test_a_map_that_reads_past_the_cache_is_served_nothing(engine, m, other):
    """``disable_caching`` is about this cache as well."""
    past = LPCM("m", using=engine)
    past.disable_caching()
    m["k"] = 1
    other["k"] = 2
    assert past["k"] == 2
    assert m["k"] == 2


def test_conditions_do_not_ask_it(m, other):
    """What is computed from a value, or holds only for one, is decided on the store's."""
    m.update(n=1, r=[1])
    assert (m["n"], m["r"]) == (1, [1])
    other.update(n=5, r=[5])
    seen = []
    assert m.transform("n", lambda value: seen.append(value) or value + 1) == 6
    assert seen == [5]
    other["n"] = 10
    assert m.increment("n", 0.5) == 10.5
    other["n"] = 20
    assert m.setdefault("n", 1) == 20
    assert m.pop("r") == [5]


def test_live_values_change_what_is_stored(m, other):
    """A method of a value that was served from here works on the stored one."""
    m["r"] = {"a": [1]}
    m["r"]
    other["r"] = {"a": [5]}
    served = m["r"]
    assert served == {"a": [1]}
    served["a"].append(6)
    assert m["r"] == other["r"] == {"a": [5, 6]}


def test_values_are_nobody_elses(engine):
    """Changing a value that was served changes no other reader's."""
    plain = LPCM("m", using=engine, live=False)
    value = {"l": [1], "s": {1}, "t": ([1],), "d": {"x": {"y": 1}}, "b": b"b"}
    plain["k"] = value
    for _ in range(3):
        found = plain["k"]
        assert found == value
        found["l"].append(2)
        found["s"].add(2)
        found["t"][0].append(2)
        found["d"]["x"]["y"] = 2


def test_transactions_do_not_ask_it(url, engine, m, other):
    """A transaction reads the store, and its writes are seen at once."""
    if url.startswith("memcached"):
        pytest.skip("no transactions there")
    m.update(a=1, b=1)
    assert m["a"] == 1
    other["a"] = 5
    with lpcm.transaction() as t:
        t[m]["b"] = t[m]["a"] + 1
    assert (m["a"], m["b"]) == (5, 6)
    with pytest.raises(Conflict), lpcm.transaction() as t:
        t[m]["b"] = t[m]["a"] + 1
        other["a"] = 7
    assert m["a"] == 7


def test_observed_maps_are_served_too(engine, m, other):
    """Each read is an operation where somebody listens, and served all the same."""
    m["k"] = 1
    other["k"] = 2
    seen = []
    with events.subscribe(seen.append, events.Operation):
        assert (m["k"], m.get("k")) == (1, 1)
        assert "k" in m
        assert m["k"] == 2
    assert [one.kind for one in seen if one.ended][::2] == ["read"] * 4


def test_the_age_of_entries(url, other):
    """After ``max_stale`` seconds the store is asked again."""
    with Engine.open(url, near_cache=1_000_000, max_stale=0.3) as engine:
        m = LPCM("m", using=engine)
        other["k"] = 1
        assert m["k"] == 1
        read = time.monotonic()
        other["k"] = 2
        while True:
            asked = time.monotonic()
            if m["k"] == 2:
                break
            assert asked < read + 0.3


def test_a_fork_begins_with_nothing(m, other):
    """A child of a fork asks the store."""
    m["k"] = 1
    other["k"] = 2
    assert m["k"] == 1
    child = os.fork()
    if not child:
        os._exit(m["k"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert m["k"] == 1


def test_a_closed_engine_serves_nothing(engine, m):
    """After ``close`` a read raises, as without a near cache."""
    m["k"] = 1
    assert m["k"] == 1
    engine.close()
    with pytest.raises(LPCMError):
        m["k"]


def test_info(url, engine, m):
    """``lpcm.info`` and ``lpcm info`` show what is kept and how often it was served."""
    m["k"] = 1
    assert (m["k"], m["k"]) == (1, 1)
    expected = {
        "near_cache": "on",
        "max_stale": 300.0,
        "near_entries": 1,
        "near_hits": 2,
        "compress": "none",
    }
    if url.startswith("dynamodb"):
        expected["consistency"] = "strong"
    assert lpcm.info(using=engine) == expected
    assert asyncio.run(lpcm.ainfo(using=engine)) == expected
    done = CliRunner().invoke(main, ["--url", with_options(url, **NEAR), "--json", "info"])
    assert json.loads(done.output)["near_cache"] == "on"
    shown = CliRunner().invoke(main, ["--url", with_options(url, **NEAR), "info"]).output
    assert "near hits" in shown
    assert Engine.open(url).location in shown


def test_a_pickled_map_keeps_its_near_cache(url):
    """A map arrives elsewhere as it was configured."""
    import pickle

    m = pickle.loads(pickle.dumps(LPCM("m", url=with_options(url, **NEAR))))
    m["k"] = 1
    assert m["k"] == 1
    assert m._bound[2].engine.near.max_stale == 300
    lpcm.close()

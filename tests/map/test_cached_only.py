"""Maps without a store, and maps that read past their cache."""

import pickle
import subprocess
import sys

import pytest

import lpcm
from lpcm import LPCM, ConfigError, Engine, LPCMSet, StoreUnavailable, stores
from lpcm.stores.local.memory import MemoryStore
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture


@pytest.fixture
def nowhere(monkeypatch):
    """Make opening any store but memcached's or memory's an error, and return a URL of one."""
    real = stores.adapter

    def adapter(scheme):
        found = real(scheme)
        if scheme in {"dynamodb", "sqlite"}:
            monkeypatch.setattr(found, "open_store", refuse)
        return found

    def refuse(*_, **__):
        raise AssertionError("a store was opened")

    monkeypatch.setattr(stores, "adapter", adapter)
    return "dynamodb://never?region=eu-west-1&endpoint=http://127.0.0.1:9"


@pytest.fixture(params=["memcached", "in process"])
def url(request, nowhere):
    """Return the URL of a store that cannot be opened, with and without memcached."""
    if request.param == "in process":
        return nowhere
    server = request.getfixturevalue("memcached")
    return f"{nowhere}&cache=memcached://{server.host}:{server.port}"


def test_no_store_is_opened(url):
    """Every operation of a cached-only map is done without its configuration's store."""
    m = LPCM("m", url=url, cache_only=True, default=0)
    m.clear()
    m["a"] = 1
    m["a"] += 1
    assert m.increment("n", 5) == 5
    m["t"] = {"x": [1]}
    m["t"]["x"].append(2)
    m.set_many({"b": 2, "c": 3})
    assert m.get_many(["b", "c", "d"]) == {"b": 2, "c": 3}
    assert m.setdefault("new", "x") == "x"
    assert m.pop("new") == "x"
    assert m.transform("b", lambda value: value * 10) == 20
    assert sorted(m) == ["a", "b", "c", "n", "t"]
    assert len(m) == 5
    assert m["t"] == {"x": [1, 2]}
    m.clear()
    assert not m
    lpcm.close()


def test_what_begins_has_its_own_end(url):
    """``add``, and ``increment`` and ``transform`` with a ``ttl``, begin entries that expire."""
    m = LPCM("begun", url=url, cache_only=True)
    assert [m.add("a", 1, ttl=60), m.add("a", 2, ttl=600)] == [True, False]
    for _ in range(2):
        m.increment("i", ttl=60)
        m.increment("f", 0.5, ttl=60)
        m.transform("t", lambda n: n + 1, 0, ttl=60)
    assert m.get_many("aift") == {"a": 1, "i": 2, "f": 1.0, "t": 2}
    assert all(50 < m.ttl(key) <= 60 for key in "aift")
    assert [m.touch("a", 600), m.touch("gone", 600)] == [True, False]
    assert 500 < m.ttl("a") <= 600
    m.delete_many("aift")


def test_a_configuration_can_say_so(nowhere):
    """``cache_only=true`` in the URL or ``configure`` is the same for all maps of an alias."""
    m = LPCM("m", url=f"{nowhere}&cache_only=true")
    m["k"] = 1
    assert LPCM("m", url=nowhere, cache_only=True)["k"] == 1
    with pytest.raises(ConfigError, match="use true or false"):
        LPCM("m", url=f"{nowhere}&cache_only=1").get("k")
    lpcm.close()


def test_places_are_apart(tmp_path):
    """A cached-only map, the persistent one of its name, and those of other stores differ."""
    one, two = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in "ab")
    LPCM("m", url=one)["k"] = "stored"
    LPCM("m", url=one, cache_only=True)["k"] = "cached"
    assert LPCM("m", url=one)["k"] == "stored"
    assert LPCM("m", url=one, cache_only=True)["k"] == "cached"
    assert "k" not in LPCM("m", url=two, cache_only=True)
    assert not (tmp_path / "b.sqlite3").exists()
    lpcm.close()


def test_entries_end(nowhere):
    """``cache_timeout`` is how long entries live that say nothing themselves."""
    m = LPCM("m", url=nowhere, cache_only=True, cache_timeout=60)
    m["k"] = 1
    m.set("long", 1, ttl=600)
    assert 59 < m.ttl("k") <= 60
    assert 599 < m.ttl("long") <= 600
    with pytest.raises(ValueError, match="cache_timeout must be a positive"):
        LPCM("m", cache_timeout=0)
    lpcm.close()


def test_processes_share_what_is_in_memcached(memcached, nowhere):
    """Another process finds the entries and counts on them."""
    url = f"{nowhere}&cache=memcached://{memcached.host}:{memcached.port}"
    m = LPCM("shared", url=url, cache_only=True, default=0)
    m.clear()
    m["n"] = 1
    code = (
        "import sys; from lpcm import LPCM\n"
        "LPCM('shared', url=sys.argv[1], cache_only=True).increment('n')"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)
    assert m["n"] == 2
    lpcm.close()


def test_it_says_what_it_is():
    """The repr shows that entries may vanish; pickles and copies of the map keep it."""
    m = LPCM("m", cache_only=True, cache_timeout=5)
    assert repr(m) == "LPCM('m', cache_only=True)"
    assert repr(LPCMSet("m", cache_only=True)) == "LPCMSet('m', cache_only=True)"
    assert repr(pickle.loads(pickle.dumps(m))) == repr(m)


def test_an_engine_says_itself():
    """``cache_only`` beside an Engine is refused: the engine was opened with its options."""
    engine = Engine.open("memory://")
    with pytest.raises(ConfigError, match="open the Engine with"):
        LPCM("m", using=engine, cache_only=True).get("k")
    with pytest.raises(ConfigError, match="open the Engine with"):
        LPCM("m", using=engine, cache_timeout=5).get("k")
    engine.close()


def test_a_server_that_is_gone_is_an_error(nowhere):
    """Where its cache cannot be reached, a cached-only map raises; nothing falls back."""
    m = LPCM("m", url=f"{nowhere}&cache=memcached://127.0.0.1:9", cache_only=True)
    for attempt in (lambda: m.get("k"), lambda: m.set("k", 1), lambda: len(m)):
        with pytest.raises(StoreUnavailable):
            attempt()
    lpcm.close()


def test_disable_caching_reads_the_store(memcached, dynoxide_table):  # noqa: F811  # the fixture
    """After ``disable_caching`` a map reads what is stored, and others then do so too."""
    engine = Engine.open(
        f"{dynoxide_table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    )
    dynoxide_table.empty()
    m, other = LPCM("m", using=engine), LPCM("m", using=engine)
    m.set_many({"a": 123, "b": 1})
    behind = LPCM("m", url=dynoxide_table.url)  # without the cache: behind the others' backs
    behind["a"] = 124
    behind.delete("b")
    assert (m["a"], other["a"], m.get("b")) == (123, 123, 1)
    m.disable_caching()
    assert (m["a"], m.get("b")) == (124, None)
    assert m.get_many(["a", "b"]) == {"a": 124}
    assert (other["a"], other.get("b")) == (124, None)
    m["a"] = 125
    assert (other["a"], m["a"], m.increment("a")) == (125, 125, 126)
    assert other["a"] == 126
    engine.close()
    lpcm.close()


def test_disable_caching_without_a_cache_changes_nothing():
    """On a map without a cache it is allowed, and free."""
    engine = Engine.open("memory://")
    m = LPCM("m", using=engine)
    m["k"] = 1
    m.disable_caching()
    assert m["k"] == 1
    assert isinstance(engine.store, MemoryStore)
    engine.close()

"""Maps that compress: they are maps as all others, and read what any setting has written."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from copy import copy

import pytest

import lpcm
from lpcm import LPCM, ConfigError, Engine, LPCMSet, ValueDecodingError
from lpcm.engine import config
from lpcm.testing.contracts.mapping import MappingContract
from lpcm.values.keys import encode
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture
from tests.map.test_contract import LIMIT, OnEngine

TALK = [{"role": "user", "content": f"message {number} of many"} for number in range(100)]
URL = "memory://?compress=zlib"


def stored(m, key="k"):
    """Return what the store holds of a map."""
    use = m._use()
    return lpcm.engine.drive.run(use.find(encode(key)))


@pytest.fixture(params=["memory", "sqlite", "dynoxide", "dynoxide behind memcached", "memcached"])
def url(request, tmp_path):
    """Return the URL of each store, empty, without compression."""
    where, _, cached = request.param.partition(" behind ")
    if where == "memory":
        return "memory://?ttl=60"
    if where == "sqlite":
        return f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"
    memcached = request.getfixturevalue("memcached")
    cache = f"memcached://{memcached.host}:{memcached.port}"
    if where == "memcached":
        return f"{cache}?namespace=n{random.getrandbits(64)}"
    table = request.getfixturevalue("dynoxide_table")
    table.empty()
    return f"{table.url}&cache={cache}" if cached else table.url


class TestCompressed(OnEngine):
    """The mapping contract, of maps that compress whatever gets smaller."""

    @pytest.fixture(autouse=True, params=["zlib", "zstd"])
    def _file(self, request, tmp_path, memcached):
        cache = f"memcached://{memcached.host}:{memcached.port}"
        self.engine = Engine.open(
            f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal&max_value={LIMIT}&cache={cache}",
            clock=self.clock,
            compress=request.param,
            compress_over=1,
        )


class TestCompressedOnTable(MappingContract):
    """The same on DynamoDB."""

    def using(self):
        return self.engine

    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):  # noqa: F811  # a fixture
        dynoxide_table.empty()
        self.engine = Engine.open(
            dynoxide_table.url, clock=self.clock, compress="zlib", compress_over=1
        )
        yield
        self.engine.close()


@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_read_under_any_setting(url, method):
    """What a map compressed, it reads with the option off or another; and what it did not, too."""
    other = {"zlib": "zstd", "zstd": "zlib"}[method]
    with Engine.open(url, compress=method) as engine:
        handles = [LPCM("m", using=engine, compress=how) for how in (None, "none", other)]
        for number, m in enumerate(handles):
            m[number] = TALK
        kinds = [stored(handles[0], number).kind for number in range(3)]
        assert kinds[0] == f"json+{method}"
        assert kinds[2] == f"json+{other}"
        assert kinds[1] in {None, "json"}
        for m in handles:
            assert m.get_many(range(3)) == dict.fromkeys(range(3), TALK)
            assert [m[number] for number in range(3)] == [TALK] * 3
            assert m.entry(0).value == TALK


def test_live_changes(url):
    """A live change of a compressed value is by compare-and-set: none of many writers' is lost."""
    with Engine.open(url, compress="zlib", timeout=60) as engine:
        m = LPCM("m", using=engine)
        m.set("k", {"talk": TALK, "count": 0, "tags": {"a"}}, ttl=3000)

        def change(number):
            m["k"]["talk"].append({"role": "user", "content": f"new {number}"})
            m["k"]["count"] += 1
            m["k"]["tags"].add(f"tag {number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(change, range(8)))
        assert stored(m).kind == "json+zlib"
        value = m["k"]
        assert (len(value["talk"]), value["count"], len(value["tags"])) == (108, 8, 9)
        assert m.ttl("k") > 2900
        del m["k"]["talk"]
        assert stored(m).kind in {None, "json"}  # it is small again


def test_other_operations(url):
    """Sets, counters, sums, transactions, pop, restore and default of maps that compress."""
    with Engine.open(url, compress="zstd") as engine:
        tags = LPCMSet("tags", using=engine)
        tags.insert_values("k", {f"tag {number}" for number in range(200)})
        tags.remove_values("k", {"tag 1"})
        assert len(tags["k"]) == 199
        assert stored(tags).kind == "json+zstd"
        m = LPCM("m", using=engine, default=TALK)
        assert m["gone"] == TALK
        m["gone"].append(1)
        assert m["gone"] == [*TALK, 1]
        m["n"] = 1
        assert m.increment("n") == 2
        assert stored(m, "n").data == 2
        with pytest.raises(TypeError):
            m.increment("gone")
        m["text"] = "to be " * 1000
        m["text"] += "or not"
        assert m.pop("text") == "to be " * 1000 + "or not"
        m.transform("gone", lambda value: value * 2)
        assert len(m["gone"]) == 202
        assert m.setdefault("gone", 1) == m.peekitem(last=False)[1]
        if not url.startswith("memcached"):  # which can do no transactions
            with lpcm.transaction() as t:
                inside = t[m]
                inside["gone"].append("more")
                inside["two"] = TALK
            assert (m["gone"][-1], m["two"]) == ("more", TALK)
        again = LPCM("again", using=engine, compress="zlib")
        again.update(m.items())
        assert again.copy() == m.copy()


def test_live_containers_compress(url):
    """A live container that is assigned to another key is compressed as a plain one."""
    with Engine.open(url, compress="zlib") as engine:
        m = LPCM("m", using=engine)
        m["k"] = TALK
        m["again"] = m["k"]
        assert stored(m, "again").kind == "json+zlib"
        assert m["again"] == TALK


def test_small_values_are_as_without(url):
    """What is under the threshold is stored byte for byte as without compression."""
    small = {"a": [1, 2.5, None], "b": "text", "c": {"x"}, "d": b"raw", "e": 7}
    with Engine.open(url) as plain, Engine.open(url, compress="zlib") as engine:
        one, two = LPCM("one", using=plain), LPCM("two", using=engine)
        one.update(small)
        two.update(small)
        for key in small:
            assert stored(one, key)[:2] == stored(two, key)[:2]


def test_the_map_decides_before_the_engine():
    """What a map says holds for it alone; what it leaves out is the engine's."""
    with Engine.open("memory://", compress="zlib", compress_over=500) as engine:
        wanted = {
            (None, None): "str+zlib",
            ("zstd", None): "str+zstd",
            ("none", 1): None,
            (None, 600): None,
            ("zlib", 600): None,
            ("zstd", 599): "str+zstd",
        }
        for (method, over), kind in wanted.items():
            m = LPCM("m", using=engine, compress=method, compress_over=over)
            m["k"] = "a" * 600
            assert stored(m).kind == kind, (method, over)
    with Engine.open("memory://") as engine:
        m = LPCM("m", using=engine, compress_over=10)
        m["k"] = "a" * 600
        assert stored(m).kind is None


def test_the_option_travels(tmp_path):
    """Copies and pickles of a map compress as it does."""
    url = f"sqlite:///{tmp_path}/m.sqlite3?compress=zlib&compress_over=100"
    for m, kind in (
        (LPCM("m", url=url), "str+zlib"),
        (LPCM("m", url=url, compress="zstd", compress_over=50), "str+zstd"),
        (LPCMSet("s", url=url, compress="none"), None),
    ):
        for again in (copy(m), pickle.loads(pickle.dumps(m))):
            again["k"] = "a" * 101 if kind else ["a" * 101]
            assert stored(again).kind == (kind or "json")
    lpcm.close()


def test_a_cached_only_map_compresses():
    """Without its store, an engine compresses as before."""
    for url in ("memory://", "sqlite:///m", "sqlite:///m?cache=memcached://host"):
        found = config.parse(f"{url}?compress=zstd&compress_over=9".replace("?cache", "&cache"))
        assert config.cached_only(found)[-2:] == ("zstd", 9)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("memory://?compress=gzip", "use zlib, zstd or none"),
        ("memory://?compress=zlib&compress_over=0", "1 or more"),
        ("memory://?compress=zlib&compress_over=1e3", "compress_over"),
    ],
)
def test_bad_options_of_a_url(given, said):
    """A method that is none, or a threshold that is none, is a ConfigError."""
    with pytest.raises(ConfigError, match=said):
        config.parse(given)


@pytest.mark.parametrize("given", [{"compress": "gzip"}, {"compress_over": 0}, {"compress": 1}])
def test_bad_options_of_a_map(given):
    """The same of a map, when it is made."""
    with pytest.raises(ConfigError, match="compress"):
        LPCM("m", **given)


def test_a_damaged_value_hides_no_other(url):
    """A compressed value that is damaged in the store is an error of its own key."""
    with Engine.open(url, compress="zlib") as engine:
        m = LPCM("m", using=engine)
        m.update(a=TALK, b=TALK)
        found = stored(m, "a")
        put = lpcm.ports.Put(lpcm.ports.Cell(found.data[:-9] + b"!" * 9, found.kind), 7)
        lpcm.engine.drive.run(m._use()._apply("a", put))
        with pytest.raises(ValueDecodingError, match="damaged"):
            m["a"]
        with pytest.raises(ValueDecodingError, match="damaged"):
            m.pop("a")
        with pytest.raises(lpcm.BatchError) as caught:
            m.get_many("ab")
        assert caught.value.found == {"b": TALK}
        m["a"] = TALK
        assert m["a"] == TALK

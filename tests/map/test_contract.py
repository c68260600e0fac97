"""Every store behind a map, against the mapping contract; and handles that travel."""

import pickle
from copy import copy, deepcopy

import pytest

import lpcm
from lpcm import LPCM, Engine
from lpcm.testing import FakeClock
from lpcm.testing.contracts.mapping import MappingContract
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

LIMIT = 1_000_000


class OnEngine(MappingContract):
    max_value = LIMIT

    def using(self):
        return self.engine

    def teardown_method(self):
        self.engine.close()


class TestMemory(OnEngine):
    def setup_method(self):
        super().setup_method()
        self.engine = Engine.open(f"memory://?max_value={LIMIT}", clock=self.clock)


class TestSQLite(OnEngine):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        self.engine = Engine.open(
            f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal&max_value={LIMIT}",
            clock=self.clock,
        )


class TestBehindMemcached(OnEngine):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path, memcached):
        cache = f"memcached://{memcached.host}:{memcached.port}"
        self.engine = Engine.open(
            f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal&max_value={LIMIT}&cache={cache}",
            clock=self.clock,
        )


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "behind memcached"])
@pytest.mark.parametrize("store", ["memory", "sqlite", "dynoxide"])
def test_one_rule_of_expiry_on_every_engine(request, tmp_path, store, cached):
    """The table of what becomes of an expiry holds on every store, with a cache and without."""
    if store == "dynoxide":
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        url = table.url
    else:
        url = {"memory": "memory://?timeout=10", "sqlite": f"sqlite:///{tmp_path}/m?timeout=10"}[
            store
        ]
    if cached:
        memcached = request.getfixturevalue("memcached")
        url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    contract = OnEngine()
    contract.setup_method()
    contract.engine = Engine.open(url, clock=contract.clock)
    try:
        contract.test_one_rule_of_expiry()
    finally:
        contract.teardown_method()


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    """Yield a URL of each store; what it opened is closed again."""
    yield "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/m.sqlite3"
    lpcm.close()


@pytest.mark.parametrize("duplicate", [copy, deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_handle_travels(url, duplicate):
    """A copied or unpickled handle is the same map, with the same options."""
    m = LPCM("m", url=url, default=[0], ttl=60)
    m["k"] = 1
    again = duplicate(m)
    assert (type(again), again.name, again["k"], again["gone"]) == (LPCM, "m", 1, [0])
    assert again == m
    again["j"] = 2
    assert m["j"] == 2
    assert 59 < m.ttl("j") <= 60


def test_a_handle_with_a_missing_default_travels(url):
    """A handle without a default still has none after it was unpickled."""
    again = pickle.loads(pickle.dumps(LPCM("m", url=url)))
    with pytest.raises(KeyError):
        again["gone"]
    assert "gone" not in again


def test_a_handle_of_an_alias_follows_the_configuration(url, tmp_path):
    """A map made before ``configure`` uses what it said last."""
    m = LPCM("m", using="follower")
    lpcm.configure(url, using="follower")
    m["k"] = 1
    lpcm.configure(f"sqlite:///{tmp_path}/other.sqlite3", using="follower")
    assert "k" not in m
    lpcm.configure(url, using="follower")
    assert m["k"] == 1
    assert pickle.loads(pickle.dumps(m))["k"] == 1


class Ticking(FakeClock):
    """A clock that moves on by half a second whenever somebody looks."""

    def now(self):
        self.advance(0.5)
        return super().now()


def test_what_is_left_is_never_negative():
    """An entry that expires while its ``ttl`` is asked has 0 seconds left, or is gone."""
    engine = Engine.open("memory://", clock=Ticking())
    m = LPCM("m", using=engine)
    m.set("k", 1, ttl=4.2)
    left = []
    with pytest.raises(KeyError):
        while True:
            left.append(m.ttl("k"))
    assert len(left) > 2
    assert min(left) == 0
    engine.close()


def test_maps_lists_what_was_written(url):
    """``maps`` names the maps that were ever written, not those only read."""
    engine = Engine.open(url)
    assert lpcm.maps(using=engine) == []
    LPCM("read", using=engine).get("k")
    LPCM("b", using=engine)["k"] = 1
    LPCM("a", using=engine).increment("k")
    assert lpcm.maps(using=engine) == ["a", "b"]
    engine.close()

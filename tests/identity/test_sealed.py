"""A cache key: what nobody with the key wrote is believed by nobody who has it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import lpcm
from lpcm import LPCM, ConfigError, Engine, events
from lpcm.caches import memcached as client
from lpcm.coherence.item import item
from lpcm.coherence.payload import pack
from lpcm.coherence.sealed import Sealed
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import CacheLost, Get, Packet, Set, Stored
from lpcm.testing.contracts.cache import CacheContract
from lpcm.values.keys import encode, partition
from tests.caches.drivers import blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checks.servers import Server
    from lpcm.ports import Cache

KEY = b"\xff a key of some 32 random bytes"
PLANTED = Stored("planted", None, 7, None)


@pytest.fixture
def raw(memcached: Server) -> Iterator[Cache]:
    """Yield the attacker's client."""
    cache = client.open_cache(f"{memcached.host}:{memcached.port}", scheme="memcached")
    yield cache
    cache.close()


@pytest.fixture
def opened(tmp_path, memcached: Server) -> Iterator[Callable[..., Engine]]:
    """Yield what opens an engine on one store and cache."""
    engines: list[Engine] = []

    def open_(key: object = KEY, **options: object) -> Engine:
        given = {"cache": f"memcached://{memcached.host}:{memcached.port}", **options}
        engines.append(Engine.open(f"sqlite:///{tmp_path}/m.sqlite3", cache_key=key, **given))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()


def place(engine: Engine, key: object, name: str = "m") -> str:
    """Return the cache's key of an entry."""
    map = partition(engine.namespace, name)  # noqa: A001  # the port's word
    return item(engine.stack.coherent._prefixes[map], map, encode(key)).key


def plant(raw: Cache, key: str, base: bytes) -> None:
    """Replace an item by a base, as every client that can write to memcached can."""
    (done,) = run(raw.send(Packet(key, (Set(base, len(base), 60),)))).results
    assert done.status == "HD"


def standing(raw: Cache, key: str) -> bytes:
    """Return the base that stands there."""
    (seen,) = run(raw.send(Packet(key, (Get(),)))).results
    return seen.data[: seen.base]


class TestSealed(CacheContract):
    """A sealed cache is a cache: the contract, as memcached keeps it."""

    @pytest.fixture(autouse=True)
    def _path(self, memcached: Server) -> None:
        self.path = f"{memcached.host}:{memcached.port}"

    @contextmanager
    def opened(self):
        """Yield a sealed cache and its driver."""
        with blocking(self.path, "memcached") as driven:
            yield driven._replace(cache=Sealed(driven.cache, KEY))


def test_a_planted_value(raw, opened):
    """Without a key a planted value is served, and a compare-and-set makes it permanent."""
    plain = opened(None)
    m = LPCM("m", using=plain)
    m["k"] = "true"
    etag = m.entry("k").etag
    plant(raw, place(plain, "k"), pack(PLANTED._replace(etag=etag)))
    assert m["k"] == "planted"
    m.transform("k", str.upper)
    assert plain.store is not None
    assert LPCM("m", using=opened(None, cache="none"))["k"] == "PLANTED"


@pytest.mark.parametrize("how", ["plain", "another key", "cut", "changed", "moved"])
@pytest.mark.parametrize("key", ["k", "a key with spaces, which becomes a digest"])
def test_a_planted_value_is_not_believed(raw, opened, how, key):
    """With a key it is a miss and an event: the store's value is read and the item emptied."""
    engine = opened()
    m = LPCM("m", using=engine)
    m[key], m["other"] = "true", "other"
    assert m[key] == "true"
    where = place(engine, key)
    good = standing(raw, where)
    name = item("", partition("default", "m"), encode(key)).name
    plain = pack(PLANTED, name)
    stranger = Sealed(raw, b"the key of somebody else")
    base = {
        "plain": plain,
        "another key": b"K" + stranger._mac(where, plain) + plain,
        "cut": good[:12],
        "changed": good[:-1] + b"!",
        "moved": standing(raw, place(engine, "other")),
    }[how]
    told: list[events.Event] = []
    with events.subscribe(told.append):
        for read in (lambda: m[key], lambda: m.get_many([key])[key]):
            plant(raw, where, base)
            assert read() == "true"
            assert m[key] == "true"
    seal = "missing" if how == "plain" else "wrong"
    assert told == [events.Unsealed(where, seal)] * 2
    plant(raw, where, base)
    assert m.transform(key, str.upper) == "TRUE"
    assert LPCM("m", using=opened(None, cache="none"))[key] == "TRUE"
    assert m[key] == "TRUE"


def test_an_old_item_put_back_changes_nothing(raw, opened):
    """An older item of the same key may be served again, but no compare-and-set takes it."""
    engine = opened()
    m = LPCM("m", using=engine)
    m["k"] = "old"
    old = standing(raw, place(engine, "k"))
    m["k"] = "new"
    plant(raw, place(engine, "k"), old)
    assert m.transform("k", str.upper) == "NEW"


@pytest.mark.parametrize("other", [None, b"quite another key, also long"])
def test_clients_of_several_keys(opened, other):
    """While a key is being introduced or changed, clients miss each other's items, no more."""
    one, two = LPCM("m", using=opened()), LPCM("m", using=opened(other))
    for n in range(5):
        one["k"] = n, b"x"
        assert two["k"] == (n, b"x")
        two["k"] = -n, b"y"
        assert one["k"] == (-n, b"y")
        assert one.get_many(["k"]) == two.get_many(["k"]) == {"k": (-n, b"y")}


def test_the_environment_gives_the_key(raw, opened, tmp_path, monkeypatch):
    """LPCM_CACHE_KEY, a file of it and the option are one and the same key."""
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    writer = LPCM("m", using=opened())
    writer["k"] = 1
    told: list[events.Event] = []
    with events.subscribe(told.append):
        assert LPCM("m", using=opened(None, cache_key_file=str(file)))["k"] == 1
        monkeypatch.setenv("LPCM_CACHE_KEY_FILE", str(file))
        assert LPCM("m", using=opened(None))["k"] == 1
        monkeypatch.delenv("LPCM_CACHE_KEY_FILE")
    assert told == []
    text = opened("some text of at least 16 bytes")
    LPCM("m", using=text)["t"] = 1
    monkeypatch.setenv("LPCM_CACHE_KEY", "some text of at least 16 bytes")
    with events.subscribe(told.append):
        assert LPCM("m", using=opened(None))["t"] == 1
    assert told == []
    monkeypatch.setenv("LPCM_CACHE_KEY_FILE", str(file))
    with pytest.raises(ConfigError, match="both"):
        opened(None)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory://?cache_key=hush-hush-hush-hush", {}),
        ("memory://", {"cache_key": "hush-hush"}),
        ("memory://", {"cache_key": 5}),
        ("memory://", {"cache_key": "hush-hush-hush-hush", "cache_key_file": "x"}),
    ],
)
def test_what_is_no_key(url, options):
    """A key in a URL, a short one, one of another type, or two, is a ConfigError without it."""
    with pytest.raises(ConfigError, match=r"cache.key") as raised:
        config.parse(url, options)
    assert "hush" not in str(raised.value)


def test_a_file_that_is_not_there(opened, tmp_path):
    """A key file that cannot be read, or holds too little, is a ConfigError when it is opened."""
    with pytest.raises(ConfigError, match="No such file"):
        opened(None, cache_key_file=str(tmp_path / "absent"))
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(ConfigError, match="16 bytes"):
        opened(None, cache_key_file=str(tmp_path / "short"))


def test_the_key_is_shown_nowhere(tmp_path):
    """Neither repr nor pickle nor address shows a key; a process without it refuses the map."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    options = {"cache": "memcached://localhost", "cache_key": "hush:hush-hush-hush@hush"}
    settings = config.parse(url, options)
    assert "hush" not in repr(settings)
    lpcm.configure(url, using="sealed", **options)
    m = LPCM("m", using="sealed")
    data = pickle.dumps(m)
    assert b"hush" not in data
    assert "hush" not in repr(m) + repr(m._use()._engine)
    assert pickle.loads(data)._use()._engine is m._use()._engine
    script = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())['k']"
    done = subprocess.run(
        [sys.executable, "-c", script], input=data, capture_output=True, check=False
    )
    assert b"PickleRefused" in done.stderr
    assert b"cache_key" in done.stderr
    assert b"hush" not in done.stderr


def test_a_lost_cache_stays_lost():
    """What was lost below is lost above."""

    class Lost:
        identity, blocking = "", True
        retry = close = look = None

        async def send_many(self, packets):
            return [CacheLost("gone") for _ in packets]

    (reply,) = run(Sealed(Lost(), KEY).send_many([Packet("k", (Get(),))]))
    assert isinstance(reply, CacheLost)

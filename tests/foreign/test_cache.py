"""Items of memcached that lpcm did not write: each is as good as evicted."""

import socket

import pytest
from hypothesis import HealthCheck, given, settings

from lpcm import LPCM, Engine
from lpcm.coherence.item import item
from lpcm.coherence.payload import pack
from lpcm.ports import Stored
from tests.dynamodb.conftest import dynoxide_table
from tests.foreign import strategies
from tests.foreign.properties import behaves

__all__ = ["dynoxide_table"]

HELD = {"k": {"n": (1, 2)}, "a": 1}


class Planted:
    """A map with memcached in front, and a way past lpcm."""

    def __init__(self, url, memcached):
        self.address = memcached.host, memcached.port
        self.engine = Engine.open(f"{url}cache=memcached://{memcached.host}:{memcached.port}")
        self.map = LPCM("orders", using=self.engine)
        self.map.update(HELD)
        self.coherent = self.engine.stack.coherent

    def plant(self, data, flags=None):
        where = item(self.coherent._prefixes[self.map._use()._map], self.map._use()._map, "k")
        size = len(data) if flags is None else flags
        with socket.create_connection(self.address, 5) as raw:
            raw.sendall(b"set %s %d 60 %d\r\n%s\r\n" % (where.key.encode(), size, len(data), data))
            assert raw.recv(100) == b"STORED\r\n"


@pytest.fixture(params=["sqlite", "dynamodb"])
def planted(request, memcached, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/m.sqlite3?"
    else:
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        url = f"{table.url}&"
    made = Planted(url, memcached)
    yield made
    made.engine.close()


BAD = {
    "sqlite": [
        Stored("{", "json", 7, None),
        Stored('{"!set":[[1]]}', "json", 7, None),
        Stored('{"!@Unknown/1":[]}', "json", 7, None),
        Stored(7, "int", 7, None),
    ],
    "dynamodb": [
        Stored({"!tuple": "ab"}, None, 7, None),
        Stored({"!@Unknown/1": []}, None, 7, None),
        Stored({"!timedelta": "x"}, None, 7, None),
        Stored({"!a": 1, "b": 1}, None, 7, None),
        Stored("{}", "json", 7, None),
    ],
}


@pytest.mark.parametrize("number", range(4))
def test_a_payload_that_the_codec_cannot_decode_is_evicted(planted, number):
    """Well-formed bytes with bad tags in them: every read gives what the store has."""
    kind = "sqlite" if planted.engine.location.startswith("sqlite") else "dynamodb"
    for read in (
        lambda: planted.map["k"],
        lambda: planted.map.get("k"),
        lambda: planted.map.entry("k").value,
        lambda: planted.map.get_many(["k", "a"])["k"],
        lambda: planted.map.transform("k", lambda value: value),
    ):
        planted.plant(pack(BAD[kind][number]))
        assert read() == HELD["k"]
        assert planted.map.get("k") == HELD["k"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(planting=strategies.cache_items)
def test_any_bytes(planted, planting):
    """Whatever bytes and flags are there: a value that they can only mean, or the store's."""
    planted.plant(*planting)
    for read in (
        lambda: planted.map.get("k"),
        lambda: planted.map.get_many(["k", "a"]),
        lambda: planted.map.entry("k"),
        lambda: "k" in planted.map,
    ):
        try:
            read()
        except KeyError:
            pass
    planted.map["k"] = HELD["k"]
    assert planted.map["k"] == HELD["k"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=strategies.only_items)
def test_any_bytes_of_a_map_that_lives_there_alone(memcached, data):
    """What lpcm did not write is no entry of a cached-only map, or one that is read or an error."""
    engine = Engine.open(f"memcached://{memcached.host}:{memcached.port}")
    m = LPCM("alone", using=engine)
    m["a"] = 1
    name = f"{m._use()._map}k"
    data = data.replace(b"NAME", name.encode())
    with socket.create_connection((memcached.host, memcached.port), 5) as raw:
        raw.sendall(b"set only:%s 0 60 %d\r\n%s\r\n" % (name.encode(), len(data), data))
        assert raw.recv(100) == b"STORED\r\n"
    behaves(m, "k", {"a": 1})
    engine.close()

"""What the library of 2012 documented, still so: the same names, in the words of today.

Persistent maps on DynamoDB with memcached in front, and cached-only ones, by the same tests.
"""

import pytest

import lpcm
from lpcm import LPCM, LPCMSet
from lpcm.testing import insulate
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture


@pytest.fixture(params=["persistent", "cached only"])
def options(request):
    """Return what makes a map of one kind or the other."""
    memcached = request.getfixturevalue("memcached")
    url = request.getfixturevalue("dynoxide_table").url
    url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    yield {"url": url, "cache_only": request.param == "cached only"}
    lpcm.close()


@pytest.fixture
def some_map(options):
    """Return an empty map."""
    made = LPCM("some_map", **options)
    made.clear()
    return made


def test_what_is_set_is_read(some_map, options):
    """Values come back, in this map and in another object of its name; other maps are apart."""
    another_map = LPCM(name="another_map", **options)
    another_map.clear()
    some_map["a"], some_map["b"], some_map["c"] = 123, "some string", 7.890
    another_map["a"], another_map["b"] = 234, "another string"
    again = LPCM(name="some_map", **options)
    assert (again["a"], again["b"], again["c"]) == (123, "some string", 7.890)
    assert (another_map["a"], another_map["b"], "c" in another_map) == (
        234,
        "another string",
        False,
    )


def test_contains(some_map):
    """``in`` tells whether a key is there."""
    some_map["a"] = 123
    assert "a" in some_map
    assert "bad_key" not in some_map


def test_delete(some_map):
    """A deleted key is gone, and deleting one that is not there is silent."""
    some_map["a"] = 123
    some_map.delete("a")
    with pytest.raises(KeyError):
        some_map["a"]
    some_map.delete("never there")


@pytest.mark.parametrize("key", ["Ivan Krstić", ("eu", 7), ("a", ("b", "ć")), "with / and : and |"])
def test_unicode_and_tuple_keys(some_map, key):
    """Keys may be any text, and tuples."""
    some_map[key] = f"{key} is a value"
    assert some_map[key] == f"{key} is a value"
    assert list(some_map.keys()) == [key]


def test_increment(some_map):
    """A number grows by one, or by what is given, a float included."""
    some_map["a"] = 41
    some_map.increment("a")
    assert some_map["a"] == 42
    some_map.increment("a", 4.2)
    assert some_map["a"] == pytest.approx(46.2)


def test_increment_from_nothing(some_map):
    """A missing key counts from 0."""
    some_map.increment("new_key")
    some_map.increment("another_key", 10)
    assert (some_map["new_key"], some_map["another_key"]) == (1, 10)


def test_decrement(some_map):
    """A number shrinks, also below 0."""
    some_map["a"] = 43
    some_map.decrement("a")
    assert some_map["a"] == 42
    some_map.decrement("a", 1.9)
    assert some_map["a"] == pytest.approx(40.1)
    some_map.decrement("a", 50.1)
    assert some_map["a"] == pytest.approx(-10)


@pytest.mark.parametrize("change", ["increment", "decrement"])
def test_a_bad_increment_is_refused(some_map, change):
    """Only numbers are added; nothing is written then. In 2012 it was a ValueError."""
    with pytest.raises(TypeError):
        getattr(some_map, change)("new_key", "bcde")
    assert "new_key" not in some_map


def test_iteration(some_map, options):
    """Iterating gives the keys of this map alone."""
    another_map = LPCM("another_map", **options)
    another_map.clear()
    some_map.update({"a": 123, "b": "some string", "Ivan Krstić": "unicode"})
    another_map.update({"a": 234, "d": 345, "e": 456})
    another_map.delete("e")
    assert set(some_map) == {"a", "b", "Ivan Krstić"}
    assert set(another_map) == {"a", "d"}


def test_disable_caching(options):
    """A map that no longer caches reads what the store has."""
    persistent = LPCM("some_map", **{**options, "cache_only": False})
    behind = LPCM("some_map", url=options["url"].partition("&cache=")[0])
    persistent["a"] = 123
    behind["a"] = 124
    assert persistent["a"] == 123
    persistent.disable_caching()
    assert persistent["a"] == 124


def test_sets(options):
    """Members are inserted and removed; lists and tuples are taken; a missing key is empty."""
    some_map = LPCMSet(name="some_sets", **options)
    some_map.clear()
    with pytest.raises(TypeError):
        some_map["a"] = 17
    some_map["a"], some_map["b"], some_map["empty"] = ["123"], (1, 2), set()
    assert (some_map["a"], some_map["b"], some_map["empty"]) == ({"123"}, {1, 2}, set())
    assert some_map["bad_key"] == set()
    some_map.insert_values("b", [2, 3, 4])
    some_map.insert_values("other", [11, 12])
    some_map.remove_values("b", [1, 4, 31415])
    some_map.remove_values("gone", [5])
    assert (some_map["b"], some_map["other"], some_map["gone"]) == ({2, 3}, {11, 12}, set())


def test_clean_up_after_tests(options):
    """A test starts with nothing, whatever the one before it left, and real data stay."""
    m = LPCM("some_map", **options)
    m["real"] = 1
    for _ in range(2):
        with insulate():
            assert not m
            m["left"] = 2
    assert (m["real"], "left" in m) == (1, False)
    m.clear()

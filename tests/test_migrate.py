"""docs/howto/migrate.md: entries of other libraries are moved by the loops that it shows."""

import time

import diskcache
import pytest
import sqlitedict

from lpcm import LPCM, ValueEncodingError

OLD = {"ann": {"visits": 3}, "bob": [1, 2.5, None, b"x"], "carol": ("a", {"b"})}


@pytest.fixture
def users(tmp_path):
    """Return an empty map."""
    return LPCM("users", url=f"sqlite:///{tmp_path}/new.sqlite3")


def test_mappings(users, tmp_path):
    """``update`` takes a SqliteDict and an Index as they are, and types are kept."""
    with sqlitedict.SqliteDict(tmp_path / "old.sqlite", autocommit=True) as old:
        old.update(OLD)
        users.update(old)
    assert users.copy() == OLD
    users.clear()
    index = diskcache.Index(str(tmp_path / "index"), OLD)
    users.update(index)
    assert users.copy() == OLD
    index.cache.close()


def test_a_cache_that_expires(users, tmp_path):
    """The loop over a diskcache.Cache keeps what expires, and when."""
    with diskcache.Cache(tmp_path / "cache") as cache:
        cache.set("stays", 1)
        cache.set("expires", 2, expire=60)
        for key in cache:
            value, expires = cache.get(key, expire_time=True)
            if value is not None:
                users.set(key, value, ttl=expires and expires - time.time())
    assert users.copy() == {"stays": 1, "expires": 2}
    assert users.ttl("stays") is None
    assert 55 < users.ttl("expires") <= 60


def test_what_cannot_be_held_is_refused(users):
    """``update`` says of a value what it is, and writes nothing of its batch."""
    with pytest.raises(ValueEncodingError):
        users.update({"good": 1, "bad": object()})
    assert users.copy() == {}

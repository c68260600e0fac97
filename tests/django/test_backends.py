"""The cache backend and the session engine: Django's own tests of them, and what they lack."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.cache import caches
from django.core.cache.backends.base import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import lpcm
from lpcm import LPCM
from lpcm.django.cache import LPCMCache
from lpcm.django.sessions import SessionStore
from lpcm.system.workers import Workers
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_djangos_own_tests():
    """Django's tests of every cache and session backend pass, but for those named there."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", "test", "tests.django.own.cases"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.django.own.settings"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ran = re.search(r"Ran (\d+) tests", done.stderr)
    assert ran is not None
    assert int(ran[1]) >= 110, done.stderr
    assert "OK (expected failures=2)" in done.stderr


def backend(location="cache", **options):
    """Return a cache backend."""
    return LPCMCache(location, {"OPTIONS": options})


def test_it_outlives_its_process_and_is_shared():
    """What one object of the backend stores, another one finds; other maps are left alone."""
    one, other = backend(), backend("other")
    one.set("k", {"a": (1, {2})})
    other.set("k", "other")
    LPCM("mine")["k"] = 1
    assert backend().get("k") == {"a": (1, {2})}
    one.clear()
    assert (backend().get("k"), other.get("k"), LPCM("mine")["k"]) == (None, "other", 1)


def test_incr_and_add_are_atomic():
    """Threads that count together lose nothing, and one alone adds a key."""
    cache, barrier = backend(), threading.Barrier(8)
    cache.set("n", 0)

    def work(number):
        barrier.wait(30)
        for _ in range(50):
            cache.incr("n")
        return cache.add("first", number)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 1
    assert cache.get("n") == 400


def test_nothing_unsigned_is_unpickled():
    """What was stored or moved by others reads as absent; an older SECRET_KEY may still read."""
    cache = backend()
    cache.set_many({"a": ["one"], "b": ["two"]})
    m = LPCM("cache", live=False)
    keys = [cache.make_key(name) for name in "ab"]
    m[keys[0]], m[keys[1]] = m[keys[1]], m[keys[0]]
    assert cache.get_many(["a", "b"]) == {}
    assert cache.get("a", "default") == "default"
    cache.set("a", ["one"])
    m[keys[0]] = m[keys[0]][:-1] + b"!"
    assert cache.get("a") is None
    cache.set("a", ["one"])
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]):
        assert cache.get("a") is None
    from django.conf import settings

    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert cache.get("a") == ["one"]


def test_plain_values_are_the_maps_own():
    """With ``CODEC`` plain a map holds the values as they are, and takes what maps take."""
    cache = backend("plain", CODEC="plain")
    cache.set("k", {"a": [1, (2,)]}, version=3)
    assert LPCM("plain").get(cache.make_key("k", 3)) == {"a": [1, (2,)]}
    assert cache.get("k", version=3) == {"a": [1, (2,)]}
    with pytest.raises(TypeError):
        cache.set("k", object())


def test_wrong_options_are_refused():
    """An unknown option or codec is one error that names what there is."""
    with pytest.raises(ImproperlyConfigured, match="use ALIAS, CODEC"):
        backend(TYPO=1)
    with pytest.raises(ImproperlyConfigured, match="'pickle' or 'plain'"):
        backend(CODEC="json")


def test_settings_find_it():
    """It is found by ``CACHES``."""
    setting = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "LOCATION": "x"}}
    with override_settings(CACHES=setting):
        caches["default"].set("k", 1)
        assert isinstance(caches["default"], LPCMCache)
        with pytest.raises(InvalidCacheBackendError):
            caches["nowhere"]


def test_every_a_twin():
    """The awaitable methods do what the others do."""
    cache = backend()

    async def main():
        await cache.aset("k", "v")
        assert await cache.aget("k") == "v"
        assert await cache.aget("none", "default") == "default"
        assert await cache.aadd("k", 1) is False
        assert await cache.aadd("new", 1) is True
        assert await cache.aincr("new", 5) == 6
        assert await cache.adecr("new") == 5
        with pytest.raises(ValueError, match="not found"):
            await cache.aincr("none")
        assert await cache.ahas_key("new")
        assert await cache.atouch("new", 100)
        assert not await cache.atouch("none")
        assert await cache.aset_many({"a": 1, "b": 2}) == []
        assert await cache.aget_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        await cache.adelete_many(["a"])
        assert await cache.adelete("b") is True
        assert await cache.adelete("b") is False
        assert await cache.aget_or_set("c", lambda: 3) == 3
        await cache.aset("k", 1, timeout=0)
        assert await cache.aget("k") is None
        assert await cache.aset_many({"c": 1}, timeout=-1) == []
        assert await cache.aadd("c", 1, timeout=0) is True
        assert await cache.atouch("new", 0) is True
        await cache.aset("k", 1)
        await cache.aclear()
        assert await cache.aget("k") is None

    asyncio.run(main())


def test_awaiting_needs_no_thread(dynoxide_table, real, monkeypatch):  # noqa: F811  # the fixture
    """On a store that can be awaited, the a-twins run in the event loop itself."""
    lpcm.configure(dynoxide_table.url, using="awaited")
    cache = backend("awaited", ALIAS="awaited")

    async def refuse(*_, **__):
        raise AssertionError("a thread was asked")

    async def main():
        await cache.aget("k")  # AWS's credentials are looked for in a thread, once
        monkeypatch.setattr(asyncio, "to_thread", refuse)
        monkeypatch.setattr(Workers, "call", refuse)
        await cache.aset("k", "v")
        assert await cache.aget("k") == "v"
        assert await cache.aadd("k", 1) is False

    asyncio.run(main())


# Sessions


def test_a_session_is_created_once():
    """Two sessions cannot begin under one key, whoever is first."""
    one = SessionStore()
    one["a"] = 1
    one.create()
    with pytest.raises(CreateError):
        SessionStore(one.session_key).save(must_create=True)
    assert SessionStore(one.session_key)["a"] == 1


def test_a_deleted_session_stays_so():
    """A session that was logged out elsewhere does not come back by being saved."""
    one = SessionStore()
    one["a"] = 1
    one.create()
    SessionStore(one.session_key).delete()
    with pytest.raises(UpdateError):
        one.save()
    assert not one.exists(one.session_key)


def test_an_expired_session_is_empty():
    """An expired session is gone without ``clearsessions``."""
    one = SessionStore()
    one["a"] = 1
    one.create()
    key = one.session_key
    assert (
        0
        < LPCM("django.sessions").ttl(hashlib.sha256(key.encode()).hexdigest())
        <= one.get_expiry_age()
    )
    one.set_expiry(-5)
    one.save()
    assert SessionStore(key).load() == {}
    SessionStore.clear_expired()


def test_sessions_are_awaited():
    """The awaitable methods do what the others do."""

    async def main():
        one = SessionStore()
        await one.aset("a", 1)
        await one.acreate()
        key = one.session_key
        assert await one.aexists(key)
        assert await SessionStore(key).aget("a") == 1
        await one.aset("a", 2)
        await one.asave()
        assert await SessionStore(key).aload() == {"a": 2}
        with pytest.raises(CreateError):
            await SessionStore(key).asave(must_create=True)
        await SessionStore(key).adelete()
        with pytest.raises(UpdateError):
            await one.asave()
        assert await SessionStore(key).aload() == {}
        one.set_expiry(-1)
        await one.asave()
        await SessionStore.aclear_expired()
        fresh = SessionStore()
        await fresh.asave()
        assert await fresh.aexists(fresh.session_key)

    asyncio.run(main())

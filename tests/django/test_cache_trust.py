"""The cache backend believes only what it wrote, and never fails for what it cannot keep."""

from __future__ import annotations

import asyncio
import decimal
import logging
import os
import warnings

import pytest
from django.core.cache import CacheKeyWarning, caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.views.decorators.cache import cache_page

import lpcm
from checks import servers
from lpcm import LPCM
from lpcm.django.cache import LPCMCache
from lpcm.values import registry as _registry
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

PLANTED = ["text", {"a": 1}, [1], 1.5, True, None, b"", b"x" * 100, (1,), "foreign"]


class Blocking:
    """A cache as it is used without awaiting."""

    def __init__(self, cache):
        self.cache = cache

    def __getattr__(self, name):
        return getattr(self.cache, name)


class Awaited(Blocking):
    """The same, each method by its a-twin."""

    def __getattr__(self, name):
        return lambda *args, **options: asyncio.run(
            getattr(self.cache, f"a{name}")(*args, **options)
        )


@pytest.fixture(params=[Blocking, Awaited])
def way(request):
    """Return how a cache is used."""
    return request.param


def backend(location="cache", **options):
    """Return a cache backend."""
    return LPCMCache(location, {"OPTIONS": options})


def plant(cache, value, name="k"):
    """Store a value that the backend did not write."""
    with _registry.foreign():
        value = _registry.Foreign("no.Such", 1, 5) if value == "foreign" else value
        LPCM("cache", live=False)[cache.make_key(name)] = value


@pytest.mark.parametrize("value", PLANTED, ids=repr)
def test_what_it_did_not_write_is_missing(way, value):
    """A value that somebody else stored reads as missing, for every method."""
    cache = backend()
    used = way(cache)
    plant(cache, value)
    cache.set("other", "mine")
    assert used.get("k", "default") == "default"
    assert used.get_many(["k", "other"]) == {"other": "mine"}
    assert used.has_key("k") is False
    assert used.touch("k", 100) is False
    with pytest.raises(ValueError, match="not found"):
        used.incr("k")
    with pytest.raises(ValueError, match="not found"):
        used.decr("k")
    with pytest.raises(ValueError, match="not found"):
        cache.incr_version("k")
    assert used.add("k", "mine", timeout=0) is True
    assert used.add("k", "mine") is True
    assert used.add("k", "again") is False
    assert cache.get("k") == "mine"
    plant(cache, value)
    assert used.get_or_set("k", lambda: "made") == "made"
    plant(cache, value)
    assert used.set_many({"k": "set"}) == []
    assert used.get_many(["k"]) == {"k": "set"}


@pytest.mark.parametrize("value", ["foreign"])
def test_plain_values_that_cannot_be_read_are_missing(way, value):
    """With ``CODEC`` plain, a value of a class that nobody registered is missing."""
    cache = backend(CODEC="plain")
    used = way(cache)
    plant(cache, value)
    cache.set("other", "mine")
    assert used.get("k") is None
    assert used.get_many(["k", "other"]) == {"other": "mine"}
    assert used.add("k", 1) is True
    assert used.incr("k") == 2


NUMBERS = [1, 0, -7, 2**70, 1.5, True, False, decimal.Decimal("0.1"), 10**39]


@pytest.mark.parametrize("delta", [1, -3, 0.5, 2**70, True])
@pytest.mark.parametrize(
    ("codec", "number"),
    [("pickle", 1j), *((codec, number) for codec in ("pickle", "plain") for number in NUMBERS)],
)
def test_incr_does_as_locmem_does(way, number, delta, codec):
    """``incr`` adds to what ``set`` takes and returns what is stored, or fails, as in locmem."""
    ours, model = backend(CODEC=codec), LocMemCache("model", {})
    model.clear()
    for each in (ours, model):
        each.set("n", number)
    try:
        wanted = model.incr("n", delta)
    except TypeError:
        with pytest.raises(TypeError):
            way(ours).incr("n", delta)
    else:
        given = way(ours).incr("n", delta)
        assert (given, type(given)) == (wanted, type(wanted))
    stored = ours.get("n")
    assert (stored, type(stored)) == (model.get("n"), type(model.get("n")))


def test_incr_keeps_the_expiry_and_refuses_text():
    """An entry that ``incr`` changes by compare-and-set keeps its time to live."""
    cache = backend()
    cache.set("n", 1.5, timeout=50)
    assert cache.incr("n") == 2.5
    assert 0 < LPCM("cache").ttl(cache.make_key("n")) <= 50
    cache.set("n", "text")
    with pytest.raises(TypeError):
        cache.incr("n")
    assert cache.get("n") == "text"


def test_compress(way):
    """A cache compresses what is large, and believes what is signed as before."""
    cache = backend("compressed", COMPRESS="zlib")
    way(cache).set("k", "to be or not to be " * 1000)
    assert backend("compressed").get("k") == "to be or not to be " * 1000
    ((_, stored),) = lpcm.administration.Records("compressed").page().entries
    assert (stored.kind, len(stored.data) < 1000) == ("bytes+zlib", True)
    LPCM("compressed", compress="zlib")[cache.make_key("k")] = b"to be or not to be" * 1000
    assert way(cache).get("k") is None
    cache.clear()


@pytest.fixture
def small():
    """Return a cache on a store that takes 1,000 bytes a value."""
    lpcm.configure("memory://small?max_value=1000", using="small")
    cache = backend("small", ALIAS="small")
    cache.clear()
    return cache


def test_what_is_too_large_leaves_nothing(way, small, caplog):
    """A value over the store's limit is not kept, the older one is gone, and it is logged."""
    used = way(small)
    large = "x" * 5000
    small.set_many({"a": "old", "b": "old", "c": "old"})
    with caplog.at_level(logging.WARNING, "lpcm.django.cache"):
        used.set("a", large)
        assert used.add("new", large) is False
        assert used.set_many({"b": large, "c": "fits"}) == ["b"]
        assert used.get_or_set("d", large) == large
    assert small.get_many("abcd") == {"c": "fits"}
    assert not small.has_key("new")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    assert "limit of 1,000" in caplog.text
    assert large not in caplog.text


@pytest.fixture
def large_items():
    """Yield a memcached of its own: large items leave others little room for a while."""
    with servers.memcached() as server:
        yield server


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "memcached"])
def test_a_large_page(dynoxide_table, real, large_items, cached):  # noqa: F811  # the fixture
    """``cache_page`` of 5 MB on DynamoDB is a hit, by way of memcached too."""
    setting = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "OPTIONS": {"ALIAS": "pages"}}}
    alias = {"STORE": dynoxide_table.url}
    if cached:
        alias["CACHE"] = f"memcached://{large_items.host}:{large_items.port}"
    with override_settings(LPCM={"pages": alias}, CACHES=setting):
        caches["default"].clear()
        served = []

        @cache_page(60)
        def view(_):
            served.append(os.urandom(5_000_000))
            return HttpResponse(served[-1])

        asked = RequestFactory().get("/large/")
        for _ in range(3):
            assert view(asked).content == served[0]
        assert len(served) == 1
        caches["default"].clear()
        assert view(asked).content == served[1]


def test_a_page_that_is_too_large_is_served(dynoxide_table, real):  # noqa: F811  # the fixture
    """``cache_page`` of a page over ``max_value`` is a page each time, and never an older one."""
    setting = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "OPTIONS": {"ALIAS": "pages"}}}
    alias = {"STORE": f"{dynoxide_table.url}&max_value=409600"}
    with override_settings(LPCM={"pages": alias}, CACHES=setting):
        body = b"small"
        view = cache_page(60)(lambda _: HttpResponse(body))
        asked = RequestFactory().get("/page/")
        assert view(asked).content == b"small"
        body = b"changed"
        assert view(asked).content == b"small"
        caches["default"].clear()
        for _ in range(2):
            body = os.urandom(500_000)
            assert view(asked).content == body


LONG = ["x" * 1025, "x" * 100_000, "é" * 600, "\U0001f600" * 300, "\x00" * 600, "\ud800", "a\udfff"]


@pytest.mark.parametrize("key", LONG, ids=lambda key: f"{key[:1]!a} {len(key)}")
def test_a_key_that_can_be_none_is_hashed(way, key):
    """A key over the limit, or that is no text, works as any other, with Django's warning."""
    cache = backend()
    used = way(cache)
    with pytest.warns(CacheKeyWarning):
        used.set(key, "value")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheKeyWarning)
        assert used.get(key) == "value"
        assert used.get(key + "x") is None
        assert used.get(key, version=2) is None
        assert used.add(key, 1) is False
        assert used.set_many({key: 5, "short": 1}) == []
        assert used.get_many([key, "short", key + "y"]) == {key: 5, "short": 1}
        assert used.incr(key) == 6
        assert used.touch(key, 50)
        used.delete_many(["short"])
        assert used.delete(key) is True
        assert used.get(key) is None


@pytest.mark.parametrize("key", ["k", "x" * 240, "é" * 240, "\U0001f600" * 240, "x" * 900])
def test_a_key_that_fits_stays_itself(key):
    """A key within the limit of a map stands there as it is."""
    cache = backend()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheKeyWarning)
        cache.set(key, 1)
    assert cache.make_key(key) in LPCM("cache")

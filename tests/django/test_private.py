"""What no page shows: sessions and caches; and that no address, query or form breaks a page."""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpcm import LPCM, ConfigError
from lpcm.django import conf, stores
from lpcm.django.models import Map
from lpcm.django.sessions import SessionStore
from lpcm.engine.drive import run
from lpcm.ports import Cell, Put
from lpcm.values.keys import encode
from tests.django.test_admin import EDITABLE, LIST, text

OURS = "lpcm.django.cache.LPCMCache"
CACHES = {
    "default": {"BACKEND": OURS, "LOCATION": "pages"},
    "plain": {"BACKEND": "tests.django.test_private.Derived", "OPTIONS": {"CODEC": "plain"}},
    "other": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "mine"},
    "wrong": {"BACKEND": "no.such.Cache", "LOCATION": "mine"},
}
PRIVATE = ("django.sessions", "pages", "cache")
PAGES = ("change", "delete", "history", "add")


def __getattr__(name):
    """Make the backend of ``CACHES`` late: it reads the settings."""
    if name != "Derived":
        raise AttributeError(name)
    from lpcm.django.cache import LPCMCache

    return type("Derived", (LPCMCache,), {})


def path(*words, alias="default", page="change"):
    """Return an address, of whatever is in it."""
    tokens = [urlsafe_b64encode(word.encode()).decode() for word in words]
    return f"{LIST}{quote('/'.join((alias, *tokens)))}/{page}/"


@pytest.fixture
def filled():
    """Fill a map of each kind."""
    session = SessionStore()
    session["secret"] = "of a superuser"
    session.create()
    for name in ("pages", "cache", "mine"):
        LPCM(name)["k"] = 1
    return session


# Sessions


def test_the_store_never_sees_a_session_key(filled):
    """Neither key nor value of the map is or holds what the browser sends."""
    key = filled.session_key
    m = LPCM("django.sessions")
    assert m.copy().keys() == {sha256(key.encode()).hexdigest()}
    assert key not in repr(m.copy())
    assert SessionStore(key)["secret"] == "of a superuser"
    for other in m:
        assert SessionStore(other).load() == {}


def test_a_session_is_worth_nothing_under_another_key(filled):
    """Who can write to the map cannot copy a superuser's session into the own one."""
    own = SessionStore()
    own["secret"] = "mine"
    own.create()
    m = LPCM("django.sessions")
    theirs, mine = (sha256(each.session_key.encode()).hexdigest() for each in (filled, own))
    m[mine] = m[theirs]
    assert SessionStore(own.session_key).load() == {}


BAD_KEYS = ["x" * 1025, "x" * 100_000, "\x00" * 40, "\ud800" * 40, "é" * 600, "/" * 40, "!" * 9, ""]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: f"{key[:1]!a} {len(key)}")
def test_no_session_key_is_an_error(key):
    """Whatever a cookie holds is a session or an absent one, for each method."""
    assert SessionStore(key).load() == {}
    assert not SessionStore(key).exists(key)
    SessionStore(key).delete()
    SessionStore().delete(key)

    async def main():
        assert await SessionStore(key).aload() == {}
        assert not await SessionStore(key).aexists(key)
        await SessionStore(key).adelete()

    asyncio.run(main())
    fresh = SessionStore(key)
    fresh["a"] = 1
    fresh.save()
    assert fresh.session_key not in {key, None}


@pytest.mark.parametrize("key", BAD_KEYS[:3], ids=len)
def test_a_bad_cookie_breaks_no_page(database, key):
    """A cookie that can be no key costs its sender the session, and no page."""
    client = Client()
    client.cookies["sessionid"] = key
    assert client.get("/admin/login/").status_code == 200

    def view(request):
        request.session["a"] = 1
        return HttpResponse()

    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        assert SessionMiddleware(view)(request).status_code == 200


@pytest.mark.parametrize("value", [5, None, b"x", {"a": 1}, "no:signature:here", "", [1]])
def test_a_value_that_is_no_session_is_an_absent_one(value):
    """Whatever somebody else stored under a session's key is no session, and no error."""
    one = SessionStore()
    one.create()
    LPCM("django.sessions")[sha256(one.session_key.encode()).hexdigest()] = value
    assert SessionStore(one.session_key).load() == {}
    assert asyncio.run(SessionStore(one.session_key).aload()) == {}


def test_an_undecodable_session_is_an_absent_one():
    """A value of a class that nobody registered here is no session, and the next one is new."""
    from lpcm.values import registry as _registry

    one = SessionStore()
    one.create()
    m = LPCM("django.sessions")
    with _registry.foreign():
        m[sha256(one.session_key.encode()).hexdigest()] = _registry.Foreign("x.Y", 1, 5)
    again = SessionStore(one.session_key)
    assert again.load() == {}
    assert asyncio.run(SessionStore(one.session_key).aload()) == {}
    again["a"] = 1
    again.save()
    assert again.session_key != one.session_key


# The admin


@override_settings(LPCM=EDITABLE, CACHES=CACHES)
def test_private_maps_are_nowhere_in_the_admin(user, filled):
    """Neither the list nor an address, search, history, form or deletion leads to them."""
    client = user("view", "change", "delete")
    page = text(client.get(LIST))
    assert ">mine</a>" in page
    for name in PRIVATE:
        m = LPCM(name)
        before = m.copy()
        assert f">{name}</a>" not in page
        assert client.get(path(name), {"q": "k"}).status_code == 404
        for key in m:
            for which in PAGES:
                where = path(name, encode(key), page=which)
                assert client.get(where).status_code == 404
                assert client.post(where, {"value": "1", "etag": "1"}).status_code == 404
            assert client.get(path(name, page="history")).status_code == 404
            assert client.get(path(name, encode(key), alias="fixed")).status_code == 404
        assert m.copy() == before
    assert client.get(path("mine")).status_code == 200


@override_settings(CACHES=CACHES)
def test_a_setting_shows_them(user, filled):
    """``ADMIN_SHOW`` names the maps of one alias that are shown all the same."""
    shown = {"default": {"ADMIN_SHOW": ["django.sessions", "pages"]}, "fixed": {}}
    client = user("view")
    with override_settings(LPCM=shown):
        page = text(client.get(LIST))
        assert ">django.sessions</a>" in page
        assert ">pages</a>" in page
        assert ">cache</a>" not in page
        keys = text(client.get(path("django.sessions")))
        assert filled.session_key not in keys
        found = set(re.findall(r"[0-9a-f]{64}", keys))
        assert found
        assert client.get(path("django.sessions", min(found))).status_code == 200
        assert client.get(path("cache")).status_code == 404
        assert client.get(path("pages", alias="fixed")).status_code == 404
    for key in found:
        fresh = Client()
        fresh.cookies["sessionid"] = key
        assert fresh.get("/admin/").status_code == 302


@pytest.mark.parametrize("names", ["django.sessions", True, {"a": 1}, None])
def test_a_wrong_setting_shows_nothing(names):
    """``ADMIN_SHOW`` that is no list of names is a ConfigError."""
    with pytest.raises(ConfigError, match="ADMIN_SHOW is a list"):
        conf.check("default", {"ADMIN_SHOW": names})


# Whatever is asked


@override_settings(LPCM=EDITABLE)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "words",
    [("m", "!x"), ("m", ""), ("m", "!1q"), ("m", "!:a"), ("", "a"), ("x" * 3000,), ("m", "!" * 99)],
)
def test_an_undecodable_address_is_not_found(user, page, words):
    """An address of what is no key or no map is a 404 on every page, and for every method."""
    client = user("view", "change", "delete")
    where = path(*words, page=page)
    assert client.get(where).status_code == 404
    assert client.post(where).status_code == 404


@override_settings(LPCM=EDITABLE)
@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"etag": "abc"}, "no etag"),
        ({"etag": ""}, "no etag"),
        ({"etag": "9" * 19}, "no etag"),
        ({"etag": "9" * 5000}, "no etag"),
        ({"etag": "\N{SUPERSCRIPT TWO}"}, "no etag"),
        ({"value": "[" * 600 + "]" * 600}, "deep"),
        ({"value": "[" * 100_000}, "deep"),
        ({"value": '{"a":' * 600 + "1" + "}" * 600}, "deep"),
        ({"value": '{"!decimal":"x"}'}, "!decimal"),
        ({"value": '"\\ud800"'}, "surrogate"),
        ({"value": "1" * 5000}, "digits"),
        ({"ttl": "1e999"}, "above 0"),
        ({"ttl": "nan"}, "above 0"),
    ],
)
def test_a_form_of_nonsense_is_an_answer(user, form, words):
    """Whatever a form holds, the page says what is wrong, and nothing is changed."""
    m = LPCM("users")
    m["a"] = 1
    given = {"value": "2", "etag": m.entry("a").etag, **form}
    page = text(user("view", "change").post(path("users", "a"), given))
    assert re.search(f'class="errornote" role="alert">[^<]*{words}', page), page
    assert m["a"] == 1


@override_settings(LPCM=EDITABLE)
def test_an_expiry_outside_the_calendar_is_shown(user):
    """An expiry that no calendar has is shown as it is, on both pages, and can be changed."""
    m = LPCM("users")
    m.set("a", 1, ttl=1e14)
    client = user("view", "change")
    for where in (path("users"), path("users", "a")):
        assert "seconds after 1970" in text(client.get(where))
    client.post(path("users", "a"), {"value": "2", "etag": m.entry("a").etag, "ttl": "60"})
    assert m["a"] == 2
    assert m.ttl("a") <= 60


@override_settings(LPCM=EDITABLE)
def test_an_entry_that_cannot_be_read_is_shown_replaced_and_deleted(user):
    """One bad entry breaks no page: it is named, and can be replaced and deleted."""
    m = LPCM("users")
    m.update({"a": 1, "z": 2})
    engine = stores["default"]
    for sk, cell in {
        "bad": Cell("[", "json"),
        "worse": Cell("x", "no such kind"),
        "!x": Cell("1", None),
    }.items():
        put = Put(cell, 5)
        run(engine.store.apply(engine.partition("users"), sk, put, 0.0))
    client = user("view", "change", "delete")
    page = text(client.get(path("users")))
    assert page.count("cannot be read") == 2
    assert "{&quot;!key&quot;:&quot;!x&quot;}" in page
    for key in ("a", "z", "bad", "worse"):
        assert path("users", key) in page
    assert path("users", "!x") not in page
    assert "cannot be read" in text(client.get(path("users", "bad")))
    client.post(path("users", "bad"), {"value": "7", "etag": "5"})
    assert m["bad"] == 7
    client.post(path("users", "worse", page="delete"))
    assert "worse" not in m


def test_a_log_entry_leads_nowhere_and_breaks_nothing(user):
    """What looks for a row of the model Map finds none, for it has no table."""
    kind = ContentType.objects.get_for_model(Map)
    assert user("view").get(f"/admin/r/{kind.pk}/default/").status_code == 404
    assert not Map.objects.exists()
    with pytest.raises(Map.DoesNotExist):
        kind.get_object_for_this_type(pk="default/x")


WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["!x", "!1b1", "!:a ", "users", "a", "\x00", "x" * 2000, "!9", "!5", "!7-1"]),
)
ADDRESSES = st.one_of(
    st.builds(path, WORDS, alias=st.sampled_from(["default", "fixed", "none", ""])),
    st.builds(path, WORDS, WORDS, page=st.sampled_from([*PAGES, "x", ""])),
    st.builds(path, st.just("users"), st.sampled_from(["a", "gone"]), page=st.sampled_from(PAGES)),
    st.builds(lambda text: f"{LIST}{quote(text)}/change/", st.text(max_size=20)),
    st.just(LIST),
)
FIELDS = st.dictionaries(
    st.sampled_from(["q", "after", "before", "key", "value", "etag", "ttl", "p", "o", "_to_field"]),
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["-1", "1e400", "1e308", "nan", "[" * 600, '{"!x":1}', "x" * 2000, "\x00"]),
    ),
    max_size=4,
)


@override_settings(LPCM=EDITABLE)
def test_no_address_query_or_form_is_an_error(user):
    """Whatever stands in an address, a query or a form, the admin answers below 500."""
    client = user("view", "change", "delete")
    client.raise_request_exception = True

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(ADDRESSES, FIELDS, st.booleans())
    def ask(address, fields, posts):
        LPCM("users").update({"a": 1, "\U0001f600": 2})
        answer = client.post(address, fields) if posts else client.get(address, fields)
        assert answer.status_code < 500

    ask()

"""The browse page, by Django's test client: what is shown, who may, and what is logged."""

from __future__ import annotations

import html
import re

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.urls import reverse

from lpcm import LPCM
from lpcm.django.addresses import AdminUrl
from lpcm.django.browsing import PAGE
from lpcm.values.keys import encode

EDITABLE = {"default": {"ADMIN_EDIT": True}, "fixed": {"STORE": "memory://fixed"}}
HOSTILE = {
    "<script>alert(1)</script>": "<img src=x onerror=alert(2)>",
    "\u202eevil\x1b[31m\n": "a\x00b\u2028",
    "quo\"te's & <b>": "'\"&<>",
    ("eu", 7, b"/"): {"!tuple": 1, ("k",): {1, 2}},
    b"\xff\x00": b"\xfe",
    "x" * 300: "y" * 5000,
    "": None,
    "a/b?c#d%2F": 1.5,
    "é/ü": "漢字",
}


def address(key=None, name="users", alias="default", page="change"):
    from django.contrib.admin.utils import quote

    sk = None if key is None else encode(key)
    return reverse(f"admin:lpcm_map_{page}", args=(quote(str(AdminUrl(alias, name, sk))),))


LIST = "/admin/lpcm/map/"


def text(response):
    """Return a page's text."""
    assert response.status_code == 200, response
    return response.content.decode()


def test_maps_are_listed(user):
    """Each alias is shown with its maps, and one that fails with the reason."""
    LPCM("users")["a"] = 1
    LPCM("<b>hits</b>")["a"] = 1
    client = user("view")
    assert "Maps" in text(client.get("/admin/"))
    settings = {"default": {}, "broken": {"STORE": "memory://x", "OPTIONS": {"typo": 1}}}
    with override_settings(LPCM=settings):
        page = text(client.get(LIST))
    assert "&lt;b&gt;hits&lt;/b&gt;" in page
    assert address() in page
    assert "unknown option &#x27;typo&#x27;" in page


def test_who_may_not_look_sees_nothing(user, database):
    """Without the permission, and without logging in, no page is shown."""
    LPCM("users")["a"] = 1
    client = user()
    pages = (address("a", page="delete"), address(page="add_entry"))
    for path in (LIST, address(), address("a"), *pages):
        assert client.get(path).status_code == 403
        assert Client().get(path).status_code == 302


@pytest.mark.parametrize("path", ["default", "default/!!", "nowhere/dXNlcnM=", "default/a/b/c"])
def test_a_wrong_address_is_not_found(user, path):
    """An address that names no map is a 404, whatever is in it."""
    from django.contrib.admin.utils import quote

    assert user("view").get(f"{LIST}{quote(path)}/change/").status_code == 404


def test_keys_come_in_pages(user):
    """Every key is on exactly one page, in order, however many there are."""
    LPCM("users").update({f"k{n:03}": n for n in range(2 * PAGE + 7)})
    client, seen, path = user("view"), [], address()
    while path:
        page = text(client.get(path))
        seen += re.findall(r"<bdi>&quot;(k\d+)&quot;</bdi>", page)
        more = re.search(r'href="(\?[^"]+)" rel="next"', page)
        path = f"{address()}{html.unescape(more[1])}" if more else ""
    assert seen == [f"k{n:03}" for n in range(2 * PAGE + 7)]


def test_keys_are_found_by_prefix(user):
    """A search shows the text keys that begin so."""
    LPCM("users").update({"eu/a": 1, "eu/b": 2, "us/a": 3, 7: 4})
    page = text(user("view").get(address(), {"q": "eu/"}))
    assert re.findall(r"<bdi>&quot;(\w+/\w)&quot;</bdi>", page) == ["eu/a", "eu/b"]


def links(page):
    """Return where the links to the pages before and behind lead, by their relation."""
    return {rel: html.unescape(to) for to, rel in re.findall(r'href="([^"]+)" rel="(\w+)"', page)}


def shown(page):
    """Return the keys of a page as they are shown."""
    return [html.unescape(key) for key in re.findall(r'class="lpcm-key">.*?<bdi>(.*?)</bdi>', page)]


@pytest.mark.parametrize("query", ["", "k"])
def test_pages_lead_back(user, query):
    """From the last page one comes back to the first, by the same pages; also in a search."""
    LPCM("users").update({f"k{n:03}": n for n in range(2 * PAGE + 7)})
    if query:
        LPCM("users")[7] = "not found by it"
    client = user("view")
    there = [text(client.get(address(), {"q": query}))]
    while "next" in links(there[-1]):
        there.append(text(client.get(address() + links(there[-1])["next"])))
    back = [there[-1]]
    while "prev" in links(back[-1]):
        back.append(text(client.get(address() + links(back[-1])["prev"])))
    assert len(there) == 3
    assert [shown(page) for page in back] == [shown(page) for page in reversed(there)]
    assert "prev" not in links(there[0])
    assert "first" in there[1]


def test_the_page_before_is_never_a_piece(user):
    """What was deleted meanwhile makes the first page no shorter, and loses no page."""
    m = LPCM("users")
    m.update({f"k{n:03}": n for n in range(2 * PAGE)})
    client = user("view")
    second = text(client.get(address() + links(text(client.get(address())))["next"]))
    for n in range(PAGE - 5):
        del m[f"k{n:03}"]
    first = text(client.get(address() + links(second)["prev"]))
    assert shown(first) == [f'"k{n:03}"' for n in range(PAGE - 5, 2 * PAGE - 5)]


KEYS = [
    "eu/a", "eu/b", "7", "7th", "", 'quo"te', "\u202eevil\n", 7, -2.5, True, None, b"\xff\x00",
    b"\xff", ("eu", 7), ("eu", 8), ("eu", 8, "deep"), (), 10**30,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_is_found_as_it_is_shown(user, key):
    """What a page shows of a key, pasted into the search, finds its entry first or with few."""
    LPCM("users").update(dict.fromkeys(KEYS, 1))
    client = user("view")
    LPCM("one")[key] = 1
    (as_shown,) = shown(text(client.get(address(name="one"))))
    found = shown(text(client.get(address(), {"q": as_shown})))
    assert found[0] == as_shown
    assert len(found) < len(KEYS) or key == ""


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("eu/", ['"eu/a"', '"eu/b"']),
        ('"eu/', ['"eu/a"', '"eu/b"']),
        ("7", ["7", '"7"', '"7th"']),
        ('"7', ['"7"', '"7th"']),
        ('{"!tuple": ["eu", 8]}', ['{"!tuple":["eu",8]}', '{"!tuple":["eu",8,"deep"]}']),
        ("[1]", []),
        ("{", []),
        ("8", []),
    ],
)
def test_searches(user, query, keys):
    """A search finds the key, and the keys that begin with it."""
    LPCM("users").update(dict.fromkeys(KEYS, 1))
    assert shown(text(user("view").get(address(), {"q": query}))) == keys


@override_settings(LPCM=EDITABLE)
@pytest.mark.parametrize("given", ["seven", "7", '"7"', '{"!tuple": ["eu", 7]}', '""'])
def test_an_entry_is_added(user, given):
    """Key and value of the form are stored with their types, and it is logged."""
    m = LPCM("users")
    client = user("view", "add")
    assert address(page="add_entry") in text(client.get(address()))
    assert "<textarea" in text(client.get(address(page="add_entry")))
    form = {"key": given, "value": '{"!set": [1, 2]}', "ttl": "60"}
    response = client.post(address(page="add_entry"), form, follow=True)
    assert "was added" in text(response)
    key = {"seven": "seven", "7": 7, '"7"': "7", '""': ""}.get(given, ("eu", 7))
    assert m.copy() == {key: {1, 2}}
    assert type(next(iter(m))) is type(key)
    assert 50 < m.ttl(key) <= 60
    logged = LogEntry.objects.get()
    assert (logged.action_flag, logged.get_admin_url()) == (ADDITION, address(key))


@override_settings(LPCM=EDITABLE)
@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"key": "a"}, "an entry of this key already"),
        ({"key": ""}, "A key is missing"),
        ({"key": "["}, "not JSON"),
        ({"key": "[1]"}, "list"),
        ({"key": '{"!key": "!x"}'}, "No map writes the key"),
        ({"key": "x" * 2000}, "too long|bytes"),
        ({"value": "no json"}, "not JSON"),
        ({"value": ""}, "not JSON"),
        ({"ttl": "0"}, "above 0"),
    ],
)
def test_what_cannot_be_added_is_refused(user, form, words):
    """A wrong or taken key, value or expiry is said to be so; the form keeps its texts."""
    m = LPCM("users")
    m["a"] = "there"
    given = {"key": "b", "value": "1", "ttl": "", **form}
    page = html.unescape(text(user("view", "add").post(address(page="add_entry"), given)))
    assert re.search(f'class="errornote" role="alert">[^<]*({words})', page)
    assert f'name="key" value="{given["key"]}"' in page
    assert m.copy() == {"a": "there"}
    assert not LogEntry.objects.exists()


def test_adding_needs_the_setting_and_the_permission(user):
    """Neither alone lets anybody add, and an entry has no page to add to."""
    m = LPCM("users")
    m["a"] = 1
    client = user("view", "change", "add")
    where, form = address(page="add_entry"), {"key": "b", "value": "2"}
    assert client.post(where, form).status_code == 403
    assert "Add entry" not in text(client.get(address()))
    with override_settings(LPCM=EDITABLE):
        assert client.get(address("a", page="add_entry")).status_code == 404
        assert client.post(address(page="add_entry", alias="fixed"), form).status_code == 403
        for kept in (("view", "change"), ("add",)):
            names = [f"{name}_map" for name in kept]
            User.objects.get().user_permissions.set(Permission.objects.filter(codename__in=names))
            assert client.post(where, form).status_code == 403
    assert m.copy() == {"a": 1}


@override_settings(LPCM=EDITABLE)
def test_a_value_is_shown_once(user):
    """A user who may change an entry has its value in the form, and nowhere else on the page."""
    LPCM("users")["a"] = "huge " * 1000
    client = user("view", "change")
    assert text(client.get(address("a"))).count("huge " * 1000) == 1
    User.objects.get().user_permissions.set([Permission.objects.get(codename="view_map")])
    assert text(client.get(address("a"))).count("huge " * 1000) == 1


def test_an_entry_is_shown_whole(user):
    """Its value, type, expiry and etag are there."""
    m = LPCM("users")
    m.set("a", {"n": (1, 2)}, ttl=3600)
    page = text(user("view").get(address("a")))
    for wanted in ('{"n":{"!tuple":[1,2]}}', "dict", str(m.entry("a").etag), "in 3600 s"):
        assert html.escape(wanted) in page
    assert "<textarea" not in page
    assert "Delete" not in page


def test_a_compressed_entry_says_so(user):
    """Its value is shown as any other, and beside it how many bytes are stored."""
    m = LPCM("users", compress="zlib")
    m.update(a="to be or not to be " * 100, b="short")
    client = user("view")
    page = text(client.get(address("a")))
    assert "to be or not to be to be" in page
    assert "bytes, compressed by zlib" in page
    assert "compressed" not in text(client.get(address("b")))


def test_a_missing_entry_leads_back(user):
    """An entry that is gone is said to be, on its map's page."""
    response = user("view").get(address("gone"), follow=True)
    assert "There is no entry" in text(response)


@pytest.mark.parametrize("key", HOSTILE, ids=repr)
def test_hostile_keys_and_values_are_text(user, key):
    """Whatever is stored is shown as text, and its address leads to it."""
    m = LPCM("users")
    m[key] = HOSTILE[key]
    client = user("view", "change", "delete")
    with override_settings(LPCM=EDITABLE):
        pages = [text(client.get(path)) for path in (address(), address(key))]
        pages.append(text(client.get(address(key, page="delete"))))
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert address(key) in pages[0]


def test_it_says_whether_an_entry_is_cached(user, memcached, real, tmp_path):
    """The cache is looked at without being filled."""
    store = f"sqlite:///{tmp_path}/m.sqlite3"
    cache = f"memcached://{memcached.host}:{memcached.port}"
    with override_settings(LPCM={"default": {"STORE": store, "CACHE": cache}}):
        m = LPCM("users")
        m["a"] = 1
        LPCM("users", url=store).set_many({"a": 2, "b": 3})
        client = user("view")
        for _ in range(2):
            assert "<td>another value</td>" in text(client.get(address("a")))
            assert "<td>no</td>" in text(client.get(address("b")))
        assert m["b"] == 3
        assert "<td>yes</td>" in text(client.get(address("b")))
        page = text(client.get(address()))
        assert re.findall(r'"Cached">(yes|no|another value)<', page) == ["another value", "yes"]


def test_changing_needs_the_setting_and_the_permission(user):
    """Neither alone lets anybody change or delete."""
    m = LPCM("users")
    m["a"] = 1
    client = user("view", "change", "delete")
    form = {"value": "2", "etag": m.entry("a").etag}
    assert client.post(address("a"), form).status_code == 403
    assert client.post(address("a", page="delete")).status_code == 403
    with override_settings(LPCM=EDITABLE):
        LPCM("users", using="fixed")["a"] = 1
        assert client.post(address("a", alias="fixed"), form).status_code == 403
        User.objects.get().user_permissions.set([Permission.objects.get(codename="view_map")])
        assert client.post(address("a"), form).status_code == 403
        assert client.post(address("a", page="delete")).status_code == 403
    assert m["a"] == 1
    assert not LogEntry.objects.exists()


@override_settings(LPCM=EDITABLE)
def test_an_entry_is_changed(user):
    """The value of the form is stored with its types, the expiry stays, and it is logged."""
    m = LPCM("users")
    m.set("a", 1, ttl=600)
    client = user("view", "change")
    page = text(client.get(address("a")))
    etag = re.search(r'name="etag" value="(-?\d+)"', page)[1]
    response = client.post(
        address("a"), {"value": '{"!tuple": [1, "x"]}', "etag": etag}, follow=True
    )
    assert "was changed" in text(response)
    assert m["a"] == (1, "x")
    assert 590 < m.ttl("a") <= 600
    logged = LogEntry.objects.get()
    assert (logged.action_flag, str(logged.user), logged.object_repr) == (
        CHANGE,
        "ada",
        'users["a"]',
    )
    assert logged.get_admin_url() == address("a")
    assert "Changed the value." in text(client.get(address("a", page="history")))
    etag = m.entry("a").etag
    client.post(address("a"), {"value": "5", "etag": etag, "ttl": "60"})
    assert (m["a"], m.ttl("a") <= 60) == (5, True)


@override_settings(LPCM=EDITABLE)
@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"value": "not json"}, "not JSON"),
        ({"value": ""}, "not JSON"),
        ({"value": "2", "ttl": "-5"}, "above 0"),
        ({"value": "2", "ttl": "soon"}, "could not convert"),
        ({"value": '{"!nothing": 1}'}, "!nothing"),
    ],
)
def test_what_is_no_value_is_refused(user, form, words):
    """A wrong value or expiry is said to be so, the text stays, and nothing is changed."""
    m = LPCM("users")
    m["a"] = 1
    response = user("view", "change").post(
        address("a"), {"etag": m.entry("a").etag, **form}, follow=True
    )
    assert words in html.unescape(text(response))
    assert html.escape(form["value"]) in text(response)
    assert m["a"] == 1
    assert not LogEntry.objects.exists()


@override_settings(LPCM=EDITABLE)
def test_what_others_changed_is_not_overwritten(user):
    """Who looked at an older value is told, and shown what is stored now."""
    m = LPCM("users")
    m["a"] = "mine"
    etag = m.entry("a").etag
    m["a"] = "theirs"
    client = user("view", "change")
    page = text(client.post(address("a"), {"value": '"new"', "etag": etag}))
    assert "Somebody else changed the entry" in page
    assert "&quot;theirs&quot;" in page
    assert "&quot;new&quot;" in page
    assert m["a"] == "theirs"
    del m["a"]
    response = client.post(address("a"), {"value": '"new"', "etag": etag}, follow=True)
    assert "There is no entry" in text(response)
    assert "a" not in m


@override_settings(LPCM=EDITABLE)
def test_an_entry_is_deleted(user):
    """It is asked once more, then done and logged."""
    m = LPCM("users")
    m.update({"a": 1, "b": 2})
    client = user("view", "delete")
    assert "will be deleted" in text(client.get(address("a", page="delete")))
    assert "a" in m
    response = client.post(address("a", page="delete"), follow=True)
    assert "was deleted" in text(response)
    assert m.copy() == {"b": 2}
    logged = LogEntry.objects.get()
    assert (logged.action_flag, logged.object_repr) == (DELETION, 'users["a"]')

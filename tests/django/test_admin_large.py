"""The browse page over DynamoDB: large values are shown in part, maps of shards as any other."""

from __future__ import annotations

import html
import os
import re

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import override_settings

import lpcm
from lpcm import LPCM
from lpcm.django.browsing import BEGINNING, PAGE, WHOLE
from tests.django.test_admin import address, links, shown, text
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

VALUES = {
    "text": "to be ☃ or not " * 60_000,
    "bytes": os.urandom(1_000_000),
    "list": [{"number": number, "raw": b"\0"} for number in range(30_000)],
}
BEGINNINGS = {
    "text": '"to be ☃ or not to be ☃ or not',
    "bytes": '{"!bytes":"',
    "list": '[{"number":0,"raw":{"!bytes":"AA=="}},{"number":1',
}


@pytest.fixture(params=["alone", "memcached"])
def store(request, dynoxide_table, real):  # noqa: F811  # the fixture
    """Let the maps be in an empty table, where entries may be changed."""
    dynoxide_table.empty()
    alias = {"STORE": dynoxide_table.url, "ADMIN_EDIT": True}
    if request.param == "memcached":
        server = request.getfixturevalue("memcached")
        alias["CACHE"] = f"memcached://{server.host}:{server.port}"
    with override_settings(LPCM={"default": alias}):
        yield
    dynoxide_table.empty()


def counted(client, path, **query):
    """Return a page and what it asked of the store and the cache."""
    with lpcm.meter() as made:
        page = html.unescape(text(client.get(path, query)))
    return page, made


@pytest.mark.parametrize("compress", ["none", "zlib"])
def test_large_values_are_shown_in_part(store, user, compress):
    """A list has their sizes, and reads none of them; an entry's page reads the first part."""
    m = LPCM("users", live=False, compress=compress)
    wanted = dict(VALUES)
    if compress == "zlib":
        noise = os.urandom(600_000).hex()
        wanted = {
            "text": VALUES["text"][:BEGINNING] + noise,
            "bytes": VALUES["bytes"],
            "list": [*VALUES["list"][:2000], noise],
        }
    m.update(wanted)
    client = user("view", "change", "delete")
    page, made = counted(client, address())
    assert made.read_units < 10
    assert len(re.findall(r"<bdi>[\d,]{7,} bytes in \d parts", page)) == 3
    for key, value in wanted.items():
        page, made = counted(client, address(key))
        assert made.read_units < 101
        assert len(page) < BEGINNING * 4 // 3 + 10_000
        assert BEGINNINGS[key] in page
        assert f"the first {BEGINNING:,} bytes" in page
        assert "too large to be changed here" in page
        assert "<textarea" not in page
        assert ("compressed by zlib" in page) is (compress == "zlib" and key != "bytes")
        assert m[key] == value


def test_a_large_value_is_not_changed(store, user):
    """A form that was sent all the same is refused in words; nothing is changed or logged."""
    m = LPCM("users", live=False)
    m["a"] = VALUES["text"]
    form = {"value": "1", "etag": m.entry("a").etag}
    page = html.unescape(text(user("view", "change").post(address("a"), form)))
    assert 'errornote" role="alert">The value is too large to be changed here' in page
    assert "Nothing was changed." in page
    assert m["a"] == VALUES["text"]
    assert not LogEntry.objects.exists()


def test_a_large_value_is_deleted(store, user):
    """As any other; it is logged."""
    m = LPCM("users", live=False)
    m.update(a=VALUES["text"], b=1)
    client = user("view", "delete")
    assert "will be deleted" in text(client.get(address("a", page="delete")))
    assert "was deleted" in text(client.post(address("a", page="delete"), follow=True))
    assert m.copy() == {"b": 1}
    assert LogEntry.objects.get().action_flag == DELETION


def test_a_value_without_its_parts(store, user, dynoxide_table):  # noqa: F811  # the fixture
    """It is said to be so, and may be written anew."""
    m = LPCM("users", live=False)
    m["a"] = VALUES["text"]
    for item in dynoxide_table.items():
        if item["sk"]["S"] == "000000":
            key = {"pk": item["pk"], "sk": item["sk"]}
            dynoxide_table.call("DeleteItem", TableName=dynoxide_table.name, Key=key)
    client = user("view", "change")
    page = text(client.get(address("a")))
    assert "cannot be read: the first part is gone" in page
    etag = re.search(r'name="etag" value="(-?\d+)"', page)[1]
    client.post(address("a"), {"value": '"new"', "etag": etag})
    assert m["a"] == "new"


def test_a_large_value_in_one_piece(user):
    """On SQLite a value is shown in part too where a form could not hold it."""
    m = LPCM("users", live=False)
    m.update(large="é" * (WHOLE - 1), larger=f"{'x' * BEGINNING}END")
    client = user("view", "change")
    with override_settings(LPCM={"default": {"ADMIN_EDIT": True}}):
        for key, whole in (("large", False), ("larger", True)):
            page = text(client.get(address(key)))
            assert ("<textarea" in page) is whole
            assert (f"of {WHOLE + 1:,} characters" in page) is not whole
        assert "END" in page


def test_a_map_of_several_partitions(store, user):
    """Its keys come in order, are found, and their entries are added, changed and deleted."""
    m = LPCM("users", shards=4, live=False)
    m.update({f"k{number:03}": number for number in range(PAGE + 7)})
    client = user("view", "change", "add", "delete")
    first = text(client.get(address()))
    second = text(client.get(address() + links(first)["next"]))
    assert shown(first) + shown(second) == [f'"k{number:03}"' for number in range(PAGE + 7)]
    assert shown(text(client.get(address() + links(second)["prev"]))) == shown(first)
    assert shown(text(client.get(address(), {"q": "k04"}))) == [f'"k04{n}"' for n in range(10)]
    page = text(client.get(address("k003")))
    etag = re.search(r'name="etag" value="(-?\d+)"', page)[1]
    client.post(address("k003"), {"value": "33", "etag": etag})
    client.post(address(page="add_entry"), {"key": "new", "value": "1"})
    client.post(address("k004", page="delete"))
    assert (m["k003"], m["new"], "k004" in m, len(m)) == (33, 1, False, PAGE + 7)

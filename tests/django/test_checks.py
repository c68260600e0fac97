"""System checks: each finds its fault, says what to do, and does no I/O."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core import checks
from django.test import override_settings
from django.utils.module_loading import import_string

from lpcm.django import checks as module
from lpcm.django import conf
from lpcm.django.cache import LPCMCache
from lpcm.django.checks import check_deployment, check_settings

GOOD = {
    "default": {"STORE": "dynamodb://table", "CACHE": "memcached://127.0.0.1:1"},
    "local": {"STORE": "sqlite:////nowhere/at/all.sqlite3"},
}
LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
OURS = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache"}}
ROOT = Path(__file__).parent.parent.parent


def found(*, deploy: bool = False) -> list[str]:
    """Return the ids of what the checks say, each with a hint that leads to a page."""
    messages = check_deployment() if deploy else check_settings()
    for message in messages:
        assert_leads(message)
    return [message.id or "" for message in messages]


def assert_leads(message: checks.CheckMessage) -> None:
    """Hold that every address and command of a hint exists."""
    hint = message.hint or ""
    address, _, anchor = hint.rpartition(" See ")[2].partition("#")
    page = Path(urlsplit(address).path).read_text("utf-8")
    assert f"### {anchor.upper()}\n" in page
    for command in re.findall("`([^`]+)`", hint):
        assert shlex.split(command)[:2] == ["pip", "install"]
        done = [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "-q"]
        subprocess.run([*done, *shlex.split(command)[2:]], check=True, timeout=120)
    for name in re.findall(r"'(lpcm\.[\w.]+)'", hint):
        import_string(name)
    for url in re.findall(r"'([a-z]+://\S+)'", hint):
        conf.check("default", {"STORE": url})
    for name in re.findall(r"OPTIONS\['CODEC'\] to '(\w+)'", hint):
        LPCMCache("m", {"OPTIONS": {"CODEC": name}})


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what tells a test run."""
    monkeypatch.delenv("LPCM_NAMESPACE")
    monkeypatch.delenv("LPCM_SCRATCH")


@pytest.mark.usefixtures("production")
def test_good_settings_pass():
    """Nothing is said of a store with a shared cache, nor of a project without settings."""
    assert found() + found(deploy=True) == []
    with override_settings(LPCM=GOOD):
        assert found() + found(deploy=True) == []


@pytest.mark.parametrize(
    ("lpcm", "id"),
    [
        ([], "lpcm.E001"),
        ({"default": {"STORE": "memory://", "TEST": {"STORE": "maybe"}}}, "lpcm.E001"),
        ({"default": {"STORE": "redis://h"}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "speed": 1}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "TEST": {"INSULATE": True}}}, "lpcm.E001"),
        ({"default": {"STORE": Path("/tmp/m.sqlite3")}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "CACHE": ["h:1"]}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "OPTIONS": ["ttl"]}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "CACHE_ONLY": "False"}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "ADMIN_EDIT": "no"}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "ADMIN_SHOW": "cache"}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "TEST": "real"}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "TEST": {"STOER": "real"}}}, "lpcm.E002"),
        ({"default": {"STORE": "memory://", "TABLE": {"read_units": 5}}}, "lpcm.E002"),
        (
            {"default": {"STORE": "memory://", "TABLE": {"read_units": 5, "write_units": "5"}}},
            "lpcm.E002",
        ),
        ({"other": {"STORE": "memory://"}}, "lpcm.W002"),
        ({"default": {}}, "lpcm.W003"),
        ({"default": {"STORE": None}}, "lpcm.W003"),
    ],
)
def test_wrong_settings(lpcm: object, id: str):  # Django's word
    """Each fault in the settings has an id."""
    with override_settings(LPCM=lpcm):
        assert found() == [id]


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"CACHES": {"default": {**OURS["default"], "OPTIONS": {"ALIAS": "no"}}}}, "lpcm.E004"),
        (
            {"SESSION_ENGINE": "lpcm.django.sessions", "SESSION_LPCM_ALIAS": "no"},
            "lpcm.E004",
        ),
        ({"SESSION_ENGINE": "lpcm.django.sessions", "SESSION_LPCM_ALIAS": 1}, "lpcm.E004"),
        ({"CACHES": {"default": {**OURS["default"], "OPTIONS": {"CODEC": "json"}}}}, "lpcm.E005"),
        ({"CACHES": {"default": {**OURS["default"], "OPTIONS": {"CODEC": []}}}}, "lpcm.E005"),
    ],
)
def test_wrong_caches_and_sessions(settings: dict[str, object], id: str):
    """An alias that LPCM does not have, and a codec that no cache has, are errors."""
    with override_settings(LPCM=GOOD, **settings):
        assert found() == [id]


@pytest.mark.parametrize("backend", ["lpcm.django.cache.LPCMCache", f"{__name__}.Derived"])
def test_a_circle(backend: str):
    """A map cannot be cached in a cache of Django's that is a map, its own or another."""
    caches = {"pages": {"BACKEND": backend, "OPTIONS": {"ALIAS": "default"}}}
    lpcm = {"default": {"STORE": "dynamodb://table", "CACHE": "django://pages"}}
    with override_settings(LPCM=lpcm, CACHES=caches):
        (message,) = check_settings()
    assert message.id == "lpcm.E002"
    assert "keeps its entries in maps, so that no map can be cached in it" in message.msg


class Derived(LPCMCache):
    """A backend of a project's own."""


def test_a_default_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Where ``LPCM_URL`` says what the default alias is, LPCM need not."""
    monkeypatch.setenv("LPCM_URL", "memory://")
    with override_settings(LPCM={"other": {"STORE": "memory://"}}):
        assert found() == []


@pytest.mark.parametrize("package", ["botocore", "orjson"])
def test_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, package: str):
    """A store whose package is not installed is found, with a command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with override_settings(LPCM=GOOD):
        assert found() == ["lpcm.E003"]


@pytest.mark.parametrize(
    ("urls", "page"),
    [
        (
            [
                "Issues, https://host/o/n/issues",
                "Documentation, https://host/o/n/blob/v1/docs/index.md",
            ],
            "https://host/o/n/blob/v1/docs/howto/django.md",
        ),
        ([], (ROOT / "docs/howto/django.md").as_uri()),
    ],
)
def test_where_the_hints_lead(monkeypatch: pytest.MonkeyPatch, urls: list[str], page: str):
    """A published package leads to its documentation online, a checkout to its own file."""
    published = Message()
    for url in urls:
        published["Project-URL"] = url
    monkeypatch.setattr(module, "metadata", lambda _: published)
    assert module._page.__wrapped__() == page


def test_names_of_2012():
    """A name of 2012 is named, with today's."""
    with override_settings(LPCM_CACHE_TIMEOUT=60), pytest.warns(match="LPCM_CACHE_TIMEOUT"):
        (message,) = check_settings()
    assert message.id == "lpcm.W001"
    assert "LPCM['default']['OPTIONS']['cache_ttl']" in str(message.hint)


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({"LPCM": {"default": {"STORE": "memory://", "CACHE_ONLY": True}}}, ["lpcm.W011"]),
        ({"LPCM": {"default": {"STORE": "memory://"}}}, ["lpcm.W012"]),
        (
            {"LPCM": {"default": {"STORE": "dynamodb://table", "CACHE": "memory://"}}},
            ["lpcm.W013"],
        ),
        (
            {"LPCM": {"default": {"STORE": "sqlite:////srv/m", "CACHE": "memcached://h"}}},
            ["lpcm.W017"],
        ),
        (
            {"LPCM": {"default": {"STORE": "dynamodb://t12", "OPTIONS": {"namespace": "test-1"}}}},
            ["lpcm.W010"],
        ),
        ({"CACHES": OURS, "SECRET_KEY": "django-insecure-" + "x" * 50}, ["lpcm.W014"]),
        ({"LPCM": {"default": {"STORE": "sqlite:///m.sqlite3?ttl=5"}}}, ["lpcm.W016"]),
        ({"CACHES": OURS}, []),
        (
            {
                "CACHES": {"default": {**OURS["default"], "OPTIONS": {"CODEC": "plain"}}},
                "SECRET_KEY": "short",
            },
            [],
        ),
    ],
)
@pytest.mark.usefixtures("production")
def test_deployment(settings: dict[str, object], ids: list[str]):
    """``check --deploy`` finds what must not go into production."""
    with override_settings(**settings):
        assert found(deploy=True) == ids


def test_a_test_environment_is_found():
    """``check --deploy`` finds the environment of a test run, which this is."""
    with override_settings(LPCM=GOOD):
        assert found(deploy=True) == ["lpcm.W010"]


def test_they_are_registered():
    """Django runs them, under the tag ``lpcm``; those of deployment only when asked."""
    with override_settings(LPCM={"default": {"STORE": "memory://"}}):
        assert checks.run_checks(tags=["lpcm"]) == []
        ids = {each.id for each in checks.run_checks(tags=["lpcm"], include_deployment_checks=True)}
        assert "lpcm.W012" in ids


def test_they_do_no_io():
    """No file is opened, no socket connected, no process started."""
    heard: list[str] = []
    watched = {
        "open",
        "socket.connect",
        "socket.getaddrinfo",
        "sqlite3.connect",
        "subprocess.Popen",
    }
    listening = True

    def listen(event: str, _: object) -> None:
        if listening and event in watched:
            heard.append(event)

    with override_settings(LPCM=GOOD):
        check_settings()  # imports the adapters, which opens their files
        sys.addaudithook(listen)
        check_settings()
        check_deployment()
        listening = False
    assert heard == []


def test_every_id_is_documented():
    """Each id has its heading in the document the hints point to."""
    source = (ROOT / "src/lpcm/django/checks.py").read_text(encoding="utf-8")
    ids = set(re.findall(r'"([EW]\d{3})"', source))
    document = (ROOT / "docs/howto/django.md").read_text(encoding="utf-8")
    assert ids == set(re.findall(r"^#+ ([EW]\d{3})$", document, re.MULTILINE))

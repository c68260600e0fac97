"""Django's debug page shows no password of a URL, whatever fails."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django.views.debug import get_default_exception_reporter_filter

from lpcm import LPCM, ConfigError
from lpcm.django import conf
from lpcm.django.checks import check_settings

PASSWORD = "s3cr3t"
FILTER = "lpcm.django.debug.ReporterFilter"
SETTINGS = [
    {"STORE": f"memcached://me:{PASSWORD}@127.0.0.1:1"},
    {"STORE": f"memcached://me:{PASSWORD}@127.0.0.1:port"},
    {"STORE": f"memcached:me:{PASSWORD}@127.0.0.1"},
    {"STORE": f"redis://me:{PASSWORD}@127.0.0.1"},
    {"STORE": f"memory://?cache=memcached://me:{PASSWORD}@127.0.0.1:1&on_cache_error=strict"},
    {"STORE": "memory://", "CACHE": f"memcached://me:{PASSWORD}@127.0.0.1:1:1"},
    {
        "STORE": "memory://",
        "OPTIONS": {"on_cache_error": "strict"},
        "CACHE": f"memcached://me:{PASSWORD}@127.0.0.1:1",
    },
    {"STORE": "memory://", "OPTIONS": {"ttl": f"http://me:{PASSWORD}@h"}},
    {"STORE": f"dynamodb://table?region=x&endpoint=http://me:{PASSWORD}@127.0.0.1:1"},
    {"STORE": f"sqlite://me:{PASSWORD}@h"},
    {"STORE": "memory://", "CACHE": f"django://me:{PASSWORD}@h"},
]
GIVEN = []


def fail(_):
    """Use a map, which fails."""
    LPCM("m").set("k", 1)
    return HttpResponse("it worked")


def fail_by_argument(_):
    """Use a map of a URL that a variable of this function has."""
    url = GIVEN[0]
    LPCM("m", url=url).set("k", 1)
    return HttpResponse("it worked")


urlpatterns = [path("fail/", fail), path("argument/", fail_by_argument)]


def page_of(where, **environ):
    """Return the debug page of a request that fails."""
    answer = Client(raise_request_exception=False).get(where, **environ)
    assert answer.status_code == 500
    page = answer.content.decode()
    assert "Traceback" in page
    assert "LPCM" in page
    return page


@pytest.mark.parametrize("given", SETTINGS, ids=lambda given: next(iter(given.values()))[:30])
def test_the_debug_page_shows_no_password(real, given):
    """Settings, message, frames and their variables show no password, without any filter."""
    given = {**given, "OPTIONS": dict(given.get("OPTIONS", {}))}
    with override_settings(LPCM={"default": given}, DEBUG=True, ROOT_URLCONF=__name__):
        page = page_of("/fail/")
    assert PASSWORD not in page, page[page.index(PASSWORD) - 300 :][:600]
    assert "***" in page


@pytest.mark.parametrize("given", [each["STORE"] for each in SETTINGS[:5]])
def test_the_filter_hides_the_rest(real, given):
    """With the filter, the environment and the variables of other functions show none either."""
    GIVEN[:] = [given]
    get_default_exception_reporter_filter.cache_clear()
    changed = {"DEBUG": True, "ROOT_URLCONF": __name__, "DATABASE": {"URL": [given]}}
    with override_settings(**changed, DEFAULT_EXCEPTION_REPORTER_FILTER=FILTER):
        page = page_of("/argument/", LPCM_URL=given)
    get_default_exception_reporter_filter.cache_clear()
    assert PASSWORD not in page, page[page.index(PASSWORD) - 300 :][:600]


@pytest.mark.parametrize(
    "key", [f"{PASSWORD} and some more", f"{PASSWORD} in many bytes".encode(), "short"]
)
def test_a_cache_key_is_shown_nowhere(key):
    """The settings show no cache key, whatever is wrong with it, and the options have it."""
    given = {"default": {"STORE": "memory://", "OPTIONS": {"cache_key": key}}}
    with override_settings(LPCM=given):
        conf.hide_passwords()
        assert PASSWORD not in repr(given)
        assert "short" not in repr(given)
        if key == "short":
            with pytest.raises(ConfigError, match="16 bytes"):
                conf.find("default")
        else:
            found = conf.find("default")
            assert found.cache_key == (key if isinstance(key, str) else key.decode())
            assert PASSWORD not in repr(found)


def test_settings_stay_what_they_were():
    """To the program the settings are the same text; only their repr is another."""
    given = {"default": {"STORE": f"memcached://me:{PASSWORD}@h", "OPTIONS": {"x": "y"}}, "b": 5}
    with override_settings(LPCM=given):
        assert given["default"]["STORE"] == f"memcached://me:{PASSWORD}@h"
        assert PASSWORD not in repr(given)
        assert conf.aliases() is given
        assert type(given["default"]["OPTIONS"]["x"]) is str


@pytest.mark.parametrize(
    "lpcm", [f"memcached://me:{PASSWORD}@h", {"default": f"memcached://me:{PASSWORD}@h"}]
)
def test_a_check_shows_no_password(lpcm):
    """The system checks name what is wrong with the settings, and no password in them."""
    with override_settings(LPCM=lpcm):
        (message,) = check_settings()
    assert PASSWORD not in str(message)


def test_the_environment_is_checked(monkeypatch):
    """With DEBUG, a password in ``LPCM_URL`` is warned of, unless the filter is set."""
    monkeypatch.setenv("LPCM_URL", f"memcached://me:{PASSWORD}@h")
    assert check_settings() == []
    with override_settings(DEBUG=True):
        (message,) = check_settings()
        assert message.id == "lpcm.W015"
        assert PASSWORD not in str(message)
        with override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER=FILTER):
            assert check_settings() == []

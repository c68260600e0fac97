"""``settings.LPCM``: aliases, changes, and the names of 2012."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from lpcm import LPCM, ConfigError
from lpcm.django import conf, stores

if TYPE_CHECKING:
    from pathlib import Path

AT_IMPORT = LPCM("made at import time")


@pytest.mark.usefixtures("real")
def test_maps_live_where_the_settings_say(tmp_path: Path):
    """Each alias is a place; maps made before follow ``override_settings`` there and back."""
    default, other = f"sqlite:///{tmp_path}/default.sqlite3", f"sqlite:///{tmp_path}/o.sqlite3"
    aliases = {"default": {"STORE": default}, "other": {"STORE": other, "OPTIONS": {"ttl": 60}}}
    with override_settings(LPCM=aliases):
        AT_IMPORT["k"] = "default"
        LPCM("m", using="other")["k"] = "other"
        assert 59 < LPCM("m", using="other").ttl("k") <= 60
        assert {path.name for path in tmp_path.glob("*.sqlite3")} == {
            "default.sqlite3",
            "o.sqlite3",
        }
        with override_settings(LPCM={"default": {"STORE": "memory://"}}):
            assert AT_IMPORT.get("k") is None
            with pytest.raises(ConfigError, match="unknown alias 'other'"):
                LPCM("m", using="other").get("k")
        assert AT_IMPORT["k"] == "default"


@pytest.mark.usefixtures("real")
def test_the_handler():
    """``stores[alias]`` is what maps of that alias use, in every thread; others are refused."""
    with override_settings(LPCM={"one": {"STORE": "memory://one", "OPTIONS": {"namespace": "n"}}}):
        engine = stores["one"]
        assert repr(engine) == "<Engine memory://one namespace='n'>"
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(stores["one"]))
        thread.start()
        thread.join(30)
        assert found == [engine]
        assert list(stores) == ["default", "one"]
        with pytest.raises(ConfigError, match="no alias 'two': use one of default, one"):
            stores["two"]
        LPCM("m", using="one")["k"] = 1
        stores.close_all()
        assert stores["one"] is not engine
        assert LPCM("m", using="one")["k"] == 1
    assert list(stores) == ["default"]


@pytest.mark.usefixtures("real")
def test_a_map_that_closes_leaves_an_alias_open(tmp_path: Path):
    """``stores[alias]`` stays open when a map of the alias is closed; what is only of maps ends."""
    aliases = {name: {"STORE": f"sqlite:///{tmp_path}/{name}.sqlite3"} for name in ("one", "two")}
    with override_settings(LPCM=aliases):
        engine = stores["one"]
        for alias in aliases:
            with LPCM("m", using=alias) as m:
                m["k"] = 1
                of_map = m._bound[2].engine
        assert (of_map.closed, engine.closed) == (True, False)
        assert stores["one"] is engine
        assert LPCM("m", using="two")["k"] == 1


@pytest.mark.parametrize(
    ("lpcm", "says"),
    [
        ([], "must be a dict of aliases"),
        ({"default": "memory://"}, "must be a dict, not 'memory://'"),
        ({"default": {"STOER": "memory://"}}, "unknown key 'STOER': use one of"),
        ({"default": {"STORE": "redis://"}}, "unknown scheme 'redis'"),
        ({"default": {"STORE": "memory://", "OPTIONS": {"speed": 1}}}, "unknown option 'speed'"),
        ({"default": {"STORE": "memory://", "CACHE": "django://none"}}, "CACHES has no alias"),
        ({"default": {"STORE": "memory://", "CACHE": "django://default"}}, "is no memcached"),
    ],
)
def test_what_is_wrong_is_named(lpcm: object, says: str):
    """A wrong setting is a ConfigError that says what would be right."""
    with override_settings(LPCM=lpcm), pytest.raises(ConfigError, match=says):
        AT_IMPORT.get("k")


def test_caches_are_translated():
    """A memcached of ``CACHES`` is used through lpcm's own client, whatever its backend."""
    memcached = "django.core.cache.backends.memcached."
    caches = {
        "default": {"BACKEND": memcached + "PyMemcacheCache", "LOCATION": ["a:1", "b:2"]},
        "lib": {"BACKEND": memcached + "PyLibMCCache", "LOCATION": "a:1;b:2"},
        "unix": {"BACKEND": memcached + "PyMemcacheCache", "LOCATION": "unix:/tmp/m.sock"},
    }
    with override_settings(CACHES=caches):
        for alias, scheme, path in [
            ("default", "memcached", "a:1,b:2"),
            ("lib", "memcached", "a:1,b:2"),
            ("unix", "memcached+unix", "/tmp/m.sock"),
        ]:
            given = {"STORE": "memory://", "CACHE": f"django://{alias}"}
            cache = conf.check("default", given).cache
            assert cache is not None
            assert (cache.scheme, cache.path) == (scheme, path)


OLD = {
    "LPCM_DYNAMODB_TABLE_NAME": "old_table",
    "LPCM_DYNAMODB_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLE",
    "LPCM_DYNAMODB_SECRET_ACCESS_KEY": "secret",
    "LPCM_CACHE_TIMEOUT": 77,
    "LPCM_PROVISIONED_THROUGHPUT": {"read": 3, "write": 5},
    "LPCM_TEST_USE_LOCAL_CACHE_ONLY": False,
    "LPCM_DEBUG_USE_LOCAL_CACHE_ONLY": True,
    "CACHES": {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "lpcm": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": "127.0.0.1:1",
        },
    },
}


def test_the_names_of_2012(monkeypatch: pytest.MonkeyPatch):
    """All settings of 2012 are read, with one warning each that names today's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(conf, "_warned", set())
    with override_settings(**OLD):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = conf.find("default")
            again = conf.find("default")
        texts = [str(warning.message) for warning in caught]
        assert [text.split()[0] for text in texts] == list(conf.OLD)
        for text, new in zip(texts, conf.OLD.values(), strict=True):
            assert text.endswith(new)
        assert found is not None
        assert found == again
        assert (found.scheme, found.path, found.cache_ttl) == ("dynamodb", "old_table", 77)
        assert found.cache is not None
        assert (found.cache.scheme, found.cache.path) == ("memcached", "127.0.0.1:1")
        assert os.environ["AWS_ACCESS_KEY_ID"] == "AKIAIOSFODNN7EXAMPLE"
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "secret"
        assert conf.aliases()["default"]["TABLE"] == {"read_units": 3, "write_units": 5}
        assert conf.tests_use() == "real"
    with override_settings(**OLD, LPCM={"default": {"STORE": "memory://"}}):
        assert conf.old_names() == []
        assert conf.find("default") == conf.check("default", {"STORE": "memory://"})


def test_without_settings_maps_are_as_without_django():
    """A project that sets nothing keeps ``LPCM_URL`` or the default file."""
    assert conf.find("default") is None
    assert conf.old_names() == []


@pytest.mark.parametrize("app", ["lpcm", "lpcm.django", "lpcm.apps.LPCMConfig"])
def test_the_app_has_one_name(app: str):
    """However ``INSTALLED_APPS`` spells it, it is one app, whose models and commands are found."""
    code = (
        "import django; from django.conf import settings; from django.apps import apps;"
        "from django.core.management import get_commands;"
        f"settings.configure(INSTALLED_APPS=[{app!r}], LPCM={{'default': {{'STORE': 'memory://'}}}});"
        "django.setup(); from lpcm import LPCM; LPCM('m')['k'] = 1;"
        "print(apps.get_app_config('lpcm').name, *sorted(set(get_commands()) & "
        "{'lpcm', 'create_lpcm_table'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["lpcm.django", "create_lpcm_table", "lpcm"]

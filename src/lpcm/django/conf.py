"""Settings: from Django's ``LPCM``, or the names of 2012, to one ``Config`` for each alias.

Reads settings and the environment only: opens nothing. The settings are read anew whenever
maps resolve their alias, so they may change (``override_settings``).

============== ==================================================================
``STORE``      where the maps live, a URL (``lpcm.config``)
``CACHE``      what stands in front, a URL; ``django://alias`` is one of ``CACHES``
``OPTIONS``    options of both, as in the URL's query
``CACHE_ONLY`` True: entries live in the cache alone, and may vanish
``TEST``       ``{"STORE": "real"}``: tests use the store itself, in a namespace of
               their own, and not throw-away files; ``{"INSULATE": "run"}``: tests of
               Django's classes see what earlier ones wrote
``ADMIN_EDIT`` True: users with the permission may change entries in the admin
``ADMIN_SHOW`` names of maps that the admin shows although they hold Django's sessions
               or a cache of ``CACHES``
``TABLE``      what ``create_lpcm_table`` passes on, such as ``read_units``
============== ==================================================================
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.module_loading import import_string

from lpcm import config
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "KEYS",
    "OLD",
    "SETTINGS",
    "aliases",
    "check",
    "find",
    "hide_passwords",
    "old_names",
    "our_caches",
    "private_maps",
    "tests_insulate",
    "tests_use",
]

KEYS = frozenset(
    {"STORE", "CACHE", "OPTIONS", "CACHE_ONLY", "TEST", "ADMIN_EDIT", "ADMIN_SHOW", "TABLE"}
)

_TYPES: Mapping[str, tuple[type, str]] = {
    "STORE": (str, "a URL"),
    "CACHE": (str, "a URL"),
    "OPTIONS": (dict, "a dict of options"),
    "CACHE_ONLY": (bool, "True or False"),
    "TEST": (dict, "a dict"),
    "ADMIN_EDIT": (bool, "True or False"),
    "TABLE": (dict, "a dict"),
}
"""What the value of a key is, where it has one, in words too."""
_PARTS: Mapping[str, frozenset[str]] = {
    "TEST": frozenset({"STORE", "INSULATE"}),
    "TABLE": frozenset({"read_units", "write_units"}),
}

OLD: Mapping[str, str] = {
    "LPCM_DYNAMODB_TABLE_NAME": "LPCM['default']['STORE'] = 'dynamodb://TABLE'",
    "LPCM_DYNAMODB_ACCESS_KEY": "AWS_ACCESS_KEY_ID in the environment, or a role",
    "LPCM_DYNAMODB_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY in the environment, or a role",
    "LPCM_CACHE_TIMEOUT": "LPCM['default']['OPTIONS']['cache_ttl']",
    "LPCM_PROVISIONED_THROUGHPUT": "LPCM['default']['TABLE'] = {'read_units': ..., "
    "'write_units': ...}",
    "LPCM_TEST_USE_LOCAL_CACHE_ONLY": "LPCM['default']['TEST']['STORE'] = 'scratch' or 'real'",
    "LPCM_DEBUG_USE_LOCAL_CACHE_ONLY": "LPCM['default']['CACHE_ONLY'] = DEBUG",
}
"""The names of 2012, each with what to write today."""

SETTINGS = frozenset({"LPCM", "CACHES", "DEBUG", *OLD})
"""What maps must follow when it changes."""

_CREDENTIALS = {
    "LPCM_DYNAMODB_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "LPCM_DYNAMODB_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
}
_MEMCACHED = "django.core.cache.backends.memcached."
_warned: set[str] = set()


def aliases() -> Mapping[str, Mapping[str, Any]]:
    """Return the aliases as the settings have them, those of 2012 as today's."""
    given: Any = getattr(settings, "LPCM", None)
    if given is None:
        return _of_2012()
    if not isinstance(given, dict):
        raise ConfigError(f"LPCM must be a dict of aliases, not {_shown(given)}")
    _hide(given)
    return given  # pyright: ignore[reportUnknownVariableType]  # the user's


def hide_passwords() -> None:
    """Let the settings show no password from now on, whatever else is wrong with them."""
    given: Any = getattr(settings, "LPCM", None)
    if isinstance(given, dict):
        _hide(given)  # pyright: ignore[reportUnknownArgumentType]  # the user's


def _hide(given: dict[Any, Any]) -> None:
    """Put in place of each URL with a password the same text with a repr that shows none.

    The settings themselves then show no password, on Django's debug page and elsewhere.
    """
    for key, value in given.items():
        if type(value) is dict:
            _hide(value)
        elif key == "cache_key" and type(value) in {str, bytes}:
            given[key] = config.conceal_key(value)
        elif type(value) is str:
            given[key] = config.conceal(value)


def _shown(given: object) -> str:
    """Return what a message may show of a setting that is wrong as a whole."""
    return repr(config.Url(given)) if isinstance(given, str) else f"a {type(given).__name__}"


def find(alias: str) -> config.Config | None:
    """Return an alias's configuration, None where the settings do not name it."""
    known = aliases()
    return check(alias, known[alias]) if alias in known else None


def check(alias: str, given: Any) -> config.Config:
    """Return the configuration of one entry of ``LPCM``; ConfigError says what is wrong."""
    if not isinstance(given, dict):
        raise ConfigError(f"LPCM[{alias!r}] must be a dict, not {_shown(given)}")
    if unknown := sorted(map(repr, given.keys() - KEYS)):
        known = ", ".join(sorted(KEYS))
        raise ConfigError(f"LPCM[{alias!r}]: unknown key {unknown[0]}: use one of {known}")
    _check_types(alias, given)
    _check_shown(alias, given.get("ADMIN_SHOW", ()))
    options = dict(given.get("OPTIONS") or {})
    cache = given.get("CACHE")
    cache = _translated(cache) if cache else None
    if cache is not None:
        options["cache"] = cache
    found = config.parse_again(given.get("STORE") or config.DEFAULT_URL, options)
    return config.cached_only(found) if given.get("CACHE_ONLY") else found


def _check_types(alias: str, given: dict[str, Any]) -> None:
    for key, (kind, words) in _TYPES.items():
        value = given.get(key)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"LPCM[{alias!r}]: {key} is {words}, not {_shown(value)}")
    for key, parts in _PARTS.items():
        if unknown := sorted(map(repr, (given.get(key) or {}).keys() - parts)):
            known = ", ".join(sorted(parts))
            raise ConfigError(f"LPCM[{alias!r}]: {key} has no {unknown[0]}: use {known}")
    units = given.get("TABLE") or {}
    if units and (units.keys() != _PARTS["TABLE"] or not all(map(_is_number, units.values()))):
        raise ConfigError(f"LPCM[{alias!r}]: TABLE has read_units and write_units, ints above 0")


def _is_number(value: object) -> bool:
    return type(value) is int and value > 0


def _translated(cache: str) -> str:
    """Return a URL for our own memcached client where the ``CACHES`` alias is memcached."""
    scheme, found, alias = cache.partition("://")
    if scheme != "django" or not found:
        return cache
    alias = config.Url(alias)  # a URL that was meant for another scheme, perhaps
    entry = settings.CACHES.get(alias)
    if entry is None:
        shown = config.redact(cache)
        raise ConfigError(f"CACHES has no alias {alias!r}, which {shown!r} names")
    if _is_ours(entry):
        raise ConfigError(
            f"CACHES[{alias!r}] keeps its entries in maps, so that no map can be cached in it: "
            "write 'CACHE': 'memcached://host:11211'"
        )
    if not entry.get("BACKEND", "").startswith(_MEMCACHED):
        raise ConfigError(
            f"CACHES[{alias!r}] is no memcached, and no other cache of Django's has the "
            "compare-and-set that maps need: write 'CACHE': 'memcached://host:11211'"
        )
    location = entry.get("LOCATION", "127.0.0.1:11211")
    servers = location.replace(";", ",").split(",") if isinstance(location, str) else location
    if len(servers) == 1 and servers[0].startswith(("unix:", "/")):
        return f"memcached+unix://{servers[0].removeprefix('unix:')}"
    return f"memcached://{','.join(server.strip() for server in servers)}"


# What the admin keeps to itself


def _check_shown(alias: str, names: Any) -> None:
    # Of a str every letter would be a name, and of "cache" a part of it.
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise ConfigError(f"LPCM[{alias!r}]: ADMIN_SHOW is a list of names of maps, not {names!r}")


def private_maps(alias: str) -> frozenset[str]:
    """Return the names of maps that the admin does not show in this alias.

    They hold the sessions and the caches of Django, of whatever alias: two aliases may be one
    store.
    """
    from lpcm.django.sessions import MAP

    given: Any = aliases().get(alias, {})
    shown = given.get("ADMIN_SHOW", ()) if isinstance(given, dict) else ()
    _check_shown(alias, shown)
    return frozenset({MAP, *_cache_maps()}) - frozenset(shown)


def _cache_maps() -> Iterator[str]:
    for _, entry in our_caches():
        yield entry.get("LOCATION") or "cache"


def our_caches() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the entries of ``CACHES`` that are maps, each with its alias."""
    for alias, entry in settings.CACHES.items():
        if _is_ours(entry):
            yield alias, entry


def _is_ours(entry: Mapping[str, Any]) -> bool:
    from lpcm.django.cache import LPCMCache

    try:
        backend = import_string(entry.get("BACKEND", ""))
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, LPCMCache)


# 2012


def old_names() -> list[str]:
    """Return the names of 2012 that the settings still have, and that count."""
    if getattr(settings, "LPCM", None) is not None:
        return []
    return [name for name in OLD if hasattr(settings, name)]


def _of_2012() -> Mapping[str, Mapping[str, Any]]:
    names = old_names()
    for name in names:
        if name not in _warned:
            _warned.add(name)
            text = f"{name} is a setting of 2012, still read: write {OLD[name]}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
    if not names:
        return {}
    return {"default": dict(_translated_2012())}


def _translated_2012() -> Iterator[tuple[str, Any]]:
    for name, variable in _CREDENTIALS.items():
        # In no variable here, which a debug page would show.
        if getattr(settings, name, None):
            os.environ.setdefault(variable, getattr(settings, name))
    if table := getattr(settings, "LPCM_DYNAMODB_TABLE_NAME", None):
        yield "STORE", f"dynamodb://{table}"
    cache = next((alias for alias in ("lpcm", "default") if alias in settings.CACHES), None)
    backend = settings.CACHES[cache].get("BACKEND", "") if cache else ""
    if cache and (cache == "lpcm" or backend.startswith(_MEMCACHED)):
        yield "CACHE", f"django://{cache}"
        if (timeout := getattr(settings, "LPCM_CACHE_TIMEOUT", None)) is not None:
            yield "OPTIONS", {"cache_ttl": timeout}
    if throughput := getattr(settings, "LPCM_PROVISIONED_THROUGHPUT", None):
        read, write = throughput.values() if isinstance(throughput, dict) else throughput
        yield "TABLE", {"read_units": read, "write_units": write}
    if not getattr(settings, "LPCM_TEST_USE_LOCAL_CACHE_ONLY", True):
        yield "TEST", {"STORE": "real"}
    if settings.DEBUG and getattr(settings, "LPCM_DEBUG_USE_LOCAL_CACHE_ONLY", False):
        yield "CACHE_ONLY", True


def tests_use() -> str:
    """Return ``real`` where any alias asks for its own store in tests, else ``scratch``."""
    return _of_tests("STORE", "scratch", "real")


def tests_insulate() -> str:
    """Return ``run`` where any alias asks for one namespace for the whole run, else ``test``."""
    return _of_tests("INSULATE", "test", "run")


def _of_tests(key: str, usual: str, other: str) -> str:
    tests = [given.get("TEST") for given in aliases().values() if isinstance(given, dict)]
    wanted = {test.get(key, usual) for test in tests if isinstance(test, dict)} or {usual}
    if unknown := wanted - {usual, other}:
        raise ConfigError(f"LPCM's TEST[{key!r}] is {usual!r} or {other!r}, not {unknown.pop()!r}")
    return other if other in wanted else usual

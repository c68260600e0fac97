"""System checks: what is wrong with the settings, and what must not go into production.

They read settings and the environment and do no I/O: no file, no socket, no store.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import Error, Warning  # noqa: A004  # Django's own name
from django.utils.module_loading import import_string

from lpcm.config import find, redact
from lpcm.django import conf
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from django.core.checks import CheckMessage

    from lpcm.config import Config

__all__ = ["check_deployment", "check_settings"]

PAGE = "docs/howto/django.md"
_NEEDED = {"dynamodb": ("botocore", "httptools", "orjson")}
"""The packages without which a store opens nothing, by its scheme."""
_FILE = "sqlite:////var/lib/project/maps.sqlite3"


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check ``LPCM``, whatever the occasion."""
    return list(_settings())


def check_deployment(**_: Any) -> list[CheckMessage]:
    """Check what ``check --deploy`` asks about."""
    return list(_deployment())


def _settings() -> Iterator[CheckMessage]:
    old = conf.old_names()
    for name in old:
        yield _warning("W001", f"{name} is a setting of 2012.", f"Write {conf.OLD[name]}.")
    try:
        known = conf.aliases()
    except ConfigError as error:
        yield _error("E001", f"{error}.", "Make LPCM a dict of dicts, one for each alias.")
        return
    for asked in (conf.tests_use, conf.tests_insulate):
        try:
            asked()
        except ConfigError as error:
            yield _error("E001", f"{error}.", "Write one of the two.")
    if known and "default" not in known and not os.environ.get("LPCM_URL"):
        yield _warning(
            "W002",
            "LPCM has no alias 'default', so maps without using= live in lpcm.sqlite3, in the "
            "directory that each process is started in.",
            "Name one alias 'default', or set LPCM_URL in the environment.",
        )
    yield from _shown_passwords()
    for alias, given in known.items():
        if missing := _missing(given):
            yield _error(
                "E003",
                f"LPCM[{alias!r}] needs {missing}, which is not installed.",
                "Install what the extra of its store brings: `pip install 'lpcm[dynamodb]'`.",
            )
            continue
        try:
            conf.check(alias, given)
        except ConfigError as error:
            where = f"LPCM[{alias!r}]"
            words = str(error) if str(error).startswith(where) else f"{where}: {error}"
            yield _error("E002", f"{words}.", "Correct the URL, option or value.")
        except ImportError as error:  # an adapter of another distribution's
            text = f"LPCM[{alias!r}] needs {error.name}, which is not installed."
            yield _error("E003", text, "Install what its store or cache needs.")
        else:
            if not (old or given.get("STORE") or given.get("CACHE_ONLY")):
                yield _warning(
                    "W003",
                    f"LPCM[{alias!r}] has no STORE, so its maps live in lpcm.sqlite3, in the "
                    "directory that each process is started in.",
                    f"Give it a STORE: {_FILE!r}, or 'dynamodb://table?region=eu-west-1'.",
                )
    yield from _users(known)


def _missing(given: object) -> str:
    """Return the name of a package that the alias's store needs, and that is not here."""
    url = given.get("STORE") if isinstance(given, dict) else None
    scheme = url.partition("://")[0] if isinstance(url, str) else ""
    return next((name for name in _NEEDED.get(scheme, ()) if find_spec(name) is None), "")


def _users(known: Collection[str]) -> Iterator[CheckMessage]:
    """Check the settings that name an alias, or how a cache keeps its values."""
    aliases: dict[str, Any] = {
        f"CACHES[{name!r}]['OPTIONS']['ALIAS']": options.get("ALIAS", "default")
        for name, options in _our_caches()
    }
    if settings.SESSION_ENGINE == "lpcm.django.sessions":
        aliases["SESSION_LPCM_ALIAS"] = getattr(settings, "SESSION_LPCM_ALIAS", "default")
    for name, alias in aliases.items():
        if not isinstance(alias, str):
            kind = type(alias).__name__
            yield _error("E004", f"{name} is a {kind}, and no alias.", "Write an alias of LPCM.")
        elif alias not in known and not _is_configured(alias):
            yield _error(
                "E004",
                f"{name} is {alias!r}, and LPCM has no such alias.",
                f"Add LPCM[{alias!r}], or write one of {', '.join(map(repr, known))}.",
            )
    for name, options in _our_caches():
        codec = options.get("CODEC", "pickle")
        if codec not in ("pickle", "plain"):
            text = f"CACHES[{name!r}] has an unknown CODEC, {codec!r}."
            yield _error("E005", text, "Write 'pickle' or 'plain'.")


def _is_configured(alias: str) -> bool:
    """Tell whether ``lpcm.configure`` has set an alias that LPCM does not have."""
    try:
        find(alias)
    except ConfigError:
        return False
    return True


def _our_caches() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, given in conf.our_caches():
        yield name, given.get("OPTIONS") or {}


def _shown_passwords() -> Iterator[CheckMessage]:
    url = os.environ.get("LPCM_URL", "")
    if redact(url) == url or not settings.DEBUG:
        return
    from lpcm.django.debug import ReporterFilter

    if not issubclass(import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER), ReporterFilter):
        yield _warning(
            "W015",
            "LPCM_URL has a password, which Django's debug page shows among the environment.",
            "Set DEFAULT_EXCEPTION_REPORTER_FILTER = 'lpcm.django.debug.ReporterFilter'.",
        )


def _deployment() -> Iterator[CheckMessage]:
    namespace = os.environ.get("LPCM_NAMESPACE", "")
    if namespace.startswith("test-") or "LPCM_SCRATCH" in os.environ:
        yield _warning(
            "W010",
            "This environment is a test run's: LPCM_NAMESPACE or LPCM_SCRATCH is set.",
            "Unset both where the server starts.",
        )
    for alias, found in _valid():
        given = conf.aliases()[alias]
        if given.get("CACHE_ONLY") or found.scheme.startswith("memcached"):
            yield _warning(
                "W011",
                f"LPCM[{alias!r}] is cached only: entries vanish when memory is short, and "
                "with the cache.",
                "Give a STORE, and no CACHE_ONLY.",
            )
        elif found.scheme == "memory":
            yield _warning(
                "W012",
                f"LPCM[{alias!r}] lives in the memory of each process: none sees what "
                "another writes.",
                "Give a STORE that processes share.",
            )
        if _is_relative(given.get("STORE") or ""):
            yield _warning(
                "W016",
                f"LPCM[{alias!r}] is a file in the directory that each process is started in.",
                f"Write an absolute path, with four slashes: {_FILE!r}.",
            )
        if found.cache is not None and found.cache.scheme == "memory":
            yield _warning(
                "W013",
                f"LPCM[{alias!r}] is cached in each process by itself: readers are served "
                "what another process has overwritten.",
                "Give a memcached that all processes share, or no CACHE.",
            )
        elif found.cache is not None and found.scheme == "sqlite":
            yield _warning(
                "W017",
                f"LPCM[{alias!r}] is SQLite with a memcached in front, which makes reads slower: "
                "a hit takes more than twice the read that it saves.",
                "Remove CACHE: the file has a near cache of its own.",
            )
        if found.namespace.startswith("test-"):
            yield _warning(
                "W010",
                f"LPCM[{alias!r}] has a test run's namespace, {found.namespace!r}.",
                "Give a namespace of its own.",
            )
    yield from _codecs()


def _is_relative(store: str) -> bool:
    path = store.partition("sqlite:///")[2].partition("?")[0]
    return bool(path) and not os.path.isabs(path)  # noqa: PTH117  # a URL's, not a Path


def _codecs() -> Iterator[CheckMessage]:
    key = settings.SECRET_KEY
    insecure = len(key) < 50 or key.startswith("django-insecure-")
    for alias, options in _our_caches():
        if options.get("CODEC", "pickle") == "pickle" and insecure:
            yield _warning(
                "W014",
                f"CACHES[{alias!r}] keeps pickles, signed by an insecure SECRET_KEY: a writer "
                "of the table can run code here.",
                "Make SECRET_KEY long and secret, or set OPTIONS['CODEC'] to 'plain'.",
            )


def _valid() -> Iterator[tuple[str, Config]]:
    """Yield the aliases in which ``_settings`` finds no error."""
    try:
        known = conf.aliases()
    except ConfigError:
        return
    for alias, given in known.items():
        try:
            yield alias, conf.check(alias, given)
        except (ConfigError, ImportError):
            continue


def _error(number: str, message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint + _see(number), id=f"lpcm.{number}")


def _warning(number: str, message: str, hint: str) -> CheckMessage:
    return Warning(message, hint=hint + _see(number), id=f"lpcm.{number}")


def _see(number: str) -> str:
    page = _page()
    return f" See {page}#{number.lower()}" if page else ""


@cache
def _page() -> str:
    """Return the whole address of ``PAGE``: online, or in a checkout; "" where there is none."""
    for line in metadata("lpcm").get_all("Project-URL", ()):
        label, _, url = line.partition(", ")
        if label == "Documentation":
            return f"{url.removesuffix('docs/index.md')}{PAGE}"
    file = Path(__file__).parents[3] / PAGE
    return file.as_uri() if file.is_file() else ""

"""Configuration: from a URL and options to one checked, comparable ``Config``.

Knows text only: it opens nothing and touches no file. Every fault of a URL or an
option is a ``ConfigError`` here, before anything is opened or written. No message and no
repr shows a password: ``redact`` decides which parts of a URL may be shown.

Invariant: the path of a file in a ``Config`` is absolute. A relative one is taken from the
working directory of the moment by ``parse``, and from that of its first ``parse`` in this process
by ``parse_again``: so a map that parses its URL at each use keeps its file after ``os.chdir``.
A child of a fork inherits that; another program takes the path from its own working directory.

======================================= ==================================================
``sqlite:///lpcm.sqlite3``              a file, relative to the working directory (see above)
``sqlite:////var/lib/app/lpcm.sqlite3`` a file, absolute (four slashes, as in SQLAlchemy)
``memory://``                           this process only, private to the configuration
``memory://name``                       this process only, shared by name
``dynamodb://table``                    DynamoDB: any number of machines
``memcached://host1,host2``             cached only: entries may vanish
======================================= ==================================================

Options are in the URL's query or are arguments of ``configure``: ``namespace``, ``ttl``
(seconds), ``timeout`` (seconds a compare-and-set may try), ``cache_only`` (``true``: entries
live in the cache alone), ``compress`` (``zlib``, ``zstd`` or ``none``) with ``compress_over``
(bytes), and those of the store. A cache in
front of it is one more: ``cache=memcached://host1,host2``, with ``on_cache_error``
(``available`` or ``strict``), ``cache_ttl`` (seconds) and ``cache_key_file`` (a path; the key
itself, ``cache_key``, is in no URL). With ``near_cache`` (bytes) and ``max_stale`` (seconds) each
process keeps entries. The cache's own options are in its
URL: ``cache=memcached://host?timeout=0.5``, a second one behind ``%26`` for ``&``.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from lpcm import caches, stores
from lpcm.errors import ConfigError
from lpcm.ports.options import at_least_one, near_cache, one_of, truth
from lpcm.redact import Secret, Url, conceal, redact
from lpcm.system.records import NamedTuple
from lpcm.values.form import METHODS
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

__all__ = [
    "CACHED_ONLY",
    "DEFAULT_NAMESPACE",
    "DEFAULT_URL",
    "CacheConfig",
    "Config",
    "Url",
    "cache_secret",
    "cached_only",
    "conceal",
    "conceal_key",
    "parse",
    "parse_again",
    "redact",
    "scratch",
    "seconds",
]

DEFAULT_URL = "sqlite:///lpcm.sqlite3"
DEFAULT_NAMESPACE = "default"
CACHED_ONLY = "cached only "
"""The beginning of the path of a memory that replaces a cache."""
_BLANKS = re.compile(r"^[\x00-\x20]+|[\t\r\n]+")
"""Characters that a file or a shell may add to a URL, and that urlsplit leaves out, too."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
DEFAULT_TIMEOUT = 10.0
DEFAULT_CACHE_TTL = 3600
MAX_CACHE_TTL = 30 * 24 * 3600  # memcached takes a longer one for a date

LEAST_KEY = 16
_MOST_KEY = 65_536

_first: dict[str, str] = {}
"""Each relative path that was parsed, as it was resolved the first time."""


class CacheConfig(NamedTuple):
    """A checked cache URL."""

    scheme: str
    path: str
    options: tuple[tuple[str, object], ...] = ()

    def __repr__(self) -> str:
        return _shown(self)


class Config(NamedTuple):
    """A checked configuration; equal ones share one open engine."""

    scheme: str
    path: str
    store_options: tuple[tuple[str, object], ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    ttl: float | None = None
    timeout: float = DEFAULT_TIMEOUT
    cache: CacheConfig | None = None
    strict: bool = False
    """Whether an operation fails where the cache cannot be reached."""
    cache_ttl: int = DEFAULT_CACHE_TTL
    """Seconds a cached item lives: the bound on everything outside the promise."""
    cache_key: Secret | None = None
    """What items are sealed with; a letter for each byte."""
    cache_key_file: str | None = None
    """The absolute path of the file that holds it."""
    near_cache: int = 0
    """Bytes of entries that each process keeps, where the store is no file."""
    max_stale: float | None = None
    """Seconds for which they are served."""
    compress: str = "none"
    """What values are compressed with: see ``values.compress``."""
    compress_over: int = 1024
    """Bytes of an encoded value: smaller ones are not compressed."""

    @property
    def location(self) -> str:
        """The URL without its options and without a password, for messages."""
        if self.scheme == "sqlite":
            return f"sqlite:///{self.path}"
        return redact(f"{self.scheme}://{self.path}")

    def __repr__(self) -> str:
        return _shown(self)


def _shown(settings: CacheConfig | Config) -> str:
    """Return the repr of a NamedTuple, without the secrets in its texts."""
    fields = ", ".join(f"{name}={_hidden(value)!r}" for name, value in settings._asdict().items())
    return f"{type(settings).__name__}({fields})"


def _hidden(value: object) -> object:
    if isinstance(value, Secret):
        return value
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_hidden(part) for part in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # options
    return conceal(value) if isinstance(value, str) else value


_LONGEST = 1e15
"""Seconds: thirty million years. Stores and clocks can hold any shorter time."""


def seconds(duration: float | timedelta, what: str = "ttl") -> float:
    """Return a positive, finite duration in seconds.

    >>> from datetime import timedelta
    >>> seconds(timedelta(minutes=2))
    120.0
    >>> seconds(-1)
    Traceback (most recent call last):
        ...
    ValueError: ttl must be a positive, finite number of seconds or timedelta, not -1
    """
    amount: Any = duration
    if hasattr(amount, "total_seconds"):
        amount = amount.total_seconds()
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"{what} must be a number of seconds or a timedelta, not {duration!r}")
    if not 0 < amount < _LONGEST:  # NaN is neither
        raise ValueError(
            f"{what} must be a positive, finite number of seconds or timedelta, not {duration!r}"
        )
    return float(amount)


def parse(url: str, options: Mapping[str, object] | None = None) -> Config:
    """Check a URL and options, which win over the URL's query.

    >>> parse("memory://?ttl=60").ttl
    60.0
    >>> parse("redis://localhost")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: unknown scheme 'redis' in 'redis://localhost': use one of ...
    >>> parse("memory://?tll=60")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: unknown option 'tll' for memory: use one of ..., ttl
    """
    return _parse(url, options, again=False)


def parse_again(url: str, options: Mapping[str, object] | None = None) -> Config:
    """Parse a URL that this process parses at each use: a relative path keeps its first meaning.

    >>> before = parse_again("sqlite:///shop.sqlite3")
    >>> os.mkdir("elsewhere")
    >>> os.chdir("elsewhere")
    >>> parse_again("sqlite:///shop.sqlite3") == before
    True
    >>> parse("sqlite:///shop.sqlite3") == before
    False
    """
    return _parse(url, options, again=True)


def _parse(url: str, options: Mapping[str, object] | None, *, again: bool) -> Config:
    # Passwords are hidden in these frames too, which a traceback or a page made of it shows.
    url = conceal(str(url))
    options = {
        name: _secret(value) if name == "cache_key" else _hidden(value)
        for name, value in (options or {}).items()
    }
    try:
        return _parsed(url, options, again=again)
    except ConfigError as error:
        raise error.with_traceback(None) from None


def _parsed(url: str, options: Mapping[str, object], *, again: bool) -> Config:
    scheme, path, query = _split(url, "store", stores.SCHEMES, DEFAULT_URL)
    if scheme == "sqlite":
        path = _file(url, path, again=again)
    if "cache_key" in query:
        raise ConfigError(
            f"a cache_key in {redact(url)!r}: give it to configure(), or in LPCM_CACHE_KEY or "
            "LPCM_CACHE_KEY_FILE; a URL may name a file, cache_key_file="
        )
    given: dict[str, object] = {**query, **options}
    adapter = stores.adapter(scheme)
    parsers = {**_COMMON, **adapter.OPTIONS}
    visible = _visible(url, {name: o for name, o in options.items() if name != "cache_key"})
    objects: frozenset[str] = getattr(adapter, "OBJECTS", frozenset())
    checked = {
        name: value
        if (name in objects and not isinstance(value, str)) or (name, value) == ("cache_key", None)
        else _option(scheme, parsers, name, value, visible)
        for name, value in given.items()
    }
    _check_key(checked)
    own = adapter.OPTIONS.keys()
    _check_near(scheme, checked, own)
    common: dict[str, Any] = {
        _FIELDS.get(name, name): checked.pop(name)
        for name in _COMMON.keys() - own
        if name in checked
    }
    alone = common.pop("cache_only", False)
    settings = Config(scheme, path, tuple(sorted(checked.items())), **common)
    return cached_only(settings) if alone else settings


def cached_only(settings: Config) -> Config:
    """Return the same with its cache for a store; in this process's memory without one.

    >>> cached_only(parse("sqlite:///shop.sqlite3?ttl=60&cache=memcached://host")).location
    'memcached://host'
    >>> cached_only(parse("sqlite:///shop.sqlite3")).scheme
    'memory'
    """
    if settings.scheme == "memory" or settings.scheme.startswith("memcached"):
        return settings._replace(cache=None)
    scheme, path, options = settings.cache or CacheConfig("memory", "")
    kept = {name: getattr(settings, name) for name in _KEPT_ALONE}
    if not scheme.startswith("memcached"):
        return Config("memory", f"{CACHED_ONLY}{settings.location}", **kept)
    near, stale = settings.near_cache, settings.max_stale
    return Config(scheme, path, options, near_cache=near, max_stale=stale, **kept)


def scratch(settings: Config, directory: str) -> Config:
    """Return the same as a throw-away file in the directory, one for each place; memory stays.

    >>> scratch(parse("sqlite:///shop.sqlite3?ttl=60"), "/tmp/tests").ttl
    60.0
    >>> scratch(parse("memory://"), "/tmp/tests").scheme
    'memory'
    """
    from hashlib import sha256  # 3 ms to import, for tests

    if settings.scheme == "memory" or settings.path.startswith(directory):
        return settings._replace(cache=None)
    name = sha256(f"{settings.scheme}\0{settings.path}".encode()).hexdigest()[:16]
    return settings._replace(
        scheme="sqlite",
        path=os.path.join(directory, f"{name}.sqlite3"),  # noqa: PTH118  # see _file
        store_options=(("synchronous", "normal"),),
        cache=None,
        near_cache=0,
        max_stale=None,
    )


def _cache(url: str) -> CacheConfig | None:
    if url == "none":
        return None
    scheme, path, query = _split(url, "cache", caches.SCHEMES, "memcached://localhost:11211")
    parsers = caches.adapter(scheme).OPTIONS
    visible = _visible(url, {})
    checked = {
        name: _option(scheme, parsers, name, value, visible) for name, value in query.items()
    }
    return CacheConfig(scheme, path, tuple(sorted(checked.items())))


def _split(
    url: str, what: str, schemes: Collection[str], example: str
) -> tuple[str, str, dict[str, str]]:
    if "://" not in url:
        raise ConfigError(f"not a {what} URL: {redact(url)!r}: write something like {example!r}")
    from urllib.parse import parse_qsl, unquote  # 5 ms to import, for the first map used

    # Not urlsplit: whether it takes a list of hosts, some in brackets, is another matter in each
    # version of Python. What is no host, the adapter finds.
    head, _, rest = _BLANKS.sub("", url).partition("://")
    scheme = head.lower() if _SCHEME.fullmatch(head) else ""
    if "#" in rest:
        raise ConfigError(f"a # in {redact(url)!r}, which ends a URL: write %23 for it")
    if scheme not in schemes:
        known = ", ".join(sorted(schemes))
        raise ConfigError(f"unknown scheme {scheme!r} in {redact(url)!r}: use one of {known}")
    rest, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(pairs) != len(dict(pairs)):
        raise ConfigError(f"an option is given twice in {redact(url)!r}")
    path = unquote(rest)
    is_file = scheme in {"sqlite", "memcached+unix"} and path.startswith("/")
    return scheme, path if is_file else conceal(path), dict(pairs)


def _file(url: str, path: str, *, again: bool) -> str:
    if not path.startswith("/") or path == "/":
        raise ConfigError(
            f"no file in {redact(url)!r}: write sqlite:///relative/path or sqlite:////absolute/path"
        )
    if path == "/:memory:":
        raise ConfigError("for a map in memory, use memory:// instead of sqlite:///:memory:")
    relative = path[1:]
    if again and relative in _first:
        return _first[relative]
    try:
        absolute = os.path.abspath(relative)  # noqa: PTH100  # pathlib would cost import time
    except OSError as error:
        raise ConfigError(
            f"{redact(url)!r} is relative to the working directory, which is not there any more: "
            "write sqlite:////absolute/path"
        ) from error
    if relative != absolute:
        _first.setdefault(relative, absolute)
    return absolute


def _visible(url: str, options: Mapping[str, object]) -> str:
    """Return all parts of the URL and the options that a message may show.

    A password with an unescaped ``?`` or ``&`` looks like an option from there on: that name and
    value are left out.
    """
    from urllib.parse import unquote_plus  # see _split

    shown = redact(url)
    given = [f"{name} {redact(_text(value))}" for name, value in options.items()]
    return " ".join((shown, unquote_plus(shown), *given))


def _option(
    scheme: str,
    parsers: Mapping[str, Callable[[str], object]],
    name: str,
    value: object,
    visible: str,
) -> object:
    if name not in parsers:
        known = ", ".join(sorted(parsers))
        shown = name if name in visible else "***"
        raise ConfigError(f"unknown option {shown!r} for {scheme}: use one of {known}")
    text = value if isinstance(value, str) else _text(value)
    try:
        return parsers[name](text)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        given = redact(f"{name}={text}").partition("=")[2]
        given = given if given in visible else "***"
        reason = error if given == text else "it cannot be used"  # the reason may quote it
        raise ConfigError(f"option {name}={given!r} of {scheme}: {reason}") from error


def _text(value: object) -> str:
    total_seconds = getattr(value, "total_seconds", None)
    try:
        return str(total_seconds() if total_seconds else value)
    except ValueError:  # an int of more digits than the process writes
        return "a huge number"


def conceal_key(value: str | bytes) -> Secret:
    """Return a cache key as text that no repr shows, a letter for each byte."""
    if isinstance(value, Secret):
        return value
    return Secret((value.encode() if isinstance(value, str) else value).decode("latin-1"))


def _secret(value: object) -> Secret | None:
    if value is None:
        return None
    if not isinstance(value, (str, bytes)):
        raise ConfigError(f"a cache_key is bytes or text, not a {type(value).__name__}")
    found = conceal_key(value)
    if len(found) < LEAST_KEY:
        raise ConfigError(
            f"a cache_key has at least {LEAST_KEY} bytes, random ones: `openssl rand -hex 32`"
        )
    return found


def _key_file(text: str) -> str:
    return os.path.abspath(text)  # noqa: PTH100  # see _file


def cache_secret(settings: Config) -> bytes | None:
    """Return the key that cached items are sealed with: the configured one, else the process's.

    That is ``LPCM_CACHE_KEY``, or the content of the file ``LPCM_CACHE_KEY_FILE``. None: there is
    no key, and items are not sealed. **Raises** ConfigError for a file without a usable key.
    """
    found, path = settings.cache_key, settings.cache_key_file
    if found is None and path is None:
        found = _secret(os.environ.get("LPCM_CACHE_KEY") or None)
        path = os.environ.get("LPCM_CACHE_KEY_FILE") or None
        if found is not None and path is not None:
            raise ConfigError("LPCM_CACHE_KEY and LPCM_CACHE_KEY_FILE are both set: unset one")
    if path is not None:
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # pathlib costs import time
                found = _secret(file.read(_MOST_KEY).strip())
        except OSError as error:
            raise ConfigError(f"the cache key's file {path!r}: {error.strerror}") from None
    return None if found is None else found.encode("latin-1")


def _check_key(checked: dict[str, object]) -> None:
    if checked.get("cache_key", "") is None:
        del checked["cache_key"]
    if "cache_key" in checked and "cache_key_file" in checked:
        raise ConfigError("cache_key and cache_key_file are one too many: give one of them")


def _check_near(scheme: str, checked: dict[str, object], own: Collection[str]) -> None:
    """Refuse a near cache that is no use, or that has no bound."""
    if "near_cache" in own:
        if "max_stale" in checked:
            raise ConfigError(
                f"max_stale is not for {scheme}: what its near cache serves is never stale, so "
                "there is nothing to bound; leave it out"
            )
        return
    size, bound = checked.get("near_cache"), checked.get("max_stale")
    if scheme == "memory" and (size or bound):
        raise ConfigError("near_cache and max_stale are not for memory: it is in the process")
    if (size and bound is None) or (bound is not None and size is None):
        raise ConfigError(
            f"near_cache and max_stale belong together for {scheme}: so many bytes of entries are "
            "kept in each process, and each is served for so many seconds; give both or neither"
        )


def _namespace(text: str) -> str:
    partition(text)
    return text


def _cache_ttl(text: str) -> int:
    length = int(text)
    if not 1 <= length <= MAX_CACHE_TTL:
        raise ValueError(f"use a whole number of seconds from 1 to {MAX_CACHE_TTL}")
    return length


_COMMON: Mapping[str, Callable[[str], object]] = {
    "cache": _cache,
    "cache_key": Secret,
    "cache_key_file": _key_file,
    "cache_only": truth,
    "cache_ttl": _cache_ttl,
    "compress": one_of(*METHODS),
    "compress_over": at_least_one("bytes"),
    "max_stale": lambda text: seconds(float(text), "max_stale"),
    "near_cache": near_cache,
    "namespace": _namespace,
    "on_cache_error": lambda text: one_of("available", "strict")(text) == "strict",
    "timeout": lambda text: seconds(float(text), "timeout"),
    "ttl": lambda text: seconds(float(text)),
}
_KEPT_ALONE = ("namespace", "ttl", "timeout", "compress", "compress_over")
"""Fields of a ``Config`` that are the same without its store."""
_FIELDS: Mapping[str, str] = {"on_cache_error": "strict"}
"""Options whose value has another name in ``Config``."""

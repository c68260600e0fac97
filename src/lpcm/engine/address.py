"""Addresses: where the entries of a map are, in words another process understands.

A pickled map carries one: the resolved configuration, with the paths of files absolute and
without secrets. *Withheld* are the passwords of URLs and the objects given to ``configure``
(``client=``): the process that receives the address must be configured with them, too.

Knows ``Config`` and text: opens nothing. What an address means while tests run is decided by
``engine.insulation``. Invariant: no address holds a password or an object of the user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lpcm import caches, stores
from lpcm.engine.config import CacheConfig, Config, cached_only, parse
from lpcm.errors import ConfigError, PickleRefused
from lpcm.system import process
from lpcm.system.records import NamedTuple
from lpcm.values.keys import partition
from lpcm.values.path import shown as short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Address", "this_process"]

_HIDDEN = "***"
_LOCAL = frozenset({"memory", "sqlite"})
"""Schemes whose path holds no login."""
_PLAIN = (str, int, float, bool)
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "scheme": (str,),
    "path": (str,),
    "store_options": (dict,),
    "namespace": (str,),
    "ttl": (float, int),
    "timeout": (float, int),
    "cache": (dict,),
    "strict": (bool,),
    "cache_ttl": (int,),
    "cache_key_file": (str,),
    "near_cache": (int,),
    "max_stale": (float, int),
    "compress": (str,),
    "compress_over": (int,),
    "alias": (str,),
    "in_namespace": (str,),
    "withheld": (tuple,),
    "process": (str,),
    "insulated": (bool,),
}
"""The fields that a packed address may have, with their types."""

_token = ""


class Address(NamedTuple):
    """Where the entries of a map are."""

    settings: Config
    """The configuration, a hidden password written ``***``."""
    namespace: str
    """The namespace the map was in: LPCM_NAMESPACE where that was set."""
    alias: str | None = None
    """The alias it was configured under; None: it was given as a URL."""
    withheld: tuple[str, ...] = ()
    """The parts of the configuration that are missing."""
    process: str | None = None
    """The process whose memory holds the entries."""
    insulated: bool = False
    """Whether it was pickled by a test."""

    @classmethod
    def of(cls, settings: Config, namespace: str, alias: str | None, *, forgets: bool) -> Address:
        """Return the address of a configuration.

        ``forgets``: the map may lose its entries, so that any process's memory will do.
        """
        shown, withheld = _public(settings)
        own = shown.scheme == "memory" and not forgets
        where = this_process() if own else None
        return cls(shown, namespace, alias, withheld, where)

    def complete(self, known: Iterable[Config]) -> Config:
        """Return the configuration with its withheld parts, taken from a known one."""
        if not self.withheld:
            return self.settings
        for one in known:
            for candidate in (one, cached_only(one)):
                shown, withheld = _public(candidate)
                if (withheld, *_parts(shown)) == (self.withheld, *_parts(self.settings)):
                    return self.settings._replace(
                        path=candidate.path,
                        store_options=candidate.store_options,
                        cache=candidate.cache,
                        cache_key=candidate.cache_key,
                    )
        missing = " and ".join(self.withheld)
        how = "" if self.alias is None else f", using={self.alias!r}"
        raise PickleRefused(
            f"a pickled map of {self.settings.location} came without the {missing}, which no "
            f"pickle holds: call lpcm.configure({self.settings.location!r}, ...{how}) with it, and "
            "the same options, in this process too"
        )

    def pack(self) -> dict[str, object]:
        """Return the address as a dict of Python's own types, without fields that are defaults."""
        fields: dict[str, object] = {
            name: value
            for name, value in self.settings._asdict().items()
            if value != Config._field_defaults.get(name)
        }
        if "store_options" in fields:
            fields["store_options"] = dict(self.settings.store_options)
        if self.settings.cache is not None:
            scheme, path, options = self.settings.cache
            fields["cache"] = {"scheme": scheme, "path": path, "options": dict(options)}
        if self.namespace != self.settings.namespace:
            fields["in_namespace"] = self.namespace
        for name in ("alias", "withheld", "process", "insulated"):
            if value := getattr(self, name):
                fields[name] = value
        return fields

    @classmethod
    def unpack(cls, fields: object) -> Address:
        """Return the address that was packed. **Raises** PickleRefused for fields that make none.

        >>> Address.unpack({"scheme": "sqlite", "path": "/srv/shop.sqlite3"}).settings.location
        'sqlite:////srv/shop.sqlite3'
        >>> Address.unpack({"scheme": "sqlite", "path": "shop.sqlite3"})
        Traceback (most recent call last):
            ...
        lpcm.errors.PickleRefused: a pickled map has no absolute path: 'shop.sqlite3'
        """
        given = typed(fields, _FIELDS, required=("scheme", "path"))
        own = {name: given.pop(name, None) for name in ("in_namespace", "alias", "process")}
        withheld = given.pop("withheld", ())
        if not all(type(name) is str for name in withheld):
            raise PickleRefused(f"a pickled map has withheld {withheld!r}")
        insulated = given.pop("insulated", False)
        try:
            settings = _settings(given)
            namespace = own["in_namespace"] or settings.namespace
            partition(namespace)
        except ConfigError as error:
            raise PickleRefused(f"a pickled map is of no use here: {error}") from error
        return cls(settings, namespace, own["alias"], withheld, own["process"], insulated)


def typed(
    fields: object, types: Mapping[str, tuple[type, ...]], required: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a copy of the dict; PickleRefused where a field is unknown or of another type."""
    if type(fields) is not dict:
        raise PickleRefused(f"a pickled map has a {type(fields).__name__} for its fields")
    found: dict[str, Any] = dict(fields)  # pyright: ignore[reportUnknownArgumentType]  # it is checked here
    for name, value in found.items():
        if name not in types:
            raise PickleRefused(
                f"a pickled map has {name!r}, which this lpcm does not know: it was pickled by a "
                "later one; upgrade the processes that receive maps before those that send them"
            )
        if type(value) not in types[name]:
            raise PickleRefused(f"a pickled map has the {name} {short(value)}")
    for name in required:
        if name not in found:
            raise PickleRefused(f"a pickled map has no {name}")
    return found


def this_process() -> str:
    """Return a random name of this process, which its forks do not share."""
    global _token  # noqa: PLW0603  # made when first asked for
    if not process.same[0]:
        process.forked()
    _token = _token or os.urandom(8).hex()
    return _token


def _forget() -> None:
    global _token  # noqa: PLW0603  # see this_process
    _token = ""


process.after_fork_in_child(_forget)


def _public(settings: Config) -> tuple[Config, tuple[str, ...]]:
    """Return the configuration without its secrets, and the names of these."""
    withheld: list[str] = []
    adapter: Any = stores.adapter(settings.scheme)
    objects = getattr(adapter, "OBJECTS", ())
    options = _absolute(adapter, settings.store_options)
    if hasattr(adapter, "resolved"):
        options = tuple(sorted(adapter.resolved(dict(options)).items()))
    withheld += (f"option {name!r}" for name, _ in options if name in objects)
    options = tuple((name, value) for name, value in options if name not in objects)
    path = _hide(settings.scheme, settings.path, "store", withheld)
    cache = settings.cache
    if cache is not None:
        hidden = _hide(cache.scheme, cache.path, "cache", withheld)
        found = _absolute(caches.adapter(cache.scheme), cache.options)
        cache = CacheConfig(cache.scheme, hidden, found)
    if settings.cache_key is not None:
        withheld.append("option 'cache_key'")
    shown = settings._replace(path=path, store_options=options, cache=cache, cache_key=None)
    return shown, tuple(withheld)


def _parts(settings: Config) -> tuple[object, ...]:
    """Return the parts that identify the store and the cache."""
    return settings.scheme, settings.path, settings.store_options, settings.cache


def _hide(scheme: str, path: str, what: str, withheld: list[str]) -> str:
    login, at, hosts = path.rpartition("@")
    user, colon, _ = login.partition(":")
    if scheme in _LOCAL or path.startswith("/") or not (at and colon):
        return path
    withheld.append(f"password of the {what}")
    return f"{user}:{_HIDDEN}@{hosts}"


def _absolute(
    adapter: Any, options: tuple[tuple[str, object], ...]
) -> tuple[tuple[str, object], ...]:
    files = getattr(adapter, "FILES", ())
    return tuple(
        (name, os.path.abspath(str(value)) if name in files else value)  # noqa: PTH100  # see config
        for name, value in options
    )


def _settings(given: dict[str, Any]) -> Config:
    """Return the configuration as ``parse`` checks it."""
    scheme, path = given.pop("scheme"), given.pop("path")
    if scheme == "sqlite" and not os.path.isabs(path):  # noqa: PTH117  # see config
        raise PickleRefused(f"a pickled map has no absolute path: {path!r}")
    options = {**_plain(given.pop("store_options", {})), **given}
    if "strict" in options:
        options["on_cache_error"] = "strict" if options.pop("strict") else "available"
    cache = options.pop("cache", None)
    settings = parse(f"{scheme}:////-", options)._replace(path=path)
    return settings if cache is None else settings._replace(cache=_cache(cache))


def _cache(fields: dict[str, Any]) -> CacheConfig | None:
    from urllib.parse import urlencode  # 5 ms to import, as in config

    types = {"scheme": (str,), "path": (str,), "options": (dict,)}
    given = typed(fields, types, required=types)
    query = urlencode(_plain(given["options"]))
    cache = parse("memory://", {"cache": f"{given['scheme']}://-?{query}"}).cache
    return None if cache is None else cache._replace(path=given["path"])


def _plain(options: dict[Any, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if type(name) is not str or type(value) not in _PLAIN:
            raise PickleRefused(f"a pickled map has the option {name!r}: {short(value)}")
    return options

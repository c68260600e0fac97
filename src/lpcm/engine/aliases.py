"""Aliases: the process's configuration, and the engine that an alias or a URL leads to.

An alias is set by ``configure``, by a framework's settings (``source``), or by ``LPCM_URL``.
Knows no map. Invariant: ``resolve`` alone finds engines, so that insulation redirects them all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lpcm.coherence.catalogue import DENIED
from lpcm.engine import config, state
from lpcm.engine.drive import run
from lpcm.engine.engine import Engine
from lpcm.engine.insulation import fence, redirected, watch
from lpcm.engine.shared import keep, shared
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "MapNotFound",
    "amaps",
    "asked",
    "configure",
    "configured",
    "maps",
    "resolve",
    "selected",
    "source",
]

_aliases: dict[str, config.Config] = {}
_source: Callable[[str], config.Config | None] | None = None


def configure(url: str, *, using: str = "default", **options: object) -> None:
    """Say where the maps of an alias live. Opens nothing; maps made before follow.

    Maps that arrived by a pickle stay in the store they came from.

    Without it the default alias is ``LPCM_URL`` from the environment, else
    ``sqlite:///lpcm.sqlite3``. Options: see ``lpcm.engine.config``. A relative path is resolved
    here and now; that of the default alias, or of ``LPCM(name, url=...)``, at its first use.

    **Raises** ``ConfigError`` for an unknown scheme or option, listing the valid ones.

    >>> configure("memory://", using="scratch", ttl=60)
    >>> configure("memory://", using="scratch", speed=11)
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: unknown option 'speed' for memory: use one of ...
    """
    settings = config.parse(url, options)
    with state.lock():
        _aliases[using] = settings
        if not state.fence:
            fence(None)
        state.refresh()


def source(find: Callable[[str], config.Config | None]) -> None:
    """Look every alias that ``configure`` has not set up by ``find``, in a framework's settings."""
    global _source  # noqa: PLW0603  # see state.refresh
    with state.lock():
        _source = find
        state.refresh()


def configured() -> list[config.Config]:
    """Return the configuration of each alias that ``configure`` has set."""
    return list(_aliases.values())


def resolve(
    using: str | Engine | config.Config,
    url: str | None,
    *,
    cache_only: bool = False,
    cache_timeout: float | None = None,
    for_map: bool = False,
) -> Engine:
    """Return the open engine of an alias or URL, opening it if need be.

    It stays open until ``lpcm.close()``; ``for_map``: until its maps are closed.

    ``cache_only``: the engine whose store is the cache of that alias or URL. ``cache_timeout``:
    the seconds that entries live there, or, without ``cache_only``, that they stay cached.
    """
    if isinstance(using, Engine):
        if cache_only or cache_timeout is not None:
            raise ConfigError(
                "cache_only= and cache_timeout= go with an alias or a URL: open the Engine with "
                "the options cache_only, ttl and cache_ttl instead"
            )
        return using
    with state.lock():
        wanted = asked(using, url, cache_only=cache_only, cache_timeout=cache_timeout)
        engine = shared(redirected(wanted))
        if not for_map:
            keep(engine)
        return engine


def asked(
    using: str | config.Config,
    url: str | None,
    *,
    cache_only: bool = False,
    cache_timeout: float | None = None,
) -> config.Config:
    """Return the configuration of an alias or URL, before ``redirected`` sends it elsewhere."""
    watch()
    if isinstance(using, config.Config):
        return using
    found = config.parse_again(url) if url is not None else _settings(using)
    if cache_only:
        found = config.cached_only(found)
        return found._replace(ttl=cache_timeout or found.ttl)
    if cache_timeout is not None:
        return found._replace(cache_ttl=max(1, int(cache_timeout)))
    return found


def _settings(using: str) -> config.Config:
    if using in _aliases:
        return _aliases[using]
    if _source is not None and (settings := _source(using)) is not None:
        return settings
    if using != "default":
        known = ", ".join(sorted({"default", *_aliases}))
        raise ConfigError(f"unknown alias {using!r}: lpcm.configure() it, or use one of {known}")
    return config.parse_again(os.environ.get("LPCM_URL") or config.DEFAULT_URL)


def maps(*, using: str | Engine = "default") -> list[str]:
    """Return the names of the maps that have ever been written, sorted.

    **Cost**: one read of the catalogue.

    >>> from lpcm import LPCM
    >>> LPCM("pets")["rex"] = "dog"
    >>> maps()
    ['pets']
    """
    engine = resolve(using, None)
    return [info.name for info in run(engine.store.maps(engine.namespace))]


async def amaps(*, using: str | Engine = "default") -> list[str]:
    """Await ``maps``."""
    engine = resolve(using, None)
    stack = engine.awaitable()
    return [info.name for info in await stack.drive(stack.store.maps(engine.namespace), reads=True)]


class MapNotFound(KeyError):
    """A map that was never written."""


async def selected(engine: Engine, names: Sequence[str] | None, now: float) -> Sequence[str]:
    """Return the names of these maps, None: of all of the namespace.

    **Cost**: a look at each in the catalogue. **Raises** MapNotFound for a map that was never
    written; StoreTooNew for one of a later format.
    """
    if names is None:
        names = [info.name for info in await engine.store.maps(engine.namespace)]
    for name in names:
        found = await engine.catalogue.look(engine.store, engine.partition(name), now)
        if found.info is None and found is not DENIED:
            raise MapNotFound(name)
    return names

"""Engines: a store, a codec, a clock and a policy, composed here and nowhere else.

An engine is opened from a ``Config`` on first use and shared by all maps of the process
that have an equal one. This module also keeps the process's configuration: the aliases
(``configure``) and which engines are open.

Invariant: a map asks ``epoch()`` before it uses what it resolved earlier; whatever changes
the meaning of an alias or the namespace calls ``refresh``. So a map made at import time
follows a later ``configure`` or ``testing.insulate``.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

from lpcm import config, keys, stores
from lpcm._run import SystemClock, run
from lpcm.codec import Codec
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from lpcm.ports import Clock, Store, Tier

__all__ = [
    "Engine",
    "close",
    "configure",
    "maps",
    "opened",
    "override",
    "refresh",
    "resolve",
    "restore",
]

epoch = 0
"""Raised by ``refresh``: what was resolved under a lower one must be resolved again."""

_lock = threading.RLock()
_aliases: dict[str, config.Config] = {}
_override: config.Config | None = None
_shared: dict[config.Config, Engine] = {}
_opened: WeakSet[Engine] = WeakSet()


class Engine:
    """A store ready to use, with what turns Python values into its cells.

    Maps find theirs by alias or URL; ``Engine.open`` makes one of your own, for
    ``LPCM(name, using=engine)``.
    """

    def __init__(
        self,
        store: Store,
        settings: config.Config,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.tier: Tier = store
        self.codec = Codec(store.form)
        self.clock: Clock = clock or SystemClock()
        self.location = settings.location
        self.ttl = settings.ttl
        self.timeout = settings.timeout
        self.catalogued: set[str] = set()
        self._namespace = settings.namespace
        _opened.add(self)

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, **options: object) -> Engine:
        """Open an engine shared with nobody.

        >>> engine = Engine.open("memory://")
        >>> engine
        <Engine memory:// ...>
        """
        return cls._of(config.parse(url, options), clock)

    @classmethod
    def _of(cls, settings: config.Config, clock: Clock | None = None) -> Engine:
        adapter = stores.adapter(settings.scheme)
        store = adapter.open_store(settings.path, **dict(settings.store_options))
        return cls(store, settings, clock=clock)

    @property
    def namespace(self) -> str:
        """``LPCM_NAMESPACE`` where it is set, else what was configured."""
        return os.environ.get("LPCM_NAMESPACE") or self._namespace

    def partition(self, name: str) -> str:
        """Return the encoded partition of the map of that name."""
        return keys.partition(self.namespace, name)

    def close(self) -> None:
        """Let go of the store's connections and files; using the engine again is an error."""
        _opened.discard(self)
        self.store.close()

    def __repr__(self) -> str:
        return f"<Engine {self.location} namespace={self.namespace!r}>"


def configure(url: str, *, using: str = "default", **options: object) -> None:
    """Say where the maps of an alias live. Opens nothing; maps made before follow.

    Without it the default alias is ``LPCM_URL`` from the environment, else
    ``sqlite:///lpcm.sqlite3``. Options: see ``lpcm.config``.

    **Raises** ``ConfigError`` for an unknown scheme or option, listing the valid ones.

    >>> configure("memory://", using="scratch", ttl=60)
    >>> configure("memory://", using="scratch", speed=11)
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: unknown option 'speed' for memory: use one of ...
    """
    settings = config.parse(url, options)
    with _lock:
        _aliases[using] = settings
        refresh()


def refresh() -> None:
    """Make every map resolve its engine and namespace again."""
    global epoch  # noqa: PLW0603  # the one switch of the process, read on every operation
    with _lock:
        epoch += 1


def override(url: str | None) -> config.Config | None:
    """Send every alias and URL of the process elsewhere, unless None; return what did before."""
    before = _override
    if url is not None:
        restore(config.parse(url))
    return before


def restore(settings: config.Config | None) -> None:
    """Send every alias and URL of the process there, None: where it says itself."""
    global _override  # noqa: PLW0603  # see refresh
    with _lock:
        _override = settings
        refresh()


def resolve(using: str | Engine, url: str | None) -> Engine:
    """Return the open engine of an alias or URL, opening it if need be."""
    if isinstance(using, Engine):
        return using
    with _lock:
        settings = _override or (config.parse(url) if url is not None else _settings(using))
        engine = _shared.get(settings)
        if engine is None:
            engine = _shared[settings] = Engine._of(settings)  # noqa: SLF001  # same module
        return engine


def _settings(using: str) -> config.Config:
    if using in _aliases:
        return _aliases[using]
    if using != "default":
        known = ", ".join(sorted({"default", *_aliases}))
        raise ConfigError(f"unknown alias {using!r}: lpcm.configure() it, or use one of {known}")
    return config.parse(os.environ.get("LPCM_URL") or config.DEFAULT_URL)


def opened() -> list[Engine]:
    """Return every engine this process has open."""
    return list(_opened)


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


def close() -> None:
    """Close every engine the process shares; maps open theirs again when used."""
    with _lock:
        engines = list(_shared.values())
        _shared.clear()
        refresh()
    for engine in engines:
        engine.close()


atexit.register(close)


def _after_fork_in_child() -> None:
    # Another thread may have held the lock at the fork; in the child there is none.
    global _lock  # noqa: PLW0603  # see refresh
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""Engines: a store, a cache in front of it, a codec, a clock and a policy, composed only here.

An engine is opened from a ``Config`` on first use and shared by all maps of the process
that have an equal one. This module also keeps the process's configuration: the aliases
(``configure``) and which engines are open.

Invariant: a map asks ``epoch()`` before it uses what it resolved earlier; whatever changes
the meaning of an alias or the namespace calls ``refresh``. So a map made at import time
follows a later ``configure`` or ``testing.insulate``.

While tests run a *fence* stands around their namespace: each map asks ``check_fence``
before its first write and before it is cleared, and ``LPCM_SCRATCH``, inherited by
whatever the tests start, sends everything to throw-away files in that directory.
"""

from __future__ import annotations

import atexit
import os
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn
from weakref import WeakSet, finalize

from lpcm import caches, stores
from lpcm.coherence.catalogue import Catalogue
from lpcm.engine import config
from lpcm.engine.drive import LoopClock, SystemClock, Threads, run
from lpcm.engine.loops import Loops
from lpcm.engine.stack import Stack, as_it_is, flush, shut, stacked
from lpcm.errors import ConfigError, Insulated, PickleRefused
from lpcm.system import process
from lpcm.values import keys
from lpcm.values.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.ports import Cache, Clock, Store

__all__ = [
    "Engine",
    "Stack",
    "amaps",
    "asked",
    "close",
    "close_in",
    "configure",
    "fence",
    "fenced",
    "maps",
    "namespace",
    "opened",
    "override",
    "redirected",
    "refresh",
    "resolve",
    "restore",
    "source",
    "used",
]

epoch = 0
"""Raised by ``refresh``: what was resolved under a lower one must be resolved again."""

_lock = process.Lock()
_aliases: dict[str, config.Config] = {}
_override: config.Config | None = None
_source: Callable[[str], config.Config | None] | None = None
_fence: str | None = None
_watching = False
_used: dict[config.Config, None] = {}
_shared: dict[config.Config, Engine] = {}
_opened: WeakSet[Engine] = WeakSet()

CLOSE: Final = 1.0
"""Seconds that closing an engine waits for what its threads are doing."""


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
        cache: Cache | None = None,
        clock: Clock | None = None,
        awaitable: Callable[[], tuple[Store, Cache | None]] | None = None,
    ) -> None:
        self.codec = Codec(store.form)
        self.location = settings.location
        self.ttl = settings.ttl
        self.timeout = settings.timeout
        self.catalogue = Catalogue()
        self._settings = settings
        self._clock = clock
        self._threads = Threads()
        self.stack = stacked(
            store,
            cache,
            clock or SystemClock(),
            self._threads,
            settings=settings,
            catalogue=self.catalogue,
        )
        self._loops = None if awaitable is None else _for_loops(self.stack, awaitable, self)
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
        store, cache = _open(settings)
        awaitable = partial(_open, settings, "async_") if _has_awaitable(settings) else None
        return cls(store, settings, cache=cache, clock=clock, awaitable=awaitable)

    def awaitable(self) -> Stack:
        """Return the stack for the running event loop.

        Where every adapter has an awaitable form, it is made of those, one of its own for
        each loop and closed with it; else it is the blocking one, driven by worker threads.
        """
        return self.stack if self._loops is None else self._loops.stack()

    @property
    def store(self) -> Store:
        """The store, for blocking use."""
        return self.stack.store

    @property
    def namespace(self) -> str:
        """``LPCM_NAMESPACE`` where it is set, else the tests', else what was configured."""
        return namespace() or self._settings.namespace

    def check_fence(self, namespace: str) -> None:
        """Raise Insulated where tests run, or ran, that must not write to this namespace."""
        if _fence is None or namespace == _fence:
            return
        if _fence:
            raise Insulated(
                f"a test may write to its own namespace {_fence!r}, not to {namespace!r}: is "
                "LPCM_NAMESPACE changed within it? See lpcm.testing.insulate"
            )
        raise Insulated(
            f"the tests are over, and something they left running writes to {namespace!r}: end it "
            "before, or call lpcm.configure() where this program goes on after its tests"
        )

    def partition(self, name: str) -> str:
        """Return the encoded partition of the map of that name."""
        return keys.partition(self.namespace, name)

    def close(self) -> None:
        """Let go of all connections, files and threads; using the engine again is an error.

        From any thread. What waits for a thread raises StoreError where it is awaited; what a
        thread is doing is waited for, for a second at most. An event loop that runs elsewhere
        closes its own connections as soon as it gets to it.
        """
        _opened.discard(self)
        if self._loops is not None:
            self._loops.close()
        self._threads.stop(CLOSE)
        try:
            run(flush(self.stack))
        finally:
            shut(self.stack)

    def __reduce__(self) -> NoReturn:
        raise PickleRefused(f"{self!r} cannot be pickled or copied: pickle its URL, or a map of it")

    def __repr__(self) -> str:
        return f"<Engine {self.location} namespace={self.namespace!r}>"


def _open(settings: config.Config, kind: str = "") -> tuple[Store, Cache | None]:
    """Open what is configured, in its blocking form or, with ``async_``, the awaitable one."""
    store_adapter = stores.adapter(settings.scheme)
    open_store = getattr(store_adapter, f"open_{kind}store")
    which = {"scheme": settings.scheme} if hasattr(store_adapter, "MANY_SCHEMES") else {}
    store = open_store(settings.path, **which, **dict(settings.store_options))
    if settings.cache is None:
        return store, None
    scheme, path, options = settings.cache
    open_cache = getattr(caches.adapter(scheme), f"open_{kind}cache")
    return store, open_cache(path, scheme=scheme, **dict(options))


def _has_awaitable(settings: config.Config) -> bool:
    adapters: list[tuple[object, str]] = [(stores.adapter(settings.scheme), "open_async_store")]
    if settings.cache is not None:
        adapters.append((caches.adapter(settings.cache.scheme), "open_async_cache"))
    return all(hasattr(adapter, name) for adapter, name in adapters)


def _for_loops(
    blocking: Stack, opened: Callable[[], tuple[Store, Cache | None]], engine: Engine
) -> Loops[Stack]:
    """Return what keeps the stacks of event loops, which end with the engine if not before."""
    settings, clock = engine._settings, engine._clock or LoopClock()  # noqa: SLF001  # same module
    catalogue = engine.catalogue  # of the engine nothing else: it must be able to go

    def make() -> Stack:
        return stacked(*opened(), clock, as_it_is, settings=settings, catalogue=catalogue)

    def drop(stack: Stack) -> None:
        if stack.coherent is not None and blocking.coherent is not None:
            blocking.coherent.take_over(stack.coherent)
        shut(stack)

    loops = Loops(make, flush, drop)
    finalize(engine, loops.close).atexit = False  # by then each is closed, or its loop has ended
    return loops


def configure(url: str, *, using: str = "default", **options: object) -> None:
    """Say where the maps of an alias live. Opens nothing; maps made before follow.

    Not those that arrived by a pickle: they stay where they came from.

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
    with _lock():
        _aliases[using] = settings
        if not _fence:
            fence(None)
        refresh()


def source(find: Callable[[str], config.Config | None]) -> None:
    """Ask ``find`` for every alias that ``configure`` has not set: a framework's settings."""
    global _source  # noqa: PLW0603  # see refresh
    with _lock():
        _source = find
        refresh()


def fence(namespace: str | None) -> str | None:
    """Refuse writes outside this namespace; "": all, None: none. Return what stood before."""
    global _fence  # see refresh
    with _lock():
        before, _fence = _fence, namespace
        if not namespace:
            _used.clear()
        for engine in opened():
            engine.catalogue.registered.clear()  # so that every map asks once more
        refresh()
    return before


def refresh() -> None:
    """Make every map resolve its engine and namespace again."""
    global epoch  # noqa: PLW0603  # the one switch of the process, read on every operation
    with _lock():
        epoch += 1


def fenced() -> str | None:
    """Return the namespace that tests may write to; "": they are over, None: there are none."""
    if not _watching:
        _watch()
    return _fence


def namespace() -> str | None:
    """Return the namespace of all maps of the process, None: each is where it is configured."""
    return os.environ.get("LPCM_NAMESPACE") or _fence or None


def override(url: str | None) -> config.Config | None:
    """Send every alias and URL of the process elsewhere, unless None; return what did before."""
    before = _override
    if url is not None:
        restore(config.parse(url))
    return before


def restore(settings: config.Config | None) -> None:
    """Send every alias and URL of the process there, None: where it says itself."""
    global _override  # noqa: PLW0603  # see refresh
    with _lock():
        _override = settings
        refresh()


def resolve(
    using: str | Engine | config.Config,
    url: str | None,
    *,
    cache_only: bool = False,
    cache_timeout: float | None = None,
) -> Engine:
    """Return the open engine of an alias or URL, opening it if need be.

    ``cache_only``: the one in whose store its cache is. ``cache_timeout``: seconds entries
    live there, or without it are cached.
    """
    if isinstance(using, Engine):
        if cache_only or cache_timeout is not None:
            raise ConfigError(
                "cache_only= and cache_timeout= go with an alias or a URL: open the Engine with "
                "the options cache_only, ttl and cache_ttl instead"
            )
        return using
    with _lock():
        wanted = asked(using, url, cache_only=cache_only, cache_timeout=cache_timeout)
        settings = redirected(wanted)
        engine = _shared.get(settings)
        if engine is None:
            engine = _shared[settings] = Engine._of(settings)  # noqa: SLF001  # same module
        if _fence:
            _used[settings] = None
        return engine


def asked(
    using: str | config.Config,
    url: str | None,
    *,
    cache_only: bool = False,
    cache_timeout: float | None = None,
) -> config.Config:
    """Return what is configured, whatever tests make of it; see ``redirected``."""
    if not _watching:
        _watch()
    if isinstance(using, config.Config):
        return using
    found = config.parse_again(url) if url is not None else _settings(using)
    if cache_only:
        found = config.cached_only(found)
        return found._replace(ttl=cache_timeout or found.ttl)
    if cache_timeout is not None:
        return found._replace(cache_ttl=max(1, int(cache_timeout)))
    return found


def redirected(settings: config.Config) -> config.Config:
    """Return where a configuration leads in this process: elsewhere, while tests run."""
    if _override is not None:
        return _override
    directory = os.environ.get("LPCM_SCRATCH")
    return config.scratch(settings, directory) if directory else settings


def _watch() -> None:
    """Where this process is ``python -m unittest``, insulate it; other runners have plugins."""
    global _watching  # noqa: PLW0603  # see refresh
    _watching = True
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name == "unittest.__main__":
        import_module("lpcm.testing").insulate_until_exit()  # above this layer, hence by name


def _settings(using: str) -> config.Config:
    if using in _aliases:
        return _aliases[using]
    if _source is not None and (settings := _source(using)) is not None:
        return settings
    if using != "default":
        known = ", ".join(sorted({"default", *_aliases}))
        raise ConfigError(f"unknown alias {using!r}: lpcm.configure() it, or use one of {known}")
    return config.parse_again(os.environ.get("LPCM_URL") or config.DEFAULT_URL)


def opened() -> list[Engine]:
    """Return every engine this process has open."""
    return list(_opened)


def used() -> list[Engine]:
    """Return every shared engine that was used since the fence stands, opening it again."""
    with _lock():
        for settings in _used:
            if settings not in _shared:
                _shared[settings] = Engine._of(settings)  # noqa: SLF001  # same module
        return [_shared[settings] for settings in _used]


def close_in(directory: str) -> None:
    """Close every engine whose store is a file in this directory."""
    with _lock():
        gone = [settings for settings in _shared if settings.path.startswith(directory)]
        engines = [_shared.pop(settings) for settings in gone]
        for settings in gone:
            _used.pop(settings, None)
        refresh()
    for engine in engines:
        engine.close()


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


def close() -> None:
    """Close every engine the process shares; maps open theirs again when used."""
    with _lock():
        engines = list(_shared.values())
        _shared.clear()
        refresh()
    for engine in engines:
        engine.close()


atexit.register(close)

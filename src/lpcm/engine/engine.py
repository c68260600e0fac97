"""An engine: a store, a cache in front of it, a codec, a clock and a policy, composed only here.

Opened from a ``Config``. Knows neither which engines the process shares (``engine.shared``), nor
aliases (``engine.aliases``), nor tests (``engine.insulation``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn
from weakref import finalize

from lpcm import caches, stores
from lpcm.coherence.catalogue import Catalogue
from lpcm.engine import config, state
from lpcm.engine.block import Block
from lpcm.engine.drive import LoopClock, SystemClock, Threads, run
from lpcm.engine.loops import Loops
from lpcm.engine.stack import Stack, as_it_is, flush, near_cache, shut, stacked
from lpcm.errors import PickleRefused, StoreError
from lpcm.system.backoff import Windows
from lpcm.system.instances import Instances
from lpcm.system.turns import Turns
from lpcm.system.workers import Workers
from lpcm.values import keys
from lpcm.values.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.ports import Cache, Cell, Clock, Store

__all__ = ["Engine", "open_adapters", "open_engine", "opened"]

_opened: Instances[Engine] = Instances()

CLOSE: Final = 1.0
"""Seconds that closing an engine waits for its threads."""


class Engine(Block):
    """A store ready to use, with the codec that turns Python values into its cells.

    Maps find theirs by alias or URL; ``Engine.open`` makes one of your own, for
    ``LPCM(name, using=engine)``. In a ``with`` block, or in ``async with``, it is closed at the
    end; maps never close it.
    """

    closed = False
    """Whether it is closed, or being closed."""

    def __init__(
        self,
        store: Store,
        settings: config.Config,
        *,
        cache: Cache | None = None,
        clock: Clock | None = None,
        awaitable: Callable[[], tuple[Store, Cache | None]] | None = None,
    ) -> None:
        limit = dict(settings.store_options).get("max_value")
        self.codec = Codec(store.form, *([limit] if isinstance(limit, int) else []))
        self.compression = settings.compress, settings.compress_over
        """What its maps compress with, and from how many bytes on, unless they say otherwise."""
        if settings.compress != "none":
            from lpcm.values.compress import usable  # for those who compress

            usable(settings.compress)
        self.location = settings.location
        self.ttl = settings.ttl
        self.timeout = settings.timeout
        self.catalogue = Catalogue()
        self._settings = settings
        self._clock = clock
        self._threads = Threads()
        self.turns = Turns()
        """The order of those that meet at a key."""
        self.windows = Windows()
        """How long those wait that other processes were in the way of."""
        used = clock or SystemClock()
        self.near = near_cache(settings, used)
        """The near cache in front of a store of a network; one of SQLite is the store's own."""
        self.stack = stacked(
            store,
            cache,
            used,
            self._threads,
            settings=settings,
            catalogue=self.catalogue,
            near=self.near,
        )
        self._loops = None if awaitable is None else _for_loops(self.stack, awaitable, self)
        # Of the store itself: a wrapper that passes other attributes on may count requests.
        self._has_awaited = cache is None and hasattr(type(store), "awaited")
        self._awaited: Stack | None = None
        _opened.add(self)

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, **options: object) -> Engine:
        """Open an engine that no other map shares.

        >>> with Engine.open("memory://") as engine:
        ...     print(engine)
        <Engine memory:// ...>
        >>> engine.closed
        True
        """
        return open_engine(config.parse(url, options), clock)

    def awaitable(self) -> Stack:
        """Return the stack for the running event loop.

        Where every adapter has an awaitable form, the stack is made of those: one for each loop,
        closed with the loop. A store that does itself what loops need serves all of them (SQLite).
        Else it is the blocking stack, driven by worker threads.
        """
        if self._has_awaited:
            self._awaited = self._awaited or self._awaited_stack()
            return self._awaited
        return self.stack if self._loops is None else self._loops.stack()

    def _awaited_stack(self) -> Stack:
        store = getattr(self.store, "awaited")(self._threads)  # noqa: B009  # no part of the port
        return Stack(store, store, self._clock or LoopClock(), as_it_is)

    @property
    def store(self) -> Store:
        """The store, for blocking use."""
        return self.stack.store

    @property
    def namespace(self) -> str:
        """``LPCM_NAMESPACE`` where it is set, else the tests' one, else the configured one."""
        return state.namespace() or self._settings.namespace

    def encoder(self, compress: str | None, over: int | None) -> Callable[[object], Cell]:
        """Return the encoding of a map's values; what the map does not say holds as configured."""
        method, least = self.compression
        return self.codec.encoder(compress or method, over or least)

    def partition(self, name: str) -> str:
        """Return the encoded partition of the map of that name."""
        return keys.partition(self.namespace, name)

    def close(self) -> None:
        """Close all connections, files and threads; using the engine again is an error.

        From any thread, any number of times; leaving a ``with`` does it. An operation that waits
        for its turn raises StoreError where it is awaited; one that a thread is doing gets a second
        at most. An event loop that runs elsewhere closes its own connections as soon as it gets to
        it. Invalidations owed to a cache are tried once more, and parts of large values that this
        process replaced over a minute ago are deleted, for a second at most.

        Every map that uses this engine, in whichever thread, ends with it: it is theirs together.
        Only maps of an alias or a URL whose engine this is open another one, when they are used.
        """
        self._retire()
        if self.near is not None:
            self.near.close()
        if self._loops is not None:
            self._loops.close()
        if self._awaited is not None:
            self._awaited.store.close()
        self._threads.stop(CLOSE)
        try:
            run(flush(self.stack))
        finally:
            shut(self.stack)

    async def aclose(self) -> None:
        """Await ``close``; the running loop's connections are closed, too, when this returns."""
        self._retire()
        closer = Workers("lpcm-close", 1)
        try:
            if self._loops is not None:
                await self._loops.aclose()
        finally:
            try:
                await closer.call(self.close)
            finally:
                closer.stop()

    def _retire(self) -> None:
        _opened.discard(self)
        if not self.closed:
            self.closed = True
            state.refresh()  # maps of the alias or URL look for another engine

    def _enter(self) -> None:
        if self.closed:
            raise StoreError(f"{self!r} is closed: open another one")

    def __reduce__(self) -> NoReturn:
        raise PickleRefused(f"{self!r} cannot be pickled or copied: pickle its URL, or a map of it")

    def __repr__(self) -> str:
        return f"<Engine {self.location} namespace={self.namespace!r}>"


def open_engine(settings: config.Config, clock: Clock | None = None) -> Engine:
    """Open an engine of a configuration that no other map shares."""
    store, cache = open_adapters(settings)
    awaitable = partial(open_adapters, settings, "async_") if _has_awaitable(settings) else None
    return Engine(store, settings, cache=cache, clock=clock, awaitable=awaitable)


def opened() -> list[Engine]:
    """Return every engine this process has open."""
    return _opened.all()


def open_adapters(settings: config.Config, kind: str = "") -> tuple[Store, Cache | None]:
    """Open the configured adapters, in their blocking form or, with ``async_``, the awaitable."""
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
    """Return the stacks of event loops, which end with the engine if not before."""
    settings, clock = engine._settings, engine._clock or LoopClock()  # noqa: SLF001  # same module
    # Of the engine nothing else: it must be able to go.
    catalogue, near = engine.catalogue, engine.near

    def make() -> Stack:
        return stacked(
            *opened(), clock, as_it_is, settings=settings, catalogue=catalogue, near=near
        )

    def drop(stack: Stack) -> None:
        if stack.coherent is not None and blocking.coherent is not None:
            blocking.coherent.take_over(stack.coherent)
        shut(stack)

    loops = Loops(make, flush, drop)
    finalize(engine, loops.close).atexit = False  # by then each is closed, or its loop has ended
    return loops

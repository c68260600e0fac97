"""Stacks: a store, the cache in front of it and their driver, composed and ended here.

An engine has one for blocking callers and one for each event loop. Knows neither its callers nor
how adapters are opened. Invariant: the item names of a cache in front of a store are of that store
and those servers alone, so that no item is taken for another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from lpcm.coherence.catalogue import ShardsOf
from lpcm.engine.config import cache_secret
from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from lpcm.coherence.catalogue import Catalogue
    from lpcm.coherence.near import AgingCache
    from lpcm.coherence.tier import Coherent
    from lpcm.engine import config
    from lpcm.engine.combining import Increments
    from lpcm.large.large import Large
    from lpcm.ports import Cache, Clock, Reads, Store, Tier
    from lpcm.ports.heads import PartStore

__all__ = ["Drive", "Stack", "as_it_is", "flush", "in_front", "near_cache", "shut", "stacked"]

T = TypeVar("T")


class Drive(Protocol):
    """The driver of a stack: makes an operation something to await."""

    def __call__(
        self, operation: Coroutine[object, object, T], /, *, reads: bool = False
    ) -> Awaitable[T]:
        """Return it; ``reads``: it writes nothing to the store."""
        ...


class Stack(NamedTuple):
    """A store with the cache in front of it, for one way of driving them."""

    store: Store
    tier: Tier
    """Single entries are read from it and written to it: the store, or a cache in front of it."""
    clock: Clock
    drive: Drive
    """How an operation over these is awaited."""
    coherent: Coherent | None = None
    """The tier, where it is a cache."""
    cache: Cache | None = None
    near: AgingCache | None = None
    """What the tier keeps in this process, where it is a near cache."""
    eventual: Reads | None = None
    """The store's cheaper reads, where it was opened to read so: they may miss the last writes."""
    increments: Increments | None = None
    """What sends increments of one key together, where the store is on a network."""
    large: Large | None = None
    """What reads and writes values over the store's limit, where the store has them in parts."""

    def uncached(self) -> Stack:
        """Return the same for a map that reads past the cache."""
        if self.coherent is None:
            return self
        from lpcm.coherence.tier import Uncached  # 5 ms to import, for maps that are cached

        tier = in_front(Uncached(self.coherent), self.near)
        return self._replace(tier=_combined(tier, self.increments, self.large))


def in_front(tier: Tier, near: AgingCache | None) -> Tier:
    """Return a tier with the near cache in front of it, if there is one."""
    if near is None:
        return tier
    from lpcm.coherence.near import NearTier  # for those who want one

    return NearTier(tier, near)


def _combined(tier: Tier, increments: Increments | None, large: Large | None) -> Tier:
    """Return a tier whose increments go together, and whose large values go in parts, if any do."""
    if increments is None:
        return tier
    if large is not None:
        from lpcm.engine.splitting import Splitting  # for stores of items that are limited

        return Splitting(tier, increments, large)
    from lpcm.engine.combining import Combining  # for stores on a network alone

    return Combining(tier, increments)


def _combining(stack: Stack) -> Stack:
    """Return the stack, which sends increments of one key together if its store is remote."""
    store, tier = stack.store, stack.tier
    if not getattr(type(store), "remote", False):  # of the store itself, no wrapper's
        return stack
    from lpcm.engine.combining import combine  # for stores on a network alone

    increments = combine(tier.apply, stack.clock.now, blocking=store.blocking)
    return stack._replace(tier=_combined(tier, increments, stack.large), increments=increments)


def _coherent(
    store: Store, cache: Cache, clock: Clock, settings: config.Config, catalogue: Catalogue
) -> Coherent:
    from lpcm.coherence.tier import Coherent, Policy  # 5 ms to import, for caches alone

    policy = Policy(strict=settings.strict, ttl=settings.cache_ttl)
    # Other servers, other items: so that no item is taken for another one.
    return Coherent(store, cache, clock, policy, catalogue.prefixes(cache.identity))


def _sealed(cache: Cache, settings: config.Config) -> Cache:
    """Return a cache whose items carry a seal, where there is a key for it."""
    secret = cache_secret(settings)
    if secret is None:
        return cache
    from lpcm.coherence.sealed import Sealed  # 3 ms to import, for shared caches alone

    return Sealed(cache, secret)


def _large(
    parts: Store,
    store: Store,
    cache: Cache | None,
    clock: Clock,
    *,
    settings: config.Config,
    catalogue: Catalogue,
) -> Large | None:
    """Return what reads and writes values over the store's limit, if the store has them so.

    ``parts``: the store that knows partitions; ``store``: what knows maps, the same or over it.
    """
    if not hasattr(type(parts), "splits"):  # of the store itself, no wrapper's
        return None
    from lpcm.large.large import Large  # for such stores alone

    most = getattr(parts, "max_value", None)
    known = cast("PartStore", parts)
    return Large(known, store, catalogue, clock, cache, ttl=settings.cache_ttl, most=most)


def stacked(
    store: Store,
    cache: Cache | None,
    clock: Clock,
    drive: Drive,
    *,
    settings: config.Config,
    catalogue: Catalogue,
    near: AgingCache | None,
) -> Stack:
    """Return a store with the caches in front of it, if there are any."""
    parts = store
    if hasattr(type(store), "sharded"):  # of the store itself, no wrapper's
        store = getattr(store, "sharded")(ShardsOf(catalogue, store, clock))  # noqa: B009  # no part of the port
    eventual: Reads | None = getattr(store, "eventual", None)
    sealed, coherent = None, None
    if cache is not None:
        sealed = _sealed(cache, settings)
        coherent = _coherent(store, sealed, clock, settings, catalogue)
    large = _large(parts, store, sealed, clock, settings=settings, catalogue=catalogue)
    tier = in_front(store if coherent is None else coherent, near)
    return _combining(
        Stack(store, tier, clock, drive, coherent, cache, near, eventual, large=large)
    )


def near_cache(settings: config.Config, clock: Clock) -> AgingCache | None:
    """Return the near cache of an engine, if it is to have one in front of its stacks."""
    if settings.max_stale is None or not settings.near_cache:
        return None
    from lpcm.coherence.near import AgingCache  # for those who want one

    return AgingCache(settings.near_cache, settings.max_stale, clock.monotonic)


async def flush(stack: Stack) -> None:
    """Retry the queued invalidations, and delete the parts that are due, as far as possible."""
    if stack.coherent is not None:
        await stack.coherent.flush()
    if stack.large is not None:
        await stack.large.flush()


def shut(stack: Stack) -> None:
    """Close the connections of the store and the cache."""
    stack.store.close()
    if stack.cache is not None:
        stack.cache.close()


def as_it_is(operation: Coroutine[object, object, T], /, *, reads: bool = False) -> Awaitable[T]:
    """Return the operation itself: over awaitable adapters it is awaited directly."""
    del reads  # on the loop they are not in each other's way
    return operation

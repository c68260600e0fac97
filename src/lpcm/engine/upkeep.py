"""What is known of a store's file, and what makes it smaller: ``lpcm.info``, and the commands'.

Knows stores by their port: which of them have a file, or can purge, each says itself.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from lpcm.engine.aliases import resolve, selected
from lpcm.engine.drive import run
from lpcm.engine.insulation import check_fence
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from lpcm.engine.engine import Engine
    from lpcm.ports import Purged, Store

__all__ = ["ainfo", "info", "purge", "vacuum"]

_MOST: Final = 1000
"""Entries that a step of a purge deletes at most,"""
_STEP: Final = 0.25
"""and the seconds that it should take at most, so that no step is a burst."""


def info(*, using: str | Engine = "default") -> dict[str, Any]:
    """Return what the SQLite file of an alias, or its near cache, is like just now; sizes in bytes.

    ``size`` and ``free`` are the file's and its free pages', ``log`` that of the log beside it,
    ``shrinks`` whether free pages leave the file by themselves, ``entries`` and ``expired`` the
    numbers of rows, of all namespaces. ``near_cache`` is ``on``, or why there is none in this
    process; ``near_entries`` and ``near_hits`` are what it holds and has served. Of a store of a
    network there is the near cache alone, with its ``max_stale``; of DynamoDB also ``consistency``,
    that of the reads on which no write depends. ``compress`` is what values are compressed with,
    unless a map says otherwise.

    **Cost**: reads the keys' index of the whole file. **Raises** ``ConfigError`` where the store
    is no file and has no near cache.

    >>> from lpcm import LPCM
    >>> LPCM("pets")["rex"] = "dog"
    >>> found = info()
    >>> found["entries"], found["expired"], found["shrinks"]
    (1, 0, True)
    """
    engine = resolve(using, None)
    found = _of_network(engine) or run(_of(engine, "info")(engine.stack.clock.now()))
    return {**found, "compress": engine.compression[0]}


async def ainfo(*, using: str | Engine = "default") -> dict[str, Any]:
    """Await ``info``."""
    engine = resolve(using, None)
    found = _of_network(engine)
    if not found:
        stack = engine.awaitable()
        found = await stack.drive(_of(engine, "info", stack.store)(stack.clock.now()), reads=True)
    return {**found, "compress": engine.compression[0]}


def _of_network(engine: Engine) -> dict[str, Any]:
    """Return what is known of an engine whose store is no file."""
    consistency = getattr(engine.store, "consistency", None)
    found = {} if consistency is None else {"consistency": consistency}
    return found if engine.near is None else {**found, **engine.near.info()}


def purge(
    *,
    using: str | Engine = "default",
    maps: Sequence[str] | None = None,
    rate: float | None = None,
    advance: Callable[[int], object] | None = None,
) -> int:
    """Delete the entries that have expired, of these maps or of the namespace's; return how many.

    They leave the store by themselves in time: this is for programs that do not write to a file,
    and for tables without a TTL, or whose expired entries make walks dear. An entry that is written
    again meanwhile stays. A purge that was broken off is begun again: what it deleted is gone.

    ``rate``: units a second that it may cost. None: on DynamoDB 100 write units, a read unit
    counted as a fifth of one, as it is priced; without a limit on SQLite, where an entry is a unit.
    ``advance`` is called after each step, with how many entries it deleted.

    **Cost**: on SQLite a short transaction for each thousand. On DynamoDB a look at each map in
    the catalogue, a Query for each MB of the maps, half a read unit for each 4 KB of it, and a
    DeleteItem for each entry, a write unit for each KB. **Raises** ``ConfigError`` where the store
    keeps nothing that has expired; ``StoreTooNew``, before anything is deleted, if one of the maps
    is of a later format; ``MapNotFound`` if one was never written.

    >>> from lpcm import LPCM
    >>> LPCM("pets").set("rex", "dog", ttl=60)
    >>> purge()
    0
    """
    return run(_purge(resolve(using, None), maps, rate, advance))


async def _purge(
    engine: Engine,
    names: Sequence[str] | None,
    rate: float | None,
    advance: Callable[[int], object] | None,
) -> int:
    store, clock = engine.store, engine.stack.clock
    step: Callable[..., AsyncIterator[Purged]] = _of(engine, "purge")
    check_fence(engine.namespace)
    # No other program's entries must be deleted by a clock that is not the machine's: a test's.
    now = min(clock.now(), time.time())
    pks = [engine.partition(name) for name in await selected(engine, names, now)]
    limit: float = getattr(store, "purge_rate", math.inf) if rate is None else rate
    most = max(1, int(min(_MOST, limit * _STEP)))
    purged = spent = 0.0
    begun = clock.monotonic()
    async for entries, units in step(pks, now, most):
        purged += entries
        spent += units
        if advance is not None:
            advance(entries)
        await clock.sleep(max(0.0, spent / limit - (clock.monotonic() - begun)))
    return int(purged)


def vacuum(*, using: str | Engine = "default") -> None:
    """Write the file anew, as small as it can be, and empty its log.

    **Cost**: reads and writes the whole file, and takes as much room beside it meanwhile; other
    writers wait, readers do not. **Raises** as ``info``; ``StoreBusy`` where others do not stop
    writing, ``StoreFull`` where there is no room.

    >>> vacuum()
    """
    run(_of(resolve(using, None), "vacuum")())


def _of(engine: Engine, name: str, store: Store | None = None) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(store or engine.store, name, None)
    if found is None:
        where = "SQLite and DynamoDB" if name == "purge" else "SQLite"
        raise ConfigError(f"{engine.location}: has no file: this is for {where}")
    return found

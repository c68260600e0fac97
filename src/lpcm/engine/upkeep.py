"""What is known of a store's file, and what makes it smaller: ``lpcm.info``, and the commands'.

Knows stores by their port: which of them have a file, each says itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.engine.aliases import resolve
from lpcm.engine.drive import run
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.engine.engine import Engine
    from lpcm.ports import Store

__all__ = ["ainfo", "info", "purge", "vacuum"]


def info(*, using: str | Engine = "default") -> dict[str, Any]:
    """Return what the SQLite file of an alias, or its near cache, is like just now; sizes in bytes.

    ``size`` and ``free`` are the file's and its free pages', ``log`` that of the log beside it,
    ``shrinks`` whether free pages leave the file by themselves, ``entries`` and ``expired`` the
    numbers of rows, of all namespaces. ``near_cache`` is ``on``, or why there is none in this
    process; ``near_entries`` and ``near_hits`` are what it holds and has served. Of a store of a
    network there is the near cache alone, with its ``max_stale``; of DynamoDB also ``consistency``,
    that of the reads on which no write depends.

    **Cost**: reads the keys' index of the whole file. **Raises** ``ConfigError`` where the store
    is no file and has no near cache.

    >>> from lpcm import LPCM
    >>> LPCM("pets")["rex"] = "dog"
    >>> found = info()
    >>> found["entries"], found["expired"], found["shrinks"]
    (1, 0, True)
    """
    engine = resolve(using, None)
    found = _of_network(engine)
    return found or run(_of(engine, "info")(engine.stack.clock.now()))


async def ainfo(*, using: str | Engine = "default") -> dict[str, Any]:
    """Await ``info``."""
    engine = resolve(using, None)
    found = _of_network(engine)
    if not found:
        stack = engine.awaitable()
        found = await stack.drive(_of(engine, "info", stack.store)(stack.clock.now()), reads=True)
    return found


def _of_network(engine: Engine) -> dict[str, Any]:
    """Return what is known of an engine whose store is no file."""
    consistency = getattr(engine.store, "consistency", None)
    found = {} if consistency is None else {"consistency": consistency}
    return found if engine.near is None else {**found, **engine.near.info()}


def purge(*, using: str | Engine = "default") -> int:
    """Delete the rows of all entries of the file that have expired; return how many.

    They leave it by themselves, a few with each write: this is for programs that do not write.
    **Cost**: a short transaction for each thousand. **Raises** as ``info``.

    >>> from lpcm import LPCM
    >>> LPCM("pets").set("rex", "dog", ttl=60)
    >>> purge()
    0
    """
    engine = resolve(using, None)
    purged: int = run(_of(engine, "purge")(engine.stack.clock.now()))
    return purged


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
        raise ConfigError(f"{engine.location}: has no file: this is for SQLite")
    return found

"""A SQLite store for event loops: writes wait in the queue of ``commit``, all else on a thread.

A write of one entry takes no thread of its own: one thread commits all that wait, so a thousand
tasks cost a few flushes and as many trips to the loop. What takes several steps, and reads, run on
threads as the blocking store does them.

Knows neither rows nor statements. Invariant: no method blocks the loop.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lpcm.errors import StoreError
from lpcm.ports import Applied, Form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from lpcm.ports import (
        Aborted,
        Change,
        Check,
        KeyRange,
        MapInfo,
        MapState,
        Op,
        Outcome,
        Page,
        Scan,
        Stored,
    )
    from lpcm.ports.near import Near
    from lpcm.stores.sqlite.commit import Commits
    from lpcm.stores.sqlite.upkeep import Upkeep

__all__ = ["AwaitedStore", "Threads"]

T = TypeVar("T")


class Threads(Protocol):
    """Where blocking work is done."""

    def __call__(
        self, operation: Coroutine[Any, Any, T], /, *, reads: bool = False
    ) -> Awaitable[T]:
        """Run an operation that never suspends; ``reads``: it writes nothing."""
        ...

    def post(self, work: Callable[[], object], withdrawn: Callable[[], object]) -> None:
        """Do work that nobody awaits; ``withdrawn()``: it will not be done."""
        ...


class AwaitedStore:
    """A ``ports.Store`` that event loops can await: ``store``, which is a ``SQLiteStore``."""

    form = Form.TEXT
    blocking = False
    rewrites = True

    def __init__(self, store: Any, commits: Commits, upkeep: Upkeep, threads: Threads) -> None:
        self._store = store
        self._commits = commits
        self._upkeep = upkeep
        self._threads = threads
        self._looking = False
        """Whether a thread has been called to look after the file, and has not begun."""

    @property
    def identity(self) -> str:
        """The machine and the file on it."""
        identity: str = self._store.identity
        return identity

    @property
    def near(self) -> Near | None:
        """The near cache, for those who serve its hits."""
        near: Near | None = self._store.near
        return near

    def __repr__(self) -> str:
        return f"<AwaitedStore of {self._store!r}>"

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write, together with those that wait."""
        write = self._store.waiting(map, sk, op, now)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        write.loop, write.settle = loop, partial(_settle, future)
        try:
            if self._commits.enqueue(write):
                self._threads.post(self._commits.lead_all, self._stopped)
            await future
        except BaseException:  # cancelled, or closed with its loop
            self._commits.withdraw(write)
            raise
        outcome: Outcome
        (outcome,) = write.result()
        if type(outcome) is Applied and self._upkeep.due((op,)):
            self._look(now)
        return outcome

    def _look(self, now: float) -> None:
        """Have a thread look after the file, unless one is about to."""
        if self._looking:
            return
        self._looking = True
        try:
            self._threads.post(partial(self._looked, now), self._not_looked)
        except BaseException:
            self._looking = False
            raise

    def _looked(self, now: float) -> None:
        self._looking = False
        self._upkeep.look(now)

    def _not_looked(self) -> None:
        self._looking = False

    def _stopped(self) -> None:
        self._commits.withdraw_all(StoreError("closed while this waited: nothing was written"))

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry."""
        return await self._threads(self._store.read(map, sk, now), reads=True)

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries."""
        return await self._threads(self._store.read_many(map, sks, now), reads=True)

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return a page."""
        return await self._threads(self._store.scan(map, wanted, now), reads=True)

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the range."""
        return await self._threads(self._store.count(map, keys, now), reads=True)

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says of a map."""
        return await self._threads(self._store.describe(namespace, name), reads=True)

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue."""
        return await self._threads(self._store.maps(namespace), reads=True)

    async def backup(self, path: str) -> None:
        """Copy the file."""
        await self._threads(self._store.backup(path), reads=True)

    async def info(self, now: float) -> dict[str, Any]:
        """Return sizes and counts."""
        return await self._threads(self._store.info(now), reads=True)

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes."""
        return await self._threads(self._store.apply_many(map, writes, now))

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none."""
        return await self._threads(self._store.transact(changes, checks, now))

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range."""
        await self._threads(self._store.clear(map, keys))

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue."""
        return await self._threads(self._store.register(namespace, info))

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity."""
        await self._threads(self._store.renew(namespace))

    async def drop(self, namespace: str) -> None:
        """Delete the namespace."""
        await self._threads(self._store.drop(namespace))

    def close(self) -> None:
        """End what waits. The connections are the blocking store's."""
        self._stopped()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():  # else: cancelled
        future.set_result(None)

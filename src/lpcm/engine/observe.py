"""Observers: what a map asks of its tier, and what it changes, seen from beside it.

Django's signals, the debug toolbar and the assertions of the tests observe. Where nobody
does, a map works on its tier itself: watching costs nothing then. An observer is called in
the thread or task of the operation and may raise before a write, which is not done then.

Knows ports, no adapter; changes nothing of what it watches.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lpcm.engine.state import refresh
from lpcm.events import Meter, meter
from lpcm.ports import Aborted, Applied
from lpcm.system.process import Lock
from lpcm.values.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from lpcm.engine.engine import Engine
    from lpcm.engine.stack import Stack
    from lpcm.ports import (
        Change,
        Check,
        Form,
        KeyRange,
        MapInfo,
        MapState,
        Op,
        Outcome,
        Page,
        Store,
        Stored,
        Tier,
    )

__all__ = ["Call", "Observer", "observe", "recorded", "stop", "wrap_with_hooks"]

T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """One operation on a tier or store."""

    map: str
    """The map's name."""
    operation: str
    """``read``, ``write``, ``scan``, ``count`` or ``clear``."""
    sks: Sequence[str] = ()
    """The encoded keys it concerns, where it concerns single ones."""
    ops: Sequence[Op] = ()
    """What it writes, one for each key."""
    outcomes: Sequence[Outcome | Exception] = ()
    """What became of them."""
    cached: bool = False
    """Whether a cache stands between the map and its store."""
    place: str = ""
    """Where the map lives: the store's URL without its options."""
    seconds: float = 0.0
    requests: Meter = field(default_factory=Meter)
    """What it cost at a remote store."""
    error: str = ""
    """The class of the exception it ended with."""

    def keys(self) -> list[Any]:
        """Return the keys."""
        return [key_of(sk) for sk in self.sks]

    def applied(self) -> list[tuple[Any, Op]]:
        """Return the keys that were written, each with what was done."""
        writes = zip(self.sks, self.ops, self.outcomes, strict=True) if self.outcomes else ()
        return [(key_of(sk), op) for sk, op, outcome in writes if isinstance(outcome, Applied)]

    @property
    def answered(self) -> str:
        """Who answered: ``store``, ``cache``, or ``either`` where that cannot be told.

        A store behind a cache is known to have been asked by its requests; one that makes
        none, like SQLite, leaves no trace.
        """
        if not self.cached or self.requests.calls:
            return "store"
        return "cache" if self.place.startswith("dynamodb:") else "either"


class Observer(Protocol):
    """Who watches. Both methods must be quick."""

    def before(self, call: Call) -> None:
        """Look at what is about to be done; raise to prevent it."""
        ...

    def after(self, call: Call) -> None:
        """Look at what was done; must not raise."""
        ...


_observers: tuple[Observer, ...] = ()


def observe(observer: Observer) -> None:
    """Have every map of the process watched by this observer, until ``stop``."""
    global _observers  # noqa: PLW0603  # a tuple replaced whole: readers need no lock
    if observer not in _observers:
        _observers = (*_observers, observer)
        refresh()


def stop(observer: Observer) -> None:
    """Watch no longer."""
    global _observers  # noqa: PLW0603  # see observe
    _observers = tuple(each for each in _observers if each is not observer)
    refresh()


_lists: ContextVar[tuple[list[Call], ...]] = ContextVar("lpcm_recorded", default=())
_lock = Lock()
_recordings = 0


class _Recorder:
    """Who keeps the calls for ``recorded``."""

    def before(self, call: Call) -> None:
        """Do nothing."""

    def after(self, call: Call) -> None:
        """Keep it."""
        for calls in _lists.get():
            calls.append(call)


_recorder = _Recorder()


@contextmanager
def recorded() -> Generator[list[Call], None, None]:
    """Collect the calls of what this thread or task does meanwhile.

    What it awaits and the tasks it starts count too; other threads do not.

    >>> from lpcm import LPCM
    >>> m = LPCM("m")
    >>> with recorded() as calls:
    ...     m["k"] = 1
    ...     _ = m.get("k"), len(m)
    >>> [(call.operation, call.keys()) for call in calls]
    [('write', ['k']), ('read', ['k']), ('count', [])]
    """
    global _recordings  # noqa: PLW0603  # see observe
    calls: list[Call] = []
    token = _lists.set((*_lists.get(), calls))
    with _lock():
        _recordings += 1
        if _recordings == 1:
            observe(_recorder)
    try:
        yield calls
    finally:
        with _lock():
            _recordings -= 1
            if not _recordings:
                stop(_recorder)
        _lists.reset(token)


def wrap_with_hooks(stack: Stack, engine: Engine, name: str) -> Stack:
    """Return the stack as the map of that name shall see it."""
    if not _observers:
        return stack
    tier = Watched(stack.tier, stack.store, engine, name)
    return stack._replace(tier=tier, store=tier)


class Watched:
    """A ``ports.Store`` that tells the observers what it is asked, and asks the real one."""

    def __init__(self, tier: Tier, store: Store, engine: Engine, name: str) -> None:
        self._tier = tier
        self._store = store
        self._name = name
        self._cached = tier is not store
        self._place = engine.location
        self.form: Form = store.form
        self.identity: str = store.identity
        self.blocking: bool = store.blocking

    def _call(self, operation: str, sks: Sequence[str] = (), ops: Sequence[Op] = ()) -> Call:
        cached = self._cached and operation not in {"scan", "count"}
        return Call(self._name, operation, sks, ops, cached=cached, place=self._place)

    async def _tell(self, call: Call, work: Awaitable[T]) -> T:
        observers = _observers
        try:
            for observer in observers:
                observer.before(call)
        except BaseException:
            getattr(work, "close", lambda: None)()
            raise
        start = time.perf_counter()
        try:
            with meter() as call.requests:
                result = await work
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            call.seconds = time.perf_counter() - start
            if call.error:
                self._told(observers, call)
        if call.operation == "write" and not isinstance(result, Aborted):
            call.outcomes = result if isinstance(result, list) else (result,)  # type: ignore[assignment]  # what T is then
        self._told(observers, call)
        return result

    def _told(self, observers: tuple[Observer, ...], call: Call) -> None:
        for observer in observers:
            observer.after(call)

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Read one entry."""
        return await self._tell(self._call("read", (sk,)), self._tier.read(map, sk, now))

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        call = self._call("write", (sk,), (op,))
        return await self._tell(call, self._tier.apply(map, sk, op, now))

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Read many entries."""
        return await self._tell(self._call("read", sks), self._tier.read_many(map, sks, now))

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do many writes."""
        call = self._call("write", [sk for sk, _ in writes], [op for _, op in writes])
        return await self._tell(call, self._tier.apply_many(map, writes, now))

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none."""
        call = self._call("write", [one.sk for one in changes], [one.op for one in changes])
        return await self._tell(call, self._tier.transact(changes, checks, now))

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete a range."""
        await self._tell(self._call("clear"), self._tier.clear(map, keys))

    async def scan(
        self,
        map: str,
        keys: KeyRange,
        now: float,
        *,
        after: str | None = None,
        reverse: bool = False,
        limit: int = 1000,
        values: bool = True,
    ) -> Page:
        """Read a page."""
        work = self._store.scan(
            map, keys, now, after=after, reverse=reverse, limit=limit, values=values
        )
        return await self._tell(self._call("scan"), work)

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count a range."""
        return await self._tell(self._call("count"), self._store.count(map, keys, now))

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says of a map; not told."""
        return await self._store.describe(namespace, name)

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity; not told."""
        await self._store.renew(namespace)

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue; not told, being no operation of the map's user."""
        return await self._store.register(namespace, info)

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the catalogue; not told."""
        return await self._store.maps(namespace)

    async def drop(self, namespace: str) -> None:
        """Delete the namespace; not told."""
        await self._store.drop(namespace)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

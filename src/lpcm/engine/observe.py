"""Observed maps: a tier that emits an event for each operation that a map asks of it.

Where no listener subscribes to ``events.Operation``, a map works on its tier itself, so that
observation costs nothing then.

Knows ports and events, no adapter. Invariant: each operation is done once, by the tier itself, and
not at all where a listener raised before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from lpcm import events
from lpcm.coherence.catalogue import names
from lpcm.engine.state import refresh
from lpcm.ports import Aborted, Add, Applied, Delete, Put, Reads, Rewrite, Touch, Update
from lpcm.ports.near import read_kept
from lpcm.values.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

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
        Scan,
        Stored,
    )

__all__ = ["wrap_with_hooks"]

T = TypeVar("T")

events.at_change(refresh)


def wrap_with_hooks(stack: Stack, engine: Engine, name: str) -> Stack:
    """Return the stack for the map of that name: one that emits its operations, if it must."""
    if not events.has_listeners(events.Operation):
        return stack
    tier = Observed(stack, engine, name)
    eventual = None if stack.eventual is None else tier.reads(stack.eventual)
    return stack._replace(tier=tier, store=tier, eventual=eventual)


def _change(op: Op) -> str:
    match op:
        case Put():
            return "set"
        case Delete():
            return "delete"
        case Add() | Rewrite():
            return "increment"
        case Touch():
            return "expire"
        case Update():
            return "update"


class Observed:
    """A ``ports.Store`` that emits an ``events.Operation`` before and after each operation."""

    def __init__(self, stack: Stack, engine: Engine, name: str) -> None:
        store = stack.store
        self._tier = stack.tier
        self._store = store
        self._name = name
        self._cached = stack.coherent is not None or stack.near is not None
        self._location = engine.location
        self.form: Form = store.form
        self.identity: str = store.identity
        self.blocking: bool = store.blocking

    def _operation(
        self, kind: str, sks: Sequence[str], ops: Sequence[Op], name: str | None = None
    ) -> events.Operation:
        return events.Operation(
            self._name if name is None else name,
            kind,
            [key_of(sk) for sk in sks],
            [_change(op) for op in ops],
            cached=self._cached and kind not in {"scan", "count"},
            location=self._location,
        )

    async def _emit(
        self, kind: str, work: Awaitable[T], sks: Sequence[str] = (), ops: Sequence[Op] = ()
    ) -> T:
        return await self._emit_all([self._operation(kind, sks, ops)], work)

    async def _emit_all(self, operations: Sequence[events.Operation], work: Awaitable[T]) -> T:
        """Do the work of these operations; the first of them has its requests."""
        try:
            for operation in operations:
                events.emit(operation)
        except BaseException:
            getattr(work, "close", lambda: None)()
            raise
        start = time.perf_counter()
        try:
            with events.meter() as operations[0].requests:
                result = await work
        except BaseException as error:
            for operation in operations:
                operation.error = type(error).__name__
            raise
        else:
            for operation in operations:
                if operation.changes:
                    operation.applied = _applied(result, len(operation.changes))
            return result
        finally:
            seconds = time.perf_counter() - start
            for operation in operations:
                operation.seconds = seconds
                operation.ended = True
                events.emit(operation)

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Read one entry."""
        return await self._emit("read", self._tier.read(map, sk, now), (sk,))

    async def read_kept(self, map: str, sk: str, now: float) -> Stored | None:
        """Read one entry, which the near cache may serve."""
        return await self._emit("read", read_kept(self._tier)(map, sk, now), (sk,))

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        return await self._emit("write", self._tier.apply(map, sk, op, now), (sk,), (op,))

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Read many entries."""
        return await self._emit("read", self._tier.read_many(map, sks, now), sks)

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do many writes."""
        sks, ops = [sk for sk, _ in writes], [op for _, op in writes]
        return await self._emit("write", self._tier.apply_many(map, writes, now), sks, ops)

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none: one operation of each map."""
        maps: dict[str, list[Change]] = {}
        for change in changes:
            maps.setdefault(change.map, []).append(change)
        operations = [
            self._operation("write", [one.sk for one in of], [one.op for one in of], names(pk)[1])
            for pk, of in maps.items()
        ]
        work = self._tier.transact(changes, checks, now)
        return await self._emit_all(operations or [self._operation("write", (), ())], work)

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete a range."""
        await self._emit("clear", self._tier.clear(map, keys))

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Read a page."""
        return await self._emit("scan", self._store.scan(map, wanted, now))

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count a range."""
        return await self._emit("count", self._store.count(map, keys, now))

    def reads(self, of: Reads) -> Reads:
        """Return other reads of the store, which emit events too."""

        async def read(map: str, sk: str, now: float) -> Stored | None:
            return await self._emit("read", of.read(map, sk, now), (sk,))

        async def read_many(map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
            return await self._emit("read", of.read_many(map, sks, now), sks)

        async def scan(map: str, wanted: Scan, now: float) -> Page:
            return await self._emit("scan", of.scan(map, wanted, now))

        async def count(map: str, keys: KeyRange, now: float) -> int:
            return await self._emit("count", of.length(map, keys, now))

        return Reads(read, read_many, scan, count)

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return the catalogue's row of a map, without an event."""
        return await self._store.describe(namespace, name)

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity, without an event."""
        await self._store.renew(namespace)

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue: no operation of the map's user, so no event."""
        return await self._store.register(namespace, info)

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the catalogue, without an event."""
        return await self._store.maps(namespace)

    async def drop(self, namespace: str) -> None:
        """Delete the namespace, without an event."""
        await self._store.drop(namespace)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _applied(result: object, count: int) -> Sequence[bool]:
    """Return, for each of so many writes, whether it was done, by the result of the tier."""
    if isinstance(result, Aborted):
        return [False] * count
    outcomes = result if isinstance(result, list) else [result]
    # Of a transaction of several maps there are more, and all of them were done.
    return [isinstance(outcome, Applied) for outcome in outcomes][:count]

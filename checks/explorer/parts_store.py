"""A store, a cache of parts and a cache of heads, a dict each, for ``checks.explorer.large``.

Each call of a port waits for its turn, in which it is done at once. Knows ports, and which of its
callers runs; nothing of what they do. Invariant: a request that was sent over ``SIGNED`` seconds
before its turn is refused, as AWS refuses one whose signature is old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from lpcm.errors import StoreBusy, StoreUnavailable, ValueTooLarge
from lpcm.ports import (
    Aborted,
    Applied,
    CacheLost,
    Change,
    Check,
    Delete,
    KeyRange,
    Outcome,
    Page,
    Put,
    Replies,
    Result,
    Set,
    Stored,
    decide,
    holds,
)
from lpcm.ports import heads as ports_heads
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from lpcm.ports import Op, Packet, Scan

__all__ = ["MAP", "CachedHeads", "Step", "World"]

T = TypeVar("T")

MAP: Final = "ns/m/"
"""The partition of the one map."""
SIGNED: Final = 900.0
"""Seconds after which AWS refuses a request: its signature has a time."""


class Client(Protocol):
    """Who calls."""

    trace: list[Any]
    """The answers that it had so far."""
    sent: float
    """When the request was sent that is under way; 0: none is."""


class Step:
    """What a client awaits before each step: the scheduler goes on with it, or with another."""

    def __await__(self) -> Generator[Step, None, None]:
        yield self


class World:
    """The store, the caches and the clock. Each call waits for its turn; its answer is traced."""

    form = None
    blocking = False
    identity = "model"

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow
        self.entries: dict[tuple[str, str], Stored] = {}
        self.parts: dict[str, bytes] = {}
        self.heads: dict[str, Stored | None] = {}
        self.time = 1_000_000.0
        self.client: Client
        """The client that runs."""

    async def call(self, answer: Callable[[], T]) -> T:
        """Do one call of a port: sent, done at a later step, and answered at a later one still."""
        caller = self.client
        caller.sent = self.time
        await Step()
        if self.time > caller.sent + SIGNED:
            raise StoreUnavailable("the request's signature has expired")
        caller.sent = 0.0
        found = answer()
        caller.trace.append(found)
        if self.slow:  # where time passes, it may pass before the answer is used
            await Step()
        return found

    def at(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry, at once."""
        found = self.entries.get((map, sk))
        return found if found is None or found.expires is None or found.expires > now else None

    # ports.Store

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry."""
        return await self.call(lambda: self.at(map, sk, now))

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries."""
        return await self.call(lambda: [self.at(map, sk, now) for sk in sks])

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        if map == MAP and isinstance(op, Put) and self.splits(map, sk, op):
            raise ValueTooLarge("bytes go in parts here")
        return await self.call(lambda: self.do(map, sk, op, now))

    def do(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write, at once: what DynamoDB's store does with heads included."""
        current = self.at(map, sk, now)
        if isinstance(op, Put) and op.cell.kind == HEAD:
            for pk, key, when in ports_heads.owner_checks([Change(map, sk, op)]):
                if not holds(when, self.at(pk, key, now)):
                    raise StoreBusy("the owner is not open")
        outcome = decide(current, op)
        if isinstance(outcome, Applied):
            if outcome.entry is None:
                self.entries.pop((map, sk), None)
            else:
                self.entries[map, sk] = outcome.entry
            head = current is not None and current.kind == HEAD and isinstance(op, Put | Delete)
            outcome = outcome._replace(previous=current if head else None)
        return outcome

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes, in one step."""
        return await self.call(lambda: [self.do(map, sk, op, now) for sk, op in writes])

    async def read_spread(
        self, pks: Mapping[str, str], sks: Sequence[str], now: float
    ) -> list[Stored | None]:
        """Return the entries, in one step."""
        return await self.call(lambda: [self.at(pks[sk], sk, now) for sk in sks])

    async def apply_spread(
        self, pks: Mapping[str, str], writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes, in one step."""
        return await self.call(lambda: [self.do(pks[sk], sk, op, now) for sk, op in writes])

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Refuse."""
        raise NotImplementedError("no client here has transactions of its own")

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Refuse."""
        raise NotImplementedError("no client here clears")

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return all entries behind a key."""
        del now
        return await self.call(lambda: self._page(map, wanted))

    def _page(self, map: str, wanted: Scan) -> Page:
        found = sorted((sk, entry) for (pk, sk), entry in self.entries.items() if pk == map)
        return Page([each for each in found if each[0] > (wanted.after or "")], None)

    def splits(self, map: str, sk: str, op: Put) -> bool:
        """Tell whether a value goes in parts: bytes do."""
        del map, sk
        return type(op.cell.data) is bytes

    async def raise_format(self, namespace: str, name: str, least: int) -> Any:
        """Refuse."""
        raise NotImplementedError("the format of the one map is raised already")

    # ports.Cache, for parts

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets, in one step."""
        return await self.call(lambda: [self._sent(packet) for packet in packets])

    def _sent(self, packet: Packet) -> Replies:
        (command,) = packet.commands
        if isinstance(command, Set):
            self.parts[packet.key] = command.data
            return Replies([Result("HD")], 1)
        found = self.parts.get(packet.key, b"")
        return Replies([Result("VA", found, 0, len(found), len(found))], 1)

    # ports.Clock

    def now(self) -> float:
        """Return the time."""
        return self.time

    def monotonic(self) -> float:
        """Return the time."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Wait a turn."""
        await self.call(lambda: seconds)


class CachedHeads:
    """A tier of heads: as the coherent one, but for what a dead writer's invalidation leaves."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.apply_many = world.apply_many
        self.transact = world.transact
        self.clear = world.clear
        self.read_many = world.read_many

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry."""
        return await self._world.call(lambda: self._found(map, sk, now))

    def _found(self, map: str, sk: str, now: float) -> Stored | None:
        world = self._world
        if sk not in world.heads:  # a fill is published by a token, or not at all: one step
            world.heads[sk] = world.at(map, sk, now)
        return world.heads[sk]

    async def read_stored(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries in the store, and invalidate their heads."""
        (sk,) = sks
        found = await self._world.read(map, sk, now)
        await self._world.call(lambda: self._world.heads.pop(sk, None))
        return [found]

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        outcome = await self._world.apply(map, sk, op, now)
        await self._world.call(lambda: self._world.heads.pop(sk, None))
        return outcome

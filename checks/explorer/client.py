"""One client of the protocol, as the explorer runs it: requests and answers.

Runs ``lpcm.coherence.tier`` itself. The coroutine stops at each call of a port, which is a
request. Coroutines cannot be copied, so a client between two steps is the *node* of a graph: the
next request of its operation after a sequence of answers. A node is found by running the
coroutine again from its beginning on those answers, once. Where two coroutines are suspended at
the same place with the same variables (``checks.explorer.snapshot``), they are one node.

Knows what a client requests; the answers are the explorer's business. Invariant: a node depends
on nothing but the operation, the client's pending invalidations when it began, the time then, and
the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from checks.explorer.snapshot import Snapshot, freeze, held, snapshot
from lpcm.coherence.invalidation import Queue
from lpcm.coherence.protocol import Protocol
from lpcm.coherence.tier import Coherent, Policy
from lpcm.engine.combining import Increments
from lpcm.errors import LPCMError, OutcomeUnknown, StoreError
from lpcm.ports import (
    Aborted,
    Add,
    Applied,
    CacheLost,
    Cell,
    Change,
    Check,
    Delete,
    Get,
    Packet,
    Put,
    Refused,
    Replies,
    SetAdd,
    Update,
    When,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from lpcm.ports import Command, Op, Outcome, Stored

__all__ = [
    "EXPIRES",
    "LOST",
    "OTHER_CONDITION_FAILED",
    "Answer",
    "Node",
    "Operation",
    "Program",
    "Root",
]

EXPIRES = 100.0
"""Seconds that an entry with a time to live lives. A client's clock shows 0, later twice that."""

LOST = CacheLost("the connection is lost")
LEFT = OutcomeUnknown("its caller was cancelled")
OTHER_CONDITION_FAILED = StoreError("not written: another key's condition failed")
"""What a transaction returns for a key whose own condition held, where another key's failed."""


class Operation(NamedTuple):
    """What a client does: ``get``, ``put``, ``ttl`` (put to expire), ``add``, ``new``, ``del``.

    ``join`` is how a set's members are inserted. Two are transactions: ``transact`` puts under
    all keys, ``claim`` puts under the first one if there is nothing under any of them.
    ``together`` is some increments that met, each of which is a call; in ``leaving`` the first of
    their callers is cancelled while they are on their way.
    """

    kind: str
    keys: tuple[str, ...] = ("k",)
    value: int = 0
    deltas: tuple[int, ...] = ()

    def __str__(self) -> str:
        arguments = self.deltas or (() if self.kind in {"get", "del"} else (self.value,))
        return f"{self.kind}({', '.join(map(str, (*self.keys, *arguments)))})"

    def calls(self) -> list[tuple[str, str, int | None]]:
        """Return the key, kind and argument of each call that it makes."""
        if self.deltas:
            return [(self.keys[0], "add", delta) for delta in self.deltas]
        return [(key, *self._on(key)) for key in self.keys]

    def _on(self, key: str) -> tuple[str, int | None]:
        match self.kind:
            case "transact":
                return "put", self.value
            case "claim" if key != self.keys[0]:
                return "absent", None
            case kind:
                return kind, self.value or None


Program = tuple[Operation, ...]


class Answer(NamedTuple):
    """The answer to a client's request, and how long it took."""

    reply: Any
    seconds: float = 0.0


class _Ask:
    """What a coroutine awaits: one request to the explorer."""

    __slots__ = ("request",)

    def __init__(self, *request: Any) -> None:
        self.request = request

    def __await__(self) -> Generator[tuple[Any, ...], Any, Any]:
        return (yield self.request)


class ClientPorts:
    """The ports as one client has them: each call is a request to the scheduler."""

    # ruff: noqa: ARG002  # the ports have a map; here there is one

    form = None
    blocking = False

    def __init__(self, now: float) -> None:
        self.time = 0.0
        self.moment = now

    async def look(self, key: str, lease: int) -> bytes | Replies:
        replies = await self.send(Packet(key, (Get(lease),)))
        found = replies.results[0]
        return found.data[: found.base] if found.base else replies

    async def look_many(self, keys: Sequence[str], lease: int) -> list[bytes | Replies | CacheLost]:
        looks: list[bytes | Replies | CacheLost] = []
        for each in await self.send_many([Packet(key, (Get(lease),)) for key in keys]):
            if isinstance(each, Replies) and each.results[0].base:
                looks.append(each.results[0].data[: each.results[0].base])
            else:
                looks.append(each)
        return looks

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        (replies,) = await _Ask("cache", (packet,), fresh)
        if replies is LOST:
            raise LOST
        return cast("Replies", replies)

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        return list(await _Ask("cache", tuple(packets), False))  # as above

    def retry(self) -> None:
        """Do nothing: no server is ever marked down."""

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        entry = await _Ask("read", sk, now)
        if isinstance(entry, Exception):
            raise entry
        return cast("Stored | None", entry)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        outcome = await _Ask("apply", sk, op, now)
        if isinstance(outcome, Exception):
            raise outcome
        return cast("Outcome", outcome)

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        outcome = await _Ask("transact", tuple(changes), tuple(checks), now)
        if isinstance(outcome, Exception):
            raise outcome
        return cast("list[Applied] | Aborted", outcome)

    # The loops below keep their results in variables, where a snapshot finds them.

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        entries: list[Stored | None] = []
        while len(entries) < len(sks):
            entry = await self.read(map, sks[len(entries)], now)
            entries.append(entry)
        return entries

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        outcomes: list[Outcome | Exception] = []
        while len(outcomes) < len(writes):
            outcome = await _Ask("apply", *writes[len(outcomes)], now)
            outcomes.append(outcome)
        return outcomes

    def now(self) -> float:
        return self.moment

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Node:
    """A client between two answers."""

    __slots__ = (
        "_answers",
        "_root",
        "begun",
        "children",
        "ended",
        "fresh",
        "holds",
        "kind",
        "packets",
        "past",
        "pending",
        "request",
        "results",
        "sent",
        "touches",
    )

    def __init__(self, root: Root, answers: tuple[Answer, ...], seen: _Seen) -> None:
        self._root = root
        self._answers = answers
        """The first answers that led here; other answers may lead here as well."""
        self.begun = bool(answers)
        self.past = root.past
        self.children: dict[Answer, Node] = {}
        self.kind = seen.kind
        self.ended = seen.kind == "ended"
        self.packets: Sequence[Packet] = ()
        self.sent: Sequence[tuple[str, Command]] = ()
        """The packets' commands, each with its key."""
        self.fresh = False
        self.request: tuple[Any, ...] = ()
        self.pending = seen.pending
        self.results: tuple[Any, ...] = ()
        """For each key, once the operation has ended: its result, or the exception raised."""
        self.touches: Sequence[str] = ()
        """The keys of the store that the request is about."""
        self.holds = frozenset(held(seen.snapshot))
        """Each (generation, CAS id) that the client may still compare with an item's."""
        if self.ended:
            self.results = seen.request
        elif self.kind == "cache":
            self.packets, self.fresh = seen.request
            self.sent = [(packet.key, each) for packet in self.packets for each in packet.commands]
        else:
            self.request = seen.request
            if self.kind == "transact":
                self.touches = [each.sk for part in seen.request[:2] for each in part]
            else:
                self.touches = [seen.request[0]]

    def answered(self, answer: Answer) -> Node:
        """Return where the client is after this answer."""
        child = self.children.get(answer)
        if child is None:
            child = self.children[answer] = self._root.after((*self._answers, answer))
        return child


class _Seen(NamedTuple):
    """Where a run of an operation stopped."""

    kind: str
    """The request's kind: ``cache``, ``read``, ``apply``, ``transact``; or ``ended``."""
    request: tuple[Any, ...]
    pending: tuple[str, ...]
    snapshot: Snapshot


class Root:
    """The beginning of an operation of one client."""

    def __init__(
        self,
        operation: Operation,
        pending: tuple[str, ...],
        now: float,
        tier: Callable[..., Coherent],
        policy: Policy,
    ) -> None:
        self.operation = operation
        self._owed = pending
        self._now = now
        self.past = now > 0
        self._tier = tier
        self._policy = policy
        self._nodes: dict[Snapshot, Node] = {}
        self.node = self.after(())

    def after(self, answers: tuple[Answer, ...]) -> Node:
        """Return the node after these answers."""
        seen = self._run(answers)
        # The beginning is a node of its own even if the run comes back to it: no operation is
        # under way there.
        place = (seen.snapshot, bool(answers))
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = Node(self, answers, seen)
        return node

    def _run(self, answers: tuple[Answer, ...]) -> _Seen:
        ports = ClientPorts(self._now)
        tier = self._tier(ports, ports, ports, self._policy, jitter=lambda: 0.2)
        for key in self._owed:
            tier._pending[key] = None  # noqa: SLF001  # the client's memory of operations before
        coroutine = _perform(tier, self.operation, self._now)
        results: tuple[Any, ...]
        try:
            kind, *request = coroutine.send(None)
            for reply, seconds in answers:
                ports.time += seconds
                kind, *request = coroutine.send(reply)
        except StopIteration as end:
            results = tuple(map(_comparable, end.value))
        except LPCMError as error:
            results = (_comparable(error),) * len(self.operation.calls())
        else:
            pending = tuple(tier._pending)  # noqa: SLF001  # as above
            state = freeze((kind, request, pending, ports.time, tier._queue._after), _OPAQUE)  # noqa: SLF001  # as above
            seen = _Seen(kind, tuple(request), pending, (state, snapshot(coroutine, _OPAQUE)))
            coroutine.close()
            return seen
        pending = tuple(tier._pending)  # noqa: SLF001  # as above
        return _Seen("ended", results, pending, ("ended", results, pending))


_OPAQUE = (ClientPorts, Coherent, Increments, Protocol, Queue, Policy)
"""Objects that no operation changes. The pending invalidations are compared by themselves."""


def _comparable(result: Any) -> Any:
    """Return one object for all exceptions of one meaning: exceptions compare by identity."""
    if not isinstance(result, LPCMError):
        return result
    meaning = (type(result), getattr(result, "committed", None))
    return _MEANINGS.setdefault(meaning, result)


_MEANINGS: dict[tuple[Any, ...], LPCMError] = {}


async def _perform(tier: Coherent, operation: Operation, now: float) -> tuple[Any, ...]:
    """Do an operation; return the result on each key, an exception among them."""
    kind, keys, value, deltas = operation
    if deltas:
        return await _together(tier, operation, now)
    if kind == "get":
        if len(keys) == 1:
            entries = [await tier.read("", keys[0], now)]
        else:
            entries = await tier.read_many("", keys, now)
        return tuple(None if entry is None else entry.data for entry in entries)
    if kind in {"transact", "claim"}:
        return await _transact(tier, operation, now)
    if kind == "join":
        return (await _join(tier, keys[0], value, now),)
    op: Op
    match kind:
        case "put":
            op = Put(Cell(value, None), value)
        case "ttl":
            op = Put(Cell(value, None), value, now + EXPIRES)
        case "new":
            op = Put(Cell(value, None), value, None, When.ABSENT)
        case "add":
            op = Add(value, 0, value)
        case _:
            op = Delete()
    if len(keys) == 1:
        outcomes: list[Outcome | Exception] = [await tier.apply("", keys[0], op, now)]
    else:
        outcomes = await tier.apply_many("", [(key, op) for key in keys], now)
    return tuple(_returned(kind, outcome) for outcome in outcomes)


async def _transact(tier: Coherent, operation: Operation, now: float) -> tuple[Any, ...]:
    kind, keys, value, _ = operation
    claim = kind == "claim"
    put = Put(Cell(value, None), value, None, When.ABSENT if claim else When.ALWAYS)
    changes = [Change("", key, put) for key in (keys[:1] if claim else keys)]
    checks = [Check("", key, When.ABSENT) for key in (keys[1:] if claim else ())]
    done = await tier.transact(changes, checks, now)
    if not isinstance(done, Aborted):
        return (True if claim else None,) * len(keys)
    refused = {sk for _, sk, _ in done.reasons}
    return tuple(False if key in refused else OTHER_CONDITION_FAILED for key in keys)


class _Caller:
    """An increment that goes together with others."""

    __slots__ = ("op", "outcome")

    def __init__(self, op: Add) -> None:
        self.op = op
        self.outcome: Outcome | BaseException | None = None

    def settle(self, outcome: Outcome | BaseException) -> None:
        if self.outcome is None:
            self.outcome = outcome


async def _together(tier: Coherent, operation: Operation, now: float) -> tuple[Any, ...]:
    kind, (key,), _, deltas = operation
    callers = [_Caller(Add(delta, 0, delta)) for delta in deltas]
    made = getattr(tier, "increments", Increments)  # a mutant has its own
    await made(tier.apply, lambda: now).send(("", key, 0), callers)
    results = [_returned("add", cast("Outcome", each.outcome)) for each in callers]
    return (LEFT, *results[1:]) if kind == "leaving" else tuple(results)


async def _join(tier: Coherent, key: str, member: int, now: float) -> Any:
    """Insert into a set as ``LPCMSet`` does: make a missing set unless another client has."""
    while True:
        outcome = await tier.apply("", key, Update((), SetAdd(frozenset({member})), member), now)
        if isinstance(outcome, Refused) and outcome.entry is None:
            put = Put(Cell(member, None), member, None, When.ABSENT)
            outcome = await tier.apply("", key, put, now)
        if isinstance(outcome, Applied):
            assert outcome.entry is not None
            return outcome.entry.data


def _returned(kind: str, outcome: Outcome | Exception) -> Any:
    if isinstance(outcome, Exception):
        return outcome
    if kind == "new" or (kind == "add" and isinstance(outcome, Applied)):
        assert outcome.entry is not None
        return outcome.entry.data
    return None

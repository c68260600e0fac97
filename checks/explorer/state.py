"""The parts of a state of the explorer, and what a store and a connection do to them.

Plain, hashable tuples, numbered by ``Table``: a state is a tuple of such numbers. Knows no
scheduler and judges nothing.

Invariant: a part never changes; what happens to one makes another.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from checks.explorer.linearizability import MOST
from lpcm.coherence.tier import Policy
from lpcm.ports import (
    Aborted,
    Add,
    Applied,
    Put,
    Refused,
    Replies,
    SetAdd,
    Stored,
    Update,
)
from lpcm.ports.decisions import holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from checks.explorer.client import Node, Program
    from checks.explorer.linearizability import Call
    from lpcm.ports import Change, Check, Op, Outcome

__all__ = [
    "CONNECTIONS",
    "FAULTS",
    "FIRST",
    "GENERATION",
    "LATE",
    "LOSSY",
    "PAST",
    "POLICY",
    "UNEXPLAINED",
    "Faults",
    "Late",
    "Local",
    "Move",
    "Scenario",
    "State",
    "Table",
    "Value",
    "apply",
    "dealt",
    "live",
    "transact",
]

POLICY = Policy(strict=True, ttl=3600, mark=10, lease=5, patience=0.1, deadline=0.15, tries=2)


class Faults(NamedTuple):
    """How often each thing may go wrong in one history."""

    evict: int = 0
    """An item vanishes: evicted, flushed or expired."""
    expire: int = 0
    """A lease or a mark runs out."""
    crash: int = 0
    """A client dies during an operation."""
    stall: int = 0
    """A client gets an answer only after longer than ``mark``, by its clock."""
    restart: int = 0
    """memcached forgets all and counts from 1 again."""
    lose: int = 0
    """A connection breaks in or after a packet; what was sent may arrive later still."""
    unknown: int = 0
    """The store's reply is lost; a write was applied, or is later, or never."""
    cut: int = 0
    """A client cannot reach memcached for a while."""
    time: int = 0
    """The entries with a time to live end."""
    conflict: int = 0
    """Other transactions hold an entry all the time, so that the store gives one up."""


class Scenario(NamedTuple):
    """What each client does, and what may go wrong."""

    name: str
    programs: tuple[Program, ...]
    faults: Faults = Faults()
    policy: Policy = POLICY
    eventual: bool = False
    """Whether a read of the store may return the previous value: for a mutant."""


class Value(NamedTuple):
    """The stored entry of a key, and the entry before it."""

    entry: Stored | None = None
    before: Stored | None = None


class Local(NamedTuple):
    """A client between two steps."""

    number: int
    done: int = 0
    """Operations completed."""
    node: Node | None = None
    """Where in the operation under way; None: not begun."""
    partial: tuple[Any, ...] = ()
    """Results of the packets on their way, in order."""
    started: int = 0
    """The connection they went over."""
    losses: int = 0
    """Connections lost, and so the number of the connection in use."""
    pending: tuple[str, ...] = ()
    unknown: tuple[tuple[int, Call], ...] = ()
    """(key, write) of each write that may yet take effect."""
    cut: bool = False
    dead: bool = False


class Late(NamedTuple):
    """Commands or a write whose sender waits no more, and which may still arrive."""

    commands: tuple[tuple[int, Any], ...]
    """(key, command or write)."""
    generation: int
    """The generation of the server that it was sent to; 0: it was sent to the store."""


class Move(NamedTuple):
    """One step of a client, as far as it depends on the client and one key alone."""

    label: str
    fault: str
    """The fault that the step uses up, if any."""
    local: int
    focus: int
    """The item, or the stored value, afterwards."""
    late: Late | None = None
    lossy: bool = False
    ended: tuple[tuple[int, Call, Any], ...] = ()
    """(key, call, result) for each key of an operation that ended with this step."""
    more: tuple[tuple[int, int], ...] = ()
    """The other positions that a transaction changes in the state, each with its new part."""


State: TypeAlias = "tuple[int, ...]"
GENERATION, PAST, FAULTS, LATE, LOSSY, FIRST = range(6)
CONNECTIONS = 1000
UNEXPLAINED = 0
"""The number of the monitor with no configuration left."""


class Table(dict[Any, int]):
    """Numbers for the parts of states, in the order they are met."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Any] = []

    def __missing__(self, part: Any) -> int:
        self.parts.append(part)
        number = self[part] = len(self.parts) - 1
        return number


def live(entry: Stored | None, now: float) -> Stored | None:
    """Return the entry unless it has expired."""
    expired = entry is not None and entry.expires is not None and entry.expires <= now
    return None if expired else entry


def apply(value: Value, op: Op, now: float) -> tuple[Value, Outcome]:
    """Apply a write to a stored value."""
    current = live(value.entry, now)
    made: Stored | None
    match op:
        case Put((data, _), etag, expires, when):
            if not holds(when, current):
                return value, Refused(current)
            made = Stored(data, None, etag, expires)
        case Add(delta, initial, etag):
            held = cast("int", initial if current is None else current.data)
            if held + delta > MOST:
                return value, Refused(current)
            made = Stored(held + delta, None, etag, current.expires if current else None)
        case Update(_, SetAdd(members), etag):  # a set is an int here, a bit for each member
            if current is None:
                return value, Refused(current)
            held = cast("int", current.data)
            made = Stored(reduce(or_, cast("frozenset[int]", members), held), None, etag, None)
        case _:
            made = None
    return Value(made, value.entry), Applied(made)


def transact(
    values: dict[str, Value], changes: Sequence[Change], checks: Sequence[Check], now: float
) -> tuple[dict[str, Value], tuple[Outcome, ...] | Aborted]:
    """Apply a transaction to the stored value of each key."""
    wanted = [(each.sk, each.op.when) for each in changes] + [(c.sk, c.when) for c in checks]
    found = {sk: live(value.entry, now) for sk, value in values.items()}
    reasons = tuple(("", sk, Refused(found[sk])) for sk, w in wanted if not holds(w, found[sk]))
    if reasons:
        return values, Aborted(reasons)
    done = {each.sk: apply(values[each.sk], each.op, now) for each in changes}
    after = {**values, **{sk: value for sk, (value, _) in done.items()}}
    return after, tuple(outcome for _, outcome in done.values())


def dealt(node: Node, results: tuple[Any, ...], connection: int) -> tuple[Replies, ...]:
    """Return each packet's replies, as far as its results are complete."""
    replies: list[Replies] = []
    start = 0
    for packet in node.packets:
        stop = start + len(packet.commands)
        if stop > len(results):
            break
        replies.append(Replies(results[start:stop], connection))
        start = stop
    return tuple(replies)

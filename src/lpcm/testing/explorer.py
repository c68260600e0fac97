"""The explorer: every interleaving of a few clients of the protocol, each one judged.

Runs ``lpcm._coherence`` itself, not a model of it, against a model of memcached and a store
that are a few tuples each (the former is compared with the real server in the tests), under
a scheduler that owns every step: each command of each client, each fault. A monitor follows
every history as it grows and knows exactly whether it still is linearizable.

A step is one command at the server, or one call of the store. An operation begins with its
first step and ends with its last one: the strictest reading of "before" there is.

Two properties are judged at every step:

``not linearizable``
    no order of the operations explains what they returned. In a column whose clients may be
    cut off in available mode, a read may return any value the key ever had, and only the
    writes must be explained.
``stale for good``
    everyone alive is between two operations, owes no invalidation, and no mark was lost or
    outlived; yet an item differs from what is stored, and will live longer than ``mark``.

Invariant: a state is a tuple of small integers, each the number of one part in a table of
all parts met so far. Equal states are equal tuples: nothing is hashed away. A new CAS id is
the smallest that no item and no client holds: only their being equal matters, and so states
that differ by the ids' names alone are one.
"""

from __future__ import annotations

import random
import time
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from lpcm._coherence import Coherent, Policy
from lpcm._payload import unpack
from lpcm.errors import LPCMError, OutcomeUnknown, StoreUnavailable
from lpcm.ports import Add, Applied, Get, Put, Refused, Replies, Set, Stored, When
from lpcm.testing import linearizable
from lpcm.testing._world import EXPIRES, LOST, Answer, Root
from lpcm.testing.linearizable import Call
from lpcm.testing.model_memcached import Item, Server, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Command, Op, Outcome
    from lpcm.testing._world import Node, Program

__all__ = ["POLICY", "Column", "Counterexample", "Explored", "Faults", "explore", "simulate"]

POLICY = Policy(strict=True, ttl=3600, mark=10, lease=5, patience=0.1, deadline=0.15, tries=2)

NOT_LINEARIZABLE = "not linearizable"
STALE = "stale for good"


class Faults(NamedTuple):
    """How often each thing may go wrong in one history."""

    evict: int = 0
    """An item vanishes: evicted, flushed or expired."""
    expire: int = 0
    """A lease or a mark runs out."""
    crash: int = 0
    """A client dies amid an operation."""
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


class Column(NamedTuple):
    """One bounded world: what each client does, and what may go wrong."""

    name: str
    programs: tuple[Program, ...]
    faults: Faults = Faults()
    policy: Policy = POLICY
    eventual: bool = False
    """Whether a read of the store may return the value before the last one: for a mutant."""


class Explored(NamedTuple):
    """A column searched to its end, with no violation."""

    column: str
    states: int
    steps: int
    seconds: float


class Counterexample(AssertionError):
    """A history that breaks the promise."""

    def __init__(self, column: str, broken: str, what: str, history: Sequence[str]) -> None:
        self.column = column
        self.broken = broken
        """The property: ``not linearizable`` or ``stale for good``."""
        self.history = list(history)
        steps = "\n".join(f"  {number:2} {line}" for number, line in enumerate(history, 1))
        super().__init__(f"{column}: {broken}: {what}\n{steps}")


class _Value(NamedTuple):
    """What the store holds under a key, and held before that."""

    entry: Stored | None = None
    before: Stored | None = None


class _Local(NamedTuple):
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
    """Connections lost, and so the number of the one in use."""
    owed: tuple[str, ...] = ()
    unknown: tuple[tuple[int, Call], ...] = ()
    """(key, write) of those that may yet take effect."""
    cut: bool = False
    dead: bool = False


class _Late(NamedTuple):
    """What was sent by someone who no longer listens, and may still arrive."""

    commands: tuple[tuple[int, Any], ...]
    """(key, command or write)."""
    generation: int
    """Of the server it was sent to; 0: to the store."""


class _Move(NamedTuple):
    """One step of a client, as far as it depends on the client and one key alone."""

    label: str
    fault: str
    """What it uses up, if anything."""
    local: int
    focus: int
    """The item, or the stored value, afterwards."""
    late: _Late | None = None
    lossy: bool = False
    ended: tuple[tuple[int, Call, Any], ...] = ()
    """(key, call, result) of an operation that ended with this."""


_State: TypeAlias = "tuple[int, ...]"
_GENERATION, _PAST, _FAULTS, _LATE, _LOSSY, _FIRST = range(6)
_CONNECTIONS = 1000
_UNEXPLAINED = 0
"""The number of the monitor with no configuration left."""


class _Table(dict[Any, int]):
    """Numbers for the parts of states, in the order they are met."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Any] = []

    def __missing__(self, part: Any) -> int:
        self.parts.append(part)
        number = self[part] = len(self.parts) - 1
        return number


class _Explorer:
    """The graph of one column's states."""

    def __init__(self, column: Column, tier: Callable[..., Coherent]) -> None:
        self.column = column
        self.programs = column.programs
        self.policy = column.policy
        self.may = column.faults
        self.relaxed = not column.policy.strict
        names = {key for program in self.programs for each in program for key in each.keys}
        self.names = sorted(names)
        self.at = {name: number for number, name in enumerate(self.names)}
        keys, clients = len(self.names), len(self.programs)
        self.servers = range(_FIRST, _FIRST + keys)
        self.stored = range(_FIRST + keys, _FIRST + 2 * keys)
        self.monitors = range(_FIRST + 2 * keys, _FIRST + 3 * keys)
        self.locals = range(_FIRST + 3 * keys, _FIRST + 3 * keys + clients)
        self.pack = Struct(f"={_FIRST + 3 * keys + clients}I").pack
        self.table_items, self.table_stored, self.table_monitors = _Table(), _Table(), _Table()
        self.table_locals, self.table_faults, self.table_late = _Table(), _Table(), _Table()
        self._tier = tier
        self._cas = 0
        """The next one, while moves are made."""
        self._past = 0
        """Whether the entries with a time to live have ended, at the same time."""
        self._roots: dict[tuple[int, int, tuple[str, ...], int], Root] = {}
        self._moves: dict[tuple[int, ...], tuple[_Move, ...]] = {}
        self._idle: set[int] = set()
        """The clients that are dead, or between operations and owe nothing."""
        self._held: dict[tuple[int, int], int] = {}
        self._focus: dict[tuple[int, int], tuple[int, Node]] = {}
        self._ends: dict[tuple[Any, ...], int] = {}
        self._calls: dict[tuple[int, int, int], tuple[Call, ...]] = {}
        self._expiring = frozenset(
            each.value for program in self.programs for each in program if each.kind == "ttl"
        )
        self._slot = [sum(map(len, self.programs[:number])) for number in range(clients)]

    def start(self) -> _State:
        """Return the state in which nothing is stored, cached or begun."""
        assert self.table_monitors[frozenset[Any]()] == _UNEXPLAINED
        idle = linearizable.START if not self.relaxed else frozenset({((None,), frozenset[Any]())})
        return (
            *(1, 0, self.table_faults[self.column.faults], self.table_late[()], 0),
            *(self.table_items[None] for _ in self.servers),
            *(self.table_stored[_Value()] for _ in self.stored),
            *(self.table_monitors[idle] for _ in self.monitors),
            *(self.table_locals[_Local(number)] for number in range(len(self.programs))),
        )

    # The steps out of a state

    def steps(self, state: _State) -> list[tuple[str, _State]]:
        """Return all that may happen next, with what to call it."""
        after: list[tuple[str, _State]] = []
        faults = self.table_faults.parts[state[_FAULTS]]
        for place in self.locals:
            for move in self._moves_of(state, state[place]):
                if move.fault and not getattr(faults, move.fault):
                    continue
                after.append((move.label, self._moved(state, place, move, faults)))
        if state[_LATE]:
            self._arrivals(state, after)
        if faults.evict or faults.expire or faults.restart or faults.time:
            self._accidents(state, faults, after)
        return after

    def _moves_of(self, state: _State, number: int) -> tuple[_Move, ...]:
        local: _Local = self.table_locals.parts[number]
        if local.dead or local.done == len(self.programs[local.number]):
            return ()
        past = state[_PAST]
        known = self._focus.get((number, past))
        if known is None:
            node = local.node or self._root(local, past).node
            known = self._focus[number, past] = (self._focus_of(node, local), node)
        focus, node = known
        cas = self._new_cas(state, state[focus]) if node.kind == "cache" else 0
        key = (number, past, state[_GENERATION], state[focus], cas)
        moves = self._moves.get(key)
        if moves is None:
            self._cas, self._past = cas, past
            moves = tuple(self._make_moves(local, node, state[_GENERATION], focus, state[focus]))
            self._moves[key] = moves
        return moves

    def _new_cas(self, state: _State, item: int) -> int:
        """Return the smallest CAS id that nobody has from this generation of the server."""
        generation = state[_GENERATION]
        mask = 1
        for place in self.locals:
            known = self._held.get((state[place], generation))
            if known is None:
                known = self._held[state[place], generation] = self._hold(state[place], generation)
            mask |= known
        for late in self.table_late.parts[state[_LATE]]:
            if late.generation == generation:
                for _, command in late.commands:
                    mask |= 1 << (getattr(command, "cas", None) or 0)
        held: Item | None = self.table_items.parts[item]
        if held is not None:
            mask |= 1 << held.cas
        return (~mask & (mask + 1)).bit_length() - 1

    def _hold(self, number: int, generation: int) -> int:
        local: _Local = self.table_locals.parts[number]
        mask = 0
        if local.node is not None and not local.dead:
            for of, cas in local.node.holds:
                if of in {0, generation}:
                    mask |= 1 << cas
            if local.started // _CONNECTIONS == generation:
                for result in local.partial:
                    mask |= 1 << result.cas
        return mask

    def _root(self, local: _Local, past: int) -> Root:
        place = (local.number, local.done, local.owed, past)
        root = self._roots.get(place)
        if root is None:
            operation = self.programs[local.number][local.done]
            now = 2 * EXPIRES * past
            root = self._roots[place] = Root(operation, local.owed, now, self._tier, self.policy)
        return root

    def _focus_of(self, node: Node, local: _Local) -> int:
        """Return where in a state the item or value stands that the next step is about."""
        if node.kind == "cache":
            return self.servers[self.at[node.sent[len(local.partial)][0]]]
        if node.kind == "ended":  # nothing to do, as settling when nothing is owed
            return _GENERATION
        return self.stored[self.at[node.request[0]]]

    def _moved(self, state: _State, place: int, move: _Move, faults: Faults) -> _State:
        after = list(state)
        local: _Local = self.table_locals.parts[state[place]]
        node = self._focus[state[place], state[_PAST]][1]
        after[self._focus_of(node, local)] = move.focus
        after[place] = move.local
        if move.fault:
            left = faults._replace(**{move.fault: getattr(faults, move.fault) - 1})
            after[_FAULTS] = self.table_faults[left]
        if move.late is not None:
            late = (*self.table_late.parts[state[_LATE]], move.late)
            after[_LATE] = self.table_late[tuple(sorted(late, key=repr))]
        if move.lossy:
            after[_LOSSY] = 1
        for at, call, result in move.ended:
            after[self.monitors[at]] = self._end(state, at, call, result)
        return tuple(after)

    def _make_moves(
        self, local: _Local, node: Node, generation: int, focus: int, resource: int
    ) -> list[_Move]:
        operation = self.programs[local.number][local.done]
        who = f"{local.number + 1} {operation}"
        if node.kind == "ended":
            moves = [self._end_at_once(local, node, who, resource)]
        elif node.kind == "cache":
            moves = self._send(local, node, who, generation, resource)
        elif node.kind == "read":
            moves = self._read(local, node, who, resource)
        else:
            moves = self._write(local, node, who, focus, resource)
        if self.may.crash and (node.begun or local.partial):
            dead = local._replace(dead=True, partial=())
            moves.append(_Move(f"{who}: dies", "crash", self.table_locals[dead], resource))
        return moves

    def _end_at_once(self, local: _Local, node: Node, who: str, resource: int) -> _Move:
        after = local._replace(done=local.done + 1, node=None, owed=node.owed)
        return _Move(f"{who}: has nothing to do", "", self.table_locals[after], resource)

    def _send(
        self, local: _Local, node: Node, who: str, generation: int, resource: int
    ) -> list[_Move]:
        """Bring one command of the packets to the server, or fail to."""
        moves: list[_Move] = []
        at = len(local.partial)
        losses = local.losses + (node.fresh and at == 0)
        connection = generation * _CONNECTIONS + losses
        bound = {p.connection for p in node.packets} - {None}
        lost = local._replace(partial=(), losses=losses + 1)
        none = (LOST,) * len(node.packets)
        if local.cut:
            moves.append(self._told((local, node), f"{who}: is cut off", none, resource))
            healed = local._replace(cut=False)
            moves.append(
                _Move(f"{who}: can connect again", "", self.table_locals[healed], resource)
            )
            return moves
        if (at and local.started != connection) or (bound and bound != {connection}):
            return [self._told((lost, node), f"{who}: its connection is gone", none, resource)]
        key, command = node.sent[at]
        server, result = execute(Server(self.table_items.parts[resource], self._cas - 1), command)
        partial = (*local.partial, result)
        label = f"{who}: {_shown(key, command)} → {_said(result)}"
        after = self.table_items[server.item]
        if len(partial) < len(node.sent):
            going = local._replace(node=node, partial=partial, started=connection, losses=losses)
            moves.append(_Move(label, "", self.table_locals[going], after))
        else:
            whole = local._replace(partial=(), losses=losses)
            replies: tuple[Any, ...] = _dealt(node, partial, connection)
            moves.append(self._told((whole, node), label, replies, after))
            if self.may.stall:
                moves.append(self._told((whole, node), label, replies, after, stalls=True))
        if self.may.cut:
            gone = lost._replace(cut=True)
            moves.append(self._told((gone, node), f"{who}: is cut off", none, resource, "cut"))
        if not self.may.lose:
            return moves
        # The connection may break here: what came before was done, what comes after may be.
        had = _dealt(node, local.partial, connection)
        heard = {none, tuple([*had, *none][: len(none)])}
        rest = tuple((self.at[k], each) for k, each in node.sent[at:])
        for replies in sorted(heard, key=len):
            moves.append(
                self._told((lost, node), f"{who}: loses its connection", replies, resource, "lose")
            )
            text = f"{who}: loses its connection, {len(rest)} of its commands under way"
            moves.append(
                self._told((lost, node), text, replies, resource, "lose")._replace(
                    late=_Late(rest, generation)
                )
            )
        return moves

    def _read(self, local: _Local, node: Node, who: str, resource: int) -> list[_Move]:
        _, now = node.request
        value: _Value = self.table_stored.parts[resource]
        moves: list[_Move] = []
        entries = [value.entry, *([value.before] if self.column.eventual else [])]
        for entry in dict.fromkeys(entries):
            seen = _live(entry, now)
            label = f"{who}: reads {None if seen is None else seen.data} from the store"
            moves.append(self._told((local, node), label, seen, resource))
            if self.may.stall:
                moves.append(self._told((local, node), label, seen, resource, stalls=True))
        if not self.may.unknown:
            return moves
        failed = f"{who}: the store does not answer"
        moves.append(self._told((local, node), failed, _NO_ANSWER, resource, "unknown"))
        return moves

    def _write(self, local: _Local, node: Node, who: str, focus: int, resource: int) -> list[_Move]:
        _, op, now = node.request
        value: _Value = self.table_stored.parts[resource]
        stored, outcome = _apply(value, op, now)
        after = self.table_stored[stored]
        data = None if stored.entry is None else stored.entry.data
        label = f"{who}: the store has {data}"
        moves = [self._told((local, node), label, outcome, after)]
        if self.may.stall:
            moves.append(self._told((local, node), label, outcome, after, stalls=True))
        if self.may.unknown:
            text = f"{label}, the reply is lost"
            moves.append(self._told((local, node), text, _UNKNOWN, after, "unknown"))
            text = f"{who}: the store does not answer"
            late = _Late(((self.stored.index(focus), (op, now)),), 0)
            move = self._told((local, node), text, _UNKNOWN, resource, "unknown")
            moves.append(move._replace(late=late))
        return moves

    def _told(
        self,
        client: tuple[_Local, Node],
        label: str,
        reply: Any,
        resource: int,
        fault: str = "",
        *,
        stalls: bool = False,
    ) -> _Move:
        """Give a client its answer, and end its operation if that was all it waited for."""
        local, node = client
        if stalls:
            label, fault = f"{label}, after a stall", "stall"
        child = node.told(Answer(reply, self.policy.mark if stalls else 0.0))
        if not child.ended:
            after = local._replace(node=child)
            return _Move(label, fault, self.table_locals[after], resource)
        operation = self.programs[local.number][local.done]
        after = local._replace(done=local.done + 1, node=None, owed=child.owed)
        ended: list[tuple[int, Call, Any]] = []
        for name, result in zip(operation.keys, child.results, strict=True):
            at, call = self.at[name], self._call(local, node)
            if isinstance(result, OutcomeUnknown):  # committed or not: readers may see it later
                after = after._replace(unknown=(*after.unknown, (at, call)))
            else:
                ended.append((at, call, result))
        told = ", ".join(_told_as(result) for result in child.results)
        label = f"{label}; returns {told}" if told else label
        return _Move(label, fault, self.table_locals[after], resource, ended=tuple(ended))

    def _arrivals(self, state: _State, after: list[tuple[str, _State]]) -> None:
        """Let what was sent long ago arrive."""
        flying: tuple[_Late, ...] = self.table_late.parts[state[_LATE]]
        for place, late in enumerate(flying):
            (at, command), *rest = late.commands
            left = [late._replace(commands=tuple(rest))] if rest else []
            remaining = sorted([*flying[:place], *left, *flying[place + 1 :]], key=repr)
            moved = list(state)
            moved[_LATE] = self.table_late[tuple(remaining)]
            if late.generation == 0:
                stored, _ = _apply(self.table_stored.parts[state[self.stored[at]]], *command)
                moved[self.stored[at]] = self.table_stored[stored]
                moved[_LOSSY] = 1
                data = None if stored.entry is None else stored.entry.data
                after.append((f"late: the store has {data}", tuple(moved)))
            elif late.generation == state[_GENERATION]:
                item = state[self.servers[at]]
                cas = self._new_cas(state, item)
                server, result = execute(Server(self.table_items.parts[item], cas - 1), command)
                moved[self.servers[at]] = self.table_items[server.item]
                label = f"late: {_shown(self.names[at], command)} → {_said(result)}"
                after.append((label, tuple(moved)))

    def _accidents(self, state: _State, faults: Faults, after: list[tuple[str, _State]]) -> None:
        for at, place in enumerate(self.servers):
            item: Item | None = self.table_items.parts[state[place]]
            if item is None:
                continue
            short = item.ttl <= self.policy.mark
            for fault in ("expire",) if short and faults.expire else ("evict",):
                if not getattr(faults, fault):
                    continue
                left = faults._replace(**{fault: getattr(faults, fault) - 1})
                gone = list(state)
                gone[place] = self.table_items[None]
                gone[_FAULTS] = self.table_faults[left]
                gone[_LOSSY] |= len(item.data) > item.flags
                word = "expires" if fault == "expire" else "is evicted"
                after.append((f"the item of {self.names[at]} {word}", tuple(gone)))
        if faults.restart:
            anew = list(state)
            for place in self.servers:
                item = self.table_items.parts[state[place]]
                anew[_LOSSY] |= item is not None and len(item.data) > item.flags
                anew[place] = self.table_items[None]
            anew[_GENERATION] += 1
            anew[_FAULTS] = self.table_faults[faults._replace(restart=faults.restart - 1)]
            after.append(("memcached restarts", tuple(anew)))
        if faults.time:
            later = list(state)
            later[_PAST] = 1
            later[_FAULTS] = self.table_faults[faults._replace(time=0)]
            call = Call(-1, "expire", self._expiring)
            for at, place in enumerate(self.monitors):
                later[place] = self._end(state, at, call, None)
            after.append(("the time to live is over", tuple(later)))

    # The history

    def _call(self, local: _Local, node: Node) -> Call:
        operation = self.programs[local.number][local.done]
        slot = self._slot[local.number] + local.done
        if operation.kind != "ttl":
            return Call(slot, operation.kind, operation.value or None)
        over = self._past and not node.past
        return Call(slot, "put", None if over else operation.value)

    def _under_way(self, number: int, at: int, past: int) -> tuple[Call, ...]:
        """Return a client's calls on a key that may take effect from now on."""
        known = self._calls.get((number, at, past))
        if known is None:
            self._past = past
            local: _Local = self.table_locals.parts[number]
            known = tuple(call for key, call in local.unknown if key == at)
            if local.node is not None:
                operation = self.programs[local.number][local.done]
                if self.names[at] in operation.keys:
                    known += (self._call(local, local.node),)
            self._calls[number, at, past] = known
        return known

    def _end(self, state: _State, at: int, call: Call, result: Any) -> int:
        others = tuple(
            each
            for other in self.locals
            for each in self._under_way(state[other], at, state[_PAST])
            if each.slot != call.slot
        )
        before = state[self.monitors[at]]
        key = (before, others, call, result)
        number = self._ends.get(key)
        if number is None:
            configurations = self.table_monitors.parts[before]
            perform = linearizable.perform_in_history if self.relaxed else linearizable.perform
            if isinstance(result, LPCMError):  # nothing was written, or read
                after = linearizable.withdraw(configurations, call)
            elif self.relaxed and call.kind == "get":
                after = linearizable.end_stale_read(configurations, others, result)
            else:
                after = linearizable.end(configurations, others, call, result, perform)
            number = self._ends[key] = self.table_monitors[after]
        return number

    def broken(self, state: _State) -> tuple[str, str] | None:
        """Return the property that this state breaks, and on which key."""
        for at, place in enumerate(self.monitors):
            if state[place] == _UNEXPLAINED:
                return NOT_LINEARIZABLE, f"no order explains what was returned for {self.names[at]}"
        if state[_LOSSY] or state[_LATE]:
            return None
        for place in self.locals:
            if state[place] in self._idle:
                continue
            local: _Local = self.table_locals.parts[state[place]]
            if not local.dead and (local.node is not None or local.owed):
                return None
            self._idle.add(state[place])
        for at, (place, kept) in enumerate(zip(self.servers, self.stored, strict=True)):
            item = self.table_items.parts[state[place]]
            if item is None or not item.flags or item.ttl <= self.policy.mark:
                continue
            now = 2 * EXPIRES * state[_PAST]
            cached = _live(unpack(item.data[: item.flags]), now)
            if cached != _live(self.table_stored.parts[state[kept]].entry, now):
                return STALE, f"{self.names[at]} is cached for {item.ttl} s as {cached}"
        return None


_UNKNOWN = OutcomeUnknown("the store's reply is lost")
_NO_ANSWER = StoreUnavailable("the store does not answer")


def _live(entry: Stored | None, now: float) -> Stored | None:
    expired = entry is not None and entry.expires is not None and entry.expires <= now
    return None if expired else entry


def _apply(value: _Value, op: Op, now: float) -> tuple[_Value, Outcome]:
    """Apply a write to what is stored."""
    current = _live(value.entry, now)
    made: Stored | None
    match op:
        case Put((data, _), etag, expires, when):
            if when is When.ABSENT and current is not None:
                return value, Refused(current)
            made = Stored(data, None, etag, expires)
        case Add(delta, initial, etag):
            held = cast("int", initial if current is None else current.data)
            made = Stored(held + delta, None, etag, current.expires if current else None)
        case _:
            made = None
    return _Value(made, value.entry), Applied(made)


def _dealt(node: Node, results: tuple[Any, ...], connection: int) -> tuple[Replies, ...]:
    """Deal results out to the packets they belong to, as far as they are complete."""
    replies: list[Replies] = []
    start = 0
    for packet in node.packets:
        stop = start + len(packet.commands)
        if stop > len(results):
            break
        replies.append(Replies(results[start:stop], connection))
        start = stop
    return tuple(replies)


def _shown(key: str, command: Command) -> str:
    match command:
        case Get(lease, touch, value):
            flags = [("v", "") if value else ("", ""), ("N", lease), ("T", touch)]
            return " ".join(["mg", key, *(f"{f}{v}" for f, v in flags if v not in {None, ""})])
        case Set(data, base, ttl, mode, cas):
            text = str(_data(data[:base])) if base else ""
            text += "+" * (len(data) - base)
            cond = "" if cas is None else f" C{cas}"
            how = "" if mode == "S" else f" M{mode}"
            return f"ms {key} {text}{how} T{ttl}{cond}"
        case _:
            cond = "" if command.cas is None else f" C{command.cas}"
            return f"md {key} I{cond}"


def _data(base: bytes) -> Any:
    entry = unpack(base)
    return None if entry is None else entry.data


def _said(result: Any) -> str:
    data = ""
    if result.status == "VA":
        data = str(_data(result.data[: result.base])) if result.base else "-"
        data += "+" * (result.size - result.base)
    flags = "".join(
        f for f, on in zip("WXZ", (result.won, result.stale, result.taken), strict=True) if on
    )
    words = [result.status, data, f"c{result.cas}" if result.cas else "", flags]
    return " ".join(word for word in words if word)


def _told_as(result: Any) -> str:
    return type(result).__name__ if isinstance(result, Exception) else str(result)


def explore(
    column: Column,
    *,
    tier: Callable[..., Coherent] = Coherent,
    shortest: bool = False,
    limit: int = 100_000_000,
) -> Explored:
    """Visit every state of a column; raise the ``Counterexample`` found, if there is one.

    ``shortest``: breadth first, so that a counterexample is one of the shortest. ``limit``:
    states, over which RuntimeError is raised.
    """
    explorer = _Explorer(column, tier)
    began = time.monotonic()
    pack, steps_of, broken = explorer.pack, explorer.steps, explorer.broken
    start = explorer.start()
    known = {pack(*start)}
    # A path is (path before, state): the labels are found again when they are wanted.
    todo: deque[tuple[Any, _State]] = deque([(None, start)])
    take = todo.popleft if shortest else todo.pop
    steps = 0
    while todo:
        path = take()
        for _, after in steps_of(path[1]):
            steps += 1
            packed = pack(*after)
            if packed in known:
                continue
            known.add(packed)
            wrong = broken(after)
            if wrong is not None:
                raise Counterexample(column.name, *wrong, _labels(explorer, (path, after)))
            todo.append((path, after))
        if len(known) > limit:
            raise RuntimeError(f"{column.name}: over {limit:,} states")
    return Explored(column.name, len(known), steps, time.monotonic() - began)


def _labels(explorer: _Explorer, path: tuple[Any, _State]) -> list[str]:
    labels: list[str] = []
    while path[0] is not None:
        before, after = path
        labels.append(next(label for label, state in explorer.steps(before[1]) if state == after))
        path = before
    return labels[::-1]


def simulate(
    column: Column, *, seed: int, seconds: float, tier: Callable[..., Coherent] = Coherent
) -> Explored:
    """Walk at random through a column too large to be searched; raise what is found.

    The same seed takes the same walks, as far as the time reaches.
    """
    explorer = _Explorer(column, tier)
    rng = random.Random(seed)  # noqa: S311  # a seed is the point
    began = time.monotonic()
    walks = steps = 0
    while time.monotonic() - began < seconds:
        walks += 1
        path: tuple[Any, _State] = (None, explorer.start())
        while after := explorer.steps(path[1]):
            steps += 1
            path = (path, rng.choice(after)[1])
            wrong = explorer.broken(path[1])
            if wrong is not None:
                name = f"{column.name} (seed {seed})"
                raise Counterexample(name, *wrong, _labels(explorer, path))
    return Explored(column.name, walks, steps, time.monotonic() - began)

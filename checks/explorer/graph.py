"""The graph that the explorer searches: the next steps of a state, and the promise that it breaks.

Runs each client of ``client`` against a model of memcached and a store, one step at a time,
and keeps for each key what its history still allows (``linearizability``). Knows no search.

Invariant: a state is a tuple of small integers, each the number of one part in a table of
all parts met so far. Equal states are equal tuples: nothing is hashed away. A new CAS id is
the smallest that no item and no client holds. Only the equality of ids matters, so states
that differ by the values of ids alone are one state.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from checks.explorer import linearizability as linearizable
from checks.explorer.client import EXPIRES, LOST, Answer, Root
from checks.explorer.faults import accidents, arrivals
from checks.explorer.linearizability import Call
from checks.explorer.memcached_model import Item, Server, execute
from checks.explorer.report import command_text, reply_text, result_text
from checks.explorer.state import (
    CONNECTIONS,
    FAULTS,
    FIRST,
    GENERATION,
    LATE,
    LOSSY,
    PAST,
    UNEXPLAINED,
    Faults,
    Late,
    Local,
    Move,
    Table,
    Value,
    apply,
    dealt,
    live,
    transact,
)
from lpcm.coherence.payload import unpack
from lpcm.errors import LPCMError, OutcomeUnknown, StoreBusy, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from checks.explorer.client import Node
    from checks.explorer.state import Scenario, State
    from lpcm.coherence.tier import Coherent

__all__ = ["NOT_LINEARIZABLE", "STALE", "Graph"]

NOT_LINEARIZABLE = "not linearizable"
STALE = "stale for good"

UNKNOWN = OutcomeUnknown("the store's reply is lost")
NO_ANSWER = StoreUnavailable("the store does not answer")
BUSY = StoreBusy("other transactions are in the way")


class Graph:
    """The graph of one scenario's states."""

    def __init__(self, scenario: Scenario, tier: Callable[..., Coherent]) -> None:
        self.scenario = scenario
        self.programs = scenario.programs
        self.policy = scenario.policy
        self.may = scenario.faults
        self.relaxed = not scenario.policy.strict
        names = {key for program in self.programs for each in program for key in each.keys}
        self.names = sorted(names)
        self.at = {name: number for number, name in enumerate(self.names)}
        keys, clients = len(self.names), len(self.programs)
        self.servers = range(FIRST, FIRST + keys)
        self.stored = range(FIRST + keys, FIRST + 2 * keys)
        self.monitors = range(FIRST + 2 * keys, FIRST + 3 * keys)
        self.locals = range(FIRST + 3 * keys, FIRST + 3 * keys + clients)
        self.pack = Struct(f"={FIRST + 3 * keys + clients}I").pack
        self.table_items, self.table_stored, self.table_monitors = Table(), Table(), Table()
        self.table_locals, self.table_faults, self.table_late = Table(), Table(), Table()
        self._tier = tier
        self._cas = 0
        """The next CAS id, while moves are made."""
        self._past = 0
        """Whether the entries with a time to live have expired, while moves are made."""
        self._roots: dict[tuple[int, int, tuple[str, ...], int], Root] = {}
        self._moves: dict[tuple[int, ...], tuple[Move, ...]] = {}
        self._idle: set[int] = set()
        """The clients that are dead, or between operations and have no invalidation pending."""
        self._held: dict[tuple[int, int], int] = {}
        self._focus: dict[tuple[int, int], tuple[int, Node]] = {}
        self._ends: dict[tuple[Any, ...], int] = {}
        self._calls: dict[tuple[int, int, int], tuple[Call, ...]] = {}
        self.expiring = frozenset(
            each.value for program in self.programs for each in program if each.kind == "ttl"
        )
        self._slot = [sum(map(len, self.programs[:number])) for number in range(clients)]
        self._operations = sum(map(len, self.programs))

    def start(self) -> State:
        """Return the state in which no entry is stored or cached and no operation has begun."""
        assert self.table_monitors[frozenset[Any]()] == UNEXPLAINED
        idle = linearizable.START if not self.relaxed else frozenset({((None,), frozenset[Any]())})
        return (
            *(1, 0, self.table_faults[self.scenario.faults], self.table_late[()], 0),
            *(self.table_items[None] for _ in self.servers),
            *(self.table_stored[Value()] for _ in self.stored),
            *(self.table_monitors[idle] for _ in self.monitors),
            *(self.table_locals[Local(number)] for number in range(len(self.programs))),
        )

    # The steps out of a state

    def steps(self, state: State) -> list[tuple[str, State]]:
        """Return each state that may come next, with the label of the step."""
        after: list[tuple[str, State]] = []
        faults = self.table_faults.parts[state[FAULTS]]
        for place in self.locals:
            for move in self._moves_of(state, state[place]):
                if move.fault and not getattr(faults, move.fault):
                    continue
                after.append((move.label, self._moved(state, place, move, faults)))
        if state[LATE]:
            after += arrivals(self, state)
        if faults.evict or faults.expire or faults.restart or faults.time:
            after += accidents(self, state, faults)
        return after

    def _moves_of(self, state: State, number: int) -> tuple[Move, ...]:
        local: Local = self.table_locals.parts[number]
        if local.dead or local.done == len(self.programs[local.number]):
            return ()
        past = state[PAST]
        known = self._focus.get((number, past))
        if known is None:
            node = local.node or self._root(local, past).node
            known = self._focus[number, past] = (self._focus_of(node, local), node)
        focus, node = known
        cas = self.new_cas(state, state[focus]) if node.kind == "cache" else 0
        key: tuple[int, ...] = (number, past, state[GENERATION], state[focus], cas)
        transacting = node.kind == "transact"
        if transacting:
            key += tuple(state[self.stored[self.at[sk]]] for sk in node.touches)
        moves = self._moves.get(key)
        if moves is None:
            self._cas, self._past = cas, past
            if transacting:
                moves = tuple(self._transact(local, node, state, state[focus]))
            else:
                moves = tuple(self._make_moves(local, node, state[GENERATION], focus, state[focus]))
            self._moves[key] = moves
        return moves

    def new_cas(self, state: State, item: int) -> int:
        """Return the smallest CAS id of this server generation that no client or item holds."""
        generation = state[GENERATION]
        mask = 1
        for place in self.locals:
            known = self._held.get((state[place], generation))
            if known is None:
                known = self._held[state[place], generation] = self._hold(state[place], generation)
            mask |= known
        for late in self.table_late.parts[state[LATE]]:
            if late.generation == generation:
                for _, command in late.commands:
                    mask |= 1 << (getattr(command, "cas", None) or 0)
        held: Item | None = self.table_items.parts[item]
        if held is not None:
            mask |= 1 << held.cas
        return (~mask & (mask + 1)).bit_length() - 1

    def _hold(self, number: int, generation: int) -> int:
        local: Local = self.table_locals.parts[number]
        mask = 0
        if local.node is not None and not local.dead:
            for of, cas in local.node.holds:
                if of in {0, generation}:
                    mask |= 1 << cas
            if local.started // CONNECTIONS == generation:
                for result in local.partial:
                    mask |= 1 << result.cas
        return mask

    def _root(self, local: Local, past: int) -> Root:
        place = (local.number, local.done, local.pending, past)
        root = self._roots.get(place)
        if root is None:
            operation = self.programs[local.number][local.done]
            now = 2 * EXPIRES * past
            root = self._roots[place] = Root(operation, local.pending, now, self._tier, self.policy)
        return root

    def _focus_of(self, node: Node, local: Local) -> int:
        """Return the position in a state of the item or value that the next step is about."""
        if node.kind == "cache":
            return self.servers[self.at[node.sent[len(local.partial)][0]]]
        if node.kind == "ended":  # nothing to do, as flushing when nothing is pending
            return GENERATION
        return self.stored[self.at[node.touches[0]]]

    def _moved(self, state: State, place: int, move: Move, faults: Faults) -> State:
        after = list(state)
        local: Local = self.table_locals.parts[state[place]]
        node = self._focus[state[place], state[PAST]][1]
        after[self._focus_of(node, local)] = move.focus
        after[place] = move.local
        for at, part in move.more:
            after[at] = part
        if move.fault:
            left = faults._replace(**{move.fault: getattr(faults, move.fault) - 1})
            after[FAULTS] = self.table_faults[left]
        if move.late is not None:
            late = (*self.table_late.parts[state[LATE]], move.late)
            after[LATE] = self.table_late[tuple(sorted(late, key=repr))]
        if move.lossy:
            after[LOSSY] = 1
        ending, over = list(state), set[int]()
        for at, call, result in move.ended:  # one after the other, where they are on one key
            over.add(call.slot)
            ending[self.monitors[at]] = self.ended(ending, at, call, result, over)
            after[self.monitors[at]] = ending[self.monitors[at]]
        return tuple(after)

    def _make_moves(
        self, local: Local, node: Node, generation: int, focus: int, resource: int
    ) -> list[Move]:
        operation = self.programs[local.number][local.done]
        actor = f"{local.number + 1} {operation}"
        if node.kind == "ended":
            moves = [self._end_at_once(local, node, actor, resource)]
        elif node.kind == "cache":
            moves = self._send(local, node, actor, generation, resource)
        elif node.kind == "read":
            moves = self._read(local, node, actor, resource)
        else:
            moves = self._write(local, node, actor, focus, resource)
        if self.may.crash and (node.begun or local.partial):
            dead = local._replace(dead=True, partial=())
            moves.append(Move(f"{actor}: dies", "crash", self.table_locals[dead], resource))
        return moves

    def _end_at_once(self, local: Local, node: Node, actor: str, resource: int) -> Move:
        after = local._replace(done=local.done + 1, node=None, pending=node.pending)
        return Move(f"{actor}: has nothing to do", "", self.table_locals[after], resource)

    def _send(
        self, local: Local, node: Node, actor: str, generation: int, resource: int
    ) -> list[Move]:
        """Deliver one command of the packets to the server, or lose the connection."""
        moves: list[Move] = []
        at = len(local.partial)
        losses = local.losses + (node.fresh and at == 0)
        connection = generation * CONNECTIONS + losses
        bound = {p.connection for p in node.packets} - {None}
        lost = local._replace(partial=(), losses=losses + 1)
        none = (LOST,) * len(node.packets)
        if local.cut:
            moves.append(self._answered((local, node), f"{actor}: is cut off", none, resource))
            healed = local._replace(cut=False)
            moves.append(
                Move(f"{actor}: can connect again", "", self.table_locals[healed], resource)
            )
            return moves
        if (at and local.started != connection) or (bound and bound != {connection}):
            return [
                self._answered((lost, node), f"{actor}: its connection is gone", none, resource)
            ]
        key, command = node.sent[at]
        server, result = execute(Server(self.table_items.parts[resource], self._cas - 1), command)
        partial = (*local.partial, result)
        label = f"{actor}: {command_text(key, command)} → {reply_text(result)}"
        after = self.table_items[server.item]
        if len(partial) < len(node.sent):
            going = local._replace(node=node, partial=partial, started=connection, losses=losses)
            moves.append(Move(label, "", self.table_locals[going], after))
        else:
            whole = local._replace(partial=(), losses=losses)
            replies: tuple[Any, ...] = dealt(node, partial, connection)
            moves.append(self._answered((whole, node), label, replies, after))
            if self.may.stall:
                moves.append(self._answered((whole, node), label, replies, after, stalls=True))
        if self.may.cut:
            gone = lost._replace(cut=True)
            moves.append(
                self._answered((gone, node), f"{actor}: is cut off", none, resource, "cut")
            )
        if not self.may.lose:
            return moves
        # The connection may break here: the commands before were executed, the others may be.
        had = dealt(node, local.partial, connection)
        received = {none, tuple([*had, *none][: len(none)])}
        rest = tuple((self.at[k], each) for k, each in node.sent[at:])
        for replies in sorted(received, key=len):
            moves.append(
                self._answered(
                    (lost, node), f"{actor}: loses its connection", replies, resource, "lose"
                )
            )
            text = f"{actor}: loses its connection, {len(rest)} of its commands under way"
            moves.append(
                self._answered((lost, node), text, replies, resource, "lose")._replace(
                    late=Late(rest, generation)
                )
            )
        return moves

    def _read(self, local: Local, node: Node, actor: str, resource: int) -> list[Move]:
        _, now = node.request
        value: Value = self.table_stored.parts[resource]
        moves: list[Move] = []
        entries = [value.entry, *([value.before] if self.scenario.eventual else [])]
        for entry in dict.fromkeys(entries):
            seen = live(entry, now)
            label = f"{actor}: reads {None if seen is None else seen.data} from the store"
            moves.append(self._answered((local, node), label, seen, resource))
            if self.may.stall:
                moves.append(self._answered((local, node), label, seen, resource, stalls=True))
        if not self.may.unknown:
            return moves
        failed = f"{actor}: the store does not answer"
        moves.append(self._answered((local, node), failed, NO_ANSWER, resource, "unknown"))
        return moves

    def _write(self, local: Local, node: Node, actor: str, focus: int, resource: int) -> list[Move]:
        _, op, now = node.request
        value: Value = self.table_stored.parts[resource]
        stored, outcome = apply(value, op, now)
        after = self.table_stored[stored]
        data = None if stored.entry is None else stored.entry.data
        label = f"{actor}: the store has {data}"
        moves = [self._answered((local, node), label, outcome, after)]
        if self.may.stall:
            moves.append(self._answered((local, node), label, outcome, after, stalls=True))
        if self.may.unknown:
            text = f"{label}, the reply is lost"
            moves.append(self._answered((local, node), text, UNKNOWN, after, "unknown"))
            text = f"{actor}: the store does not answer"
            late = Late(((self.stored.index(focus), (op, now)),), 0)
            move = self._answered((local, node), text, UNKNOWN, resource, "unknown")
            moves.append(move._replace(late=late))
        return moves

    def _transact(self, local: Local, node: Node, state: State, resource: int) -> list[Move]:
        actor = f"{local.number + 1} {self.programs[local.number][local.done]}"
        label, outcome, more = self.transacted(state, node.request)
        label = f"{actor}: {label}"
        client = (local, node)
        moves = [self._answered(client, label, outcome, resource)._replace(more=more)]
        if self.may.stall:
            move = self._answered(client, label, outcome, resource, stalls=True)
            moves.append(move._replace(more=more))
        if self.may.unknown:
            text = f"{label}, the reply is lost"
            move = self._answered(client, text, UNKNOWN, resource, "unknown")
            moves.append(move._replace(more=more))
            text = f"{actor}: the store does not answer"
            late = Late(((self.at[node.touches[0]], node.request),), 0)
            move = self._answered(client, text, UNKNOWN, resource, "unknown")
            moves.append(move._replace(late=late))
        if self.may.conflict:
            text = f"{actor}: other transactions are in the way"
            moves.append(self._answered(client, text, BUSY, resource, "conflict"))
        if self.may.crash:
            dead = self.table_locals[local._replace(dead=True, partial=())]
            moves.append(Move(f"{actor}: dies", "crash", dead, resource))
        return moves

    def transacted(
        self, state: State, request: tuple[Any, ...]
    ) -> tuple[str, Any, tuple[tuple[int, int], ...]]:
        """Return a transaction's label, its outcome, and the new parts by their positions."""
        changes, checks, now = request
        places = {each.sk: self.stored[self.at[each.sk]] for each in (*changes, *checks)}
        values = {sk: self.table_stored.parts[state[at]] for sk, at in places.items()}
        after, outcome = transact(values, changes, checks, now)
        data = {k: None if v.entry is None else v.entry.data for k, v in after.items()}
        more = tuple((at, self.table_stored[after[sk]]) for sk, at in places.items())
        has = ", ".join(f"{data[sk]} for {sk}" for sk in places)
        return f"the store has {has}", outcome, more

    def _answered(
        self,
        client: tuple[Local, Node],
        label: str,
        reply: Any,
        resource: int,
        fault: str = "",
        *,
        stalls: bool = False,
    ) -> Move:
        """Give a client its answer, and end its operation if it needs no further answer."""
        local, node = client
        if stalls:
            label, fault = f"{label}, after a stall", "stall"
        child = node.answered(Answer(reply, self.policy.mark if stalls else 0.0))
        if not child.ended:
            after = local._replace(node=child)
            return Move(label, fault, self.table_locals[after], resource)
        after = local._replace(done=local.done + 1, node=None, pending=child.pending)
        ended: list[tuple[int, Call, Any]] = []
        for (at, call), result in zip(self._calls_of(local, node), child.results, strict=True):
            if isinstance(result, OutcomeUnknown):  # committed or not: readers may see it later
                after = after._replace(unknown=(*after.unknown, (at, call)))
            else:
                ended.append((at, call, result))
        returned = ", ".join(result_text(result) for result in child.results)
        label = f"{label}; returns {returned}" if returned else label
        return Move(label, fault, self.table_locals[after], resource, ended=tuple(ended))

    # The history

    def _calls_of(self, local: Local, node: Node) -> list[tuple[int, Call]]:
        """Return the calls of the operation under way, each with the number of its key."""
        operation = self.programs[local.number][local.done]
        slot = self._slot[local.number] + local.done
        if operation.kind == "ttl":
            value = None if self._past and not node.past else operation.value
            return [(self.at[key], Call(slot, "put", value)) for key in operation.keys]
        apart = (
            self._operations if operation.deltas else 0
        )  # calls on one key differ by their slots
        return [
            (self.at[key], Call(slot + apart * place, kind, argument))
            for place, (key, kind, argument) in enumerate(operation.calls())
        ]

    def _under_way(self, number: int, at: int, past: int) -> tuple[Call, ...]:
        """Return a client's calls on a key that may take effect from now on."""
        known = self._calls.get((number, at, past))
        if known is None:
            self._past = past
            local: Local = self.table_locals.parts[number]
            known = tuple(call for key, call in local.unknown if key == at)
            if local.node is not None:
                known += tuple(call for key, call in self._calls_of(local, local.node) if key == at)
            self._calls[number, at, past] = known
        return known

    def ended(
        self,
        state: Sequence[int],
        at: int,
        call: Call,
        result: Any,
        over: Collection[int] = (),
    ) -> int:
        """Return what the key's history allows once this call has returned this result.

        ``over``: the slots of calls that are under way in the state, and have ended by now.
        """
        others = tuple(
            each
            for other in self.locals
            for each in self._under_way(state[other], at, state[PAST])
            if each.slot != call.slot and each.slot not in over
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

    def broken(self, state: State) -> tuple[str, str] | None:
        """Return the property that this state breaks, and how; None where it breaks none."""
        for at, place in enumerate(self.monitors):
            if state[place] == UNEXPLAINED:
                return NOT_LINEARIZABLE, f"no order explains what was returned for {self.names[at]}"
        if state[LOSSY] or state[LATE]:
            return None
        for place in self.locals:
            if state[place] in self._idle:
                continue
            local: Local = self.table_locals.parts[state[place]]
            if not local.dead and (local.node is not None or local.pending):
                return None
            self._idle.add(state[place])
        for at, (place, kept) in enumerate(zip(self.servers, self.stored, strict=True)):
            item = self.table_items.parts[state[place]]
            if item is None or not item.flags or item.ttl <= self.policy.mark:
                continue
            now = 2 * EXPIRES * state[PAST]
            cached = live(unpack(item.data[: item.flags]), now)
            if cached != live(self.table_stored.parts[state[kept]].entry, now):
                return STALE, f"{self.names[at]} is cached for {item.ttl} s as {cached}"
        return None

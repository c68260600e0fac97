"""The next steps that no client makes: late arrivals, evictions, restarts, time.

Invariant: as for ``checks.explorer.graph``, whose states these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from checks.explorer.linearizability import Call
from checks.explorer.memcached_model import Server, execute
from checks.explorer.report import command_text, reply_text
from checks.explorer.state import FAULTS, GENERATION, LATE, LOSSY, PAST, apply

if TYPE_CHECKING:
    from checks.explorer.graph import Graph
    from checks.explorer.memcached_model import Item
    from checks.explorer.state import Faults, Late, State

__all__ = ["accidents", "arrivals"]


def arrivals(graph: Graph, state: State) -> list[tuple[str, State]]:
    """Let a command or write that was sent long ago arrive."""
    after: list[tuple[str, State]] = []
    flying: tuple[Late, ...] = graph.table_late.parts[state[LATE]]
    for place, late in enumerate(flying):
        (at, command), *rest = late.commands
        left = [late._replace(commands=tuple(rest))] if rest else []
        remaining = sorted([*flying[:place], *left, *flying[place + 1 :]], key=repr)
        moved = list(state)
        moved[LATE] = graph.table_late[tuple(remaining)]
        if late.generation == 0 and len(command) == 3:
            label, _, more = graph.transacted(state, command)
            for where, part in more:
                moved[where] = part
            moved[LOSSY] = 1
            after.append((f"late: {label}", tuple(moved)))
        elif late.generation == 0:
            stored, _ = apply(graph.table_stored.parts[state[graph.stored[at]]], *command)
            moved[graph.stored[at]] = graph.table_stored[stored]
            moved[LOSSY] = 1
            data = None if stored.entry is None else stored.entry.data
            after.append((f"late: the store has {data}", tuple(moved)))
        elif late.generation == state[GENERATION]:
            item = state[graph.servers[at]]
            cas = graph.new_cas(state, item)
            server, result = execute(Server(graph.table_items.parts[item], cas - 1), command)
            moved[graph.servers[at]] = graph.table_items[server.item]
            label = f"late: {command_text(graph.names[at], command)} → {reply_text(result)}"
            after.append((label, tuple(moved)))
    return after


def accidents(graph: Graph, state: State, faults: Faults) -> list[tuple[str, State]]:
    """Let the server lose something, or let time pass."""
    after: list[tuple[str, State]] = []
    for at, place in enumerate(graph.servers):
        item: Item | None = graph.table_items.parts[state[place]]
        if item is None:
            continue
        short = item.ttl <= graph.policy.mark
        for fault in ("expire",) if short and faults.expire else ("evict",):
            if not getattr(faults, fault):
                continue
            left = faults._replace(**{fault: getattr(faults, fault) - 1})
            gone = list(state)
            gone[place] = graph.table_items[None]
            gone[FAULTS] = graph.table_faults[left]
            gone[LOSSY] |= len(item.data) > item.flags
            word = "expires" if fault == "expire" else "is evicted"
            after.append((f"the item of {graph.names[at]} {word}", tuple(gone)))
    if faults.restart:
        anew = list(state)
        for place in graph.servers:
            item = graph.table_items.parts[state[place]]
            anew[LOSSY] |= item is not None and len(item.data) > item.flags
            anew[place] = graph.table_items[None]
        anew[GENERATION] += 1
        anew[FAULTS] = graph.table_faults[faults._replace(restart=faults.restart - 1)]
        after.append(("memcached restarts", tuple(anew)))
    if faults.time:
        later = list(state)
        later[PAST] = 1
        later[FAULTS] = graph.table_faults[faults._replace(time=0)]
        call = Call(-1, "expire", graph.expiring)
        for at, place in enumerate(graph.monitors):
            later[place] = graph.ended(state, at, call, None)
        after.append(("the time to live is over", tuple(later)))
    return after

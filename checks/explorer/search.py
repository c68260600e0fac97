"""The explorer: every interleaving of a few clients of the protocol, each one judged.

Runs ``lpcm.coherence.tier`` itself, not a model of it, against a model of memcached and a store
that are a few tuples each (the former is compared with the real server in the tests), under
a scheduler that owns every step: each command of each client, each fault. A monitor follows
every history as it grows and knows exactly whether it still is linearizable.

A step is one command at the server, or one call of the store. An operation begins with its
first step and ends with its last one: the strictest reading of "before" there is.

Two properties are judged at every step:

``not linearizable``
    no order of the operations explains what they returned. In a scenario whose clients may be
    cut off in available mode, a read may return any value the key ever had, and only the
    writes must be explained.
``stale for good``
    every client alive is between two operations and has no invalidation pending, and no mark was
    lost or outlived; yet an item differs from the stored entry, and lives longer than ``mark``.

Invariant: a search that ends has visited every state of its scenario.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from checks.explorer.graph import NOT_LINEARIZABLE, STALE, Graph
from checks.explorer.state import POLICY, Faults, Scenario
from lpcm.coherence.tier import Coherent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from checks.explorer.state import State

__all__ = [
    "NOT_LINEARIZABLE",
    "POLICY",
    "STALE",
    "Counterexample",
    "Explored",
    "Faults",
    "Scenario",
    "explore",
    "simulate",
]


class Explored(NamedTuple):
    """A scenario searched to its end, with no violation."""

    scenario: str
    states: int
    steps: int
    seconds: float


class Counterexample(AssertionError):
    """A history that breaks the promise."""

    def __init__(self, scenario: str, broken: str, what: str, history: Sequence[str]) -> None:
        self.scenario = scenario
        self.broken = broken
        """The property: ``not linearizable`` or ``stale for good``."""
        self.history = list(history)
        steps = "\n".join(f"  {number:2} {line}" for number, line in enumerate(history, 1))
        super().__init__(f"{scenario}: {broken}: {what}\n{steps}")


def explore(
    scenario: Scenario,
    *,
    tier: Callable[..., Coherent] = Coherent,
    shortest: bool = False,
    limit: int = 100_000_000,
) -> Explored:
    """Visit every state of a scenario. **Raises** the first ``Counterexample`` found.

    ``shortest``: breadth first, so that a counterexample is one of the shortest. ``limit``:
    states, over which RuntimeError is raised.
    """
    graph = Graph(scenario, tier)
    began = time.monotonic()
    pack, steps_of, broken = graph.pack, graph.steps, graph.broken
    start = graph.start()
    known = {pack(*start)}
    # A path is (path before, state). The labels are computed again when they are needed.
    todo: deque[tuple[Any, State]] = deque([(None, start)])
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
                raise Counterexample(scenario.name, *wrong, _labels(graph, (path, after)))
            todo.append((path, after))
        if len(known) > limit:
            raise RuntimeError(f"{scenario.name}: over {limit:,} states")
    return Explored(scenario.name, len(known), steps, time.monotonic() - began)


def _labels(graph: Graph, path: tuple[Any, State]) -> list[str]:
    labels: list[str] = []
    while path[0] is not None:
        before, after = path
        labels.append(next(label for label, state in graph.steps(before[1]) if state == after))
        path = before
    return labels[::-1]


def simulate(
    scenario: Scenario, *, seed: int, seconds: float, tier: Callable[..., Coherent] = Coherent
) -> Explored:
    """Walk at random through a scenario too large to be searched. **Raises** Counterexample.

    The same seed takes the same walks, as far as the time allows.
    """
    graph = Graph(scenario, tier)
    rng = random.Random(seed)  # noqa: S311  # a seed is the point
    began = time.monotonic()
    walks = steps = 0
    while time.monotonic() - began < seconds:
        walks += 1
        path: tuple[Any, State] = (None, graph.start())
        while after := graph.steps(path[1]):
            steps += 1
            path = (path, rng.choice(after)[1])
            wrong = graph.broken(path[1])
            if wrong is not None:
                name = f"{scenario.name} (seed {seed})"
                raise Counterexample(name, *wrong, _labels(graph, path))
    return Explored(scenario.name, walks, steps, time.monotonic() - began)

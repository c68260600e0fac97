"""Clients that stand at the same place with the same variables are one: nothing is lost by it."""

import pytest

from checks.explorer import graph as _graph
from checks.explorer.client import Node, Root
from checks.explorer.graph import Graph
from checks.explorer.search import Faults, Scenario
from checks.explorer.snapshot import freeze
from lpcm.coherence.tier import Coherent
from tests.coherence.mutants import OTHER, PUT


class Unmerged(Root):
    """An operation whose every past is a node of its own."""

    def after(self, answers):
        return Node(self, answers, self._run(answers))


def reached(scenario):
    """Return all that can be cached, stored and explained, without the clients."""
    graph = Graph(scenario, Coherent)
    start = graph.start()
    known, todo, seen = {start}, [start], set()
    while todo:
        state = todo.pop()
        items = tuple(graph.table_items.parts[state[at]] for at in graph.servers)
        stored = tuple(graph.table_stored.parts[state[at]] for at in graph.stored)
        monitors = tuple(graph.table_monitors.parts[state[at]] for at in graph.monitors)
        seen.add((items, stored, monitors))
        for _, after in graph.steps(state):
            if after not in known:
                known.add(after)
                todo.append(after)
    return len(known), seen


@pytest.mark.parametrize("faults", [Faults(), Faults(evict=1), Faults(unknown=1)], ids=repr)
def test_merging_loses_nothing(faults, monkeypatch):
    """With and without merging, the same items, stored values and histories are reached."""
    scenario = Scenario("w|r", ((PUT,), (OTHER,)), faults)
    fewer, merged = reached(scenario)
    monkeypatch.setattr(_graph, "Root", Unmerged)
    more, unmerged = reached(scenario)
    assert fewer < more
    assert merged == unmerged
    assert len(merged) > 100


def test_what_cannot_be_told_is_an_error():
    """An object without a visible state stops the search: it is never taken for another."""
    with pytest.raises(TypeError, match="cannot tell the state"):
        freeze(object(), ())

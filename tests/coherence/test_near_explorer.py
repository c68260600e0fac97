"""Every interleaving of real near caches of one SQLite file, and of mutants that are caught."""

import sys

import pytest

from checks.explorer import near
from checks.explorer.graph import NOT_LINEARIZABLE
from checks.explorer.near import LARGE, SMALL, explore
from checks.explorer.search import Counterexample
from lpcm.stores.sqlite import near as near_cache
from lpcm.stores.sqlite import store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="off elsewhere")

SCENARIOS = {scenario.name: scenario for scenario in (*SMALL, *LARGE)}


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_no_interleaving_is_stale(scenario):
    """In every order of looks, statements and changes, a linear order explains what was read."""
    assert explore(scenario) > 50


def wrote_always(monkeypatch):
    """Take a refused write for one that has changed a row."""
    monkeypatch.setattr(store, "changes", lambda *_: True)


def any_commits(monkeypatch):
    """Take whatever lies between two looks for the own commit."""
    monkeypatch.setattr(near_cache, "_one_commit", lambda *_: True)


def no_look(monkeypatch):
    """Serve what is near without a look at the header."""
    first = []

    class Blind(near._View):
        @property
        def raw(self):
            first.append(super().raw)
            return first[0]

    monkeypatch.setattr(near, "_View", Blind)


def one_look(monkeypatch):
    """Keep what was read under the header after it, whatever that was before."""
    fill = near_cache.NearCache.fill

    def filled(self, state, header, *given):
        del header
        fill(self, state, self.view.raw, *given)

    monkeypatch.setattr(near_cache.NearCache, "fill", filled)


MUTANTS = {
    wrote_always: "a refused write",
    any_commits: "a write of another key",
    no_look: "a reader",
    one_look: "a cold reader",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_found(monkeypatch, mutant):
    """Each clause stands against an order that is stale without it."""
    mutant(monkeypatch)
    with pytest.raises(Counterexample) as found:
        explore(SCENARIOS[MUTANTS[mutant]])
    assert found.value.broken == NOT_LINEARIZABLE

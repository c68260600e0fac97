"""Every interleaving of a few clients, and what is found when a rule of the protocol is broken."""

from pathlib import Path

import pytest

from checks.explorer.scenarios import BEYOND, SMALL
from checks.explorer.search import Counterexample, Faults, Scenario, explore, simulate
from tests.coherence.mutants import GET, MUTANTS, OTHER, PUT, NoR1

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "coherence.md"


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_no_interleaving_breaks_the_promise(scenario):
    """In every order of every step, with one fault anywhere, the promise holds."""
    print(explore(scenario))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_found(mutant):
    """Each rule is needed: without it a history breaks the very property it is there for.

    The documentation shows that history.
    """
    with pytest.raises(Counterexample) as found:
        explore(mutant.scenario, tier=mutant.tier, shortest=True)
    assert found.value.broken == mutant.broken
    assert str(found.value) in PAGE.read_text(encoding="utf-8")


def test_a_walk_at_random_is_repeated_by_its_seed():
    """A simulation finds no violation; what one seed finds in a mutant, it finds again."""
    for scenario in BEYOND:
        assert simulate(scenario, seed=1, seconds=0.5).steps > 10  # one walk, however slow
    scenario = Scenario("walk", ((PUT, GET), (GET, OTHER), (GET, GET)))
    found = []
    for _ in range(2):
        with pytest.raises(Counterexample) as walk:
            simulate(scenario, seed=7, seconds=30, tier=NoR1)
        found.append(str(walk.value))
    assert found[0] == found[1]
    assert "seed 7" in found[0]


def test_too_many_states_are_an_error():
    """A search that does not end within its limit says so, and is no success."""
    with pytest.raises(RuntimeError, match="over 100 states"):
        explore(Scenario("limited", ((PUT, GET), (OTHER, GET)), Faults(evict=1)), limit=100)

"""What watches over the rounds sees what it is there for."""

from __future__ import annotations

import time

import pytest

from tests.fuzz import rounds
from tests.fuzz.cases import Case


def fail(_: object) -> str:
    raise KeyError("undocumented")


def linger(_: object) -> str:
    until = time.thread_time() + 1.1
    while time.thread_time() < until:
        pass
    return "read"


def hoard(_: object) -> str:
    """Take more memory than this process has ever had, whatever other tests took."""
    before, held = rounds._peak(), []
    while rounds._peak() - before <= 2 * rounds.MEMORY and len(held) < 30:
        held.append(bytearray(b"x") * rounds.MEMORY)
    return "read"


@pytest.mark.parametrize(
    ("check", "why"), [(fail, "KeyError"), (linger, "it took 1.1 s"), (hoard, " MB")]
)
def test_a_broken_promise_is_reported(monkeypatch, check, why):
    """What raises, takes too long or too much memory is a failure, with how to meet it again."""
    monkeypatch.setitem(rounds.TARGETS, "broken", lambda chance: Case(chance.random(), check))
    report = rounds.play("broken", 1, range(100), 20, most=1)
    assert (report.rounds, len(report.failures)) == (1, 1)
    assert why in str(report.failures[0])
    assert "--seed 1 --target broken --round 0" in str(report.failures[0])
    assert rounds.play("broken", 1, [1], 20).failures or check is hoard  # a peak is one only once


def test_a_round_is_the_same_again():
    """The same seed, target and number draw the same input."""
    for target, made in rounds.TARGETS.items():
        one, two = (made(rounds.Chance(f"1 {target} 7")).input for _ in range(2))
        assert rounds._shown(one) == rounds._shown(two)

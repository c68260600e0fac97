"""A minute of fuzzing in each run of the tests; ``make fuzz`` takes longer."""

from __future__ import annotations

import itertools
import secrets

import pytest

from tests.fuzz.rounds import play
from tests.fuzz.targets import TARGETS

SECONDS = 60.0


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_values_and_documented_errors(target: str):
    """Whatever comes in, the right value or a documented error comes out, soon, in little memory."""
    seed, seconds = secrets.randbelow(10**9), SECONDS / len(TARGETS)
    report = play(target, seed, itertools.count(), seconds, most=1)
    assert not report.failures, str(report.failures[0])
    assert report.rounds > 0

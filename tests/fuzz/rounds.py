"""Round after round of one target, each from a seed of its own, within limits."""

from __future__ import annotations

import gc
import resource
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.chance import Chance
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MEMORY", "SECONDS", "Failure", "Report", "play"]

SECONDS = 1.0
"""Of the processor, that an input may take."""
MEMORY = 100 << 20
"""Bytes by which the process may grow over an input."""
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


class Failure(NamedTuple):
    """An input that broke a promise, and how to meet it again."""

    target: str
    seed: int
    round: int
    why: str
    input: str

    def __str__(self) -> str:
        again = f"--seed {self.seed} --target {self.target} --round {self.round}"
        return f"python -m tests.fuzz {again}\n{self.why}\ninput: {self.input}\n"


class Report(NamedTuple):
    """What became of a target's rounds."""

    target: str
    rounds: int
    outcomes: Counter[str]
    slowest: float
    """Seconds of the processor that the slowest took."""
    largest: int
    """Bytes that the process grew by over the one that took most."""
    failures: list[Failure]

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        return (
            f"{self.target:15}{self.rounds:>9,} rounds, slowest {self.slowest * 1000:6.1f} ms, "
            f"largest {self.largest >> 20:3} MB, {len(self.failures)} failures: {told}"
        )


def play(target: str, seed: int, numbers: Iterable[int], seconds: float, most: int = 5) -> Report:
    """Play the rounds of these numbers, for so many seconds, until so many have failed."""
    made = TARGETS[target]
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    slowest, largest, rounds = 0.0, 0, 0
    gc.collect()  # seconds, where other tests have left much
    until = time.monotonic() + seconds
    for number in numbers:
        if time.monotonic() > until or len(failures) >= most:
            break
        case = made(Chance(f"{seed} {target} {number}"))
        rounds += 1
        why = ""
        memory, begun = _peak(), time.thread_time()
        try:
            outcomes[case.check(case.input)] += 1
        except Exception:  # noqa: BLE001  # whatever it is, it is the finding
            why = traceback.format_exc(limit=-6)
        took, grown = time.thread_time() - begun, _peak() - memory
        slowest, largest = max(slowest, took), max(largest, grown)
        if took > SECONDS:
            why += f"\nit took {took:.1f} s"
        if grown > MEMORY:
            why += f"\nit took {grown >> 20} MB"
        if why:
            failures.append(Failure(target, seed, number, why, _shown(case.input)))
    return Report(target, rounds, outcomes, slowest, largest, failures)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except (ValueError, RecursionError) as error:
        text = f"a {type(value).__name__} that cannot be shown: {error}"
    return text if len(text) < 2000 else f"{text[:1000]} ... {text[-900:]} ({len(text):,} long)"

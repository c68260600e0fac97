"""How things are measured: every candidate does the same work, in turn, round after round.

A *suite* (a module in ``suites/``) says which candidates there are, what each does, and what
must come out. Knows nothing of lpcm or of what it is compared with.

Invariant: within a round every candidate gets equal input, made outside the measured time, and
who goes first changes from round to round; so what slows the machine slows all of them. Only
ratios of medians from one run are compared.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection
    from pathlib import Path


WARM_UP = 3
"""Rounds that do not count: a write-ahead log that still grows costs a flush double, and so on."""


class Action(NamedTuple):
    """Something that is timed."""

    name: str
    times: int
    """How many operations one call of a candidate's function does; times are per operation."""
    material: Callable[[random.Random], Any] = lambda _: None
    """Makes what the function gets; from equal generators, so equal for all candidates."""


class Candidate(NamedTuple):
    """Someone who does the actions, or some of them."""

    name: str
    actions: Mapping[str, Callable[[Any], float | None]]
    """By the action's name. A function that times itself (a subprocess) returns seconds."""


class Target(NamedTuple):
    """What must come out: ``candidate``'s time is at most this many times ``against``'s."""

    action: str
    candidate: str
    against: str
    at_most: float
    cpu: bool = False
    """Compare processor time, of this process, instead of elapsed time."""


class Limit(NamedTuple):
    """What must come out: ``candidate`` takes at most so many seconds for the action."""

    action: str
    candidate: str
    seconds: float


class Scale(NamedTuple):
    """How much is done."""

    quick: bool
    folder: Path
    """An empty directory on a real disk, deleted afterwards."""

    def of(self, full: int, quick: int) -> int:
        """Choose the number for this run."""
        return quick if self.quick else full


class Suite(Protocol):
    """What a module in ``suites/`` has."""

    TITLE: str
    ABOUT: str
    """Markdown: who is compared, at which durability, and what the figures cannot tell."""
    ACTIONS: Sequence[Action]
    TARGETS: Sequence[Target | Limit]
    PLOT: Sequence[str]
    """The actions that the plot shows."""

    def candidates(self, scale: Scale) -> AbstractContextManager[Sequence[Candidate]]:
        """Open them, lpcm first, for it is the unit of the ratios; close them afterwards.

        This process, and so every server it starts, is pinned to one core by then.
        """
        ...


@contextmanager
def elsewhere(
    make: Callable[[Scale], tuple[Candidate, Callable[[], None]]], scale: Scale
) -> Iterator[Candidate]:
    """Keep a candidate that starts threads in a process of its own, on the same core.

    In a process that has threads each lock costs more, so all others would be slower too.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, scale), daemon=True)
    process.start()
    name, actions = ours.recv()

    def ask(action: str) -> Callable[[Any], float]:
        def measured(material: Any) -> float:
            ours.send((action, material))
            return float(ours.recv())

        return measured

    try:
        yield Candidate(name, {action: ask(action) for action in actions})
    finally:
        ours.send(None)
        process.join(10)


def _serve(
    pipe: Connection,
    make: Callable[[Scale], tuple[Candidate, Callable[[], None]]],
    scale: Scale,
) -> None:
    candidate, close = make(scale)
    pipe.send((candidate.name, list(candidate.actions)))
    while (asked := pipe.recv()) is not None:
        action, material = asked
        start = time.perf_counter()
        own = candidate.actions[action](material)
        pipe.send(time.perf_counter() - start if own is None else own)
    close()


class Times(NamedTuple):
    """Seconds per operation, the median of all rounds."""

    wall: float
    cpu: float


Results = dict[str, dict[str, Times]]
"""By action, then by candidate."""


def measure(
    actions: Sequence[Action],
    candidates: Sequence[Candidate],
    rounds: int,
    progress: Callable[[str], object],
) -> Results:
    """Let every candidate do every action in each round; return the medians."""
    seen: dict[tuple[str, str], list[Times]] = defaultdict(list)
    for number in range(-WARM_UP, rounds):
        progress(f"round {max(number, 0)} of {rounds}")
        for action in actions:
            turn = number % len(candidates)
            for candidate in [*candidates[turn:], *candidates[:turn]]:
                function = candidate.actions.get(action.name)
                if function is None:
                    continue
                # A string seeds alike in every process; a tuple's hash would not.
                material = action.material(random.Random(f"{action.name} {number}"))
                times = timed(function, material, action.times)
                if number >= 0:
                    seen[action.name, candidate.name].append(times)
    results: Results = {action.name: {} for action in actions}
    for (action, candidate), rows in seen.items():
        results[action][candidate] = Times(*map(statistics.median, zip(*rows, strict=True)))
    return results


def timed(function: Callable[[Any], float | None], material: object, times: int) -> Times:
    """Call it once."""
    cpu, wall = time.process_time(), time.perf_counter()
    own = function(material)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if own is not None:
        wall = cpu = own
    return Times(wall / times, cpu / times)

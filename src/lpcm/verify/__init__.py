"""Recorded histories: real processes, a real cache and store, real faults, and an exact judge.

Client processes work on a few keys through lpcm and write down what they do (``client``)
while a nemesis kills, stops, empties and cuts off what it can reach (``nemesis``). Then each
key's history is judged for linearizability (``judging``), and once all is quiet again every
item that the cache would still serve is compared with the store. The promise this checks is in
docs/explanation/coherence.md; in ``available`` mode reads may be older, by that promise, while
somebody cannot reach the cache, so there reads are only judged to be of values that were.

A run is made of rounds of a few seconds, each with new keys, so that it may go on for ever.
``stands`` are where it happens: on servers of this machine that may be hurt at will, or on
somebody's own (``lpcm verify``).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lpcm.engine.drive import run
from lpcm.ports import CacheLost
from lpcm.values.keys import encode
from lpcm.verify.client import MAP, POLICY, Spec, opened
from lpcm.verify.judge import Violation, judge, operations, smallest
from lpcm.verify.nemesis import FORGETTING, Nemesis, of_clients

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lpcm import Engine
    from lpcm.verify.targets import Stand

__all__ = ["Round", "Stale", "Violation", "play"]

KEYS = 5
_PROGRAM = "import sys; from lpcm.verify.client import main; main(sys.argv[1])"


class Stale(NamedTuple):
    """An item that the cache goes on serving though something else is stored."""

    key: str
    cached: object
    stored: object

    def __str__(self) -> str:
        return f"{self.key!r} is cached as {self.cached!r} for good, and stored as {self.stored!r}"


class Round(NamedTuple):
    """What a round came to."""

    operations: int
    counts: Counter[str]
    """How often each thing happened."""
    broken: Violation | Stale | None


class Clients:
    """The client processes of one round."""

    def __init__(self, spec: Spec, number: int) -> None:
        self._spec = spec
        self._started = 0
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        for _ in range(number):
            self.start()

    def start(self) -> None:
        """Start one more."""
        self._started += 1
        spec = self._spec._replace(number=self._started)
        process = subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-c", _PROGRAM, json.dumps(spec._asdict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._running[process.pid] = process

    def pids(self) -> list[int]:
        """Return those that are at work."""
        return list(self._running)

    def replace(self, pid: int) -> None:
        """Bury a killed one and start another."""
        process = self._running.pop(pid)
        process.communicate(timeout=20)
        self.start()

    def finish(self) -> Counter[str]:
        """Let them end what they do, and return what they counted."""
        counts: Counter[str] = Counter()
        for process in self._running.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self._running.values():
            output, _ = process.communicate(timeout=60)
            if process.returncode != 0:
                raise RuntimeError(f"a client ended with {process.returncode}")
            counts.update(json.loads(output))
        self._running.clear()
        return counts

    def close(self) -> None:
        """End whatever is left."""
        for process in self._running.values():
            process.kill()
            process.communicate(timeout=20)


def play(
    stand: Stand,
    directory: Path,
    *,
    seconds: float,
    seed: int,
    clients: int = 3,
    tier: str = "",
    kinds: str = "all",
    gently: bool = False,
) -> Round:
    """Let clients work for some seconds, hurt, and judge what they wrote down.

    ``directory`` takes the logs, and loses them again. ``tier`` is a protocol with a mistake,
    ``kinds`` what clients do, and ``gently``: nothing fails, but replies come in any order.
    """
    keys = tuple(f"{seed}-{number}" for number in range(2 if gently else KEYS))
    spec = Spec(stand.url, str(directory / "log"), 0, seed, keys, tier=tier, kinds=kinds)
    crew = Clients(spec, clients)
    faults = {**stand.faults, **of_clients(crew, killed=stand.kills_clients)}
    rng = random.Random(seed)  # noqa: S311  # a seed is the point
    # Half of the faults at a time: what happens all the time hides what else there is (Groce
    # et al. 2012, Swarm testing).
    chosen = [] if gently else rng.sample(sorted(faults), (len(faults) + 1) // 2)
    nemesis = Nemesis({name: faults[name] for name in chosen}, seed)
    try:
        stand.begin(rng, gently=gently)
        nemesis.start()
        try:
            time.sleep(seconds)
        finally:
            nemesis.stop()
            stand.quiet()
        counts = crew.finish()
    finally:
        crew.close()
    counts.update(nemesis.counts)
    counts.update(stand.counts())
    logs = sorted(directory.glob("log-*"))
    history = operations(logs)
    violation = judge(history, relaxed=stand.relaxed)
    broken: Violation | Stale | None
    if violation is not None:
        broken = smallest(violation, relaxed=stand.relaxed)
    elif counts["clients killed"] and any(counts[name] for name in FORGETTING):
        broken = None  # a dead client's mark may be forgotten: the cache TTL is the bound then
    else:
        broken = _stale(stand.url, keys)
    for log in logs:
        log.unlink()
    return Round(len(history), counts, broken)


def _stale(url: str, keys: Sequence[str]) -> Stale | None:
    """Return an item that would be served and is not what is stored, when all marks are over."""
    engine, _ = opened(url)
    deadline = time.monotonic() + POLICY.mark + 1.5
    try:
        wrong = [_served(engine, key) for key in keys]
        while any(wrong) and time.monotonic() < deadline:
            time.sleep(0.25)
            wrong = [_served(engine, key) for key in keys]
    finally:
        engine.close()
    return next(filter(None, wrong), None)


def _served(engine: Engine, key: str) -> Stale | None:
    stack = engine.stack
    if stack.coherent is None:
        return None
    pk, sk = engine.partition(MAP), encode(key)
    try:
        served = run(stack.coherent.cached(pk, [sk]))
    except CacheLost:
        return None
    if sk not in served:
        return None
    cached, stored = served[sk], run(stack.store.read(pk, sk, stack.clock.now()))
    if (cached and cached.data) == (stored and stored.data):
        return None
    return Stale(key, cached and cached.data, stored and stored.data)

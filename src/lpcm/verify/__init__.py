"""Recorded histories: real processes, a real cache and store, real faults, and an exact judge.

Client processes work on a few keys through lpcm and log each operation (``client``), while a
nemesis kills, stops, flushes and cuts off servers and clients (``nemesis``). Then each key's
history is judged for linearizability (``judge``); with a near cache, reads may be as old as it is
allowed to make them. When no fault is under way any more, every item that the cache would still
serve is compared with the store. The promise this checks is in docs/explanation/coherence.md. In
``available`` mode that promise allows older reads while a client cannot reach the cache, so there a
read is only judged to be of a value that its key once had.

A run is made of rounds of a few seconds, each with new keys, so that it may go on for ever. A
*target* (``targets``) is where a run happens: servers of this machine that may be killed and
filled, or a user's own stack (``lpcm verify``).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import CacheLost
from lpcm.values.keys import encode
from lpcm.verify.client import MAP, POLICY, Spec, opened
from lpcm.verify.judge import Violation, judge, operations, smallest
from lpcm.verify.nemesis import FORGETTING, Nemesis, of_clients
from lpcm.verify.targets import users_own, with_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lpcm import Engine
    from lpcm.verify.targets import Target

__all__ = ["MAP", "Round", "Stale", "Violation", "play", "users_own", "with_options"]

KEYS = 5
_PROGRAM = "import sys; from lpcm.verify.client import main; main(sys.argv[1])"


class Stale(NamedTuple):
    """An item that the cache goes on serving though the store has another value."""

    key: str
    cached: object
    stored: object

    def __str__(self) -> str:
        return f"{self.key!r} is cached as {self.cached!r} for good, and stored as {self.stored!r}"


class Round(NamedTuple):
    """The result of a round."""

    operations: int
    counts: Counter[str]
    """How often each fault and each outcome happened."""
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
        """Start one more client."""
        self._started += 1
        spec = self._spec._replace(number=self._started)
        process = subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-c", _PROGRAM, json.dumps(spec._asdict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._running[process.pid] = process

    def pids(self) -> list[int]:
        """Return the ids of the running processes."""
        return list(self._running)

    def replace(self, pid: int) -> None:
        """Reap a killed process and start another."""
        process = self._running.pop(pid)
        process.communicate(timeout=20)
        self.start()

    def finish(self) -> Counter[str]:
        """Let the clients end their operations, and return the sum of their counts."""
        counts: Counter[str] = Counter()
        for process in self._running.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self._running.values():
            output, _ = process.communicate(timeout=60)
            if process.returncode != 0:
                raise RuntimeError(
                    f"a client ended with {process.returncode}: it has said why on standard error"
                )
            counts.update(json.loads(output))
        self._running.clear()
        return counts

    def close(self) -> None:
        """Kill the processes that still run."""
        for process in self._running.values():
            process.kill()
            process.communicate(timeout=20)


def play(
    target: Target,
    directory: Path,
    *,
    seconds: float,
    seed: int,
    clients: int = 3,
    tier: str = "",
    kinds: str = "all",
    gently: bool = False,
) -> Round:
    """Let clients work under faults for some seconds, and judge their logs.

    The logs are written to ``directory`` and removed at the end. ``tier`` is a protocol with a
    mistake, ``kinds`` which operations the clients do. With ``gently`` no fault happens, but
    replies come in any order.
    """
    keys = tuple(f"{seed}-{number}" for number in range(2 if gently else KEYS))
    spec = Spec(target.url, str(directory / "log"), 0, seed, keys, tier=tier, kinds=kinds)
    crew = Clients(spec, clients)
    faults = {**target.faults, **of_clients(crew, killed=target.kills_clients)}
    rng = random.Random(seed)  # noqa: S311  # a seed is the point
    # Half of the faults at a time: a fault that happens all the time hides the effects of others
    # (Groce et al. 2012, Swarm testing).
    chosen = [] if gently else rng.sample(sorted(faults), (len(faults) + 1) // 2)
    nemesis = Nemesis({name: faults[name] for name in chosen}, seed)
    try:
        target.begin(rng, gently=gently)
        nemesis.start()
        try:
            time.sleep(seconds)
        finally:
            nemesis.stop()
            target.quiet()
        counts = crew.finish()
    finally:
        crew.close()
    counts.update(nemesis.counts)
    counts.update(target.counts())
    logs = sorted(directory.glob("log-*"))
    history = operations(logs)
    max_stale = config.parse(target.url).max_stale or 0.0
    violation = judge(history, relaxed=target.relaxed, max_stale=max_stale)
    broken: Violation | Stale | None
    if violation is not None:
        broken = smallest(violation, relaxed=target.relaxed, max_stale=max_stale)
    elif counts["clients killed"] and any(counts[name] for name in FORGETTING):
        broken = None  # a dead client's mark may be lost: then only the cache TTL bounds staleness
    else:
        broken = _stale(target.url, keys)
    for log in logs:
        log.unlink()
    return Round(len(history), counts, broken)


def _stale(url: str, keys: Sequence[str]) -> Stale | None:
    """Return an item that is still served, but differs from the store, when all marks are over."""
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

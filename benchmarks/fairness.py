"""Writers that meet on one key: what each of them gets, and how long each of them waits.

Run ``python benchmarks/fairness.py``; ``--seconds 5`` is the length of a round, ``--only sqlite``
takes one store, ``--work transact`` the kinds of work that begin so. ``--against OTHER/src`` runs
another checkout in turns with this one, so often as ``--rounds 3`` says. Processes are started one
after the other, read and write once, begin together, and work for the same time. A round's figures
are the operations a second of all, Jain's index of fairness (1: all got the same; 1/n: one got
all), the longest wait of one operation in seconds, the conflicts, and whether the result is exact.
Work that is ``alone`` is on keys of each process's own: what the machine can do. DynamoDB is
dynoxide, on this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.messages import create_table
from checks import servers
from lpcm import LPCM, transact
from lpcm.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

STOCK = 12_000
"""The entries that ``popitem`` takes from."""
START = 60.0
"""Seconds that a process may take to start, on a busy machine."""


class Work(NamedTuple):
    """What each process does again and again; ``before`` and ``after`` see the map alone."""

    before: Callable[[Any], None]
    once: Callable[[Any], object]
    after: Callable[[Any], float]
    """Return how many operations the map shows to have happened."""


def move(m: Any) -> None:
    def both(t: Any) -> None:
        t[m]["a"] += 0.5
        t[m]["b"] -= 0.5

    transact(both)


def balanced(m: Any) -> float:
    assert m["a"] + m["b"] == 0
    return float(m["a"] * 2)


def move_alone(m: Any) -> None:
    me = os.getpid()

    def both(t: Any) -> None:
        t[m].increment((me, "a"), 0.5)
        t[m].increment((me, "b"), -0.5)

    transact(both)


def half_more(value: float) -> float:
    return value + 0.5


def half_more_slowly(value: float) -> float:
    time.sleep(0.003)
    return value + 0.5


WORKS = {
    "increment by 0.5": Work(
        lambda m: m.set("k", 0.0), lambda m: m.increment("k", 0.5), lambda m: m["k"] * 2
    ),
    "transform": Work(
        lambda m: m.set("k", 0.0), lambda m: m.transform("k", half_more), lambda m: m["k"] * 2
    ),
    "transform of 3 ms": Work(
        lambda m: m.set("k", 0.0),
        lambda m: m.transform("k", half_more_slowly),
        lambda m: m["k"] * 2,
    ),
    "popitem": Work(
        lambda m: m.set_many({number: number for number in range(STOCK)}),
        lambda m: m.popitem(),
        lambda m: STOCK - len(m),
    ),
    "transact": Work(lambda m: m.update(a=0.0, b=0.0), move, balanced),
    "alone: increment by 0.5": Work(
        lambda m: m.clear(), lambda m: m.increment(os.getpid(), 0.5), lambda m: sum(m.values()) * 2
    ),
    "alone: transact": Work(lambda m: m.clear(), move_alone, lambda m: sum(map(abs, m.values()))),
}
ROUNDS = [
    ("increment by 0.5", 8, 1),
    ("increment by 0.5", 32, 1),
    ("transform", 8, 1),
    ("transform of 3 ms", 8, 1),
    ("transform", 1, 64),
    ("popitem", 16, 1),
    ("transact", 32, 1),
    ("alone: increment by 0.5", 1, 1),
    ("alone: increment by 0.5", 32, 1),
    ("alone: transact", 1, 1),
    ("alone: transact", 32, 1),
]
"""The work, the processes, and the threads of each."""


def work(  # noqa: PLR0917  # multiprocessing passes them by position
    url: str, name: str, how: tuple[int, float], ready: Any, begin: Any, out: Any
) -> None:
    threads, seconds = how
    m: Any = LPCM("fair", url=url)
    LPCM("warm", url=url).increment("k", 0.5)
    len(m)
    ready.release()
    begin.wait(START)
    now = time.monotonic()
    until = now + seconds
    results: list[tuple[int, int, float]] = []
    workers = [
        threading.Thread(target=lambda: results.append(repeat(WORKS[name].once, m, until)))
        for _ in range(threads)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    out.put((results, time.monotonic() - now))


def repeat(once: Callable[[Any], object], m: Any, until: float) -> tuple[int, int, float]:
    """Return the operations done, the conflicts, and the longest wait."""
    done = conflicts = 0
    longest = 0.0
    while (started := time.monotonic()) < until:
        try:
            once(m)
            done += 1
        except Conflict:
            conflicts += 1
        except KeyError:  # nothing is left to take
            break
        longest = max(longest, time.monotonic() - started)
    return done, conflicts, longest


def jain(shares: list[int]) -> float:
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def measure(url: str, name: str, processes: int, threads: int, seconds: float) -> str:
    m: Any = LPCM("fair", url=url)
    m.clear()
    WORKS[name].before(m)
    context = get_context("spawn")
    ready, begin, out = context.Semaphore(0), context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=work, args=(url, name, (threads, seconds), ready, begin, out))
        for _ in range(processes)
    ]
    for each in workers:
        each.start()
        assert ready.acquire(timeout=START)
    found = [out.get(timeout=seconds + 120) for _ in workers]
    for each in workers:
        each.join()
    results = [one for each, _ in found for one in each]
    shares = [done for done, *_ in results]
    length = max(worked for _, worked in found)
    exact = "yes" if WORKS[name].after(m) == sum(shares) else "NO"
    who = f"{processes}" if threads == 1 else f"{processes} of {threads} threads"
    return (
        f"| {name} | {who} | {sum(shares) / length:,.0f} | {jain(shares):.2f} "
        f"| {max(longest for *_, longest in results):.2f} "
        f"| {sum(conflicts for _, conflicts, _ in results)} | {exact} |"
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=8)
    asked.add_argument("--only", default="")
    asked.add_argument("--work", default="")
    asked.add_argument("--against", help="the src of another checkout")
    asked.add_argument("--rounds", type=int, default=1)
    asked.add_argument("--line", help=argparse.SUPPRESS)  # one round, for what --against starts
    given = asked.parse_args()
    os.environ |= servers.AWS
    if given.line:
        url, name, *numbers = given.line.split(" | ")
        processes, threads = map(int, numbers)
        print(measure(url, name, processes, threads, given.seconds))
        return
    sources = {"this": str(Path(__file__).parents[1] / "src")}
    if given.against:
        sources["the other"] = given.against
    with (
        tempfile.TemporaryDirectory(prefix="lpcm-fairness-") as folder,
        servers.dynoxide() as engine,
    ):
        create_table(engine.endpoint, "fair", "pk", "sk")
        urls = {
            "sqlite": f"sqlite:///{folder}/fair.sqlite3",
            "dynamodb": f"dynamodb://fair?endpoint={engine.endpoint}",
        }
        print("| | store | work | processes | a second | Jain | longest | conflicts | exact |")
        print("|---|---|---|--:|--:|--:|--:|--:|---|")
        for store, url in urls.items():
            if given.only not in {"", store}:
                continue
            rounds = [each for each in ROUNDS if each[0].startswith(given.work)]
            for (name, processes, threads), _ in product(rounds, range(given.rounds)):
                for which, source in sources.items():
                    line = one_round(source, f"{url} | {name} | {processes} | {threads}", given)
                    print(f"| {which} | {store} {line}", flush=True)


def one_round(source: str, line: str, given: argparse.Namespace) -> str:
    """Measure in a process of its own, which imports lpcm from ``source``."""
    command = [sys.executable, __file__, "--seconds", f"{given.seconds}", "--line", line]
    environment = os.environ | {"PYTHONPATH": source}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()

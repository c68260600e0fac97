"""How long writes of many processes on one SQLite file wait for each other, and how many give up.

``python benchmarks/waiting.py --against OTHER/src`` runs this checkout and another one in turns,
with the same work: each process has one thread, which puts values of 100 characters under keys of
its own, durably and as fast as it may. The figures of one run are comparable, others are not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PUTS = """
import sys, time
from lpcm import LPCM, Engine
from lpcm.errors import StoreBusy
url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
m = LPCM("bench", using=Engine.open(url))
len(m)
print("ready", flush=True)
sys.stdin.readline()
took, busy, count = [], 0, 0
until = time.perf_counter() + seconds
while (begun := time.perf_counter()) < until:
    try:
        m[f"{name}/{count % 100}"] = f"{count:0100}"
    except StoreBusy:
        busy += 1
    took.append(time.perf_counter() - begun)
    count += 1
print(busy, *(round(1e6 * one) for one in took))
"""


def run(source: str, processes: int, seconds: float, options: str) -> tuple[int, list[int]]:
    """Return how many writes gave up, and the microseconds of each, sorted."""
    environment = os.environ | {"PYTHONPATH": source}
    with tempfile.TemporaryDirectory(prefix="lpcm-waiting-") as folder:
        url = f"sqlite:///{folder}/bench.sqlite3?{options}"
        made = "import sys; from lpcm import LPCM; LPCM('bench', url=sys.argv[1])['made'] = 1"
        path = f"sqlite:///{folder}/bench.sqlite3"
        subprocess.run([sys.executable, "-c", made, path], check=True, env=environment)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", PUTS, url, str(number), str(seconds)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for number in range(processes)
        ]  # fmt: skip
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        found = [list(map(int, child.communicate()[0].split())) for child in children]
    return sum(one[0] for one in found), sorted(each for one in found for each in one[1:])


def main() -> None:
    """Print a line for each checkout and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", help="the src of another checkout")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--options", default="busy_timeout=30", help="of the URL")
    given = parser.parse_args()
    sources = {"this": str(Path(__file__).parents[1] / "src")}
    if given.against:
        sources["the other"] = given.against
    print(
        "| | writes/s | median ms | p99 | p99.9 | most | StoreBusy |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for _ in range(given.rounds):
        for name, source in sources.items():
            busy, took = run(source, given.processes, given.seconds, given.options)
            of = [took[int(part * (len(took) - 1))] / 1000 for part in (0.5, 0.99, 0.999, 1)]
            figures = " | ".join(f"{one:.1f}" for one in of)
            print(f"| {name} | {len(took) / given.seconds:.0f} | {figures} | {busy} |", flush=True)


if __name__ == "__main__":
    main()

"""What a value of many MB costs on SQLite: times, and the memory that is taken beside the value.

Run ``python benchmarks/large_values.py``; ``--mb 50`` for other sizes. To compare with other code,
run it in turn with ``PYTHONPATH=OTHER/src``. Times are medians, of a file without flushes. Memory
is what Python's allocator gives out at most during the operation, as a multiple of the value; what
is written is made within the operation, and counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

from lpcm import LPCM, Engine

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
MB = 2**20


def operations(m: Any, size: int) -> dict[str, Callable[[int], object]]:
    """Return what is measured; each gets a number that is new with each call."""

    def text(number: int) -> str:
        return f"{number:09}".ljust(size, "x")

    def change(number: int) -> None:
        m["document"]["n"] += number

    def held(number: int, document: Any = m["document"]) -> None:
        document["n"] += number

    return {
        "read text": lambda _: m["text"],
        "read bytes": lambda _: m["bytes"],
        "read a dict with the text": lambda _: m["document"],
        "write text": lambda number: m.set("text", text(number)),
        "write bytes": lambda number: m.set("bytes", text(number).encode()),
        "write a dict with the text": lambda number: m.set("again", {"n": 0, "s": text(number)}),
        "change a number beside it, in a dict just read": change,
        "change a number beside it, in a dict at hand": held,
    }


def peak(work: Callable[[int], object], number: int) -> int:
    tracemalloc.start()
    work(number)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=10, help="of each value (default: 10)")
    size = parser.parse_args().mb * MB
    with tempfile.TemporaryDirectory(prefix="lpcm-large-") as folder:
        url = f"sqlite:///{folder}/m.sqlite3?synchronous=normal&near_cache=0"
        with Engine.open(url) as engine:
            m: Any = LPCM("m", using=engine)
            m.update(text="x" * size, bytes=b"x" * size, document={"n": 0, "s": "x" * size})
            print(f"| of {size // MB} MB | ms | memory |\n|---|--:|--:|")
            for name, work in operations(m, size).items():
                taken: list[float] = []
                for number in range(ROUNDS):
                    begun = time.perf_counter()
                    work(number)
                    taken.append(time.perf_counter() - begun)
                ms, most = statistics.median(taken) * 1000, peak(work, ROUNDS) / size
                print(f"| {name} | {ms:.1f} | {most:.1f} |", flush=True)


if __name__ == "__main__":
    main()

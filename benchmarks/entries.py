"""The entries that embedded maps hold in the benchmarks, and the loops over them.

Knows no map.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

N = 5_000


def some(rng: random.Random, count: int) -> list[str]:
    return [f"user/{rng.randrange(N):06d}" for _ in range(count)]


def text(rng: random.Random) -> str:
    return f"{rng.getrandbits(400):0100x}"[:100]


def record(rng: random.Random) -> dict[str, Any]:
    number = rng.randrange(10**6)
    return {"id": number, "name": f"user {number}", "score": number / 7, "tags": ["a", "b", "c"]}


def keys(count: int) -> Callable[[random.Random], list[str]]:
    return lambda rng: some(rng, count)


def pairs(
    count: int, make: Callable[[random.Random], Any]
) -> Callable[[random.Random], list[tuple[str, Any]]]:
    return lambda rng: [(key, make(rng)) for key in some(rng, count)]


def loop(function: Callable[..., object]) -> Callable[[Any], None]:
    """Call it with each element."""

    def looped(elements: list[Any]) -> None:
        for element in elements:
            function(element)

    return looped


def mapping_get(mapping: Any) -> Callable[[Any], None]:
    def get(names: list[str]) -> None:
        for name in names:
            mapping[name]

    return get


def again(get: Callable[[Any], object]) -> Callable[[Any], float]:
    """Return what reads four times, and times the last: a cache has made of it what it keeps."""

    def measured(names: list[str]) -> float:
        for _ in range(3):
            get(names)
        began = time.perf_counter()
        get(names)
        return time.perf_counter() - began

    return measured


def mapping_put(mapping: Any) -> Callable[[Any], None]:
    def put(entries: list[tuple[str, Any]]) -> None:
        for name, value in entries:
            mapping[name] = value

    return put


def many(one: Callable[[Any], object]) -> Callable[[Any], None]:
    """Do a batch by single operations."""
    return loop(one)


def importing(statement: str) -> Callable[[Any], float]:
    code = f"import time; s = time.process_time(); {statement}; print(time.process_time() - s)"

    def measured(_: object) -> float:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    return measured


def fill(put_all: Callable[[list[tuple[str, Any]]], object], make: Callable[[], Any]) -> None:
    put_all([(f"user/{number:06d}", make()) for number in range(N)])


def filled() -> tuple[Callable[[], str], Callable[[], dict[str, Any]]]:
    rng = random.Random(7)
    return lambda: text(rng), lambda: record(rng)

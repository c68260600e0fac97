"""How long a value in parts takes on DynamoDB, with a partition's limits, a delay, or neither.

Run ``python benchmarks/large_values_dynamodb.py``. The engine is dynoxide on this machine, behind
``checks.limiting``, or behind a proxy that keeps each reply back for 20 ms, as a network does.
Times are medians of five.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).parents[1]))

import lpcm
from benchmarks.messages import create_table
from checks import servers
from checks.limiting import LimitingProxy, Limits, limiting
from lpcm import LPCM, Engine
from lpcm.verify import proxy

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "large"
SIZES = (1, 5, 20)
"""Megabytes."""
JSON = 4 / 3
"""The proxy counts what is sent, where bytes are base64; AWS counts the bytes."""
PARTITION = Limits(writes=1000 * JSON, reads=3000 * JSON, saved=1.0)
ROUNDS = 5
DELAY = 0.02
"""Seconds."""


def timed(work: Callable[[], object]) -> tuple[float, str]:
    """Do it; return the seconds, and what it cost."""
    with lpcm.meter() as made:
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    units = made.write_units or made.read_units
    return seconds, f"{made.calls} requests, {units:,.0f} units"


def cell(found: list[tuple[float, str]]) -> str:
    """Return a cell of the table."""
    seconds, costs = zip(*found, strict=True)
    return f"{statistics.median(seconds):.2f} s, {costs[0]}"


def measure(front: proxy.Proxy, limits: Limits, name: str) -> None:
    """Print a line for each size."""
    url = f"dynamodb://{TABLE}?region=eu-west-1&endpoint={front.endpoint}"
    with Engine.open(url) as engine:
        m: Any = LPCM("m", using=engine, live=False)
        if isinstance(front, LimitingProxy):
            front.limits = Limits()
        m["first"] = os.urandom(500_000)  # raises the map's format
        for size in SIZES:
            value = os.urandom(size * 1_000_000)
            wrote, read = [], []
            for number in range(ROUNDS):
                if isinstance(front, LimitingProxy):
                    front.limits = limits
                    front.forget_units()
                wrote.append(timed(partial(m.set, (size, number), value)))
                read.append(timed(partial(m.__getitem__, (size, number))))
            print(f"| {name} | {size} MB | {cell(wrote)} | {cell(read)} |", flush=True)


def main() -> None:
    """Print the table."""
    os.environ |= servers.AWS
    with servers.dynoxide() as engine:
        create_table(engine.endpoint, TABLE, "pk", "sk")
        at = urlsplit(engine.endpoint)
        assert at.hostname is not None
        assert at.port is not None
        print("| limits, or delay | value | write | read |\n|---|---|---|---|")
        with limiting(at.hostname, at.port, Limits()) as front:
            measure(front, Limits(), "none")
            measure(front, PARTITION, "of a partition")
        slow = proxy.Faults(delay=1.0, seconds=(DELAY, DELAY))
        with proxy.http_proxy(at.hostname, at.port, slow) as front:
            measure(front, Limits(), f"{1000 * DELAY:g} ms")


if __name__ == "__main__":
    main()

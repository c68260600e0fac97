"""How long a value in parts takes on DynamoDB, with a partition's limits and without.

Run ``python benchmarks/large_values_dynamodb.py``. The engine is dynoxide behind
``checks.limiting``, on this machine, so no round trip to AWS is in the times.
"""

from __future__ import annotations

import os
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

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "large"
SIZES = (1, 5, 20)
"""Megabytes."""
JSON = 4 / 3
"""The proxy counts what is sent, where bytes are base64; AWS counts the bytes."""
PARTITION = Limits(writes=1000 * JSON, reads=3000 * JSON, saved=1.0)


def timed(work: Callable[[], object]) -> str:
    """Do it; return a cell of the table."""
    with lpcm.meter() as made:
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    units = made.write_units or made.read_units
    return f"{seconds:.2f} s, {made.calls} requests, {units:,.0f} units"


def measure(proxy: LimitingProxy, limits: Limits, name: str) -> None:
    """Print a line for each size."""
    url = f"dynamodb://{TABLE}?region=eu-west-1&endpoint={proxy.endpoint}"
    with Engine.open(url) as engine:
        m: Any = LPCM("m", using=engine, live=False)
        proxy.limits = Limits()
        m["first"] = os.urandom(500_000)  # raises the map's format
        proxy.limits = limits
        proxy.forget_units()
        for size in SIZES:
            value = os.urandom(size * 1_000_000)
            wrote = timed(partial(m.set, size, value))
            read = timed(partial(m.__getitem__, size))
            print(f"| {name} | {size} MB | {wrote} | {read} |", flush=True)


def main() -> None:
    """Print the table."""
    os.environ |= servers.AWS
    with servers.dynoxide() as engine:
        create_table(engine.endpoint, TABLE, "pk", "sk")
        at = urlsplit(engine.endpoint)
        assert at.hostname is not None
        assert at.port is not None
        print("| limits | value | write | read |\n|---|---|---|---|")
        with limiting(at.hostname, at.port, Limits()) as proxy:
            measure(proxy, Limits(), "none")
            measure(proxy, PARTITION, "of a partition")


if __name__ == "__main__":
    main()

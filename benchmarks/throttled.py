"""Over the limit of a DynamoDB table: what gets through, who waits how long, how many requests.

Run ``python benchmarks/throttled.py``. The engine is dynoxide behind ``checks.limiting``, on this
machine: it gives one partition key so many write units a second, as AWS does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.messages import create_table
from checks import servers
from checks.limiting import LimitingProxy, Limits, limiting
from lpcm import LPCM, Engine, LPCMError

TABLE = "throttled"
THREADS = 600
UNITS = 245
EACH = 3
WARM = 3.0
"""Seconds after which the rate has been found, so that it counts from then on."""
LONG = 10.0
"""Seconds for which it counts."""
SECONDS = 8.0


def crowd(engine: Engine, proxy: LimitingProxy) -> str:
    """Have many threads put a few values each; return a line of the table."""
    m: Any = LPCM("crowd", using=engine)
    waits: list[float] = []
    errors: list[LPCMError] = []
    begin = threading.Barrier(THREADS + 1)

    def put(number: int) -> None:
        begin.wait()
        for turn in range(EACH):
            started = time.monotonic()
            try:
                m[number] = turn
            except LPCMError as error:
                errors.append(error)
            waits.append(time.monotonic() - started)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    m["first"] = 0
    proxy.limits = Limits(writes=UNITS)
    proxy.forget_units()
    begin.wait()
    started = time.monotonic()
    for thread in threads:
        thread.join()
    length = time.monotonic() - started
    mean = sum(waits) / len(waits)
    return (
        f"| {THREADS} threads, {EACH} puts each, {UNITS} units | {len(waits) / length:.0f} "
        f"| {mean:.2f} | {max(waits):.2f} | {proxy.counts['throttled'] / len(waits):.2f} "
        f"| {len(errors)} |"
    )


def load(engine: Engine, proxy: LimitingProxy, units: int) -> str:
    """Store many entries in one call; return a line of the table."""
    m: Any = LPCM("load", using=engine)
    m["first"] = 0
    proxy.limits = Limits(writes=units, saved=1)
    proxy.forget_units()
    before = proxy.counts["requests"]
    started = time.monotonic()
    m.set_many({number: number for number in range(units * 6)})
    length = time.monotonic() - started
    requests = proxy.counts["requests"] - before
    batches = units * 6 / 25
    return (
        f"| set_many of {units * 6}, {units} units | {units * 6 / length:.0f} | | {length:.2f} "
        f"| {requests / batches - 1:.2f} | 0 |"
    )


def spread(engine: Engine, proxy: LimitingProxy, shards: int) -> str:
    """Have many tasks put entries into a map of so many shards; return a line of the table."""
    m: Any = LPCM(f"spread {shards}", using=engine, shards=shards)
    m["first"] = 0
    proxy.limits = Limits(writes=50, saved=0.02)
    proxy.forget_units()
    before = proxy.counts["throttled"]
    written: list[float] = []
    errors: list[LPCMError] = []

    async def write(task: int, begun: float) -> None:
        number = 0
        while time.monotonic() < begun + WARM + LONG:
            number += 1
            try:
                await m.aset(f"{task}/{number}", number)
            except LPCMError as error:
                errors.append(error)
            written.append(time.monotonic() - begun)

    async def work() -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for task in range(32 * min(shards, 12)):
                tasks.create_task(write(task, begun))
        await engine.aclose()

    asyncio.run(work())
    rate = sum(WARM < at <= WARM + LONG for at in written) / LONG
    throttled = proxy.counts["throttled"] - before
    return (
        f"| {shards} shards, 50 units each | {rate:.0f} | | "
        f"| {throttled / len(written):.2f} | {len(errors)} |"
    )


def copy(engine: Engine, proxy: LimitingProxy, units: int) -> str:
    """Copy maps from a file by the command line; return a line of the table."""
    del engine
    maps, size = 4, units * 5
    with tempfile.TemporaryDirectory() as folder:
        here = f"sqlite:///{folder}/here.sqlite3?synchronous=normal"
        for number in range(maps):
            LPCM(f"copied{number}", url=here).set_many({each: each for each in range(size)})
        proxy.limits = Limits(writes=units, saved=1)
        proxy.forget_units()
        before = proxy.counts["requests"]
        there = f"dynamodb://{TABLE}?endpoint={proxy.endpoint}&budget=60"
        started = time.monotonic()
        command = [sys.executable, "-m", "lpcm", "copy", here, there, "--no-verify"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        length = time.monotonic() - started
    requests = proxy.counts["requests"] - before
    return (
        f"| copy of {maps} maps of {size}, {units} units each | {maps * size / length:.0f} | "
        f"| {length:.2f} | {requests / (maps * size / 25) - 1:.2f} | 0 |"
    )


def count(url: str, threads: int, begin: Any, out: Any) -> None:
    """Increment one counter with so many threads; put the number, the longest wait, the errors."""
    m: Any = LPCM("counter", url=url)
    len(m)
    waits: list[float] = []
    errors: list[LPCMError] = []
    begin.wait()
    until = time.monotonic() + SECONDS

    def add() -> None:
        while (started := time.monotonic()) < until:
            try:
                m.increment("k")
            except LPCMError as error:
                errors.append(error)
            waits.append(time.monotonic() - started)

    started = [threading.Thread(target=add) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    out.put((waits, len(errors)))


def counter(engine: Engine, proxy: LimitingProxy) -> str:
    """Have processes of 16 threads each increment one key; return a line of the table."""
    m: Any = LPCM("counter", using=engine)
    m["k"] = 0
    context = get_context("spawn")
    begin, out = context.Barrier(5), context.Queue()
    url = f"dynamodb://{TABLE}?endpoint={proxy.endpoint}"
    workers = [context.Process(target=count, args=(url, 16, begin, out)) for _ in range(4)]
    for worker in workers:
        worker.start()
    while begin.n_waiting < len(workers):
        time.sleep(0.05)
    proxy.limits = Limits(writes=50)
    proxy.forget_units()
    proxy.units.clear()
    begin.wait()
    started = time.monotonic()
    found = [out.get(timeout=120) for _ in workers]
    length = time.monotonic() - started
    for worker in workers:
        worker.join()
    units = sum(spent for (kind, _), spent in proxy.units.items() if kind == "Write")
    proxy.limits = Limits()
    proxy.forget_units()
    waits = [wait for each, _ in found for wait in each]
    errors = sum(failed for _, failed in found)
    exact = "" if m["k"] == len(waits) - errors else ", NOT EXACT"
    return (
        f"| increments by 4 x 16 threads, {units / length:.0f} of 50 units a second{exact} "
        f"| {len(waits) / length:.0f} | {sum(waits) / len(waits):.2f} | {max(waits):.2f} "
        f"| {proxy.counts['throttled'] / proxy.counts['passed']:.2f} | {errors} |"
    )


def clearing(engine: Engine, proxy: LimitingProxy, entries: int = 15_000) -> str:
    """Delete many entries while 24 threads write to the map; return a line of the table."""
    m: Any = LPCM("clearing", using=engine)
    m.set_many({number: number for number in range(entries)})
    waits: list[float] = []
    errors: list[LPCMError] = []
    over = threading.Event()

    def write(number: int) -> None:
        while not over.is_set():
            started = time.monotonic()
            try:
                m[f"w{number}"] = started
            except LPCMError as error:
                errors.append(error)
            waits.append(time.monotonic() - started)

    proxy.limits = Limits(writes=500)
    proxy.forget_units()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    try:
        m.clear()
    finally:
        length = time.monotonic() - started
        over.set()
        for thread in threads:
            thread.join()
    left = max(0, len(m) - len(threads))
    return (
        f"| clear of {entries} in {length:.0f} s, {left} left, beside 24 writers, 500 units "
        f"| {len(waits) / length:.0f} | {sum(waits) / len(waits):.2f} | {max(waits):.2f} "
        f"| {proxy.counts['throttled'] / proxy.counts['passed']:.2f} | {len(errors)} |"
    )


def main() -> None:
    os.environ |= servers.AWS
    print("| | a second | mean wait | longest | refused of each request | errors |")
    print("|---|--:|--:|--:|--:|--:|")
    with servers.dynoxide() as server:
        create_table(server.endpoint, TABLE, "pk", "sk")
        for measure in (
            crowd,
            lambda engine, proxy: load(engine, proxy, 280),
            lambda engine, proxy: spread(engine, proxy, 1),
            lambda engine, proxy: spread(engine, proxy, 16),
            lambda engine, proxy: copy(engine, proxy, 280),
            counter,
            clearing,
        ):
            with limiting(server.host, server.port, Limits()) as proxy:
                url = f"dynamodb://{TABLE}?endpoint={proxy.endpoint}"
                with Engine.open(url) as engine:
                    print(measure(engine, proxy), flush=True)


if __name__ == "__main__":
    main()

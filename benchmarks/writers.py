"""Durable writes of many threads or tasks at once, one library in one process.

``python benchmarks/writers.py lpcm threads 32`` prints the puts per second; ``--slow 5`` delays
each flush by 5 ms (``slow_disk``). The suite ``writers`` compares the libraries in turns;
``--against OTHER/src --rounds 7`` compares this checkout and another one in turns, and prints the
median of each and how many times the other's it is.

Each writer puts values of 100 characters under keys of its own, one at a time, and each put is
on the disk when it returns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slow_disk import slowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def value(count: int) -> str:
    """Return another value each time: SQLite writes nothing where a row stays what it was."""
    return f"{count:0100}"


@contextmanager
def with_lpcm(folder: str) -> Iterator[Any]:
    from lpcm import LPCM, Engine

    with Engine.open(f"sqlite:///{folder}/bench.sqlite3") as engine:
        yield LPCM("bench", using=engine)


@contextmanager
def with_diskcache(folder: str) -> Iterator[Any]:
    import diskcache

    cache = diskcache.Cache(folder, eviction_policy="none", sqlite_synchronous=2)
    with closing(cache):
        yield diskcache.Index.fromcache(cache)


class Mapping:
    """Something with one way to put, as a mapping."""

    def __init__(self, put: Callable[[str, str], object]) -> None:
        self.__setitem = put

    def __setitem__(self, key: str, value: str) -> None:
        self.__setitem(key, value)


@contextmanager
def with_sqlite3(folder: str) -> Iterator[Any]:
    import sqlite3

    database = sqlite3.connect(
        f"{folder}/bench.sqlite3", isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=full")
    database.execute("CREATE TABLE t(k TEXT PRIMARY KEY, v)")
    lock = threading.Lock()
    sql = "INSERT INTO t VALUES(?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v"

    def put(key: str, value: str) -> None:
        with lock:
            database.execute(sql, (key, value))

    with closing(database):
        yield Mapping(put)


@contextmanager
def with_lmdb(folder: str) -> Iterator[Any]:
    import lmdb

    environment = lmdb.open(folder, map_size=1 << 30)

    def put(key: str, value: str) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(key.encode(), value.encode())

    with closing(environment):
        yield Mapping(put)


@contextmanager
def with_rocksdict(folder: str) -> Iterator[Any]:
    import rocksdict

    database = rocksdict.Rdict(folder)
    options = rocksdict.WriteOptions()
    options.sync = True
    database.set_write_options(options)
    with closing(database):
        yield database


LIBRARIES = {
    "lpcm": with_lpcm,
    "bare sqlite3": with_sqlite3,
    "diskcache.Index": with_diskcache,
    "lmdb": with_lmdb,
    "rocksdict": with_rocksdict,
}


def threads(mapping: Any, number: int, seconds: float) -> float:
    """Return the puts per second of so many threads."""
    done: list[int] = []
    ready = threading.Barrier(number + 1)

    def write(writer: int) -> None:
        ready.wait()
        count = 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            mapping[f"{writer}/{count % 100}"] = value(count)
            count += 1
        done.append(count)

    writers = [threading.Thread(target=write, args=(each,)) for each in range(number)]
    for writer in writers:
        writer.start()
    ready.wait()
    began = time.perf_counter()
    for writer in writers:
        writer.join()
    return sum(done) / (time.perf_counter() - began)


def tasks(mapping: Any, number: int, seconds: float) -> float:
    """Return the puts per second of so many tasks: ``aset``, or a thread for each put."""
    if hasattr(mapping, "aset"):
        put = mapping.aset
    else:

        async def put(key: str, value: str) -> None:
            await asyncio.to_thread(mapping.__setitem__, key, value)

    async def write(writer: int) -> int:
        count = 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await put(f"{writer}/{count % 100}", value(count))
            count += 1
        return count

    async def all_of_them() -> float:
        await put("0/0", value(-1))
        began = time.perf_counter()
        done = await asyncio.gather(*map(write, range(number)))
        return sum(done) / (time.perf_counter() - began)

    return asyncio.run(all_of_them())


HOW = {"threads": threads, "tasks": tasks}


def rate(library: str, how: str, number: int, seconds: float, folder: str | None = None) -> float:
    """Return the durable puts per second of a library in this process."""
    with tempfile.TemporaryDirectory(dir=folder) as place, LIBRARIES[library](place) as mapping:
        for count in range(100):
            mapping[f"0/{count}"] = value(-1)
        return HOW[how](mapping, number, seconds)


def measured(
    library: str,
    how: str,
    number: int,
    *,
    seconds: float,
    slow: float = 0.0,
    folder: str | None,
    source: str | None = None,
) -> float:
    """Return the same from a process of its own, on a disk whose flushes take ``slow`` ms more.

    ``source``: the directory that it imports lpcm from.
    """
    command = [sys.executable, __file__, library, how, str(number), "--seconds", str(seconds)]
    if folder:
        command += ["--folder", folder]
    if slow:
        command = slowed(command, slow)
    environment = os.environ | ({"PYTHONPATH": source} if source else {})
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def compare(other: str, rounds: int, **what: Any) -> None:
    """Print the median of this checkout's rate and of another one's, in turns."""
    sources = {"this": str(Path(__file__).parents[1] / "src"), "the other": other}
    found: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, source in sources.items():
            found[name].append(measured(**what, source=source))
    medians = {name: statistics.median(each) for name, each in found.items()}
    for name, each in found.items():
        print(f"{name}: {medians[name]:.0f} a second, from {min(each):.0f} to {max(each):.0f}")
    print(f"{medians['this'] / medians['the other']:.2f} times")


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("how", choices=HOW)
    parser.add_argument("number", type=int)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--slow", type=float, default=0.0, help="milliseconds for each flush")
    parser.add_argument("--folder", help="where the files are; default: the temporary directory")
    parser.add_argument("--against", help="the src of another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    what = {
        "library": given.library, "how": given.how, "number": given.number,
        "seconds": given.seconds, "folder": given.folder,
    }  # fmt: skip
    if given.against:
        compare(given.against, given.rounds, **what, slow=given.slow)
    elif given.slow:
        print(f"{measured(**what, slow=given.slow):.1f}")
    else:
        print(f"{rate(**what):.1f}")


if __name__ == "__main__":
    main()

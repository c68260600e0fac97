"""Which table layout the SQLite store should have: WITHOUT ROWID or rowid, `v` last or not.

Run: python benchmarks/layout.py [directory]. Pinned to one core; every candidate does the
same work in interleaved rounds and medians are compared, as ratios to the first. Results
and the decision: docs/explanation/sqlite-layout.md.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROUNDS = 7
SIZES = {100: 20_000, 2_000: 5_000, 100_000: 300}
LAST = "pk TEXT NOT NULL, sk TEXT NOT NULL, t TEXT, etag INTEGER NOT NULL, x REAL, v"
FIRST = "pk TEXT NOT NULL, sk TEXT NOT NULL, v, t TEXT, etag INTEGER NOT NULL, x REAL"


class Layout(NamedTuple):
    name: str
    columns: str
    rowid: bool
    page: int


LAYOUTS = [
    Layout("norowid 4096", LAST, rowid=False, page=4096),
    Layout("norowid 8192", LAST, rowid=False, page=8192),
    Layout("norowid 4096 v first", FIRST, rowid=False, page=4096),
    Layout("rowid 4096", LAST, rowid=True, page=4096),
    Layout("rowid 8192", LAST, rowid=True, page=8192),
]
GET = "SELECT v, t, etag, x FROM entries WHERE pk=? AND sk=?"
PUT = (
    "INSERT INTO entries(pk,sk,v,t,etag,x) VALUES(?,?,?,?,?,?) ON CONFLICT(pk,sk) DO UPDATE SET"
    " v=excluded.v, t=excluded.t, etag=excluded.etag, x=excluded.x"
)
KEYS = (
    "SELECT sk, etag FROM entries WHERE pk=? AND sk>=? AND (x IS NULL OR x>?)"
    " ORDER BY sk LIMIT 1000"
)
SCAN = (
    "SELECT sk, v, t, etag, x FROM entries WHERE pk=? AND sk>=? AND (x IS NULL OR x>?)"
    " ORDER BY sk LIMIT 100"
)
ALL = "SELECT count(*) FROM entries WHERE pk=? AND sk>=? AND ?"
COUNT = "SELECT count(*) FROM entries WHERE pk=? AND sk>=? AND (x IS NULL OR x>?)"


class Candidate:
    def __init__(self, folder: str, layout: Layout, size: int, synchronous: str) -> None:
        self.size, self.rows = size, SIZES[size]
        self.path = Path(folder) / f"{layout.name}-{size}-{synchronous}.sqlite3"
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute(f"PRAGMA page_size={layout.page}")
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(f"PRAGMA synchronous={synchronous}")
        tail = "" if layout.rowid else " WITHOUT ROWID"
        self.db.execute(f"CREATE TABLE entries({layout.columns}, PRIMARY KEY(pk, sk)){tail}")
        self.db.execute("CREATE INDEX expiry ON entries(x) WHERE x IS NOT NULL")
        self.random = random.Random(7)
        names = [self.key(n) for n in range(self.rows)]
        self.random.shuffle(names)
        self.batch(names)
        self.cursor = self.db.cursor()

    def key(self, n: int) -> str:
        return f"user-{n:08d}"

    def row(self, name: str) -> tuple[object, ...]:
        value = "x" * (self.size - 8) + f"{self.random.randrange(10**8):08d}"
        return ("default/users/", name, value, "j", self.random.getrandbits(63), None)

    def batch(self, names: list[str]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(PUT, [self.row(name) for name in names])
        self.db.execute("COMMIT")

    def names(self, count: int) -> list[str]:
        return [self.key(self.random.randrange(self.rows)) for _ in range(count)]

    def get(self) -> float:
        names = self.names(500)
        execute = self.cursor.execute
        start = time.perf_counter()
        for name in names:
            execute(GET, ("default/users/", name)).fetchone()
        return (time.perf_counter() - start) / 500

    def put(self) -> float:
        rows = [self.row(name) for name in self.names(60)]
        execute = self.cursor.execute
        start = time.perf_counter()
        for row in rows:
            execute(PUT, row)
        return (time.perf_counter() - start) / 60

    def put_100(self) -> float:
        names = self.names(100)
        start = time.perf_counter()
        self.batch(names)
        return time.perf_counter() - start

    def query(self, sql: str) -> float:
        start = time.perf_counter()
        self.cursor.execute(sql, ("default/users/", "", 1.0)).fetchall()
        return time.perf_counter() - start

    def keys_1000(self) -> float:
        return self.query(KEYS)

    def scan_100(self) -> float:
        return self.query(SCAN)

    def count(self) -> float:
        return self.query(COUNT)

    def count_index(self) -> float:
        """As the store does it: what has expired is subtracted, from the other index."""
        return self.query(ALL)


def measure(folder: str, size: int, synchronous: str) -> None:
    candidates = [Candidate(folder, layout, size, synchronous) for layout in LAYOUTS]
    print(f"\n{size} B, synchronous={synchronous}, {SIZES[size]} rows")
    print(f"{'':12}" + "".join(f"{layout.name:>22}" for layout in LAYOUTS))
    reads = (
        ["get", "scan_100", "keys_1000", "count", "count_index"] if synchronous == "FULL" else []
    )
    for action in [*reads, "put", "put_100"]:
        times: list[list[float]] = [[] for _ in candidates]
        for _ in range(ROUNDS):
            for series, candidate in zip(times, candidates, strict=True):
                series.append(getattr(candidate, action)())
        medians = [statistics.median(series) for series in times]
        cells = "".join(f"{m * 1e6:12.1f} us {m / medians[0]:5.2f}x" for m in medians)
        print(f"{action:12}{cells}")
    sizes = []
    for candidate in candidates:
        candidate.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append(candidate.path.stat().st_size)
        candidate.db.close()
    print(f"{'file':12}" + "".join(f"{s / 1e6:12.1f} MB {s / sizes[0]:5.2f}x" for s in sizes))


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        for size in SIZES:
            for synchronous in ("FULL", "NORMAL"):
                measure(folder, size, synchronous)


if __name__ == "__main__":
    main()

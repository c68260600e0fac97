"""lpcm on SQLite against other embedded maps: durable writes of many threads and tasks."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import slow_disk
from harness import Action, Candidate, Scale, Target
from writers import LIBRARIES, measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TITLE = "Durable writes, of many threads or tasks at once"
ABOUT = """
Each writer puts values of 100 characters under keys of its own, one at a time, and each put is on
the disk when it returns (`benchmarks/writers.py`). All writers are of one process and share one
handle, as each library's documentation shows. The time is that of the process for each put: with
32 writers a put takes each of them 32 times as long.

- *slow disk*: each flush takes 5 ms longer, from outside (`benchmarks/slow_disk.py`), as that of a
  disk without a cache of its own, or of a cloud's volume.
- *tasks*: lpcm has `aset`; the others are called in the threads of `asyncio.to_thread`.
- *bare sqlite3* is one connection behind a lock. *rocksdict* is RocksDB, which commits together
  what waits together.
"""
SLOW = 5.0
NUMBERS = (1, 8, 32)
DISKS = {"": 0.0, ", slow disk": SLOW} if slow_disk.available() else {"": 0.0}


def _name(how: str, number: int, disk: str) -> str:
    return f"{number} {how if number > 1 else how[:-1]}{disk}"


CASES = {
    _name(how, number, disk): (how, number, slow)
    for disk, slow in DISKS.items()
    for how in ("threads", "tasks")
    for number in NUMBERS
}
ACTIONS = [Action(name, 1) for name in CASES]
TARGETS = [
    Target("1 thread", "lpcm", "diskcache.Index", 1.05),
    Target("32 threads", "lpcm", "diskcache.Index", 1 / 3),
    Target("32 tasks", "lpcm", "diskcache.Index", 1 / 3),
    *(
        Target(f"32 {how}, slow disk", "lpcm", "diskcache.Index", 1 / 15)
        for how in ("threads", "tasks")
        if len(DISKS) > 1
    ),
]
PLOT = [
    _name(how, number, disk)
    for disk in DISKS
    for how, number in (("threads", 1), ("threads", 32), ("tasks", 32))
]


@contextmanager
def candidates(scale: Scale) -> Iterator[Sequence[Candidate]]:
    seconds = 0.2 if scale.quick else 0.5

    def put(library: str, case: str, _: object) -> float:
        how, number, slow = CASES[case]
        folder = str(scale.folder)
        return 1 / measured(library, how, number, seconds=seconds, slow=slow, folder=folder)

    yield [
        Candidate(library, {case: partial(put, library, case) for case in CASES})
        for library in LIBRARIES
    ]

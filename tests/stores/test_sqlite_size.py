"""A SQLite file and its log stay small: free pages, expired rows, checkpoints."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from lpcm import LPCM, Engine
from lpcm.engine import upkeep
from lpcm.engine.drive import run
from lpcm.errors import ConfigError
from lpcm.ports import Cell, KeyRange, Put, When
from lpcm.stores.sqlite.store import open_store

MB = 1_000_000


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.time = time.time() - 86_400

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds


@pytest.fixture
def path(tmp_path):
    return tmp_path / "l.sqlite3"


@pytest.fixture
def engine(path):
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
    yield engine
    engine.close()


def fill(m, megabytes, size=10_000):
    m.set_many((n, "x" * size) for n in range(megabytes * MB // size))


def checkpointed(path):
    """Return the size of the file when the log has been copied into it."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return path.stat().st_size


def test_a_cleared_map_leaves_a_small_file(engine, path):
    """What ``clear`` deletes leaves the file by itself."""
    m = LPCM("m", using=engine)
    fill(m, 20)
    assert checkpointed(path) > 20 * MB
    m.clear()
    assert checkpointed(path) < MB


def test_vacuum(engine, path):
    """50 MB that were written and cleared leave less than 1 MB, and all other entries."""
    m, other = LPCM("m", using=engine), LPCM("other", using=engine)
    other["k"] = 1
    fill(m, 50)
    m.clear()
    upkeep.vacuum(using=engine)
    assert path.stat().st_size < MB
    assert other.copy() == {"k": 1}


def test_vacuum_converts_a_file_without_auto_vacuum(path):
    """A file of the first version does not shrink by itself, and does after ``vacuum``."""
    with closing(open_store(str(path))):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA auto_vacuum = NONE")
        other.execute("VACUUM")
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    engine = Engine.open(f"sqlite:///{path}")
    m = LPCM("m", using=engine)
    fill(m, 5)
    m.clear()
    found = upkeep.info(using=engine)
    assert not found["shrinks"]
    assert found["free"] > 4 * MB
    upkeep.vacuum(using=engine)
    found = upkeep.info(using=engine)
    assert found["shrinks"]
    assert found["size"] < MB
    fill(m, 5)
    m.clear()
    assert checkpointed(path) < MB
    engine.close()


def test_deleted_entries_leave_the_file(engine, path):
    """What is deleted one by one leaves the file as well, but for a fifth of it."""
    m = LPCM("m", using=engine)
    fill(m, 10)
    for n in range(980):
        del m[n]
    assert checkpointed(path) < 1.5 * MB


def test_short_lived_entries(path):
    """Entries that come and expire for an hour keep the file under twice what lives."""
    clock = Clock()
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal", clock=clock)
    m = LPCM("sessions", using=engine)
    largest = live = 0
    for n in range(20_000):
        m.set(n, "x" * 2000, ttl=60)
        clock.time += 3600 / 20_000
        if n == 400:  # a minute's are there now: 333, and as many as wait to be deleted
            live = checkpointed(path)
        largest = max(largest, path.stat().st_size)
    assert checkpointed(path) < 2 * live
    assert largest < 2 * live
    assert upkeep.info(using=engine)["expired"] <= 64
    engine.close()


WORKER = """
import sys, time
from lpcm import LPCM
m = LPCM("m", url=sys.argv[1])
for worker in range(int(sys.argv[2]), int(sys.argv[2]) + 1):
    for n in range(255):
        m.set((worker, n), n, ttl=0.001)
"""


def test_recycled_workers_purge(path):
    """60 processes that each write 255 entries, which expire, leave at most 1,000 rows."""
    url = f"sqlite:///{path}?synchronous=normal"
    for worker in range(0, 60, 6):
        crew = [
            subprocess.Popen([sys.executable, "-c", WORKER, url, str(worker + n)]) for n in range(6)
        ]
        assert [one.wait(60) for one in crew] == [0] * 6
    engine = Engine.open(url)
    assert upkeep.info(using=engine)["expired"] <= 1000
    assert upkeep.purge(using=engine) <= 1000
    assert upkeep.info(using=engine)["expired"] == 0
    engine.close()


def test_purge(path):
    """``purge`` deletes all that has expired, and nothing else."""
    clock = Clock()
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal", clock=clock)
    m = LPCM("m", using=engine)
    m.set_many(((n, n) for n in range(3000)), ttl=10)
    m.set_many({"a": 1, "b": 2})
    clock.time += 11
    assert upkeep.info(using=engine)["expired"] == 3000
    assert upkeep.purge(using=engine) == 3000
    assert m.copy() == {"a": 1, "b": 2}
    found = upkeep.info(using=engine)
    assert (found["entries"], found["expired"]) == (2, 0)
    engine.close()


def test_len_beside_what_has_expired(path):
    """``len`` of a map of one entry takes no time for what has expired in another one."""
    with closing(open_store(str(path), synchronous="normal")) as store:
        run(store.apply("a/", "k", Put(Cell(1, None), 1, None, When.ALWAYS), 0.0))
        run(store.apply("a/", "old", Put(Cell(1, None), 1, 5.0, When.ALWAYS), 0.0))
        with store._file.connection() as connection, connection.lock:
            connection.execute(
                "INSERT INTO entries(pk, sk, etag, x, v) WITH RECURSIVE n(i) AS"
                " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
                " SELECT 'b/', i, 1, 5.0, 1 FROM n"
            )
        times = []
        for _ in range(20):
            begun = time.perf_counter()
            assert run(store.count("a/", KeyRange(), 6.0)) == 1
            times.append(time.perf_counter() - begun)
        assert min(times) < 0.0002
        assert run(store.count("a/", KeyRange(), 4.0)) == 2
        assert run(store.count("b/", KeyRange(), 6.0)) == 0
        assert run(store.count("b/", KeyRange(), 4.0)) == 300_000


# The log

READER = """
import sys
from lpcm import LPCM
m = LPCM("m", url=sys.argv[1])
while True:
    for _ in m.items():
        pass
"""


def test_endless_readers_do_not_keep_the_log(path):
    """The log stays under 16 MB where there is always a reader in it."""
    url = f"sqlite:///{path}"
    engine = Engine.open(url)
    m = LPCM("m", using=engine)
    fill(m, 4, size=500)
    readers = [subprocess.Popen([sys.executable, "-c", READER, url]) for _ in range(3)]
    largest = 0
    try:
        until = time.monotonic() + 3
        n = 0
        while time.monotonic() < until or n < 1000:
            n += 1
            m[n % 4000] = "y" * 20_000
            largest = max(largest, os.stat(f"{path}-wal").st_size)  # noqa: PTH116  # it is often asked
        assert [one.poll() for one in readers] == [None] * 3
    finally:
        for one in readers:
            one.kill()
            one.wait()
    assert n * 20_000 > 16 * MB
    assert largest < 16 * MB
    engine.close()


def test_a_reader_that_does_not_end_delays_writes_seldom(path):
    """Where a reader stays, the log grows, and writes wait for it now and then, but go on."""
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
    m = LPCM("m", using=engine)
    m["k"] = 1
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        times = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            begun = time.monotonic()
            m["k"] = "x" * 100_000
            times.append(time.monotonic() - begun)
        assert sum(one > 0.1 for one in times) < 10
        assert max(times) < 3
        assert os.stat(f"{path}-wal").st_size > 12 * MB  # noqa: PTH116  # as above
    fill(m, 1)  # it has ended: the log does, too
    for _ in range(40):
        m["k"] = "y" * 100_000
        time.sleep(0.02)
    assert os.stat(f"{path}-wal").st_size <= 13 * MB  # noqa: PTH116  # as above
    engine.close()


def test_other_stores():
    """A store without a file says so."""
    engine = Engine.open("memory://")
    for use in (upkeep.info, upkeep.purge, upkeep.vacuum):
        with pytest.raises(ConfigError, match="SQLite"):
            use(using=engine)


def test_a_log_that_grows_is_tried_again(engine, path):
    """A log in use is tried again when it has grown by a quarter, not only after a pause."""
    m = LPCM("m", using=engine)
    m["k"] = 1
    upkeep_ = engine.store._upkeep
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()  # which the log must be kept for
        for n in range(2000):
            m[n] = "x" * 20_000
            if upkeep_._not_before:
                break
        first = upkeep_._not_below
        upkeep_._not_before = time.monotonic() + 3600
        for n in range(2000):
            m[n] = "x" * 20_000
            if upkeep_._not_below > first:
                break
        assert 0 < first < upkeep_._not_below
        assert os.stat(f"{path}-wal").st_size < 2 * first  # noqa: PTH116  # as above

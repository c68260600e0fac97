"""How much memory it takes to walk over a large map, and to write a large file anew."""

import json
import sqlite3
import sys

import pytest

from tests.consistency import workers
from tests.consistency.processes import crew, looking

COUNT = 1_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_walking_a_million_entries_takes_little_memory(tmp_path):
    """Keys, values and items of a million entries are walked in under 100 MB."""
    path = tmp_path / "m.sqlite3"
    with looking(path) as entries:
        entries["k"] = "a value of some length"
        fill(path, COUNT - 1)
        assert entries["k0123456"] == "a value of some length"
    with crew() as processes:
        for view in ("keys", "values", "items"):
            process = processes.start(workers.walk, path, view, COUNT)
            (output,) = processes.wait(process)
            used = json.loads(output)
            assert used["peak"] < 100e6
            assert used["peak"] - used["before"] < 15e6


def test_vacuum_takes_little_memory(tmp_path):
    """Of a file of 80 MB the copy that is made is on the disk, but for SQLite's two caches."""
    path = tmp_path / "m.sqlite3"
    with looking(path) as entries:
        entries["k"] = "x" * 1000
        fill(path, 75_000)
    with crew() as processes:
        (output,) = processes.wait(processes.start(workers.vacuum, path))
        used = json.loads(output)
        assert used["peak"] - used["before"] < 30e6


def fill(path, count):
    """Copy the one entry ``k`` that often: by SQL, as it is lpcm's reading that is tested."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
            " INSERT INTO entries(pk, sk, t, etag, x, v)"
            " SELECT pk, sk || printf('%07d', i), t, etag, x, v FROM n, entries WHERE sk = 'k'",
            (count,),
        )
    connection.close()

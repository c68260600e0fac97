"""Threads and forks share one map without deadlocks and without wrong values."""

import json
import os
import sqlite3

import pytest

from tests.consistency import workers
from tests.consistency.processes import crew, looking

THREADS, ROUNDS = 16, 24


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forks_amid_threads(tmp_path):
    """Forks amid the operations of 16 threads hang nobody, and parent and children stay right."""
    path = tmp_path / "m.sqlite3"
    with crew() as processes:
        (output,) = processes.wait(processes.start(workers.thread_and_fork, path, THREADS, ROUNDS))
    assert json.loads(output)["steps"] > THREADS
    with looking(path) as entries:
        assert entries["children"] == 21 * ROUNDS
        names = [f"child/{who}/{n}" for who in ("main", "thread") for n in range(ROUNDS // 2)]
        assert list(entries.keys(prefix="child/")) == sorted(names)
    sound(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_draws_etags_of_its_own(tmp_path):
    """No etag that a fork's child gives is one that its parent gives."""
    with crew() as processes:
        path = tmp_path / "m.sqlite3"
        (output,) = processes.wait(processes.start(workers.etags_of_two, path, 200))
    mine, others = json.loads(output)
    assert len(set(mine)) == len(set(others)) == 200
    assert set(mine).isdisjoint(others)


def test_close_amid_threads(tmp_path):
    """An operation that ``lpcm.close()`` interrupts succeeds, or raises StoreError undone."""
    path = tmp_path / "m.sqlite3"
    with crew() as processes:
        (output,) = processes.wait(processes.start(workers.close_often, path, 8, 100))
    assert json.loads(output)["written"] > 100
    sound(path)


def sound(path):
    """See that SQLite finds no fault with the file."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()

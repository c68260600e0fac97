"""Puts that are committed together: few statements, few wake-ups, and each as if it were alone."""

import asyncio
import contextlib
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

from lpcm.engine.drive import run
from lpcm.ports import Add, Applied, Delete, Stored, When
from lpcm.stores.sqlite import commit
from lpcm.stores.sqlite.bulk import put_rows
from lpcm.stores.sqlite.commit import Commits
from tests.signals import interrupting
from tests.stores.test_sqlite_commit import (
    MAP,
    NOW,
    PATIENCE,
    Thread,
    apply,
    batches,
    data,
    held,
    meeting,
    path,
    put,
    started,
    store,
    traced,
    until,
)

__all__ = ["batches", "path", "store"]  # fixtures


def puts(statements):
    """Return how many rows each INSERT of the last transaction has."""
    begins = [n for n, one in enumerate(statements) if one.startswith("BEGIN")]
    inserts = [one for one in statements[max(begins, default=0) :] if one.startswith("INSERT")]
    return [one.count("(") - len(("entries(", "CONFLICT(")) for one in inserts]


# Statements


def test_puts_that_wait_are_a_few_statements(store, batches, monkeypatch):
    """Twenty puts are one statement of 16 and one of 4; with others between, those around them."""
    statements = traced(store, monkeypatch)
    meeting(store, [lambda n=n: apply(store, f"{n}", put(n)) for n in range(20)])
    assert batches == [20]
    assert puts(statements) == [16, 4]
    assert [data(store, f"{n}") for n in range(20)] == list(range(20))

    works = [put(1), put(2), put(3, when=When.PRESENT), put(4), put(5, expires=NOW + 1)]
    meeting(store, [lambda n=n, op=op: apply(store, f"{n}", op) for n, op in enumerate(works)])
    assert puts(statements) == [2, 2]
    assert [data(store, f"{n}") for n in range(5)] == [1, 2, 3, 4, 5]


def written():
    """Return how often this process has called the system to write."""
    counts = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in counts)["syscw"])


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts what a process writes")
def test_many_at_once_are_written_once(store, path):
    """Each page is written to the log, by two calls, and no copy to a file for undoing it."""
    keys = [f"{n:04}" for n in range(5000)]
    run(store.apply_many(MAP, [(key, put("x" * 100)) for key in keys], NOW))
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    before = written()
    run(store.apply_many(MAP, [(key, put("y" * 100)) for key in keys[::50]], NOW))
    pages = path.with_name(path.name + "-wal").stat().st_size // 4120
    assert pages >= 50
    assert written() - before < 2 * pages + 20


def test_many_at_once_are_a_few_statements(store, monkeypatch):
    """A thousand puts of one call are seven statements of 128, and three for the rest."""
    statements = traced(store, monkeypatch)
    writes = [(f"{n}", put(n)) for n in range(1000)]

    def work():
        return run(store.apply_many(MAP, writes, NOW))

    outcomes = Thread(work).outcome()
    assert puts(statements) == [*[128] * 7, 64, 32, 8]
    assert [outcome.entry.data for outcome in outcomes] == list(range(1000))
    assert [data(store, f"{n}") for n in range(1000)] == list(range(1000))


def test_large_values_are_a_statement_each():
    """SQLite keeps the values of a statement until its next use, so large ones go one by one."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE entries(pk, sk, t, etag, x, v, PRIMARY KEY(pk, sk))")
        statements = []
        database.set_trace_callback(statements.append)
        rows = [(MAP, f"{n}", None, n, None, "x" * 5000) for n in range(8)]
        put_rows(database.execute, rows, 8 * 5000)
        assert puts(statements) == [1] * 8
        assert len(list(database.execute("SELECT 1 FROM entries"))) == 8


# Each as if it were alone


def test_order_on_one_key(store, batches):
    """Writes of one key are done in the order in which they came, puts among them."""
    ops = [
        put(1, 1),
        put(2, 2),
        Add(5, None, 3),
        put(6, 4),
        put(7, 5),
        put(8, 6, when=5),
        put(9, 7),
    ]
    outcomes = meeting(store, [lambda op=op: apply(store, "k", op) for op in ops])
    assert batches == [7]
    assert [one.entry for one in outcomes] == [
        Stored(number, None, etag, None) for etag, number in enumerate([1, 2, 7, 6, 7, 8, 9], 1)
    ]
    assert run(store.read(MAP, "k", NOW)) == Stored(9, None, 7, None)


@pytest.mark.parametrize("bad", [2**70, "\ud800"], ids=["too many bits", "no text"])
def test_one_put_that_cannot_be_done(store, batches, bad):
    """Only that one fails; those before and after it are done, in order."""
    values = [1, 2, bad, 3, 4]
    outcomes = meeting(
        store, [lambda n=n, v=v: apply(store, f"{n % 2}", put(v, n)) for n, v in enumerate(values)]
    )
    assert batches == [5]
    assert [type(one) for one in outcomes[:2]] == [Applied] * 2
    assert isinstance(outcomes[2], ValueError | OverflowError)
    assert [type(one) for one in outcomes[3:]] == [Applied] * 2
    assert (data(store, "0"), data(store, "1")) == (4, 3)


def test_a_write_that_is_dropped_tells_nothing(store):
    """What an earlier attempt would have written is not told, where the write is dropped now."""
    apply(store, "k", put(1))
    loop = asyncio.new_event_loop()
    loop.close()
    for op in (put(2), Delete()):
        write = store.waiting(MAP, "k", op, NOW)
        write.loop = loop
        write.outcome = [Applied(Stored(2, None, 2, None))]  # was rolled back
        store.commits.enqueue(write)
        store.commits.enqueue(store.waiting(MAP, "other", op, NOW))
        store.commits.lead_all()
        assert write.outcome is None
    assert data(store, "k") == 1


# Turns


@pytest.mark.parametrize("op", [put(2), Add(1, 0, 2)], ids=["put", "other"])
def test_who_was_alone_passes_nobody(store, monkeypatch, op):
    """A thread whose write was alone does not write again before one that waits meanwhile."""
    monkeypatch.setattr(commit, "_LOOK", 10 * PATIENCE)
    monkeypatch.setattr(store.commits, "wake_next", lambda: None)  # it does not run yet
    waiting = []
    connect = store._file.connect

    def meet(sql):
        if sql.startswith("INSERT") and not waiting:
            waiting.append(Thread(lambda: apply(store, "waiting", put(1))))
            until(lambda: store.commits.queue)

    def connecting(mode):
        raw = connect(mode)
        raw.set_trace_callback(meet)
        return raw

    monkeypatch.setattr(store._file, "connect", connecting)

    def write_twice():
        apply(store, "k", put(1))
        apply(store, "k", op)
        return run(store.read(MAP, "waiting", NOW))

    assert Thread(write_twice).outcome() == Stored(1, None, 1, None)
    assert isinstance(waiting[0].outcome(), Applied)


# Waking


def test_each_thread_wakes_the_next_one(store, batches, monkeypatch):
    """All that have ended together go on, though none looks by itself."""
    monkeypatch.setattr(commit, "_LOOK", 10 * PATIENCE)
    done = meeting(store, [lambda n=n: apply(store, f"{n}", put(n)) for n in range(20)])
    assert [type(one) for one in done] == [Applied] * 20
    assert batches == [20]


@pytest.mark.posix
def test_who_is_interrupted_wakes_the_next_one(store, monkeypatch):
    """A thread that an exception takes out of its wait wakes the others before it goes."""
    monkeypatch.setattr(commit, "_LOOK", 10 * PATIENCE)
    apply(store, "k", put(0))
    taken, go_on = threading.Event(), threading.Event()
    put_all = Commits._put_all

    def slow(connection, writes):
        taken.set()
        assert go_on.wait(PATIENCE)
        return put_all(connection, writes)

    monkeypatch.setattr(Commits, "_put_all", staticmethod(slow))
    others = []

    def come(leave, send):
        until(lambda: len(store.commits.queue) == 2)
        others.extend(started(store, [lambda: apply(store, "third", put(3))]))
        leave()
        assert taken.wait(PATIENCE)
        send()
        time.sleep(0.1)
        go_on.set()

    def interrupt(*_):
        raise KeyboardInterrupt

    with interrupting(signal.SIGUSR1, interrupt) as send, held(store) as leave:
        others += started(store, [lambda: apply(store, "first", put(1))])
        coming = Thread(lambda: come(leave, send))
        with pytest.raises(KeyboardInterrupt):
            apply(store, "second", put(2))
    coming.outcome()
    assert [type(one.outcome()) for one in others] == [Applied] * 2
    assert [data(store, sk) for sk in ("first", "second", "third")] == [1, 2, 3]

"""A backup is the database of one instant, made while it is in use, and harms nothing."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

import lpcm
from lpcm import LPCM, ConfigError, Engine, StoreError, StoreUnavailable

# A signal may come in a callback, where Python can but print what is raised.
ANYWHERE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def engine(tmp_path):
    """Yield an engine on a file of its own."""
    engine = Engine.open(f"sqlite:///{tmp_path}/live.sqlite3?synchronous=normal")
    yield engine
    engine.close()


@pytest.fixture
def m(engine):
    """Return a map in it."""
    return LPCM("m", using=engine)


def content(path, name="m"):
    """Return what is in a map of a file, which must be whole."""
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    engine = Engine.open(f"sqlite:///{path}")
    try:
        return LPCM(name, using=engine).copy()
    finally:
        engine.close()


def run_python(program, *words):
    """Run a program to its end and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_backup_has_all_that_was_written(m, engine, tmp_path):
    """What was written before is in the backup, what comes later is not, and both are usable."""
    m.update(a=1, b=[2, {"c": 3}])
    lpcm.backup(tmp_path / "copy.sqlite3", using=engine)
    m["later"] = 1
    assert content(tmp_path / "copy.sqlite3") == {"a": 1, "b": [2, {"c": 3}]}
    assert set(m) == {"a", "b", "later"}
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == [
        "copy.sqlite3"
    ]


def test_a_backup_replaces_the_one_before(m, engine, tmp_path):
    """An earlier backup is replaced and keeps its permissions; a first one is private."""
    path = tmp_path / "copy.sqlite3"
    m["k"] = 1
    lpcm.backup(str(path), using=engine)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    m["k"] = 2
    lpcm.backup(path, using=engine)
    assert content(path) == {"k": 2}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_backup_can_be_awaited(m, engine, tmp_path):
    """``abackup`` does the same on an event loop."""
    m["k"] = 1
    asyncio.run(lpcm.abackup(tmp_path / "copy.sqlite3", using=engine))
    assert content(tmp_path / "copy.sqlite3") == {"k": 1}


def test_writers_go_on(m, engine, tmp_path):
    """A backup under constant writes ends, and is of one instant: no transaction is in half."""
    m.set_many({f"fill {number}": "x" * 4000 for number in range(3000)})
    stop = threading.Event()
    written = []

    def write():
        both = LPCM("m", using=engine)
        while not stop.is_set() and len(written) < 100_000:
            with lpcm.transaction() as t:
                t[both]["one"] = t[both]["other"] = len(written)
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            before = len(written)
            lpcm.backup(tmp_path / "copy.sqlite3", using=engine)
            found = content(tmp_path / "copy.sqlite3")
            assert found.get("one") == found.get("other")
            assert not before or found["one"] >= before - 1
    finally:
        stop.set()
        writer.join()
    assert written


LOCKED = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1])
raw.execute("SELECT count(*) FROM entries").fetchone()
raw.close()
"""


@pytest.mark.parametrize(("copy", "log_is_left"), [(None, True), (shutil.copy, False)])
def test_a_backup_keeps_the_locks(m, engine, tmp_path, copy, log_is_left):
    """After a backup others still know that the file is in use; after reading it they do not.

    Closing any descriptor of the file drops the process's locks, and the next process that
    closes the database removes the log, into which this one goes on writing.
    """
    m["k"] = 1
    live = Path(engine.location.removeprefix("sqlite:///"))
    if copy is None:
        lpcm.backup(tmp_path / "copy.sqlite3", using=engine)
    else:
        copy(live, tmp_path / "copy.sqlite3")
    run_python(LOCKED, live)
    assert Path(f"{live}-wal").exists() is log_is_left


@ANYWHERE
def test_an_interrupted_backup_leaves_the_one_before(m, engine, tmp_path):
    """Whatever moment a signal comes at, there is the old backup or the new, and nothing else."""
    m.set_many(dict.fromkeys(range(2000), "x" * 4000))
    path = tmp_path / "copies" / "copy.sqlite3"
    path.parent.mkdir()
    begun = time.perf_counter()
    lpcm.backup(path, using=engine)
    duration = time.perf_counter() - begun

    class TooLong(Exception):
        pass

    def interrupt(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for round_ in range(40):
            path.write_bytes(b"old")
            m["round"] = round_
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, duration))  # a moment
                lpcm.backup(path, using=engine)
            except TooLong:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert [found.name for found in path.parent.iterdir()] == ["copy.sqlite3"]
            assert path.read_bytes() == b"old" or content(path)["round"] == round_
            assert m["round"] == round_
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted


def live_file(tmp_path):
    return tmp_path / "live.sqlite3"


def its_log(tmp_path):
    return tmp_path / "live.sqlite3-wal"


def a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "live.sqlite3")
    return tmp_path / "link"


def a_hard_link(tmp_path):
    (tmp_path / "hard").hardlink_to(tmp_path / "live.sqlite3")
    return tmp_path / "hard"


@pytest.mark.parametrize("target", [live_file, its_log, a_link, a_hard_link])
def test_the_database_itself_is_no_target(m, engine, tmp_path, target):
    """The database in use is never overwritten by its backup, whatever it is called."""
    m["k"] = 1
    with pytest.raises(StoreError, match="is the database itself"):
        lpcm.backup(target(tmp_path), using=engine)
    m["l"] = 2
    assert m.copy() == {"k": 1, "l": 2}


def test_another_database_in_use_is_no_target(m, engine, tmp_path):
    """A database that has its log beside it is not replaced under those who use it."""
    m["k"] = 1
    other = Engine.open(f"sqlite:///{tmp_path}/other.sqlite3")
    LPCM("m", using=other)["theirs"] = 1
    with pytest.raises(StoreError, match="in use"):
        lpcm.backup(tmp_path / "other.sqlite3", using=engine)
    assert LPCM("m", using=other).copy() == {"theirs": 1}
    other.close()
    lpcm.backup(tmp_path / "other.sqlite3", using=engine)
    assert content(tmp_path / "other.sqlite3") == {"k": 1}


def test_a_place_that_cannot_be_written_is_named(m, engine, tmp_path):
    """A directory, a pipe and a missing directory are refused by name."""
    m["k"] = 1
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreUnavailable, match="no regular file"):
        lpcm.backup(tmp_path, using=engine)
    with pytest.raises(StoreUnavailable, match="no regular file"):
        lpcm.backup(tmp_path / "pipe", using=engine)
    with pytest.raises(StoreUnavailable, match="create it first"):
        lpcm.backup(tmp_path / "nowhere" / "copy.sqlite3", using=engine)
    with pytest.raises(StoreUnavailable, match="cannot write"):
        lpcm.backup(tmp_path / ("x" * 300), using=engine)
    assert m["k"] == 1


@pytest.mark.parametrize("url", ["memory://", "memcached://127.0.0.1:1"])
def test_other_stores_are_exported(tmp_path, url):
    """A store that is no file says what to do instead."""
    engine = Engine.open(url)
    with pytest.raises(ConfigError, match="lpcm export"):
        lpcm.backup(tmp_path / "copy", using=engine)
    engine.close()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys, lpcm
from lpcm import LPCM
lpcm.configure(f"sqlite:///{sys.argv[1]}")
m = LPCM("m")
m["k"] = "good"
lpcm.backup(sys.argv[2])
m["k"] = "bad"
m["more"] = 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_restoring(tmp_path):
    """Restored as the documentation says, a killed program's file is as it was backed up."""
    live, copy, aside = (tmp_path / name for name in ("live.sqlite3", "copy.sqlite3", "aside"))
    with subprocess.Popen([sys.executable, "-c", KILLED, live, copy]) as killed:
        assert killed.wait(timeout=60) == -signal.SIGKILL
    aside.mkdir()
    for path in tmp_path.glob("live.sqlite3*"):
        shutil.move(path, aside)
    shutil.move(copy, live)
    assert content(live) == {"k": "good"}
    assert content(aside / "live.sqlite3") == {"k": "bad", "more": 1}

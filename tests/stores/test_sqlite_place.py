"""A file that is deleted, moved or replaced in use: no write is acknowledged into nowhere."""

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

import lpcm
from lpcm import LPCM, Engine, LPCMError, OutcomeUnknown, StoreError, StoreUnavailable


@pytest.fixture
def folder(tmp_path):
    """Return the directory of the database, which is all that is in it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def path(folder):
    return folder / "m.sqlite3"


@pytest.fixture
def engine(path):
    """Yield an engine on a file that has an entry."""
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
    LPCM("m", using=engine)["old"] = 1
    yield engine
    engine.close()


def removed(path):
    path.unlink()


def all_removed(path):
    for each in path.parent.iterdir():
        each.unlink()


def folder_removed(path):
    shutil.rmtree(path.parent)


def folder_made_anew(path):
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def moved(path):
    path.rename(path.parent.parent / "elsewhere")


def folder_moved(path):
    path.parent.rename(path.parent.parent / "elsewhere")


def replaced(path):
    other = path.parent.parent / "other.sqlite3"
    with closing(sqlite3.connect(other)) as raw:
        raw.execute("CREATE TABLE t(a)")
    other.replace(path)


def touched(path):
    path.unlink()
    path.touch()


def linked(path):
    there = path.parent.parent / "there.sqlite3"
    path.rename(there)
    path.symlink_to(there)


def log_removed(path):
    Path(f"{path}-wal").unlink()


def index_removed(path):
    Path(f"{path}-shm").unlink()


def log_replaced(path):
    Path(f"{path}-wal").unlink()
    Path(f"{path}-wal").touch()


OF_THE_FILE = [
    removed,
    all_removed,
    folder_removed,
    folder_made_anew,
    moved,
    folder_moved,
    replaced,
    touched,
    linked,
]
OF_THE_LOG = [log_removed, index_removed, log_replaced]


def transact(m):
    with lpcm.transaction() as t:
        t[m]["new"] = 1


def in_another_map(m):
    LPCM("another", using=m.engine)["new"] = 1


WRITES = {
    "set": lambda m: m.__setitem__("new", 1),
    "set with an expiry": lambda m: m.set("new", 1, ttl=60),
    "expire": lambda m: m.expire("old", 60),
    "setdefault": lambda m: m.setdefault("new", 1),
    "replace": lambda m: m.replace("old", 2, if_etag=m.entry("old").etag),
    "delete": lambda m: m.__delitem__("old"),
    "pop": lambda m: m.pop("old"),
    "increment": lambda m: m.increment("old"),
    "set_many": lambda m: m.set_many({"new": 1, "newer": 2}),
    "delete_many": lambda m: m.delete_many(["old", "older"]),
    "transform": lambda m: m.transform("old", lambda old: old + 1),
    "clear": lambda m: m.clear(),
    "a transaction": transact,
    "the first of a map": in_another_map,
    "an awaited one": lambda m: asyncio.run(m.aset("new", 1)),
}
READS = {
    "get_many": lambda m: m.get_many(["old"]),
    "items": lambda m: list(m.items()),
    "len": len,
    "maps": lambda m: lpcm.maps(using=m.engine),
}
SETTLED = 0.25
"""Seconds after which the time stamp of the directory is trusted."""


class Map(LPCM):
    """A map that remembers its engine."""

    def __init__(self, name, engine):
        super().__init__(name, using=engine)
        self.engine = engine


@pytest.fixture
def m(engine):
    """Return a map in it."""
    return Map("m", engine)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("happens", [*OF_THE_FILE, *OF_THE_LOG])
def test_no_write_is_acknowledged_into_nowhere(m, path, happens, write):
    """Whatever is done to the file or its log, the next write of any kind raises.

    One that reads first, or is the first of its thread, is refused before anything is written.
    """
    happens(path)
    with pytest.raises((OutcomeUnknown, StoreUnavailable)):
        WRITES[write](m)


@pytest.mark.parametrize("happens", [*OF_THE_FILE, *OF_THE_LOG])
def test_it_is_seen_where_nothing_happened_for_long(m, path, happens):
    """The same after the directory has been as it is for a while, with other files made in it."""
    time.sleep(SETTLED)
    m["old"] = 2
    (path.parent / "other").touch()
    m["old"] = 3
    happens(path)
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1


@pytest.mark.parametrize("happens", OF_THE_FILE)
def test_no_operation_begins_on_a_file_that_is_gone(m, path, happens):
    """After the first error all others are refused before anything is written."""
    happens(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            m["new"] = 1
        with pytest.raises(StoreUnavailable):
            m.get("old")
    if happens is not linked:  # that is the file itself
        assert before == (path.read_bytes() if path.exists() else None)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("happens", [removed, folder_made_anew, replaced])
def test_no_read_is_of_a_file_that_is_gone(m, path, happens, read):
    """Reads of several entries raise at once."""
    happens(path)
    with pytest.raises(StoreUnavailable):
        READS[read](m)


@pytest.mark.parametrize("happens", [removed, folder_made_anew, replaced])
def test_a_read_of_one_entry_raises_soon(m, path, happens):
    """A read of one entry raises at most 0.1 s later, and at once where it is the first."""
    assert m["old"] == 1
    happens(path)
    time.sleep(0.11)
    with pytest.raises(StoreUnavailable):
        m.get("old")


def test_every_thread_sees_it(m, path):
    """Connections that other threads opened before, and will open, are as careful."""
    ready, go, errors = threading.Barrier(4), threading.Event(), []

    def early():
        m["old"] = 2
        ready.wait(10)
        go.wait(10)
        late()

    def late():
        try:
            m["new"] = 1
        except (OutcomeUnknown, StoreUnavailable) as error:
            errors.append(type(error))

    threads = [threading.Thread(target=early) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    folder_made_anew(path)
    newcomer = threading.Thread(target=late)
    newcomer.start()
    newcomer.join()
    go.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 4


@pytest.mark.parametrize("happens", OF_THE_LOG)
def test_a_lost_log_loses_nothing(m, engine, path, happens):
    """Where the log is deleted, what it has is saved in the file, and the map goes on."""
    m.update({number: number for number in range(100)})
    happens(path)
    with pytest.raises(OutcomeUnknown):
        m["last"] = 1
    assert m["last"] == 1
    m["more"] = 2
    engine.close()
    reopened = Engine.open(f"sqlite:///{path}")
    found = LPCM("m", using=reopened).copy()
    reopened.close()
    assert found == {"old": 1, "last": 1, "more": 2} | {number: number for number in range(100)}
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_was_moved_away_has_everything(m, path):
    """Where the file alone is moved away, what its log has follows it."""
    m.update({number: number for number in range(100)})
    moved(path)
    with pytest.raises(OutcomeUnknown):
        m["last"] = 1
    there = Engine.open(f"sqlite:///{path.parent.parent}/elsewhere")
    found = LPCM("m", using=there).copy()
    there.close()
    assert found.items() >= ({"old": 1} | {number: number for number in range(100)}).items()


def test_a_backup_moved_over_the_open_file_stays_what_it_is(m, engine, path, tmp_path):
    """The log of the old file is not applied to a file that was moved over it."""
    lpcm.backup(tmp_path / "copy", using=engine)
    m.update(dict.fromkeys(range(1000), "x" * 100))
    (tmp_path / "copy").replace(path)
    with pytest.raises(OutcomeUnknown):
        m["last"] = 1
    with pytest.raises(StoreUnavailable):
        m["last"] = 1
    engine.close()
    restored = Engine.open(f"sqlite:///{path}")
    found = LPCM("m", using=restored).copy()
    restored.close()
    assert found == {"old": 1}


def test_a_file_that_comes_back_is_used_again(m, path):
    """A directory that was moved away and back is the same."""
    elsewhere = path.parent.parent / "elsewhere"
    path.parent.rename(elsewhere)
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1
    elsewhere.rename(path.parent)
    m["newer"] = 2
    assert m.copy() == {"old": 1, "new": 1, "newer": 2}


def test_closing_takes_what_is_there(path):
    """After ``lpcm.close()`` a map is in the file that now has the name, or a new one."""
    m = LPCM("m", url=f"sqlite:///{path}")
    m["old"] = 1
    folder_made_anew(path)
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1
    lpcm.close()
    m["newer"] = 2
    assert m.copy() == {"newer": 2}
    lpcm.close()


def test_the_new_file_is_left_alone(m, engine, path):
    """Giving up a file that was replaced does no harm to the new one, nor to its log."""
    other = Engine.open(f"sqlite:///{path.parent.parent}/other.sqlite3")
    LPCM("m", using=other)["new"] = 1
    other.close()
    (path.parent.parent / "other.sqlite3").replace(path)
    all_logs = [Path(f"{path}{end}") for end in ("-wal", "-shm")]
    for log in all_logs:
        log.unlink()
    owner = Engine.open(f"sqlite:///{path}")
    theirs = LPCM("m", using=owner)
    theirs["k"] = 1
    numbers = [log.stat().st_ino for log in all_logs]
    with pytest.raises(OutcomeUnknown):
        m["mine"] = 1
    engine.close()
    assert [log.stat().st_ino for log in all_logs] == numbers
    theirs["l"] = 2
    assert theirs.copy() == {"new": 1, "k": 1, "l": 2}
    owner.close()


def test_what_was_acknowledged_is_there(tmp_path):
    """A directory moved away at any moment has every write acknowledged before and after that."""
    for round_ in range(15):
        folder, away = tmp_path / f"here {round_}", tmp_path / f"away {round_}"
        folder.mkdir()
        engine = Engine.open(f"sqlite:///{folder}/m.sqlite3?synchronous=normal")
        m = LPCM("m", using=engine)
        acknowledged, moved_at, began = [], [], []
        m["begun"] = 1

        def move(folder=folder, away=away, moved_at=moved_at, round_=round_):
            time.sleep(0.005 * round_)
            folder.rename(away)
            moved_at.append(time.perf_counter())

        mover = threading.Thread(target=move)
        mover.start()
        try:
            for number in range(100_000):
                began.append(time.perf_counter())
                m[number] = number
                acknowledged.append(number)
        except (OutcomeUnknown, StoreUnavailable):
            pass
        mover.join()
        engine.close()
        assert len(began) == len(acknowledged) + 1, "the move was not noticed"
        assert not acknowledged or began[len(acknowledged) - 1] < moved_at[0]
        found = Engine.open(f"sqlite:///{away}/m.sqlite3")
        there = set(LPCM("m", using=found))
        found.close()
        assert there >= {"begun", *acknowledged}


def test_other_files_do_no_harm(m, path):
    """A directory in which files come and go all the time raises nothing."""
    for number in range(300):
        (path.parent / "other").touch()
        m["old"] = number
        (path.parent / "other").rename(path.parent / "another")
        assert m["old"] == number


def test_forks_raise_nothing(m, path):
    """A fork, which closes all connections and so may remove the log, is no loss."""
    stop, errors = threading.Event(), []

    def work():
        try:
            for number in range(1_000_000):
                if stop.is_set():
                    return
                m["old"] = number
        except (LPCMError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                try:
                    m["child"] = m["old"]
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_a_linked_file(tmp_path):
    """A file behind a symbolic link may be used, until the link leads elsewhere."""
    here, there, other = (tmp_path / name for name in ("here", "there", "other"))
    for folder in (here, there, other):
        folder.mkdir()
    (there / "m.sqlite3").touch()
    (here / "m.sqlite3").symlink_to(there / "m.sqlite3")
    engine = Engine.open(f"sqlite:///{here}/m.sqlite3")
    m = LPCM("m", using=engine)
    m["old"] = 1
    time.sleep(SETTLED)
    m["old"] = 2
    (other / "m.sqlite3").touch()
    (here / "new").symlink_to(other / "m.sqlite3")
    (here / "new").replace(here / "m.sqlite3")
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1
    engine.close()


def test_a_linked_directory(tmp_path):
    """A directory that a symbolic link chooses, as a release does, is noticed when it changes."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("one")
    engine = Engine.open(f"sqlite:///{tmp_path}/current/m.sqlite3")
    m = LPCM("m", using=engine)
    m["old"] = 1
    time.sleep(SETTLED)
    m["old"] = 2
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "current")
    with pytest.raises(OutcomeUnknown):
        m["new"] = 1
    engine.close()


def test_a_backup_of_a_file_that_is_gone_is_none(m, engine, path, tmp_path):
    """What is no more in its place is not backed up."""
    m["new"] = 1
    folder_made_anew(path)
    with pytest.raises(StoreError):
        lpcm.backup(tmp_path / "copy", using=engine)
    assert not (tmp_path / "copy").exists()

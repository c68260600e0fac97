"""Processes that write and read one file, each read judged by what was acknowledged before it.

``python near_workers.py WHAT FILE BOARD SECONDS``: BOARD is a file of numbers that all map. A
number of it goes up only after the write that it stands for has returned, so a read that begins
later and returns less is stale.
"""

import mmap
import os
import random
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from lpcm import LPCM, Engine
from lpcm.stores.sqlite import store

KEYS = 4
NUMBER = struct.Struct("@q")  # in one piece


class Board:
    """The numbers that the processes share."""

    def __init__(self, path):
        with Path(path).open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)

    def __getitem__(self, at):
        return NUMBER.unpack_from(self.map, 8 * at)[0]

    def __setitem__(self, at, number):
        NUMBER.pack_into(self.map, 8 * at, number)


def opened(file):
    return Engine.open(f"sqlite:///{file}?synchronous=normal")


def write(file, board, until):
    """Write ever greater numbers, in every way there is, with pauses and restarts."""
    random.seed()
    engine = opened(file)
    m = LPCM("m", using=engine)
    n = max(board[at] for at in range(KEYS))
    while time.monotonic() < until:
        n += 1
        at = n % KEYS
        match random.randrange(60):
            case 0:
                time.sleep(0.01)
                m[f"{at}"] = n
            case 1:
                engine.close()
                engine = opened(file)
                m = LPCM("m", using=engine)
                m[f"{at}"] = n
            case 2:
                m.set(f"{at}", n, ttl=60)
            case 3:
                m.set_many({f"{at}": n})
            case 4:
                m.delete(f"{at}")
                m.add(f"{at}", n)
            case 5:
                m.transform(f"{at}", lambda _, n=n: n, 0)
            case _:
                m[f"{at}"] = n
        board[at] = n
        if n % 3 == 0:
            time.sleep(0.0005)
    engine.close()


def read(file, board, until):
    """Read until the time is over; print how many, how many were hits, and how many stale."""
    random.seed()
    engine = opened(file)
    m = LPCM("m", using=engine)
    reads = stale = hits = 0
    keys = [f"{at}" for at in range(KEYS)]
    while time.monotonic() < until:
        at = random.randrange(KEYS)
        key = keys[at]
        for _ in range(random.randrange(1, 200)):
            known = board[at]
            found = m.get(key)
            reads += 1
            # Absent: between a delete and the add after it, of which the writer tells nobody.
            if found is not None and found < known:
                stale += 1
        if random.random() < 0.001:
            hits += engine.store._near.hits
            engine.close()
            engine = opened(file)
            m = LPCM("m", using=engine)
        elif random.random() < 0.002:
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        elif random.random() < 0.01:
            m[f"own{os.getpid()}"] = reads
            stale += m[f"own{os.getpid()}"] != reads
    hits += engine.store._near.hits
    engine.close()
    print(reads, hits, stale)


def disturb(file, board, until):
    """Checkpoint, vacuum and copy the file, as other programs do."""
    del board
    random.seed()
    while time.monotonic() < until:
        try:
            with closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as other:
                match random.randrange(6):
                    case 0:
                        other.execute("VACUUM")
                    case 1:
                        with closing(sqlite3.connect(":memory:")) as copy:
                            other.backup(copy)
                    case 2:
                        other.execute("UPDATE entries SET etag = etag + 1 WHERE sk = 'x'")
                    case _:
                        mode = random.choice(["PASSIVE", "RESTART", "TRUNCATE"])
                        other.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.OperationalError:
            pass  # it is busy
        time.sleep(random.random() * 0.02)


# One clause each: what is printed is 2 where the clause is kept


def warmed(file):
    """Return an engine, a map of ``a`` and ``b``, both 1 and near, and another connection."""
    engine = Engine.open(f"sqlite:///{file}?synchronous=normal")
    m = LPCM("m", using=engine, live=False)
    m.update(a=1, b=1)
    for _ in range(40):
        assert (m["a"], m["b"]) == (1, 1)
    assert engine.store._near.view.raw
    other = sqlite3.connect(file, isolation_level=None)
    return engine, m, other


def commit(other, sk="b"):
    other.execute("UPDATE entries SET v = 2, etag = etag + 1 WHERE sk = ?", (sk,))


def last(m):
    """Return ``b`` by a hit, where it is near: a read now and then looks for the file, and asks."""
    return [m["b"] for _ in range(3)][-1]


def refused(file, *_):
    """Do a refused write, and a commit of another program meanwhile."""
    _, m, other = warmed(file)
    original = store.write

    def write(*given):
        outcome = original(*given)
        commit(other)
        return outcome

    store.write = write
    assert not m.add("a", 5)
    print(last(m))


def recovery(file, *_):
    """Have the index recovered between look and write, after which commits count anew."""
    engine, m, other = warmed(file)
    original = store.write
    near = engine.store._near

    def count():
        return struct.unpack_from("=I", near.view.raw, 8)[0]

    def write(*given):
        store.write = original
        begun = count()
        commit(other)
        # Not in this process, where closing the file would drop SQLite's locks.
        tear = "import sys; f = open(sys.argv[1], 'r+b'); f.write(b'torn' * 12)"
        subprocess.run([sys.executable, "-c", tear, f"{file}-shm"], check=True)
        while True:
            commit(other, "a")
            if count() >= begun:
                break
        assert count() == begun
        return original(*given)

    store.write = write
    m.set("a", 3, ttl=60)
    print(last(m))


def fork(file, *_):
    """Fork, which closes all connections: the next log begins with the same header."""
    engine, m, other = warmed(file)
    other.close()
    engine.close()
    m = LPCM("m", using=Engine.open(f"sqlite:///{file}?synchronous=normal"))
    for _ in range(40):
        assert m["b"] == 1
    if not os.fork():
        os._exit(0)
    os.wait()
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('UPDATE entries SET v = 2, etag = 7 WHERE sk = ?', 'b'); c.close()"
    )
    subprocess.run([sys.executable, "-c", code, file], check=True)
    print(last(m))


def load(file, *_):
    """Have another program commit between the SELECT and the look after it."""
    engine, m, other = warmed(file)
    commit(other, "a")  # all that is near is not current any more
    (connection,) = engine.store._idle.connections
    original = connection.execute

    def execute(*given):
        connection.execute = original
        cursor = original(*given)

        class Cursor:
            def fetchone(self):
                row = cursor.fetchone()
                commit(other)
                return row

        return Cursor()

    connection.execute = execute
    assert m["b"] == 1
    print(last(m))


def statement(file, *_):
    """Break off a read when its statement has begun, whose cursor the traceback keeps."""
    engine, m, other = warmed(file)
    commit(other, "a")  # all that is near is not current any more
    assert m["a"] == 2
    (connection,) = engine.store._idle.connections
    original = connection.execute

    def execute(*given):
        connection.execute = original
        cursor = original(*given)
        raise KeyboardInterrupt(cursor)

    connection.execute = execute
    try:
        m["b"]
    except KeyboardInterrupt as error:
        kept = error
    commit(other)
    print(last(m))
    del kept


if __name__ == "__main__":
    what, file, board, seconds = sys.argv[1:]
    globals()[what](file, Board(board), time.monotonic() + float(seconds))

"""What the processes of ``test_interruptions`` do: operations that real signals break off.

``worker`` interrupts its own operations at random moments and keeps every traceback, so that
frames, and what they hold, live on. After each it has the ``peer``, another process, look.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpcm import LPCM, transaction
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = {f"b{number}": "x" * 50 for number in range(40)}
MOST_ATTEMPTS = 8
"""For each interruption wanted: an operation may end before its signal comes."""


class SoftLimit(Exception):
    """What a time limit raises, like Celery's."""


class Stop(BaseException):
    """What Ctrl-C raises, in that ``except Exception`` does not see it."""


def operations(m: LPCM[Any, Any]) -> dict[str, Callable[[], object]]:
    """Return every kind of operation of a map, each to be done any number of times."""

    def increase() -> None:
        m["n"] += 1

    def append() -> None:
        m["list"].append(1)

    def move() -> None:
        with transaction() as t:
            t[m]["n"] = t[m].get("n", 0) + 1
            t[m]["moved"] = 1

    def replace() -> None:
        m.replace("n", 1, if_etag=m.entry("n").etag)

    def delete() -> None:
        m["gone"] = 1
        del m["gone"]

    return {
        "get": lambda: m.get("n"),
        "set": lambda: m.set("s", "x" * random.randrange(200)),
        "item": lambda: m["n"],
        "expiring": lambda: m.set("e", 1, ttl=50),
        "del": delete,
        "+=": increase,
        "increment": lambda: m.increment("n"),
        "setdefault": lambda: m.setdefault(f"d{random.randrange(99)}", 1),
        "pop": lambda: m.pop("s", None),
        "popitem": m.popitem,
        "update": lambda: m.update(BATCH),
        "get_many": lambda: m.get_many(BATCH),
        "delete_many": lambda: m.delete_many(BATCH),
        "items": lambda: list(m.items()),
        "transform": lambda: m.transform("t", lambda value: value + 1, 0),
        "append": append,
        "transaction": move,
        "clear": m.clear,
        "len": lambda: len(m),
        "replace": replace,
        "expire": lambda: m.expire("n", 60),
    }


def prepare(m: LPCM[Any, Any]) -> None:
    """Have what the operations expect."""
    m.update({"n": 1, "list": [], "s": "x", "k": 1})


class Interruptions:
    """Operations of one map, broken off at random moments."""

    def __init__(self, m: LPCM[Any, Any], seed: int) -> None:
        self.m = m
        self.kept: list[BaseException] = []
        self.takes: dict[str, float] = {}
        self.random = random.Random(seed)
        self.todo = operations(m)
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, *_: object) -> None:
        raise self.random.choice([SoftLimit, Stop])

    def one(self) -> str | None:
        """Do one operation; return its name if it was interrupted."""
        name = self.random.choice(list(self.todo))
        prepare(self.m)
        start = time.perf_counter()
        try:
            # Within its usual time, or right at its start, where all the bookkeeping is.
            span = self.takes.get(name, 1e-3) if self.random.random() < 0.7 else 1e-4
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, self.random.random() * span))
            with contextlib.suppress(KeyError):  # the entry was never there: interrupted before
                self.todo[name]()
            took = time.perf_counter() - start
            signal.setitimer(signal.ITIMER_REAL, 0)
        except (SoftLimit, Stop) as error:
            self.kept.append(error)
            return name
        self.takes[name] = 0.8 * self.takes.get(name, took) + 0.2 * took
        return None


def peer(path: str) -> None:
    """Answer each line as another process that shares the SQLite file."""
    for line in sys.stdin:
        number = int(line)
        with contextlib.closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as raw:
            answer: dict[str, object] = {}
            raw.execute("PRAGMA synchronous = OFF")
            try:
                sql = "SELECT v FROM entries WHERE sk = ?"
                answer["acknowledged"] = raw.execute(sql, (encode("ack"),)).fetchone()[0]
                sql = "UPDATE entries SET v = ?, etag = etag + 1 WHERE sk = ?"
                raw.execute(sql, (number, encode("other")))
                busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                answer["busy"] = busy
            except sqlite3.Error as error:
                answer["error"] = repr(error)
        print(json.dumps(answer), flush=True)


def on_file(path: str, wanted: int, seed: int) -> None:
    """Interrupt; then another process writes, reads what was acknowledged, empties the log."""
    # Survives the end of a process as the default does, and is not all waiting for the disk.
    url = f"sqlite:///{path}?synchronous=normal"
    acks: LPCM[str, int] = LPCM("acks", url=url)
    acks.update(ack=0, other=0)
    interruptions = Interruptions(LPCM("m", url=url), seed)
    command = [sys.executable, __file__, "peer", path]
    other = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    for _ in range(MOST_ATTEMPTS * wanted):
        if len(interruptions.kept) >= wanted:
            break
        name = interruptions.one()
        if name is None:
            continue
        number = len(interruptions.kept)
        if number % 20 == 0:
            fork_in_thread()
        print(number - 1, file=other.stdin, flush=True)
        answer = json.loads(other.stdout.readline())
        expected = {"acknowledged": number - 1, "busy": 0}
        assert answer == expected, (name, number, answer)
        assert acks["other"] == number - 1, (name, number, acks["other"])
        acks["ack"] = number
    other.stdin.close()
    other.wait(30)
    finish(interruptions)
    os.kill(os.getpid(), signal.SIGKILL)


def anywhere(url: str, wanted: int, seed: int) -> None:
    """Interrupt; then the next operations are right, and nothing that is limited has leaked."""
    m: LPCM[Any, Any] = LPCM("m", url=url)
    acks: LPCM[str, int] = LPCM("acks", url=url)
    prepare(m)
    acks["ack"] = 0
    interruptions = Interruptions(m, seed)
    if url.startswith("memcached:"):
        del interruptions.todo["transaction"]  # it has none
    for each in interruptions.todo.values():
        prepare(m)
        each()
    before = descriptors()
    for _ in range(MOST_ATTEMPTS * wanted):
        if len(interruptions.kept) >= wanted:
            break
        name = interruptions.one()
        if name is None:
            continue
        number = len(interruptions.kept)
        assert acks["ack"] == number - 1, (name, number, acks["ack"])
        acks["ack"] = number
        if number % 10 == 0:
            keys = list(m)
            assert len(keys) == len(set(keys)) == len(m), (name, number, sorted(keys))
        if number % 50 == 0:
            in_thread(lambda: acks["ack"])
            fork_in_thread()
    finish(interruptions)
    # The standard library's own frames hold what was just being dialled, until now.
    after = descriptors()
    assert after <= before + 2, (before, after)


def descriptors() -> int:
    """Count what this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def finish(interruptions: Interruptions) -> None:
    """Tell how often it was interrupted, and let go of what the tracebacks held."""
    print(len(interruptions.kept), flush=True)
    interruptions.kept.clear()
    gc.collect()


def in_thread(do: Callable[[], object]) -> None:
    """Do it in another thread, within a time."""
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(do()), daemon=True)
    thread.start()
    thread.join(20)
    assert done, "another thread hangs or failed"


def fork_in_thread() -> None:
    """Fork in another thread: it waits for all that are in the middle of something."""

    def fork() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0)
        return os.waitpid(child, 0)[1]

    in_thread(fork)


if __name__ == "__main__":
    faulthandler.enable()
    match sys.argv[1:]:
        case ["peer", path]:
            peer(path)
        case ["file", path, wanted, seed]:
            on_file(path, int(wanted), int(seed))
        case ["anywhere", url, wanted, seed]:
            anywhere(url, int(wanted), int(seed))

"""A SQLite file and forks that run no hook of Python: uWSGI's, an extension's."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lpcm.engine.drive import run
from lpcm.errors import StoreError
from lpcm.ports import Add, Cell, KeyRange, Put
from lpcm.stores.sqlite import store as sqlite
from tests.forks import fork_in_c

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lpcm.stores.sqlite.store import SQLiteStore

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a fork in C is looked for on Linux"
)

MAP = "a/b/"
WRITES = 300


def put(store: SQLiteStore, sk: str, data: object) -> None:
    run(store.apply(MAP, sk, Put(Cell(data, None), 1), 0.0))  # type: ignore[arg-type]  # scalars


def add(store: SQLiteStore, sk: str) -> None:
    run(store.apply(MAP, sk, Add(1, 0, 1), 0.0))


def data(store: SQLiteStore, sk: str) -> object:
    stored = run(store.read(MAP, sk, 0.0))
    return None if stored is None else stored.data


def in_child(work: Callable[[], object]) -> int:
    """Start a child that does this and is killed: nothing is written at an exit."""
    child = fork_in_c()
    if child == 0:
        try:
            work()
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException as error:  # noqa: BLE001  # all of it is shown
            os.write(2, f"in child: {error!r}\n".encode())
        finally:
            os._exit(1)
    return child


def killed(child: int, patience: float = 30) -> None:
    """Wait for a child that killed itself when its work was done."""
    deadline = time.monotonic() + patience
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    assert os.waitstatus_to_exitcode(ended[1]) == -signal.SIGKILL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


def opened(path: Path) -> SQLiteStore:
    return sqlite.open_store(str(path), synchronous="normal")


def test_four_children_of_a_fork_in_c(path: Path) -> None:
    """Parent and children write at once; each is killed; nothing acknowledged is missing."""
    store = opened(path)
    put(store, "before", 1)

    def work(name: str) -> None:
        for number in range(WRITES):
            add(store, "all")
            put(store, f"{name}{number:04}", number)
            assert data(store, f"{name}{number:04}") == number

    children = [in_child(lambda name=name: work(name)) for name in "abcd"]  # type: ignore[misc]  # a default
    work("p")
    for child in children:
        killed(child)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        (count,) = raw.execute("SELECT count(*) FROM entries").fetchone()
        assert count == 5 * WRITES + 2
        assert raw.execute("SELECT v FROM entries WHERE sk = 'all'").fetchone() == (5 * WRITES,)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert data(store, "all") == 5 * WRITES
    store.close()


@pytest.mark.parametrize("first", ["parent closes", "child looks"])
def test_the_parent_closes(path: Path, first: str) -> None:
    """What a child writes is kept when the parent closes, be it before the child looks or after."""
    store = opened(path)
    put(store, "k", 1)
    (ready, tell_ready), (go_on, tell_go_on) = os.pipe(), os.pipe()

    def work() -> None:
        if first == "child looks":
            put(store, "c", 1)
        os.write(tell_ready, b"1")
        os.read(go_on, 1)
        assert data(store, "k") == 1
        put(store, "c", 2)

    child = in_child(work)
    os.read(ready, 1)
    store.close()
    os.write(tell_go_on, b"1")
    killed(child)
    for end in (ready, tell_ready, go_on, tell_go_on):
        os.close(end)
    store = opened(path)
    assert (data(store, "k"), data(store, "c")) == (1, 2)
    store.close()


CRASHED = """
import os, signal, sys
from lpcm.engine.drive import run
from lpcm.ports import Cell, Put
from lpcm.stores.sqlite import store as sqlite
store = sqlite.open_store(sys.argv[1])
run(store.apply("a/b/", "crashed", Put(Cell(1, None), 1), 0.0))
os.kill(os.getpid(), signal.SIGKILL)
"""

LEFT = """
import ctypes, os, sys
from lpcm.engine.drive import run
from lpcm.stores.sqlite import store as sqlite
path, how, go_on, ended = sys.argv[1:]
store = sqlite.open_store(path)
run(store.read("a/b/", "k", 0.0))
if ctypes.PyDLL(None).fork() == 0:
    os.read(int(go_on), 1)
    if how == "looks":
        assert run(store.read("a/b/", "crashed", 0.0)).data == 1
    os.write(int(ended), b"1")  # and ends as programs do
else:
    store.close()
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["looks", "exits"])
def test_a_log_that_a_child_did_not_inherit(path: Path, how: str) -> None:
    """A child that closes what it inherited deletes no log that others have begun since.

    SQLite deletes it by its name, and that is another file by now: of a process that died,
    with the only copy of what was acknowledged.
    """
    (go_on, tell_go_on), (ended, tell_ended) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", LEFT, str(path), how, str(go_on), str(tell_ended)]
    subprocess.run(command, pass_fds=[go_on, tell_ended], check=True, timeout=30)
    for end in (go_on, tell_ended):
        os.close(end)
    subprocess.run([sys.executable, "-c", CRASHED, str(path)], check=False, timeout=30)
    os.write(tell_go_on, b"1")
    assert os.read(ended, 1) == b"1"
    assert os.read(ended, 1) == b""  # it is gone
    for end in (tell_go_on, ended):
        os.close(end)
    store = opened(path)
    assert data(store, "crashed") == 1
    store.close()


def test_a_fork_in_c_while_another_thread_is_inside(path: Path) -> None:
    """A child made while another thread was in an operation is told, and does not hang."""
    store = opened(path)
    put(store, "k", 1)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store._file.connection() as connection, connection.lock:
            connection.execute("BEGIN IMMEDIATE")
            inside.set()
            leave.wait(30)
            connection.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)

    def work() -> None:
        for _ in range(2):
            with pytest.raises(StoreError, match="forked in the middle"):
                data(store, "k")

    try:
        killed(in_child(work))
    finally:
        leave.set()
        thread.join(30)
    put(store, "k", 2)
    assert data(store, "k") == 2
    killed(in_child(lambda: put(store, "k", 3)))
    assert data(store, "k") == 3
    assert run(store.count(MAP, KeyRange(), 0.0)) == 1
    store.close()


def test_children_of_children(path: Path) -> None:
    """A child that has looked is a parent like any other, whoever forks."""
    store = opened(path)
    put(store, "k", 1)

    def work() -> None:
        add(store, "k")
        killed(in_child(lambda: add(store, "k")))
        child = os.fork()
        if child == 0:
            add(store, "k")
            os._exit(0)
        os.waitpid(child, 0)
        add(store, "k")

    killed(in_child(work))
    assert data(store, "k") == 5
    store.close()

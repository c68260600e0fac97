"""A child of a fork is noticed, whoever made the fork."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lpcm.system import process
from tests.forks import fork_in_c

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


FORKS: tuple[Callable[[], int], ...] = (os.fork, fork_in_c)


def seen_in_child(fork: Callable[[], int], look: Callable[[], object]) -> str:
    """Return what ``look`` returns in the child of a fork."""
    ours, theirs = os.pipe()
    pid = fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # whoever hangs
        try:
            os.write(theirs, repr(look()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the processes in which a registered action was done."""
    monkeypatch.setattr(process, "_actions", [*process._actions])
    processes: list[int] = []
    process.after_fork_in_child(lambda: processes.append(os.getpid()))
    return processes


@pytest.mark.parametrize("fork", FORKS)
def test_a_registered_action_is_done_once_in_the_child(
    fork: Callable[[], int], done: list[int]
) -> None:
    """What is registered is done once in each child, and never in the parent."""

    def look() -> object:
        for _ in range(2):
            if not process.same[0]:
                process.forked()
        return done == [os.getpid()], process.same[0]

    assert seen_in_child(fork, look) == "(True, 1)"
    assert process.same[0] == 1
    assert done == []


def test_a_fork_in_c_is_noticed_at_the_point_of_use(done: list[int]) -> None:
    """After a fork that runs no hook, the child is new until it looks."""
    assert seen_in_child(fork_in_c, lambda: (process.same[0], done)) == "(0, [])"


def test_a_childs_child_is_noticed(done: list[int]) -> None:
    """A child that has been looked after is a parent like any other."""

    def look() -> object:
        process.forked()
        return seen_in_child(fork_in_c, lambda: process.same[0]), len(done)

    assert seen_in_child(fork_in_c, look) == "('0', 1)"


def test_a_fork_amid_the_first_use(monkeypatch: pytest.MonkeyPatch, done: list[int]) -> None:
    """A child's child that is forked amid the actions does all of them for itself."""
    below: list[str] = []

    def fork_again() -> None:
        if not below:
            below.append("")
            below[0] = seen_in_child(fork_in_c, lambda: (process.forked(), process.same[0])[1])

    monkeypatch.setattr(process, "_actions", [*process._actions, fork_again])

    def look() -> object:
        made_in = process.this()
        return below, made_in is process.this(), len(done)

    assert seen_in_child(fork_in_c, look) == "(['1'], True, 1)"


def test_this_is_of_one_process() -> None:
    """What stands for a process is its own, also after a fork in C."""
    here = process.this()
    assert process.this() is here
    for fork in FORKS:
        assert seen_in_child(fork, lambda: process.this() is here) == "False"


def test_a_lock_is_free_in_a_child() -> None:
    """A lock that another thread held at the fork is free in the child, and still held here."""
    lock, held, done = process.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock(), lock():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)

    try:
        for fork in FORKS:
            assert seen_in_child(fork, lambda: lock().acquire(timeout=5)) == "True"
        assert not lock().acquire(blocking=False)
    finally:
        done.set()
        thread.join()


def test_what_is_gone_is_not_looked_after() -> None:
    """Only things that are alive are looked after."""
    seen: list[object] = []
    kept, gone = process.Lock(), process.Lock()
    for thing in (kept, gone):
        process.follow(thing, seen.append)
    # A lock follows itself, so each has two. What other threads leave behind is not looked at.
    # A copy, for a list of items makes tuples, at which the collector may come and change the dict.
    ours = {
        number
        for number, (reference, _) in process._followed.copy().items()
        if reference() in {kept, gone}
    }
    assert len(ours) == 4
    del thing, gone
    assert len(ours & process._followed.keys()) == 2
    assert seen_in_child(fork_in_c, lambda: (process.forked(), seen == [kept])[1]) == "True"


def test_a_severed_descriptor_leads_nowhere() -> None:
    """What a child severs is at its end there, and goes on in the parent."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def look() -> object:
            process.sever(ours.fileno())
            return ours.recv(10)

        assert seen_in_child(fork_in_c, look) == "b''"
        theirs.send(b"x")
        assert ours.recv(10) == b"x"


def test_all_threads_of_a_child_wait_for_the_actions(done: list[int]) -> None:
    """No thread of a child goes on before what is registered is done."""

    def look() -> object:
        begin = threading.Barrier(8)
        seen: list[int] = []

        def use() -> None:
            begin.wait()
            process.forked()
            seen.append(len(done))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return set(seen)

    assert seen_in_child(fork_in_c, look) == "{1}"


def test_process_ids_tell_where_pages_cannot(
    monkeypatch: pytest.MonkeyPatch, done: list[int]
) -> None:
    """Without pages that a fork wipes, the process id is compared."""
    state = process._Pid()
    monkeypatch.setattr(process, "same", state)
    monkeypatch.setattr(process, "_state", state)

    def look() -> object:
        before = bool(state[0])
        process.forked()
        return before, bool(state[0]), len(done)

    assert bool(state[0])
    assert seen_in_child(fork_in_c, look) == "(False, True, 1)"


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_a_fork_while_another_thread_is_at_it_is_survived(fork: str) -> None:
    """A thread that was inside ``forked`` at the fork does not block the child for ever."""
    program = """
import ctypes, os, threading
from lpcm.system import process
process._locks.setdefault(os.getpid(), threading.RLock()).acquire()
pid = FORK()
if pid == 0:
    process.forked()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    program = program.replace("FORK", fork)
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0

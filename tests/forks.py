"""Forks that tests make in C, as uWSGI and extensions do: no hook of Python runs.

A child has one thread, and a copy of all that the others were at. Python's own lock, for which
threads wait all the time, is two condition variables of the C library. Where a thread of the parent
waited in one of them at the fork, or had not left it yet, the child hangs when its own threads come
there: no library could help it. So tests fork in C while the other threads stand still.
"""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path

STILL = 0.03
"""Seconds: a thread that waits for Python's own lock looks for it after 0.005."""
TASKS = Path("/proc/self/task")


def stand_still() -> None:
    """Return when each other thread of this process waits for something, and for some time has.

    Linux counts how often a thread was given a processor and left it. So a busy machine makes this
    wait longer, and has no thread overlooked that would run if it could.
    """
    if not TASKS.exists():
        time.sleep(10 * STILL)
        return
    deadline = time.monotonic() + 60
    before, now = None, _others()
    while now and (before != now or any(state != "S" for state, _ in now.values())):
        assert time.monotonic() < deadline, f"threads that never stand still: {now}"
        time.sleep(STILL)
        before, now = now, _others()


def _others() -> dict[str, tuple[str, list[str]]]:
    """Return the state of each other thread, and how often it has been given a processor."""
    found = {}
    for task in TASKS.iterdir():
        if task.name == str(threading.get_native_id()):
            continue
        try:
            lines = (task / "status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        state = next(line.split()[1] for line in lines if line.startswith("State:"))
        found[task.name] = state, [line for line in lines if "ctxt_switches" in line]
    return found


def fork_in_c() -> int:
    """Fork as an extension does, while the other threads of this process stand still."""
    stand_still()
    return int(ctypes.PyDLL(None).fork())

"""Signals that tests send to processes of theirs."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time
from contextlib import contextmanager


def restore_interrupt():
    """Let SIGINT end a child, as ``preexec_fn`` of ``subprocess.Popen``.

    A shell without job control starts what it puts into the background (``make test &`` in a
    script) with SIGINT ignored. That is inherited, and Python then raises no KeyboardInterrupt.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop(pid):
    """Send SIGSTOP; return when each thread of the process has obeyed, which takes a moment."""
    threads = list(pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
    os.kill(int(pid), signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while any(each.read_text().rpartition(")")[2].split()[0] != "T" for each in threads):
        assert time.monotonic() < deadline, "it does not stop"
        time.sleep(0.001)


@contextmanager
def interrupting(number, handler):
    """Have a signal call ``handler`` in the main thread; yield what sends it until it has.

    Once would not do: of a signal that comes when the thread has looked for one, and does not wait
    yet, Python learns after the wait.
    """
    called, guard, over = threading.Event(), threading.Lock(), []

    def once(*arguments):
        if not called.is_set():
            called.set()
            handler(*arguments)

    def send():
        deadline = time.monotonic() + 20
        while not called.wait(0.02):
            assert time.monotonic() < deadline, "it is not handled"
            with guard:
                if over:
                    return
                signal.pthread_kill(threading.main_thread().ident, number)

    before = signal.signal(number, once)
    try:
        yield send
    finally:
        with guard:
            over.append(True)
        signal.signal(number, before)

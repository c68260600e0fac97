"""Signals that tests send to processes of theirs."""

from __future__ import annotations

import signal


def restore_interrupt():
    """Let SIGINT end a child, as ``preexec_fn`` of ``subprocess.Popen``.

    A shell without job control starts what it puts into the background (``make test &`` in a
    script) with SIGINT ignored. That is inherited, and Python then raises no KeyboardInterrupt.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)

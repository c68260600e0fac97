"""A slow disk: runs a command, each of whose flushes takes some milliseconds longer.

``python benchmarks/slow_disk.py 5 python program.py``. The delay comes from outside: ``strace``
holds each ``fsync`` and ``fdatasync`` back when the kernel has done it, each thread by itself, so
that flushes of several threads overlap as they would on a real disk. All else runs at full speed,
as the kernel hands only these calls to strace. Programs whose flushes are ``msync`` or writes with
``O_DSYNC`` are not slowed down.

Needs Linux and strace 5.3 or later.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FLUSHES = "fsync,fdatasync"


def available() -> bool:
    """Tell whether this machine has strace."""
    return sys.platform == "linux" and shutil.which("strace") is not None


def slowed(command: Sequence[str], milliseconds: float, log: str = "/dev/null") -> list[str]:
    """Return the command on a slow disk; ``log`` gets a line for each flush.

    >>> slowed(["true"], 5)[-4:]
    ['inject=fsync,fdatasync:delay_exit=5000', '-o', '/dev/null', 'true']
    """
    return [
        "strace", "--follow-forks", "--seccomp-bpf", "-qq",
        "-e", "signal=none",
        "-e", f"trace={FLUSHES}",
        "-e", f"inject={FLUSHES}:delay_exit={round(milliseconds * 1000)}",
        "-o", log,
        *command,
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(subprocess.run(slowed(sys.argv[2:], float(sys.argv[1])), check=False).returncode)

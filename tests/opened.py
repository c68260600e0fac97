"""What was opened in this process since a moment: descriptors and threads.

Not how many there are: of what earlier tests left, and of what they are just closing on threads of
their own, some may go at any time.
"""

from __future__ import annotations

import threading
from pathlib import Path


class Opened:
    """What this process has open now, and had not when this object was made."""

    def __init__(self) -> None:
        self._descriptors = _descriptors()
        self._threads = set(threading.enumerate())

    def descriptors(self) -> list[tuple[str, str]]:
        """Return the number of each new descriptor, and what it leads to."""
        return sorted(_descriptors() - self._descriptors)

    def threads(self) -> list[str]:
        """Return the name of each new thread that is alive."""
        return sorted(thread.name for thread in set(threading.enumerate()) - self._threads)


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((link.name, str(link.readlink())))
        except OSError:  # the listing's own descriptor
            continue
    return found

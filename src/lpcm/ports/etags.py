"""Etags: random numbers that identify writes.

Invariant: no two writes have one etag, of whatever thread or process.
"""

from __future__ import annotations

import os

from lpcm.system.process import after_fork_in_child, forked, same

__all__ = ["new_etag"]

# Drawn in advance, for asking the system each time is a tenth of an embedded write. From
# os.urandom and not random: users seed the latter, and it goes on alike after a fork in C.
_etags: list[int] = []


def new_etag() -> int:
    """Return a new etag: 64 bits, signed."""
    if not same[0]:
        forked()
    mine = _etags
    try:
        return mine.pop()
    except IndexError:
        drawn = memoryview(os.urandom(8 * 128)).cast("q").tolist()
        mine.extend(drawn[1:])
        return drawn[0]


def _draw_anew() -> None:
    # Replaced and not cleared: a signal handler may have forked amid ``extend`` above.
    global _etags  # noqa: PLW0603  # the child's own
    _etags = []


after_fork_in_child(_draw_anew)

"""Whether this process may write a SQLite file, and its log beside it.

Knows file names and permissions, nothing of SQLite. Invariant: where ``writable`` says yes,
SQLite finds a log and an index that it may write, or may make them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_IMODE

from lpcm.errors import StoreReadOnly

__all__ = ["mend", "writable"]

# ruff: noqa: PTH101, PTH110, PTH116, PTH120  # pathlib costs import time

_LOG = ("-wal", "-shm")
_EFFECTIVE = os.access in os.supports_effective_ids


def writable(path: str) -> bool:
    """Return whether a database that is there can be written; True where there is none."""
    path = os.path.realpath(path)
    if not os.path.exists(path):
        return True
    if not _may_write(path):
        return False
    if _may_write(os.path.dirname(path)):
        return True
    return all(_may_write(path + end) for end in _LOG)  # of someone who has it open


def mend(path: str) -> None:
    """Make the log of a writable file writable again, which a reader left with its permissions."""
    path = os.path.realpath(path)
    for end in _LOG:
        beside = path + end
        if os.path.exists(beside) and not _may_write(beside):
            with suppress(OSError):
                os.chmod(beside, S_IMODE(os.stat(path).st_mode))
            if os.path.exists(beside) and not _may_write(beside):
                raise StoreReadOnly(
                    f"{beside}: belongs to the database, and this user may not write it: allow it, "
                    "or delete it once no process uses the database"
                )


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=_EFFECTIVE)

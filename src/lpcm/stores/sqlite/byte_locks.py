"""Locks of the operating system on bytes of a file, which need not be in the file.

Where the system has such (Linux), a lock belongs to the open file: other ones of this process are
refused as well, and closing them drops nothing. Elsewhere it is the process's. Windows has neither.
Knows nothing of what the bytes stand for.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING, Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for before each use

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["LOCKS", "OWN", "is_free", "lock", "unlock"]

LOCKS: Final = fcntl is not None
"""Whether the system has any."""
OWN = hasattr(fcntl, "F_OFD_SETLK")
"""Whether they belong to the open file."""
_FLOCK: Final = Struct("hhqqi4x")


def lock(file: FileIO | int, start: int, length: int, *, shared: bool = False) -> bool:
    """Lock bytes, as others may too where it is ``shared``; return False where one is taken.

    Cost: one call of the system; waits for nobody.
    """
    if fcntl is None:
        return False
    try:
        if OWN:
            kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _flock(kind, start, length))
        else:
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.lockf(file, how | fcntl.LOCK_NB, length, start)
    except (OSError, ValueError):  # ValueError: another thread has closed it
        return False
    return True


def unlock(file: FileIO | int, start: int, length: int) -> None:
    """Unlock bytes. Closing would not do where a child of a fork has the open file, too."""
    if fcntl is None:
        return
    if OWN:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, start, length))
    else:
        fcntl.lockf(file, fcntl.LOCK_UN, length, start)


def is_free(file: FileIO | int, start: int, length: int) -> bool:
    """Tell whether nobody has locked any of the bytes; False where that cannot be asked."""
    if fcntl is None:
        return False
    if not OWN:
        return False
    asked = _flock(fcntl.F_WRLCK, start, length)
    return bool(_FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] == fcntl.F_UNLCK)


def _flock(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)

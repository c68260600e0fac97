"""Files that are written beside another file and take its place in one step.

Knows nothing of the content. Invariant: under the given name there is at any moment the
old file or the whole new file, whatever interrupts the writing. After a kill a file that begins
with ``.`` and ends in ``.part`` may be left beside it, and can be deleted.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from stat import S_IMODE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["replacing"]

# ruff: noqa: PTH101, PTH105, PTH108, PTH116, PTH118  # pathlib costs import time


@contextmanager
def replacing(path: str, *, mode: int) -> Generator[str, None, None]:
    """Yield the name of an empty file; at the end of the block flush it and rename it to ``path``.

    The file has the permissions of the file that it replaces; where there is none, ``mode`` less
    the umask. Where ``path`` is a symbolic link, the file that it leads to is replaced. **Raises**
    ``OSError``.

    >>> from pathlib import Path
    >>> with replacing("notes", mode=0o600) as beside:
    ...     Path(beside).write_text("milk")
    4
    >>> with replacing("notes", mode=0o600) as beside:
    ...     raise ValueError("no milk")
    Traceback (most recent call last):
        ...
    ValueError: no milk
    >>> os.listdir(), Path("notes").read_text()
    (['notes'], 'milk')
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name[:100]}.{os.urandom(6).hex()}.part")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        with suppress(FileNotFoundError):
            os.chmod(beside, S_IMODE(os.stat(target).st_mode))
        yield beside
        _flush(beside, os.O_RDWR)
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    if os.name != "nt":  # Windows cannot open a directory
        _flush(folder, os.O_RDONLY)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The largest value that a SQLite file takes.

Knows bytes alone. Invariant: what gets past ``check`` is no larger than the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.ports import Put
from lpcm.values.size import too_large

if TYPE_CHECKING:
    from lpcm.ports import Op

__all__ = ["Limit"]


class Limit:
    """The bytes that one value of a file may have."""

    def __init__(self, path: str, most: int) -> None:
        self._path = path
        self.most = most

    def check(self, op: Op) -> int:
        """Return the length of the value where it is text or bytes, else 0."""
        if type(op) is not Put:
            return 0
        data = op.cell.data
        if not isinstance(data, (str, bytes)):
            return 0
        length = len(data)
        if length > self.most // 4:
            size = len(data.encode(errors="replace")) if isinstance(data, str) else length
            if size > self.most:
                raise too_large(self._path, size, self.most)
        return length

"""Cells as the bytes that parts are cut from, and back.

Knows letters (``values.serial``) and lengths, and no store. Invariant: beside the value itself no
more than one copy of it is in memory at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.errors import ValueDecodingError
from lpcm.ports.heads import PART
from lpcm.values.form import Cell
from lpcm.values.serial import READ, TREE, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cut", "joined", "weighed"]


def weighed(cell: Cell) -> tuple[str, bytes]:
    """Return the letter and the bytes of a cell; bytes are not copied."""
    data, kind = cell
    letter, write = WRITE.get((type(data), kind), TREE)
    return letter.decode(), data if type(data) is bytes else write(data)


def cut(data: bytes, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Yield the parts ``first <= number < last``, with their numbers.

    >>> [(number, len(part)) for number, part in cut(bytes(800_000), 1, 9)]
    [(1, 399360), (2, 1280)]
    """
    for number in range(first, last):
        part = data[number * PART : (number + 1) * PART]
        if not part:
            return
        yield number, part


def joined(form: str, data: bytearray) -> Cell:
    """Return the cell of that letter and those bytes, which are cleared.

    **Raises** ValueDecodingError for bytes that no version of lpcm has written.

    >>> joined("s", bytearray(b"pi"))
    Cell(data='pi', kind=None)
    """
    try:
        kind, read = READ[form.encode()]
        raw = bytes(data)
        data.clear()
        return Cell(read(raw), kind)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueDecodingError(f"not a value in parts that lpcm wrote: {error}") from error

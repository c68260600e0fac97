"""Cells as the bytes that parts are cut from, and back; and what a page shows of the first bytes.

Knows letters (``values.serial``) and lengths, and no store. Invariant: beside the value itself no
more than one copy of it is in memory at a time.
"""

from __future__ import annotations

from binascii import b2a_base64
from json import dumps
from typing import TYPE_CHECKING, Final

from lpcm.errors import ValueDecodingError
from lpcm.ports.heads import PART
from lpcm.values.compress import expand_beginning, method_of
from lpcm.values.form import Cell
from lpcm.values.serial import READ, TREE, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["beginning", "cut", "joined", "kind_of", "weighed"]

_NAMES: Final = {"s": "str", "b": "bytes"}


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


def kind_of(form: str) -> tuple[str, str | None]:
    """Return the type of a value as far as its letter says it, and what compresses its bytes.

    >>> kind_of("s"), kind_of("y"), kind_of("t")
    (('str', None), ('bytes', 'zlib'), ('list, dict or other', None))
    """
    kind = READ[form.encode()][0]
    method = method_of(kind)
    name = _NAMES.get(form, "") if method is None else str(kind).partition("+")[0]
    return name if name in _NAMES.values() else "list, dict or other", method


def beginning(form: str, data: bytes, most: int) -> str:
    """Return what the first bytes of a cell say, at most so many, as the beginning of its JSON.

    **Raises** ValueDecodingError for damaged data.

    >>> beginning("s", b"to be or not to be", 5), beginning("b", b"abcdef", 3)
    ('"to be', '{"!bytes":"YWJj')
    """
    name, method = kind_of(form)
    if method is not None:
        data = expand_beginning(data, method, most)
    if name == "bytes":
        return '{"!bytes":"' + b2a_base64(data[:most], newline=False).decode()
    text = data[:most].decode(errors="ignore")  # the last character may be cut
    return dumps(text, ensure_ascii=False)[:-1] if name == "str" else text

"""Cells as the bytes that parts are cut from, and back; and what a page shows of the first bytes.

Knows letters (``values.serial``) and lengths, and no store. Invariant: beside the value itself no
more than one copy of it is in memory at a time.
"""

from __future__ import annotations

from binascii import b2a_base64
from json import dumps
from typing import TYPE_CHECKING, Final

from lpcm.errors import ValueDecodingError
from lpcm.large.written import pieces
from lpcm.ports.heads import PART
from lpcm.values.compact_json import compact_json
from lpcm.values.compress import expand_beginning, method_of
from lpcm.values.form import Cell
from lpcm.values.serial import READ, TREE, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Encoded", "beginning", "joined", "kind_of"]

_NAMES: Final = {"s": "str", "b": "bytes"}


class Encoded:
    """The bytes of a cell, which are made when they are asked for: a few parts are in memory.

    >>> made = Encoded(Cell("é" * 300_000, None))
    >>> made.form, len(made), [len(part) for part in made.parts()]
    ('s', 600000, [399360, 200640])
    """

    def __init__(self, cell: Cell) -> None:
        data, kind = cell
        letter, self._write = WRITE.get((type(data), kind), TREE)
        self.form = letter.decode()
        """How to read them: a letter of ``values.serial``."""
        self._data = data
        self._tree = letter == TREE[0]
        self._length = sum(map(len, self._pieces()))

    def __len__(self) -> int:
        return self._length

    def parts(self) -> Iterator[bytes]:
        """Yield them, ``PART`` at a time; the last are fewer."""
        held = bytearray()
        for piece in self._pieces():
            held += piece
            while len(held) >= PART:
                yield bytes(memoryview(held)[:PART])
                del held[:PART]
        if held:
            yield bytes(held)

    def _pieces(self) -> Iterator[bytes]:
        data = self._data
        if self._tree:
            yield from map(str.encode, pieces(data))
        elif isinstance(data, bytes):
            for at in range(0, len(data), PART):
                yield data[at : at + PART]
        elif not isinstance(data, str):
            yield self._write(data)
        else:
            for at in range(0, len(data), PART):
                yield data[at : at + PART].encode()


def joined(form: str, data: bytearray) -> Cell:
    """Return the cell of that letter and those bytes, which are cleared.

    **Raises** ValueDecodingError for bytes that no version of lpcm has written.

    >>> joined("s", bytearray(b"pi"))
    Cell(data='pi', kind=None)
    """
    try:
        kind, read = READ[form.encode()]
        if form != TREE[0].decode():
            raw = bytes(data)
            data.clear()
            return Cell(read(raw), kind)
        # Not by ``read``, for whose time three copies would be in memory.
        text = data.decode()
        data.clear()
        return Cell(compact_json().loads(text), kind)
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

"""Compression: values over a size as bytes, of a kind that says how to read them.

Responsible for which cells of a codec are stored compressed, and for reading them whatever a map
compresses with by now. Knows no store: to a store a compressed cell is bytes of a kind that no
native update touches. Invariants: a cell is compressed only where that makes it smaller by a
quarter; a cell that is not compressed is the codec's own; and what is read expands to no more
bytes than the reader allows, also where another program wrote it.

=============== ====================================================
kind            ``data``, in either form
=============== ====================================================
``str+zlib``    a zlib stream (RFC 1950) of the text, in UTF-8
``bytes+zlib``  the same of the bytes
``json+zlib``   the same of the value's JSON, as in ``Form.TEXT``
``str+zstd`` …  the same three in one Zstandard frame (RFC 8878)
=============== ====================================================

Versions of lpcm without compression know none of these kinds: they refuse to read such a value.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ConfigError, ValueDecodingError, ValueEncodingError
from lpcm.values.form import Cell
from lpcm.values.path import shown
from lpcm.values.size import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["compressing", "expand", "expand_beginning", "method_of", "usable"]

_LEVEL: Final = {"zlib": 6, "zstd": 3}
"""The levels that their libraries take by themselves: higher ones take twice as long for 1 %."""
_SCALARS: Final = frozenset({int, float, bool, type(None), Decimal})
_BYTES: Final = '"!bytes"'
_PART: Final = 2**18
"""Bytes or characters that are compressed, or read, at once: no whole copy of the data is made."""
_KINDS: Final = {
    f"{name}+{method}": method for name in ("str", "bytes", "json") for method in _LEVEL
}


def compressing(
    encode: Callable[[object], Cell],
    encode_text: Callable[[object], Cell],
    method: str,
    over: int,
    most: int,
) -> Callable[[object], Cell]:
    """Return an encoding that compresses, from those to the store's form and to ``Form.TEXT``.

    Values that take over ``most`` bytes stay as they are: they could not be read again. So do
    numbers, which increments change. **Raises** ConfigError where the method cannot be used.
    """
    compress = _compressor(method)
    trees = encode is not encode_text

    def encode_and_compress(value: object) -> Cell:
        if type(value) in _SCALARS:
            return encode(value)
        try:
            cell = encode_text(value)
        except ValueEncodingError:
            if trees:  # where sets nest less deep
                return encode(value)
            raise
        data, kind = cell
        length = _length(data)
        if not over < length <= most or isinstance(value, (int, float, Decimal)):
            return encode(value) if trees else cell
        packed = b"".join(compress(data))
        if trees and type(data) is str and kind is not None and _BYTES in data:  # longer as text
            length = size(encode(value).data)
        if 4 * len(packed) > 3 * length:
            return encode(value) if trees else cell
        name = kind or type(data).__name__
        return Cell(packed, f"{name}+{method}")

    return encode_and_compress


def expand(data: object, kind: object, most: int) -> tuple[Any, str | None] | None:
    """Return the data and kind, in ``Form.TEXT``, of a compressed cell; None: it is none.

    **Raises** ValueDecodingError for data that are damaged or expand to over ``most`` bytes, and
    where this process cannot read the method.
    """
    method = method_of(kind)
    if method is None:
        return None
    name = str(kind).partition("+")[0]
    if type(data) is not bytes:
        raise ValueDecodingError(f"not a stored {kind}: {shown(data)}")
    raw = _expanded(*_stream(method), data, most)
    if name == "bytes":
        return raw, None
    try:
        return raw.decode(), None if name == "str" else name
    except UnicodeDecodeError as error:
        raise ValueDecodingError(f"not a stored {kind}: {error}") from error


def expand_beginning(data: bytes, method: str, most: int) -> bytes:
    """Return the first bytes, at most so many, of what the beginning of compressed data holds.

    **Raises** ValueDecodingError as ``expand`` does, but for data that are not whole.

    >>> import zlib
    >>> expand_beginning(zlib.compress(b"to be or not to be")[:20], "zlib", 5)
    b'to be'
    """
    stream, failure = _stream(method)
    try:
        found: bytes = stream.decompress(data, most)
    except failure as error:
        raise ValueDecodingError(f"damaged compressed data: {error}") from error
    return found


def method_of(kind: object) -> str | None:
    """Return what data of this kind are compressed with; None: they are not.

    >>> method_of("json+zlib"), method_of("json")
    ('zlib', None)
    """
    return _KINDS.get(kind) if isinstance(kind, str) else None


def usable(method: str) -> str:
    """Return the method. **Raises** ConfigError where this process cannot compress with it."""
    _compressor(method)
    return method


# Methods


def _parts(data: Any) -> Iterator[bytes]:
    """Return text in UTF-8, or bytes, part by part."""
    for at in range(0, len(data), _PART):
        part = data[at : at + _PART]
        yield part.encode() if type(part) is str else part


def _length(data: object) -> int:
    """Return the bytes of text in UTF-8, or of bytes; 0 for anything else."""
    if type(data) is str and not data.isascii():
        return sum(map(len, _parts(data)))
    return len(data) if type(data) is str or type(data) is bytes else 0


@functools.cache
def _compressor(method: str) -> Callable[[Any], Iterable[bytes]]:
    """Return what compresses text or bytes, part by part."""
    if method == "zlib":
        import zlib

        return lambda data: _compressed(zlib.compressobj(_LEVEL["zlib"]), data)
    try:
        zstd = _zstd()
    except ImportError as error:
        raise ConfigError(f"compress=zstd: {_NO_ZSTD}") from error
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: _LEVEL[method], parameter.checksum_flag: 1}
    return lambda data: _compressed(zstd.ZstdCompressor(options=options), data)


def _compressed(stream: Any, data: Any) -> Iterator[bytes]:
    yield from map(stream.compress, _parts(data))
    yield stream.flush()


def _stream(method: str) -> tuple[Any, type[Exception]]:
    """Return what expands data part by part, and the error that it raises."""
    if method == "zlib":
        import zlib

        return zlib.decompressobj(), zlib.error
    try:
        zstd = _zstd()
    except ImportError as error:
        raise ValueDecodingError(f"a value that is compressed with zstd: {_NO_ZSTD}") from error
    return zstd.ZstdDecompressor(), zstd.ZstdError


_NO_ZSTD: Final = (
    "Python has it from 3.14 on, and this process has not: install it by `pip install 'lpcm[zstd]'`"
)


@functools.cache
def _zstd() -> Any:
    """Return the module, of the same names in Python and before it was there."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _expanded(stream: Any, failure: type[Exception], data: bytes, most: int) -> bytes:
    """Return what a stream holds, which must be whole and alone in the data."""
    found: list[bytes] = []
    left, at, full = most + 1, 0, False
    try:
        while not stream.eof and (full or at < len(data)):
            limit = min(left, 4 * _PART)
            if full:  # there is more, of what the stream was given before
                found.append(stream.decompress(getattr(stream, "unconsumed_tail", b""), limit))
            else:
                found.append(stream.decompress(data[at : at + _PART], limit))
                at += _PART
            full = len(found[-1]) == limit
            left -= len(found[-1])
            if not left:
                raise ValueDecodingError(
                    f"compressed data that expand to over {most:,} bytes: if they are your own, "
                    "configure a larger max_value"
                )
    except failure as error:
        raise ValueDecodingError(f"damaged compressed data: {error}") from error
    if not stream.eof or stream.unused_data or at < len(data):
        raise ValueDecodingError("damaged compressed data: more or less than one whole stream")
    return b"".join(found)

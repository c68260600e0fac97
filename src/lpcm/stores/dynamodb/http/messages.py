"""Messages of DynamoDB as bytes: JSON to a request's body, a reply's bytes to ``Reply``.

Knows no socket, clock or key, so that the blocking and the asyncio transport share it.
HTTP is parsed by httptools (llhttp), JSON by orjson; numbers stay the text that they
are in DynamoDB's JSON.

Invariant: ``Incoming.reply`` returns a ``Reply`` only for a complete reply whose length and
checksum are right and that can be read. Anything else is ``Malformed``: then it is unknown
whether the request was applied.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from lpcm.errors import ConfigError
from lpcm.stores.dynamodb.http.port import Reply

try:
    import httptools
    import orjson
except ImportError as missing:
    raise ConfigError(
        f"the DynamoDB store needs the package {missing.name}: pip install 'lpcm[dynamodb]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CHUNK", "LIMIT", "Incoming", "Malformed", "encode", "interpret"]

CHUNK = 64 * 1024
"""Bytes to read from a socket at once: from 128 KiB on malloc maps and unmaps each time."""


LIMIT = 64 << 20
"""Bytes of a reply, as it comes and inflated. The most that DynamoDB gives at once is 16 MB of
items (BatchGetItem; 4 MB for TransactGetItems, 1 MB for Query), whose JSON takes up to four times
as much: base64 a third more, a number of one digit 9 bytes for 2. (Lists of nothing but NULL or
BOOL, or text of nothing but control characters, take more: read those one by one.)"""
_HEADERS = 100
_HEAD = 64 << 10
"""The most bytes before the body; a reply of no more bytes in all is not checked."""
_PIECE = 512
"""The least average size of a body's pieces, in bytes."""


class Malformed(Exception):
    """These bytes are no whole, readable reply."""


encode: Callable[[Mapping[str, Any]], bytes] = orjson.dumps
"""Returns a request's body."""


class Incoming:
    """The replies that come over one connection, one after another."""

    __slots__ = (
        "_body", "_headers", "_parser", "_seen", "_status", "complete", "on_header", "received",
        "reusable",
    )  # fmt: skip

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._seen = self._headers
        # A method in C, since it is called for each header; the last header of a name is kept.
        self.on_header = self._headers.__setitem__
        self._parser = httptools.HttpResponseParser(self)
        self.expect()

    def expect(self) -> None:
        """Drop the last reply, and be ready for the next."""
        self._body: list[bytes] = []
        self._headers.clear()
        self._status = 0
        self.complete = False
        self.reusable = False
        """Whether the connection can be used again; valid once the reply is complete."""
        self.received = 0

    def feed(self, data: bytes | memoryview) -> bool:
        """Parse the data; tell whether the reply is complete. **Raises** Malformed."""
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__:
                raise error.__context__ from None  # a signal handler raised in a callback
            if not self.complete:
                raise Malformed(f"not HTTP: {error}") from error
        if self.received > _HEAD:
            self._check()
        return self.complete

    def _check(self) -> None:
        """Refuse a reply over the limits; small replies are not checked."""
        if len(self._headers) > _HEADERS or (self._status == 0 and not self._body):
            raise Malformed(f"over {_HEADERS} headers, or {_HEAD:,} bytes of them")
        if self.received > LIMIT:
            raise Malformed(f"a reply of over {LIMIT:,} bytes")
        if len(self._body) > _HEAD + self.received // _PIECE:
            raise Malformed("a reply in too many pieces")

    def header(self, name: bytes) -> bytes:
        """Return a header of the complete reply, by its name in lower case; empty: none."""
        return {key.lower(): value for key, value in self._seen.items()}.get(name, b"")

    def reply(self, sent: int) -> Reply:
        """Return the complete reply. **Raises** Malformed."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._status == 200 and self._seen.get(b"x-amz-crc32") == b"%d" % zlib.crc32(body):
            content = _content(body)  # DynamoDB's usual reply; None where it is compressed
            if content is not None:
                return Reply(200, content, "", sent, self.received)
        headers = {name.lower(): value for name, value in self._seen.items()}
        return interpret(self._status, headers, body, sent, self.received)

    # What follows is called by the parser.

    def on_message_begin(self) -> None:
        """Refuse to use the connection again where data follow the complete reply."""
        if self.complete:
            self.reusable = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, chunked or not."""
        if not self.complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Complete the reply, unless it only announces the final one (1xx)."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self._status = status
            self._seen = self._headers.copy()
            self.complete = True
            self.reusable = self._parser.should_keep_alive()


def interpret(
    status: int, headers: Mapping[bytes, bytes], body: bytes, sent: int, received: int
) -> Reply:
    """Return the reply; ``headers`` by names in lower case. **Raises** Malformed."""
    if len(body) > LIMIT:  # a boto3 client has no limit of its own
        raise Malformed(f"a reply of over {LIMIT:,} bytes")
    checksum = headers.get(b"x-amz-crc32")
    if checksum is not None and b"%d" % zlib.crc32(body) != checksum:
        raise Malformed("the reply's bytes do not have its checksum")
    if b"content-encoding" in headers:
        body = _decompress(body, headers[b"content-encoding"].lower())
    content = _content(body)
    if status == 200:
        if content is None:
            raise Malformed("a reply that is not JSON")
        return Reply(200, content, "", sent, received)
    error = _code(content, headers) or f"HTTP{status}"
    return Reply(status, content or {}, error, sent, received)


def _decompress(body: bytes, encoding: bytes) -> bytes:
    if encoding == b"identity":
        return body
    if encoding not in {b"gzip", b"x-gzip"}:
        raise Malformed(f"an unknown content encoding: {encoding!r}")
    inflating = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        inflated = inflating.decompress(body, LIMIT)
    except zlib.error as error:
        raise Malformed(f"not gzip: {error}") from error
    if inflating.unconsumed_tail:
        raise Malformed(f"a reply of over {LIMIT:,} bytes when inflated")
    if not inflating.eof:
        raise Malformed("not gzip: it is cut")
    return inflated


def _content(body: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _code(content: Mapping[str, Any] | None, headers: Mapping[bytes, bytes]) -> str:
    # com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException in the body, or in the
    # header ConditionalCheckFailedException:http://internal.amazon.com/...
    name = (content or {}).get("__type") or headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    return str(name).partition(":")[0].rpartition("#")[2]

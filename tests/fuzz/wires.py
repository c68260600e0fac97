"""Targets of the two wires: what a memcached and a server of HTTP say, and items in a table."""

# ruff: noqa: D401  # a target's first line says what it is given and what may come of it

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

from lpcm.caches.memcached import meta
from lpcm.errors import ValueDecodingError
from lpcm.stores.dynamodb import items as wire
from lpcm.stores.dynamodb.http.messages import Incoming, Malformed
from tests.fuzz.cases import TREE, Case, again
from tests.fuzz.chance import NUMBERS

if TYPE_CHECKING:
    from tests.fuzz.chance import Chance

__all__ = ["http_replies", "items", "meta_replies"]


# memcached


def _line(chance: Chance) -> bytes:
    number = chance.choice(
        (b"0", b"3", b"-1", b"1048577", b"9" * 30, b"9" * 5000, b"1_0", b" ", b"")
    )
    data = chance.raw()
    flags = b" ".join(
        chance.choice((b"f", b"c", b"s", b"t", b"W", b"Z", b"X", b"k", b"O"))
        + chance.choice((number, b"2"))
        for _ in range(chance.many(6))
    )
    return chance.choice(
        (
            b"VA %d f%d c7 t-1\r\n%b\r\n" % (len(data), len(data), data),
            b"HD c5\r\n",
            b"HD\r\n",
            b"EN\r\n",
            b"VA %b %b\r\n%b\r\n" % (number, flags, data),
            b"HD %b\r\n" % flags,
            b"MN\r\n",
            b"NS\r\n",
            b"SERVER_ERROR out of memory\r\n",
            b"CLIENT_ERROR bad\r\n",
            b"%b\r\n" % data,
            b"EX\r\n",
            b"NF c0\r\n",
            b"VERSION 1.6.%b\r\n" % number,
            b"STAT item_size_max %b\r\n" % number,
            b"END\r\n",
            b"ERROR\r\n",
            b"STAT cas_enabled yes\r\n",
        )
    )


def meta_replies(chance: Chance) -> Case:
    """Bytes of a memcached: out of step, or results that do not depend on how they were cut."""

    def fed(pieces: list[bytes]) -> object:
        parser = meta.Parser(1 << 20)
        results = []
        try:
            for piece in pieces:
                results += parser.feed(piece)
        except meta.OutOfStep:
            return None
        assert all(0 <= each.base <= max(each.size, 0) for each in results)
        return results, not parser.pieces

    def check(given: tuple[bytes, list[bytes]]) -> str:
        data, pieces = given
        whole = fed([data])
        parts = fed(pieces)
        assert whole is None or parts is None or whole == parts
        try:
            meta.bases(data, 3, 1 << 20)
            if meta.greeting_complete(data):
                assert isinstance(meta.server_checked(data), int | str)
        except meta.OutOfStep:
            return "out of step"
        return "out of step" if whole is None else "read"

    data = b"".join(_line(chance) for _ in range(chance.randrange(1, 8)))
    data = chance.damage(data) if chance.random() < 0.3 else data
    return Case((data, chance.cut(data)), check)


# DynamoDB


def http_replies(chance: Chance) -> Case:
    """Bytes of a server of HTTP: malformed, or a reply, however they were cut."""

    def fed(pieces: list[bytes]) -> object:
        incoming = Incoming()
        try:
            for piece in pieces:
                if incoming.feed(piece):
                    reply = incoming.reply(0)
                    return reply.status, json.dumps(reply.body), reply.error
        except Malformed:
            return None
        return "incomplete"

    def check(pieces: list[bytes]) -> str:
        whole, parts = fed([b"".join(pieces)]), fed(pieces)
        assert whole == parts or None in (whole, parts)
        return "malformed" if parts is None else "incomplete" if parts == "incomplete" else "read"

    body = chance.choice(
        (
            lambda: b'{"Item": {"v": {"N": "1"}}}',
            lambda: chance.json().encode(errors="replace"),
            chance.raw,
        )
    )()
    headers = [
        chance.choice(
            (
                lambda: f"x-amz-crc32: {zlib.crc32(body)}",
                lambda: f"x-amz-crc32: {chance.text()}",
                lambda: "Content-Encoding: gzip",
                lambda: "Content-Encoding: br",
                lambda: "Connection: close",
                lambda: f"{chance.text()}: {chance.text()}",
                lambda: f"Content-Length: {chance.choice(NUMBERS)}",
                lambda: "Upgrade: h2c",
                lambda: f"x-amzn-errortype: {chance.text()}:{chance.text()}#y",
            )
        )()
        for _ in range(chance.many(300))
    ]
    if chance.random() < 0.3:
        body = gzip.compress(body * chance.many(2000))
    if chance.random() < 0.3:
        headers.append("Transfer-Encoding: chunked")
        body = (
            b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chance.cut(body))
            + b"0\r\n\r\n"
        )
    else:
        headers.append(f"Content-Length: {len(body)}")
    status = chance.choice((200, 200, 400, 500, 100, 204, 304, 999, 0))
    head = "\r\n".join((f"HTTP/1.1 {status} OK", *headers)).encode(errors="replace")
    data = head + b"\r\n\r\n" + body
    return Case(chance.cut(chance.damage(data) if chance.random() < 0.4 else data), check)


def _attribute(chance: Chance, depth: int = 0) -> Any:
    tag = chance.choice(("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS", "Q", ""))
    if chance.random() < 0.05:
        return chance.tree()
    if chance.random() < 0.005:
        tag, payload = "NS", [str(n * (2**61 - 1)) for n in range(chance.randrange(20_000))]
        return {tag: payload}
    if chance.random() < 0.1:
        return {tag: chance.tree()}
    match tag:
        case "N":
            return {tag: chance.choice(("1", "0.5", chance.text(), "1E999999", "9" * 5000))}
        case "L" if depth < 40:
            return {tag: [_attribute(chance, depth + 1) for _ in range(chance.many(9))]}
        case "M" if depth < 40:
            names = ("a", "!tuple", "!set", "!int", chance.text())
            return {
                tag: {
                    chance.choice(names): _attribute(chance, depth + 1)
                    for _ in range(chance.many(5))
                }
            }
        case "NS":
            return {tag: [chance.choice(("1", "2", "1E400")) for _ in range(chance.many(9))]}
        case _:
            return {tag: chance.text()}


def items(chance: Chance) -> Case:
    """An attribute value of DynamoDB: refused, or a value that comes back when it is written."""

    def check(given: tuple[Any, str | None]) -> str:
        attribute, kind = given
        try:
            value = TREE.decode(wire.decode(attribute), kind)
        except ValueDecodingError:
            return "refused"
        return again(value, TREE)

    kind = chance.choice((None, None, None, "int", "float", "decimal", "json", ""))
    return Case((_attribute(chance), kind), check)

"""What is done with an input, and what may come of it: one function for each surface.

A target draws an input and returns it with the check of it. A check returns what became of the
input, in a word, and raises where that is neither the right value nor a documented error.
"""

# ruff: noqa: D401  # a target's first line says what it is given and what may come of it

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from lpcm import LPCMError
from lpcm.caches.memcached import servers
from lpcm.cli import words
from lpcm.cli.transfer import _parsed
from lpcm.coherence import payload
from lpcm.engine import config
from lpcm.engine.address import Address
from lpcm.errors import (
    ConfigError,
    KeyEncodingError,
    PickleRefused,
    ValueDecodingError,
    ValueEncodingError,
)
from lpcm.redact import redact
from lpcm.stores.dynamodb.http import endpoint
from lpcm.values import keys
from lpcm.values.codec import Codec, Form
from lpcm.values.json_text import from_json, printable, to_json
from tests.fuzz.cases import TEXT, TREE, Case, again
from tests.fuzz.rows import sqlite_rows
from tests.fuzz.wires import http_replies, items, meta_replies
from tests.strategies import as_map_key, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.chance import Chance

__all__ = ["TARGETS"]


# Keys


def encoded_keys(chance: Chance) -> Case:
    """Text from a store as a key: refused, or a key whose own text is read as the same."""

    def check(text: str) -> str:
        try:
            key = keys.decode(text)
        except ValueDecodingError:
            return "refused"
        try:
            text_again = keys.encode(key)
        except KeyEncodingError:  # KeyTooLong among them
            assert len(text) >= keys.LIMIT / 4 or not text.startswith("!") or key != key  # noqa: PLR0124
            return "no key of lpcm's"
        assert keys.decode(text_again) == key
        return "read"

    try:
        text = keys.encode(chance.value())
    except LPCMError:
        text = chance.text(60)
    head = chance.choice(("", "", *(f"!{tag}" for tag in "0123456789:?@z")))
    return Case(chance.damage(head + text) if chance.random() < 0.8 else text, check)


def python_keys(chance: Chance) -> Case:
    """A Python object as a key: refused, or read as the same key."""

    def check(key: Any) -> str:
        try:
            text = keys.encode(key)
        except KeyEncodingError:
            return "refused"
        assert len(text.encode()) <= keys.LIMIT
        assert keys.decode(text) == as_map_key(key)
        return "read"

    return Case(chance.value(), check)


# Values


def values(chance: Chance) -> Case:
    """A Python object as a value: refused, or read as the same, in each form."""

    def check(value: Any) -> str:
        assert again(value, TEXT) == again(value, TREE)
        return again(value, TEXT)

    return Case(chance.value(), check)


def json_cells(chance: Chance) -> Case:
    """JSON text in a file: refused, or a value that comes back when it is written."""

    def check(text: str) -> str:
        try:
            value = TEXT.decode(text, "json")
        except ValueDecodingError:
            return "refused"
        return again(value, TEXT)

    return Case(chance.json(), check)


def compressed_cells(chance: Chance) -> Case:
    """Bytes of a compressed kind, whole, damaged or a bomb: refused, or a value that comes back."""

    def check(given: tuple[bytes, str]) -> str:
        read: list[Any] = []
        for form in Form:
            try:
                read.append(Codec(form, 10**6).decode(*given))
            except ValueDecodingError:
                continue
        if not read:
            return "refused"
        assert same(*read)  # in one form as in the other
        return again(read[0], TEXT)

    name, method = chance.choice(("str", "bytes", "json")), chance.choice(("zlib", "zstd"))
    raw = chance.choice((lambda: chance.json().encode(errors="replace"), chance.raw))()
    data = TEXT.encoder(method, 1)((raw * chance.choice((1, 1, 2, 5000)))[: 2 * 10**6]).data
    data = chance.damage(data) if chance.random() < 0.5 else data
    return Case((data, f"{name}+{method}"), check)


def notation(chance: Chance) -> Case:
    """JSON text of a command line or an import, and what a terminal is shown of it."""

    def check(text: str) -> str:
        assert printable(text).isprintable()
        try:
            value = from_json(text)
        except ValueDecodingError:
            return "refused"
        try:
            written = to_json(value)
        except ValueEncodingError:
            return "read, and never written"
        assert same(from_json(written), value)
        assert same(from_json(printable(written)), value)
        return "read"

    return Case(chance.json(), check)


def payloads(chance: Chance) -> Case:
    """Bytes in a cache: unreadable, or an entry whose value is refused or read."""

    def check(given: tuple[bytes, bytes]) -> str:
        base, name = given
        try:
            entry = payload.unpack(base, name)
        except payload.Unreadable:
            return "unreadable"
        if entry is None:
            return "absent"
        for codec in (TEXT, TREE):
            try:
                codec.decode(entry.data, entry.kind)
            except ValueDecodingError:
                continue
        try:
            packed = payload.pack(entry, name)
        except payload.Unreadable:
            return "read, and never written"
        assert repr(payload.unpack(packed, name)) == repr(entry)
        return "read"

    mark = chance.choice(b"sjiIfFDbtxyzXYZA#?").to_bytes()
    data = chance.choice(
        (
            lambda: chance.json().encode(errors="replace"),
            chance.raw,
            lambda: chance.choice(TREES).encode(),
            lambda: chance.text().encode(errors="replace"),
        )
    )()
    base = mark + chance.randbytes(16) + data
    name = chance.raw() if chance.random() < 0.2 else b""
    if name:
        base = b"#" + len(name).to_bytes(4, "little") + name + base
    return Case((chance.damage(base) if chance.random() < 0.5 else base, name), check)


TREES = ("1E999999", "9" * 100_000, "0", "-1", "nan", "1e400", '{"!set":[1]}', "[[1]]")


# Words


def urls(chance: Chance) -> Case:
    """A URL: refused as a ConfigError, or taken; shown without a failure in any case."""

    def check(url: str) -> str:
        redact(url)
        try:
            endpoint.parse(url, "eu-west-1")
        except ConfigError:
            pass
        try:
            found = config.parse(url)
            repr(found)
            for part in (found, found.cache):
                if part is not None and part.scheme == "memcached":
                    for host, port in servers.parse(part.path)[0]:
                        assert host
                        assert 0 < port < 65536
                        host.encode("idna")
        except ConfigError:
            return "refused"
        return "taken"

    scheme = chance.choice(
        (
            "memcached://",
            "memcached+unix://",
            "memory://",
            "sqlite://",
            "dynamodb://",
            "http://",
            "://",
            "",
            "Memcached://",
            "memcached+tls://",
        )
    )
    host = chance.choice(
        (
            "h",
            "h:1",
            "[::1]",
            "[::1]:11211,h2",
            "me:secret@h",
            "/a/b",
            "[fe80::1%25eth0]",
            "a..b",
            "٣:٣",
            chance.text(),
            "x" * 70,
            "[" * 3,
            "h:" + "9" * 5000,
            "/" + "a/" * 3000,
            "%00",
            "h,h",
        )
    )
    options = "&".join(
        chance.choice(
            (
                "ttl",
                "timeout",
                "cache",
                "cache_ttl",
                "namespace",
                "region",
                "endpoint",
                "x",
                "%74tl",
            )
        )
        + "="
        + chance.choice(
            (
                "60",
                "0",
                "nan",
                "1e999",
                "none",
                "memcached://[::1],h",
                "eu-west-1",
                chance.text(),
                "9" * 5000,
                "%",
                "http://h",
                "http://a..b",
            )
        )
        for _ in range(chance.many(5))
    )
    url = f"{scheme}{host}{'?' if options else ''}{options}"
    return Case(chance.damage(url) if chance.random() < 0.4 else url, check)


def command_lines(chance: Chance) -> Case:
    """A word of a command line: a usage error, refused, or a value that can be shown."""

    def check(word: str) -> str:
        try:
            value = words.parse(word, text=False)
            assert words.shown(value).isprintable()
        except (click.UsageError, ValueDecodingError):
            return "refused"
        except ValueEncodingError:
            return "read, and never written"
        return "read"

    return Case(chance.json() if chance.random() < 0.5 else chance.text(40), check)


def imports(chance: Chance) -> Case:
    """A line of an import: used, or named and left out."""

    def check(line: str) -> str:
        bad: list[str] = []
        lines = list(_parsed([line], None, bad))
        assert len(lines) + len(bad) == (not line.isspace())
        return "used" if lines else "named"

    fields = {
        "map": chance.choice(("m", "", 7, chance.text(300))),
        "key": chance.tree(),
        "value": chance.tree(),
        "expires": chance.choice(
            (None, 1e9, 1e300, True, "x", 10**400, chance.uniform(-1e16, 1e16))
        ),
    }
    for name in [*fields]:
        if chance.random() < 0.1:
            del fields[name]
    line = json.dumps(fields)
    return Case(chance.damage(line) if chance.random() < 0.4 else line, check)


def addresses(chance: Chance) -> Case:
    """The address in a pickled map: refused, or one that packs again."""

    def check(fields: Any) -> str:
        try:
            found = Address.unpack(fields)
        except PickleRefused:
            return "refused"
        assert Address.unpack(found.pack()).pack() == found.pack()
        return "read"

    fields: Any = {"scheme": "sqlite", "path": "/srv/shop.sqlite3", "ttl": 60.0, "alias": "default"}
    for _ in range(chance.many(6)):
        name = chance.choice(
            (*fields, "cache", "strict", "withheld", "process", "store_options", "timeout", "x")
        )
        fields[name] = chance.choice(
            (
                chance.tree,
                chance.number,
                lambda: {"scheme": "memcached", "path": "h", "options": {}},
                lambda: ("password of the store",),
                lambda: "memcached",
                lambda: "memory",
                chance.text,
            )
        )()
    return Case(fields if chance.random() < 0.95 else chance.tree(), check)


TARGETS: dict[str, Callable[[Chance], Case]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        encoded_keys,
        python_keys,
        values,
        json_cells,
        compressed_cells,
        notation,
        payloads,
        meta_replies,
        http_replies,
        items,
        sqlite_rows,
        urls,
        command_lines,
        imports,
        addresses,
    )
}

"""Compressed values: the same comes back; what is small, a number or no smaller stays as it is."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lpcm.errors import ConfigError, ValueDecodingError
from lpcm.values import compress, limits
from lpcm.values.codec import Codec, Form
from tests.strategies import same, values

zstd = compress._zstd()
FORMS = [Codec(Form.TEXT), Codec(Form.TREE)]
both_forms = pytest.mark.parametrize("codec", FORMS, ids=["text", "tree"])
both_methods = pytest.mark.parametrize("method", ["zlib", "zstd"])
LARGE = [
    "to be or not to be " * 100,
    "à la carte " * 200,
    b"\0\1" * 2000,
    [{"role": "user", "content": "hello", "time": 1764165000.25}] * 60,
    ({"a": Decimal("1.50")},) * 100,
    {"b": [b"bytes"] * 500, "!tag": {1, "mixed"}},
    {number: str(number) for number in range(400)},
    set(range(1000)),
]


@both_forms
@both_methods
@given(value=values())
def test_what_goes_in_comes_back(codec, method, value):
    """Any value, however small, is the same again, type and all; a map without the option reads."""
    cell = codec.encoder(method, 1)(value)
    assert same(codec.decode(*cell), codec.decode(*codec.encode(value)))


@both_forms
@both_methods
@pytest.mark.parametrize("value", LARGE, ids=lambda value: type(value).__name__)
def test_what_is_large_is_bytes_of_a_kind(codec, method, value):
    """A value over the threshold is stored as bytes, smaller by a quarter, of a kind of its own."""
    data, kind = codec.encoder(method, 1024)(value)
    name = {str: "str", bytes: "bytes"}.get(type(value), "json")
    assert (type(data), kind) == (bytes, f"{name}+{method}")
    text, _ = FORMS[0].encode(value)
    assert 4 * len(data) <= 3 * len(text if type(text) is bytes else text.encode())
    assert same(codec.decode(data, kind), value)


@both_forms
@both_methods
@given(value=values())
def test_what_is_small_is_stored_as_without(codec, method, value):
    """A value of up to so many bytes has the codec's own form."""
    assert repr(codec.encoder(method, 10**6)(value)) == repr(codec.encode(value))


@both_forms
@both_methods
@pytest.mark.parametrize("text", ["a" * 1024, "é" * 512, b"a" * 1024, ["a" * 1020]])
def test_the_threshold(codec, method, text):
    """Compressed is what takes more bytes than the threshold, in UTF-8 or as JSON."""
    encode = codec.encoder(method, 1024)
    assert encode(text) == codec.encode(text)
    more = [text[0] + "a"] if type(text) is list else text + text[:1]
    assert type(encode(more).data) is bytes
    assert encode(more).kind is not None


@both_forms
@both_methods
def test_what_gets_no_smaller_stays(codec, method):
    """A value that would lose less than a quarter of its size is stored as it is."""
    noise = random.Random(7).randbytes(4000)
    text = "".join(map(chr, random.Random(7).choices(range(33, 127), k=4000)))
    for value in (noise, text, [text], {"a": noise}, (noise,)):
        assert codec.encoder(method, 1024)(value) == codec.encode(value)


@both_forms
@both_methods
def test_numbers_stay(codec, method):
    """A number is never compressed, however many digits it has."""
    for number in (7, 1.5, Decimal(1) / 3, 16**5000, Decimal(10**2000)):
        assert codec.encoder(method, 1)(number) == codec.encode(number)


@both_forms
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("789c8b36d4a956522c4e2d51b28a368aad8d0500273b04e3", "json+zlib"),
        ("28b52ffd24108100005b312c7b2221736574223a5b325d7d5d34ed4da1", "json+zstd"),
    ],
)
def test_the_format_is_frozen(codec, data, kind):
    """What was written once is read by every later version."""
    assert codec.decode(bytes.fromhex(data), kind) == [1, {2}]


# Strangers' data


def streams(raw: bytes) -> list[tuple[str, bytes]]:
    return [("zlib", zlib.compress(raw)), ("zstd", zstd.compress(raw))]


@both_forms
@both_methods
@given(value=values(), chance=st.randoms(use_true_random=False))
def test_damage_is_refused_or_read(codec, method, value, chance):
    """Damaged data are a ValueDecodingError: never another value, and no other exception."""
    data, kind = codec.encoder(method, 1)(["padding " * 20, value])
    assume(compress.method_of(kind) == method)  # else it would have been no smaller
    at = chance.randrange(len(data))
    for damaged in (
        data[:at],
        data + b"\0",
        data[:at] + bytes([data[at] ^ (1 + chance.randrange(255))]) + data[at + 1 :],
    ):
        try:
            read = codec.decode(damaged, kind)
        except ValueDecodingError:
            continue
        assert same(read, codec.decode(data, kind))  # a bit of the header that changes nothing


@both_forms
@pytest.mark.parametrize("name", ["str", "bytes", "json"])
def test_a_bomb_is_refused(codec, name):
    """Data that expand to over ``max_value`` bytes are refused before they fill the memory."""
    small = Codec(codec.form, 10**6)
    for method, data in streams(bytes(200 * 10**6)):
        tracemalloc.start()
        with pytest.raises(ValueDecodingError, match="max_value"):
            small.decode(data, f"{name}+{method}")
        assert tracemalloc.get_traced_memory()[1] < 4 * 10**6
        tracemalloc.stop()
        with pytest.raises(ValueDecodingError, match=f"{limits.EXPANDED:,}"):
            codec.decode(data, f"{name}+{method}")


@both_forms
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("text", "str+zlib"),
        (None, "json+zstd"),
        ([b""], "bytes+zlib"),
        (b"", "bytes+zlib"),
        (b"", "str+zstd"),
        (zlib.compress(b"\xff"), "str+zlib"),
        (zlib.compress(b"\xff"), "json+zlib"),
        (zlib.compress(b"[1"), "json+zlib"),
        (zlib.compress(b'{"!set":[[1]]}'), "json+zlib"),
        (zlib.compress(b"[" * 100_000), "json+zlib"),
        (zlib.compress(b"x"), "bytes+zstd"),
        (zstd.compress(b"x"), "bytes+zlib"),
        (zstd.compress(b"x") * 2, "bytes+zstd"),
        (zlib.compress(b"x"), "zlib"),
        (zlib.compress(b"x"), "json+gzip"),
        (zlib.compress(b"x"), b"bytes+zlib"),
        (zlib.compress(b"x"), ["bytes+zlib"]),
        (zlib.compress(zlib.compress(b"x")), "bytes+zlib+zlib"),
    ],
)
def test_what_lpcm_did_not_write_is_refused(codec, data, kind):
    """Data of other types, damaged streams and unknown kinds are a ValueDecodingError."""
    with pytest.raises(ValueDecodingError):
        codec.decode(data, kind)


@both_forms
@both_methods
def test_over_max_value_nothing_is_compressed(codec, method):
    """A value that no reader would expand is left as it is, for the store to take or refuse."""
    small = Codec(codec.form, 5000)
    encode = small.encoder(method, 1024)
    assert type(encode("a" * 5000).data) is bytes
    assert encode("a" * 5001) == codec.encode("a" * 5001)


@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_a_beginning(method):
    """The first bytes are had from the first bytes, and no more are expanded than asked for."""
    value = "to be or not to be " * 500_000
    data, _ = FORMS[0].encoder(method, 1)(value)
    for most in (1, 1000, 65_536):
        assert compress.expand_beginning(data, method, most) == value[:most].encode()
        assert 0 < len(compress.expand_beginning(data[:500], method, most)) <= most
    with pytest.raises(ValueDecodingError, match="damaged"):
        compress.expand_beginning(b"\xff" * 100, method, 10)


# Without zstd


def test_without_zstd(monkeypatch):
    """A process without zstd says so, and names the extra, when it is to write or read so."""

    def missing():
        raise ImportError

    data, kind = FORMS[0].encoder("zstd", 1)("a" * 100)
    compress._compressor.cache_clear()
    monkeypatch.setattr(compress, "_zstd", missing)
    with pytest.raises(ConfigError, match=r"lpcm\[zstd\]"):
        FORMS[0].encoder("zstd", 1)
    with pytest.raises(ValueDecodingError, match=r"lpcm\[zstd\]"):
        FORMS[0].decode(data, kind)
    assert FORMS[0].decode(*FORMS[0].encoder("zlib", 1)("a" * 100)) == "a" * 100

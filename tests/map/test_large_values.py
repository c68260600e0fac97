"""Values of many MB: what they take of memory beside themselves, and how text is searched."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpcm import LPCM, Engine, ValueDecodingError
from lpcm.values import compact_json, limits
from lpcm.values.codec import Codec, Form

SIZE = 4_000_000
WORDS = [f"{number * 7919:x}" for number in range(500)]
TEXT = " ".join(WORDS[number * number % 499] for number in range(1_100_000))[:SIZE]
VALUES = {"text": TEXT, "bytes": TEXT.encode(), "document": {"n": 0, "s": TEXT}}


def peak(work):
    """Return what an operation takes of memory at most, as a multiple of the value."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1] / SIZE, result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compress", ["none", "zlib", "zstd"])
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_memory_of_a_reader_and_a_writer(tmp_path, store, name, compress):
    """Either takes at most twice the value; text and bytes that are not compressed, no copy."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/m?synchronous=normal"}[store]
    with Engine.open(url, compress=compress) as engine:
        m = LPCM("m", using=engine, live=False)
        m["first"] = "a" * 2000
        assert m["first"] == "a" * 2000
        value = VALUES[name]
        written, _ = peak(lambda: m.set("k", value))
        read, found = peak(lambda: m["k"])
        assert found == value
        plain = compress == "none" and name != "document"
        assert written < (0.1 if plain else 2.1)
        assert read < (1.1 if plain else 2.1)


def item(m):
    m["document"]["x"] = 1


def number(m):
    m["document"]["n"] += 1


def longer_text(m):
    m["text"] += "more"


def longer_bytes(m):
    m["bytes"] += b"more"


@pytest.mark.parametrize(
    ("change", "most"), [(item, 5.1), (number, 5.1), (longer_text, 2.1), (longer_bytes, 2.1)]
)
def test_memory_of_a_change(tmp_path, change, most):
    """A change takes four times a document, beside the copy at hand; text and bytes, once."""
    with Engine.open(f"sqlite:///{tmp_path}/m?synchronous=normal&near_cache=0") as engine:
        m = LPCM("m", using=engine)
        m.update(VALUES)
        m["small"] = {"x": 1}
        m["small"]["x"] += 1
        taken, _ = peak(lambda: change(m))
        assert taken < most


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_parts_are_no_limit(form, method):
    """What is compressed in parts is whole again, whatever characters stand where one ends."""
    codec = Codec(form)
    encode = codec.encoder(method, 1024)
    for text in ("é漢😀x" * 200_000, "x" + "😀" * 300_000, TEXT):
        cell = encode(text)
        assert cell.kind == f"str+{method}"
        assert codec.decode(*cell) == text
        for damaged in (cell.data[:-1], cell.data + b"x", cell.data + b"x" * 2**18):
            with pytest.raises(ValueDecodingError):
                codec.decode(damaged, cell.kind)


@given(
    before=st.text("0123456789x,", max_size=9000),
    digits=st.integers(limits.DIGITS - 2, limits.DIGITS + 9000),
    after=st.text("0123456789x,", max_size=50),
)
def test_a_long_number_is_seen(before, digits, after):
    """Where a run of digits is too long for a number, it is found, wherever it stands."""
    if digits > limits.DIGITS:
        assert compact_json._may_be_long(before + "7" * digits + after)


def test_a_long_number_is_refused_behind_much_text():
    """An int of too many digits is refused behind megabytes of text, where Python has no limit."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        for digits in (limits.DIGITS, limits.DIGITS + 2):
            text = f'["{TEXT}",{"7" * digits}]'
            if digits == limits.DIGITS:
                assert Codec(Form.TEXT).decode(text, "json")[1] == int("7" * digits)
            else:
                with pytest.raises(ValueDecodingError):
                    Codec(Form.TEXT).decode(text, "json")
    finally:
        sys.set_int_max_str_digits(before)


def test_text_is_searched_once_at_most():
    """Of text without long runs of digits only one character in thousands is looked at."""
    looked = []

    class Seen(str):
        __slots__ = ()

        def __getitem__(self, at):
            found = str.__getitem__(self, at)
            looked.append(len(found))
            return found

    assert not compact_json._may_be_long(Seen(TEXT))
    assert sum(looked) < 2 * len(TEXT)
    looked.clear()
    assert not compact_json._may_be_long(Seen("x" * SIZE))
    assert sum(looked) <= SIZE / limits.DIGITS + 1

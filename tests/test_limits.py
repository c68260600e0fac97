"""What others wrote costs time and memory in proportion to its length, or is refused."""

from __future__ import annotations

import gc
import sys
import time
import zlib
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from lpcm.coherence import payload
from lpcm.engine.address import Address
from lpcm.engine.config import parse
from lpcm.errors import (
    ConfigError,
    KeyEncodingError,
    KeyTooLong,
    PickleRefused,
    ValueDecodingError,
    ValueEncodingError,
)
from lpcm.map import set_map
from lpcm.ports import Stored
from lpcm.redact import redact, redact_words
from lpcm.stores.dynamodb import items
from lpcm.values import arithmetic, json_text, keys, limits
from lpcm.values.codec import Codec, Form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT, TREE = Codec(Form.TEXT), Codec(Form.TREE)
PRIME = 2**61 - 1  # every multiple of it has the hash 0
DIGITS = "9" * 1_000_000


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail what takes longer of the processor's time, without collecting others' garbage.

    After thousands of tests one collection of all objects takes most of a second.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        begun = time.process_time()
        yield
        took = time.process_time() - begun
    finally:
        if collects:
            gc.enable()
    assert took < seconds


@pytest.fixture(params=[4300, 0], ids=["python's limit", "no limit"])
def digits_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Python's limit on the digits of an int as it is by default, or lifted."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(request.param)
    yield
    sys.set_int_max_str_digits(before)


HUGE: dict[str, Callable[[], object]] = {
    "an exponent in DynamoDB": lambda: items.decode({"N": "1E999999"}),
    "a negative exponent in DynamoDB": lambda: items.decode({"N": "1E-999999"}),
    "digits in DynamoDB": lambda: items.decode({"N": DIGITS}),
    "an exponent in a set": lambda: items.decode({"NS": ["1", "1E999999"]}),
    "an exponent for an int": lambda: TREE.decode(Decimal("1E999999"), "int"),
    "digits in a file": lambda: TEXT.decode(f"[{DIGITS}]", "json"),
    "digits behind shorter ones": lambda: TEXT.decode(f"[{'9' * 4301},{DIGITS}]", "json"),
    "a timedelta": lambda: TEXT.decode(f'{{"!timedelta":"{DIGITS}"}}', "json"),
    "a version": lambda: TEXT.decode(f'{{"!@Name/{DIGITS}":1}}', "json"),
    "digits on the command line": lambda: json_text.from_json(DIGITS),
    "digits in a key": lambda: keys.decode(f"!1b{DIGITS}"),
    "digits in a key's tuple": lambda: keys.decode(f"!:!1b{DIGITS} "),
}


@pytest.mark.usefixtures("digits_limit")
@pytest.mark.parametrize("read", HUGE.values(), ids=HUGE)
def test_a_number_is_not_worked_on_before_its_size_is_known(read: Callable[[], object]):
    """A number over the limit is refused within a moment, whatever limit the process has."""
    with within(0.5), pytest.raises(ValueDecodingError):
        read()


@pytest.mark.usefixtures("digits_limit")
@pytest.mark.parametrize("mark", [b"i", b"I", b"t"])
def test_nor_is_one_in_a_cache(mark: bytes):
    """Digits over the limit in a cached item make the item unreadable, within a moment."""
    base = mark + bytes(16) + DIGITS.encode()
    with within(0.5), pytest.raises(payload.Unreadable):
        payload.unpack(base)


@pytest.mark.usefixtures("digits_limit")
def test_an_int_at_the_limit_is_readable():
    """The longest int that is read as JSON is read as an int by itself, too."""
    for number in (10**limits.DIGITS - 1, 1 - 10**limits.DIGITS):
        entry = payload.unpack(payload.pack(Stored(number, None, 7, None)))
        assert entry == Stored(number, None, 7, None)


@pytest.mark.usefixtures("digits_limit")
@pytest.mark.parametrize("codec", [TEXT, TREE])
def test_an_int_of_any_size_comes_back(codec: Codec):
    """An int of a million decimal digits is a value as any other, in time for its length."""
    number = 7 << 3_321_928
    with within(1):
        assert codec.decode(*codec.encode([number, -number])) == [number, -number]
        assert json_text.from_json(json_text.to_json(number)) == number


def test_digits_inside_text_are_no_number():
    """Text that looks like a long number among values is text."""
    value = {"pi": "3" * 5000, "n": 7}
    assert TEXT.decode(*TEXT.encode(value)) == value


def test_a_decimal_keeps_its_exponent():
    """A Decimal with a huge exponent is a value: nothing writes its digits out."""
    number = Decimal("1E+999999")
    with within(0.1):
        assert TEXT.decode(*TEXT.encode(number)) == number
        assert json_text.from_json('{"!decimal":"1E+999999"}') == number


def test_a_decimal_of_many_digits_is_no_key():
    """A Decimal with millions of digits is refused as a key within a moment."""
    number = Decimal("1." + "3" * 5_000_000)
    with within(0.5), pytest.raises(KeyTooLong):
        keys.encode(number)
    assert keys.encode(Decimal("0.50" + "0" * 100_000)) == keys.encode(0.5)


@pytest.mark.parametrize(
    ("value", "delta"),
    [(1 << 3_000_000, Decimal(1)), (Decimal(1), 1 << 3_000_000), (Decimal("1E+999999"), 1)],
    ids=["stored int", "delta int", "stored exponent"],
)
def test_a_sum_of_too_many_digits_fails_at_once(value: object, delta: object):
    """A sum that is not exact in 50,000 digits is refused before anything is converted."""
    with within(0.1), pytest.raises(ArithmeticError):
        arithmetic.add(value, delta)


def test_a_decimal_is_made_of_text_alone():
    """Lists, which Decimal takes too, are not what the codec wrote."""
    with pytest.raises(ValueDecodingError):
        json_text.from_json('{"!decimal": [0, [1], 2]}')


FLOODS: dict[str, Callable[[], object]] = {
    "set": lambda: TEXT.decode(f'{{"!set":{_multiples(25_000)}}}', "json"),
    "frozenset": lambda: TEXT.decode(f'{{"!frozenset":{_multiples(25_000)}}}', "json"),
    "dict": lambda: TEXT.decode(
        f'{{"!dict":[{",".join(f"[{n * PRIME},1]" for n in range(25_000))}]}}', "json"
    ),
    "UUIDs": lambda: TEXT.decode(
        '{"!set":[%s]}'  # noqa: UP031  # braces of JSON
        % ",".join(f'{{"!uuid":"{UUID(int=n * PRIME)}"}}' for n in range(5000)),
        "json",
    ),
    "number set": lambda: items.decode({"NS": [str(n * PRIME) for n in range(16_000)]}),
    "set on the command line": lambda: json_text.from_json(f'{{"!set":{_multiples(25_000)}}}'),
}


def _multiples(count: int) -> str:
    return f"[{','.join(str(number * PRIME) for number in range(count))}]"


@pytest.mark.parametrize("read", FLOODS.values(), ids=FLOODS)
def test_members_with_one_hash_are_refused(read: Callable[[], object]):
    """A set or dict made to be slow is refused before it is built."""
    with within(0.7), pytest.raises(ValueDecodingError, match="have one hash"):
        read()


@pytest.mark.parametrize(
    "value", [{n * PRIME for n in range(300)}, {n * PRIME: 1 for n in range(300)}]
)
def test_what_would_be_refused_is_not_written(value: object):
    """What would be refused on reading is refused on writing."""
    for codec in (TEXT, TREE):
        with pytest.raises(ValueEncodingError, match=r"value\['a'\] would take too long to read"):
            codec.encode({"a": value})


@pytest.mark.parametrize(
    "text",
    ["!40001-01-01T00:00:00+14:00", "!52026-05-01T10:00:00+02:00", "!612:00:00+00:00",
     "!623:05:00-04:30:09.213693"],
)  # fmt: skip
def test_a_key_is_what_its_tag_says(text: str):
    """A key with an offset under the tag of those that have none is refused."""
    with pytest.raises(ValueDecodingError):
        keys.decode(text)


def test_large_sets_are_no_flood():
    """Sets and dicts of any size come back, those with some equal hashes too."""
    pairs = {(sign, number) for sign in (-1, -2) for number in range(5000)}  # hash(-1) is hash(-2)
    for value in (pairs, set(range(10_000)), {n * PRIME for n in range(limits.ALIKE)}):
        for codec in (TEXT, TREE):
            assert codec.decode(*codec.encode(value)) == value


def test_nesting_ends_in_an_error_of_its_own():
    """JSON that nests too deep, tags or not, on the command line, in keys and in items."""
    item: dict[str, object] = {"N": "1"}
    for _ in range(5000):
        item = {"L": [item]}
    for read in (
        lambda: json_text.from_json("[" * 600 + "]" * 600),
        lambda: json_text.from_json("[" * 100_000),
        lambda: json_text.from_json('{"!tuple":[' * 600 + "]}" * 600),
        lambda: keys.decode("!:" * 40 + " " * 39),
        lambda: items.decode(item),
    ):
        with pytest.raises(ValueDecodingError):
            read()


UNENDING = {
    "escaped quotation marks": '"[.\\' * 90_000,
    "strings with brackets": '"[' * 90_001,
    "escaped backslashes": '"' + "[\\\\" * 90_000,
    "escaped ends of lines": '"[\\\n' * 90_000,
}


@pytest.mark.parametrize("text", UNENDING.values(), ids=UNENDING)
@pytest.mark.parametrize("codec", [TEXT, TREE], ids=["text", "tree"])
def test_a_string_that_never_ends_is_looked_through_once(codec: Codec, text: str):
    """Brackets in it do not nest, and no quotation mark in it is tried as another beginning."""
    stored = zlib.compress(text.encode())
    with within(0.5), pytest.raises(ValueDecodingError):
        codec.decode(stored, "json+zlib")


HUGE_INT = 1 << 20_000  # of more digits than Python writes
BAD = {"x": [HUGE_INT]}
SHOWN: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "an increment": (TypeError, lambda: arithmetic.add("1", HUGE_INT)),
    "an increment of a list": (TypeError, lambda: arithmetic.add([HUGE_INT], 1)),
    "no increment": (TypeError, lambda: arithmetic.check_delta([HUGE_INT])),
    "a prefix": (KeyEncodingError, lambda: keys.prefix_range(HUGE_INT)),
    "a set": (TypeError, lambda: set_map._as_set(HUGE_INT)),
    "an address": (PickleRefused, lambda: Address.unpack({"scheme": HUGE_INT, "path": "/a"})),
    "an option of an address": (
        PickleRefused,
        lambda: Address.unpack({"scheme": "memory", "path": "", "store_options": BAD}),
    ),
    "an option": (ConfigError, lambda: parse("memory://", {"ttl": HUGE_INT})),
}


@pytest.mark.parametrize(("error", "fail"), SHOWN.values(), ids=SHOWN)
def test_a_message_shows_no_int_that_python_does_not(
    error: type[Exception], fail: Callable[[], object]
):
    """An error over an int of any size is the error that it would be over a small one."""
    with pytest.raises(error) as raised:
        fail()
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("show", [redact, redact_words])
@pytest.mark.parametrize(
    "piece", ["[", "-[", "[:", "@", "%40", ":", "%3a", "a:", "://", "%25", "key=", "?", "a%", "]["]
)
def test_what_hides_passwords_reads_text_once(show: Callable[[str], str], piece: str):
    """Looking for passwords takes time in proportion to the text, whatever it is made of."""
    for text in (piece * 50_000, "http://" + piece * 50_000):
        with within(0.5):
            show(text)

"""Each kind of bad input is an error of its own, in one clear line, and nothing is written."""

import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

import lpcm
from lpcm import LPCM, Engine

LIMIT = 100_000
DEEP = {"a": 1}
for _ in range(40):
    DEEP = {"a": DEEP}
NAN = float("nan")

# What is done, the error's class, and words of its message.
BAD = {
    "nan as key": (lambda m: m.set(NAN, 1), lpcm.KeyEncodingError, "NaN"),
    "nan inside a key": (lambda m: m.set(("a", NAN), 1), lpcm.KeyEncodingError, "key[1]"),
    "a Decimal NaN as key": (lambda m: m.set(Decimal("NaN"), 1), lpcm.KeyEncodingError, "NaN"),
    "a long key": (lambda m: m.set("k" * 1025, 1), lpcm.KeyTooLong, "1025 bytes"),
    "a huge number as key": (lambda m: m.set(10**2000 + 1, 1), lpcm.KeyTooLong, "1024"),
    "a list as key": (lambda m: m.set([1], 1), lpcm.KeyEncodingError, "list"),
    "an object as key": (lambda m: m.set(object(), 1), lpcm.KeyEncodingError, "object"),
    "a bad key in a batch": (lambda m: m.update({"new": 1, NAN: 2}), lpcm.KeyEncodingError, "NaN"),
    "an object as value": (lambda m: m.set("new", object()), lpcm.ValueEncodingError, "object"),
    "an object inside a value": (
        lambda m: m.set("new", {"a": [1, object()]}),
        lpcm.ValueEncodingError,
        "value['a'][1]",
    ),
    "a lone surrogate": (lambda m: m.set("new", "\ud800"), lpcm.ValueEncodingError, "surrogate"),
    "a bad value in a batch": (
        lambda m: m.set_many({"new": 1, "newer": [object()]}),
        lpcm.ValueEncodingError,
        "value[0]",
    ),
    "a deep value": (lambda m: m.set("new", DEEP), lpcm.ValueEncodingError, "deep"),
    "increment of text": (lambda m: m.increment("text"), TypeError, "str"),
    "increment by text": (lambda m: m.increment("number", "1"), TypeError, "str '1'"),
    "increment of a float by a Decimal": (
        lambda m: m.increment("float", Decimal(1)),
        TypeError,
        "float",
    ),
    "a negative ttl": (lambda m: m.set("new", 1, ttl=-1), ValueError, "positive"),
    "a ttl of 0": (lambda m: m.set("new", 1, ttl=0), ValueError, "positive"),
    "a ttl of nan": (lambda m: m.set("new", 1, ttl=NAN), ValueError, "positive"),
    "a ttl of text": (lambda m: m.set("new", 1, ttl="60"), TypeError, "seconds"),
    "a negative expiry": (lambda m: m.expire("number", -1), ValueError, "positive"),
    "a value too large": (
        lambda m: m.set("new", "x" * (LIMIT + 1)),
        lpcm.ValueTooLarge,
        "100,001 bytes",
    ),
    "an etag of before": (lambda m: m.replace("number", 2, if_etag=1), lpcm.Conflict, "etag 1"),
    "what is not there": (lambda m: m.replace("absent", 2), KeyError, "absent"),
    "pairs that are none": (lambda m: m.update([("new", 1), ("a", "b", "c")]), ValueError, "#1"),
}
THERE = {"text": "seven", "number": 7, "float": 0.5}


@pytest.fixture(params=["memory", "sqlite"])
def engine(request, tmp_path):
    """Yield an engine on each store."""
    path = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/m.sqlite3"
    engine = Engine.open(path, max_value=LIMIT)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", BAD)
def test_bad_input(engine, name):
    """It raises its own error, which names what is wrong; no entry comes, goes or changes."""
    operation, error, words = BAD[name]
    m = LPCM("m", using=engine)
    m.update(THERE)
    before = [m.entry(key) for key in THERE]
    with pytest.raises(error) as caught:
        operation(m)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert m.copy() == THERE
    assert [m.entry(key) for key in THERE] == before


def test_the_errors_are_distinct():
    """Whoever catches lpcm's own errors gets all but those that a dict or Python raises."""
    own = {error for _, error, _ in BAD.values() if issubclass(error, lpcm.LPCMError)}
    assert {error for _, error, _ in BAD.values()} - own == {TypeError, ValueError, KeyError}
    assert len(own) == 5


URLS = {
    "an unknown scheme": ("redis://localhost", lpcm.ConfigError, "memory, sqlite"),
    "an unknown option": ("memory://?tll=60", lpcm.ConfigError, "'tll'"),
    "a bad option": ("sqlite:///m.sqlite3?synchronous=off", lpcm.ConfigError, "full or normal"),
    "no URL": ("m.sqlite3", lpcm.ConfigError, "not a store URL"),
    "no file": ("sqlite://", lpcm.ConfigError, "no file"),
    "a directory": ("sqlite:///folder", lpcm.StoreUnavailable, "is a directory"),
    "no directory": ("sqlite:///no/m.sqlite3", lpcm.StoreUnavailable, "create it first"),
    "a text file": ("sqlite:///notes.txt", lpcm.StoreCorrupt, "choose another file name"),
    "another's database": ("sqlite:///theirs.sqlite3", lpcm.StoreForeign, "another program"),
}


@pytest.mark.parametrize("name", URLS)
def test_bad_place(tmp_path, monkeypatch, name):
    """A place that cannot be one is refused by name, and nothing is made or changed there."""
    url, error, words = URLS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("buy milk\n" * 100)
    with closing(sqlite3.connect("theirs.sqlite3")) as theirs:
        theirs.execute("CREATE TABLE t(a)")
    before = contents(tmp_path)
    with pytest.raises(error) as caught:
        LPCM("m", url=url)["k"] = 1
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert contents(tmp_path) == before


def contents(folder):
    """Return what is in a directory, byte for byte."""
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}

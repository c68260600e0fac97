"""What values in parts take of memory: how much more for each byte more of the value."""

import gc
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpcm import LPCM, Engine
from lpcm.large import cells, large, written
from lpcm.large.cells import Encoded
from lpcm.large.written import ROOM, pieces
from lpcm.ports import Cell
from lpcm.ports.heads import PART
from lpcm.stores.dynamodb import items
from lpcm.values.form import HEAD
from lpcm.values.serial import TREE, WRITE

WORDS = " ".join(f"{number * number % 7919:x}" for number in range(1_000_000))
SMALL, LARGE = 2_000_000, 4_000_000
"""Bytes. What a few parts and their JSON take is in both, and is no more for the larger one."""


def rows(size):
    row = {"order": 1234, "status": "sent to the customer", "sum": 77, "paid": True}
    count = size // len(json.dumps(row, separators=(",", ":")))
    return [row | {"order": number} for number in range(count)]


MADE = {
    "text": lambda size: (WORDS * (1 + size // len(WORDS)))[:size],
    "bytes": lambda size: MADE["text"](size).encode(),
    "dict": lambda size: {"n": 0, "s": MADE["text"](size)},
    "rows": lambda size: {"n": 0, "rows": rows(size // 4 + 150_000)},
}


@pytest.fixture(scope="module")
def table(dynoxide_table):
    return dynoxide_table


def peak(work):
    """Return what an operation takes of memory at most, and what its result has of that."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        kept, most = tracemalloc.get_traced_memory()
        del result
        return most, kept
    finally:
        tracemalloc.stop()


def item(m):
    m["k"]["x"] = 1


def number(m):
    m["k"]["n"] += 1


def longer(m):
    m["k"] += "more"


def longer_bytes(m):
    m["k"] += b"more"


def transformed(m):
    m.transform("k", lambda value: value)


# By value: an operation, and how many bytes more it takes for a byte more of the value as Python
# holds it, at most. A copy at hand is one. (A live dict of rows takes twice the plain one.)
BOUNDS = [
    ("text", "write", 0.1),
    ("text", "read", 2.1),
    ("text", longer, 2.1),
    ("text", transformed, 2.1),
    ("bytes", "write", 0.1),
    ("bytes", "read", 2.1),
    ("bytes", longer_bytes, 2.1),
    ("dict", "write", 0.1),
    ("dict", "read", 2.1),
    ("dict", item, 3.1),
    ("dict", number, 3.1),
    ("dict", transformed, 2.1),
    ("rows", "write", 1.0),
    ("rows", "read", 1.8),
    ("rows", item, 2.0),
]


def named(of):
    return getattr(of, "__name__", str(of))


@pytest.mark.parametrize(("kind", "work", "most"), BOUNDS, ids=named)
def test_memory(table, monkeypatch, kind, work, most):
    """A writer takes a few parts beside the value, a reader twice the value, a change thrice."""
    table.empty()
    monkeypatch.setattr(large, "TOGETHER", 1)  # so that the value is more than what is under way
    monkeypatch.setattr(large, "PART", 100_000)
    monkeypatch.setattr(cells, "PART", 100_000)
    taken = []
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine, live=work in {item, number})
        m["k"] = "warm" * PART
        assert m["k"]
        for size in (SMALL, LARGE):
            value = MADE[kind](size)
            m["k"] = value
            works = {"write": lambda v=value: m.set("k", v), "read": lambda: m["k"]}
            highest, _ = peak(works.get(work, lambda: work(m)))
            _, held = peak(lambda: m["k"])
            taken.append((highest, held))
    (low, less), (high, more) = taken
    assert (high - low) / (more - less) < most


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**37), 10**37) | st.text() | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.frozensets(st.text(), min_size=1) | st.frozensets(st.binary(), min_size=1),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)  # fmt: skip
LONG = ["é\n" * ROOM, b"\0\xff" * ROOM, ["x" * 100] * 5000, frozenset(map(str, range(20_000)))]


@settings(max_examples=60)
@given(TREES, st.integers(0, 40))
def test_pieces_are_the_json(tree, room):
    """Whatever the room for a piece, the pieces are what the cache holds of the same value."""
    before, written.ROOM = written.ROOM, 3 * room + 3
    try:
        assert "".join(pieces(tree)).encode() == TREE[1](tree)
    finally:
        written.ROOM = before


@pytest.mark.parametrize("nested", [lambda tree: tree, lambda tree: {"é": [1, tree], "b": tree}])
@pytest.mark.parametrize("tree", LONG, ids=lambda tree: type(tree).__name__)
def test_parts_are_the_value(tree, nested):
    """Parts are of one length but the last, and together what the value is in one piece."""
    value = nested(tree)
    made = Encoded(Cell(value, None))
    parts = list(made.parts())
    _, write = WRITE.get((type(value), None), TREE)
    assert b"".join(parts) == write(value)
    assert len(made) == sum(map(len, parts))
    assert {len(part) for part in parts[:-1]} <= {PART}
    assert list(made.parts()) == parts


@settings(max_examples=60)
@given(TREES, st.sampled_from([None, "int", HEAD]), st.none() | st.floats(1, 1e10))
def test_an_entry_weighs_what_its_item_has(tree, kind, expires):
    """The size of an item is known without it."""
    cell = Cell(tree, kind)
    made = items.item("default/é/", "k", cell, -7, expires)
    assert items.weight("default/é/", "k", cell, -7, expires) == items.size(made)

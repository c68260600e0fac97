"""A test case of one store, and what the tests of stores say in short."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lpcm.ports import (
    Add,
    Applied,
    Cell,
    Codec,
    Form,
    KeyRange,
    MapInfo,
    Put,
    Refused,
    Scan,
    Stored,
    Touch,
    partition,
)
from lpcm.testing import run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from lpcm.ports import Op, Outcome, Page, Store

__all__ = [
    "EXPIRED",
    "INT",
    "KEYS",
    "LASTING",
    "LEAST",
    "LIVE",
    "MAP",
    "MOST",
    "NOW",
    "ODD",
    "STATES",
    "StoreCase",
    "apply",
    "apply_in_batch",
    "exact_or_refused",
    "fill",
    "keys_of",
    "put",
    "read",
    "read_data",
    "result",
    "same",
    "scan",
    "scan_all",
]

NOW = 1_000_000.0
MAP = partition("ns", "map")
LEAST, MOST = -(2**63), 2**63 - 1

LIVE = Stored("old", "j", 7, None)
LASTING = Stored("old", "j", 7, NOW + 1)
EXPIRED = Stored("old", "j", 7, NOW)
STATES: dict[str, Stored | None] = {
    "absent": None,
    "live": LIVE,
    "lasting": LASTING,
    "expired": EXPIRED,
}

INT = {Form.TEXT: None, Form.TREE: "int"}
"""The kind of an int that a store can add to, in each form."""

ODD: Sequence[object] = (
    *("", "text", "\0", "a\0b", "é\U0001f600\uffff", "1", "1.0", "x" * 100_000),
    *(b"", b"1", b"\0\xff", b"y" * 100_000),
    *(0, 1, -1, LEAST, MOST),
    *(0.0, -0.0, 1.0, 0.1, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 2.0**63),
    *(True, False, None, 10**38 - 1, -(10**38)),
    *(Decimal("1.50"), Decimal("-1E+125"), Decimal("0.1")),
    *([], {}, set(), (), {"": 1}, {"a": [1, None, b"", {"!b": -0.0, "c": ""}], "é": True}),
    *({"a", ""}, {b"\0"}, {1, -(10**37)}, {1, "1"}, frozenset({1}), [[[]], 10**40, 0.5]),
)
KEYS = sorted([" ", "/", "0", "a", "a\0", "a\0b", "aa", "é", "\ud7ff", "\ue000", "\U0001f600"])


class StoreCase:
    """An empty store for each test. Override ``open``."""

    threads = 8
    """How many clients at once, in the tests of atomicity."""
    row = MapInfo("map")
    """The catalogue's row of the map that the tests write to."""
    identified = True
    """Whether namespaces have identities: where a cache may stand in front of the store."""

    def open(self) -> Store:
        """Open an empty store."""
        raise NotImplementedError

    @contextmanager
    def opened(self) -> Generator[Store, None, None]:
        """Open an empty store for one test."""
        store = self.open()
        try:
            yield store
        finally:
            store.close()

    def race(self, store: Store, client: Callable[[Store], Any]) -> list[Any]:
        """Run as many clients as ``threads``, all starting at once; return their results."""
        barrier = threading.Barrier(self.threads)

        def run_client(_: int) -> Any:
            barrier.wait()
            return client(store)

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(run_client, range(self.threads)))


def read(store: Store, sk: str, now: float = NOW) -> Stored | None:
    """Read one entry of the map."""
    return run(store.read(MAP, sk, now))


def read_data(store: Store, sk: str) -> object:
    """Read the data of an entry that is there."""
    entry = read(store, sk)
    assert entry is not None
    return entry.data


def apply(store: Store, sk: str, op: Op, now: float = NOW) -> Outcome:
    """Do one write."""
    return run(store.apply(MAP, sk, op, now))


def apply_in_batch(store: Store, sk: str, op: Op) -> Outcome:
    """Do one write as a batch, with another one beside it."""
    beside = Put(Cell("beside", None), 1)
    outcome, _ = run(store.apply_many(MAP, [(sk, op), ("beside", beside)], NOW))
    assert not isinstance(outcome, Exception)
    return outcome


def put(entry: Stored) -> Put:
    """Return the op that stores exactly this entry."""
    return Put(Cell(entry.data, entry.kind), entry.etag, entry.expires)


def result(op: Op, before: Stored | None) -> Stored | None:
    """Return the entry after an op whose condition holds."""
    match op:
        case Put((data, kind), etag, expires):
            return Stored(data, kind, etag, expires)
        case Touch(expires, etag):
            assert before is not None
            return before._replace(expires=expires, etag=etag)
        case _:
            return None


def same(store: Store, entry: Stored | None, value: object) -> None:
    """Assert that the entry holds this very value: its type, its sign, how it is written."""
    assert entry is not None
    held = Codec(store.form).decode(entry.data, entry.kind)
    assert (type(held), held) == (type(value), value)
    if not isinstance(value, (set, frozenset)):  # in an order of their own
        assert repr(held) == repr(value)


def exact_or_refused(store: Store, op: Add, before: Stored | None, total: int) -> None:
    """Assert that the add left the exact total, or nothing but a refusal."""
    outcome = apply(store, "k", op)
    if isinstance(outcome, Applied):
        assert outcome.entry == Stored(total, INT[store.form], op.etag, None)
        same(store, read(store, "k"), total)
    else:
        assert outcome == Refused(before)
        assert not LEAST <= op.delta <= MOST or not LEAST <= total <= MOST
        assert read(store, "k") == before


def fill(store: Store, count: int) -> None:
    """Store that many entries, numbered."""
    writes: list[tuple[str, Op]] = [(f"{n:05}", Put(Cell(n, None), n)) for n in range(count)]
    outcomes = run(store.apply_many(MAP, writes, NOW))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)


def scan(store: Store, keys: KeyRange | None = None, **options: Any) -> Page:
    """Return a page of the map."""
    return run(store.scan(MAP, Scan(keys or KeyRange(), **options), NOW))


def scan_all(store: Store, **options: Any) -> list[tuple[str, Stored]]:
    """Return a whole scan, page after page."""
    entries: list[tuple[str, Stored]] = []
    after = None
    while True:
        page = scan(store, after=after, **options)
        entries += page.entries
        after = page.resume
        if after is None:
            return entries


def keys_of(store: Store, **options: Any) -> list[str]:
    """Return the keys of a whole scan."""
    return [sk for sk, _ in scan_all(store, values=False, **options)]

"""The contract of ``ports.Store``, as tests that every adapter's test class inherits.

Knows no adapter: a test class overrides ``open``. Each test is a sentence of ``ports.py``.
Values take the form the store holds (``codec.Form``): ints of a TREE have the kind ``int``.

    class TestMine(StoreContract):
        def open(self) -> Store:
            return my_store(...)

Invariant: every test opens its own empty store and closes it, so they run in any order.
"""

from __future__ import annotations

import itertools
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
    Delete,
    Form,
    KeyRange,
    MapInfo,
    MapState,
    Put,
    Refused,
    Scan,
    Stored,
    Touch,
    When,
    partition,
)
from lpcm.testing import run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from lpcm.ports import Op, Outcome, Page, Store

__all__ = ["StoreContract"]

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


class StoreContract:
    """What every store does. Override ``open``."""

    threads = 8
    """How many clients at once, in the tests of atomicity."""
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

    # One entry

    def test_put_and_read(self) -> None:
        """What is put is read back whole: data, kind, etag and expiry."""
        with self.opened() as store:
            for entry in (LIVE, LASTING, Stored("1", None, LEAST, None), Stored(1, "i", MOST, 2e9)):
                outcome = apply(store, "k", put(entry))
                assert outcome == Applied(entry)
                assert read(store, "k") == entry

    def test_odd_data(self) -> None:
        """Values come back equal and of the same type, down to the sign of zero."""
        with self.opened() as store:
            codec = Codec(store.form)
            cells = [codec.encode(value) for value in ODD]
            for value, cell in zip(ODD, cells, strict=True):
                apply(store, "000", Put(cell, 1))
                same(store, read(store, "000"), value)
            writes: list[tuple[str, Op]] = [
                (f"{number:03}", Put(cell, 1)) for number, cell in enumerate(cells)
            ]
            run(store.apply_many(MAP, writes, NOW))
            found = run(store.read_many(MAP, [sk for sk, _ in writes], NOW))
            scanned = scan_all(store)
            for value, entry, (_, other) in zip(ODD, found, scanned, strict=True):
                same(store, entry, value)
                same(store, other, value)

    def test_odd_keys(self) -> None:
        """Every key is an entry of its own."""
        with self.opened() as store:
            for sk in KEYS:
                apply(store, sk, Put(Cell(sk, None), 1))
            assert [read_data(store, sk) for sk in KEYS] == KEYS
            assert run(store.count(MAP, KeyRange(), NOW)) == len(KEYS)

    def test_expiry(self) -> None:
        """An entry is there before its expiry and absent from that instant on."""
        with self.opened() as store:
            apply(store, "k", put(LASTING))
            assert read(store, "k", NOW + 0.999) == LASTING
            assert read(store, "k", NOW + 1) is None
            assert run(store.read_many(MAP, ["k"], NOW + 0.5)) == [LASTING]
            assert run(store.read_many(MAP, ["k"], NOW + 1)) == [None]

    def test_conditions(self) -> None:
        """Each write is done exactly under its condition; a refusal shows what refused it."""
        for state, current in STATES.items():
            live = current is not None and state != "expired"
            for when, holds in (
                (When.ALWAYS, True),
                (When.ABSENT, not live),
                (When.PRESENT, live),
                (7, live),
                (8, False),
            ):
                for op in (
                    Put(Cell("new", "n"), 9, None, when),
                    Put(Cell("new", "n"), 9, NOW + 5, when),
                    Delete(when),
                    Delete(when, returning=True),
                ):
                    self._check(current, live=live, op=op, holds=holds)
            for expires in (None, NOW + 9):
                self._check(current, live=live, op=Touch(expires, 9), holds=live)

    def _check(self, current: Stored | None, *, live: bool, op: Op, holds: bool) -> None:
        for many in (False, True):
            with self.opened() as store:
                if current is not None:
                    apply(store, "k", put(current))
                outcome = apply_in_batch(store, "k", op) if many else apply(store, "k", op)
                before = current if live else None
                if not holds:
                    expected: Outcome = Refused(before)
                    after = before
                else:
                    after = result(op, before)
                    expected = Applied(after)
                shown = f"{op} on {current}"
                if isinstance(op, Delete) and op.returning and holds:
                    assert outcome == Applied(None, before), shown
                elif isinstance(outcome, Applied):
                    assert outcome._replace(previous=None) == expected, shown
                else:
                    assert outcome == expected, shown
                assert read(store, "k") == after, shown

    def test_expired_delete_is_no_revival(self) -> None:
        """A refused write on an expired entry leaves it absent, whoever looks next."""
        with self.opened() as store:
            apply(store, "k", put(EXPIRED))
            assert apply(store, "k", Touch(None, 9)) == Refused(None)
            assert apply(store, "k", Add(1, None, 9)) == Refused(None)
            assert apply(store, "k", Put(Cell(1, None), 9, None, 7)) == Refused(None)
            assert read(store, "k") is None

    # Add

    def test_add(self) -> None:
        """Add is Python's sum on an int, keeps the expiry, and starts from the initial."""
        with self.opened() as store:
            kind = INT[store.form]
            assert apply(store, "k", Add(2, 40, 1)) == Applied(Stored(42, kind, 1, None))
            assert apply(store, "k", Add(-50, 0, 2)) == Applied(Stored(-8, kind, 2, None))
            apply(store, "k", Touch(NOW + 5, 3))
            assert apply(store, "k", Add(1, 0, 4)) == Applied(Stored(-7, kind, 4, NOW + 5))
            assert read(store, "k") == Stored(-7, kind, 4, NOW + 5)
            same(store, read(store, "k"), -7)

    def test_add_from_expired(self) -> None:
        """Add never revives an expired number: it starts anew, with the expiry it brings."""
        with self.opened() as store:
            kind = INT[store.form]
            apply(store, "k", Put(Cell(100, kind), 1, NOW))
            assert apply(store, "k", Add(1, 0, 2)) == Applied(Stored(1, kind, 2, None))
            apply(store, "k", Put(Cell("text", "j"), 3, NOW))
            assert apply(store, "k", Add(1, 5, 4)) == Applied(Stored(6, kind, 4, None))
            apply(store, "k", Put(Cell(100, kind), 5, NOW))
            assert apply(store, "k", Add(1, 0, 6, NOW + 9)) == Applied(Stored(1, kind, 6, NOW + 9))
            assert apply(store, "k", Add(1, 0, 7, NOW + 99)) == Applied(Stored(2, kind, 7, NOW + 9))
            assert apply(store, "new", Add(1, 0, 8, NOW + 5)) == Applied(
                Stored(1, kind, 8, NOW + 5)
            )

    def test_add_refused(self) -> None:
        """Add to what is no int, or to nothing without an initial, shows it and writes nothing."""
        with self.opened() as store:
            assert apply(store, "k", Add(1, None, 1)) == Refused(None)
            assert read(store, "k") is None
            for entry in (
                Stored(*Codec(store.form).encode(1.0), 1, None),
                Stored("1", None, 1, None),
                Stored(b"1", None, 1, None),
                Stored(1, "b", 1, None),
                Stored("1" * 30, "i", 1, NOW + 5),
            ):
                apply(store, "k", put(entry))
                for initial in (None, 0):
                    outcome = apply(store, "k", Add(1, initial, 2))
                    assert outcome == Refused(entry)
                    assert read(store, "k") == entry

    def test_add_is_exact_or_refused(self) -> None:
        """A sum is exact, or refused for the caller to compute; never rounded or wrapped."""
        edges = (LEAST, LEAST + 1, -1, 0, 1, MOST - 1, MOST)
        deltas = (*edges, LEAST - 1, MOST + 1, 10**38 - 1, 10**38, 10**40)
        with self.opened() as store:
            kind = INT[store.form]
            for start in edges:
                for delta in deltas:
                    entry = Stored(start, kind, 1, None)
                    apply(store, "k", put(entry))
                    exact_or_refused(store, Add(delta, 0, 2), entry, start + delta)
                    apply(store, "k", Delete())
                    exact_or_refused(store, Add(delta, start, 2), None, start + delta)

    # Atomicity

    def test_adds_of_many_threads_all_count(self) -> None:
        """No increment is lost, and no two return the same sum."""

        def client(store: Store) -> list[Any]:
            me = threading.get_ident()
            outcomes = [apply(store, "k", Add(1, 0, hash((me, number)))) for number in range(40)]
            return [outcome.entry.data for outcome in outcomes if outcome.entry is not None]

        with self.opened() as store:
            sums = self.race(store, client)
            total = 40 * self.threads
            assert sorted(itertools.chain(*sums)) == list(range(1, total + 1))
            assert read_data(store, "k") == total

    def test_one_winner_of_many_puts_if_absent(self) -> None:
        """Of many puts that want the key absent one wins, and the others are shown its entry."""

        def client(store: Store) -> list[Outcome]:
            me = threading.get_ident()
            return [
                apply(store, f"{n}", Put(Cell(me, None), me, None, When.ABSENT)) for n in range(20)
            ]

        with self.opened() as store:
            for outcomes in zip(*self.race(store, client), strict=True):
                (winner,) = [one.entry for one in outcomes if isinstance(one, Applied)]
                assert {one.entry for one in outcomes} == {winner}

    def test_one_winner_of_many_compare_and_sets(self) -> None:
        """Compare-and-set by etag loses no update."""

        def client(store: Store) -> None:
            for number in range(15):
                current = read(store, "k")
                while True:
                    assert current is not None
                    assert isinstance(current.data, int)
                    etag = hash((threading.get_ident(), number, current.data))
                    new = Put(Cell(current.data + 1, None), etag, None, current.etag)
                    outcome = apply(store, "k", new)
                    if isinstance(outcome, Applied):
                        break
                    current = outcome.entry

        with self.opened() as store:
            apply(store, "k", Put(Cell(0, None), 1))
            self.race(store, client)
            assert read_data(store, "k") == 15 * self.threads

    def test_one_winner_of_many_deletes(self) -> None:
        """An entry is removed, and handed over, once."""

        def client(store: Store) -> list[Outcome]:
            return [apply(store, f"{n}", Delete(When.PRESENT, returning=True)) for n in range(20)]

        with self.opened() as store:
            for n in range(20):
                apply(store, f"{n}", Put(Cell(n, None), n))
            for n, outcomes in enumerate(zip(*self.race(store, client), strict=True)):
                winners = [one for one in outcomes if isinstance(one, Applied)]
                assert winners == [Applied(None, Stored(n, None, n, None))]

    def test_batches_of_many_threads(self) -> None:
        """The writes of concurrent batches are each atomic."""

        def client(store: Store) -> list[Any]:
            me = threading.get_ident()
            adds: list[tuple[str, Op]] = [(f"{n}", Add(1, 0, hash((me, n)))) for n in range(20)]
            return run(store.apply_many(MAP, adds, NOW))

        with self.opened() as store:
            self.race(store, client)
            assert [read_data(store, f"{n}") for n in range(20)] == [self.threads] * 20

    def race(self, store: Store, client: Callable[[Store], Any]) -> list[Any]:
        """Run as many clients as ``threads``, all starting at once; return their results."""
        barrier = threading.Barrier(self.threads)

        def run_client(_: int) -> Any:
            barrier.wait()
            return client(store)

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(run_client, range(self.threads)))

    # Batches

    def test_read_many(self) -> None:
        """Entries come in the order of the keys, duplicates and absent ones included."""
        with self.opened() as store:
            assert run(store.read_many(MAP, [], NOW)) == []
            fill(store, 700)
            sks = [f"{n:05}" for n in (*range(699, -1, -3), 5, 5, 10_000, *range(800), 5)]
            found = run(store.read_many(MAP, sks, NOW))
            assert [e and e.data for e in found] == [int(s) if int(s) < 700 else None for s in sks]

    def test_apply_many(self) -> None:
        """Writes are done in order, repeated keys included, with one outcome for each."""
        with self.opened() as store:
            kind = INT[store.form]
            writes: list[tuple[str, Op]] = [
                ("a", Put(Cell(1, kind), 1)),
                ("a", Put(Cell(2, kind), 2, None, When.ABSENT)),
                ("a", Add(5, 0, 3)),
                ("b", Add(5, None, 4)),
                ("a", Delete(3, returning=True)),
                ("a", Touch(None, 5)),
                ("a", Put(Cell("x", "j"), 6, NOW + 1)),
                ("a", Put(Cell("y", "j"), 7, NOW + 2)),
            ]
            assert run(store.apply_many(MAP, [], NOW)) == []
            assert run(store.apply_many(MAP, writes, NOW)) == [
                Applied(Stored(1, kind, 1, None)),
                Refused(Stored(1, kind, 1, None)),
                Applied(Stored(6, kind, 3, None)),
                Refused(None),
                Applied(None, Stored(6, kind, 3, None)),
                Refused(None),
                Applied(Stored("x", "j", 6, NOW + 1)),
                Applied(Stored("y", "j", 7, NOW + 2)),
            ]
            assert read(store, "a") == Stored("y", "j", 7, NOW + 2)

    def test_large_batches(self) -> None:
        """A batch may be of any length, and the last put of a key wins."""
        with self.opened() as store:
            writes: list[tuple[str, Op]] = [
                (f"{n % 1500:05}", Put(Cell(n, None), n)) for n in range(3100)
            ]
            outcomes = run(store.apply_many(MAP, writes, NOW))
            assert outcomes == [Applied(Stored(n, None, n, None)) for n in range(3100)]
            assert read_data(store, "00050") == 3050
            assert run(store.count(MAP, KeyRange(), NOW)) == 1500

    # Scans

    def test_scan_order(self) -> None:
        """A scan returns the range's entries in code point order, forwards and backwards."""
        with self.opened() as store:
            for sk in reversed(KEYS):
                apply(store, sk, Put(Cell(sk, None), 1))
            for low in KEYS:
                for high in (*KEYS, KeyRange().high):
                    expected = [sk for sk in KEYS if low <= sk < high]
                    for limit in (1, 2, 1000):
                        options: dict[str, Any] = {"keys": KeyRange(low, high), "limit": limit}
                        assert keys_of(store, **options) == expected
                        assert keys_of(store, reverse=True, **options) == expected[::-1]
                    assert run(store.count(MAP, KeyRange(low, high), NOW)) == len(expected)

    def test_scan_pages(self) -> None:
        """A page has at most ``limit`` entries; the last one resumes nowhere."""
        with self.opened() as store:
            fill(store, 25)
            for reverse in (False, True):
                first = scan(store, limit=10, reverse=reverse)
                assert len(first.entries) == 10
                assert first.resume == first.entries[-1][0]
                assert scan(store, limit=26, reverse=reverse).resume is None
            assert scan(store, keys=KeyRange("a", "b")) == ([], None)
            assert scan(store, keys=KeyRange("b", "a")) == ([], None)

    def test_scan_is_bounded_in_bytes(self) -> None:
        """A page of large values ends at about a megabyte, and the scan goes on behind it."""
        with self.opened() as store:
            for n in range(30):
                apply(store, f"{n:02}", Put(Cell("x" * 100_000, None), n))
            page = scan(store)
            assert 5 <= len(page.entries) <= 15
            assert [entry.etag for _, entry in scan_all(store)] == list(range(30))
            assert len(scan_all(store, reverse=True)) == 30

    def test_scan_without_values(self) -> None:
        """A scan without values returns etags and expiries, and no data."""
        with self.opened() as store:
            apply(store, "a", put(LIVE))
            apply(store, "b", put(LASTING))
            page = scan(store, values=False)
            assert [(sk, e.data, e.etag, e.expires) for sk, e in page.entries] == [
                ("a", None, 7, None),
                ("b", None, 7, NOW + 1),
            ]

    def test_expired_are_not_scanned_or_counted(self) -> None:
        """Scans and counts leave out what has expired."""
        with self.opened() as store:
            fill(store, 20)
            for n in range(0, 20, 2):
                apply(store, f"{n:05}", Touch(NOW, 1))
            odd = [f"{n:05}" for n in range(1, 20, 2)]
            assert keys_of(store, limit=3) == odd
            assert keys_of(store, limit=3, reverse=True) == odd[::-1]
            assert run(store.count(MAP, KeyRange(), NOW)) == 10
            assert run(store.count(MAP, KeyRange("00004", "00008"), NOW)) == 2
            assert run(store.count(MAP, KeyRange(), NOW - 1)) == 20

    def test_scan_under_writes(self) -> None:
        """What is there during the whole scan is returned once, whatever else comes and goes."""
        with self.opened() as store:
            for reverse in (False, True):
                for n in range(0, 100, 2):
                    apply(store, f"{n:03}", Put(Cell(n, None), n))
                seen: list[str] = []
                after = None
                while True:
                    page = scan(store, after=after, limit=7, reverse=reverse)
                    seen += [sk for sk, _ in page.entries]
                    after = page.resume
                    if after is None:
                        break
                    here = int(after)
                    apply(store, f"{here:03}", Delete())
                    for n in (here - 1, here + 1):
                        apply(store, f"{max(n, 0):03}", Put(Cell(n, None), n))
                assert len(seen) == len(set(seen))
                assert {sk for sk in seen if int(sk) % 2 == 0} == {
                    f"{n:03}" for n in range(0, 100, 2)
                }
                run(store.clear(MAP, KeyRange()))

    # Whole maps

    def test_clear(self) -> None:
        """Clear deletes the range, and only the range, of this map only."""
        other = partition("ns", "other")
        with self.opened() as store:
            fill(store, 9000)
            run(store.apply(other, "00001", Put(Cell(1, None), 1), NOW))
            run(store.clear(MAP, KeyRange("00010", "08990")))
            kept = [f"{n:05}" for n in (*range(10), *range(8990, 9000))]
            assert keys_of(store) == kept
            run(store.clear(MAP, KeyRange()))
            assert keys_of(store) == []
            assert run(store.count(other, KeyRange(), NOW)) == 1
            run(store.clear(MAP, KeyRange()))

    def test_clear_takes_the_expired(self) -> None:
        """Clear leaves nothing behind that a clock set back would show."""
        with self.opened() as store:
            apply(store, "k", put(EXPIRED))
            run(store.clear(MAP, KeyRange()))
            assert read(store, "k", NOW - 1) is None

    def test_maps_are_apart(self) -> None:
        """Maps and namespaces whose names begin alike share nothing."""
        places = [(n, m) for n in ("a", "ab", "a/b", "b") for m in ("a", "ab", "b", "a/b", "b/c")]
        maps = [partition(*place) for place in places]
        with self.opened() as store:
            for number, place in enumerate(places):
                run(store.register(place[0], MapInfo(place[1])))
                run(store.apply(partition(*place), "k", Put(Cell(number, None), 1), NOW))
            for number, map in enumerate(maps):  # noqa: A001  # the field's word
                page = run(store.scan(map, Scan(), NOW))
                assert page.entries == [("k", Stored(number, None, 1, None))]
            run(store.clear(maps[0], KeyRange()))
            run(store.drop("a"))
            counts = [run(store.count(map, KeyRange(), NOW)) for map in maps]  # noqa: A001  # same
            assert counts == [0 if namespace == "a" else 1 for namespace, _ in places]

    def test_catalogue(self) -> None:
        """A map is entered once; entering it again returns what stands there."""
        with self.opened() as store:
            assert run(store.maps("ns")) == []
            first = MapInfo("users", 1, "typed", 1)
            assert run(store.register("ns", first)).info == first
            assert run(store.register("ns", MapInfo("users", 2, "other", 4))).info == first
            assert run(store.describe("ns", "users")).info == first
            assert run(store.describe("ns", "user")).info is None
            for name in ("é", "b", "a/b", "a"):
                run(store.register("ns", MapInfo(name)))
            run(store.register("ns2", MapInfo("elsewhere")))
            names = [info.name for info in run(store.maps("ns"))]
            assert names == sorted(["é", "b", "a/b", "a", "users"])
            assert run(store.maps("ns2")) == [MapInfo("elsewhere")]

    def test_catalogue_of_many_threads(self) -> None:
        """Of many that enter a map at once one wins, and all are told the same."""

        def client(store: Store) -> list[MapState]:
            me = threading.get_ident() % 2**31
            return [run(store.register("ns", MapInfo(f"{n}", me))) for n in range(10)]

        with self.opened() as store:
            for told in zip(*self.race(store, client), strict=True):
                assert len(set(told)) == 1

    def test_identity(self) -> None:
        """A namespace has an identity from its first map on, until it is dropped or renewed."""
        with self.opened() as store:
            assert run(store.describe("ns", "users")) == (None, None)
            state = run(store.register("ns", MapInfo("users")))
            assert run(store.describe("ns", "users")) == state
            assert run(store.register("ns", MapInfo("pets"))).identity == state.identity
            assert run(store.describe("ns", "absent")) == (state.identity, None)
            if not self.identified:
                assert state.identity is None
                return
            seen = {state.identity, run(store.register("ns2", MapInfo("users"))).identity}
            run(store.drop("ns"))
            assert run(store.describe("ns", "users")) == (None, None)
            seen.add(run(store.register("ns", MapInfo("users"))).identity)
            run(store.renew("ns"))
            again = run(store.describe("ns", "users"))
            assert again.info == MapInfo("users")
            assert None not in seen
            assert len({*seen, again.identity}) == 4
            run(store.renew("ns3"))
            assert run(store.describe("ns3", "users")).identity is not None
            assert run(store.maps("ns3")) == []

    def test_drop(self) -> None:
        """Drop deletes the namespace's entries and catalogue, and nobody else's."""
        with self.opened() as store:
            fill(store, 5000)
            for namespace in ("ns", "n", "nsx", "ns0"):
                run(store.register(namespace, MapInfo("map")))
                run(store.apply(partition(namespace, "map"), "k", Put(Cell(1, None), 1), NOW))
            run(store.drop("ns"))
            assert run(store.maps("ns")) == []
            assert run(store.count(MAP, KeyRange(), NOW)) == 0
            for namespace in ("n", "nsx", "ns0"):
                assert run(store.maps(namespace)) == [MapInfo("map")]
                assert run(store.count(partition(namespace, "map"), KeyRange(), NOW)) == 1
            run(store.drop("ns"))

    def test_close(self) -> None:
        """Close is safe twice."""
        store = self.open()
        apply(store, "k", Put(Cell(1, None), 1))
        store.close()
        store.close()


# What the tests say, in short


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

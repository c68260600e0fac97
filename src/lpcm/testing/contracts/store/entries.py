"""One entry of a store, and many of them in one call."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from lpcm.ports import (
    Add,
    Applied,
    Cell,
    Codec,
    Delete,
    KeyRange,
    Put,
    Refused,
    Rewrite,
    Stored,
    Touch,
    When,
)
from lpcm.testing import run
from lpcm.testing.contracts.store.case import (
    EXPIRED,
    INT,
    KEYS,
    LASTING,
    LEAST,
    LIVE,
    MAP,
    MOST,
    NOW,
    ODD,
    STATES,
    StoreCase,
    apply,
    apply_in_batch,
    exact_or_refused,
    fill,
    put,
    read,
    read_data,
    result,
    same,
    scan_all,
)

if TYPE_CHECKING:
    from lpcm.ports import Op, Outcome, Store

__all__ = ["EntryTests"]


def _rewrites(store: Store) -> bool:
    return getattr(store, "rewrites", False)


class EntryTests(StoreCase):
    """One entry, additions, atomicity, batches."""

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
        """A refused write on an expired entry leaves it absent for every reader."""
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

    # Rewrite, of stores that do it

    def test_rewrite(self) -> None:
        """A rewrite puts what its function makes of the entry, whatever ``when`` that put has."""
        for when in (When.ALWAYS, When.ABSENT, When.PRESENT, 99):
            with self.opened() as store:
                if not _rewrites(store):
                    return

                def make(current: Stored | None, when: Any = when) -> Put:
                    size = 0 if current is None else len(f"{current.data}")
                    return Put(Cell("x" * (size + 1), None), size + 5, NOW + 9, when)

                first = Stored("x", None, 5, NOW + 9)
                assert apply(store, "k", Rewrite(make)) == Applied(first)
                assert read(store, "k") == first
                assert apply(store, "k", Rewrite(make)) == Applied(Stored("xx", None, 6, NOW + 9))
                apply(store, "k", Put(Cell("dead", None), 1, NOW))
                assert apply(store, "k", Rewrite(make)) == Applied(first)
                assert read(store, "k") == first

    def test_rewrite_refused(self) -> None:
        """A rewrite whose function makes nothing shows the entry and writes nothing."""
        with self.opened() as store:
            if not _rewrites(store):
                return
            assert apply(store, "k", Rewrite(lambda _: None)) == Refused(None)
            for entry in STATES.values():
                apply(store, "k", Delete())
                if entry is not None:
                    apply(store, "k", put(entry))
                there = read(store, "k")
                for do in (apply, apply_in_batch):
                    assert do(store, "k", Rewrite(lambda _: None)) == Refused(there)
                    assert read(store, "k") == there

    def test_rewrites_of_many_threads_all_count(self) -> None:
        """A rewrite is decided in the instant of its write: none is lost, none is refused."""

        def make(current: Stored | None) -> Put:
            number: Any = 0.0 if current is None else current.data
            etag = 1 if current is None else current.etag + 1
            return Put(Cell(number + 0.5, None), etag)

        def client(store: Store) -> list[Any]:
            outcomes = [apply(store, "k", Rewrite(make)) for _ in range(40)]
            return [outcome.entry for outcome in outcomes if isinstance(outcome, Applied)]

        with self.opened() as store:
            if not _rewrites(store):
                return
            entries = list(itertools.chain(*self.race(store, client)))
            total = 40 * self.threads
            assert sorted(entry.etag for entry in entries) == list(range(1, total + 1))
            assert all(entry.data == entry.etag / 2 for entry in entries)
            assert read(store, "k") == Stored(total / 2, None, total, None)

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

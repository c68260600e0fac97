"""The contract of ``ports.Update`` and ``transact``, as tests that adapters' classes inherit.

Knows no adapter: a test class overrides ``open``, and says with ``native`` whether its store
does the updates that it can do in its own form. Values are compared as the codec reads them.

    class TestMine(StoreContract, UpdateContract, TransactionContract):
        def open(self) -> Store:
            return my_store(...)
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from lpcm.errors import ValueTooLarge
from lpcm.ports import (
    Aborted,
    Add,
    Applied,
    Cell,
    Change,
    Check,
    Codec,
    Delete,
    DeleteItem,
    Extend,
    Form,
    ListSet,
    Merge,
    Put,
    Refused,
    SetAdd,
    SetRemove,
    Stored,
    Sum,
    Update,
    When,
    partition,
)
from lpcm.testing import run

if TYPE_CHECKING:
    from lpcm.ports import Action, Op, Outcome, Step, Store

__all__ = ["TransactionContract", "UpdateContract"]

NOW = 1_000_000.0
MAP, OTHER = partition("ns", "map"), partition("ns", "other")
MOST = 10**38 - 1


def _any(*values: Any) -> tuple[Any, ...]:
    return values


# value, path to the container or number in it, action, the value after it
DONE: list[tuple[Any, tuple[Step, ...], Action, Any]] = [
    ({"a": 1}, ("a",), Sum(2), {"a": 3}),
    ({"a": {"b": -1}}, ("a", "b"), Sum(-41), {"a": {"b": -42}}),
    ([[0, {"é": 1}]], (0, 1, "é"), Sum(10**30), [[0, {"é": 10**30 + 1}]]),
    ({"a": 1}, ("a",), Sum(MOST - 1), {"a": MOST}),
    (({"a": 1},), ("!tuple", 0, "a"), Sum(1), ({"a": 2},)),
    ({"!a": {"x.y": {"#": 1}}}, ("!!a", "x.y", "#"), Sum(1), {"!a": {"x.y": {"#": 2}}}),
    ([1], (), Extend([2]), [1, 2]),
    ([], (), Extend([2, [3], {"a": None}]), [2, [3], {"a": None}]),
    ({"a": []}, ("a",), Extend(["x"]), {"a": ["x"]}),
    ({"a": {"b": [1]}}, ("a", "b"), Extend([True, ""]), {"a": {"b": [1, True, ""]}}),
    ([[1], [2]], (1,), Extend([3]), [[1], [2, 3]]),
    ([1, 2], (), ListSet(1, "x"), [1, "x"]),
    ({"a": [[0]]}, ("a", 0), ListSet(0, {"b": 1}), {"a": [[{"b": 1}]]}),
    ({}, (), Merge({"a": 1}), {"a": 1}),
    ({"b": 1}, (), Merge({"b": [2]}), {"b": [2]}),
    ({"b": 1}, (), Merge({"a": 2}, beside="b"), {"a": 2, "b": 1}),
    ({"b": 1, "c": 2}, (), Merge({"a": 2, "d": None}), {"a": 2, "b": 1, "c": 2, "d": None}),
    ({"!": {"b": 1}}, ("!!",), Merge({"!!a": 2}, beside="b"), {"!": {"!a": 2, "b": 1}}),
    ([{"x": {}}], (0, "x"), Merge({"y": "z"}), [{"x": {"y": "z"}}]),
    ({"a": 1, "c": 2}, (), Merge({"b": 2}, absent=True), {"a": 1, "b": 2, "c": 2}),
    ({"a": 1, "b": 2}, (), DeleteItem("a"), {"b": 2}),
    ({"a": 1}, (), DeleteItem("a"), {}),
    ({"a": {"b": 1}}, ("a",), DeleteItem("b"), {"a": {}}),
    ([1, 2, 3], (), DeleteItem(1), [1, 3]),
    ({"a": [[1]]}, ("a", 0), DeleteItem(0), {"a": [[]]}),
    ({1, 2}, (), SetAdd(frozenset({2, 3})), {1, 2, 3}),
    ({"a": {"x"}}, ("a",), SetAdd(frozenset({"y", "é"})), {"a": {"x", "y", "é"}}),
    ([{"a": {1}}], (0, "a"), SetAdd(frozenset({10**37})), [{"a": {1, 10**37}}]),
    ({1, 2, 3}, (), SetRemove(frozenset({3, 4})), {1, 2}),
    ({"a": {"x", "y"}}, ("a",), SetRemove(frozenset({"x"}), present=True), {"a": {"y"}}),
]

# value, path, action: what does not fit, is no such thing, or only the caller can decide
_EMPTY: set[int] = set()
REFUSED: list[tuple[Any, tuple[Step, ...], Action]] = [
    *[
        (value, ("a",), Sum(1))
        for value in _any(
            *({"b": 1}, {"a": 1.0}, {"a": "1"}, {"a": None}, {"a": True}, {"a": [1]}, {"a": {}}),
            *({"a": {"b": 1}}, [1], {1}, "a", None, 1, {"a": MOST}, {"a": 10**40}, {1: 1}),
        )
    ],
    ({"a": 1}, ("a", "b"), Sum(1)),
    ({"a": 1}, ("a", 0), Sum(1)),
    ([1], (1,), Sum(1)),
    ({"a": -MOST}, ("a",), Sum(-1)),
    *[
        (value, (), Extend([1]))
        for value in _any((1,), {"a": [1]}, {1}, "x", None, 1, b"", {}, {1: 2})
    ],
    *[({"a": part}, ("a",), Extend([1])) for part in _any((1,), {"b": []}, {1}, "x", None, 0)],
    ({}, ("a",), Extend([1])),
    ([[1]], (1,), Extend([1])),
    ([1], (), ListSet(1, 2)),
    ([], (), ListSet(0, 2)),
    ({"a": 1}, (), ListSet(0, 2)),
    ((1,), (), ListSet(0, 2)),
    ("ab", (), ListSet(0, "c")),
    *[
        (value, (), Merge({"a": 1}))
        for value in _any([1], "a", None, 1, 0.5, -0.0, {1, 2}, _EMPTY, (), frozenset({1}), {1: 2})
    ],
    *[({"x": part}, ("x",), Merge({"a": 1})) for part in _any(0.5, {1: 2}, (), _EMPTY, 10**40, [])],
    ({}, ("x",), Merge({"a": 1})),
    ({"a": 1}, (), Merge({"a": 2}, absent=True)),
    ({"a": 1, "b": 2}, (), Merge({"a": 2, "c": 2}, absent=True)),
    ({"b": 1}, (), DeleteItem("a")),
    ({}, (), DeleteItem("a")),
    ([1], (), DeleteItem(1)),
    ([], (), DeleteItem(0)),
    ({"a": 1}, (), DeleteItem(0)),
    ([1], (), DeleteItem("a")),
    ((1,), (), DeleteItem(0)),
    *[
        (value, (), SetAdd(frozenset({1})))
        for value in _any({"x"}, {1, "x"}, {0.5}, [2], (2,), 2, {})
    ],
    ({1}, (), SetAdd(frozenset({"x"}))),
    (frozenset({1}), (), SetAdd(frozenset({2}))),
    ({}, ("a",), SetAdd(frozenset({2}))),
    ({1, 2}, (), SetRemove(frozenset({3}), present=True)),
    ({"a", "b"}, (), SetRemove(frozenset({1}))),
    ([1, 2], (), SetRemove(frozenset({1}))),
]


class UpdateContract:
    """What a store does with an ``Update``. Override ``open``."""

    native = True
    """Whether the store does them by itself where its form allows; else it refuses them all."""
    threads = 8

    def open(self) -> Store:
        """Open an empty store."""
        raise NotImplementedError

    def test_an_update_leaves_what_pythons_container_would(self) -> None:
        """An action changes its part and nothing else; the expiry stays, the entry is returned."""
        with closing(self.open()) as store:
            for value, path, action, after in DONE:
                for expires in (None, NOW + 9):
                    before = _put(store, value, expires)
                    outcome = _apply(store, Update(path, action, 8))
                    shown = f"{action} at {path} of {value!r}"
                    if not self.native:
                        assert outcome == Refused(before), shown
                        continue
                    assert isinstance(outcome, Applied), shown
                    entry = outcome.entry
                    assert entry is not None
                    _same(store, entry, after, shown)
                    assert (entry.etag, entry.expires) == (8, expires), shown
                    assert _read(store) == entry, shown

    def test_bytes_join_where_the_form_has_sets_of_them(self) -> None:
        """Members of bytes join bytes natively in a tree; as text they are refused."""
        with closing(self.open()) as store:
            before = _put(store, {b"x"})
            outcome = _apply(store, Update((), SetAdd(frozenset({b"y"})), 8))
            if store.form is Form.TREE and self.native:
                assert isinstance(outcome, Applied)
                _same(store, outcome.entry, {b"x", b"y"}, "bytes")
            else:
                assert outcome == Refused(before)

    def test_what_a_form_may_not_tell_is_done_rightly_or_refused(self) -> None:
        """A dict of one name nobody saw and a set that is or gets empty: exact, or refused."""
        cases: list[tuple[Any, Action, Any]] = [
            ({"b": 1}, Merge({"a": 2}), {"a": 2, "b": 1}),
            ({1, 2}, SetRemove(frozenset({1, 2, 3})), set()),
            (set(), SetAdd(frozenset({1})), {1}),
            (set(), SetAdd(frozenset({"a"})), {"a"}),
        ]
        with closing(self.open()) as store:
            for value, action, after in cases:
                before = _put(store, value)
                outcome = _apply(store, Update((), action, 8))
                if isinstance(outcome, Applied):
                    _same(store, outcome.entry, after, f"{action} of {value!r}")
                else:
                    assert outcome == Refused(before)

    def test_what_does_not_fit_is_refused(self) -> None:
        """Where Python's container would raise, or be of another type, nothing is written."""
        with closing(self.open()) as store:
            for value, path, action in REFUSED:
                before = _put(store, value, NOW + 5)
                outcome = _apply(store, Update(path, action, 8))
                assert outcome == Refused(before), f"{action} at {path} of {value!r}"
                assert _read(store) == before

    def test_a_compressed_value_refuses(self) -> None:
        """No update and no sum is made of compressed data, whose kind says what they are."""
        import zlib

        with closing(self.open()) as store:
            for value, path, action, _ in DONE:
                text = str(Codec(Form.TEXT).encode(value).data)
                before = Stored(zlib.compress(text.encode()), "json+zlib", 7, NOW + 5)
                run(store.apply(MAP, "k", Put(Cell(*before[:2]), 7, NOW + 5), NOW))
                assert _apply(store, Update(path, action, 8)) == Refused(before), f"{action}"
                assert _apply(store, Add(1, 0, 8)) == Refused(before)
                assert _read(store) == before

    def test_an_absent_or_expired_entry_refuses(self) -> None:
        """An update makes no entry, and revives none."""
        with closing(self.open()) as store:
            for present in (False, True):
                if present:
                    _put(store, {"a": 1, "b": [1], "c": {1, 2}}, NOW)
                for path, action in (
                    (("a",), Sum(1)),
                    (("b",), Extend([1])),
                    (("c",), SetAdd(frozenset({3}))),
                    ((), Merge({"d": 1, "a": 2})),
                    ((), DeleteItem("a")),
                ):
                    assert _apply(store, Update(path, action, 8)) == Refused(None)
                    assert _read(store) is None

    def test_updates_in_a_batch(self) -> None:
        """Updates stand in batches like other writes, each with its outcome."""
        with closing(self.open()) as store:
            _put(store, {"a": 1, "b": [1]})
            writes: list[tuple[str, Op]] = [
                ("k", Update(("a",), Sum(1), 2)),
                ("k", Update(("b",), Extend([2]), 3)),
                ("k", Update(("c",), Sum(1), 4)),
                ("gone", Update(("a",), Sum(1), 5)),
            ]
            outcomes = run(store.apply_many(MAP, writes, NOW))
            wanted = [Applied, Applied, Refused, Refused] if self.native else [Refused] * 4
            assert [type(outcome) for outcome in outcomes] == wanted
            if self.native:
                _same(store, _read(store), {"a": 2, "b": [1, 2]}, "batch")

    def test_updates_of_many_threads_all_count(self) -> None:
        """Of concurrent updates, native or by compare-and-set, none is lost or doubled."""
        each = 10
        with closing(self.open()) as store:
            codec = Codec(store.form)
            _put(store, {"n": 0, "l": [], "s": {-1}})

            def settle(op: Update, change: Any) -> None:
                outcome = _apply(store, op)
                while isinstance(outcome, Refused):
                    entry = outcome.entry
                    assert entry is not None
                    value = codec.decode(entry.data, entry.kind)
                    change(value)
                    put = Put(codec.encode(value), op.etag, entry.expires, entry.etag)
                    outcome = _apply(store, put)

            def client(number: int) -> None:
                for turn in range(each):
                    mark = number * each + turn
                    etag = 3 * mark + 10
                    settle(Update(("n",), Sum(1), etag), lambda v: v.update(n=v["n"] + 1))
                    settle(
                        Update(("l",), Extend([mark]), etag + 1),
                        lambda v, mark=mark: v["l"].append(mark),
                    )
                    settle(
                        Update(("s",), SetAdd(frozenset({mark})), etag + 2),
                        lambda v, mark=mark: v["s"].add(mark),
                    )

            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(client, range(self.threads)))
            entry = _read(store)
            assert entry is not None
            value = codec.decode(entry.data, entry.kind)
            total = each * self.threads
            assert value["n"] == total
            assert sorted(value["l"]) == list(range(total))
            assert value["s"] == {-1, *range(total)}


class TransactionContract:
    """What a store does in ``transact``. Override ``open``."""

    threads = 8

    def open(self) -> Store:
        """Open an empty store."""
        raise NotImplementedError

    def test_all_changes_happen(self) -> None:
        """Changes of several maps are done together, each with its outcome."""
        with closing(self.open()) as store:
            _put(store, 1)
            changes = [
                Change(MAP, "k", Put(Cell("new", "j"), 9, NOW + 5, 7)),
                Change(OTHER, "k", Put(Cell("x", "j"), 10, None, When.ABSENT)),
                Change(OTHER, "gone", Delete()),
            ]
            assert _transact(store, changes, [Check(MAP, "none", When.ABSENT)]) == [
                Applied(Stored("new", "j", 9, NOW + 5)),
                Applied(Stored("x", "j", 10, None)),
                Applied(None),
            ]
            assert _read(store) == Stored("new", "j", 9, NOW + 5)
            assert run(store.read(OTHER, "k", NOW)) == Stored("x", "j", 10, None)
            assert _transact(store, [Change(MAP, "k", Delete(9))]) == [Applied(None)]
            assert _read(store) is None
            assert _transact(store, []) == []

    def test_one_condition_that_fails_prevents_all(self) -> None:
        """A change or check whose condition fails is a reason; nothing is written."""
        with closing(self.open()) as store:
            here = _put(store, 1)
            run(store.apply(MAP, "expired", Put(Cell("x", "j"), 5, NOW), NOW))
            fine = Change(OTHER, "k", Put(Cell("x", "j"), 10))
            for reason, entry, failing in (
                ("k", here, Change(MAP, "k", Put(Cell("y", "j"), 9, None, 8))),
                ("k", here, Change(MAP, "k", Put(Cell("y", "j"), 9, None, When.ABSENT))),
                ("k", here, Change(MAP, "k", Delete(8))),
                ("k", here, Check(MAP, "k", 8)),
                ("k", here, Check(MAP, "k", When.ABSENT)),
                ("gone", None, Check(MAP, "gone", When.PRESENT)),
                ("gone", None, Check(MAP, "gone", 7)),
                ("gone", None, Change(MAP, "gone", Delete(When.PRESENT))),
                ("expired", None, Change(MAP, "expired", Put(Cell("y", "j"), 9, None, 5))),
                ("expired", None, Check(MAP, "expired", When.PRESENT)),
            ):
                changes, checks = [fine], list[Check]()
                if isinstance(failing, Check):
                    checks.append(failing)
                else:
                    changes.append(failing)
                outcome = _transact(store, changes, checks)
                assert isinstance(outcome, Aborted), failing
                assert list(outcome.reasons) == [(MAP, reason, Refused(entry))], failing
                assert run(store.read(OTHER, "k", NOW)) is None
                assert _read(store) == here

    def test_every_reason_is_told(self) -> None:
        """All conditions that failed are reasons, not only the first."""
        with closing(self.open()) as store:
            here = _put(store, 1)
            changes = [Change(MAP, "k", Delete(8)), Change(MAP, "a", Put(Cell("x", "j"), 1))]
            outcome = _transact(store, changes, [Check(OTHER, "k", When.PRESENT)])
            assert isinstance(outcome, Aborted)
            assert sorted(outcome.reasons) == sorted(
                [(MAP, "k", Refused(here)), (OTHER, "k", Refused(None))]
            )

    def test_checks_alone(self) -> None:
        """A transaction may only check; an expired entry counts as absent."""
        with closing(self.open()) as store:
            _put(store, 1, NOW + 1)
            assert _transact(store, [], [Check(MAP, "k", 7)]) == []
            outcome = run(store.transact([], [Check(MAP, "k", 7)], NOW + 1))
            assert outcome == Aborted([(MAP, "k", Refused(None))])

    def test_a_hundred_entries(self) -> None:
        """A hundred changes are one transaction."""
        with closing(self.open()) as store:
            changes = [Change(MAP, f"{n:03}", Put(Cell(f"{n}", None), n)) for n in range(100)]
            outcome = _transact(store, changes)
            assert outcome == [Applied(Stored(f"{n}", None, n, None)) for n in range(100)]

    def test_a_value_too_large_prevents_all(self) -> None:
        """A value over the store's limit is refused before anything is written."""
        with closing(self.open()) as store:
            most = getattr(store, "_max_value", None)
            if most is None:  # a memory store without a limit
                return
            changes = [
                Change(MAP, "k", Put(Cell("x", None), 1)),
                Change(MAP, "large", Put(Cell("x" * (most + 1), None), 2)),
            ]
            try:
                _transact(store, changes)
            except ValueTooLarge:
                assert _read(store) is None
            else:
                raise AssertionError("it was written")

    def test_transactions_of_many_threads_move_without_loss(self) -> None:
        """What transactions move between two entries is always there as a whole."""
        with closing(self.open()) as store:
            for sk in ("a", "b"):
                run(store.apply(MAP, sk, Put(Cell("100", None), 1), NOW))

            def client(number: int) -> None:
                done = 0
                while done < 5:
                    entries = run(store.read_many(MAP, ["a", "b"], NOW))
                    one, two = (int(str(entry and entry.data)) for entry in entries)
                    etags = [entry.etag for entry in entries if entry is not None]
                    etag = hash((number, done, threading.get_ident(), one))
                    changes = [
                        Change(MAP, "a", Put(Cell(f"{one - 1}", None), etag, None, etags[0])),
                        Change(MAP, "b", Put(Cell(f"{two + 1}", None), etag + 1, None, etags[1])),
                    ]
                    done += not isinstance(_transact(store, changes), Aborted)

            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(client, range(self.threads)))
            entries = run(store.read_many(MAP, ["a", "b"], NOW))
            moved = 5 * self.threads
            assert [entry and entry.data for entry in entries] == [
                f"{100 - moved}",
                f"{100 + moved}",
            ]


def _put(store: Store, value: object, expires: float | None = None) -> Stored:
    cell = Codec(store.form).encode(value)
    run(store.apply(MAP, "k", Put(cell, 7, expires), NOW))
    return Stored(*cell, 7, expires)


def _read(store: Store) -> Stored | None:
    return run(store.read(MAP, "k", NOW))


def _apply(store: Store, op: Op) -> Outcome:
    return run(store.apply(MAP, "k", op, NOW))


def _transact(store: Store, changes: list[Change], checks: list[Check] | None = None) -> Any:
    return run(store.transact(changes, checks or [], NOW))


def _same(store: Store, entry: Stored | None, value: object, shown: str) -> None:
    """Assert that the entry holds this value, in the very form the codec gives it."""
    assert entry is not None
    assert entry[:2] == tuple(Codec(store.form).encode(value)), shown
    held = Codec(store.form).decode(entry.data, entry.kind)
    assert (type(held), held) == (type(value), value), shown

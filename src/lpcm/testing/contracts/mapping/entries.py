"""Many keys at once, optimistic concurrency, increments, defaults, and what others write."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lpcm.errors import (
    BatchError,
    Conflict,
    KeyEncodingError,
    KeyTooLong,
    ValueEncodingError,
    ValueTooLarge,
)
from lpcm.testing.contracts.mapping.case import MapCase, raises

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["EntryTests"]


class EntryTests(MapCase):
    """Many keys, entries, arithmetic, ``default=``."""

    # Many keys

    def test_get_many(self) -> None:
        """``get_many`` gives those that are there, in the order and shape they were asked."""
        m = self.filled(a=1, b=None)
        found = m.get_many(["b", "gone", "a", "a"])
        assert type(found) is dict
        assert list(found.items()) == [("b", None), ("a", 1)]
        assert m.get_many([]) == {}
        assert m.get_many(iter(["a"])) == {"a": 1}
        assert self.make(default=0).get_many(["gone"]) == {}

    def test_set_many(self) -> None:
        """``set_many`` stores mappings and pairs, the last of equal keys winning."""
        m = self.make()
        m.set_many({})
        m.set_many({"a": 1})
        m.set_many([(1, "int"), (True, "bool"), ("b", 2)])
        m.set_many(((n, n) for n in range(100, 2_600)), ttl=60)
        assert (m["a"], m[1], m["b"], len(m)) == (1, "bool", 2, 2_503)
        assert m.ttl("a") is None
        assert m.ttl(2_599) == 60

    def test_delete_many(self) -> None:
        """``delete_many`` removes those that are there, and says nothing of the others."""
        m = self.make()
        m.update((n, n) for n in range(2_500))
        m.delete_many([])
        m.delete_many(["gone", *range(2_400), 1.0])
        assert list(m) == list(range(2_400, 2_500))

    def test_a_bad_batch_writes_nothing(self) -> None:
        """A batch with a key, value or ttl that cannot be is refused before the first write."""
        m = self.filled(a=1)
        batches: list[tuple[Any, type[Exception]]] = [
            ([("b", 1), (math.nan, 1)], KeyEncodingError),
            ([("b", 1), ("x" * 1025, 1)], KeyTooLong),
            ([("b", 1), ("c", object())], ValueEncodingError),
            ([("b", 1), ("c",)], ValueError),
        ]
        for batch, error in batches:
            for operation in (m.update, m.set_many):
                with raises(error):
                    operation(iter(batch))
        with raises(ValueError, "ttl"):
            m.set_many({"b": 1}, ttl=0)
        with raises(KeyEncodingError):
            m.delete_many(["a", []])

        def failing() -> Iterator[tuple[str, int]]:
            yield "b", 1
            raise ZeroDivisionError

        with raises(ZeroDivisionError):
            m.update(failing())
        assert m.copy() == {"a": 1}

    def test_a_batch_that_fails_in_part(self) -> None:
        """What the store refused stands in BatchError by its key; the rest is done."""
        if self.max_value is None:
            return
        m = self.make()
        large = "x" * (self.max_value + 10)
        with raises(BatchError) as caught:
            m.update({"a": 1, 7: large, "b": 2})
        assert list(caught.error.errors) == [7]
        assert isinstance(caught.error.errors[7], ValueTooLarge)
        assert m.copy() == {"a": 1, "b": 2}
        again = pickle.loads(pickle.dumps(caught.error))  # noqa: S301  # our own
        assert (str(again), list(again.errors)) == (str(caught.error), [7])
        for write in (m.__setitem__, m.setdefault, m.replace):
            with raises(ValueTooLarge):
                write("a" if write == m.replace else "c", large)
        with raises(ValueTooLarge):
            m.transform("a", lambda _: large)
        assert m.copy() == {"a": 1, "b": 2}

    # Entries, optimistic concurrency

    def test_entry(self) -> None:
        """``entry`` gives key, value, etag and expiry of one read."""
        m = self.make()
        m.set("k", [1], ttl=60)
        entry = m.entry("k")
        assert (entry.key, entry.value) == ("k", [1])
        assert entry.expires == self.clock.now() + 60
        assert isinstance(entry.etag, int)
        assert m.entry("k") == entry

    def test_every_write_gives_a_new_etag(self) -> None:
        """Every write changes the etag, one that changes nothing else too."""
        m = self.filled(k=1)
        seen = {m.entry("k").etag}
        writes = (
            *(lambda: m.set("k", 1), lambda: m.increment("k", 0), lambda: m.increment("k", 0.0)),
            *(lambda: m.expire("k", None), lambda: m.transform("k", lambda value: value)),
            *(lambda: m.update(k=1), lambda: m.replace("k", 1)),
        )
        for write in writes:
            write()
            seen.add(m.entry("k").etag)
        assert len(seen) == len(writes) + 1

    def test_replace(self) -> None:
        """``replace`` writes only where its condition holds, and returns the new etag."""
        m = self.filled(k=1)
        entry = m.entry("k")
        etag = m.replace("k", 2, if_etag=entry.etag)
        assert etag == m.entry("k").etag != entry.etag
        with raises(Conflict, "replace 'k' in 'm'"):
            m.replace("k", 3, if_etag=entry.etag)
        assert m["k"] == 2
        assert m.replace("k", 4) == m.entry("k").etag
        last = m.entry("k").etag
        del m["k"]
        with raises(Conflict, "it is absent"):
            m.replace("k", 5, if_etag=last)
        m["k"] = 4
        with raises(Conflict):
            m.replace("k", 5, if_etag=last)
        assert m == {"k": 4}

    def test_transform(self) -> None:
        """``transform`` stores what the function returns, and returns that."""
        m = self.filled(k=[1])
        assert m.transform("k", lambda value: [*value, 2]) == [1, 2]
        assert m.transform("new", lambda value: {**value, "a": 1}, default={}) == {"a": 1}
        assert m == {"k": [1, 2], "new": {"a": 1}}

    def test_transform_retries_against_another_writer(self) -> None:
        """A write in between is not lost: the function is called again with it."""
        m = self.filled(k=1)
        seen = []

        def meddle(value: int) -> int:
            seen.append(value)
            if len(seen) == 1:
                m["k"] = 10
            if len(seen) == 2:
                del m["k"]
            return value + 1

        assert m.transform("k", meddle, default=100) == 101
        assert seen == [1, 10, 100]

    def test_transform_gives_up_in_time(self) -> None:
        """A transform that always loses raises Conflict when its time is up."""
        m = self.filled(k=1)

        def meddle(value: int) -> int:
            m["k"] = value + 1
            return -1

        with raises(Conflict, "lost against other writers"):
            m.transform("k", meddle)
        assert m["k"] > 1

    def test_what_a_transform_raises(self) -> None:
        """What the function raises, or cannot be stored, leaves the entry as it was."""
        m = self.filled(k=[1])
        etag = m.entry("k").etag

        def fail(value: list[int]) -> None:
            value.append(2)
            raise ZeroDivisionError

        with raises(ZeroDivisionError):
            m.transform("k", fail)
        with raises(ValueEncodingError):
            m.transform("k", lambda _: object())
        assert m["k"] == [1]
        assert m.entry("k").etag == etag

    # Arithmetic (all of it: tests/map/test_increment.py)

    def test_increment(self) -> None:
        """``increment`` counts from nothing and returns the new value."""
        m = self.make()
        assert [m.increment("k"), m.increment("k", 2), m.decrement("k")] == [1, 3, 2]
        assert [m.decrement("d"), m.decrement("d", 0.5)] == [-1, -1.5]
        assert m == {"k": 2, "d": -1.5}

    # default=

    def test_a_default_value(self) -> None:
        """A missing key reads as the default, which reading never stores."""
        m = self.make(default=0)
        assert (m["k"], m.get("k"), m.get("k", 5)) == (0, 0, 5)
        assert ("k" in m, len(m), m.get_many(["k"]), list(m)) == (False, 0, {}, [])
        for operation in (m.pop, m.__delitem__, m.entry, m.ttl):
            with raises(KeyError):
                operation("k")
        assert m.increment("k") == 1
        assert m["k"] == 1
        assert self.make(default=None)["gone"] is None

    def test_a_default_is_where_writes_begin(self) -> None:
        """``increment`` and ``transform`` begin with the default; their own comes first."""
        m = self.make(default=10)
        assert m.increment("a") == 11
        assert m.decrement("b", 0.5) == 9.5
        assert m.transform("c", lambda value: value * 2) == 20
        assert m.transform("d", lambda value: value * 2, default=1) == 2
        words = self.make("words", default="x")
        with raises(TypeError):
            words.increment("k")
        assert not words

    def test_setdefault_starts_from_the_default(self) -> None:
        """``setdefault`` without a value of its own stores the map's default."""
        m = self.make(default=10)
        assert m.setdefault("k") == 10
        assert m.setdefault("j", None) is None
        assert m == {"k": 10, "j": None}

    def test_a_callable_default(self) -> None:
        """A callable makes a new default for each reading, as ``defaultdict`` does."""
        made = []

        def make() -> list[int]:
            made.append(1)
            return [len(made)]

        m = self.make(default=make)
        assert (m["k"], m["k"]) == ([1], [2])
        assert m.get("k") == [3]
        assert m.get("k", None) is None
        assert not m
        assert m.transform("k", lambda value: [*value, 0]) == [4, 0]
        assert m["k"] == [4, 0]
        assert len(made) == 4

    def test_a_default_that_cannot_be_stored(self) -> None:
        """A default no entry could hold is refused, and nothing is written."""
        m = self.make(default=object())
        with raises(ValueEncodingError):
            m.get("k")

    # Reading what others write

    def test_two_handles_are_one_map(self) -> None:
        """Whatever one handle writes the other reads at once."""
        one, two = self.make(), self.make()
        one["k"] = 1
        assert two["k"] == 1
        two.increment("k")
        assert one["k"] == 2
        del one["k"]
        assert "k" not in two
        assert isinstance(two, Mapping)

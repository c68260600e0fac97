"""Views: the entries in key order, whole or in ranges."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from lpcm.errors import (
    KeyEncodingError,
)
from lpcm.testing.contracts.mapping.case import MapCase, raises

__all__ = ["ViewTests"]


class ViewTests(MapCase):
    """Views."""

    def test_views_are_views(self) -> None:
        """Views are those of ``collections.abc``, and see what is written later."""
        m = self.make()
        keys, values, items = m.keys(), m.values(), m.items()
        assert isinstance(keys, KeysView)
        assert isinstance(values, ValuesView)
        assert isinstance(items, ItemsView)
        m.update(b=1, a=2)
        assert (len(keys), len(values), len(items)) == (2, 2, 2)
        assert (list(keys), list(values)) == (["a", "b"], [2, 1])
        assert list(items) == [("a", 2), ("b", 1)]

    def test_views_contain(self) -> None:
        """``in`` a view asks for a key, a value by equality, or a pair."""
        m = self.filled(a=1, b=None)
        assert "a" in m.keys()  # noqa: SIM118  # the view is what is tested
        assert "c" not in m.keys()  # noqa: SIM118
        assert 1.0 in m.values()
        assert None in m.values()
        assert 2 not in m.values()
        assert ("a", 1) in m.items()
        assert ("b", None) in m.items()
        for view in (m.keys(), m.values(), m.items()):
            assert view.mapping is m
        for absent in (("a", 2), ("c", 1), ("c", None), "a", None, ("a", 1, 2), ["a", 1]):
            assert absent not in m.items()

    def test_reversed(self) -> None:
        """``reversed`` walks the map and every view from the end of the key order."""
        m = self.make()
        m.update({"b": 1, "a": 2, 1: 3})
        assert list(m) == [1, "a", "b"]
        assert list(reversed(m)) == ["b", "a", 1]
        assert list(reversed(m.keys())) == ["b", "a", 1]
        assert list(reversed(m.values())) == [1, 2, 3]
        assert list(reversed(m.items())) == [("b", 1), ("a", 2), (1, 3)]
        assert list(reversed(m.keys(reverse=True))) == [1, "a", "b"]

    def test_key_view_is_a_set(self) -> None:
        """Views of keys and items do the operations of a set, with sets and other views."""
        m, other = self.filled(a=1, b=2, c=3), self.filled("other", b=2, d=4)
        one, two = {"a", "b", "c"}, {"b", "d"}
        for right in (two, other.keys(), ["b", "d"]):
            assert m.keys() & right == one & two
            assert m.keys() | right == one | two
            assert m.keys() - right == one - two
            assert m.keys() ^ right == one ^ two
            assert not m.keys().isdisjoint(right)
        assert two & m.keys() == {"b"}
        assert two - m.keys() == {"d"}
        assert m.keys() == one  # type: ignore[comparison-overlap]  # a set of keys is one
        assert m.keys() >= {"a"}
        assert m.keys() < {"a", "b", "c", "d"}
        assert m.keys().isdisjoint({"x"})
        assert m.items() & other.items() == {("b", 2)}
        assert m.items() - other.items() == {("a", 1), ("c", 3)}
        assert m.items() == {"a": 1, "b": 2, "c": 3}.items()

    def test_set_operations_of_a_range(self) -> None:
        """The set operations of a range see that range only."""
        m = self.filled(a=1, b=2, c=3)
        part = m.keys(start="b")
        assert part & {"a", "b"} == {"b"}
        assert part | {"x"} == {"b", "c", "x"}
        assert part - {"b"} == {"c"}
        assert part == {"b", "c"}  # type: ignore[comparison-overlap]  # a set of keys is one
        assert part.isdisjoint({"a"})
        assert "a" not in part
        assert ("a", 1) not in m.items(start="b")
        assert ("b", 2) in m.items(start="b")
        assert 1 not in m.values(start="b")

    def test_prefix(self) -> None:
        """``prefix`` selects the text, bytes or tuples that begin with it, nothing else."""
        m = self.make()
        keys: list[Any] = [
            *("", "eu", "eu/", "eu/de", "eu/fr", "eu0", "us", b"eu/", b"eu/x", b"ev"),
            *(("eu",), ("eu", 1), ("eu", 2, "x"), ("euro", 1), 7, None),
        ]
        m.update((key, n) for n, key in enumerate(keys))
        for prefix in ("eu/", "eu", "", "x", b"eu", b"", ("eu",), ("eu", 2), ()):
            wanted = [
                key for key in m if type(key) is type(prefix) and key[: len(prefix)] == prefix
            ]
            assert list(m.keys(prefix=prefix)) == wanted, prefix
            assert len(m.keys(prefix=prefix)) == len(wanted)
            assert list(m.values(prefix=prefix)) == [m[key] for key in wanted]
            assert list(m.items(prefix=prefix, reverse=True)) == [
                (key, m[key]) for key in reversed(wanted)
            ]
        with raises(KeyEncodingError, "prefix"):
            m.keys(prefix=7)

    def test_ranges(self) -> None:
        """``start <= key < stop``, in either direction, with a prefix too."""
        m = self.make()
        m.update((n, str(n)) for n in range(-5, 6))
        m.update({"a": 1, "b/x": 2, "b/y": 3, "c": 4})
        assert list(m.keys(start=-2, stop=2)) == [-2, -1, 0, 1]
        assert list(m.keys(start=-2, stop=2, reverse=True)) == [1, 0, -1, -2]
        assert list(m.keys(start=4.5)) == [5, "a", "b/x", "b/y", "c"]
        assert list(m.keys(stop=-4)) == [-5]
        assert list(m.values(start="a", stop="c")) == [1, 2, 3]
        assert list(m.items(prefix="b/", start="b/y")) == [("b/y", 3)]
        assert list(m.items(prefix="b/", stop="b/y")) == [("b/x", 2)]
        assert list(m.keys(prefix="b/", start="a", stop="z")) == ["b/x", "b/y"]
        for empty in (m.keys(start=2, stop=2), m.keys(start=3, stop=2), m.keys(stop="", start="")):
            assert (list(empty), len(empty)) == ([], 0)
            assert list(reversed(empty)) == []

    def test_limit(self) -> None:
        """A view with a ``limit`` is of the first entries of its walk, to whatever asks it."""
        m = self.filled(a=1, b=2, c=3)
        m.set("0", 0, ttl=1)
        self.clock.advance(1)
        assert next(iter(m.keys(limit=1))) == "a"
        assert [*m.keys(limit=0)] == []
        assert [*m.values(limit=2)] == [1, 2]
        assert [*m.items(limit=9, reverse=True)] == [("c", 3), ("b", 2), ("a", 1)]
        assert [*m.keys(limit=2, start="b")] == ["b", "c"]
        two = m.keys(limit=2)
        assert (len(two), [*reversed(two)], "b" in two, "c" in two) == (2, ["b", "a"], True, False)
        assert (two & {"a", "c"}, two | {"z"}) == ({"a"}, {"a", "b", "z"})
        assert [*reversed(m.keys(limit=2, reverse=True))] == ["b", "c"]
        assert ("b", 2) in m.items(limit=2)
        assert ("c", 3) not in m.items(limit=2)
        assert 3 not in m.values(limit=2)
        with raises(ValueError, "limit must be 0 or more"):
            m.keys(limit=-1)
        with raises(TypeError):
            m.keys(limit="1")  # type: ignore[arg-type]  # refused

    def test_a_limit_of_several_pages(self) -> None:
        """A ``limit`` over the entries of one page ends where it says."""
        m = self.make()
        m.update((n, n) for n in range(1_203))
        assert [*m.keys(limit=1_201)] == [*range(1_201)]

    def test_iteration_of_many_pages(self) -> None:
        """Walking more than a page meets every entry once, in key order, both ways."""
        m = self.make()
        m.update((n, n) for n in range(2_345))
        assert list(m) == list(range(2_345))
        assert list(reversed(m)) == list(range(2_344, -1, -1))
        assert list(m.items(start=999, stop=2_001)) == [(n, n) for n in range(999, 2_001)]
        assert len(m) == 2_345

    def test_iteration_while_the_map_changes(self) -> None:
        """An entry that is there all the time is met exactly once, whatever else changes."""
        for backward in (False, True):
            m = self.make(f"m{backward}")
            m.update((n, n) for n in range(0, 4_000, 2))
            met = []
            for key in reversed(m) if backward else m:
                met.append(key)
                m[key] = "changed"
                m[key + 1] = "new"
                if key % 100 == 0:
                    m.delete(key)
            steady = [key for key in met if key % 2 == 0]
            assert steady == sorted(range(0, 4_000, 2), reverse=backward)
            assert len(met) == len(set(met))

    def test_a_new_iterator_starts_again(self) -> None:
        """Every ``iter`` of a view is a walk of its own."""
        m = self.filled(a=1, b=2)
        view = m.keys()
        first, second = iter(view), iter(view)
        assert (next(first), next(first), next(second)) == ("a", "b", "a")
        assert next(first, None) is None

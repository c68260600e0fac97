"""Entries that expire, and what keeps or changes their expiry."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from lpcm import transaction
from lpcm.errors import (
    Conflict,
)
from lpcm.testing.contracts.mapping.case import MapCase, raises

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ExpiryTests"]


def _double(number: int) -> int:
    return 2 * number


EXPIRY: Final[Mapping[str, tuple[Any, ...]]] = {
    'm["k"] = 1': (1, None, 1000, None, 1000),
    'm["k"] = m["k"] + 1': (1, None, 1000, 500, 1000),
    'm["k"] = 1; m["k"]; m["k"] = 2': (1, None, 1000, None, 1000),
    'm.set("k", 1)': (1, None, 1000, None, 1000),
    'm["k"]; m.set("k", 1)': (1, None, 1000, None, 1000),
    'm.set("k", 1, ttl=60)': (1, 60, 60, 60, 60),
    'm.delete("k"); m["k"] = 1': (1, None, 1000, None, 1000),
    'm["k"] += 1': (1, 500, 500, 500, 500),
    'm["k"] -= 0.5': (1.5, 500, 500, 500, 500),
    'm["k"] *= 2': (1, 500, 500, 500, 500),
    'm["k"] //= 2': (7, 500, 500, 500, 500),
    'm["k"] **= 2': (0.5, 500, 500, 500, 500),
    'm["k"] |= 2': (1, 500, 500, 500, 500),
    'm["k"] += [2]': ([1], 500, 500, 500, 500),
    'm["k"] *= 2 ': ([1], 500, 500, 500, 500),
    'm["k"] |= {2}': ({1}, 500, 500, 500, 500),
    'm["k"] |= {"a": 2}': ({"b": 1}, 500, 500, 500, 500),
    'm["k"] += "x"': ("x", None, 1000, 500, 1000),
    'm["k"] += (2,)': ((1,), None, 1000, 500, 1000),
    'm.increment("k", ttl=60)': (1, 500, 500, 500, 500),
    'm.decrement("k", 0.5, ttl=60)': (1, 500, 500, 500, 500),
    'm.transform("k", str, ttl=60)': (1, 500, 500, 500, 500),
    'm.add("k", 2, ttl=60)': (1, 500, 500, 500, 500),
    'm.touch("k", 60)': (1, 60, 60, 60, 60),
    'm.touch("k", None)': (1, None, None, None, None),
    'm["k"].append(2)': ([1], 500, 500, 500, 500),
    'm["k"]["a"] = 2': ({"b": 1}, 500, 500, 500, 500),
    'm["k"]["b"] *= 2': ({"b": 1}, 500, 500, 500, 500),
    'm["k"].increment()': (1, 500, 500, 500, 500),
    'm.expire("k", 60)': (1, 60, 60, 60, 60),
    'm.replace("k", 2)': (1, None, 1000, None, 1000),
    'm["k"]; m.replace("k", 2)': (1, None, 1000, None, 1000),
    'm.replace("k", 2, ttl=60)': (1, 60, 60, 60, 60),
    "m.update(k=2)": (1, None, 1000, None, 1000),
    'm["k"]; m.set_many({"k": 2})': (1, None, 1000, None, 1000),
    'm.set_many({"k": 2}, ttl=60)': (1, 60, 60, 60, 60),
    'm.setdefault("k", 2, ttl=60)': (1, 500, 500, 500, 500),
    'm["k"] = m.pop("k")': (1, None, 1000, None, 1000),
}
"""What is left of 500 seconds after a spelling, of a value: outside a transaction without and with
a map's own ttl of 1000, then the same in a transaction."""


class ExpiryTests(MapCase):
    """Expiry."""

    def test_ttl(self) -> None:
        """``ttl`` is what is left, None for ever; set with seconds or a timedelta."""
        m = self.filled(a=1)
        assert m.ttl("a") is None
        m.set("k", 1, ttl=60)
        assert m.ttl("k") == 60
        self.clock.advance(20)
        assert m.ttl("k") == 40
        m.set("k", 1, ttl=timedelta(minutes=5))
        assert m.ttl("k") == 300
        m.setdefault("new", 1, ttl=7)
        assert m.ttl("new") == 7
        m.setdefault("k", 1, ttl=7)
        assert m.ttl("k") == 300
        m.replace("k", 1, ttl=8)
        assert m.ttl("k") == 8

    def test_writes_clear_an_expiry(self) -> None:
        """Assigning, ``set``, ``replace``, ``update`` and ``set_many`` clear an expiry."""
        m = self.make()
        for write in (
            lambda: m.__setitem__("k", 2),
            lambda: m.set("k", 2),
            lambda: m.replace("k", 2),
            lambda: m.update(k=2),
            lambda: m.set_many({"k": 2}),
        ):
            m.set("k", 1, ttl=60)
            write()
            assert m.ttl("k") is None

    def test_expire(self) -> None:
        """``expire`` sets, changes and removes an expiry, and nothing else."""
        m = self.filled(k=[1])
        m.expire("k", 5)
        assert m.ttl("k") == 5
        m.expire("k", timedelta(hours=1))
        assert m.ttl("k") == 3600
        m.expire("k", None)
        assert m.ttl("k") is None
        assert m["k"] == [1]
        for bad in (0, -1, math.nan, math.inf):
            with raises(ValueError, "ttl must be"):
                m.expire("k", bad)
        assert m.ttl("k") is None

    def test_touch(self) -> None:
        """``touch`` is ``expire`` that tells, where that raises."""
        m = self.filled(k=[1])
        assert m.touch("k", 5)
        assert m.ttl("k") == 5
        assert m.touch("k", None)
        assert m.ttl("k") is None
        assert m.touch("k", timedelta(minutes=1))
        self.clock.advance(60)
        assert not m.touch("k", 60)
        assert not m.touch("gone", None)
        with raises(ValueError, "ttl must be"):
            m.touch("gone", 0)
        assert not m

    def test_the_ttl_of_a_new_entry(self) -> None:
        """The ``ttl`` of ``increment``, ``decrement`` and ``transform`` is a new entry's only."""
        for own in (None, 1000):
            m = self.make(ttl=own)
            for name, more in (
                ("increment", ()),
                ("increment", (0.5,)),
                ("decrement", ()),
                ("transform", (_double, 1)),
            ):
                write = getattr(m, name)
                m.clear()
                write("k", *more, ttl=60)
                assert m.ttl("k") == 60
                self.clock.advance(50)
                write("k", *more, ttl=60)
                assert m.ttl("k") == 10
                self.clock.advance(10)
                assert "k" not in m
                write("k", *more, ttl=60)
                assert m.ttl("k") == 60
        m.clear()
        for bad in (0, -1, math.nan):
            for delta in (1, 0.5):
                with raises(ValueError, "ttl must be"):
                    m.increment("k", delta, ttl=bad)
            with raises(ValueError, "ttl must be"):
                m.transform("k", str, 0, ttl=bad)
        assert not m

    def test_increments_and_transforms_keep_an_expiry(self) -> None:
        """``increment``, ``decrement`` and ``transform`` leave the expiry alone."""
        m = self.make(ttl=1000)
        for stored, delta in ((1, 1), (1, 0.5), (10**30, 1), (0.5, 1), (Decimal(1), 2)):
            m.set("k", stored, ttl=60)
            m.increment("k", delta)
            m.decrement("k", delta)
            m.transform("k", lambda value: value)
            assert m.ttl("k") == 60

    def test_one_rule_of_expiry(self) -> None:
        """Each spelling of a write leaves the expiry that the table has, in a transaction too."""
        for spelling, (stored, *wanted) in EXPIRY.items():
            places = product((False, True), (None, 1000))
            for (inside, own), left in zip(places, wanted, strict=True):
                m = self.make(ttl=own)
                m.set("k", stored, ttl=500)
                with transaction() as t:
                    exec(spelling, {"m": t[m] if inside else m})  # noqa: S102  # the table's own
                assert m.ttl("k") == left, (spelling, inside, own)

    def test_the_default_ttl_of_a_map(self) -> None:
        """A map's ``ttl`` holds for every write that gives none of its own."""
        m = self.make(ttl=100)
        m["a"] = 1
        m.update(b=1)
        m.setdefault("c", 1)
        m.set("d", 1, ttl=5)
        m.transform("e", lambda _: 1, default=0)
        assert {key: m.ttl(key) for key in m} == {"a": 100, "b": 100, "c": 100, "d": 5, "e": 100}
        m.increment("f", 0.5)
        assert m.ttl("f") == 100
        self.make("n", ttl=timedelta(seconds=9))["k"] = 1
        assert self.make("n").ttl("k") == 9

    def test_a_counter_begins_with_the_default_ttl(self) -> None:
        """An increment from nothing gets the map's ``ttl``, whatever its type."""
        m = self.make(ttl=100)
        for delta in (1, 0.5, Decimal(1), 10**30):
            m.delete("k")
            m.increment("k", delta)
            assert m.ttl("k") == 100, delta

    def test_the_expired_is_absent_everywhere(self) -> None:
        """From its last second on, an entry is absent to every single operation."""
        m = self.make()

        def expired() -> None:
            m.clear()
            m.set("k", 41, ttl=10)
            m["stays"] = 0
            self.clock.advance(10)

        expired()
        assert "k" not in m
        assert m.get("k") is None
        assert m.get_many(["k", "stays"]) == {"stays": 0}
        assert (len(m), list(m), list(reversed(m))) == (1, ["stays"], ["stays"])
        assert (m.copy(), list(m.values()), len(m.keys(prefix="k"))) == ({"stays": 0}, [0], 0)
        assert m == {"stays": 0}
        for operation in (m.__getitem__, m.__delitem__, m.pop, m.entry, m.ttl):
            with raises(KeyError):
                operation("k")
        with raises(KeyError):
            m.expire("k", 10)
        with raises(KeyError):
            m.replace("k", 1)
        with raises(KeyError):
            m.transform("k", lambda value: value)
        assert m.pop("k", 7) == 7
        m.delete("k")
        expired()
        assert m.setdefault("k", 1) == 1
        assert m.ttl("k") is None
        expired()
        assert m.increment("k") == 1
        assert m.ttl("k") is None
        expired()
        assert m.increment("k", 0.5) == 0.5
        expired()
        assert m.transform("k", lambda value: value + 1, default=5) == 6
        expired()
        assert m.popitem() == ("stays", 0)
        with raises(KeyError):
            m.popitem()
        assert not m

    def test_an_etag_does_not_outlive_its_entry(self) -> None:
        """A replacement conditional on the etag of an expired entry is a Conflict."""
        m = self.make()
        m.set("k", 1, ttl=10)
        etag = m.entry("k").etag
        self.clock.advance(10)
        with raises(Conflict):
            m.replace("k", 2, if_etag=etag)
        assert "k" not in m

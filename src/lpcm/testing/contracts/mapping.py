"""The contract of ``LPCM``, as tests that the test class of every store inherits.

Knows maps by their public face only: a test class overrides ``using``.

    class TestMine(MappingContract):
        def setup_method(self) -> None:
            super().setup_method()
            self.engine = Engine.open("mine://...", clock=self.clock)

        def using(self) -> Engine:
            return self.engine

Invariant: each test starts from an empty store and moves ``clock``, never the machine's.
"""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from collections import OrderedDict, UserDict
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from itertools import product
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from lpcm import LPCM, transaction
from lpcm.errors import (
    BatchError,
    Conflict,
    KeyEncodingError,
    KeyTooLong,
    PickleRefused,
    ValueEncodingError,
    ValueTooLarge,
)
from lpcm.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lpcm import Engine

__all__ = ["MappingContract"]


class _Colour(str, Enum):  # noqa: UP042  # the older spelling, which many have
    RED = "red"


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
_IMPOSSIBLE: list[tuple[Any, type[Exception]]] = [
    (math.nan, KeyEncodingError),
    (Decimal("nan"), KeyEncodingError),
    (("a", math.nan), KeyEncodingError),
    (object(), KeyEncodingError),
    (PurePath("/a"), KeyEncodingError),
    (frozenset("a"), KeyEncodingError),
    (("a", object()), KeyEncodingError),
    ("x" * 1025, KeyTooLong),
    (b"x" * 1025, KeyTooLong),
    (10**2000 + 1, KeyTooLong),
    ("\ud800", KeyEncodingError),
]
"""Hashable objects that cannot be keys, with what writing them raises."""


class _Caught:
    """What ``raises`` caught."""

    error: Any = None


@contextmanager
def raises(kind: type[BaseException], text: str = "") -> Generator[_Caught]:
    """Require an error of that very class whose message contains the text."""
    caught = _Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
    assert type(caught.error) is kind, f"wanted {kind.__name__}, got {caught.error!r}"
    assert text in str(caught.error), f"{text!r} not in {caught.error}"


class MappingContract:
    """What a map does, whatever it lives in. Override ``using``."""

    clock: FakeClock
    max_value: int | None = None
    """The store's limit on a value, where the test class has set one."""

    def setup_method(self) -> None:
        """Start a clock for the test."""
        self.clock = FakeClock()

    def using(self) -> str | Engine:
        """Return the alias or engine of the test's one store, which keeps time by ``clock``."""
        raise NotImplementedError

    def make(self, name: str = "m", **options: Any) -> LPCM[Any, Any]:
        """Open a map of the test's store."""
        return LPCM(name, using=self.using(), **options)

    def filled(self, name: str = "m", **entries: Any) -> LPCM[Any, Any]:
        """Open a map that holds these entries."""
        made = self.make(name)
        made.update(entries)
        return made

    # The protocol of dict

    def test_it_is_a_mutable_mapping(self) -> None:
        """A map is a MutableMapping, and not hashable."""
        m = self.make()
        assert isinstance(m, MutableMapping)
        with raises(TypeError):
            hash(m)

    def test_set_get_delete(self) -> None:
        """What is assigned is read back; what is deleted is a KeyError."""
        m = self.make()
        m["pi"] = 3.1415
        assert (m["pi"], "pi" in m, len(m)) == (3.1415, True, 1)
        m["pi"] = 3
        assert (m["pi"], len(m)) == (3, 1)
        del m["pi"]
        assert ("pi" in m, len(m)) == (False, 0)

    def test_missing_keys_raise_a_plain_keyerror(self) -> None:
        """A missing key is a KeyError that carries the key as it was given."""
        m = self.make()
        for key in ("gone", 7, ("a", 1)):
            for operation in (m.__getitem__, m.__delitem__, m.pop, m.entry, m.ttl):
                with raises(KeyError) as caught:
                    operation(key)
                assert caught.error.args == (key,)
            with raises(KeyError) as caught:
                m.expire(key, 1)
            assert caught.error.args == (key,)
            with raises(KeyError) as caught:
                m.replace(key, 1)
            assert caught.error.args == (key,)
            with raises(KeyError) as caught:
                m.transform(key, str)
            assert caught.error.args == (key,)
        assert len(m) == 0

    def test_get(self) -> None:
        """``get`` reads a stored None as None and an absent key as the default."""
        m = self.filled(none=None, zero=0)
        assert m.get("none", 1) is None
        assert m.get("zero", 1) == 0
        assert m.get("gone") is None
        assert m.get("gone", 1) == 1

    def test_values_are_copies(self) -> None:
        """Changing an object after it was stored, or a plain one after a read, changes no entry."""
        value = {"tags": ["x"]}
        m = self.make(default=[])
        m["k"] = value
        value["tags"].append("y")
        assert m["k"] == {"tags": ["x"]}
        plain = self.make(default=[], live=False)
        plain["gone"].append(1)
        assert plain["gone"] == []
        assert "gone" not in plain

    def test_values_come_back_as_they_went_in(self) -> None:
        """A value comes back equal and of the same type; live, it is a subclass of it."""
        m, alive = self.make(live=False), self.make()
        values: list[Any] = [
            *(None, True, 1, 10**40, -(2**63), 1.0, -0.0, math.inf, Decimal("1.10"), "", "é\0"),
            *(b"", b"\0\xff", [], [1, "a"], (), (1,), {}, {"a": {1: None}}, {1, "a"}, set()),
            *(frozenset({1}), date(2026, 5, 1), timedelta(1), UUID(int=7)),
        ]
        for n, value in enumerate(values):
            m[n] = value
        for n, value in enumerate(values):
            for read in (m[n], m.get(n), m.get_many([n])[n], m.entry(n).value, m.copy()[n]):
                assert type(read) is type(value), value
                assert repr(read) == repr(value) or (read == value and len(repr(value)) > 6)
            assert isinstance(alive[n], type(value))
            assert alive[n] == value

    def test_setdefault(self) -> None:
        """``setdefault`` stores only where there is nothing, and returns what is stored."""
        m = self.make()
        assert m.setdefault("k", 1) == 1
        assert m.setdefault("k", 2) == 1
        assert m.setdefault("none") is None
        assert m.setdefault("none", 1) is None
        assert m.copy() == {"k": 1, "none": None}

    def test_pop(self) -> None:
        """``pop`` removes and returns; the default is for an absent key only."""
        m = self.filled(a=1, none=None)
        assert m.pop("a") == 1
        assert m.pop("a", 2) == 2
        assert m.pop("none", 3) is None
        assert m.pop("a", None) is None
        assert not m

    def test_popitem_takes_the_last_in_key_order(self) -> None:
        """``popitem`` takes entries from the end of the key order, until it is a KeyError."""
        m = self.make()
        m.update({"b": 1, "a": 2, 10: 3, 9: 4, None: 5})
        assert [m.popitem() for _ in range(5)] == [("b", 1), ("a", 2), (10, 3), (9, 4), (None, 5)]
        with raises(KeyError):
            m.popitem()

    def test_popitem_takes_the_first(self) -> None:
        """``popitem(last=False)`` takes entries from the beginning, what has expired left out."""
        m = self.filled(b=1, c=2)
        m.set("a", 0, ttl=1)
        m.set("d", 3, ttl=1)
        self.clock.advance(1)
        assert [m.popitem(last=False), m.popitem()] == [("b", 1), ("c", 2)]
        for last in (True, False):
            with raises(KeyError):
                m.popitem(last=last)

    def test_peekitem(self) -> None:
        """``peekitem`` reads the last entry or the first, what has expired left out."""
        m = self.filled(b=[1], c=2)
        m.set("a", 0, ttl=1)
        m.set("d", 3, ttl=1)
        self.clock.advance(1)
        assert [m.peekitem(), m.peekitem(last=False)] == [("c", 2), ("b", [1])]
        assert m == {"b": [1], "c": 2}
        m.clear()
        for last in (True, False):
            with raises(KeyError):
                m.peekitem(last=last)

    def test_add(self) -> None:
        """``add`` stores only where there is nothing, and tells whether it did."""
        m = self.make(ttl=100)
        assert m.add("k", None, ttl=60)
        assert not m.add("k", 2, ttl=7)
        assert (m["k"], m.ttl("k")) == (None, 60)
        self.clock.advance(60)
        assert m.add("k", 3)
        assert (m["k"], m.ttl("k")) == (3, 100)
        with raises(ValueError, "ttl must be"):
            m.add("j", 1, ttl=0)
        with raises(ValueEncodingError):
            m.add("k", object())
        assert m == {"k": 3}

    def test_get_or_add(self) -> None:
        """``get_or_add`` is ``add``, and brings the entry that is there then."""
        m = self.make(ttl=100)
        entry, added = m.get_or_add("k", [1], ttl=60)
        assert added
        assert entry == m.entry("k")
        assert (entry.key, entry.value, m.ttl("k")) == ("k", [1], 60)
        again, added = m.get_or_add("k", 2, ttl=7)
        assert not added
        assert again == entry
        m.replace("k", 3, if_etag=again.etag)
        assert m.get_or_add("k", 4)[0].value == 3
        with raises(ValueError, "ttl must be"):
            m.get_or_add("j", 1, ttl=0)
        with raises(KeyEncodingError):
            m.get_or_add(float("nan"), 1)
        assert m == {"k": 3}

    def test_increment_existing(self) -> None:
        """``increment_existing`` adds to what is there, keeps its expiry, and begins nothing."""
        m = self.make(ttl=100)
        m.set("k", 1, ttl=60)
        assert m.increment_existing("k") == 2
        assert m.increment_existing("k", -5) == -3
        assert m.increment_existing("k", 0.5) == -2.5
        assert (m["k"], m.ttl("k")) == (-2.5, 60)
        m["text"] = "3"
        with raises(TypeError):
            m.increment_existing("text")
        assert m.increment_existing("text", 2, fn=lambda text: str(int(text) + 2)) == "5"
        with raises(KeyError):
            m.increment_existing("gone")
        with raises(KeyEncodingError):
            m.increment_existing(float("nan"))
        with raises(TypeError, "an increment must be"):
            m.increment_existing("k", "1")
        self.clock.advance(60)
        with raises(KeyError):
            m.increment_existing("k")
        assert m.copy() == {"text": "5"}

    def test_delete_is_silent(self) -> None:
        """``delete`` removes an entry and says nothing where there is none."""
        m = self.filled(a=1)
        for _ in range(2):
            m.delete("a")
            assert "a" not in m

    def test_update(self) -> None:
        """``update`` takes a mapping, pairs, anything with keys, another map and keywords."""
        m = self.make()
        m.update()
        assert not m
        m.update({"a": 1})
        m.update([("b", 2), ["c", 3], "d4"])
        m.update(UserDict(e=5), f=6)
        m.update(self.filled("other", g=7))
        m.update([("a", 0), ("a", 8)], b=9)
        m.update(self=1)
        assert m.copy() == {"a": 8, "b": 9, "c": 3, "d": "4", "e": 5, "f": 6, "g": 7, "self": 1}
        with raises(ValueError, "element #0 has length 3"):
            m.update(["abc"])
        with raises(TypeError):
            m.update(7)

    def test_or(self) -> None:
        """``|`` gives a plain dict in which the right-hand side wins, from either side."""
        m = self.filled(a=1, b=2)
        other = self.filled("other", b=3, c=4)
        right = {"b": 3, "c": 4}
        for both in (m | right, m | other, dict(m) | other):
            assert type(both) is dict
            assert both == {"a": 1, "b": 3, "c": 4}
        for both in (right | m, other | m):
            assert type(both) is dict
            assert both == {"a": 1, "b": 2, "c": 4}
        with raises(TypeError):
            _ = m | [("a", 1)]  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
        assert m.copy() == {"a": 1, "b": 2}

    def test_inplace_or(self) -> None:
        """``|=`` updates the stored map, from a mapping or from pairs."""
        m = same = self.filled(a=1)
        m |= {"b": 2}
        m |= [("c", 3)]
        assert m is same
        assert self.make().copy() == {"a": 1, "b": 2, "c": 3}

    def test_copy_is_a_plain_dict(self) -> None:
        """``copy`` is a dict in key order that no longer belongs to the map."""
        m = self.filled(b=1, a=2)
        copied = m.copy()
        assert type(copied) is dict
        assert list(copied.items()) == [("a", 2), ("b", 1)]
        copied["c"] = 3
        assert "c" not in m
        assert dict(m) == dict(m.items()) == m.copy()
        assert {**m} == m.copy()

    def test_equality(self) -> None:
        """A map equals every mapping of the same entries, whatever its order or class."""
        m = self.filled(a=1, b=[2])
        entries = {"b": [2], "a": 1}
        for equal in (
            *(m, self.make(), entries, OrderedDict(entries), MappingProxyType(entries)),
            *(UserDict(entries), self.filled("other", **entries)),
        ):
            assert m == equal
            assert equal == m
            assert not m != equal  # noqa: SIM202  # != is its own method
        for other in (
            *({}, {"a": 1}, {**entries, "c": 3}, {"a": 1, "b": [3]}, {"a": 1, "c": [2]}),
            *(self.filled("shorter", a=1), self.filled("longer", **entries, c=3), self.make("no")),
            *([("a", 1), ("b", [2])], None, "ab"),
        ):
            assert m != other
            assert other != m
        assert self.make("no") == {}

    def test_maps_of_other_names_and_their_entries_are_apart(self) -> None:
        """Maps of two names share no entry; clearing one leaves the other."""
        one, other = self.filled("a", k=1), self.filled("ab", k=2)
        one.clear()
        assert (one.copy(), other.copy()) == ({}, {"k": 2})

    def test_clear(self) -> None:
        """``clear`` removes every entry, and the map works on."""
        m = self.filled(a=1, b=2)
        m.clear()
        assert (len(m), bool(m), list(m)) == (0, False, [])
        m.clear()
        m["a"] = 1
        assert m == {"a": 1}

    def test_bool_and_len(self) -> None:
        """A map is true when it has an entry; ``len`` counts them."""
        m = self.make()
        assert (bool(m), len(m)) == (False, 0)
        m[0] = None
        assert (bool(m), len(m)) == (True, 1)

    def test_fromkeys(self) -> None:
        """``fromkeys`` fills the map of that name, and leaves its other entries."""
        self.make()["z"] = 1
        made = LPCM.fromkeys("ab", name="m", using=self.using())
        assert made.copy() == {"a": None, "b": None, "z": 1}
        assert LPCM.fromkeys([1], 2, name="n", using=self.using()).copy() == {1: 2}

    def test_repr_and_name(self) -> None:
        """The repr names the map, and reads nothing."""
        m = self.make("some map")
        assert m.name == "some map"
        assert repr(m) == "LPCM('some map')"
        assert repr(m.keys()) == "LPCM('some map').keys()"

    def test_pickling(self) -> None:
        """A handle is copied and pickled as the same map; one with an Engine only copied."""
        m = self.filled(a=1)
        for again in (copy.copy(m), copy.deepcopy(m)):
            assert again is not m
            assert type(again) is type(m)
            assert again == {"a": 1}
        if isinstance(self.using(), str):
            assert pickle.loads(pickle.dumps(m)) == {"a": 1}  # noqa: S301  # our own
        else:
            with raises(PickleRefused, "Engine"):
                pickle.dumps(m)

    # Keys

    def test_keys_equal_in_python_are_one_key(self) -> None:
        """Whatever two keys Python calls equal are one entry."""
        m = self.make()
        for same in (
            (1, 1.0, True, Decimal(1), Decimal("1.00")),
            (0, -0.0, False, Decimal("-0")),
            ("red", _Colour.RED),
            (("a", 1), ("a", 1.0), ("a", True)),
            (0.5, Decimal("0.5")),
        ):
            m.clear()
            for key in same:
                m[key] = repr(key)
                for equal in same:
                    assert m[equal] == repr(key)
                    assert equal in m
            assert len(m) == 1
            (key,) = m
            assert key == same[0]
            del m[same[-1]]
            assert not m

    def test_keys_that_differ_are_different_keys(self) -> None:
        """No two keys that differ share an entry, however alike they look."""
        m = self.make()
        keys: list[Any] = [
            *("1", 1, b"1", ("1",), (1,), ((1,),), "", b"", (), None, "None", 0, "0", 0.1),
            *(Decimal("0.1"), 10**30, 10**30 + 1, "a", "a\0", "A", "!", "!1", date(2026, 5, 1)),
            *("2026-05-01", UUID(int=7), str(UUID(int=7)), timedelta(seconds=1), 1e300, math.inf),
        ]
        m.update((key, n) for n, key in enumerate(keys))
        assert len(m) == len(keys)
        assert [m[key] for key in keys] == list(range(len(keys)))
        assert dict(m.items()) == {key: n for n, key in enumerate(keys)}

    def test_numbers_come_back_as_the_shortest_type(self) -> None:
        """A number key comes back as int where one equals it, else float, else Decimal."""
        m = self.make()
        m.update(dict.fromkeys([True, 2.0, Decimal("3.0"), Decimal("0.5"), Decimal("0.1")]))
        assert [(type(key), key) for key in m] == [
            (Decimal, Decimal("0.1")),
            *((float, 0.5), (int, 1), (int, 2), (int, 3)),
        ]

    def test_impossible_keys(self) -> None:
        """Whatever would write under what cannot be a key is refused, and nothing is written."""
        m = self.filled(a=1)
        for key, error in _IMPOSSIBLE:
            for operation in (
                *(m.setdefault, m.increment, lambda key: m.set(key, 1)),
                lambda key: m.replace(key, 1),
                lambda key: m.transform(key, lambda v: v, 1),
                lambda key: m.set_many([("b", 1), (key, 1)]),
                lambda key: m.keys(start=key),
                lambda key: m.items(stop=key),
            ):
                with raises(error):
                    operation(key)
        assert m.copy() == {"a": 1}

    def test_impossible_keys_are_absent(self) -> None:
        """Reading and removing what cannot be a key finds nothing, as in a dict."""
        m, zero = self.filled(a=1), self.make("zero", default=0)
        for key, _ in _IMPOSSIBLE:
            for operation in (
                *(m.__getitem__, m.__delitem__, m.pop, m.entry, m.ttl),
                lambda key: m.expire(key, 1),
                lambda key: m.expire(key, None),
            ):
                with raises(KeyError) as caught:
                    operation(key)
                assert caught.error.args[0] is key
            m.delete(key)
            m.delete_many(["gone", key])
            assert (m.get(key), m.get(key, 1), m.pop(key, 2)) == (None, 1, 2)
            assert (zero[key], zero.get(key), zero.get(key, 1)) == (0, 0, 1)
            assert m.get_many(iter(["gone", key, "a"])) == {"a": 1}
            assert key not in m
            assert key not in m.keys()  # noqa: SIM118  # the view is what is tested
            assert (key, 1) not in m.items()
            assert m.keys() & ["a", key] == {"a"}
            assert m.keys().isdisjoint([key])
            assert m.keys() - {key} == {"a"}
        assert m.copy() == {"a": 1}
        assert len(zero) == 0

    def test_impossible_keys_are_absent_for_who_awaits(self) -> None:
        """The a-twins find nothing under what cannot be a key, either."""
        m = self.filled(a=1)

        async def read(key: Any) -> None:
            for operation in (
                *(m.agetitem, m.adelitem, m.apop, m.aentry, m.attl),
                lambda key: m.aexpire(key, 1),
            ):
                with raises(KeyError):
                    await operation(key)
            await m.adelete(key)
            await m.adelete_many(["gone", key])
            assert (await m.aget(key), await m.aget(key, 1), await m.apop(key, 2)) == (None, 1, 2)
            assert await m.aget_many(["gone", key, "a"]) == {"a": 1}
            assert not await m.acontains(key)
            with raises(KeyError):
                async with transaction() as t:
                    assert key not in t[m]
                    assert not await t[m].acontains(key)
                    assert await t[m].aget(key, 1) == 1
                    await t[m].adelitem(key)

        async def main() -> None:
            for key, _ in _IMPOSSIBLE:
                await read(key)

        asyncio.run(main())
        assert m.copy() == {"a": 1}

    def test_impossible_keys_in_a_transaction(self) -> None:
        """In a transaction they are absent, too, and refused when written."""
        m, zero = self.filled(a=1), self.make("zero", default=0)
        for key, error in _IMPOSSIBLE:
            with transaction() as t:
                assert (t[m].get(key), t[m].get(key, 1), t[zero][key]) == (None, 1, 0)
                assert key not in t[m]
                t[m].delete(key)
                for missing in (t[m].__getitem__, t[m].__delitem__):
                    with raises(KeyError):
                        missing(key)
                with raises(error):
                    t[m][key] = 1
                with raises(error):
                    t[m].increment(key)
                t[m]["b"] = 2
        assert m.copy() == {"a": 1, "b": 2}

    def test_unhashable_keys(self) -> None:
        """What no dict could look up is a TypeError, for reading as for writing."""
        m = self.filled(a=1)
        unhashable: list[Any] = [[], {}, set(), bytearray(b"a"), ("a", {})]
        for key in unhashable:
            for operation in (
                *(m.__getitem__, m.__delitem__, m.__contains__, m.get, m.entry, m.ttl, m.delete),
                *(m.pop, m.setdefault, m.increment, m.keys().__contains__),
                lambda key: m.get(key, 1),
                lambda key: m.pop(key, 1),
                lambda key: m.set(key, 1),
                lambda key: m.expire(key, 1),
                lambda key: m.get_many(["a", key]),
                lambda key: m.delete_many(["a", key]),
                lambda key: (key, 1) in m.items(),
            ):
                with raises(KeyEncodingError):
                    operation(key)
            with transaction() as t:
                for operation in (t[m].get, t[m].__contains__, t[m].__getitem__, t[m].delete):
                    with raises(KeyEncodingError):
                        operation(key)
        assert issubclass(KeyEncodingError, TypeError)
        assert m.copy() == {"a": 1}

    def test_missing_of_a_subclass(self) -> None:
        """``m[key]`` of a missing key is what a subclass's ``__missing__`` returns."""
        m = self.filled(a=1)

        class Sevens(type(m)):  # type: ignore[misc]  # whatever class of map the store's test makes
            def __missing__(self, key: Any) -> Any:
                if key == "never":
                    raise LookupError(key)
                return f"no {key!r}"

        m.__class__ = Sevens
        assert (m["a"], m["b"], m[("c", math.nan)]) == (1, "no 'b'", "no ('c', nan)")
        assert asyncio.run(m.agetitem("b")) == "no 'b'"
        with raises(LookupError):
            m["never"]
        assert (m.get("b"), m.get("b", 2), "b" in m) == (None, 2, False)
        for operation in (m.pop, m.entry, m.ttl, m.__delitem__):
            with raises(KeyError):
                operation("b")
        assert m.copy() == {"a": 1}

    # Views

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

    # Expiry

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

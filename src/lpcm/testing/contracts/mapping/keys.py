"""What can be a key, and what becomes of it."""

from __future__ import annotations

import asyncio
import math
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from lpcm import transaction
from lpcm.errors import (
    KeyEncodingError,
    KeyTooLong,
)
from lpcm.testing.contracts.mapping.case import MapCase, raises

__all__ = ["KeyTests"]


class _Colour(str, Enum):  # noqa: UP042  # the older spelling, which many have
    RED = "red"


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


class KeyTests(MapCase):
    """Keys."""

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

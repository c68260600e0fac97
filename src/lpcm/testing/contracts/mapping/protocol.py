"""A map has what a dict has."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from collections import OrderedDict, UserDict
from collections.abc import MutableMapping
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from lpcm import LPCM
from lpcm.errors import (
    KeyEncodingError,
    PickleRefused,
    ValueEncodingError,
)
from lpcm.testing.contracts.mapping.case import MapCase, raises

__all__ = ["ProtocolTests"]


class ProtocolTests(MapCase):
    """The protocol of dict."""

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

    def test_open(self) -> None:
        """A value of bytes is a file: seen when it is closed, or never."""
        m = self.make(ttl=100)
        with m.open("k", "wb", ttl=60) as file:
            assert file.write(b"one\n") == 4
            assert file.write(bytearray(b"two\n")) == 4
            assert "k" not in m
        assert (m["k"], m.ttl("k")) == (b"one\ntwo\n", 60)
        with m.open("k") as back:
            assert list(back) == [b"one\n", b"two\n"]
            assert (back.seek(4), back.read(2), back.read()) == (4, b"tw", b"o\n")
        with raises(RuntimeError), m.open("k", "wb") as file:
            file.write(b"three")
            raise RuntimeError
        with raises(FileExistsError), m.open("k", "xb"):
            pass
        assert m["k"] == b"one\ntwo\n"
        with m.open("k", "wb"):
            pass
        assert (m["k"], m.ttl("k")) == (b"", 100)
        with raises(KeyError):
            m.open("gone")
        with raises(KeyEncodingError):
            m.open(float("nan"), "wb")
        m["text"] = "one"
        with raises(TypeError, "a file is of a value of bytes"):
            m.open("text")
        with raises(ValueError, "ttl must be"):
            m.open("k", "wb", ttl=0)

    def test_aopen(self) -> None:
        """What ``open`` does, awaited."""
        m = self.make(ttl=100)

        async def write(mode: Any, *pieces: bytes, **given: Any) -> None:
            async with m.aopen("k", mode, **given) as file:
                for piece in pieces:
                    assert await file.write(piece) == len(piece)
                if pieces[-1:] == (b"fails",):
                    raise RuntimeError

        async def main() -> None:
            await write("wb", b"one\n", b"two\n", ttl=60)
            assert (await m.aget("k"), await m.attl("k")) == (b"one\ntwo\n", 60)
            async with m.aopen("k") as back:
                assert [line async for line in back] == [b"one\n", b"two\n"]
                assert (await back.seek(4), await back.read(2), await back.tell()) == (4, b"tw", 6)
                assert (await back.read(), await back.read(), await back.readline()) == (
                    *(b"o\n", b"", b""),
                )
            with raises(RuntimeError):
                await write("wb", b"three", b"fails")
            with raises(FileExistsError):
                await write("xb", b"four")
            assert await m.aget("k") == b"one\ntwo\n"
            await write("wb")
            assert (await m.aget("k"), await m.attl("k")) == (b"", 100)
            with raises(KeyError):
                await m.aopen("gone")
            with raises(KeyEncodingError):
                await m.aopen(float("nan"), "wb")
            await m.aset("text", "one")
            with raises(TypeError, "a file is of a value of bytes"):
                await m.aopen("text")
            with raises(ValueError, "ttl must be"):
                await m.aopen("k", "wb", ttl=0)

        asyncio.run(main())

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

"""Entries as the bytes that are cached: what goes in comes back, and nothing else is believed."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpcm.coherence.payload import ABSENT, Unreadable, pack, unpack
from lpcm.ports import Stored
from lpcm.values.codec import Codec, Form
from tests.strategies import same, values

CODECS = [Codec(Form.TEXT), Codec(Form.TREE)]
expiries = st.none() | st.floats(min_value=0, max_value=1e12)
etags = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("codec", CODECS, ids=["text", "tree"])
@given(value=values(), etag=etags, expires=expiries, name=st.binary(max_size=1200))
def test_round_trip(codec, value, etag, expires, name):
    """Whatever a store of either form holds is the same value again after the cache."""
    entry = Stored(*codec.encode(value), etag, expires)
    again = unpack(pack(entry, name), name)
    assert same(codec.decode(again.data, again.kind), codec.decode(entry.data, entry.kind))
    assert again[2:] == (etag, expires)


def test_what_only_a_store_makes():
    """Sets, bytes and Decimals inside a tree, as DynamoDB gives them back, survive."""
    tree = {"s": frozenset({"a"}), "b": b"\0", "n": Decimal("1.50"), "bs": frozenset({b"\xff"})}
    again = unpack(pack(Stored(tree, None, 1, None)))
    decode = CODECS[1].decode
    assert same(decode(again.data, None), {**tree, "s": {"a"}, "bs": {b"\xff"}})


@given(st.binary(max_size=60), st.binary(max_size=5))
def test_any_bytes_are_read_or_refused(base, name):
    """Reading what somebody else wrote gives an entry, an absence or Unreadable."""
    try:
        entry = unpack(base, name)
    except Unreadable:
        return
    assert entry is None or isinstance(entry, Stored)


@given(values(), st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_another_name_is_refused(value, mine, theirs):
    """An entry under a digest is believed only by the key that wrote it."""
    base = pack(Stored(*CODECS[0].encode(value), 1, None), mine)
    if mine != theirs:
        with pytest.raises(Unreadable):
            unpack(base, theirs)


def test_absence():
    """One byte says that the store has no such entry, a name and that byte under a digest."""
    assert pack(None) == ABSENT
    assert unpack(ABSENT) is None
    assert unpack(pack(None, b"name"), b"name") is None


@pytest.mark.parametrize(
    "entry",
    [
        Stored("x", "from the future", 1, None),
        Stored(object(), None, 1, None),
        Stored("\ud800", None, 1, None),
        Stored(1, None, 2**63, None),
    ],
)
def test_what_cannot_be_cached(entry):
    """What has no bytes is said to have none: it is not cached, and nothing fails."""
    with pytest.raises(Unreadable):
        pack(entry)


def test_floats():
    """Every float that a store holds as it is comes back bit by bit."""
    for number in (0.0, -0.0, math.inf, -math.inf, 5e-324, 0.1, 1e300):
        again = unpack(pack(Stored(number, None, 1, None))).data
        assert (again, math.copysign(1, again)) == (number, math.copysign(1, number))

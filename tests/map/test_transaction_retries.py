"""Attempts of a transaction after the first: what they ask the store for."""

import asyncio

import pytest

import lpcm
from lpcm import LPCM, Engine
from lpcm.engine import config
from lpcm.testing import FakeClock
from tests.map.test_requests import Counting


@pytest.fixture
def meeting():
    """Yield a map over such a store, and the same map for rivals."""
    inner = Engine.open("memory://")
    engine = Engine(Counting(inner.store), config.parse("memory://"), clock=FakeClock())
    m, theirs = LPCM("m", using=engine), LPCM("m", using=inner)
    m.update(a=0.5, b=0.5)
    yield m, theirs, engine.store.requests
    engine.close()
    inner.close()


APART, TOGETHER = ["read", "read", "transact"], ["read_many", "transact"]


def test_a_retry_reads_together(meeting):
    """After a conflict what was read key by key is one request; in every fourth retry it is not."""
    m, theirs, requests = meeting
    left = [5]

    def move(t):
        t[m]["a"] += 0.5
        t[m]["b"] -= 0.5
        if left[0]:
            left[0] -= 1
            theirs["b"] += 1

    requests.clear()
    lpcm.transact(move)
    assert requests == APART + 3 * TOGETHER + APART + TOGETHER
    assert m.copy() == {"a": 1.0, "b": 5.0}


def test_a_retry_of_bulk_reads_and_of_several_maps(meeting):
    """Keys that were read in bulk are read so again, and those of another map by themselves."""
    m, theirs, requests = meeting
    other = LPCM("other", using=m._use()._engine)
    other.update(c=1, d=1)
    left = [1]

    def add(t):
        total = sum(t[m].get_many(["a", "b"]).values()) + t[other]["c"]
        total += t[other]["d"]
        t[m]["total"] = total
        if left[0]:
            left[0] -= 1
            theirs["b"] += 1

    requests.clear()
    lpcm.transact(add)
    assert requests == ["read_many", *APART, "read_many", *TOGETHER]
    assert m["total"] == 4.0


def test_what_was_read_ahead_is_no_condition(meeting):
    """A retry may read less: what it did not ask for may change."""
    m, theirs, requests = meeting
    attempts = []

    def move(t):
        attempts.append(t)
        value = t[m]["a"]
        if len(attempts) == 1:
            t[m].get("b")
            theirs["a"] += 1
        else:
            theirs["b"] += 1
        t[m]["a"] = value + 1

    requests.clear()
    lpcm.transact(move)
    assert requests == APART + TOGETHER
    assert m.copy() == {"a": 2.5, "b": 1.5}


def test_a_function_that_writes_what_it_reads_next(meeting):
    """One that writes a key outside, and then reads it within, is done in the end."""
    m, theirs, _ = meeting
    attempts = []

    def move(t):
        attempts.append(t)
        a = t[m]["a"]
        theirs["b"] = float(len(attempts))
        t[m]["b"] = t[m]["b"] + a
        if len(attempts) == 1:
            theirs["a"] += 1

    lpcm.transact(move)
    assert len(attempts) == 5
    assert m.copy() == {"a": 1.5, "b": 6.5}


def test_retries_of_tasks_read_together(meeting):
    """So do those of ``atransact``, whose tasks may read at once."""
    m, theirs, requests = meeting
    left = [2]

    async def move(t):
        a, b = await asyncio.gather(t[m].agetitem("a"), t[m].agetitem("b"))
        t[m]["a"], t[m]["b"] = b + 1, a
        if left[0]:
            left[0] -= 1
            theirs["a"] += 1

    async def main():
        requests.clear()
        await lpcm.atransact(move)
        assert requests.count("transact") == 3
        assert await m.acopy() == {"a": 1.5, "b": 2.5}
        await m._use()._engine.aclose()

    asyncio.run(main())

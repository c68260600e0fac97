"""The protocol with one client, step by step, on a model of memcached that fails to order."""

from __future__ import annotations

from functools import partial

import pytest

from checks.explorer.memcached_model import EMPTY, ModelCache
from lpcm import events
from lpcm.coherence.tier import Coherent, Policy
from lpcm.engine.drive import run
from lpcm.errors import CacheUnavailable, OutcomeUnknown, StoreFull
from lpcm.ports import (
    Add,
    Applied,
    CacheLost,
    Cell,
    Delete,
    Get,
    KeyRange,
    Put,
    Refused,
    Set,
    Stored,
    When,
)
from lpcm.stores.local import memory
from lpcm.testing.contracts.store import StoreContract
from lpcm.values.keys import partition

MAP = partition("ns", "map")
KEY = f"{MAP}k"
NOW = 1_000_000.0


class StillClock:
    """Time that only passes when told to, or slept through."""

    def __init__(self):
        self.time = NOW

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds


class CountingStore:
    """A memory store that counts, and fails when told to."""

    def __init__(self):
        self.store = memory.open_store("")
        self.reads = 0
        self.error = None
        self.after = lambda: None

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def read(self, map, sk, now):
        self.reads += 1
        return await self.store.read(map, sk, now)

    async def read_many(self, map, sks, now):
        self.reads += len(sks)
        return await self.store.read_many(map, sks, now)

    async def apply(self, map, sk, op, now):
        if self.error is not None:
            raise self.error
        outcome = await self.store.apply(map, sk, op, now)
        self.after()
        return outcome


class Bench:
    """One client of a protocol on a counted store, a model of memcached and a still clock."""

    def __init__(self, policy=Policy(), cache=None, store=None):  # noqa: B008  # a constant
        self.cache = cache or ModelCache()
        self.store = store or CountingStore()
        self.clock = StillClock()
        self.tier = Coherent(self.store, self.cache, self.clock, policy, jitter=lambda: 0.01)

    def read(self, sk="k"):
        entry = run(self.tier.read(MAP, sk, self.clock.now()))
        return None if entry is None else entry.data

    def apply(self, op, sk="k"):
        return run(self.tier.apply(MAP, sk, op, self.clock.now()))

    def put(self, value, sk="k", etag=1, expires=None):
        return self.apply(Put(Cell(value, None), etag, expires), sk)

    def item(self, key=KEY):
        return self.cache.servers.get(key, EMPTY).item


class WholeStore:
    """A store whose entries are cached, so that the store contract can be run on it."""

    def __init__(self):
        self._store = memory.open_store("")
        self._tier = Coherent(self._store, ModelCache(), StillClock(), Policy())
        for name in ("read", "read_many", "apply", "apply_many", "clear"):
            setattr(self, name, getattr(self._tier, name))

    def __getattr__(self, name):
        return getattr(self._store, name)


class TestStoreContract(StoreContract):
    """A cached store keeps the store's contract."""

    def open(self):
        return WholeStore()

    def test_expiry(self):
        """An entry is there before its expiry and absent from that instant on.

        Clocks do not go back here: that an entry has expired is cached as its absence.
        """
        with self.opened() as store:
            expiring = Stored("v", None, 7, NOW + 1)
            run(store.apply(MAP, "k", Put(Cell("v", None), 7, NOW + 1), NOW))
            assert run(store.read_many(MAP, ["k"], NOW + 0.999)) == [expiring]
            assert run(store.read(MAP, "k", NOW + 1)) is None
            assert run(store.read_many(MAP, ["k", "k"], NOW + 1)) == [None, None]


def test_hit_miss_and_write_cost_what_the_protocol_says():
    """A hit is one packet; a miss two and one read; a write two and no read; absence is cached."""
    bench = Bench()
    assert bench.read() is None
    assert (bench.cache.packets, bench.store.reads) == (2, 1)
    assert bench.read() is None
    assert (bench.cache.packets, bench.store.reads) == (3, 1)
    bench.put("v")
    assert (bench.cache.packets, bench.store.reads) == (5, 1)
    assert bench.read() == "v"
    assert (bench.cache.packets, bench.store.reads) == (6, 1)


def test_what_is_cached_after_a_write():
    """A lone writer's result is cached clean for the whole TTL, and has all of the entry."""
    bench = Bench()
    bench.put("v", etag=7, expires=NOW + 100_000)
    item = bench.item()
    assert (len(item.data), item.ttl) == (item.flags, 3600)
    assert run(bench.tier.read(MAP, "k", NOW)) == Stored("v", None, 7, NOW + 100_000)


def test_an_entry_is_not_cached_longer_than_it_lives():
    """The cache TTL ends with the entry, and an entry past its end is absent on a hit."""
    bench = Bench()
    bench.put("v", expires=NOW + 30)
    assert bench.item().ttl == 30
    bench.cache.restart()
    assert bench.read() == "v"
    assert bench.item().ttl == 30
    bench.clock.time += 30
    assert bench.read() is None


def test_a_mark_of_another_is_kept():
    """With someone else's mark on it, a result is cached marked, and not beyond T_mark."""
    bench = Bench()
    bench.put("old")
    run(bench.cache.send(_packet(Set(b"+", 0, 10, "A"))))
    bench.clock.time += 2
    bench.put("new")
    item = bench.item()
    assert item.data[item.flags :] == b"+"
    assert item.ttl == 9
    assert bench.read() == "new"


def test_a_slow_write_is_not_published():
    """After T_mark - 1 s a mark may be gone, so the item is emptied instead."""
    bench = Bench()
    bench.put("old")
    bench.store.after = lambda: setattr(bench.clock, "time", bench.clock.time + 9.5)
    bench.put("new")
    assert bench.item().flags == 0
    assert bench.read() == "new"


def test_a_refused_write_publishes_what_refused_it():
    """A condition that failed tells the current entry, which is cached."""
    bench = Bench()
    bench.put("v")
    bench.cache.restart()
    outcome = bench.apply(Put(Cell("w", None), 2, None, When.ABSENT))
    assert isinstance(outcome, Refused)
    reads = bench.store.reads
    assert bench.read() == "v"
    assert bench.store.reads == reads


@pytest.mark.parametrize("strict", [False, True])
def test_a_store_that_refuses_leaves_nothing_wrong_in_the_cache(strict):
    """A store's error reaches the caller, and what is cached is emptied."""
    bench = Bench(Policy(strict=strict))
    bench.put("v")
    bench.store.error = StoreFull("no room")
    with pytest.raises(StoreFull):
        bench.put("w")
    assert bench.item().flags == 0
    assert bench.tier.pending == 0
    assert bench.read() == "v"


def test_an_unknown_outcome_is_invalidated_twice():
    """A write that may land later is followed by a second invalidation."""
    bench = Bench()
    bench.put("v")
    bench.store.error = OutcomeUnknown("no reply")
    with pytest.raises(OutcomeUnknown):
        bench.put("w")
    assert bench.item().flags == 0
    assert bench.tier.pending == 1
    bench.clock.time += 1
    bench.store.error = None
    bench.read("other")
    assert bench.tier.pending == 0


def test_unreachable_and_strict():
    """Strict: without the cache nothing is read and nothing written."""
    bench = Bench(Policy(strict=True))
    bench.put("v")
    bench.cache.reachable = False
    with pytest.raises(CacheUnavailable):
        bench.read()
    with pytest.raises(CacheUnavailable):
        run(bench.tier.read_many(MAP, ["k", "l"], NOW))
    with pytest.raises(CacheUnavailable, match="nothing was written"):
        bench.put("w")
    with pytest.raises(CacheUnavailable, match="nothing was written"):
        run(bench.tier.apply_many(MAP, [("k", Delete()), ("l", Delete())], NOW))
    assert run(bench.store.read(MAP, "k", NOW)).data == "v"


def test_unreachable_and_available():
    """Available: the store is used, and what is owed is paid when the cache answers again."""
    bench = Bench()
    bench.put("v")
    seen = []
    with events.subscribe(seen.append):
        bench.cache.reachable = False
        bench.put("w")
        assert bench.read() == "w"
        assert bench.tier.pending == 1
        bench.cache.reachable = True
        bench.clock.time += 1
        assert bench.read() == "w"
    assert bench.tier.pending == 0
    assert [event.state for event in seen] == ["queued", "landed"]


def test_a_write_that_loses_the_cache_after_the_commit():
    """Strict: the error says that the store has it; available: an invalidation is owed."""
    for strict in (True, False):
        bench = Bench(Policy(strict=strict))
        bench.put("v")
        bench.store.after = partial(setattr, bench.cache, "reachable", False)
        if strict:
            with pytest.raises(OutcomeUnknown) as caught:
                bench.put("w")
            assert caught.value.committed is True
        else:
            bench.put("w")
            assert bench.tier.pending == 1
        assert run(bench.store.read(MAP, "k", NOW)).data == "w"


def test_a_token_dies_with_its_connection():
    """R4: a server that restarted during the write counts from 1 again; nothing is published."""
    bench = Bench()
    other = Bench(cache=bench.cache, store=bench.store)

    def restart():
        bench.store.after = lambda: None
        bench.cache.restart()
        # Another client's writes bring the counter where this one's token is.
        other.put("theirs")

    bench.store.after = restart
    bench.put("mine")
    assert bench.read() == "theirs"


def test_the_queue_is_bounded():
    """Beyond 10,000 the oldest invalidation owed is dropped, and said to be."""
    bench = Bench()
    bench.cache.reachable = False
    seen = []
    with events.subscribe(seen.append):
        for number in range(10_001):
            bench.tier._queue.enqueue(f"{MAP}{number}")
    assert bench.tier.pending == 10_000
    assert [event.key for event in seen if event.state == "dropped"] == [f"{MAP}0"]
    bench.cache.reachable = True
    assert run(bench.tier.flush()) == 0


def test_settling_what_cannot_be():
    """Settling with the cache away ends, and keeps what is owed."""
    bench = Bench()
    bench.cache.reachable = False
    bench.put("v")
    assert run(bench.tier.flush()) == 1


def test_a_waiting_reader_steals_the_lease():
    """A reader whose filler died waits for `patience` and then fills by itself."""
    bench = Bench()
    run(bench.store.apply(MAP, "k", Put(Cell("v", None), 1), NOW))
    run(bench.cache.send(_packet(Get(5))))  # someone won the lease, and died
    began = bench.clock.time
    assert bench.read() == "v"
    assert 0.1 <= bench.clock.time - began < 0.2
    assert bench.store.reads == 1
    assert bench.item().flags > 0


def test_a_reader_gives_up_publishing_after_its_deadline():
    """A reader that never wins returns the stored value after emptying the item."""
    bench = Bench()
    run(bench.store.apply(MAP, "k", Put(Cell("v", None), 1), NOW))

    class Restless(ModelCache):
        async def send(self, packet, *, fresh=False):
            replies = await super().send(packet, fresh=fresh)
            if any(isinstance(command, Get) for command in packet.commands):  # never won
                await super().send(_packet(Set(b"+", 0, 10)))
                results = [result._replace(won=False) for result in replies.results]
                return replies._replace(results=results)
            return replies

    bench = Bench(cache=Restless(), store=bench.store)
    began = bench.clock.time
    assert bench.read() == "v"
    assert 2 <= bench.clock.time - began < 2.2


def test_a_lost_fill_is_tried_again():
    """A reader whose publication is refused reads again, and returns only what it published."""
    bench = Bench()
    run(bench.store.apply(MAP, "k", Put(Cell("old", None), 1), NOW))
    other = Bench(cache=bench.cache, store=CountingStore())
    other.store.store = bench.store.store

    class Slow:
        def __getattr__(self, name):
            return getattr(bench.store, name)

        async def read(self, map, sk, now):
            found = await bench.store.read(map, sk, now)
            if bench.store.reads == 1:
                other.put("new")
            return found

    slow = Bench(cache=bench.cache, store=Slow())
    assert slow.read() == "new"


def test_keys_that_memcached_does_not_take():
    """Long and odd keys are cached under a digest, and believed only with their own name."""
    bench = Bench()
    for sk in ("ö", "a b", "x" * 1000, "tab\t", ""):
        bench.put(sk, sk)
        reads = bench.store.reads
        assert bench.read(sk) == sk
        assert bench.store.reads == reads
    (key,) = [key for key in bench.cache.servers if len(key) < 60 and "/" not in key][:1]
    assert len(key) == 44
    bench.cache.servers[key] = bench.cache.servers[KEY[:-1]]  # as if the digests were equal
    assert bench.read("ö") == "ö"


def test_an_unreadable_item_heals():
    """Bytes that this version did not write are never returned, and replaced."""
    bench = Bench()
    bench.put("v")
    run(bench.cache.send(_packet(Set(b"?garbage", 8, 3600))))
    assert bench.read() == "v"
    assert bench.read() == "v"
    assert bench.item().data[:1] == b"s"
    run(bench.cache.send(_packet(Set(b"?garbage", 8, 3600))))
    assert run(bench.tier.read_many(MAP, ["k", "l"], NOW))[0].data == "v"


def test_bulk_is_pipelined_and_keeps_its_order():
    """Many keys share rounds; a key that comes twice is written twice, in order."""
    bench = Bench()
    writes = [(f"k{n}", Put(Cell(n, None), n)) for n in range(5)]
    writes += [("k0", Add(10, None, 99)), ("k1", Delete())]
    outcomes = run(bench.tier.apply_many(MAP, writes, NOW))
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    found = run(bench.tier.read_many(MAP, ["k0", "k1", "k4", "k0"], NOW))
    assert [entry and entry.data for entry in found] == [10, None, 4, 10]
    assert bench.store.reads == 0


def test_a_batch_over_a_thousand():
    """More keys than share one round are all written and all read."""
    bench = Bench()
    names = [f"k{n}" for n in range(2_500)]
    run(bench.tier.apply_many(MAP, [(k, Put(Cell(k, None), 1)) for k in names], NOW))
    bench.cache.restart()
    found = run(bench.tier.read_many(MAP, names, NOW))
    assert [entry.data for entry in found] == names
    assert bench.store.reads == len(names)


def test_clear_leaves_nothing_cached():
    """After clear no key of the range is served any more."""
    bench = Bench()
    names = [f"k{n}" for n in range(10)]
    for name in names:
        bench.put("v", name)
    run(bench.tier.clear(MAP, KeyRange("k0", "k5")))
    assert [bench.read(name) for name in names] == [None] * 5 + ["v"] * 5


def test_given_up_amid_a_write():
    """A write that its driver gives up leaves an invalidation to be made."""
    bench = Bench()
    bench.put("v")

    class Hanging:
        def __getattr__(self, name):
            return getattr(bench.store, name)

        async def apply(self, map, sk, op, now):
            await Stop()

    class Stop:
        def __await__(self):
            yield

    tier = Coherent(Hanging(), bench.cache, bench.clock, Policy())
    operation = tier.apply(MAP, "k", Delete(), NOW)
    operation.send(None)
    operation.close()
    assert tier.pending == 1
    operation = tier.apply(MAP, "k", Delete(), NOW)
    operation.send(None)
    with pytest.raises(KeyboardInterrupt):
        operation.throw(KeyboardInterrupt)
    assert bench.item().flags == 0


def test_a_full_item_can_still_be_written():
    """An item too large to be marked is emptied, and marked then."""

    class Full(ModelCache):
        async def send(self, packet, *, fresh=False):
            item = self.servers.get(packet.key, EMPTY).item
            if item is not None and item.flags and packet.commands[0][3:4] == ("A",):
                packet = packet._replace(commands=packet.commands[1:])
                replies = await super().send(packet)
                return replies._replace(results=[replies.results[0], *replies.results])
            return await super().send(packet, fresh=fresh)

    bench = Bench(cache=Full())
    bench.put("large")
    bench.put("new")
    assert bench.read() == "new"


def test_lost_is_one_kind_of_error():
    """CacheLost, the port's, never leaves the tier."""
    bench = Bench()
    bench.cache.reachable = False
    try:
        bench.read()
        bench.put("v")
    except CacheLost:
        pytest.fail("the port's own error was let through")


def _packet(*commands):
    from lpcm.ports import Packet

    return Packet(KEY, commands)

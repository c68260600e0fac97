"""Writers that meet on one key get the same, and none of them waits long.

The writers run in simulated time: every request to the store and every pause takes its time of a
clock that no busy machine slows down, and the dice fall the same in each run. So the bounds are
bounds on what the writers do.
"""

import heapq
import random
import subprocess
import sys
from decimal import Decimal
from itertools import count
from types import coroutine

import pytest

from lpcm import LPCM, Conflict, Engine
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.map import transaction
from lpcm.operations.retry import Retry
from lpcm.ports import Applied, KeyRange, Put
from lpcm.system.backoff import KEYS, MOST, STEP, Windows
from lpcm.testing import FakeClock

TRIP = 0.0004
"""Seconds that a request takes to the store, and as many back."""
POLL = 0.001
"""Seconds between two looks at a lock."""
DICE = random.Random()


@pytest.fixture(autouse=True)
def dice(monkeypatch):
    """Have the dice fall the same in each run, those of pauses too."""
    DICE.seed(7)
    monkeypatch.setattr(random, "SystemRandom", lambda: DICE)


def trip():
    """Return how long one takes: never quite the same."""
    return TRIP * DICE.uniform(0.7, 1.4)


@coroutine
def tick(seconds):
    yield seconds


class World:
    """The clock, and the writers that wait for it."""

    def __init__(self):
        self.time = 1_800_000_000.0
        self._waiting = []
        self._numbers = count()

    def now(self):
        return self.time

    monotonic = now

    async def sleep(self, seconds):
        await tick(seconds)

    def bell(self):
        return Bell(self)

    def start(self, writer):
        heapq.heappush(self._waiting, (self.time, next(self._numbers), writer))

    def run(self, seconds):
        end = self.time + seconds
        while self._waiting:
            self.time, _, writer = heapq.heappop(self._waiting)
            if self.time > end:
                writer.close()
                continue
            try:
                wait = writer.send(None)
            except StopIteration:
                continue
            heapq.heappush(self._waiting, (self.time + wait, next(self._numbers), writer))


class Bell:
    """A bell that is rung in the simulated time."""

    def __init__(self, world):
        self._world = world
        self._rung = False

    def ring(self):
        self._rung = True

    async def wait(self, seconds):
        until = self._world.time + seconds
        while not self._rung and self._world.time < until:
            await tick(0.0003)


class FarStore:
    """A store that is a network away."""

    def __init__(self, store):
        self._store = store
        self.applied = 0
        self.requests = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def _far(self, call, *args):
        self.requests += 1
        await tick(trip())
        result = await call(*args)
        await tick(trip())
        return result

    async def read(self, *args):
        return await self._far(self._store.read, *args)

    async def read_many(self, *args):
        return await self._far(self._store.read_many, *args)

    async def scan(self, *args):
        return await self._far(self._store.scan, *args)

    async def apply(self, *args):
        self.applied += 1
        return await self._far(self._store.apply, *args)

    async def transact(self, *args):
        return await self._far(self._store.transact, *args)


class LockedStore(FarStore):
    """A store in a file: a write waits for its lock, looking for it now and then."""

    def __init__(self, store):
        super().__init__(store)
        self._locked = False

    async def read(self, *args):
        await tick(trip() / 20)
        return await self._store.read(*args)

    async def apply(self, *args):
        self.applied += 1
        while self._locked:
            await tick(POLL + trip() / 20)
        self._locked = True
        await tick(trip() / 20)
        outcome = await self._store.apply(*args)
        if isinstance(outcome, Applied):
            await tick(trip() / 2)
        self._locked = False
        return outcome


class RewritingStore(LockedStore):
    """The same, where increments are done under the lock."""

    rewrites = True


def meet(kind, writers, once, entries, *, seconds=2.0, processes=0):
    """Let so many writers do ``once`` all the time, each a process or in one of so many.

    Return the map, the number of operations of each, the longest wait, and the store.
    """
    world, inner = World(), Engine.open("memory://")
    stored = LPCM("m", using=inner)
    stored.update(entries)
    store = kind(inner.store)
    engines = [
        Engine(store, config.parse("memory://"), clock=world) for _ in range(processes or writers)
    ]
    shares, waits = [0] * writers, [0.0]

    async def work(number):
        engine = engines[number % len(engines)]
        engine.catalogue.registered.add(stored._use()._map)
        m = LPCM("m", using=engine)
        use = m._use()
        use.map = m
        use._until = use._until_whole = float("inf")  # the catalogue is asked no more
        while True:
            began = world.time
            await once(use)
            shares[number] += 1
            waits.append(world.time - began)
            await tick(trip() / 20)

    for number in range(writers):
        world.start(work(number))
    world.run(seconds)
    return stored, shares, max(waits), store


def jain(shares):
    """Return Jain's index of fairness: 1 where all have the same."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def increment(use):
    return use.increment("k", 0.5)


@pytest.mark.parametrize("number", [0.0, Decimal(0), 10**40], ids=["float", "Decimal", "int"])
def test_increments_under_the_lock(number):
    """Where the store adds under its lock, no increment is tried twice, and all get the same."""

    def add(use):
        return use.increment("k", delta)

    delta = type(number)(1) if type(number) is not int else Decimal(1)
    stored, shares, waited, store = meet(RewritingStore, 32, add, {"k": number})
    assert jain(shares) > 0.9
    assert waited < 0.6
    assert sum(shares) <= stored["k"] - number <= store.applied <= sum(shares) + 32
    assert sum(shares) > 2000


INCREMENTS = """
import sys, time
from lpcm import LPCM
m = LPCM("m", url=sys.argv[1])
len(m)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(150):
    m.increment("k", 0.5)
"""


def test_increments_of_processes(tmp_path):
    """Increments of a float by several processes at once all count."""
    url = f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"
    m = LPCM("m", url=url)
    m["k"] = 0.0
    children = [
        subprocess.Popen(
            [sys.executable, "-c", INCREMENTS, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert m["k"] == 4 * 150 * 0.5


async def move(use):
    """Do what ``transact`` does, in the simulated time."""
    t = transaction.Transaction()
    with transaction._Attempts() as attempts:
        while True:
            within = t[use.map]._use()
            await within.increment("a", 0.5)
            await within.increment("b", -0.5)
            t._end()
            try:
                await t._commit({use._map: use})
            except Conflict:
                attempts.stand(t, lambda _: use)
                t = await attempts.next(t)
            else:
                attempts.won(t)
                return


@pytest.mark.parametrize(("writers", "requests"), [(2, 3.8), (8, 4.8), (32, 7.2)])
def test_transactions(writers, requests):
    """All whose transactions meet get about the same, after few requests."""
    stored, shares, waited, store = meet(FarStore, writers, move, {"a": 0.0, "b": 0.0})
    assert jain(shares) > 0.75
    assert waited < 1.9
    assert store.requests < requests * sum(shares)
    assert sum(shares) <= stored["a"] * 2 == -stored["b"] * 2 <= sum(shares) + writers
    assert sum(shares) > 700


def transform(use):
    return use.transform("k", lambda value: value + 0.5)


@pytest.mark.parametrize("kind", [FarStore, LockedStore])
@pytest.mark.parametrize(
    ("once", "writers", "longest"),
    [(increment, 8, 1.0), (increment, 32, 1.9), (transform, 8, 1.0)],
    ids=["8 increments", "32 increments", "8 transforms"],
)
def test_compare_and_set(kind, once, writers, longest):
    """All writers of one key get about the same, and wait for a short time only."""
    stored, shares, waited, store = meet(kind, writers, once, {"k": 0.0})
    assert jain(shares) > 0.9
    assert store.applied < (2.8 if writers == 8 else 5.0) * sum(shares), "most attempts are in vain"
    assert store.requests < (4.5 if writers == 8 else 8.0) * sum(shares)
    assert waited < longest
    # The last ones may have been done without an answer.
    assert sum(shares) <= stored["k"] * 2 <= sum(shares) + writers
    assert sum(shares) > 900


@pytest.mark.parametrize("writers", [8, 64])
def test_within_a_process(writers):
    """Within a process a compare-and-set is first come, first served, and one request."""
    stored, shares, waited, store = meet(FarStore, writers, transform, {"k": 0.0}, processes=1)
    done = sum(shares)
    assert max(shares) - min(shares) <= 2
    assert waited < 2 * 2.0 * writers / done
    assert store.applied <= done + 2 * writers
    assert done <= stored["k"] * 2 <= done + writers
    assert done > 1500


def test_processes_of_many_threads():
    """Processes whose threads take turns get the same, and lose against each other alone."""
    _, shares, waited, store = meet(FarStore, 64, transform, {"k": 0.0}, seconds=4.0, processes=4)
    assert jain([sum(shares[n::4]) for n in range(4)]) > 0.8
    assert waited < 2
    assert store.applied < 4 * sum(shares)


def test_mutations():
    """So do those that change a value in place."""

    def change(value):
        value["n"] += 0.5

    _, shares, waited, _ = meet(
        FarStore, 8, lambda use: use.mutate("k", change, None), {"k": {"n": 0.0}}
    )
    assert jain(shares) > 0.8
    assert waited < 1


@pytest.mark.parametrize("kind", [FarStore, LockedStore])
def test_popitem(kind):
    """Those who take entries at the same time take different ones, after few attempts."""
    entries = dict.fromkeys(range(20_000), 1)
    stored, shares, waited, store = meet(
        kind, 16, lambda use: use.popitem(KeyRange()), entries, seconds=1
    )
    taken = len(entries) - len(stored)
    assert sum(shares) <= taken <= sum(shares) + 16
    assert store.applied < 4 * taken
    assert jain(shares) > 0.8
    assert waited < 0.5
    assert max(stored) < len(entries) - taken + 16 * 16, "the last ones went first"


@pytest.mark.parametrize("writes", [1, 2, 3], ids=["each time", "every other", "every third"])
def test_a_rival_in_each_pause(writes):
    """A write in each pause makes no compare-and-set fail: it reads after the pause."""

    class Rival(FakeClock):
        pauses = 0

        async def sleep(self, seconds):
            await super().sleep(seconds)
            self.pauses += 1
            if self.pauses % writes == 0:
                stored["k"] += 1

    class Late:
        """A store that another write reaches first, the first two times."""

        left = 2

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        async def apply(self, map, sk, op, now):
            if self.left and isinstance(op, Put) and type(op.when) is int:
                self.left -= 1
                stored["k"] += 1
            return await self._store.apply(map, sk, op, now)

    inner, clock = Engine.open("memory://"), Rival()
    stored = LPCM("m", using=inner)
    stored["k"] = 0
    engine = Engine(Late(inner.store), config.parse("memory://"), clock=clock)
    m = LPCM("m", using=engine)
    m.increment("k", 0.5)
    assert clock.pauses == 1
    assert m["k"] == stored["k"] == (3 if writes == 1 else 2) + 0.5


def test_pauses_of_a_retry():
    """Pauses are as long as the attempts that were refused, and longer each time, up to a limit.

    They end with the timeout.
    """
    clock = FakeClock()
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        clock.advance(seconds)

    clock.sleep = sleep
    retry = Retry(clock, 8.0, "a transaction", "m", Windows())
    for _ in range(20):
        clock.advance(0.01)
        run(retry.wait(["k"]))
    assert pauses[0] <= 0.01
    assert 0.02 < max(pauses) <= MOST
    clock.advance(8)
    with pytest.raises(Conflict, match="nothing was written"):
        run(retry.wait(["k"]))


def test_windows_come_to_the_same_width():
    """Windows that were of different widths come together, and none is over the limit."""
    wide, narrow = Windows(), Windows()
    for _ in range(200):
        widest = wide.widen(["k"])
    assert widest == MOST
    for _ in range(200):
        for windows in (wide, narrow):
            windows.widen(["k"])
            windows.narrow(["k"])
    assert wide.widen(["k"]) == pytest.approx(narrow.widen(["k"]), rel=0.05)


def test_windows_are_forgotten():
    """A key where one pause is enough has no window for long; those of many keys go."""
    windows = Windows()
    for number in range(3 * KEYS):
        windows.widen([number])
    assert len(windows) <= KEYS
    windows = Windows()
    windows.widen(["k"])
    for _ in range(30):
        windows.narrow(["k"])
    assert not len(windows)


def test_a_window_outlasts_its_operation():
    """The next operation on a key waits as long as the last one came to wait; others do not."""
    inner, clock = Engine.open("memory://"), FakeClock()
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    clock.sleep = sleep

    class Refusing:
        """A store that a write of a rival reaches first, so many times."""

        left = 0

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        async def apply(self, map, sk, op, now):
            if self.left:
                self.left -= 1
                LPCM("m", using=inner).increment("k")
                LPCM("m", using=inner).increment("other")
            return await self._store.apply(map, sk, op, now)

    store = Refusing(inner.store)
    engine = Engine(store, config.parse("memory://"), clock=clock)
    m = LPCM("m", using=engine)
    m.update(k=0, other=0)
    store.left = 100
    m.increment("k", 0.5)
    assert len(pauses) == 50
    del pauses[:]
    for _ in range(20):
        store.left = 2
        m.increment("k", 0.5)
    assert sum(pauses) > 20 * STEP
    del pauses[:]
    store.left = 2
    m.increment("other", 0.5)
    assert max(pauses) <= STEP

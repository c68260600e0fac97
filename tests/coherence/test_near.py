"""The near cache of a network store: what it may serve, and what each rule of it is for.

Each rule is also broken, and then its test finds what must not be.
"""

# ruff: noqa: D401  # the docstrings of the rules are requirements, as those of tests are

import asyncio
import inspect
import itertools
import sys
import types

import pytest

from lpcm.coherence import near as sound
from lpcm.errors import OutcomeUnknown
from lpcm.ports import (
    Aborted,
    Applied,
    Cell,
    Change,
    Check,
    Delete,
    KeyRange,
    Put,
    Refused,
    Stored,
    When,
)
from lpcm.ports.decisions import decide
from lpcm.system import process

BOUND = 2.0
NOW = 1e9
ETAGS = itertools.count(1)


class Slow:
    """A tier whose answers are ready at once, but come when the test lets them."""

    def __init__(self):
        self.entries = {}
        self.reads = 0
        self.gates = {}
        self.failure = None

    async def _pass(self, name):
        gate = self.gates.pop(name, None)
        if gate is not None:
            await gate.wait()

    async def read(self, map, sk, now):
        self.reads += 1
        found = self.entries.get(sk)
        await self._pass("read")
        return found

    async def read_many(self, map, sks, now):
        return [await self.read(map, sk, now) for sk in sks]

    async def apply(self, map, sk, op, now):
        outcome = decide(self.entries.get(sk), op)
        if isinstance(outcome, Applied):
            self.entries[sk] = outcome.entry
        await self._pass("apply")
        if self.failure is not None:
            raise self.failure
        return outcome

    async def apply_many(self, map, writes, now):
        return [await self.apply(map, sk, op, now) for sk, op in writes]

    async def transact(self, changes, checks, now):
        for pk, sk, when in checks:
            if when != self.entries[sk].etag:
                return Aborted([(pk, sk, Refused(self.entries[sk]))])
        return [await self.apply(pk, sk, op, now) for pk, sk, op in changes]

    async def clear(self, map, keys):
        self.entries.clear()
        await self._pass("clear")


class Scene:
    """A near cache in front of a slow tier, and a clock that the test moves."""

    def __init__(self, module, size=1_000_000):
        self.time = 100.0
        self.slow = Slow()
        self.near = module.AgingCache(size, BOUND, lambda: self.time)
        self.tier = module.NearTier(self.slow, self.near)

    def gate(self, name):
        """Hold the next answer of an operation back until the event is set."""
        self.slow.gates[name] = asyncio.Event()
        return self.slow.gates[name]

    def elsewhere(self, sk, value):
        """Have another process write."""
        self.slow.entries[sk] = None if value is None else entry(value)

    async def get(self, sk, now=NOW):
        found = await self.tier.read_kept("m", sk, now)
        return None if found is None else found.data

    async def read(self, sk):
        found = await self.tier.read("m", sk, NOW)
        return None if found is None else found.data

    async def put(self, sk, value, when=When.ALWAYS):
        return await self.tier.apply("m", sk, put(value, when), NOW)


def entry(value, expires=None):
    return Stored(value, None, next(ETAGS), expires)


def put(value, when=When.ALWAYS):
    return Put(Cell(value, None), next(ETAGS), None, when)


async def begun(coroutine):
    """Return the task of an operation that is under way."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


# One rule each: a scene in which the sound module serves what it may


async def served(scene):
    """What was read is served again, and nobody is asked."""
    scene.elsewhere("k", 1)
    assert [await scene.get("k") for _ in range(5)] == [1] * 5
    assert [await scene.get("absent") for _ in range(5)] == [None] * 5
    assert scene.slow.reads == 2
    assert scene.near.hits == 8


async def bounded(scene):
    """It is served for so long, counted from before the request was sent."""
    scene.elsewhere("k", 1)
    gate = scene.gate("read")
    reading = await begun(scene.get("k"))
    scene.elsewhere("k", 2)
    scene.time += 1.5
    gate.set()
    assert await reading == 1
    scene.time += 0.49
    assert await scene.get("k") == 1
    scene.time += 0.02
    assert await scene.get("k") == 2


async def bounded_after_a_write(scene):
    """The age of an own write counts from before the write."""
    gate = scene.gate("apply")
    writing = await begun(scene.put("k", 1))
    scene.elsewhere("k", 2)
    scene.time += 1.5
    gate.set()
    await writing
    assert await scene.get("k") == 1
    scene.time += 0.5
    assert await scene.get("k") == 2


async def own_write(scene):
    """An own write is seen at once."""
    scene.elsewhere("k", 1)
    assert await scene.get("k") == 1
    await scene.put("k", 2)
    assert await scene.get("k") == 2
    await scene.tier.apply("m", "k", Delete(), NOW)
    assert await scene.get("k") is None


async def own_fill(scene):
    """A fill that began before an own write does not undo it."""
    scene.elsewhere("k", 1)
    gate = scene.gate("read")
    reading = await begun(scene.get("k"))
    await scene.put("k", 2)
    gate.set()
    assert await reading == 1
    assert await scene.get("k") == 2


async def own_fill_after_room(scene):
    """Nor does it where the written row has been dropped for others meanwhile."""
    scene.elsewhere("k", 1)
    gate = scene.gate("read")
    reading = await begun(scene.get("k"))
    await scene.put("k", 2)
    for number in range(1500):
        await scene.put(f"other {number}", 1)
    gate.set()
    assert await reading == 1
    assert await scene.get("k") == 2


async def two_writes(scene):
    """Of two own writes that overlap nobody knows the later one."""
    gate = scene.gate("apply")
    first = await begun(scene.put("k", 1))
    await scene.put("k", 2)
    gate.set()
    await first
    assert await scene.get("k") == 2


async def no_way_back(scene):
    """Reads that overlap leave nothing that is older than what one of them returned."""
    scene.elsewhere("k", 1)
    first = scene.gate("read")
    old = await begun(scene.read("k"))
    scene.elsewhere("k", 2)
    second = scene.gate("read")
    new = await begun(scene.read("k"))
    first.set()
    assert await old == 1
    second.set()
    assert await new == 2
    assert await scene.get("k") == 2


async def absent_again(scene):
    """Nor where the key was absent before and after."""
    last = asyncio.Event()

    async def read_late(map, sk, now):
        await last.wait()
        return scene.slow.entries.get(sk)

    now, scene.slow.read = scene.slow.read, read_late
    absent = await begun(scene.read("k"))
    scene.slow.read = now
    assert await scene.get("k") is None
    scene.elsewhere("k", 1)
    gate = scene.gate("read")
    there = await begun(scene.read("k"))
    scene.elsewhere("k", None)
    last.set()
    assert await absent is None
    gate.set()
    assert await there == 1
    assert await scene.get("k") is None


async def others_are_no_older(scene):
    """What a read, a batch or a refused write has shown, the next read shows, too."""
    for name, show in {
        "read": lambda: scene.tier.read("m", "k", NOW),
        "batch": lambda: scene.tier.read_many("m", ["k", "k"], NOW),
        "refused": lambda: scene.put("k", 9, When.ABSENT),
    }.items():
        scene.elsewhere("k", name)
        scene.time += 9
        assert await scene.get("k") == name
        scene.elsewhere("k", f"after {name}")
        assert await scene.get("k") == name
        await show()
        assert await scene.get("k") == f"after {name}"


async def unknown(scene):
    """After a write that failed the store is asked."""
    await scene.put("k", 1)
    scene.slow.failure = OutcomeUnknown("lost")
    with pytest.raises(OutcomeUnknown):
        await scene.put("k", 2)
    assert await scene.get("k") == 2


async def unknown_in_bulk(scene):
    """After a batch that failed, too."""
    await scene.put("k", 1)
    scene.slow.failure = OutcomeUnknown("lost")
    with pytest.raises(OutcomeUnknown):
        await scene.tier.apply_many("m", [("k", put(2))], NOW)
    assert await scene.get("k") == 2


async def unknown_in_a_transaction(scene):
    """After a transaction that failed, too."""
    await scene.put("k", 1)
    scene.slow.failure = OutcomeUnknown("lost")
    with pytest.raises(OutcomeUnknown):
        await scene.tier.transact([Change("m", "k", put(2))], [], NOW)
    assert await scene.get("k") == 2


async def batches(scene):
    """A batch's writes are seen at once, the last of a key that is written twice."""
    await scene.put("a", 1)
    await scene.put("b", 1)
    await scene.tier.apply_many("m", [("a", put(2)), ("b", put(2)), ("b", put(3))], NOW)
    assert (await scene.get("a"), await scene.get("b")) == (2, 3)


async def transactions(scene):
    """A transaction's writes are seen at once, and so is what made it fail."""
    await scene.put("a", 1)
    await scene.put("b", 1)
    await scene.tier.transact([Change("m", "a", put(2))], [], NOW)
    assert await scene.get("a") == 2
    scene.elsewhere("b", 2)
    done = await scene.tier.transact([], [Check("m", "b", 0)], NOW)
    assert isinstance(done, Aborted)
    assert await scene.get("b") == 2


async def cleared(scene):
    """After clear nothing is left, nor comes with a read that began before."""
    await scene.put("k", 1)
    gate = scene.gate("read")
    reading = await begun(scene.read("l"))
    await scene.tier.clear("m", KeyRange())
    assert await scene.get("k") is None
    scene.elsewhere("l", 2)
    gate.set()
    await reading
    assert await scene.get("l") == 2


async def expired(scene):
    """An entry is served until it expires, by the clock of entries."""
    scene.slow.entries["k"] = entry(1, NOW + 1)
    assert await scene.get("k") == 1
    assert await scene.get("k", NOW + 1) is None
    assert scene.slow.reads == 1


async def forked(scene):
    """A child of a fork begins with nothing."""
    await scene.put("k", 1)
    for reference, action in list(process._followed.values()):
        if reference() is scene.near:  # what a fork runs in the child
            action(scene.near)
    scene.elsewhere("k", 2)
    assert await scene.get("k") == 2


async def closed(scene):
    """After close nothing is kept, nor comes with a read that began before."""
    await scene.put("k", 1)
    scene.near.close()
    scene.elsewhere("k", 2)
    assert await scene.get("k") == 2
    scene.elsewhere("k", 3)
    assert await scene.get("k") == 3


RULES = {
    served: ("if (self._dropped if row is None else row[4]) <= settled", "if False"),
    bounded: ("settled, since = begun", "settled, since = begun[0], self.monotonic()"),
    bounded_after_a_write: (
        "settled, since = begun",
        "settled, since = begun[0], self.monotonic()",
    ),
    own_write: (
        (
            "outcome = await self._tier.apply(map, sk, op, now)\n"
            "            self._near.settle(begun, map, sk, outcome.entry)"
        ),
        "outcome = await self._tier.apply(map, sk, op, now)",
    ),
    own_fill: ("if (self._dropped if row is None else row[4]) <= settled", "if True"),
    own_fill_after_room: ("(self._dropped if row is None", "(0 if row is None"),
    two_writes: ("if (self._dropped if row is None else row[4]) <= settled", "if True"),
    no_way_back: (
        "elif row is None or entry is None or row[0] is None or row[0].etag != entry.etag",
        "elif False",
    ),
    absent_again: (
        "row is None or entry is None or row[0] is None or row[0].etag != entry.etag",
        "row is None or (row[0] and row[0].etag) != (entry and entry.etag)",
    ),
    others_are_no_older: (
        (
            "entry = await self._tier.read(map, sk, now)\n"
            "        self._near.settle(begun, map, sk, entry)"
        ),
        (
            "entry = await self._tier.read(map, sk, now)\n"
            "        self._near.find(map, sk) or self._near.settle(begun, map, sk, entry)"
        ),
    ),
    unknown: (
        "            self._near.doubt(map, sk)\n            raise\n        return outcome\n",
        "            raise\n        return outcome\n",
    ),
    unknown_in_bulk: (
        "for sk, _ in writes:\n                self._near.doubt(map, sk)",
        "pass",
    ),
    unknown_in_a_transaction: (
        "for pk, sk, _ in changes:\n                self._near.doubt(pk, sk)",
        "pass",
    ),
    batches: (
        (
            "                    self._near.settle(begun, map, sk, outcome.entry)\n"
            "        except BaseException:\n            for sk"
        ),
        "                    pass\n        except BaseException:\n            for sk",
    ),
    transactions: ("self._near.settle(begun, pk, sk, applied.entry)", "pass"),
    cleared: ("self._near.forget()", "pass"),
    expired: ("if entry is None or ((expires", "if entry is None or (False and (expires"),
    forked: ("process.follow(self, AgingCache._forget)", "pass"),
    closed: ("if self._closed:", "if False:"),
}


def broken(old, new):
    """Return the module with one of its rules broken."""
    text = inspect.getsource(sound)
    assert text.count(old) == 1, old
    made = types.ModuleType("broken")
    made.__dict__["__name__"] = "lpcm.coherence.broken"
    exec(compile(text.replace(old, new), "broken.py", "exec"), made.__dict__)
    return made


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules(rule):
    """Each rule holds, and without it a read shows what it must not."""
    size = 200_000 if rule is own_fill_after_room else 1_000_000
    asyncio.run(rule(Scene(sound, size)))
    scene = Scene(broken(*RULES[rule]), size)
    with pytest.raises(AssertionError):
        asyncio.run(rule(scene))


@pytest.mark.parametrize(
    "make",
    [lambda n: f"{n:0200}", lambda n: {"a": [n, n + 1], "b": {"c": f"{n:0100}"}}, lambda n: n],
    ids=["text", "tree", "number"],
)
def test_its_size_is_a_bound(make):
    """The memory of all that is kept stays below the given size."""
    import tracemalloc

    scene = Scene(sound, 1_000_000)

    async def fill():
        for number in range(8_000):
            stored = entry(make(number + 10**6))
            scene.near.settle(scene.near.begin(), "m", f"key {number}", stored)

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        asyncio.run(fill())
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 200_000 < held < 1_000_000


def test_what_is_read_again_stays():
    """Where room is short, what was served since the last time stays."""
    scene = Scene(sound, 100_000)

    async def work():
        await scene.put("hot", 1)
        for number in range(2000):
            await scene.put(f"other {number}", 1)
            assert await scene.get("hot") == 1

    asyncio.run(work())
    assert scene.slow.reads == 0
    assert sys.getsizeof(scene.near.state) < 200

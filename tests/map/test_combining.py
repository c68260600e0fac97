"""Increments that meet in one process, over a store that the test holds up.

What is on its way stays there until the test lets it land, so each test says who meets whom.
"""

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lpcm import LPCM, Engine, OutcomeUnknown, events, transaction
from lpcm.engine import config
from lpcm.engine.combining import MOST, Increments, take
from lpcm.errors import StoreUnavailable
from lpcm.ports import Add
from lpcm.stores.local.memory import open_store
from tests.consistency.processes import until
from tests.signals import interrupting

TIMEOUT = 30


async def soon(condition):
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  # no event tells what a test may ask for
            await asyncio.sleep(0.001)


class HeldStore:
    """A store of a network whose writes land when the test says so; it keeps what was sent."""

    remote = True
    blocking = True

    def __init__(self, store):
        self._store = store
        self.held = False
        self.sent = []
        self.failures = []
        self.gate = threading.Semaphore(0)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def hold(self):
        """Hold up all writes from now on."""
        self.gate = threading.Semaphore(0)
        self.held = True

    def land(self):
        """Let all writes land that were held up; from now on none is."""
        self.held = False
        self.gate.release(100)

    async def wait(self):
        assert self.gate.acquire(timeout=TIMEOUT)

    async def apply(self, map, sk, op, now):
        self.sent.append(op)
        if self.held:
            await self.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await self._store.apply(map, sk, op, now)

    @property
    def deltas(self):
        return [op.delta for op in self.sent if isinstance(op, Add)]


class AwaitedStore(HeldStore):
    """The same for event loops."""

    blocking = False

    def close(self):
        """Leave the store behind open, for the next loop."""

    async def wait(self):
        await soon(lambda: self.gate.acquire(blocking=False))


class Threads:
    """Calls of threads that meet: each is made while the first one's write is held up."""

    def __init__(self, engine, pool):
        self.engine = engine
        self.store = engine.store
        self.pool = pool

    def waiting(self):
        """Return how many increments wait in all lines."""
        return sum(len(each.waiting) for each in [*self.engine.stack.increments._lines.values()])

    def meet(self, first, *others):
        """Begin these calls one after the other; return their futures."""
        sent = len(self.store.sent)
        self.store.hold()
        futures = [self.pool.submit(first)]
        until(lambda: len(self.store.sent) > sent)
        return futures + [self.join(each) for each in others]

    def join(self, call):
        """Begin one more; return its future."""
        before = self.waiting()
        future = self.pool.submit(call)
        until(lambda: self.waiting() > before)
        return future

    def land(self, futures):
        """Let all go on; return the result or the exception of each."""
        self.store.land()
        return [each.exception(TIMEOUT) or each.result() for each in futures]


@pytest.fixture
def store():
    return HeldStore(open_store(""))


@pytest.fixture
def engine(store):
    with Engine(store, config.parse("memory://")) as engine:
        LPCM("m", using=engine)["other"] = 0  # now the catalogue has the map
        store.sent.clear()
        yield engine


@pytest.fixture
def m(engine):
    return LPCM("m", using=engine)


@pytest.fixture
def threads(engine):
    with ThreadPoolExecutor(16) as pool:
        yield Threads(engine, pool)
        engine.store.land()


def test_a_lone_increment_is_sent_as_it_is(m, engine, store):
    """Where nobody else is there an increment is one write, and nothing is left of its line."""
    assert [m.increment("k"), m.increment("k", 5), m.decrement("k")] == [1, 6, 5]
    assert store.deltas == [1, 5, -1]
    assert not engine.stack.increments._lines


def test_those_that_meet_go_together(threads, m, store):
    """While one is on its way the others wait, and go as one; each gets its own sum, in order."""
    calls = threads.meet(*(lambda n=n: m.increment("k", n) for n in (1, 10, 100, -50)))
    assert threads.land(calls) == [1, 11, 111, 61]
    assert store.deltas == [1, 60]
    assert m["k"] == 61


def test_every_way_to_increment_joins(threads, m, store):
    """``+=``, live numbers, ``increment_existing`` and ``decrement`` go together."""
    number = LPCM("m", using=m._use()._engine, default=0)

    def augmented():
        number["k"] += 1

    def live():
        return number["k"].increment(10)

    calls = [lambda: number.increment_existing("k", 100), lambda: number.decrement("k", -1000)]
    done = threads.land(threads.meet(lambda: number.increment("k"), augmented, live, *calls))
    assert done == [1, None, 12, 112, 1112]
    assert store.deltas == [1, 1111]


def test_other_keys_maps_and_starts_do_not_wait(threads, engine, m, store):
    """Only increments of one key of one map with one initial value go together."""
    other, started = LPCM("n", using=engine), LPCM("m", using=engine, default=5)
    other["other"] = 0
    store.sent.clear()
    store.hold()
    todo = [lambda: m.increment("a"), lambda: m.increment("b"), lambda: other.increment("a")]
    futures = [threads.pool.submit(each) for each in [*todo, lambda: started.increment("a")]]
    until(lambda: len(store.deltas) == 4)
    assert threads.waiting() == 0
    results = threads.land(futures)
    assert results[1:3] == [1, 1]
    assert m["a"] in {2, 7}


def test_a_transaction_joins_nobody(threads, m, store):
    """An increment in a transaction is a write of the transaction."""
    m["k"] = 5
    (held,) = threads.meet(lambda: m.increment("k"))
    with transaction() as t:
        assert t[m].increment("k", 10) == 15
    assert threads.land([held]) == [16]
    assert store.deltas == [1]


def test_a_refused_sum_is_sent_piece_by_piece(threads, m, store):
    """Where the store cannot do the sum, each does what it would have done alone, in order."""
    m["k"] = 2**63 - 10
    calls = threads.meet(*(lambda n=n: m.increment("k", n) for n in (1, 3, 100, 4)))
    results = threads.land(calls)
    assert results[:2] == [2**63 - 9, 2**63 - 6]
    assert store.deltas == [1, 107, 3, 100, 4]
    assert m["k"] == max(results) == 2**63 + 98


def test_an_absent_entry_refuses_each(threads, m):
    """Where there is no entry to increment, each that asks gets its KeyError."""
    calls = threads.meet(*[lambda: m.increment_existing("k")] * 4)
    assert [type(each) for each in threads.land(calls)] == [KeyError] * 4
    assert "k" not in m


def test_a_lost_reply_is_unknown_to_each(threads, m, store):
    """Nobody of the batch gets another's success, and each has an exception of its own."""
    calls = threads.meet(*[lambda: m.increment("k")] * 4)
    store.failures = [StoreUnavailable("down"), OutcomeUnknown("lost", committed=True)]
    first, *others = threads.land(calls)
    assert isinstance(first, StoreUnavailable)
    assert [(type(each), each.committed) for each in others] == [(OutcomeUnknown, True)] * 3
    assert len({id(each) for each in others}) == 3
    assert m.increment("k") == 1


def test_a_new_entry_has_the_expiry_of_the_first(threads, m):
    """As if they had come one by one: who comes first makes the entry, the others keep it."""
    calls = threads.meet(
        lambda: m.increment_existing("k") if "k" in m else m.increment("k", 0, ttl=900),
        lambda: m.increment("k", ttl=60),
        lambda: m.increment("k", ttl=600),
    )
    threads.store.failures = [StoreUnavailable("down")]
    assert threads.land(calls)[1:] == [1, 2]
    assert 50 < m.ttl("k") <= 60


def test_each_has_its_own_event(threads, m):
    """Each caller's operation is observed; the requests of a batch are counted once."""
    seen = []
    with events.subscribe(seen.append, events.Operation):
        threads.land(threads.meet(*[lambda: m.increment("k")] * 3))
    ended = [each for each in seen if each.ended]
    assert [(each.changes, each.applied, each.cached) for each in ended[-3:]] == [
        (["increment"], [True], False)
    ] * 3
    assert len({id(each) for each in ended}) == 3


# Senders and callers that are broken off


def test_a_sender_that_is_interrupted(threads, m, store):
    """What it was sending is unknown to all of the batch; who came later goes on."""
    calls = threads.meet(*[lambda: m.increment("k")] * 3)
    store.failures = [StoreUnavailable("down"), KeyboardInterrupt()]
    results = threads.land(calls)
    assert sorted(type(each).__name__ for each in results[1:]) == [
        "KeyboardInterrupt",
        "OutcomeUnknown",
    ]
    assert m.increment("k") == 1


def test_a_sender_that_settles_nobody(threads, m, monkeypatch):
    """Who waits for a sender that is gone finds out by itself, and waits no longer."""
    calls = threads.meet(*[lambda: m.increment("k")] * 4)

    async def broken(self, key, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Increments, "send", broken)
    results = threads.land(calls)
    assert results[0] == 1
    assert sorted(type(each).__name__ for each in results[1:]) == [
        "KeyboardInterrupt",
        "OutcomeUnknown",
        "OutcomeUnknown",
    ]


@contextmanager
def signalled(handler, condition):
    """Have this thread's signal handler called once the condition holds."""
    with interrupting(signal.SIGALRM, handler) as send:
        sender = threading.Thread(target=lambda: (until(condition), send()))
        sender.start()
        try:
            yield
        finally:
            sender.join(TIMEOUT)


needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="POSIX signals")


@needs_signals
def test_a_thread_that_is_interrupted_while_it_waits_is_left_out(threads, m, store):
    """It is not sent any more; the others are."""
    calls = threads.meet(lambda: m.increment("k"), lambda: m.increment("k", 10))

    def stop(*_):
        raise TimeoutError

    with signalled(stop, lambda: threads.waiting() == 2), pytest.raises(TimeoutError):
        m.increment("k", 100)
    calls.append(threads.join(lambda: m.increment("k", 1000)))
    assert threads.land(calls) == [1, 11, 1011]
    assert store.deltas == [1, 1010]


@needs_signals
def test_a_signal_handler_waits_for_nobody(threads, m, store):
    """An increment within one of the same thread goes by itself: it cannot wait for itself."""
    inner = []

    def handler(*_):
        store.held = False
        inner.append(m.increment("k", 10))

    store.hold()
    with signalled(handler, lambda: store.sent):
        landing = threads.pool.submit(lambda: (until(lambda: inner), store.land()))
        outer = m.increment("k")
        landing.result(TIMEOUT)
    assert (inner, outer) == ([10], 11)
    assert m["k"] == 11


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_of_a_fork_waits_for_nobody(threads, m, store):
    """What is on its way in the parent is not the child's to wait for, nor to send."""
    m["k"] = 5
    calls = threads.meet(*(lambda n=n: m.increment("k", n) for n in (1, 10)))
    child = os.fork()
    if not child:
        try:
            signal.alarm(TIMEOUT)
            store.held = False
            os._exit(m.increment("k", 100))
        finally:
            os._exit(255)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 105
    assert threads.land(calls) == [6, 16]


# Event loops


@pytest.fixture
def awaited():
    """Yield an engine that event loops have a store of their own for, and that store."""
    stored = open_store("")
    store = AwaitedStore(stored)
    engine = Engine(HeldStore(stored), config.parse("memory://"), awaitable=lambda: (store, None))
    with engine:
        LPCM("m", using=engine)["other"] = 0
        yield LPCM("m", using=engine), store


async def tasks_that_meet(store, first, *others):
    """Begin these one after the other, while the first one's write is held up."""
    store.hold()
    tasks = [asyncio.ensure_future(first)]
    await soon(lambda: store.sent)
    for each in others:
        tasks.append(asyncio.ensure_future(each))
        await asyncio.sleep(0)
    return tasks


async def landed(store, tasks):
    """Let all go on; return the result or the exception of each."""
    store.land()
    async with asyncio.timeout(TIMEOUT):
        return await asyncio.gather(*tasks, return_exceptions=True)


def test_tasks_go_together(awaited):
    """The tasks of one loop do as threads do, and nothing is left of the line."""
    m, store = awaited

    async def main():
        calls = [m.aincrement("k", n) for n in (1, 10, 100, -50)]
        results = await landed(store, await tasks_that_meet(store, *calls))
        assert not m._ause()._engine.awaitable().increments._lines
        return results

    assert asyncio.run(main()) == [1, 11, 111, 61]
    assert store.deltas == [1, 60]


def test_a_cancelled_task_only_stops_listening(awaited):
    """One that waits is left out; one that was sent counts; the others have their sums."""
    m, store = awaited

    async def main():
        calls = [m.aincrement("k", n) for n in (1, 10, 100, 1000)]
        tasks = await tasks_that_meet(store, *calls)
        tasks[1].cancel()
        await asyncio.sleep(0)
        store.gate.release()
        await soon(lambda: len(store.sent) == 2)
        tasks[2].cancel()
        return await landed(store, tasks)

    first, left, cancelled, last = asyncio.run(main())
    assert (first, last) == (1, 1101)
    assert {type(left), type(cancelled)} == {asyncio.CancelledError}
    assert store.deltas == [1, 1100]
    assert m["k"] == 1101


def test_a_first_task_that_is_cancelled_strands_nobody(awaited):
    """Those that waited for it are sent by the engine."""
    m, store = awaited

    async def main():
        tasks = await tasks_that_meet(store, *(m.aincrement("k", n) for n in (1, 10, 100)))
        tasks[0].cancel()
        return await landed(store, tasks)

    first, *others = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError)
    assert others == [10, 110]


def test_a_reply_that_is_lost_is_unknown_to_each_task(awaited):
    """When a batch is broken off, in any way, none of its callers returns a sum."""
    m, store = awaited

    async def main(error):
        store.failures = [StoreUnavailable("down"), error]
        store.sent.clear()
        tasks = await tasks_that_meet(store, *(m.aincrement("k") for _ in range(4)))
        return (await landed(store, tasks))[1:]

    for error in (OutcomeUnknown("lost"), ValueError("a fault of an adapter")):
        results = asyncio.run(main(error))
        assert [type(each) for each in results] == [OutcomeUnknown] * 3
        assert len({id(each) for each in results}) == 3


def test_a_loop_that_ends_leaves_nobody_waiting(awaited):
    """A sender that is cancelled with its loop settles its callers; the next loop begins anew."""
    m, store = awaited

    async def main():
        tasks = await tasks_that_meet(store, *(m.aincrement("k") for _ in range(3)))
        store.gate.release()
        await soon(lambda: len(store.sent) == 2)
        (sender,) = m._ause()._engine.awaitable().increments._senders.values()
        sender.cancel()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)

    first, *others = asyncio.run(main())
    assert first == 1
    assert [type(each) for each in others] == [OutcomeUnknown] * 2
    store.land()
    assert asyncio.run(m.aincrement("k")) == 2


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_merely_closed_leaves_nothing_to_complain_of(awaited, caplog):
    """Where a loop is closed amid increments, those end without a word when they are collected."""
    m, store = awaited

    async def begin():
        return await tasks_that_meet(store, *(m.aincrement("k") for _ in range(3)))

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(begin())
    store.gate.release()
    loop.run_until_complete(soon(lambda: len(store.sent) == 2))
    tasks.append(loop.create_task(m.aincrement("k")))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del tasks, loop
    store.land()
    asyncio.run(m.aget("other"))  # now the map has let go of the loop before
    gc.collect()
    said = {each.getMessage().split("\n")[0] for each in caplog.records}
    assert said == {"Task was destroyed but it is pending!"}


def test_the_requests_of_a_batch_are_its_first_callers(awaited):
    """An observed operation has the requests that its own caller's batch took, and no others'."""
    m, store = awaited
    apply = store.apply

    async def requesting(map, sk, op, now):
        outcome = await apply(map, sk, op, now)
        events.emit(events.Request("test", "", "Add", 0.1))
        return outcome

    store.apply = requesting
    seen = []

    async def main():
        with events.subscribe(seen.append, events.Operation):
            await landed(store, await tasks_that_meet(store, *(m.aincrement("k") for _ in "abc")))

    asyncio.run(main())
    ended = {id(each): each.requests.calls for each in seen if each.ended}
    assert sorted(ended.values()) == [0, 1, 1]


# Batches


class _Caller:
    def __init__(self, delta, expires=None, outcome=None):
        self.op = Add(delta, 0, 1, expires)
        self.outcome = outcome


def taken(*callers, now=0.0):
    """Return the sizes of the batches that a line is taken in."""
    line, sizes = list(callers), []
    while line:
        sizes.append(len(take(line, now)))
    return sizes


def test_what_closes_a_batch():
    """A sum past 38 digits, or a first entry that has expired; who has left is in none."""
    one, most = _Caller(1), _Caller(MOST)
    assert taken(one, one, one) == [3]
    assert taken(one, most, one) == [1, 1, 1]
    assert taken(most, _Caller(-MOST), most) == [3]
    assert taken(_Caller(10 * MOST), one, one) == [1, 2]
    assert taken(_Caller(1, expires=5.0), one, one, now=5.0) == [1, 2]
    assert taken(one, _Caller(1, expires=5.0), one, now=5.0) == [3]
    assert taken(_Caller(1, outcome=True), one, _Caller(1, outcome=True)) == [1]

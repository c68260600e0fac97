"""Worker threads: bounded, withdrawn or begun, and gone when they should be."""

import asyncio
import gc
import os
import threading
from contextvars import ContextVar

import pytest

from lpcm.errors import StoreError
from lpcm.system import process, workers
from lpcm.system.workers import Workers
from tests.test_process import FORKS, seen_in_child

LONG = 30


@pytest.fixture
def two():
    """Yield two workers."""
    pool = Workers("lpcm-test", 2)
    yield pool
    pool.stop(LONG)
    assert ours() == []


def ours():
    """Return the names of the test's worker threads."""
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("lpcm-test"))


class Held:
    """Calls that wait for leave, and what became of the others."""

    def __init__(self):
        self.leave = threading.Event()
        self.begun = []
        self.withdrawn = []

    def wait(self):
        """Wait for leave."""
        assert self.leave.wait(LONG)

    async def occupy(self, pool, count):
        """Return so many tasks, each of which keeps a thread."""
        tasks = [asyncio.create_task(pool.call(self.wait)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks

    def call(self, pool, name):
        """Return a call that notes whether it began."""
        return pool.call(lambda: self.begun.append(name), lambda: self.withdrawn.append(name))


def test_results_errors_and_context_go_where_they_belong(two):
    """A call sees the context of its caller, whom its result or any exception reaches."""
    name = ContextVar("name")

    async def main():
        name.set("set by the caller")
        assert await two.call(name.get) == "set by the caller"
        for error in (KeyError, SystemExit, StoreError):

            def fail(error=error):
                raise error("on purpose")

            with pytest.raises(error):
                await two.call(fail)
        return await asyncio.gather(*(two.call(lambda n=n: n) for n in range(50)))

    assert asyncio.run(main()) == list(range(50))
    gc.collect()


def test_there_are_never_more_threads_than_allowed(two):
    """Any number of calls wait for the same few threads, in the order they were made."""
    held, order = Held(), []

    async def main():
        tasks = await held.occupy(two, 2)
        more = [asyncio.create_task(two.call(lambda n=n: order.append(n))) for n in range(50)]
        await asyncio.sleep(0)
        assert ours() == ["lpcm-test-1", "lpcm-test-2"]
        held.leave.set()
        await asyncio.gather(*tasks, *more)

    asyncio.run(main())
    assert sorted(order) == list(range(50))
    assert ours() == ["lpcm-test-1", "lpcm-test-2"]


def test_a_call_cancelled_in_the_queue_never_begins(two):
    """Who gives up while waiting for a thread withdraws the call; one under way goes on."""
    held = Held()

    async def main():
        tasks = await held.occupy(two, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await held.call(two, "given up")
        assert held.withdrawn == ["given up"]
        waiting = asyncio.create_task(held.call(two, "waits"))
        tasks[0].cancel()  # under way: only its result is dropped
        await asyncio.sleep(0)
        held.leave.set()
        await waiting
        await asyncio.gather(*tasks, return_exceptions=True)
        return [task.cancelled() for task in tasks]

    assert asyncio.run(main()) == [True, False]
    assert (held.begun, held.withdrawn) == (["waits"], ["given up"])


def test_a_call_of_a_closed_loop_never_begins(two):
    """What waits for a thread when its loop is closed is withdrawn, and holds up nobody."""
    held = Held()
    loop = asyncio.new_event_loop()

    async def main():
        tasks = [*await held.occupy(two, 2), loop.create_task(held.call(two, "lost"))]
        await asyncio.sleep(0)
        for task in tasks:
            task._log_destroy_pending = False  # it is meant to be
        return tasks

    tasks = loop.run_until_complete(main())
    loop.close()
    held.leave.set()
    assert asyncio.run(two.call(lambda: 7)) == 7
    two.stop(LONG)
    assert (held.begun, held.withdrawn) == ([], ["lost"])
    del tasks


def test_stopped_workers_withdraw_what_waits_and_end(two):
    """``stop`` tells those who wait, waits for those under way, and leaves no thread."""
    held = Held()

    async def main():
        tasks = await held.occupy(two, 2)
        waiting = asyncio.create_task(held.call(two, "waits"))
        await asyncio.sleep(0)
        threading.Timer(0.05, held.leave.set).start()
        two.stop(LONG)
        assert ours() == []
        with pytest.raises(StoreError):
            await waiting
        await asyncio.gather(*tasks)
        return await two.call(lambda: 7)  # who calls again is served

    assert asyncio.run(main()) == 7
    assert (held.begun, held.withdrawn) == ([], ["waits"])


def test_stopped_by_one_of_their_own(two):
    """A call may stop the workers it runs on."""
    asyncio.run(two.call(lambda: two.stop(LONG)))


def test_idle_threads_end(two, monkeypatch):
    """A thread that nobody needs for a while ends, and the next call starts another."""
    monkeypatch.setattr(two, "_patience", 0.02)

    async def main():
        for _ in range(3):
            assert await two.call(lambda: 7) == 7
            for thread in list(two._threads):
                thread.join(LONG)
            assert ours() == []

    asyncio.run(main())


def test_calls_and_idleness_race(two, monkeypatch):
    """A call made in the very moment a thread gives up waiting is done all the same."""
    monkeypatch.setattr(two, "_patience", 0.0005)

    async def main():
        for number in range(300):
            await asyncio.sleep(0.0004 + number % 7 * 0.00005)
            async with asyncio.timeout(LONG):
                assert await two.call(lambda: 7) == 7

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_has_threads_of_its_own(two, fork):
    """No thread comes along a fork: a child starts its own, and does not do its parent's calls."""
    held = Held()

    def child():
        asyncio.events._set_running_loop(None)
        seen = asyncio.run(two.call(lambda: threading.current_thread().name))
        return seen, held.begun, held.withdrawn

    async def main():
        tasks = await held.occupy(two, 2)
        waiting = asyncio.create_task(held.call(two, "waits"))
        await asyncio.sleep(0)
        seen = seen_in_child(fork, child)
        held.leave.set()
        await asyncio.gather(waiting, *tasks)
        return seen

    assert asyncio.run(main()) == "('lpcm-test-1', [], ['waits'])"
    assert (held.begun, held.withdrawn) == (["waits"], [])
    assert process.same[0]


def test_workers_that_nobody_knows_are_collected():
    """Workers are forgotten with whom they belong to."""
    pools = [Workers("lpcm-test", 1) for _ in range(10)]
    ours = set(map(id, pools))
    assert ours <= set(map(id, workers._known.all()))
    del pools
    gc.collect()
    assert not ours & set(map(id, workers._known.all()))

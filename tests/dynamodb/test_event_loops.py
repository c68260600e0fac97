"""Engines on event loops: natively where the adapters can, and closed with the loop."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading

import pytest

import lpcm
from checks import servers
from lpcm import LPCM, Engine
from tests.opened import Opened
from tests.test_process import FORKS


@pytest.fixture
def dynamodb(dynoxide_table):
    """Yield an engine on DynamoDB."""
    dynoxide_table.empty()
    engine = Engine.open(dynoxide_table.url)
    yield engine
    engine.close()


@pytest.fixture
def cached(dynoxide_table, memcached):
    """Yield an engine on DynamoDB behind memcached."""
    dynoxide_table.empty()
    engine = Engine.open(
        f"{dynoxide_table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    )
    yield engine
    engine.close()


def run_and_close(coroutine):
    """Run a loop as programs did before ``asyncio.run``: it is closed, and nothing else."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


@pytest.fixture
def sqlite(tmp_path):
    """Yield an engine on SQLite."""
    engine = Engine.open(f"sqlite:///{tmp_path}/m.sqlite3")
    yield engine
    engine.close()


def test_what_can_be_awaited_is(dynamodb):
    """On DynamoDB an operation runs on the loop itself, over sockets that never block it."""

    async def main():
        m = LPCM("m", using=dynamodb)
        assert dynamodb.awaitable().store.blocking is False
        await m.aset("k", 1)
        await m.aupdate({str(number): number for number in range(60)})
        found = [key async for key in m.akeys(prefix="1")]
        return await m.aincrement("k"), await m.aget_many(["7", "none"]), found

    total, some, found = asyncio.run(main())
    assert (total, some) == (2, {"7": 7})
    assert found == sorted(str(n) for n in range(60) if str(n).startswith("1"))
    assert LPCM("m", using=dynamodb)["k"] == 2


def test_what_cannot_be_awaited_takes_a_thread(sqlite):
    """On SQLite a statement runs on a worker thread, so that the loop is never blocked."""
    since = Opened()

    async def main():
        assert not sqlite.awaitable().store.blocking
        await LPCM("m", using=sqlite).aset("k", 1)
        return since.threads()

    names = asyncio.run(main())
    assert "lpcm-write-1" in names
    assert not [name for name in names if "asyncio" in name]
    assert LPCM("m", using=sqlite)["k"] == 1


def test_a_loop_takes_its_connections_along(dynamodb):
    """Each loop has connections of its own, closed when it ends: none is left for the collector.

    The suite turns an unclosed socket's ResourceWarning into an error.
    """
    m = LPCM("m", using=dynamodb)

    async def main():
        await asyncio.gather(*(m.aincrement("k") for _ in range(20)))
        return dynamodb.awaitable()

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second
    assert m["k"] == 40
    del first, second
    gc.collect()


def test_loops_of_several_threads_at_once(dynamodb):
    """Loops in different threads share an engine and lose nothing."""
    m = LPCM("m", using=dynamodb)

    async def main():
        for _ in range(25):
            await m.aincrement("k")

    crowd = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(timeout=60)
    assert m["k"] == 100


def test_an_engine_closed_from_a_thread_while_its_loop_runs(dynamodb):
    """``close`` reaches the loops that run elsewhere, and ends what is used after it."""
    m = LPCM("m", using=dynamodb)
    ready, closed = threading.Event(), threading.Event()
    raised = []

    async def main():
        await m.aset("k", 1)
        ready.set()
        await asyncio.to_thread(closed.wait, 60)
        await asyncio.sleep(0.05)
        try:
            await m.aget("k")
        except lpcm.StoreError as error:
            raised.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(60)
    dynamodb.close()
    closed.set()
    thread.join(timeout=60)
    assert len(raised) == 1


def test_maps_can_be_awaited(dynamodb, sqlite):
    """``amaps`` is the twin of ``maps`` on either kind of engine."""
    for engine in (dynamodb, sqlite):
        LPCM("b", using=engine)["k"] = LPCM("a", using=engine)["k"] = 1
        assert asyncio.run(lpcm.amaps(using=engine)) == lpcm.maps(using=engine) == ["a", "b"]


MANY_LOOPS = """
import asyncio, gc, pathlib, resource, sys, warnings
import lpcm

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
m = lpcm.LPCM("loops", url=sys.argv[1])
gc.disable()  # nothing is left to the collector
for number in range(400):
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(m.aincrement("k")) == number + 1
    loop.close()
print(len(list(pathlib.Path("/proc/self/fd").iterdir())))
gc.enable()
del loop
gc.collect()
"""


def test_loops_that_are_merely_closed_leave_no_socket(dynoxide_table, memcached):
    """Four hundred loops, one after another and each closed without ado, get by with 256 files."""
    dynoxide_table.empty()
    url = f"{dynoxide_table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MANY_LOOPS, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout) < 20


def test_a_closed_loop_ends_its_requests_under_way(cached):
    """A loop that is closed in the middle of requests leaves no socket either."""
    m = LPCM("m", using=cached)
    m["k"] = 1
    run_and_close(m.aget("k"))
    gc.collect()
    since = Opened()
    loop = asyncio.new_event_loop()
    everyone = [str(number) for number in range(10)]

    async def many():
        await asyncio.gather(*(m.aset(key, 1) for key in everyone))

    loop.run_until_complete(many())  # so that none is connecting
    tasks = [loop.create_task(m.aset(key, 2)) for key in everyone]
    for task in tasks:
        task._log_destroy_pending = False  # what the program forgot is its own affair
    loop.run_until_complete(asyncio.sleep(0.001))
    assert not all(task.done() for task in tasks)
    loop.close()
    del tasks, task, loop
    gc.collect()
    assert since.descriptors() == []


def test_a_loop_that_is_dropped_is_collected(cached):
    """An engine keeps no loop alive that nobody else knows, be it closed or not."""
    m = LPCM("m", using=cached)
    m["k"] = 1
    run_and_close(m.aget("k"))
    gc.collect()
    since = Opened()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(m.aget("k"))
    m._bound[2]._awaited = None
    # That it was not closed. The collector may come by itself, as soon as nobody knows the loop.
    with pytest.warns(ResourceWarning):  # noqa: PT031  # either statement may warn
        del loop
        gc.collect()
    assert since.descriptors() == []


@pytest.mark.parametrize("closed", [True, False])
def test_an_engine_closed_when_its_loop_does_not_run(cached, closed):
    """``close`` ends the connections of a loop that is stopped or closed, from any thread."""
    m = LPCM("m", using=cached)
    gc.collect()
    loop = asyncio.new_event_loop()
    since = Opened()
    loop.run_until_complete(m.aset("k", 1))
    assert len(since.descriptors()) >= 2
    if closed:
        loop.close()
    thread = threading.Thread(target=cached.close)
    thread.start()
    thread.join(60)
    assert since.descriptors() == []
    if not closed:
        with pytest.raises(lpcm.StoreError):
            loop.run_until_complete(m.aget("k"))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_loops_of_several_threads_one_after_another(cached):
    """Loops that come and go in several threads at once share an engine, and leave nothing."""
    m = LPCM("m", using=cached)
    m["k"] = 0
    since = Opened()
    failures = []

    async def main():
        await asyncio.gather(*(m.aincrement("k") for _ in range(3)))

    def work():
        try:
            for number in range(20):
                asyncio.run(main()) if number % 2 else run_and_close(main())
        except BaseException as error:  # to be raised where it is seen
            failures.append(error)
            raise

    crowd = [threading.Thread(target=work) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(timeout=60)
    assert not failures
    assert m["k"] == 240
    gc.collect()
    assert len(since.descriptors()) <= 8  # the blocking pools


def test_what_a_closed_loop_owes_the_cache_is_made_nevertheless(dynoxide_table):
    """An invalidation that no server took is made by the engine, when its loop is gone."""
    dynoxide_table.empty()
    with servers.memcached() as server:
        cache = f"memcached://{server.host}:{server.port}?timeout=0.1&connect_timeout=0.1"
        engine = Engine.open(dynoxide_table.url, cache=cache)
        m = LPCM("m", using=engine)
        m["k"] = 1
        assert m["k"] == 1

        async def main():
            await m.aget("k")
            server.stop()
            await m.aset("k", 2)
            return engine.awaitable().coherent.pending

        owed = run_and_close(main())
        assert owed
        assert engine.stack.coherent.pending == owed
        server.cont()
        engine.close()
        assert engine.stack.coherent.pending == 0


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_leaves_its_parents_loop_alone(cached, fork):
    """A child runs loops of its own, and the parent's goes on with its connections."""
    m = LPCM("m", using=cached)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(m.aset("k", 1))
    pid = fork()
    if pid == 0:
        try:
            asyncio.run(m.aincrement("k"))
            m._bound[2].engine.close()
        except BaseException:  # noqa: BLE001  # told by the exit code
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert loop.run_until_complete(m.aincrement("k")) == 3
    loop.close()


def test_a_map_or_view_that_is_handed_over_is_awaited(cached, monkeypatch):
    """The bulk twins take maps and views, and read them without blocking the loop."""
    source, target = LPCM("source", using=cached), LPCM("target", using=cached)
    source.update(a="x", b="y", c="z")
    target.update(x=1, y=2, c=3)

    async def refuse(*_, **__):
        raise AssertionError("the event loop is blocked")

    for name in ("scan", "read", "read_many"):
        monkeypatch.setattr(cached.stack.store, name, refuse)
    monkeypatch.setattr(cached.stack.tier, "read_many", refuse)

    async def main():
        assert await target.aget_many(source) == {"c": 3}
        assert await target.aget_many(source.values()) == {"x": 1, "y": 2}
        assert await target.aget_many(source.keys(start="b")) == {"c": 3}
        await target.adelete_many(source.values())
        await target.aset_many(source.items(prefix="a"))
        await target.aupdate(source, d=4)
        await source.adelete_many(source)
        return await target.acopy(), await source.alen()

    assert asyncio.run(main()) == ({"a": "x", "b": "y", "c": "z", "d": 4}, 0)


@pytest.mark.parametrize("orderly", [True, False])
@pytest.mark.parametrize("accepts", [True, False])
def test_a_loop_that_ends_while_it_connects(dynoxide_table, orderly, accepts, caplog):
    """A connection that is being made when its loop ends is closed, in whichever way it ends."""
    with Engine.open(dynoxide_table.url) as direct:
        LPCM("m", using=direct)["k"] = 1  # what was never written is not looked for in a cache
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        host, port = silent.getsockname()
        crowd = []
        if not accepts:  # a full backlog: connecting takes for ever
            for _ in range(3):
                crowd.append(socket.socket())
                crowd[-1].setblocking(False)
                crowd[-1].connect_ex((host, port))
        cache = f"memcached://{host}:{port}?timeout=20&connect_timeout=20"
        engine = Engine.open(dynoxide_table.url, cache=cache)
        m = LPCM("m", using=engine)
        gc.collect()
        since = Opened()

        async def main():
            waiting = asyncio.ensure_future(m.aget("k"))
            waiting._log_destroy_pending = False  # what the program forgot is its own affair
            server = engine.awaitable().coherent._cache._only
            for _ in range(2000):  # it has asked the table by then
                await asyncio.sleep(0.01)
                if server._opening is not None:
                    break
            assert not waiting.done()

        asyncio.run(main()) if orderly else run_and_close(main())
        assert since.descriptors() == []
        engine.close()
        for each in crowd:
            each.close()
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("patient", [True, False])
def test_an_engine_closed_on_its_own_loop(cached, patient):
    """``close`` on the loop itself ends the connections, however soon the loop ends, too."""
    m = LPCM("m", using=cached)
    gc.collect()
    since = Opened()

    async def main():
        await m.aset("k", 1)
        assert len(since.descriptors()) >= 2
        cached.close()
        if patient:
            await asyncio.sleep(0.1)
            assert len(since.descriptors()) <= 4  # the loop's own, and nothing of the engine's

    asyncio.run(main())
    assert since.descriptors() == []


def test_an_engine_that_is_dropped_takes_its_connections_along(dynoxide_table, memcached):
    """An engine that nobody knows any more leaves nothing on a loop that goes on."""
    url = f"{dynoxide_table.url}&cache=memcached://{memcached.host}:{memcached.port}"

    async def main():
        m = LPCM("m", using=Engine.open(url))
        await m.aset("k", 1)
        del m

    async def engines():
        await main()
        gc.collect()
        await asyncio.sleep(0.05)
        since = Opened()
        for _ in range(5):
            await main()
        gc.collect()
        await asyncio.sleep(0.05)
        return since.descriptors()

    assert asyncio.run(engines()) == []


AT_EXIT = """
import asyncio, sys, threading
import lpcm
m = lpcm.LPCM("m", url=sys.argv[1])
ready = threading.Event()

async def main():
    await m.aset("k", 1)
    ready.set()
    await asyncio.sleep(60)

threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
assert ready.wait(30)
"""


def test_the_exit_of_a_program_whose_loop_runs_on(dynoxide_table, memcached):
    """A loop in a daemon thread, as notebooks have it, makes no noise at the end."""
    url = f"{dynoxide_table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_EXIT, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_loop_that_keeps_its_timers_is_swept_by_the_next(cached):
    """Where a closed loop does not let go of its timers, the next loop ends what was its own."""
    m = LPCM("m", using=cached)
    kept = []

    class Keeper(asyncio.SelectorEventLoop):
        def call_later(self, *args, **options):
            kept.append(super().call_later(*args, **options))
            return kept[-1]

    gc.collect()
    since = Opened()
    loop = Keeper()
    loop.run_until_complete(m.aset("k", 1))
    loop.close()
    assert since.descriptors()

    async def main():
        cached.awaitable()
        return len(since.descriptors())

    assert asyncio.run(main()) <= 3  # the new loop's own
    assert since.descriptors() == []


def test_a_loop_used_after_its_generators_were_closed(cached):
    """A loop that goes on after ``shutdown_asyncgens`` can begin anew, and ends as others do."""
    gc.collect()
    since = Opened()
    loop = asyncio.new_event_loop()
    for number in range(1, 4):
        m = LPCM("m", using=cached)  # a map used before has connections that are closed
        assert loop.run_until_complete(m.aincrement("k")) == number
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert since.descriptors() == []

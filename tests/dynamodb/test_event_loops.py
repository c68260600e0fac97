"""Engines on event loops: natively where the adapters can, and closed with the loop."""

import asyncio
import gc
import threading

import pytest

import lpcm
from lpcm import LPCM, Engine


@pytest.fixture
def dynamodb(dynoxide_table):
    """Yield an engine on DynamoDB."""
    dynoxide_table.empty()
    engine = Engine.open(dynoxide_table.url)
    yield engine
    engine.close()


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
    """On SQLite an operation runs on a worker thread, so that the loop is never blocked."""

    async def main():
        assert sqlite.awaitable() is sqlite.stack
        await LPCM("m", using=sqlite).aset("k", 1)
        return [thread.name for thread in threading.enumerate() if "asyncio" in thread.name]

    assert len(asyncio.run(main())) == 1
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

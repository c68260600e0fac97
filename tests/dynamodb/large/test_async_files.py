"""Files of an event loop: ``m.aopen``, in parts on DynamoDB, and in one piece elsewhere."""

import asyncio
import io
import os
import tracemalloc

import pytest

from lpcm import LPCM, Conflict, Engine, LPCMError, StoreBusy, ValueTooLarge, transaction
from lpcm.administration import sweep
from lpcm.ports.heads import PART
from lpcm.stores.dynamodb.http.aio import AsyncTransport
from tests.dynamodb.large.common import BIG, HOUR, OTHER, count, places

LONG = os.urandom(1000) * 3000
LINES = b"".join(b"%d " % number * (number % 50) + b"\n" for number in range(9000))


@pytest.fixture(scope="module")
def table(dynoxide_table):
    return dynoxide_table


async def write(m, key, value, mode="wb", **given):
    async with m.aopen(key, mode, **given) as file:
        for start in range(0, len(value), 100_000):
            assert await file.write(memoryview(value)[start : start + 100_000])
        assert await file.tell() == len(value)


@pytest.mark.parametrize("length", [0, 1, PART, 410_000, 410_001, 2 * PART, len(LONG)])
def test_a_round_trip(m, table, length):
    """What is written comes back; it is seen when it is closed, and stored as by ``open``."""

    async def main():
        await write(m, "k", LONG[:length], ttl=60)
        async with m.aopen("k") as file:
            return await file.read()

    assert asyncio.run(main()) == LONG[:length] == m["k"]
    assert m.ttl("k") == pytest.approx(60)
    parts = count(LONG[:length]) if length > 409_500 else 0
    assert places(table) == (1, 1 if parts else 0, parts)


def test_reading(m):
    """Any part of it, in any order, as of a file on a disk."""
    m["k"] = LINES
    disk = io.BytesIO(LINES)
    size = len(LINES)
    assert size > PART

    async def main():
        async with m.aopen("k") as file:
            for place, length in ((0, 10), (PART - 5, 10), (size - 10, 100), (5, PART), (7, 0)):
                assert await file.seek(place) == disk.seek(place)
                assert await file.read(length) == disk.read(length)
                assert await file.tell() == disk.tell()
            for place, length in ((0, -1), (PART - 3, None), (9, 2), (size, -1), (size - 1, 100)):
                assert await file.seek(place - size, os.SEEK_END) == disk.seek(place)
                assert await file.readline(length) == disk.readline(length)
            assert await file.seek(size + 10) == size + 10
            assert await file.read(1) == b""
            await file.seek(0)
            assert [line async for line in file] == list(io.BytesIO(LINES))
            for wrong in ((-1,), (0, 7)):
                with pytest.raises(ValueError, match=r"seek|whence"):
                    await file.seek(*wrong)
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            await file.read(1)

    asyncio.run(main())


def test_abandoned(m, table):
    """An exception, or a cancellation, leaves the value that was there, and no part."""
    m["k"] = BIG
    before = places(table)

    async def fails(kind, length):
        async with m.aopen("k", "wb") as file:
            await file.write(LONG[:length])
            raise kind
        raise AssertionError

    async def main():
        for length in (10, len(LONG)):
            with pytest.raises(RuntimeError):
                await fails(RuntimeError, length)
            with pytest.raises(asyncio.CancelledError):
                await fails(asyncio.CancelledError, length)

    asyncio.run(main())
    assert m["k"] == BIG
    assert places(table) == before


class Stops:
    """Holds back the reply to a request, the first after ``after`` others, for ever."""

    def __init__(self, monkeypatch, operation, after=0):
        self.reached = asyncio.Event()
        call = AsyncTransport.call
        left = [after]

        async def stops(transport, called, request, within):
            reply = await call(transport, called, request, within)
            if called == operation:
                left[0] -= 1
                if left[0] == -1:
                    self.reached.set()
                    await asyncio.Event().wait()
            return reply

        monkeypatch.setattr(AsyncTransport, "call", stops)


@pytest.mark.parametrize(
    ("operation", "after", "published"),
    [
        ("BatchWriteItem", 3, False),
        ("TransactWriteItems", 0, False),
        ("TransactWriteItems", 1, True),
    ],
    ids=["write", "aclose, refused by a head", "aclose"],
)
def test_cancelled_at_a_request(m, engine, table, monkeypatch, *, operation, after, published):
    """A part that may still come is found by its owner; a head that may still come is a write's."""
    m["k"] = BIG

    async def main():
        stops = Stops(monkeypatch, operation, after)
        task = asyncio.ensure_future(write(m, "k", LONG))
        await asyncio.wait_for(stops.reached.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    monkeypatch.undo()
    assert m["k"] == (LONG if published else BIG)
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine).swept == 1
    assert places(table) == (1, 1, count(LONG if published else BIG))


def test_two_tasks(m):
    """A second one that writes meanwhile is refused, and the first one's value is whole."""

    async def main():
        async with m.aopen("k", "wb") as file:
            first = asyncio.ensure_future(file.write(LONG))
            await asyncio.sleep(0)
            for second in (file.write(b"!"), file.aclose(), file.tell()):
                with pytest.raises(RuntimeError, match="another task"):
                    await second
            await first

    asyncio.run(main())
    assert m["k"] == LONG


def test_never_closed(m, table):
    """A file that is forgotten writes nothing."""

    async def main():
        file = await m.aopen("k", "wb")
        await file.write(LONG)
        with pytest.warns(ResourceWarning, match="'k' in map 'm' was not closed"):
            del file

    asyncio.run(main())
    assert not m
    assert places(table)[1] == 1


def test_replaced_while_it_is_read(m, engine):
    """It goes on with the value it began with; when the parts of that are gone, it fails."""

    async def main():
        await write(m, "k", LONG)
        async with m.aopen("k") as file:
            await m.aset("k", OTHER)
            assert await file.read(2 * PART) == LONG[: 2 * PART]
            engine.test_clock.advance(61)
            await m.aset("l", BIG)
            place = await file.tell()
            with pytest.raises(StoreBusy, match="open it again"):
                await file.read()
            assert await file.tell() == place

    asyncio.run(main())


def test_memory(table):
    """What a file asks for is the same whatever its size: most of it is room for one JSON."""
    table.empty()

    async def peak(m, pieces):
        tracemalloc.start()
        try:
            async with m.aopen("k", "wb") as file:
                for _ in range(pieces):
                    await file.write(bytes(50_000))
            async with m.aopen("k") as file:
                while found := await file.read(50_000):
                    assert found == bytes(50_000)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def main():
        return [await peak(m, pieces) for pieces in (40, 40, 120)]

    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        _, small, large = asyncio.run(main())
    assert large < small + 200_000


def test_max_value(table):
    """A writer learns the limit early, and leaves nothing."""
    table.empty()

    async def main():
        with pytest.raises(ValueTooLarge, match="over the limit of 1,000,000"):
            await write(m, "k", LONG)

    with Engine.open(table.url, max_value=1_000_000) as engine:
        m = LPCM("m", using=engine)
        asyncio.run(main())
        assert not m
    assert places(table) == (0, 0, 0)


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
def url(request, tmp_path, table):
    if request.param == "dynamodb":
        table.empty()
        return table.url
    sqlite = f"sqlite:///{tmp_path}/m?synchronous=normal"
    return "memory://" if request.param == "memory" else sqlite


def test_a_transaction(url):
    """A file of it is stored at its end, with the rest; what another one reads is a condition."""
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)

        async def main():
            await write(m, "k", LINES)
            async with transaction() as t:
                await write(t[m], "l", OTHER)
                assert not await m.acontains("l")
            assert await m.aget("l") == OTHER
            with pytest.raises(Conflict):
                async with transaction() as t:
                    async with t[m].aopen("k") as file:
                        await write(t[m], "l", await file.read(10))
                    await m.aset("k", b"new")
            return await m.acopy()

        assert asyncio.run(main()) == {"k": b"new", "l": OTHER}


def test_a_closed_map(url):
    """Its files raise what it raises, and write nothing."""
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = LINES

        async def main():
            reader, writer, closing = [await m.aopen("k", mode) for mode in ("rb", "wb", "wb")]
            await closing.write(b"more")
            await m.aclose()
            for step in (reader.read(), writer.write(b"more"), closing.aclose()):
                with pytest.raises(LPCMError, match="map 'm' is closed"):
                    await step
            await writer.aclose()
            for mode in ("w", "r", "ab"):
                with pytest.raises(ValueError, match="a value is opened"):
                    await LPCM("m", using=engine).aopen("k", mode)

        asyncio.run(main())
        assert LPCM("m", using=engine)["k"] == LINES

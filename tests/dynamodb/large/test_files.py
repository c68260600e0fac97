"""Files of values in parts: ``m.open`` on DynamoDB, alone and behind memcached."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

import lpcm
from lpcm import (
    LPCM,
    Conflict,
    Engine,
    StoreBusy,
    StoreCorrupt,
    ValueTooLarge,
    transaction,
)
from lpcm.administration import sweep
from lpcm.engine.drive import run
from lpcm.large import streams
from lpcm.ports.heads import PART, head_of
from lpcm.stores.dynamodb.store import DynamoDBStore
from tests.dynamodb.large.common import BIG, HOUR, OTHER, TEXT, count, places
from tests.forks import fork_in_c

LONG = os.urandom(1000) * 3000
"""3 MB, in which bytes of one place are at few others."""


@pytest.fixture(scope="module")
def table(dynoxide_table):
    return dynoxide_table


def write(m, key, value, **given):
    with m.open(key, "wb", **given) as file:
        shutil.copyfileobj(io.BytesIO(value), file, 100_000)


def owner_of(table):
    """Return what the one owner says, and the number of parts that are stored."""
    (owner,) = [item for item in table.items() if item["pk"]["S"].endswith("/!/")]
    return json.loads(owner["v"]["S"]), places(table)[2]


def test_a_round_trip(m, table):
    """What is written comes back, by a file and as a value; it is seen when it is closed."""
    m["k"] = OTHER
    file = m.open("k", "wb")
    assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
    assert file.write(LONG[:1_500_000]) == 1_500_000
    assert file.tell() == 1_500_000
    file.write(memoryview(LONG)[1_500_000:])
    assert m["k"] == OTHER
    file.close()
    file.close()
    assert m["k"] == LONG
    for _ in range(2):
        with m.open("k") as back:
            assert back.read() == LONG
    assert places(table)[0] == 1


def test_reading(m):
    """Any part of it, in any order, as of a file on a disk."""
    write(m, "k", LONG)
    disk = io.BytesIO(LONG)
    with m.open("k") as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        for place, length in ((0, 10), (PART - 5, 10), (2_999_990, 100), (5, PART), (PART, 1)):
            assert file.seek(place) == disk.seek(place)
            assert file.read(length) == disk.read(length)
            assert file.tell() == disk.tell()
        assert file.seek(-7, os.SEEK_END) == len(LONG) - 7
        assert file.read() == LONG[-7:]
        assert file.read() == b""
        assert file.seek(4_000_000) == 4_000_000
        assert file.read(1) == b""
        file.seek(0)
        disk.seek(0)
        assert list(file) == list(disk)
        file.seek(100)
        room = bytearray(500_000)
        assert file.readinto(room) == 500_000
        assert room == LONG[100:500_100]
        for wrong in ((-1,), (0, 7)):
            with pytest.raises(ValueError, match=r"seek|whence"):
                file.raw.seek(*wrong)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    with pytest.raises(ValueError, match="closed"):
        file.raw.readinto(room)


@pytest.mark.parametrize("length", [0, 1, PART, 409_000, 409_600, 410_000, 410_001, 2 * PART])
def test_every_length(m, table, length):
    """What one item holds is an entry as any other, and all else is in parts."""
    write(m, "k", LONG[:length], ttl=60)
    assert m["k"] == LONG[:length]
    with m.open("k") as file:
        assert file.read() == LONG[:length]
    assert m.ttl("k") == pytest.approx(60)
    parts = count(LONG[:length]) if length > 409_500 else 0
    assert places(table) == (1, 1 if parts else 0, parts)


def test_small_over_large_and_back(m, engine, table):
    """The parts of a file that was replaced, and those that it replaced, go after a minute."""
    m["k"] = 1
    write(m, "k", LONG)
    write(m, "k", b"small")
    assert m["k"] == b"small"
    write(m, "k", BIG)
    write(m, "k", LONG)
    engine.test_clock.advance(61)
    write(m, "l", BIG)
    assert m.copy() == {"k": LONG, "l": BIG}
    assert places(table) == (2, 2, count(LONG) + count(BIG))


def test_abandoned(m, table):
    """An exception leaves the value that was there, and no part."""
    m["k"] = BIG
    before = places(table)
    for length in (10, len(LONG)):
        with pytest.raises(RuntimeError), m.open("k", "wb") as file:
            file.write(LONG[:length])
            raise RuntimeError
        assert file.closed
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.write(b"")
    assert m["k"] == BIG
    assert places(table) == before


@contextlib.contextmanager
def another_thread_at(file, monkeypatch):
    """Have another thread write to the file; its first request waits for the end of the block."""
    reached, go_on = threading.Event(), threading.Event()
    apply = DynamoDBStore.apply

    async def slow(self, map, sk, op, now):
        if not reached.is_set():
            reached.set()
            go_on.wait(30)
        return await apply(self, map, sk, op, now)

    monkeypatch.setattr(DynamoDBStore, "apply", slow)
    thread = threading.Thread(target=file.write, args=(LONG,))
    thread.start()
    try:
        assert reached.wait(30)
        yield
    finally:
        go_on.set()
        thread.join()


def test_two_threads(m, monkeypatch):
    """A second one that writes meanwhile is refused, and the first one's value is whole."""
    with m.open("k", "wb") as file:
        with another_thread_at(file, monkeypatch):
            for second in (lambda: file.write(b"!"), file.close, file.tell):
                with pytest.raises(RuntimeError, match="another thread"):
                    second()
        assert file.tell() == len(LONG)
    assert m["k"] == LONG


@pytest.mark.posix
def test_a_fork_amid_a_write(m, monkeypatch):
    """The child has half of what the thread was at, and is refused; the parent's value is whole."""
    with m.open("k", "wb") as file:
        with another_thread_at(file, monkeypatch):
            pid = fork_in_c()
            if not pid:
                try:
                    file.write(b"!")
                except RuntimeError:
                    os._exit(7)
                os._exit(1)
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 7
    assert m["k"] == LONG


def test_abandoned_while_another_thread_writes(m, engine, table, monkeypatch):
    """The file is closed without a write; a sweep deletes its parts."""
    file = m.open("k", "wb")
    with another_thread_at(file, monkeypatch):
        with pytest.raises(KeyError), file:
            raise KeyError
        assert file.closed
    assert not m
    engine.test_clock.advance(HOUR)
    sweep(using=engine)
    assert places(table)[1:] == (0, 0)


def test_threads_that_read_one_file(m):
    """Each gets what comes next, and all together everything, once."""
    m["k"] = LONG
    size = 10_007

    def take(file):
        return list(iter(lambda: file.read(size), b""))

    with m.open("k") as file, ThreadPoolExecutor(4) as pool:
        taken = [piece for pieces in pool.map(take, [file] * 4) for piece in pieces]
    assert sorted(taken) == sorted(LONG[at : at + size] for at in range(0, len(LONG), size))


def test_never_closed(m, engine, table):
    """A file that is forgotten writes nothing; its parts are swept."""
    m["k"] = BIG
    file = m.open("k", "wb")
    file.write(LONG)
    with pytest.warns(ResourceWarning, match="not closed"):
        del file
    assert m["k"] == BIG
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine) == (2, 1)
    assert places(table) == (1, 1, count(BIG))


class Killed(BaseException):
    """The end of a process."""


def test_a_writer_that_was_killed(m, engine, table, monkeypatch):
    """Its parts, also one whose reply never came, are found by their owner."""
    m["k"] = BIG
    apply = type(engine.stack.large._parts).apply_spread
    calls = []

    async def dies(self, pks, writes, now):
        outcomes = await apply(self, pks, writes, now)
        calls.append(pks)
        if len(calls) == 5:
            raise Killed
        return outcomes

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(type(engine.stack.large._parts), "apply_spread", dies)
        write(m, "k", LONG)
    assert m["k"] == BIG
    assert places(table) == (1, 2, count(BIG) + 5)
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine) == (2, 1)
    assert places(table) == (1, 1, count(BIG))


def test_replaced_while_it_is_read(m, engine):
    """It goes on with the value it began with; when the parts of that are gone, it fails."""
    write(m, "k", LONG)
    early, late = m.open("k"), m.open("k")
    assert early.read(10) == late.read(10) == LONG[:10]
    m["k"] = OTHER
    engine.test_clock.advance(59)
    m["l"] = BIG
    assert early.read(PART) == LONG[10 : PART + 10]
    engine.test_clock.advance(3)
    m["l"] = BIG
    assert late.read(100) == LONG[10:110]
    with pytest.raises(StoreBusy, match="open it again"):
        while late.read(PART):
            pass
    with m.open("k") as file:
        assert file.read() == OTHER
    write(m, "k", LONG)
    file = m.open("k")
    del m["k"]
    engine.test_clock.advance(61)
    m["l"] = BIG
    with pytest.raises(StoreBusy, match="replaced or deleted"):
        file.seek(-1, os.SEEK_END) and file.read()


def test_a_cached_head_whose_parts_are_gone(table, memcached):
    """A reader that misses a part invalidates the head, so that whoever opens it again reads on."""
    table.empty()
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    with Engine.open(url) as engine, Engine.open(table.url) as behind:
        m, back = LPCM("m", using=engine), LPCM("m", using=behind)
        write(m, "k", LONG)
        with m.open("k") as file:
            assert file.read(10) == LONG[:10]
        head = head_of(run(m._use()._read_store("k")))
        back["k"] = OTHER  # past the cache
        run(behind.stack.large.owners.remove("default/m/", head.content, head.parts, 0.0))
        with m.open("k") as file:
            assert file.read(10) == LONG[:10]
            with pytest.raises(StoreBusy, match="open it again"):
                file.read()
        with m.open("k") as file:
            assert file.read() == OTHER


def test_missing_parts(m, table):
    """They are an error that names the key, at once or when they are read."""
    write(m, "k", LONG)
    content = head_of(run(m._use()._read_store("k"))).content
    for part in ("000003", "000000"):
        key = {"pk": {"S": f"default/m/!{content}/{part}/"}, "sk": {"S": part}}
        table.call("DeleteItem", TableName=table.name, Key=key)
        with pytest.raises(StoreCorrupt, match="'k'"):
            m.open("k").read()


def test_a_writer_that_takes_hours(m, engine):
    """Its owner is entered anew as it goes on, and no sweep takes its parts."""
    with m.open("k", "wb") as file:
        for start in range(0, len(LONG), 500_000):
            file.write(LONG[start : start + 500_000])
            engine.test_clock.advance(3000)
            assert sweep(using=engine).swept == 0
    assert m["k"] == LONG


@pytest.mark.parametrize("more", [b"", LONG], ids=["close", "write"])
def test_a_writer_that_stalls(m, engine, table, more):
    """After an hour a sweep gives it up; it is refused, and the value before it stays."""
    m["k"] = BIG
    file = m.open("k", "wb")
    file.write(LONG)
    engine.test_clock.advance(HOUR)
    assert sweep(using=engine) == (2, 1)
    with pytest.raises(StoreBusy, match="again"):
        file.write(more)
        file.close()
    assert file.closed
    assert m["k"] == BIG
    assert places(table) == (1, 1, count(BIG))


def test_the_owner_says_enough(m, table, monkeypatch):
    """At each moment so many parts as are stored, or more; the head says how many there are."""
    monkeypatch.setattr(streams, "_FIRST", 1)
    with m.open("k", "wb") as file:
        for start in range(0, len(LONG), PART):
            file.write(LONG[start : start + PART])
            if start:
                owner, stored = owner_of(table)
                assert stored <= owner["parts"] < 2 * stored + 1
    assert owner_of(table)[0]["parts"] == 8
    assert head_of(run(m._use()._read_store("k"))).parts == places(table)[2] == count(LONG) == 8


def test_only_if_absent(m, table):
    """Mode ``xb`` is refused when it is closed, and leaves nothing."""
    for value in (b"small", LONG):
        with m.open("k", "xb") as file:
            file.write(value)
        before = places(table)
        with pytest.raises(FileExistsError, match="'k'"), m.open("k", "xb") as file:
            file.write(LONG)
        assert m.pop("k") == value
        assert places(table) == (0, *before[1:])


def test_a_transaction(m, table):
    """A file of it is stored at its end, with the rest; what another one reads is a condition."""
    write(m, "k", LONG)
    before = places(table)
    with transaction() as t:
        with t[m].open("k") as back:
            assert back.read() == LONG
        write(t[m], "l", BIG)
        assert places(table) == before
    assert m.copy() == {"k": LONG, "l": BIG}
    with pytest.raises(Conflict), transaction() as t:
        write(t[m], "l", t[m].open("k").read(PART))
        m["k"] = OTHER
    assert m.copy() == {"k": OTHER, "l": BIG}


def test_max_value(table):
    """A limit of one's own holds for files; a writer learns it early, and leaves nothing."""
    table.empty()
    for limit in (1000, 1_000_000):
        with Engine.open(table.url, max_value=limit) as engine:
            m = LPCM("m", using=engine)
            with pytest.raises(ValueTooLarge, match=f"over the limit of {limit:,}"):
                write(m, "k", LONG)
            assert not m
            assert places(table) == (0, 0, 0)
            write(m, "k", LONG[:limit])
            assert m.pop("k") == LONG[:limit]
        table.empty()


def test_what_is_not_bytes(m):
    """It is an error that names the type; a key without an entry is a KeyError."""
    for value in (1, "text", TEXT, {"a": b"x"}):
        m["k"] = value
        with pytest.raises(TypeError, match=rf"'k' in map 'm' has a {type(value).__name__},"):
            m.open("k")
    del m["k"]
    with pytest.raises(KeyError):
        m.open("k")


def test_compressed(table):
    """A compressed value is read whole; a file in parts is not compressed."""
    table.empty()
    value = b"of little content. " * 100_000
    with Engine.open(table.url, compress="zlib") as engine:
        m = LPCM("m", using=engine)
        for stored in (value, value + os.urandom(900_000)):
            m["k"] = stored
            with m.open("k") as file:
                file.seek(1000)
                assert file.read() == stored[1000:]
        write(m, "k", value)
        assert head_of(run(m._use()._read_store("k"))).size == len(value)
        write(m, "k", value[:100_000])
        assert run(m._use()._read_store("k")).kind == "bytes+zlib"
        assert m["k"] == value[:100_000]


def test_what_it_costs(table):
    """About a unit for each KB, and few more; who seeks pays for the parts that are read."""
    table.empty()
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        m["first"] = BIG
        size = len(LONG) / 1024
        with lpcm.meter() as made:
            write(m, "k", LONG)
        assert size <= made.write_units <= size + count(LONG) + 12
        with lpcm.meter() as made, m.open("k") as file:
            file.read()
        assert size / 4 <= made.read_units <= size / 4 + count(LONG) + 2
        assert made.calls == 1 + count(LONG)
        with lpcm.meter() as made, m.open("k") as file:
            file.seek(-10, os.SEEK_END)
            file.read()
        assert made.calls == 3
        assert made.read_units < 250


MEMORY = """
import re, sys
from pathlib import Path
from lpcm import LPCM

def used():  # not ru_maxrss, which begins with the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def copy(key, pieces):
    with m.open(key, "wb") as file:
        for number in range(pieces):
            file.write(number.to_bytes(4) * 12_500)
    wrote = used()
    with m.open(key) as file:
        for number in range(pieces):
            assert file.read(50_000) == number.to_bytes(4) * 12_500
    return wrote, used()

m = LPCM("m", url=sys.argv[1])
m["k"] = "small"
assert m["k"] == "small"
before = used()
copy("warm", 100)
print(max(copy("short", 100)) - before, max(copy("long", 400)) - before)
"""


def test_memory_in_use(table):
    """A file of 20 MB takes what one of 5 MB takes, written and read: a few parts."""
    table.empty()
    command = [sys.executable, "-c", MEMORY, table.url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    short, long = map(int, done.stdout.split())
    assert long < short + 2_000_000  # of 15 MB more; the allocator's pieces differ
    assert long < 8_000_000


def test_memory(table):
    """What a file asks for is the same whatever its size: most of it is room for one JSON."""
    table.empty()
    with Engine.open(table.url) as engine:
        m = LPCM("m", using=engine)
        peaks = []
        for key, pieces in (("warm", 40), ("small", 40), ("large", 400)):
            tracemalloc.start()
            try:
                with m.open(key, "wb") as file:
                    for _ in range(pieces):
                        file.write(bytes(50_000))
                _, wrote = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                with m.open(key) as file:
                    while found := file.read(50_000):
                        assert found == bytes(50_000)
                _, read = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            peaks.append((wrote, read))
        _, small, large = peaks
        assert large[0] < small[0] + 200_000
        assert large[1] < small[1] + 200_000
        assert max(large) < 12_000_000

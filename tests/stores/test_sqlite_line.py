"""The lines of processes at a SQLite file: first come, first served, and nobody is held up by one.

Where the system has locks of an open file, each ``Line`` stands for a process; what the locks of a
process do, children show.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lpcm import LPCM, Engine, atransact, transact
from lpcm.ports import Add, Applied
from lpcm.stores.sqlite import byte_locks
from lpcm.stores.sqlite import line as lines
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.line import Line, Lines
from lpcm.stores.sqlite.writes import Write
from tests.stores.test_sqlite import in_child
from tests.stores.test_sqlite_commit import Thread, apply, data, held, put, until

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(not byte_locks.OWN, reason="no locks that belong to an open file"),
]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "m.sqlite3")


@pytest.fixture
def store(path):
    with contextlib.closing(sqlite.open_store(path)) as store:
        apply(store, "k", put(0))
        yield store


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Have nobody passed, and no turn go on, however busy the machine is."""
    monkeypatch.setattr(lines, "PATIENCE", 60.0)
    monkeypatch.setattr(lines, "TURN", 0.0)


@pytest.fixture
def log(path):
    """Return the path of a database whose log is there."""
    Path(f"{path}-wal").touch(exist_ok=False)
    return path


@pytest.fixture(autouse=True)
def left():
    """Have all leave their lines at the end."""
    yield
    while STANDING:
        STANDING.pop().leave()


STANDING = []


def stood(*all_of_them):
    for line in all_of_them:
        assert line.stand()
        STANDING.append(line)
        time.sleep(0.000_01)  # not in the same microsecond


# The line


def test_first_come_first_served(log):
    """Each is the first one when all before it have left; one that comes again is the last."""
    a, b, c = (Line(log) for _ in range(3))
    stood(a, b, c)
    assert [one.first() for one in (c, b, a)] == [False, False, True]
    a.leave()
    stood(a)
    assert [one.first() for one in (a, c, b)] == [False, False, True]
    b.leave()
    assert [one.first() for one in (a, c)] == [False, True]
    c.leave()
    assert a.first()


def test_a_place_is_kept(log):
    """Who stands in the line and stands there again does not lose its place."""
    a, b = Line(log), Line(log)
    stood(a, b)
    a.stand()
    assert a.first()
    assert not b.first()


def test_lines_of_keys(log):
    """Those of different keys, and that of the file, do not wait for each other."""
    one, other = Lines(log), Lines(log)
    stood(Line(log), one.of("m", "a"), other.of("m", "b"), other.of("m", "a"))
    assert one.of("m", "a").first()
    assert other.of("m", "b").first()
    assert not other.of("m", "a").first()
    assert one.of("m", "a") is one.of("m", "a")


def test_many_keys_are_forgotten(log):
    """What is remembered of keys is bounded."""
    of = Lines(log)
    for number in range(3 * lines._MOST):
        of.of("m", f"{number}")
    assert len(of._lines) <= lines._MOST


def test_a_turn(log, monkeypatch):
    """Who has had its turn goes on for a moment, and then stands behind who came meanwhile."""
    monkeypatch.setattr(lines, "TURN", 60.0)
    a, b = (Lines(log).of("m", "k") for _ in "ab")
    stood(a)
    a.leave()
    stood(b)
    assert a.free()
    a._until = 0.0
    assert not a.free()
    assert not a.standing
    stood(a)
    b.leave()
    assert a.first()


def test_one_look_for_all_keys(log, monkeypatch):
    """Who does something at many keys looks once in a while whether anybody stands anywhere."""
    monkeypatch.setattr(lines, "TURN", 60.0)
    ours, theirs = Lines(log), Lines(log)
    file = Line(log)
    stood(file)  # the file's own line is none of a key
    assert ours.of("m", "a").free()
    monkeypatch.setattr(lines, "_opened", None)  # no other look
    assert all(ours.of("m", f"{number}").free() for number in range(10))
    monkeypatch.undo()
    stood(theirs.of("m", "a"))
    ours._quiet_until = 0.0
    assert not ours.of("m", "a").free()
    assert not ours.of("m", "b").free()
    stood(ours.of("m", "b"))
    assert ours.of("m", "b").first()


def test_patience(log, monkeypatch):
    """Who has stood in the line for long holds nobody up, and waits for nobody."""
    monkeypatch.setattr(lines, "PATIENCE", 0.2)
    a, b, c = Line(log), Line(log), Line(log)
    stood(a)
    time.sleep(0.1)
    stood(b)
    assert not b.first()
    time.sleep(0.11)
    assert b.first(), "a has stood there for longer"
    stood(c)
    assert not c.first(), "b has not"
    time.sleep(0.1)
    c.leave()
    stood(c)
    assert c.first()
    assert b.first()


def test_pauses(log):
    """Who has waited long last time looks the oftener, the nearer its turn must be."""
    a = Line(log)
    stood(a)
    assert a.pause() == lines.OFTEN
    a._expected = 10.0
    assert a.pause() == lines._SELDOM
    a._expected, a._since = 0.004, time.monotonic()
    assert lines.OFTEN <= a.pause() <= 0.002


def test_without_a_log(path):
    """Where there is no log to lock, nobody waits but for a moment, and nothing is made."""
    a = Lines(path).of("m", "k")
    assert a.free()
    assert not a.stand()
    until(a.first)
    a.leave()
    assert not Path(f"{path}-wal").exists()


STAND = """
import sys, time
from lpcm.stores.sqlite import byte_locks
from lpcm.stores.sqlite import byte_locks, line as lines
lines.PATIENCE = 60
if sys.argv[2] == "process":
    byte_locks.OWN = False
line = lines.Line(sys.argv[1])
line.stand()
print(line.standing, flush=True)
sys.stdin.readline()
first = line.first()
line.leave()
print(first, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("own", ["file", "process"])
def test_processes(log, own):
    """Processes stand in order, with either kind of locks; one that is killed is gone."""
    command = [sys.executable, "-c", STAND, log, own]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, **pipes) as first,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed,
    ):
        assert [first.stdout.readline(), killed.stdout.readline()] == ["True\n", b"True\n"]
        with subprocess.Popen(command, **pipes) as last:
            assert last.stdout.readline() == "True\n"
            killed.kill()
            killed.wait()
            first.stdin.write("\n")
            first.stdin.flush()
            first.stdout.readline()
            last.stdin.write("\n\n")
            last.stdin.flush()
            assert last.stdout.readline() == "True\n"
            first.stdin.close()


def test_a_fork(log):
    """A child holds no place, and does not take its parent's away."""
    a, b, c = (Lines(log).of("m", "k") for _ in "abc")
    stood(a, b)

    def child():
        for one in (b, a, c):
            assert not one.free()
            assert one.stand()
            assert not one.first()
            one.leave()

    in_child(child)
    assert a.first()
    assert not b.first()
    a.leave()
    assert b.first()


def test_the_place_is_left_while_a_child_has_the_file(log):
    """A child of a fork that goes on has the open file, and yet no place."""
    a, b = Line(log), Line(log)
    stood(a, b)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    try:
        a.leave()
        assert b.first()
    finally:
        os.close(told)
        os.waitpid(child, 0)


def test_locks_of_sqlite_stay(store, path):
    """Standing in a line and leaving drops none of the locks that SQLite has on the file."""
    with store._file.connection() as connection, connection.lock:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            a = Line(path)
            stood(a)
            assert a.first()
            a.leave()
        program = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)"
            "\ntry: c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError: print('busy')"
        )
        found = subprocess.run(
            [sys.executable, "-c", program, path], check=True, stdout=subprocess.PIPE, text=True
        )
        connection.execute("ROLLBACK")
    assert found.stdout == "busy\n"


# Writes


def test_writes_go_in_order(store, path):
    """Engines that wait for the lock of the file get it in the order in which they came."""
    with contextlib.ExitStack() as opened:
        others = [opened.enter_context(contextlib.closing(sqlite.open_store(path))) for _ in "bcd"]
        threads = []
        with held(store) as leave:
            for one in (store, *others):
                threads.append(Thread(lambda one=one: apply(one, "k", Add(1, None, 1))))
                until(lambda one=one: one.commits._line.standing)
            leave()
            outcomes = [thread.outcome() for thread in threads]
    assert [one.entry.data for one in outcomes] == [1, 2, 3, 4]


def write_waits(store):
    """Start a write that must wait for the line; return its thread."""
    thread = Thread(lambda: apply(store, "k", Add(1, None, 1)))
    until(lambda: store.commits._busy_since)  # it has looked, and is not the first one
    time.sleep(0.03)
    assert thread.is_alive()
    return thread


def test_a_turn_ends(store, path):
    """Who met others of late stands behind those that wait, though the lock is free."""
    store.commits._busy_last = time.monotonic()
    store.commits.alone = False
    for waited in (0.15, 0.0):  # the longer one is no reason to forget the others
        other = Line(path)
        stood(other)
        thread = write_waits(store)
        time.sleep(waited)
        other.leave()
        assert isinstance(thread.outcome(), Applied)


def test_a_long_transaction(store, path):
    """One that took longer than others are remembered is no reason to forget them."""
    store.commits._busy_last = time.monotonic()
    first, second = Line(path), Line(path)
    stood(first)
    slow = Thread(lambda: store.commits.write(Write(lambda _: time.sleep(0.15))))
    until(lambda: store.commits._busy_since)
    first.leave()
    slow.outcome()
    stood(second)
    thread = write_waits(store)
    second.leave()
    assert isinstance(thread.outcome(), Applied)


def test_many_commits_in_a_row(store, path):
    """So does who has committed others' writes for long, and was never refused."""
    other = Line(path)
    stood(other)
    store.commits.alone, store.commits._row = False, 1000
    thread = write_waits(store)
    other.leave()
    assert isinstance(thread.outcome(), Applied)


def test_a_withdrawn_write_leaves_the_line(path):
    """A write that fails while it waits in the line leaves no place behind."""
    with contextlib.closing(sqlite.open_store(path, busy_timeout=0.1)) as store:
        apply(store, "k", put(0))
        with held(store), pytest.raises(Exception, match="busy_timeout"):
            apply(store, "k", put(1))
        assert not store.commits._line.standing
        assert data(store, "k") == 0


# Compare-and-sets


@pytest.fixture
def engines(path):
    with Engine.open(f"sqlite:///{path}") as one, Engine.open(f"sqlite:///{path}") as other:
        LPCM("m", using=one)["k"] = 0.0
        yield one, other


def rival(engines):
    """Return the line that another process has at the key."""
    return engines[1].store.line(LPCM("m", using=engines[1])._use()._map, "k")


def test_a_compare_and_set_stands_behind(engines):
    """Who finds others in line at its key waits, and then reads what they left."""
    m, other = LPCM("m", using=engines[0]), LPCM("m", using=engines[1])
    line, calls = rival(engines), []
    stood(line)

    def work(value):
        calls.append(value)
        return value + 1

    thread = Thread(lambda: m.transform("k", work))
    time.sleep(0.05)
    assert thread.is_alive()
    other["k"] = 7.0
    line.leave()
    assert thread.outcome() == 8.0
    assert calls == [7.0]


def test_who_has_lost_stands_in_the_line(engines):
    """A compare-and-set that was refused holds its place until it is done, whatever comes out."""
    m, other = LPCM("m", using=engines[0]), LPCM("m", using=engines[1])
    mine = engines[0].store.line(m._use()._map, "k")
    standing = []

    def work(value):
        standing.append(mine.standing)
        if len(standing) <= 3:
            other["k"] = value + 1
        return value + 0.5

    assert m.transform("k", work) == 3.5
    assert standing == [False, True, True, True]
    assert not mine.standing

    def raising(value):
        other["k"] = value + 1
        if mine.standing:
            raise ArithmeticError
        return value

    with pytest.raises(ArithmeticError):
        m.transform("k", raising)
    assert not mine.standing


def test_no_pause_in_front_of_the_line(engines, monkeypatch):
    """Who is the first one tries again at once: those that it waits for have gone."""
    m, other = LPCM("m", using=engines[0]), LPCM("m", using=engines[1])

    def no_sleep(_):
        raise AssertionError

    refusals = iter(range(5))

    def work(value):
        for _ in refusals:
            other["k"] = value + 1
            break
        return value + 0.5

    monkeypatch.setattr("lpcm.engine.drive.time.sleep", no_sleep)
    assert m.transform("k", work) == 5.5


def test_tasks(engines):
    """Tasks wait likewise, and the loop goes on."""
    m = LPCM("m", using=engines[0])
    line = rival(engines)

    async def main():
        stood(line)
        task = asyncio.ensure_future(m.atransform("k", lambda value: value + 1))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not task.done()
        line.leave()
        return await asyncio.wait_for(task, 60)

    assert asyncio.run(main()) == 1.0


def test_within_another_one(engines):
    """A compare-and-set in another one's function waits for no line: others may wait for it."""
    m = LPCM("m", using=engines[0])
    m["other"] = 1.0
    line = rival(engines)
    stood(line)
    result = Thread(lambda: m.transform("other", lambda one: one + m.transform("k", lambda _: 2.0)))
    assert result.outcome() == 3.0


def refused_once(m, other):
    """Return what a transaction does whose first attempt is refused, and the list of attempts."""
    attempts = []

    def work(t):
        attempts.append(t)
        value = t[m]["k"]
        if len(attempts) == 1:
            other["k"] = 7.0
        t[m]["k"] = value + 1

    return work, attempts


def test_a_transaction(engines):
    """One that was refused stands in the line of the key that refused it, until it is done."""
    m, other = LPCM("m", using=engines[0]), LPCM("m", using=engines[1])
    line = rival(engines)
    stood(line)
    work, attempts = refused_once(m, other)
    thread = Thread(lambda: transact(work))
    mine = engines[0].store.line(m._use()._map, "k")
    until(lambda: mine.standing)
    time.sleep(0.05)
    assert thread.is_alive()
    assert len(attempts) == 1
    line.leave()
    thread.outcome()
    assert len(attempts) == 2
    assert m["k"] == 8.0
    assert not mine.standing


def test_a_transaction_of_a_task(engines):
    """So does one that is awaited, and the loop goes on."""
    m, other = LPCM("m", using=engines[0]), LPCM("m", using=engines[1])
    line = rival(engines)
    attempts = []

    async def work(t):
        attempts.append(t)
        value = await t[m].agetitem("k")
        if len(attempts) == 1:
            await other.aset("k", 7.0)
        await t[m].aset("k", value + 1)

    async def main():
        stood(line)
        task = asyncio.ensure_future(atransact(work))
        mine = engines[0].store.line(m._ause()._map, "k")
        for _ in range(2000):
            if mine.standing:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert len(attempts) == 1
        line.leave()
        await asyncio.wait_for(task, 60)
        return await m.aget("k"), mine.standing

    assert asyncio.run(main()) == (8.0, False)


def test_live_values(engines):
    """Changes of live values that are compare-and-sets stand in the line, too."""
    m = LPCM("m", using=engines[0])
    m["k"] = [3, 1, 2]
    held_list, line = m["k"], rival(engines)
    stood(line)
    thread = Thread(held_list.sort)
    time.sleep(0.05)
    assert thread.is_alive()
    line.leave()
    thread.outcome()
    assert m["k"] == [1, 2, 3]


# Processes

MEET = """
import json, sys, time
from lpcm import LPCM
m = LPCM("m", url=sys.argv[1])
work = sys.argv[2]

def half_more(value):
    if work == "slow":
        time.sleep(0.003)
    return value + 0.5

def once():
    if work == "increment":
        m.increment("k", 0.5)
    else:
        m.transform("k", half_more)

once()
print("ready", flush=True)
begin = float(sys.stdin.readline())
time.sleep(max(0.0, begin - time.monotonic()))
done, longest = 0, 0.0
until = begin + 1.0
while (began := time.monotonic()) < until:
    once()
    done += 1
    longest = max(longest, time.monotonic() - began)
print(json.dumps([done, longest]), flush=True)
"""


@pytest.mark.parametrize("work", ["increment", "transform", "slow"])
def test_processes_get_the_same(path, work):
    """Processes that write one key get about the same, exactly, and none waits long."""
    # Each commit waits for the disk, so that they meet at the lock, not at the processor.
    url, processes = f"sqlite:///{path}", 4
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = 0.0
        children = [
            subprocess.Popen(
                [sys.executable, "-c", MEET, url, work],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        begin = time.monotonic() + 0.2  # the same for all, whenever each reads it
        for child in children:
            child.stdin.write(f"{begin}\n")
            child.stdin.flush()
        found = [json.loads(child.communicate(timeout=60)[0]) for child in children]
        shares = [done for done, _ in found]
        assert m["k"] * 2 == sum(shares) + processes
        jain = sum(shares) ** 2 / (processes * sum(share * share for share in shares))
        assert jain > 0.8, shares
        assert max(longest for _, longest in found) < 1.0

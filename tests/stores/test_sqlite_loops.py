"""SQLite on event loops: writes share a thread and a commit, reads have theirs, cancelling."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest

from lpcm import LPCM, Engine, StoreError
from lpcm.stores.sqlite.upkeep import Upkeep
from tests.opened import Opened

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


def test_a_program_that_awaits_nothing_loads_no_asyncio(path):
    """Reads and writes of a blocking program on SQLite import nothing of event loops."""
    program = (
        "import sys; from lpcm import LPCM; m = LPCM('m', url=sys.argv[1], default=0)\n"
        "m['k'] = [1]; m['k'].append(2); m.increment('n'); m.update(a=1)\n"
        "assert dict(m) and len(m) == 3\n"
        "print([name for name in sys.modules if name.startswith(('asyncio', 'concurrent'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{path}"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n", done.stderr


@contextmanager
def blocked(path):
    """Have another process hold the file's write lock; yield what ends that."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"

        def leave():
            if not holder.stdin.closed:
                holder.stdin.write("\n")
                holder.stdin.close()

        try:
            yield leave
        finally:
            leave()
            holder.wait(30)


@pytest.fixture
def path(tmp_path):
    """Return where the file is."""
    return tmp_path / "m.sqlite3"


@pytest.fixture
def engine(path):
    """Yield an engine on it."""
    engine = Engine.open(f"sqlite:///{path}")
    yield engine
    engine.close()


def ours(since):
    """Return the names of lpcm's threads that this test has started."""
    return [name for name in since.threads() if name.startswith("lpcm-")]


async def seconds(awaitable):
    """Return how long that took."""
    start = time.perf_counter()
    await awaitable
    return time.perf_counter() - start


def test_blocked_writes_delay_neither_reads_nor_anything_else(engine, path):
    """While another process writes for long, reads and the loop's own executor are as quick."""
    since = Opened()
    m = LPCM("m", using=engine)
    m["k"] = 1

    async def main():
        loop = asyncio.get_running_loop()
        await m.aget("k")
        with blocked(path) as leave:
            writes = [asyncio.create_task(m.aset(str(number), number)) for number in range(40)]
            await asyncio.sleep(0.05)
            async with asyncio.timeout(10):
                reads = await asyncio.gather(
                    *(seconds(m.aget("k")) for _ in range(50)),
                    seconds(m.alen()),
                    seconds(m.acopy()),
                    seconds(m.aget_many(["k"])),
                    seconds(loop.getaddrinfo("127.0.0.1", 80)),
                    seconds(asyncio.to_thread(time.time)),
                )
            assert not any(write.done() for write in writes)
            assert [name for name in ours(since) if "write" in name] == ["lpcm-write-1"]
            leave()
            await asyncio.gather(*writes)
        return max(reads)

    assert asyncio.run(main()) < 1
    assert len(m) == 41


def test_a_write_given_up_before_it_began_is_not_done(engine, path):
    """``asyncio.timeout`` around writes that wait: those in the queue are withdrawn."""
    m = LPCM("m", using=engine)
    m["k"] = 1

    async def main():
        with blocked(path) as leave:
            under_way = [asyncio.create_task(m.aset(f"first {n}", n)) for n in range(4)]
            await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.gather(*(m.aset(f"given up {n}", n) for n in range(20)))
            leave()
            await asyncio.gather(*under_way)
            await m.aset("last", 1)

    asyncio.run(main())
    assert sorted(m) == ["first 0", "first 1", "first 2", "first 3", "k", "last"]


def in_child(path, text, *, interrupt=False):
    """Run a program in which warnings are errors, perhaps with Ctrl-C; return what it wrote."""
    program = textwrap.dedent(
        """
        import asyncio, signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import lpcm
        m = lpcm.LPCM("m", url="sqlite:///" + sys.argv[1])
        m["k"] = 1
        """
    ) + textwrap.dedent(text)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout.readline() == "blocked\n", child.stderr.read()
            if interrupt:
                child.send_signal(signal.SIGINT)
            return child.communicate("\n", timeout=60)
        finally:
            child.kill()


WAITING = """
import sqlite3
holder = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
lpcm.system.workers.EXIT = 0.3

async def main():
    await m.aget("k")
    holder.execute("BEGIN IMMEDIATE")
    tasks = [asyncio.create_task(m.aset(str(n), n)) for n in range(20)]
    await asyncio.sleep(0.1)
    print("blocked", flush=True)
    await asyncio.gather(*tasks)
"""


def test_ctrl_c_leaves_no_coroutine_behind(path):
    """Ctrl-C while writes wait ends the program soon and without any warning."""
    program = f"""
{WAITING}
start = time.monotonic()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 15)  # of the 30 that a write waits
holder.execute("ROLLBACK")
"""
    out, err = in_child(path, program, interrupt=True)
    assert (out, err) == ("interrupted True\n", "")


def test_ctrl_c_in_a_loop_that_is_dropped(path):
    """The same where nobody cancels the tasks: the loop is closed, and the program ends."""
    program = f"""
{WAITING}
loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda *_: None)  # "Task was destroyed": the program's own doing
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    print("interrupted")
loop.close()
holder.execute("ROLLBACK")
"""
    out, err = in_child(path, program, interrupt=True)
    assert (out, err) == ("interrupted\n", "")


def test_a_blocked_write_does_not_hold_up_the_exit(path):
    """A program that ends while writes wait for others ends within the patience of its exit."""
    program = f"""
{WAITING}
async def soon():
    task = asyncio.ensure_future(main())
    await asyncio.sleep(0.3)
    task.cancel()
asyncio.run(soon())
sys.stdin.readline()
"""
    start = time.monotonic()
    out, err = in_child(path, program)
    assert (out, err) == ("", "")
    assert time.monotonic() - start < 20
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()


def test_a_closed_engine_leaves_no_thread(engine, path):
    """``close`` withdraws what waits, tells those who await it, and ends the threads."""
    since = Opened()
    m = LPCM("m", using=engine)
    m["k"] = 1

    async def main():
        with blocked(path) as leave:
            writes = [asyncio.create_task(m.aset(str(number), number)) for number in range(20)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(engine.close)
            leave()
            return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert {type(outcome) for outcome in outcomes} == {StoreError}
    assert ours(since) == []
    again = Engine.open(f"sqlite:///{path}")
    assert sorted(LPCM("m", using=again)) == ["k"]
    again.close()


def test_loops_one_after_another_use_the_same_threads(engine):
    """A loop takes no thread of lpcm's along, and leaves none behind."""
    since = Opened()
    m = LPCM("m", using=engine)

    async def main():
        await asyncio.gather(*(m.aincrement("k") for _ in range(5)))
        return await m.aget("k")

    for number in range(1, 31):
        assert asyncio.run(main()) == 5 * number
    assert len(ours(since)) <= 5


def test_a_burst_of_tasks_looks_after_the_file_a_few_times(engine, monkeypatch):
    """A thousand tasks have a thread look after the file now and then, not once each."""
    looked = []
    look = Upkeep.look
    monkeypatch.setattr(Upkeep, "look", lambda self, now: (looked.append(now), look(self, now)))

    m = LPCM("m", using=engine)
    m["made"] = 1
    looked.clear()

    async def main():
        await asyncio.gather(*(m.aset(f"{n}", n) for n in range(1000)))

    asyncio.run(main())
    assert len(m) == 1001
    assert 1 <= len(looked) <= 1000 // 64 + 1


def test_a_look_that_is_withdrawn_is_made_up_for(engine):
    """Where the threads are stopped before they look, a later write has them look again."""

    class Threads:
        def __init__(self):
            self.posted = []

        def post(self, work, withdrawn):
            self.posted.append((work, withdrawn))

    threads = Threads()
    awaited = engine.store.awaited(threads)
    awaited._look(1.0)
    awaited._look(1.0)
    assert len(threads.posted) == 1
    threads.posted.pop()[1]()
    awaited._look(1.0)
    threads.posted.pop()[0]()
    awaited._look(1.0)
    assert len(threads.posted) == 1

"""Group commit on SQLite: writes that meet are committed together, and each as if it were alone."""

import asyncio
import contextlib
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

import lpcm
from lpcm import LPCM, Engine
from lpcm.engine.drive import run
from lpcm.errors import OutcomeUnknown, StoreBusy, StoreError, StoreFull
from lpcm.ports import Aborted, Add, Applied, Cell, Change, Check, Delete, Put, Touch, When
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.commit import Commits
from tests.opened import Opened
from tests.stores.test_sqlite import in_child
from tests.stores.test_sqlite_loops import blocked

MAP, NOW = "a/b/", 1000.0
PATIENCE = 60


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.sqlite3"


@pytest.fixture
def store(path):
    with contextlib.closing(sqlite.open_store(str(path))) as store:
        yield store


@pytest.fixture
def batches(monkeypatch):
    """Return the sizes of the transactions that were committed from now on."""
    sizes = []
    finish = Commits._finish

    def counting(self, connection, batch):
        sizes.append(len(batch.writes))
        finish(self, connection, batch)

    monkeypatch.setattr(Commits, "_finish", counting)
    return sizes


def put(data, etag=1, when=When.ALWAYS, expires=None):
    return Put(Cell(data, None), etag, expires, when)


def apply(store, sk, op):
    return run(store.apply(MAP, sk, op, NOW))


def data(store, sk):
    stored = run(store.read(MAP, sk, NOW))
    return None if stored is None else stored.data


def until(condition):
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Thread(threading.Thread):
    """A thread whose result or error is kept."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self._work = work
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001  # for the test to look at
            self.error = error

    def outcome(self):
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.result if self.error is None else self.error


@contextlib.contextmanager
def held(store):
    """Hold the lock of the file, as another process would; yield what lets it go."""
    with contextlib.closing(
        sqlite3.connect(store._file.path, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")

        def leave():
            if other.in_transaction:
                other.execute("ROLLBACK")

        try:
            yield leave
        finally:
            leave()


def meeting(store, works):
    """Have these wait for the lock together, in this order; return their outcomes."""
    with held(store) as leave:
        threads = started(store, works)
        leave()
        return [thread.outcome() for thread in threads]


def started(store, works):
    """Start threads that come to wait in this order, behind those that do already."""
    # A write that waits alone is out of the queue for the moment of each attempt.
    before = 0
    for _ in range(20):
        before = max(before, len(store.commits.queue))
        time.sleep(0.001)
    threads = []
    for number, work in enumerate(works, before + 1):
        threads.append(Thread(work))
        until(lambda number=number: len(store.commits.queue) >= number)
    return threads


def traced(store, monkeypatch):
    """Return the statements of every connection opened from now on."""
    statements = []
    connect = store._file.connect

    def tracing(mode):
        raw = connect(mode)
        raw.set_trace_callback(statements.append)
        return raw

    monkeypatch.setattr(store._file, "connect", tracing)
    return statements


# Together


def test_what_waits_is_committed_together(store, batches):
    """Twenty threads that wait share one commit, and each of their writes is there."""
    apply(store, "first", put(0))
    done = meeting(store, [lambda n=n: apply(store, f"{n}", put(n)) for n in range(20)])
    assert all(isinstance(each, Applied) for each in done)
    assert [data(store, f"{n}") for n in range(20)] == list(range(20))
    assert batches == [20]


def test_a_transaction_is_bounded(store, batches, monkeypatch):
    """Not all of a long queue is one transaction, nor all of many bytes."""
    monkeypatch.setattr("lpcm.stores.sqlite.commit.MOST", 4)
    monkeypatch.setattr("lpcm.stores.sqlite.commit.MOST_BYTES", 1000)
    sizes = [1] * 6 + [600] * 4
    works = [
        lambda n=n, size=size: apply(store, f"{n}", put("x" * size)) for n, size in enumerate(sizes)
    ]
    meeting(store, works)
    assert sum(batches) == 10
    assert batches == [4, 4, 2]


def test_a_lone_write_is_one_statement(store, batches, monkeypatch):
    """Who meets nobody has no transaction made, of whichever kind the write is."""
    statements = traced(store, monkeypatch)

    def alone():
        apply(store, "k", put(1))
        for op in (put(2), Add(1, None, 3), Touch(NOW + 9, 4), put(5, when=4), Delete()):
            statements.clear()
            assert isinstance(apply(store, "k", op), Applied)
            assert len(statements) == 1, statements

    Thread(alone).outcome()
    assert batches == []


def test_a_write_that_waits_alone_is_one_statement(store, monkeypatch):
    """A queue of one is no transaction either."""
    statements = traced(store, monkeypatch)
    meeting(store, [lambda: apply(store, "k", put(1))])
    assert [one for one in statements if one.startswith(("BEGIN", "COMMIT"))] == []


def test_nobody_is_told_before_commit(store, monkeypatch):
    """When COMMIT begins, nobody knows an outcome yet, refusals included."""
    apply(store, "there", put(1))
    threads, early = [], []
    connect = store._file.connect

    def tracing(mode):
        raw = connect(mode)
        raw.set_trace_callback(
            lambda sql: sql == "COMMIT" and early.append([one.is_alive() for one in threads])
        )
        return raw

    monkeypatch.setattr(store._file, "connect", tracing)
    with held(store) as leave:
        threads += started(
            store,
            [
                lambda: apply(store, "new", put(1)),
                lambda: apply(store, "there", put(2, when=77)),
                lambda: apply(store, "new", Add(1, None, 5)),
            ],
        )
        leave()
        for thread in threads:
            thread.outcome()
    assert early == [[True] * 3]


def cases(store):
    """Return writes of every kind, some refused, some in error."""

    def apply_one(sk, op):
        return lambda: apply(store, sk, op)

    def transact(*changes, checks=()):
        listed = [Change(MAP, sk, op) for sk, op in changes]
        return lambda: run(store.transact(listed, [Check(MAP, *one) for one in checks], NOW))

    return [
        apply_one("a", put(1)),
        apply_one("a", Add(5, None, 2)),
        apply_one("b", put("x", when=When.PRESENT)),
        apply_one("b", put("x", 3, when=When.ABSENT)),
        apply_one("b", put("y", 4, when=When.ABSENT)),
        apply_one("b", put("z", 5, when=3)),
        apply_one("b", put("z", 6, when=3)),
        apply_one("huge", put(2**70)),
        apply_one("b", Add(1, None, 7)),
        transact(("t", put(1)), ("u", put(2)), checks=[("a", When.PRESENT)]),
        transact(("t", put(9)), ("u", put(9)), checks=[("a", When.ABSENT)]),
        transact(("v", put(1)), ("w", put(2**70))),
        lambda: run(store.apply_many(MAP, [("m", put(1)), ("n", put(2**70)), ("o", put(3))], NOW)),
        lambda: run(store.apply_many(MAP, [(f"p{n}", put(n)) for n in range(5)], NOW)),
        apply_one("a", Delete(returning=True)),
        apply_one("a", Delete(When.PRESENT)),
        apply_one("n", Add(3, 0, 8)),
        apply_one("n", Touch(NOW + 5, 9)),
    ]


def comparable(outcome):
    if isinstance(outcome, list):
        return [comparable(one) for one in outcome]
    if isinstance(outcome, Exception):
        return type(outcome)
    if isinstance(outcome, Aborted):
        return list(outcome.reasons)
    return outcome


def entries(store):
    with store._file.connection() as connection, connection.lock:
        sql = "SELECT pk, sk, t, etag, x, v FROM entries ORDER BY pk, sk"
        return connection.execute(sql).fetchall()


def attempted(work):
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # it is compared
        return error


def test_each_has_its_own_condition_outcome_and_error(tmp_path, batches):
    """Writes of every kind come to the same together as one after another."""
    stores = [sqlite.open_store(str(tmp_path / name)) for name in ("alone", "together")]
    alone = [attempted(work) for work in cases(stores[0])]
    batches.clear()
    together = meeting(stores[1], cases(stores[1]))
    assert [comparable(one) for one in together] == [comparable(one) for one in alone]
    assert entries(stores[0]) == entries(stores[1])
    assert batches == [len(together)]
    for store in stores:
        store.close()


def test_near_cache(path):
    """A commit of several writes is one commit to the near cache: it goes on serving."""
    with Engine.open(f"sqlite:///{path}") as engine:
        m = LPCM("m", using=engine)
        m.update(a=1, b=2, c=3)
        for _ in range(40):
            assert (m["a"], m["b"], m["c"]) == (1, 2, 3)
        store = engine.store
        meeting(store, [lambda: m.set("a", 5), lambda: m.increment("b"), lambda: m.delete("c")])
        near = store._near
        assert sys.platform != "linux" or near.state[0] == near.view.raw
        found = [near.find(near.state, "default/m/", sk) for sk in ("a", "b", "c")]
        assert sys.platform != "linux" or [one[0] and one[0].data for one in found] == [5, 3, None]
        assert (m["a"], m["b"], m.get("c")) == (5, 3, None)


# Faults


@contextlib.contextmanager
def amid(work):
    """Call this whenever the collector runs, which is now at any step that makes an object."""

    def collected(phase, info):
        if phase == "start":
            work()

    before = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collected)


def test_others_come_amid_any_step(store, batches):
    """A finalizer lets another thread run, which adds a write while the leader looks at them."""
    late = [store.waiting(MAP, f"late {n}", put(n), NOW) for n in range(300)]

    def come():
        if late and store.commits.lead.locked():
            store.commits.queue.append(late.pop())

    with amid(come):
        works = [lambda n=n: apply(store, f"{n}", put(n)) for n in range(20)]
        assert [type(one) for one in meeting(store, works)] == [Applied] * 20
    store.commits.lead_all()
    assert len(late) < 300
    assert sum(batches) == 320 - len(late)
    assert [data(store, f"late {n}") for n in range(len(late), 300)] == [*range(len(late), 300)]


def test_full_in_the_middle(store, monkeypatch):
    """SQLITE_FULL ends the transaction of all: each is done by itself, and only its own fail."""
    apply(store, "k", put(1))
    connect = store._file.connect

    def small(mode):
        raw = connect(mode)
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count = {pages + 10}")
        return raw

    monkeypatch.setattr(store._file, "connect", small)
    sizes = [10, 100_000, 10, 100_000, 10]
    done = meeting(
        store,
        [
            lambda n=n, size=size: apply(store, f"{n}", put("x" * size))
            for n, size in enumerate(sizes)
        ],
    )
    assert [type(one) for one in done] == [Applied, StoreFull, Applied, StoreFull, Applied]
    found = [data(store, f"{n}") is not None for n in range(5)]
    assert found == [True, False, True, False, True]


def test_a_file_that_is_gone(store, path):
    """Each of those that wait raises OutcomeUnknown: its write may be lost."""
    apply(store, "k", put(1))
    with held(store) as leave:
        threads = started(store, [lambda n=n: apply(store, f"{n}", put(n)) for n in range(3)])
        os.rename(path, path.with_name("moved"))  # noqa: PTH104
        leave()
        outcomes = [thread.outcome() for thread in threads]
    assert [type(one) for one in outcomes] == [OutcomeUnknown] * 3


@pytest.mark.parametrize("step", ["_do_one", "_finish"])
def test_an_interrupted_leader_strands_nobody(store, monkeypatch, step):
    """KeyboardInterrupt before COMMIT rolls back; after it, each has its outcome."""
    apply(store, "k", put(0))
    original = getattr(Commits, step)
    interrupted = []

    def interrupt(self, *arguments):
        if threading.current_thread() is threading.main_thread() and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(Commits, step, interrupt)
    with held(store) as leave:
        others = []

        def come():
            until(lambda: store.commits.queue)
            others.extend(started(store, [lambda: apply(store, "n", Add(1, 0, 1))] * 5))
            until(lambda: len(store.commits.queue) == 6)
            leave()

        coming = Thread(come)
        with pytest.raises(KeyboardInterrupt):
            apply(store, "k", Add(1, 0, 1))
        coming.outcome()
        outcomes = [other.outcome() for other in others]
    assert interrupted == [step]
    assert all(isinstance(one, Applied) for one in outcomes)
    assert sorted(one.entry.data for one in outcomes) == [1, 2, 3, 4, 5]
    assert data(store, "n") == 5
    assert data(store, "k") == (0 if step == "_do_one" else 1)


@contextlib.contextmanager
def alarm(seconds):
    """Have the main thread interrupted after so long."""

    def handle(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.posix
@pytest.mark.parametrize("first", [True, False], ids=["leader", "follower"])
def test_who_is_interrupted_while_waiting_writes_nothing(store, first):
    """A write that was not taken is withdrawn, and never done; the others are."""
    apply(store, "k", put(0))
    with held(store) as leave:
        others = [] if first else started(store, [lambda: apply(store, "n", put(1))])
        with pytest.raises(KeyboardInterrupt), alarm(0.1):
            apply(store, "k", put(1))
        others += started(store, [lambda: apply(store, "o", put(1))])
        leave()
        assert all(isinstance(one.outcome(), Applied) for one in others)
    assert (data(store, "k"), data(store, "o")) == (0, 1)
    assert store.commits.lead.acquire(timeout=PATIENCE)
    store.commits.lead.release()


def test_each_waits_for_others_as_long_as_it_may(path):
    """Only those fail that have waited for the whole busy_timeout; the rest go on."""
    with contextlib.closing(sqlite.open_store(str(path), busy_timeout=2.0)) as store:
        apply(store, "k", put(0))
        with held(store) as leave:
            early = started(
                store, [lambda n=n: apply(store, f"early {n}", put(n)) for n in range(3)]
            )
            time.sleep(1.2)
            late = started(store, [lambda n=n: apply(store, f"late {n}", put(n)) for n in range(3)])
            outcomes = [one.outcome() for one in early]
            leave()
            assert [type(one.outcome()) for one in late] == [Applied] * 3, [
                one.error for one in late
            ]
        assert {type(one) for one in outcomes} == {StoreBusy}
        assert [data(store, f"early {n}") for n in range(3)] == [None] * 3


def test_closing_ends_what_waits(store):
    """``close`` ends the writes that have not begun: nothing of them is done."""
    apply(store, "k", put(0))
    with held(store):
        threads = started(store, [lambda n=n: apply(store, f"{n}", put(n)) for n in range(3)])
        store.close()
        assert all(isinstance(one.outcome(), StoreError) for one in threads)


@pytest.mark.posix
def test_a_fork_with_a_queue(store, path):
    """A child has no queue and writes by itself; what waited is the parent's, and done once."""
    apply(store, "n", put(0))

    def child():
        assert not store.commits.queue
        apply(store, "child", put(1))

    with blocked(path) as leave:
        threads = started(store, [lambda: apply(store, "n", Add(1, 0, 1))] * 5)
        leaving = Thread(lambda: (time.sleep(0.2), leave()))
        in_child(child)
        leaving.outcome()
        assert sorted(one.outcome().entry.data for one in threads) == [1, 2, 3, 4, 5]
    assert (data(store, "n"), data(store, "child")) == (5, 1)


@pytest.mark.posix
def test_a_signal_handler_writes_while_its_thread_waits(store):
    """An operation of a handler does not wait for the one that it interrupts."""
    apply(store, "k", put(0))
    handled = []

    def handle(*_):
        leave()
        handled.append(apply(store, "handler", put(1)))

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        with held(store) as leave:
            others = started(store, [lambda: apply(store, "n", put(1))])
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            apply(store, "k", put(1))
            others[0].outcome()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert isinstance(handled[0], Applied)
    assert [data(store, sk) for sk in ("k", "n", "handler")] == [1, 1, 1]


@pytest.mark.posix
def test_interruptions_amid_threads(store):
    """Real signals at random moments of a thread that leads or waits lose and double nothing."""
    apply(store, "n", put(0))
    stop = threading.Event()
    counts = []

    def add():
        count = 0
        while not stop.is_set():
            apply(store, "n", Add(1, 0, count))
            count += 1
        counts.append(count)

    threads = [Thread(add) for _ in range(4)]
    done = interrupted = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            with alarm(0.0002 * (1 + (done + interrupted) % 10)):
                apply(store, "n", Add(1, 0, 1))
                done += 1
        except KeyboardInterrupt:
            interrupted += 1
    stop.set()
    for thread in threads:
        assert thread.outcome() is None
    assert interrupted
    assert sum(counts) + done <= data(store, "n") <= sum(counts) + done + interrupted


# Tasks


@pytest.fixture
def engine(path):
    with Engine.open(f"sqlite:///{path}") as engine:
        yield engine


def test_tasks_share_a_commit(engine, path, batches):
    """Writes of many tasks that wait are one commit, done by one thread."""
    since = Opened()
    m = LPCM("m", using=engine)
    m["n"] = 0

    async def main():
        with blocked(path) as leave:
            tasks = [asyncio.create_task(m.aincrement("n")) for _ in range(100)]
            tasks.append(asyncio.create_task(m.areplace("nothing", 1)))
            await asyncio.to_thread(until, lambda: len(engine.store.commits.queue) == 101)
            batches.clear()
            leave()
            return await asyncio.gather(*tasks, return_exceptions=True)

    *sums, refused = asyncio.run(main())
    assert sorted(sums) == list(range(1, 101))
    assert isinstance(refused, KeyError)
    assert batches == [101]
    names = [name for name in since.threads() if name.startswith("lpcm-write")]
    assert len(names) <= 2, names  # one leads, one looks after the file


def test_threads_and_tasks_share_a_commit(engine, path, batches):
    """Threads and tasks of several loops stand in one queue."""
    m = LPCM("m", using=engine)
    m["n"] = 0

    async def main():
        return await asyncio.gather(*(m.aincrement("n") for _ in range(10)))

    with blocked(path) as leave:
        before = len(batches)
        loops = [Thread(lambda: asyncio.run(main())) for _ in range(2)]
        threads = [Thread(lambda: m.increment("n")) for _ in range(5)]
        until(lambda: len(engine.store.commits.queue) == 25)
        leave()
        sums = [each for loop in loops for each in loop.outcome()]
        sums += [thread.outcome() for thread in threads]
    assert sorted(sums) == list(range(1, 26))
    assert batches[before:] == [25]


def test_a_task_that_is_cancelled_or_late_writes_nothing(path):
    """A task that gives up while the lock is held withdraws; a late one raises StoreBusy."""
    with Engine.open(f"sqlite:///{path}?busy_timeout=0.5") as engine:
        m = LPCM("m", using=engine)
        m["n"] = 0

        async def main():
            with blocked(path):
                late = [asyncio.create_task(m.aset(f"late {n}", n)) for n in range(3)]
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await m.aset("given up", 1)
                return await asyncio.gather(*late, return_exceptions=True)

        assert {type(one) for one in asyncio.run(main())} == {StoreBusy}
        m["last"] = 1
        assert sorted(m) == ["last", "n"]


# Kills

KILLED = """
import asyncio, sys, threading
from lpcm import LPCM, Engine, transaction
engine = Engine.open(sys.argv[1])
m = LPCM("m", using=engine)
lock = threading.Lock()

def acknowledge(key):
    with lock:
        print(key, flush=True)

def write(name):
    for n in range(10**9):
        if name % 2:
            m[f"{name}-{n}"] = n
        else:
            with transaction() as t:
                t[m][f"{name}-{n}"] = n
                t[m][f"{name}-{n}+"] = n
        acknowledge(f"{name}-{n}")

async def awrite(name):
    for n in range(10**9):
        await m.aset(f"{name}-{n}", n)
        acknowledge(f"{name}-{n}")

async def main():
    await asyncio.gather(*(awrite(name) for name in range(100, 108)))

threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in range(8)]
for thread in threads:
    thread.start()
asyncio.run(main())
"""


@pytest.mark.posix
def test_kills(path, request):
    """After ``kill -9`` every acknowledged write is there, in order and none half."""
    url = f"sqlite:///{path}"
    LPCM("m", url=url)["made"] = 1
    lpcm.close()
    for number in range(request.config.getoption("--kills")):
        command = [sys.executable, "-c", KILLED, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            told = [child.stdout.readline() for _ in range(50 + 13 * (number % 20))]
            child.kill()
            told += child.stdout.readlines()
        whole = {line.strip() for line in told if line.endswith("\n")}
        with Engine.open(url) as engine:
            m = LPCM("m", using=engine)
            found = set(m)
            assert whole <= found, whole - found
            for key in found - {"made"}:
                name, _, n = key.partition("-")
                if int(name) < 8 and int(name) % 2 == 0:
                    assert {key.rstrip("+"), key.rstrip("+") + "+"} <= found, key
                if n not in {"0", "0+"}:
                    assert f"{name}-{int(n.rstrip('+')) - 1}" in found, key
            m.clear()
            m["made"] = 1

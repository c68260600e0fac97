"""Compare-and-sets of one process that meet at a key take turns, and none of them waits in vain."""

import asyncio
import multiprocessing
import threading
import time

import pytest

from lpcm import LPCM, Engine, transact
from lpcm.engine.drive import run
from lpcm.system import turns
from lpcm.values.keys import encode

PATIENCE = 0.2
"""Seconds after which a line that does not move is passed, where that is tested."""


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Have nobody pass a line because the machine is slow: who waits in vain waits too long."""
    monkeypatch.setattr(turns, "PATIENCE", 600.0)


@pytest.fixture(params=["memory", "sqlite"])
def engine(request, tmp_path):
    path = f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"
    with Engine.open("memory://" if request.param == "memory" else path) as opened:
        yield opened


@pytest.fixture
def m(engine):
    made = LPCM("m", using=engine)
    made["k"] = 0
    return made


class Held:
    """A caller that is the first in the line of key "k"."""

    def __init__(self, m):
        use = m._use()
        self._turns = use._engine.turns
        self.turn = use._turn(encode("k"))

    def __enter__(self):
        self.turn.__enter__()
        assert not run(self.turn.take())
        return self

    def __exit__(self, *error):
        self.turn.__exit__(*error)

    def waiting(self):
        """Return how many wait behind it."""
        return sum(len(line.callers) - 1 for line in self._turns.lines.values())


def started(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def joined(threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_threads_go_in_the_order_of_their_arrival(m):
    """Who comes to a key for which others wait goes after them."""
    order, threads = [], []

    def add(number):
        m.transform("k", lambda value: order.append(number) or value + 1)

    with Held(m) as held:
        for number in range(8):
            threads.append(started(lambda number=number: add(number)))
            until(lambda number=number: held.waiting() == number + 1)
        assert order == []
    joined(threads)
    assert order == [*range(8)]
    assert m["k"] == 8
    assert not m._use()._engine.turns.lines


def test_every_compare_and_set_takes_turns(m):
    """Mutations, and sums that the store cannot do, stand in the same line as transform."""
    m["k"] = [1]
    threads = []
    value = m["k"]
    with Held(m) as held:
        for call in (lambda: value.insert(0, 0), lambda: m.transform("k", lambda v: [*v, 9])):
            threads.append(started(call))
            until(lambda: held.waiting() == len(threads))
        assert m["k"] == [1]
    joined(threads)
    assert m["k"] == [0, 1, 9]


def test_transactions_take_turns(m):
    """One that was refused at a key stands in its line, until it is done."""
    attempts = []

    def add(t):
        attempts.append(t)
        value = t[m]["k"]
        if len(attempts) == 1:
            m["k"] = 5
        t[m]["k"] = value + 1

    with Held(m) as held:
        thread = started(lambda: transact(add))
        until(lambda: held.waiting() == 1)
        assert len(attempts) == 1
    joined([thread])
    assert len(attempts) == 2
    assert m["k"] == 6
    assert not m._use()._engine.turns.lines


def test_tasks_go_in_the_order_of_their_arrival(tmp_path):
    """So do tasks; one that is cancelled leaves the line, and the next one goes."""
    order = []

    async def main():
        async def standing(wanted):
            (line,) = engine.turns.lines.values()
            for _ in range(20_000):
                if len(line.callers) == wanted:
                    return
                await asyncio.sleep(0.001)
            raise AssertionError(f"{len(line.callers)} in line, not {wanted}")

        with Engine.open(f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal") as engine:
            m = LPCM("m", using=engine)
            await m.aset("k", 0)
            turn = m._ause()._turn(encode("k"))
            with turn:
                assert not await turn.take()
                tasks = []
                for number in range(6):
                    fn = lambda value, number=number: order.append(number) or value + 1
                    tasks.append(asyncio.create_task(m.atransform("k", fn)))
                    await standing(number + 2)
                tasks[2].cancel()
                await standing(6)
                assert order == []
            async with asyncio.timeout(20):
                done = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(done[2], asyncio.CancelledError)
            assert await m.aget("k") == 5
            assert not engine.turns.lines
            await engine.aclose()

    asyncio.run(main())
    assert order == [0, 1, 3, 4, 5]


def test_a_function_that_comes_to_its_own_line(m):
    """A function that changes the same key waits for no line: its caller may be the first in it."""

    def nested(value):
        return value + m.transform("k", lambda inner: inner + 1, default=0)

    with Held(m) as held:
        thread = started(lambda: m.transform("k", lambda value: value + 1))
        until(lambda: held.waiting() == 1)
        joined([started(lambda: held.turn.call(nested, 0))])
    joined([thread])
    assert m["k"] == 2


def test_a_line_that_does_not_move(m, monkeypatch):
    """Who waits for a caller that waits for it goes all the same after a while."""
    monkeypatch.setattr(turns, "PATIENCE", PATIENCE)
    lock = threading.Lock()
    first = threading.Event()

    def locking(value):
        first.set()
        with lock:
            return value + 1

    with Held(m) as held, lock:
        thread = started(lambda: held.turn.call(locking, 0))
        first.wait()
        began = time.monotonic()
        m.transform("k", lambda value: value + 1)
        assert PATIENCE <= time.monotonic() - began < 20
    joined([thread])
    assert m["k"] == 1


def test_an_error_ends_the_turn(m):
    """A function that raises lets the next one go."""

    def fail(value):
        raise ZeroDivisionError

    def failing():
        with pytest.raises(ZeroDivisionError):
            m.transform("k", fail)

    with Held(m) as held:
        threads = [started(failing)]
        until(lambda: held.waiting() == 1)
        threads.append(started(lambda: m.transform("k", lambda value: value + 1)))
        until(lambda: held.waiting() == 2)
    joined(threads)
    assert m["k"] == 1
    assert not m._use()._engine.turns.lines


def _child(m):
    m.transform("k", lambda value: value + 1)


def test_a_forks_child_waits_for_none_of_its_parents(m):
    """The lines of a process are not its child's."""
    context = multiprocessing.get_context("fork")
    with Held(m):
        child = context.Process(target=_child, args=(m,))
        child.start()
        child.join(20)
        child.kill()  # where it waits all the same
        assert child.exitcode == 0

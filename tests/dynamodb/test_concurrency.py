"""Jobs of one store on its threads: in order, in turns, and all of them."""

import threading
import time

import pytest

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.concurrency import WIDTH, Runner


async def value(number):
    return number


def test_results_are_in_order():
    """Whatever the number of jobs, none included."""
    runner = Runner(blocking=True)
    for count in (0, 1, 2, WIDTH, 5 * WIDTH):
        assert run(runner.run([value(number) for number in range(count)])) == [*range(count)]
    runner.close()


def test_callers_take_turns():
    """Many slow jobs of one caller hold up the few of another one for a turn each, no longer."""
    runner = Runner(blocking=True)
    permits = threading.Semaphore(0)
    begun = []

    async def slow(number):
        begun.append(number)
        permits.acquire()

    def many():
        run(runner.run([slow(number) for number in range(50)]))

    def few():
        run(runner.run([value(1), value(2)]))

    first = threading.Thread(target=many, daemon=True)
    second = threading.Thread(target=few, daemon=True)
    first.start()
    wait_until(lambda: len(begun) == WIDTH)
    second.start()
    wait_until(lambda: runner._threads._callers.qsize() == 2)
    for _ in range(4):
        permits.release()
    second.join(5)
    ended, in_time = not second.is_alive(), len(begun)
    permits.release(60)
    first.join(10)
    assert ended
    assert in_time <= WIDTH + 4
    assert sorted(begun) == [*range(50)]
    runner.close()


def test_the_first_error_is_raised_after_all_jobs():
    """None is left under way, and none is left out."""
    runner = Runner(blocking=True)
    done = []

    async def job(number):
        if number % 7 == 3:
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError, match=r"^3$"):
        run(runner.run([job(number) for number in range(30)]))
    assert sorted(done) == [number for number in range(30) if number % 7 != 3]
    runner.close()


def wait_until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)

"""What the processes of these tests do: ``python -m tests.consistency.workers FUNCTION ...``.

Each opens the file for itself, as programs do. What it was told to be done it writes to a
log at once, unbuffered: so the log of a killed process lacks at most its last operation.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
from functools import partial

import lpcm
from lpcm import LPCM, StoreError
from lpcm.engine import upkeep
from tests.consistency.register_history import Recorder

CONSTANT = {"list": [1, "two", None], "bytes": b"\x00\xff"}


def url(path, synchronous="normal"):
    return f"sqlite:///{path}?synchronous={synchronous}"


def opened(path, name="m", **options):
    return LPCM(name, url=url(path), **options)


class Log:
    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, *words):
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


# Counters and takers


def count(path, log, times, keys):
    """Increment random keys, with a line before and a line after each."""
    counters, log = opened(path), Log(log)
    for _ in range(int(times)):
        key = f"k{random.randrange(int(keys))}"
        log("?", key)
        log("=", key, counters.increment(key))


def begin(url, log, times):
    """Add the same keys as the others do, and count at others, with a line for each won."""
    entries, log = LPCM("m", url=url), Log(log)
    for number in range(int(times)):
        if entries.add(f"a{number}", os.getpid(), ttl=600):
            log(number)
        entries.increment(f"i{number}", ttl=600)
        entries.increment(f"f{number}", 0.5, ttl=600)
        entries.transform(f"t{number}", lambda n: n + 1, 0, ttl=600)


def count_in_threads(url, log, threads, times):
    """Increment one key in threads, with a line for each sum."""
    counters, log = LPCM("m", url=url), Log(log)

    def work():
        for _ in range(int(times)):
            log(counters.increment("k"))

    started = [threading.Thread(target=work) for _ in range(int(threads))]
    for each in started:
        each.start()
    for each in started:
        each.join()


def fork_amid_increments(url, log, threads, forks):
    """Fork again and again while threads increment one key; each child increments it, too."""
    counters, log = LPCM("m", url=url), Log(log)
    counters["k"] = 0  # so that no thread imports anything while another one forks
    stop = threading.Event()

    def work():
        while not stop.is_set():
            log(counters.increment("k"))

    started = [threading.Thread(target=work) for _ in range(int(threads))]
    for each in started:
        each.start()
    try:
        for _ in range(int(forks)):
            time.sleep(random.uniform(0.0, 0.01))
            pid = os.fork()
            if not pid:
                try:
                    signal.alarm(30)
                    for _ in range(3):
                        log(counters.increment("k"))
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
    for each in started:
        each.join()


def append(path, log, times, key):
    """Transform one list, with a line for each of the items that are in."""
    lists, log, me = opened(path), Log(log), os.getpid()
    for number in range(int(times)):
        lists.transform(key, lambda items, n=number: [*items, (me, n)], default=[])
        log(me, number)


def set_batches(path, rounds, keys):
    """Set all keys in each round; print who did."""
    numbers, me = opened(path), os.getpid()
    for number in range(int(rounds)):
        numbers.set_many({f"k{i}": (me, number) for i in range(int(keys))})
        numbers[f"{me}/{number}"] = number
    print(me)


def pop_all(path, log, keys):
    """Try to pop every key, in an order of its own, with a line for each it got."""
    entries, log = opened(path), Log(log)
    names = [f"k{i}" for i in range(int(keys))]
    random.shuffle(names)
    for name in names:
        value = entries.pop(name, None)
        if value is not None:
            log(name, value)


def popitem_all(path, log):
    """Pop items until there is none, with a line for each it got."""
    entries, log = opened(path), Log(log)
    while True:
        try:
            log(*entries.popitem())
        except KeyError:
            return


# Histories


def write_rising(path, log, seconds, keys):
    """Set rising values of a few keys in turn."""
    entries, recorder = opened(path), Recorder(log)
    end, value = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        value += 1
        for key in range(int(keys)):
            name = f"k{key}"
            recorder.call(name, "set", value, partial(entries.set, name, value))


def read_rising(path, log, seconds, keys):
    """Read these keys, in all the ways there are."""
    entries, recorder = opened(path), Recorder(log)
    ways = [
        entries.get,
        lambda key: entries.get_many([key]).get(key),
        lambda key: next(iter(entries.values(prefix=key)), None),
    ]
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        key = f"k{random.randrange(int(keys))}"
        way = random.choice((ways[0], *ways))
        recorder.call(key, "get", None, partial(way, key))


def work_on_registers(path, log, go, times, keys, first):  # noqa: PLR0917  # from argv
    """Do every operation on a few keys, with values nobody else sets, once ``go`` exists."""
    entries, recorder = opened(path), Recorder(log)
    entries.get("k0")
    while not os.path.exists(go):  # noqa: PTH110  # a tight loop, to start as one
        pass

    def remove(key):
        try:
            del entries[key]
        except KeyError:
            return False
        return True

    def transform(key, by):
        return entries.transform(key, by.__add__, default=0)

    kinds = {
        "set": entries.set,
        "update": lambda key, value: entries.update({key: value}),
        "get": lambda key, _: entries.get(key),
        "delete": lambda key, _: entries.delete(key),
        "remove": lambda key, _: remove(key),
        "pop": lambda key, _: entries.pop(key, None),
        "setdefault": entries.setdefault,
        "increment": lambda key, by: random.choice((entries.increment, transform))(key, by),  # noqa: PLW0108  # chosen anew each time
    }
    names = list(kinds)
    for number in range(int(times)):
        kind, key = random.choice(names), f"k{random.randrange(int(keys))}"
        argument = int(first) + number * 1000  # room for increments by less than that
        if kind in {"get", "delete", "remove", "pop"}:
            argument = None
        elif kind == "increment":
            argument = 1
        recorder.call(key, kind, argument, partial(kinds[kind], key, argument))


# Threads and forks


def guarded(errors, function, *arguments):
    """Return a thread that runs the function and hands its exception over."""

    def run():
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001  # the main thread reports it
            errors.append(f"{threading.current_thread().name}: {error!r}")

    return threading.Thread(target=run, daemon=True)


def mix(entries, number, stop, counts):
    """Do a bit of everything until told to stop, on keys of this thread and shared ones."""
    step = 0
    prefix = f"t{number:02}/"
    while not stop.is_set():
        step += 1
        key, value = f"{prefix}{step % 7}", [number, step, "x" * (step % 50)]
        entries[key] = value
        assert entries[key] == value
        assert entries["constant"] == CONSTANT
        counts[number] = counts.get(number, 0) + 1
        entries.increment("count")
        assert entries.get_many([key, "absent"]) == {key: value}
        assert all(k.startswith(prefix) for k in entries.keys(prefix=prefix))
        assert entries.setdefault(key, 0) == value
        assert entries.transform(key, lambda held: held[:2]) == value[:2]
        if step % 5 == 0:
            assert entries.pop(key) == value[:2]
            assert key not in entries
            entries.set_many({f"{prefix}{i}": [number, step, i] for i in range(7)})
            assert entries.get(key) == [number, step, step % 7]
            assert dict(entries.items(prefix=prefix))[key] == [number, step, step % 7]


def child(entries, name):
    """Be a forked child: read, write, walk, and use a thread of its own."""
    assert entries["constant"] == CONSTANT
    entries[name] = name
    for _ in range(20):
        entries.increment("children")
    assert entries[name] == name
    errors = []
    thread = guarded(errors, entries.increment, "children")
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the child's thread hangs"
    assert not errors, errors
    assert name in set(entries.keys())
    lpcm.close()
    assert entries[name] == name


def fork(entries, name):
    """Fork such a child and see that it ends well, in time."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(25)
            child(entries, name)
            status = 0
        except BaseException as error:  # noqa: BLE001  # a child must not go on as its parent
            os.write(2, f"{name}: {error!r}\n".encode())
        finally:
            os._exit(status)
    deadline = time.monotonic() + 40
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, f"{name}: status {status}"
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{name} hangs")
        time.sleep(0.002)


def fork_often(entries, rounds, name):
    for number in range(rounds):
        time.sleep(random.uniform(0, 0.03))
        fork(entries, f"child/{name}/{number}")


def watch():
    """Let this process die in 50 s, or a child of it by its own alarm, saying where it hangs."""
    # Not dump_traceback_later: its thread is missing in a forked child, which then waits for it.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(50)


def thread_and_fork(path, threads, rounds):
    """Use one map in many threads while the main thread and another fork."""
    watch()
    entries = opened(path)
    entries["constant"] = CONSTANT
    stop, errors, counts = threading.Event(), [], {}
    workers = [
        guarded(errors, mix, entries, number, stop, counts) for number in range(int(threads))
    ]
    forker = guarded(errors, fork_often, entries, int(rounds) // 2, "thread")
    for thread in (*workers, forker):
        thread.start()
    fork_often(entries, int(rounds) - int(rounds) // 2, "main")
    forker.join(40)
    stop.set()
    for thread in workers:
        thread.join(20)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in (*workers, forker)), "a thread hangs"
    assert len(counts) == int(threads), "a thread never came to work"
    assert entries["count"] == sum(counts.values())
    print(json.dumps({"steps": sum(counts.values())}))


def etags_of_two(path, times):
    """Write in a process and in a child it forks; print the etags of both."""
    entries = opened(path)

    def etags(key):
        entries[key] = 0
        return [entries.replace(key, number) for number in range(int(times))]

    etags("before")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(etags("child")).encode())
        os._exit(0)
    mine = etags("parent")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        print(json.dumps([mine, json.load(pipe)]))
    os.waitpid(pid, 0)


def use_while_closing(entries, number, stop, written, refused):
    """Write and read until told to stop; nothing but StoreError may go wrong."""
    while not stop.is_set():
        key, value = f"t{number:02}", written.get(number, 0) + 1
        try:
            entries[key] = value
        except StoreError:
            refused.append(number)
            assert read_somehow(entries, key) == written.get(number), "a refused write was done"
            continue
        written[number] = value
        try:
            assert entries[key] == value
            assert dict(entries.items(prefix=key)) == {key: value}
            entries.set_many({f"batch{number}/{i}": value for i in range(20)})
            entries.increment(f"count{number}")
        except StoreError:
            refused.append(number)


def read_somehow(entries, key):
    """Read in spite of further closes."""
    while True:
        try:
            return entries.get(key)
        except StoreError:
            pass


def close_often(path, threads, times):
    """Close everything again and again while threads use it."""
    watch()
    entries = opened(path)
    stop, errors, written, refused = threading.Event(), [], {}, []
    workers = [
        guarded(errors, use_while_closing, entries, number, stop, written, refused)
        for number in range(int(threads))
    ]
    for thread in workers:
        thread.start()
    for _ in range(int(times)):
        time.sleep(random.uniform(0, 0.02))
        lpcm.close()
    stop.set()
    for thread in workers:
        thread.join(20)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in workers), "a thread hangs"
    assert len(written) == int(threads)
    for number, value in written.items():
        assert entries[f"t{number:02}"] == value
    print(json.dumps({"written": sum(written.values()), "refused": len(refused)}))


# Memory


def peak():
    """Return this process's largest memory so far, in bytes."""
    # Not ru_maxrss: on Linux that is at least what the parent had when it started us.
    with open("/proc/self/status") as status:  # noqa: PTH123  # pathlib is memory too
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def walk(path, view, count):
    """Walk one view of the map, count it, and print the memory this took."""
    entries = opened(path)
    assert entries.get("absent") is None  # opens the file, and loads what that takes
    before = peak()
    total = sum(1 for _ in getattr(entries, view)())
    assert total == int(count), total
    print(json.dumps({"before": before, "peak": peak()}))


def vacuum(path):
    """Write the file anew, and print the memory this took."""
    with lpcm.Engine.open(url(path)) as engine:
        before = peak()
        upkeep.vacuum(using=engine)
    print(json.dumps({"before": before, "peak": peak()}))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

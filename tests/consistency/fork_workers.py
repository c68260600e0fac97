"""What the programs of ``test_forks`` do: ``python -m tests.consistency.fork_workers NAME ...``.

Each configures, uses and forks for itself, in C or in Python, and prints what came of it as
JSON. A process that hangs is ended by its own alarm, and its status tells.
"""

import ctypes
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager

import lpcm
from lpcm import LPCM, _entries

SECONDS = 100
"""After which a process counts as hanging."""
KEYS = 8
SHARED = [f"shared/{number}" for number in range(KEYS)]
FORKS = {"python": os.fork, "c": ctypes.PyDLL(None).fork if sys.platform != "win32" else None}


def forked(fork, work, *arguments):
    """Run ``work(*arguments)`` in a child; return its pid and where its report can be read."""
    ours, theirs = os.pipe()
    pid = FORKS[fork]()
    if pid:
        os.close(theirs)
        return pid, ours
    status = 1
    try:
        faulthandler.register(signal.SIGALRM, chain=True)  # who hangs shows where
        signal.alarm(SECONDS)
        os.close(ours)
        report = json.dumps(work(*arguments)).encode()
        while report:
            report = report[os.write(theirs, report) :]
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(pid, ours):
    """Return a child's status and its report, None where it made none."""
    with os.fdopen(ours) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"status": status, "report": json.loads(text) if text else None}


class Worker:
    """Operations on keys of its own, whose values it knows, and on some that all write."""

    def __init__(self, m, name):
        self.m, self.name = m, name
        self.known = {}
        self.count = 0
        self.wrong = []
        self.errors = []
        self.random = random.Random(name)

    def key(self):
        return f"{self.name}/{self.random.randrange(KEYS)}"

    def value(self, key):
        self.count += 1
        return {
            "key": key,
            "by": self.name,
            "n": self.count,
            "pad": "x" * self.random.choice((9, 900)),
        }

    def see(self, key, found):
        """Judge what was read."""
        if key in SHARED:
            right = found is None or found["key"] == key
        else:
            right = found == self.known.get(key)
        if not right:
            self.wrong.append((key, repr(found)[:60]))

    def read(self):
        key = self.random.choice(SHARED) if self.random.random() < 0.3 else self.key()
        self.see(key, self.m.get(key))

    def read_many(self):
        keys = [*SHARED, *(f"{self.name}/{number}" for number in range(KEYS))]
        found = self.m.get_many(keys)
        for key in keys:
            self.see(key, found.get(key))

    def write(self):
        key = self.random.choice(SHARED) if self.random.random() < 0.3 else self.key()
        self.known[key] = self.m[key] = self.value(key)

    def write_many(self):
        values = {key: self.value(key) for key in {self.key() for _ in range(5)}}
        self.m.set_many(values)
        self.known.update(values)

    def replace(self):
        key = self.key()
        if key not in self.known:
            return
        entry = self.m.entry(key)
        self.see(key, entry.value)
        value = self.value(key)
        self.m.replace(key, value, if_etag=entry.etag)
        self.known[key] = value

    def work(self, times, stop=None):
        ways = [self.read] * 8 + [self.write] * 8 + [self.read_many, self.write_many, self.replace]
        for _ in range(times):
            if stop is not None and stop.is_set():
                break
            way = self.random.choice(ways)
            try:
                way()
            except Exception as error:  # noqa: BLE001  # each is counted
                self.errors.append(f"{way.__name__}: {type(error).__name__}: {error}"[:200])
        return self

    def report(self):
        known = {key: value for key, value in self.known.items() if key not in SHARED}
        return {"wrong": self.wrong, "errors": self.errors, "known": known, "etags": DRAWN}


DRAWN = []


def recorded(draw=_entries.etag):
    DRAWN.append(draw())
    return DRAWN[-1]


def child(m, name, times, depth, fork):
    DRAWN.clear()
    worker = Worker(m, name)
    below = []
    if depth:
        worker.work(20)  # so that it is a parent with connections of its own
        below = [forked(fork, child, m, f"{name}.below", times, depth - 1, fork)]
    report = worker.work(times).report()
    return {"report": report, "below": [ended(*each) for each in below]}


@contextmanager
def standing_still(fork, servers):
    """For a fork in C, have the other threads wait for replies meanwhile.

    Where another thread waits for Python's own lock at such a fork, the child waits for that
    thread when it first lets the lock go: no library could help it.
    """
    if fork == "python":
        yield
        return
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(0.2)
        yield
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)


def hammer(url, cache, fork, times, *servers):
    """Fork four children off amid the operations of three threads; all go on at once."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    times = int(times)
    lpcm.configure(url, **({"cache": cache} if cache else {}))
    _entries.etag = recorded
    m = LPCM("m")
    main = Worker(m, "main").work(60)
    stop = threading.Event()
    workers = [Worker(m, f"thread{number}") for number in range(3)]
    threads = [threading.Thread(target=each.work, args=(times * 50, stop)) for each in workers]
    for thread in threads:
        thread.start()
    main.work(40)
    with standing_still(fork, [int(pid) for pid in servers]):
        children = [
            forked(fork, child, m, f"child{number}", times, 1 if number == 3 else 0, fork)
            for number in range(4)
        ]
    main.work(times)
    ends = [ended(*each) for each in children]
    stop.set()
    for thread in threads:
        thread.join()
    for each in workers:
        main.wrong += each.wrong
        main.errors += each.errors
        main.known.update(each.known)
    print(json.dumps({"parent": main.report(), "children": ends}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

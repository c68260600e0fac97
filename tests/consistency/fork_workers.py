"""What the programs of ``test_forks`` do: ``python -m tests.consistency.fork_workers NAME ...``.

Each configures, uses and forks for itself, in C or in Python, and prints what came of it as
JSON. A process that hangs is ended by its own alarm, and its status tells.
"""

import asyncio
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager

import lpcm
from lpcm import LPCM
from lpcm.engine.engine import opened as open_engines
from lpcm.operations import access as _access
from lpcm.operations import operations as _entries
from lpcm.system import process
from tests import signals
from tests.forks import fork_in_c, stand_still

SECONDS = 100
"""After which a process counts as hanging."""
KEYS, WIDE = 8, 110
"""So many keys are several requests of DynamoDB's, made by several threads at once."""
SHARED = [f"shared/{number}" for number in range(KEYS)]
FORKS = {"python": os.fork, "c": fork_in_c} if sys.platform != "win32" else {}


def forked(fork, work, *arguments):
    """Run ``work(*arguments)`` in a child; return its pid and where its report can be read.

    Those of a fork in C begin where no other thread of the parent runs: see ``tests.forks``.
    """
    ours, theirs = os.pipe()
    pid = FORKS[fork]()
    if not pid:
        _child(ours, theirs, work, arguments)
    os.close(theirs)
    return pid, ours


def _child(ours, theirs, work, arguments):
    status = 1
    try:
        faulthandler.register(signal.SIGALRM, chain=True)  # one that hangs shows where
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
        keys = [*SHARED, *(f"{self.name}/{number}" for number in range(WIDE))]
        found = self.m.get_many(keys)
        for key in keys:
            self.see(key, found.get(key))

    def write(self):
        key = self.random.choice(SHARED) if self.random.random() < 0.3 else self.key()
        self.known[key] = self.m[key] = self.value(key)

    def write_many(self):
        start = self.random.randrange(WIDE - 30)
        keys = [f"{self.name}/{number}" for number in range(start, start + 30)]
        values = {key: self.value(key) for key in keys}
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


def recorded(draw=_entries.new_etag):
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
def standing_still(fork, kind, servers):
    """For a fork in C, or with a client of the user's, have the other threads wait for replies.

    No library could help the child of a fork in C amid what Python's own lock is passed on by: see
    ``tests.forks``. So it is with the locks of a client that another thread is inside, and the
    child of which is to go on with it.
    """
    if fork == "python" and kind != "client":
        yield
        return
    for pid in servers:
        signals.stop(pid)
    try:
        stand_still()
        yield
    finally:
        for pid in servers:
            os.kill(pid, signal.SIGCONT)


def opened(url, cache, kind):
    """Return the map: over sockets, or through a client or a session of boto3."""
    options = {"cache": cache} if cache else {}
    if kind:
        import boto3
        from botocore.config import Config

        place = {"region_name": "eu-west-1", "endpoint_url": url.rpartition("endpoint=")[2]}
        once = Config(retries={"total_max_attempts": 1})
        made = boto3.client("dynamodb", config=once, **place) if kind == "client" else None
        options["client"] = made or boto3.Session()
    lpcm.configure(url, **options)
    return LPCM("m")


def hammer(url, cache, kind, fork, times, *servers):
    """Fork four children off amid the operations of three threads; all go on at once."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    times = int(times)
    _entries.new_etag = _access.new_etag = recorded
    m = opened(url, cache, kind)
    main = Worker(m, "main").work(60)
    stop = threading.Event()
    workers = [Worker(m, f"thread{number}") for number in range(3)]
    threads = [threading.Thread(target=each.work, args=(times * 50, stop)) for each in workers]
    for thread in threads:
        thread.start()
    main.work(40)
    with standing_still(fork, kind, [int(pid) for pid in servers]):
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


# Event loops


async def swap(m, name, times):
    """Set and get keys of one's own, several at once; return what was wrong."""

    async def one(number):
        wrong = []
        for turn in range(times):
            await m.aset(f"{name}/{number}", [name, number, turn])
            found = await m.aget(f"{name}/{number}")
            if found != [name, number, turn]:
                wrong.append((name, number, turn, repr(found)[:60]))
        return wrong

    return [wrong for found in await asyncio.gather(*map(one, range(8))) for wrong in found]


def loop_child(m, loop, times):
    wrong = []
    for turn in range(3):
        wrong += loop.run_until_complete(swap(m, "same loop", times))
        wrong += asyncio.run(swap(m, f"loop {turn}", times))
    return wrong


def loops(url, cache, fork, times):
    """Fork between the turns of an event loop, with which both go on; others are new."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    m = opened(url, cache, "")
    loop = asyncio.new_event_loop()
    wrong = loop.run_until_complete(swap(m, "parent", 5))
    pid, report = forked(fork, loop_child, m, loop, int(times))
    for _ in range(6):
        wrong += loop.run_until_complete(swap(m, "parent", int(times)))
    print(json.dumps({"parent": wrong, "child": ended(pid, report)}))
    sys.stdout.flush()
    os._exit(0)


def inside_child(m, name, times):
    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(swap(m, name, times))))
    thread.start()
    thread.join()
    return found[0]


def inside(url, cache, fork, times):
    """Fork inside a task, others being amid their requests; the child starts a loop anew."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    m = opened(url, cache, "")

    async def main():
        # First once, for a module that a thread is importing stays locked in the child.
        await swap(m, "parent", 2)
        busy = asyncio.create_task(swap(m, "parent", int(times)))
        children = []
        for number in range(3):
            await asyncio.sleep(0.02)
            children.append(forked(fork, inside_child, m, f"child{number}", int(times)))
        wrong = await busy
        return wrong, [ended(*each) for each in children]

    wrong, children = asyncio.run(main())
    print(json.dumps({"parent": wrong, "children": children}))
    sys.stdout.flush()
    os._exit(0)


# Invalidations


def owed(url, cache, fork, payer, server):
    """Owe an invalidation to a cache that stands still, fork, and let one of the two go on."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    m = opened(url, cache, "")
    m["k"] = "old"
    m.get("k")
    signals.stop(server)
    try:
        m["k"] = "new"
    finally:
        (coherent,) = [engine.stack.coherent for engine in open_engines()]
        before = coherent.pending
        go, gone = os.pipe()

        def pay():
            deadline = time.monotonic() + 20
            while coherent.pending and time.monotonic() < deadline:
                m.get("another")
                time.sleep(0.01)
            return coherent.pending

        def child():
            os.read(go, 1)
            return pay() if payer == "child" else None

        below = forked(fork, child)
        os.kill(int(server), signal.SIGCONT)
    left = pay() if payer == "parent" else None
    os.write(gone, b"!")
    print(json.dumps({"owed": before, "parent": left, "child": ended(*below)}))
    sys.stdout.flush()
    os._exit(0)  # and no settling at the end


# Locks


def locks():
    """Return every lock that an object of lpcm's has."""
    found = list(process._locks.values())
    for thing in gc.get_objects():
        if str(type(thing).__module__).startswith("lpcm."):
            slots = [
                each for kind in type(thing).__mro__ for each in getattr(kind, "__slots__", ())
            ]
            values = [
                getattr(thing, each, None) for each in (*getattr(thing, "__dict__", ()), *slots)
            ]
            found += [each for each in values if hasattr(each, "acquire")]
    return found


def held(url, cache, fork):
    """Fork while a thread holds every lock that there is; the child must do without it."""
    faulthandler.dump_traceback_later(SECONDS + 5, exit=True)
    m = opened(url, cache, "")
    memory = LPCM("m", url="memory://shared?cache=memory://near")
    memory.update({"a": 1, "b": 2})
    m["k"] = {"n": 1}
    m.set_many({f"{number}": number for number in range(60)})
    process.this()
    all_locks = locks()
    taken, done = threading.Event(), threading.Event()

    def hold():
        for lock in all_locks:
            lock.acquire()
        taken.set()
        done.wait()
        for lock in all_locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()

    def child():
        m["k"] = {"n": 2}
        m.set_many({f"{number}": -number for number in range(60)})
        memory["c"] = 3
        lpcm.configure("memory://", using="other")
        LPCM("other", using="other")["k"] = 1
        return [m["k"], m["59"], dict(memory.items()), memory.get_many("abc")]

    below = ended(*forked(fork, child))
    done.set()
    thread.join()
    print(json.dumps({"locks": len(all_locks), "child": below, "parent": [m["k"], m["59"]]}))
    sys.stdout.flush()
    lpcm.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

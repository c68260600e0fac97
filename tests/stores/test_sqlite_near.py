"""The near cache of SQLite: what it serves, where it is off, and what it must not do."""

import asyncio
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from contextlib import closing
from pathlib import Path

import pytest

import lpcm
from lpcm import LPCM, Engine, events
from lpcm.engine import upkeep
from lpcm.stores.sqlite import near as near_cache
from tests.forks import fork_in_c
from tests.stores.test_sqlite import descriptors, in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="off elsewhere")

READS = 40  # after some of them a program is one that reads


@pytest.fixture
def path(tmp_path):
    return tmp_path / "l.sqlite3"


@pytest.fixture
def engine(path):
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
    yield engine
    engine.close()


@pytest.fixture
def m(engine):
    return LPCM("m", using=engine)


def near(engine):
    return engine.store._near


def warm(m, **entries):
    """Store and read until each is near."""
    m.update(entries)
    for _ in range(READS):
        for key, value in entries.items():
            assert m[key] == value


def asked(engine):
    """Count what SQLite is asked from now on."""
    statements = []
    for connection in engine.store._file.connections():
        if connection.raw is not None:
            connection.raw.set_trace_callback(statements.append)
    return statements


def elsewhere(path, sql, *given):
    """Run a statement in another process."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute(sys.argv[2], sys.argv[3:]); c.close()"
    )
    subprocess.run([sys.executable, "-c", code, path, sql, *map(str, given)], check=True)


UPDATE = "UPDATE entries SET v = ?, etag = etag + 1 WHERE sk = ?"


# What it serves


def test_a_hit_asks_nobody(engine, m):
    """What was read is served again without a statement, by each way to read one key."""
    warm(m, k="v", n=7, record={"a": [1]})
    statements = asked(engine)
    hits = near(engine).hits
    assert (m["k"], m["n"], m["record"], m.get("k")) == ("v", 7, {"a": [1]}, "v")
    assert "k" in m
    assert m.entry("k").value == "v"
    assert statements == []
    assert near(engine).hits == hits + 6


def test_an_absent_key_is_near_too(engine, m):
    """That a key is absent is known as well; the default is the map's."""
    warm(m, k=1)
    assert m.get("nothing", 5) == 5
    statements = asked(engine)
    assert m.get("nothing", 5) == 5
    assert LPCM("m", using=engine, default=3)["nothing"] == 3
    with pytest.raises(KeyError):
        m["nothing"]
    assert [one for one in statements if "entries" in one] == []


class Missing(LPCM):
    """A map that makes what is missing."""

    def __missing__(self, key):
        return f"no {key}"


def test_a_miss_is_one_statement(engine, m):
    """What is not near is asked for once, be it there or not, by each way to read one key."""
    warm(m, k=1, record={"a": [1]}, text="x")
    with_default = LPCM("m", using=engine, default=dict)
    missing = Missing("m", using=engine)
    missing.get("k")
    with_default.get("k")
    for read, wanted in (
        (lambda: m["k"], 1),
        (lambda: m.get("text"), "x"),
        (lambda: m["record"]["a"], [1]),
        (lambda: m.get("none"), None),
        (lambda: m.get("none", 5), 5),
        (lambda: missing["none"], "no none"),
        (lambda: with_default["none"], {}),
        (lambda: with_default.get("none", 3), 3),
    ):
        near(engine).state = near_cache._EMPTY
        statements = asked(engine)
        assert read() == wanted
        assert len([one for one in statements if "FROM entries" in one]) == 1
    near(engine).state = near_cache._EMPTY
    with pytest.raises(KeyError, match="none"):
        m["none"]


def test_own_writes_keep_what_else_is_near(engine, m):
    """A write of this process replaces its entry, and takes no other out."""
    warm(m, a=1, b=2)
    m["a"] = 3
    m.set("a", 4, ttl=60)
    m.increment("a")
    m.delete("c")
    m.add("c", 1)
    m.delete("c")
    statements = asked(engine)
    assert (m["a"], m["b"], m.get("c")) == (5, 2, None)
    assert statements == []


def test_clear_and_transactions(engine, m):
    """What takes more than one statement leaves nothing old behind."""
    warm(m, a=1, b=2)
    with lpcm.transaction() as t:
        t[m]["a"] = t[m]["b"] + 5
    assert (m["a"], m["b"]) == (7, 2)
    warm(m, a=1, b=2)
    m.set_many({"a": 5, "b": 6})
    assert (m["a"], m["b"]) == (5, 6)
    warm(m, a=1, b=2)
    m.clear()
    assert (m.get("a"), m.get("b")) == (None, None)


def test_a_transaction_does_not_ask_it(m):
    """What a transaction reads is a condition of its end, and what it wrote is what it reads."""
    warm(m, a=1, b=1)
    with pytest.raises(lpcm.Conflict), lpcm.transaction() as t:  # the end raises
        t[m]["b"] = t[m]["a"] + 1
        m["a"] = 5
    with lpcm.transaction() as t:
        t[m]["a"] = 7
        assert (t[m]["a"], t[m].get("a"), m["a"]) == (7, 7, 5)
    assert (m["a"], m["b"]) == (7, 1)


def test_others_writes_are_seen_at_once(engine, m, path):
    """A commit of another process is seen by the very next read."""
    for n in range(5):
        warm(m, a=n)
        elsewhere(path, UPDATE, n + 100, "a")
        assert str(m["a"]) == str(n + 100)


def test_after_others_writes_a_read_is_as_short_as_any_miss(engine, m, path):
    """A row that another process's commit has made old costs the calls of any miss."""

    def calls():
        called = []

        def count(_frame, event, _argument):
            called.append(event == "call")

        near(engine).place.until = float("inf")  # no look whether the file is in its place
        sys.setprofile(count)
        try:
            m["a"]
        finally:
            sys.setprofile(None)
        return sum(called)

    warm(m, a="1")
    near(engine).state = near_cache._EMPTY
    of_none = calls()
    elsewhere(path, UPDATE, 2, "a")
    assert calls() == of_none


def test_vacuum_backup_checkpoints(engine, m, path, tmp_path):
    """What else is done to the file, here or elsewhere, makes no read stale."""
    warm(m, a=1)
    upkeep.vacuum(using=engine)
    assert m["a"] == 1
    elsewhere(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    elsewhere(path, UPDATE, 2, "a")
    assert str(m["a"]) == "2"
    warm(m, a=3)
    lpcm.backup(tmp_path / "copy.sqlite3", using=engine)
    assert m["a"] == 3
    elsewhere(path, "VACUUM")
    elsewhere(path, "DELETE FROM entries WHERE sk = ?", "a")
    assert m.get("a") is None


def test_a_torn_header(engine, m, path):
    """What a writer that died in the middle left of the header is mended, and nothing is stale."""
    warm(m, a=1)
    tear = "import sys; f = open(sys.argv[1], 'r+b'); f.write(b'torn' * 12)"
    subprocess.run([sys.executable, "-c", tear, f"{path}-shm"], check=True)
    assert m["a"] == 1
    elsewhere(path, UPDATE, 2, "a")
    assert str(m["a"]) == "2"
    warm(m, a=1)
    assert near(engine).view.raw == near(engine).state[0]


def test_expiry(path):
    """An entry that is near is absent from the moment it expires."""
    engine = Engine.open(f"sqlite:///{path}")
    m = LPCM("m", using=engine)
    begun = time.time()
    m.set("a", 1, ttl=1)
    end = time.time() + 1
    asked = begun
    while m.get("a") == 1:
        assert asked < end
        asked = time.time()
    assert time.time() >= begun + 1
    assert m.get("a") is None
    assert m.get("a") is None
    engine.close()


def test_keys_that_look_alike(m):
    """A str is not taken for the key whose encoding it is."""
    m[7], m["!1a7"], m["é\0"] = "int", "str", "zero"
    for _ in range(READS):
        assert (m[7], m["!1a7"], m["é\0"], m.get("é\x01\x01")) == ("int", "str", "zero", None)


class Point:
    """An object that may be changed."""

    def __init__(self, data):
        self.data = data

    def __eq__(self, other):
        return type(other) is Point and self.data == other.data

    __hash__ = None


@pytest.mark.parametrize("read", ["m[k]", "m.get(k)", "live.get(k)"])
def test_values_are_nobody_elses(engine, read):
    """What a reader changes of a value, at any depth, no other sees, however often it is read."""
    lpcm.register(Point, encode=lambda point: point.data, decode=Point, name="near.Point")
    m, live = LPCM("m", using=engine, live=False), LPCM("m", using=engine)
    values = {
        "list": lambda: [1, [2], {"a": [{1}]}],
        "dict": lambda: {"a": {"b": (1, [2], {3: [4]})}, 5: {"c": 6}},
        "tuple": lambda: ([1], {"a": {1}}),
        "set": lambda: {1, (2, frozenset({3}))},
        "objects": lambda: [Point([1]), {"a": Point({"b": 2})}],
    }
    warm(m, **{key: value() for key, value in values.items()})

    def change(part):
        """Change each container in it, past the methods of live ones."""
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, list | dict | set | tuple):
                change(inner)
            elif isinstance(inner, Point):
                change(inner.data)
        match part:
            case list():
                list.append(part, 0)
            case dict():
                dict.clear(part)
            case set():
                set.add(part, 0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(5):
            for key, value in values.items():
                found = eval(read, {"m": m, "live": live, "k": key})
                assert found == value()
                change(found)
                del found


def test_a_value_that_is_kept_is_decoded_once(engine, m):
    """From its third read on a record is not decoded again; one that would take too much is."""
    m.update(record={"a": [1]}, large=["x" * 10, *range(60_000)])
    for _ in range(READS):
        m["record"], m["large"]
    calls = []
    decode = engine.codec.decode
    engine.codec.decode = lambda *cell: calls.append(cell) or decode(*cell)
    assert [m["record"] for _ in range(3)] == [{"a": [1]}] * 3
    assert calls == []
    assert len(m["large"]) == 60_001
    assert len(calls) == 1


def test_live_values(m):
    """Live values change the store as ever, and are read back."""
    warm(m, n=1, list=[1])
    m["n"] += 1
    m["list"].append(2)
    assert (m["n"], m["list"]) == (2, [1, 2])
    assert type(m["n"]) is not int


def test_two_engines_of_one_process(engine, m, path):
    """Each has its own near cache; a write by one is seen by the other."""
    other = LPCM("m", using=(second := Engine.open(f"sqlite:///{path}")))
    for n in range(10):
        warm(m, a=n)
        warm(other, a=n + 100)
        assert m["a"] == n + 100
    second.close()
    assert m["a"] == 109


def test_hooks_see_each_read(m):
    """Where a listener observes maps, each read is an event."""
    warm(m, a=1)
    with events.recorded() as calls:
        for _ in range(3):
            assert m["a"] == 1
    assert len(calls) == 3
    assert m["a"] == 1


def test_disable_caching(engine, m):
    """A map that shall read from the store does."""
    warm(m, a=1)
    m.disable_caching()
    hits = near(engine).hits
    assert m["a"] == 1
    assert near(engine).hits <= hits + 1


def test_async_hits_stay_on_the_loop(engine, m):
    """The a-twins serve a hit without a thread."""
    warm(m, a=1)
    engine._threads.stop(1.0)  # whatever went to a thread now would fail

    async def read():
        return await m.aget("a"), await m.agetitem("a")

    assert asyncio.run(read()) == (1, 1)


def test_threads(m):
    """Threads that read and write never see an older value than they wrote."""
    wrong = []

    def work(key):
        for n in range(600):
            m[key] = n
            m.get("shared")
            if m[key] != n or m.get(key) != n:
                wrong.append((key, n))
            if n % 50 == 0:
                m["shared"] = n

    threads = [threading.Thread(target=work, args=(f"k{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


# Processes and descriptors


def test_a_fork(engine, m, path):
    """Parent and child begin anew after a fork, and neither reads what the other wrote before."""
    warm(m, a=1)

    def child():
        assert near(engine).state[0] is None
        assert m["a"] == 1
        m["a"] = 2
        assert m["a"] == 2

    in_child(child)
    assert m["a"] == 2
    warm(m, a=3)
    assert near(engine).state[0] is not None


def test_a_fork_in_c(path):
    """A child that no hook of Python knows of serves nothing that its parent kept."""
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
    m = LPCM("m", using=engine)
    warm(m, a=1)
    pid = fork_in_c()
    if not pid:
        status = 1
        try:
            assert m["a"] == 1
            m["a"] = 2
            assert m["a"] == 2
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert m["a"] == 2
    engine.close()


def test_descriptors(engine, m, path):
    """It opens the index by no descriptor of its own, and leaves none behind."""
    warm(m, a=1)
    assert descriptors().count(f"{path}-shm") == 1
    engine.close()
    assert [one for one in descriptors() if one.startswith(str(path))] == []


def test_locks_of_the_process_stay(engine, m, path):
    """Whatever becomes of the near cache, other processes see that the file is in use here."""
    warm(m, a=1)
    second = Engine.open(f"sqlite:///{path}")
    warm(LPCM("m", using=second), a=1)
    second.close()
    near(engine)._pin.shut()
    gc.collect()
    elsewhere(path, UPDATE, 2, "a")  # the last to close would delete the log
    assert (path.parent / "l.sqlite3-wal").exists()
    assert str(m["a"]) == "2"


def test_mappings_go(path):
    """A program that opens and closes engines for ever has no more mappings than before."""

    def count():
        gc.collect()
        with Path("/proc/self/maps").open() as maps:
            return sum("l.sqlite3-shm" in line for line in maps)

    for _ in range(20):
        engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
        warm(LPCM("m", using=engine), a=1)
        assert count() > 0
        engine.close()
    assert count() <= 1


def test_a_file_that_is_replaced(engine, m, path):
    """Where the file is no more in its place, hits end within a tenth of a second."""
    warm(m, a=1)
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").rename(f"{path}.old{end}")
    time.sleep(0.15)
    with pytest.raises(lpcm.StoreUnavailable):
        m["a"]


def test_an_interrupted_read(engine, m):
    """A signal handler's exception leaves nothing behind that is not current."""

    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    warm(m, a=0)
    before = signal.signal(signal.SIGALRM, interrupt)
    n = 0
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                while True:
                    n += 1
                    m["a"] = n
                    assert m["a"] == n
                    m.get(f"b{n % 9}")
            except Interrupted:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            with closing(sqlite3.connect(engine.store._file.path)) as other:
                held = other.execute("SELECT v FROM entries WHERE sk = 'a'").fetchone()[0]
            assert m["a"] == held
    finally:
        signal.signal(signal.SIGALRM, before)


# Where it is off


def test_off_by_option(path):
    """``near_cache=0``: nothing is kept, no connection is opened for it, and the reason is said."""
    engine = Engine.open(f"sqlite:///{path}?near_cache=0")
    m = LPCM("m", using=engine)
    warm(m, a=1)
    assert near(engine).state == (None, {}, {})
    assert near(engine)._pin is None
    assert lpcm.info(using=engine)["near_cache"] == "near_cache=0"
    engine.close()
    with pytest.raises(lpcm.ConfigError, match="near_cache"):
        Engine.open(f"sqlite:///{path}?near_cache=-1")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_off_on_network_file_systems(engine, m, monkeypatch, kind):
    """On a network's file system it is off, and ``info`` says why."""
    monkeypatch.setattr(near_cache, "file_system", lambda _: kind)
    warm(m, a=1)
    assert near(engine).state == (None, {}, {})
    assert kind in lpcm.info(using=engine)["near_cache"]


def test_off_elsewhere(engine, m, monkeypatch):
    """On other systems than Linux it is off, and nothing else changes."""
    monkeypatch.setattr(near_cache.sys, "platform", "win32")
    warm(m, a=1)
    assert near(engine).state == (None, {}, {})
    assert "system" in lpcm.info(using=engine)["near_cache"]


def test_off_where_the_index_is_not_in_its_place(engine, m, path):
    """Where another file has the name of the index, it is not taken for it."""
    m["a"] = 1
    Path(f"{path}-shm").unlink()
    (path.parent / "l.sqlite3-shm").write_bytes(bytes(32768))
    near(engine)._reads = READS
    near(engine).open()
    assert near(engine).view.raw == b""
    assert near(engine).off


def test_info(engine, m):
    """``info`` shows that it is on, what it holds, and how often it was asked with success."""
    assert lpcm.info(using=engine)["near_cache"] == "not yet used"
    warm(m, a=1, b=2)
    found = lpcm.info(using=engine)
    assert found["near_cache"] == "on"
    assert found["near_entries"] >= 2
    assert found["near_hits"] > READS


# Size


SIZE = 2_000_000
VALUES = {
    "short": (8_000, 1, lambda n: f"{n:020}"),
    "number": (8_000, 1, lambda n: n),
    "long": (2_500, 1, lambda n: f"{n}" + "x" * 1000),
    "large": (60, 1, lambda n: f"{n}" + "x" * 50_000),
    "record": (6_000, 1, lambda n: {"id": n, "name": f"user {n}", "tags": ["a", f"b{n}"]}),
    "decoded record": (3_000, 3, lambda n: {"id": n, "name": f"user {n}", "tags": ["a", f"b{n}"]}),
    "decoded rows": (1_500, 3, lambda n: [{"id": n + at, "no": n / 7} for at in range(10)]),
    "decoded dict": (600, 3, lambda n: {f"{at}": f"{at} {n}" for at in range(100)}),
}


@pytest.mark.parametrize("kind", VALUES)
def test_memory(path, kind):
    """What it takes at most is its stated size, to a fifth, whatever is read how often."""
    count, reads, value = VALUES[kind]
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal&near_cache={SIZE}")
    m = LPCM("m", using=engine)
    m.set_many((f"key{n}", value(n)) for n in range(count))
    for _ in range(READS):
        m.get("key0")
    near(engine).forget()
    most = 0
    gc.collect()
    tracemalloc.start()
    for n in range(count):
        for _ in range(reads):
            m.get(f"key{n}")
        if n % (count // 50) == 0:
            most = max(most, tracemalloc.get_traced_memory()[0])
    near(engine).forget()
    gc.collect()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.6 * SIZE < most - left < 1.2 * SIZE
    engine.close()


def test_what_is_read_again_stays(path):
    """Where more is read than there is room for, what is read often stays."""
    engine = Engine.open(f"sqlite:///{path}?synchronous=normal&near_cache=1000000")
    m = LPCM("m", using=engine)
    m.set_many((f"key{n}", "x" * 1000) for n in range(3000))
    for _ in range(READS):
        m.get("key0")
    before = near(engine).hits
    for n in range(3000):
        m.get(f"key{n}")
        m.get("key0")
    assert near(engine).hits - before > 2900
    engine.close()

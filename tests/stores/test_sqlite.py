"""The SQLite store against the contract and the memory store, and what is its own."""

import contextlib
import gc
import itertools
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lpcm import LPCM, Engine
from lpcm.engine.drive import run
from lpcm.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreTooNew,
    StoreUnavailable,
    ValueTooLarge,
)
from lpcm.ports import Add, Applied, Cell, Delete, KeyRange, MapInfo, Put, Scan, Touch, When
from lpcm.stores.local import memory
from lpcm.stores.sqlite import connections as _sqlite_connections
from lpcm.stores.sqlite import pages as _sqlite_pages
from lpcm.stores.sqlite import statements as _sqlite_writes
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.connections import Connection
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.store.case import MAP, NOW, apply, fill, read, read_data, scan
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract


@pytest.fixture
def path(tmp_path):
    return tmp_path / "l.sqlite3"


@pytest.fixture
def store(path):
    store = sqlite.open_store(str(path), busy_timeout=5.0)
    yield store
    store.close()


def value(data, kind=None, etag=1, expires=None, when=When.ALWAYS):
    return Put(Cell(data, kind), etag, expires, when)


class TestSQLite(StoreContract, UpdateContract, TransactionContract):
    @classmethod
    def setup_class(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.number = itertools.count()

    @classmethod
    def teardown_class(cls):
        cls.folder.cleanup()

    def open(self):
        path = f"{self.folder.name}/{next(self.number)}.sqlite3"
        return sqlite.open_store(path, synchronous="normal")


# Against the reference

SKS = st.sampled_from(["", "a", "a\0", "b", "é", "\U0001f600"])
DATA = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.binary(max_size=3),
)
CELLS = st.builds(Cell, DATA, st.sampled_from([None, None, "j"]))
ETAGS = st.integers(1, 3)
EXPIRIES = st.one_of(st.none(), st.integers(-2, 6).map(float))
WHENS = st.one_of(st.sampled_from(When), ETAGS)
DELTAS = st.one_of(st.integers(-3, 3), st.integers(-(2**64), 2**64))
OPS = st.one_of(
    st.builds(Put, CELLS, ETAGS, EXPIRIES, WHENS),
    st.builds(Delete, WHENS, st.just(True)),
    st.builds(Delete, WHENS, st.booleans()),
    st.builds(Add, DELTAS, st.one_of(st.none(), DELTAS), ETAGS, EXPIRIES),
    st.builds(Touch, EXPIRIES, ETAGS),
)
RANGES = st.builds(KeyRange, SKS, st.one_of(SKS, st.just(KeyRange().high)))
MAPS = st.sampled_from(["a/m/", "ab/m/", "a/n/"])


def comparable(outcome):
    """Type and sign with every value; `previous` is optional where it was not asked for."""
    return repr(outcome)


class Comparison(RuleBasedStateMachine):
    """Every outcome of the SQLite store is the memory store's."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = sqlite.open_store(f"{self.folder.name}/l.sqlite3", synchronous="normal")
        self.memory = memory.open_store("")
        self.now = 0.0

    def teardown(self):
        if hasattr(self, "folder"):
            self.sqlite.close()
            self.folder.cleanup()

    def both(self, call):
        ours, reference = (run(call(store)) for store in (self.sqlite, self.memory))
        assert comparable(ours) == comparable(reference)

    @rule(seconds=st.integers(0, 2))
    def wait(self, seconds):
        self.now += seconds

    @rule(map=MAPS, sk=SKS, op=OPS)
    def apply(self, map, sk, op):
        op = self.shifted(op)
        self.both(lambda store: store.apply(map, sk, op, self.now))
        self.both(lambda store: store.read(map, sk, self.now))

    @rule(map=MAPS, writes=st.lists(st.tuples(SKS, OPS), max_size=6))
    def apply_many(self, map, writes):
        writes = [(sk, self.shifted(op)) for sk, op in writes]
        self.both(lambda store: store.apply_many(map, writes, self.now))

    def shifted(self, op):
        if isinstance(op, (Put, Touch)) and op.expires is not None:
            return op._replace(expires=self.now + op.expires)
        return op

    @rule(map=MAPS, sks=st.lists(SKS, max_size=8))
    def read_many(self, map, sks):
        self.both(lambda store: store.read_many(map, sks, self.now))

    @rule(
        map=MAPS,
        keys=RANGES,
        after=st.one_of(st.none(), SKS),
        reverse=st.booleans(),
        values=st.booleans(),
        limit=st.integers(1, 4),
    )
    def scan(self, map, keys, **options):
        self.both(lambda store: store.scan(map, Scan(keys, **options), self.now))

    @rule(map=MAPS, keys=RANGES)
    def count(self, map, keys):
        self.both(lambda store: store.count(map, keys, self.now))

    @rule(map=MAPS, keys=RANGES)
    def clear(self, map, keys):
        self.both(lambda store: store.clear(map, keys))

    @rule(namespace=st.sampled_from(["a", "ab"]), name=st.sampled_from(["m", "n"]))
    def register(self, namespace, name):
        async def registered(store):
            return (await store.register(namespace, MapInfo(name))).info

        self.both(registered)
        self.both(lambda store: store.maps(namespace))

    @rule(namespace=st.sampled_from(["a", "ab"]))
    def drop(self, namespace):
        self.both(lambda store: store.drop(namespace))
        self.both(lambda store: store.maps(namespace))


TestComparison = Comparison.TestCase
TestComparison.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


# Opening


def test_options():
    """The options are text in a URL and refuse nonsense."""
    good = {"synchronous": ("FULL", "full"), "busy_timeout": ("2.5", 2.5), "max_value": ("9", 9)}
    assert {n: sqlite.OPTIONS[n](text) for n, (text, _) in good.items()} == {
        n: parsed for n, (_, parsed) in good.items()
    }
    bad = {
        "synchronous": ["off", ""],
        "busy_timeout": ["-1", "inf", "nan", "x"],
        "max_value": ["0", "x"],
    }
    for name, texts in bad.items():
        for text in texts:
            with pytest.raises(ValueError):
                sqlite.OPTIONS[name](text)


@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1)])
def test_synchronous_on_every_connection(path, synchronous, level):
    """Every thread's connection has the durability that was asked for."""
    store = sqlite.open_store(str(path), synchronous=synchronous)
    found = []
    barrier = threading.Barrier(4)

    def look():
        apply(store, "k", value(1))
        with store._file.connection() as connection, connection.lock:
            found.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        barrier.wait()

    in_threads(look, 4)
    assert found == [level] * 4
    store.close()


def test_full_is_the_default(path):
    """Without an option an acknowledged write survives the loss of power."""
    store = sqlite.open_store(str(path))
    with store._file.connection() as connection, connection.lock:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_identity(path):
    """The file says what it is, in the header's own fields."""
    sqlite.open_store(str(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA application_id").fetchone() == (0x4C50434D,)
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)


def test_permissions(store, path):
    """Nobody else may read the file or what stands beside it."""
    apply(store, "k", value(1))
    names = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    assert [name.stat().st_mode & 0o777 for name in names] == [0o600] * 3


def test_odd_file_names(tmp_path):
    """A file may be called anything."""
    for name in ("a b", "50%", "what?mode=ro", "#1", "é", "a'b", "x&y=z"):
        store = sqlite.open_store(str(tmp_path / name))
        apply(store, "k", value(1))
        store.close()
        assert (tmp_path / name).stat().st_size > 0
        assert read_data(sqlite.open_store(str(tmp_path / name)), "k") == 1


def test_relative_path(tmp_path, monkeypatch):
    """A relative path is taken from where it was opened, even if the directory changes."""
    monkeypatch.chdir(tmp_path)
    store = sqlite.open_store("here.sqlite3")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    in_threads(lambda: apply(store, "k", value(1)), 1)
    assert read_data(store, "k") == 1
    store.close()


def test_reopened(path):
    """What was stored is there after closing and opening again."""
    store = sqlite.open_store(str(path))
    apply(store, "k", value("v", "j", 5, NOW + 9))
    run(store.register("ns", MapInfo("map")))
    store.close()
    store = sqlite.open_store(str(path))
    assert read(store, "k") == ("v", "j", 5, NOW + 9)
    assert run(store.maps("ns")) == [MapInfo("map")]
    store.close()


def test_empty_file_is_new(path):
    """An empty file, as a crash or mktemp leaves one, is a new store."""
    path.touch()
    store = sqlite.open_store(str(path))
    apply(store, "k", value(1))
    store.close()


def test_missing_directory(tmp_path):
    """A directory that is not there is named."""
    with pytest.raises(StoreUnavailable, match=r"no directory.*nowhere"):
        sqlite.open_store(str(tmp_path / "nowhere" / "l.sqlite3"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable):
        sqlite.open_store(str(tmp_path / "file" / "l.sqlite3"))


def test_directory(tmp_path):
    """A directory in the file's place is named."""
    with pytest.raises(StoreUnavailable, match="is a directory"):
        sqlite.open_store(str(tmp_path))


@pytest.mark.parametrize("content", [b"hello\n", b"x" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_no_database(path, content):
    """A file that is no database is refused and left as it is."""
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        sqlite.open_store(str(path))
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("wal", [False, True])
@pytest.mark.parametrize("application", [0, 77])
def test_foreign_database(path, wal, application):
    """Another program's database is refused and left as it is, byte for byte."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA application_id = {application}")
        if wal:
            raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE entries(a)")
        raw.commit()
    before = path.read_bytes()
    with pytest.raises(StoreForeign):
        sqlite.open_store(str(path))
    assert path.read_bytes() == before


def test_newer_format(path):
    """A newer lpcm's file is refused and left as it is."""
    sqlite.open_store(str(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 2")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="upgrade"):
        sqlite.open_store(str(path))
    assert path.read_bytes() == before


def test_damaged_file(path):
    """Damage found on the way is called by its name, and the error names the file."""
    store = sqlite.open_store(str(path))
    fill(store, 3000)
    store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)
    with pytest.raises(StoreCorrupt, match=path.name):
        run(sqlite.open_store(str(path)).read_many(MAP, [f"{n:05}" for n in range(3000)], NOW))


def test_old_sqlite(path, monkeypatch):
    """A SQLite without RETURNING is refused before anything is made."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreError, match=r"3\.35"):
        sqlite.open_store(str(path))
    assert not path.exists()


CREATE = """
import os, sys, time
from lpcm.engine.drive import run
from lpcm.ports import Add
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.connections import Connection
while time.time() < float(sys.argv[2]): pass
store = sqlite.open_store(sys.argv[1])
for n in range(10):
    run(store.apply("a/b/", "k", Add(1, 0, n), 0.0))
"""


def test_created_by_many_at_once(tmp_path):
    """Processes that create the same file at the same instant all get to use it."""
    for attempt in range(3):
        path = tmp_path / f"{attempt}.sqlite3"
        start = str(time.time() + 1.0)
        children = [python(CREATE, path, start) for _ in range(8)]
        for child in children:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors
        store = sqlite.open_store(str(path))
        assert run(store.read("a/b/", "k", 0.0)).data == 80
        store.close()


def test_created_by_many_threads_at_once(path):
    """Stores of one process opened on one new file at the same instant all get to use it."""
    barrier = threading.Barrier(8)

    def open_and_add():
        barrier.wait()
        store = sqlite.open_store(str(path))
        apply(store, "k", Add(1, 0, 1))

    in_threads(open_and_add, 8)
    assert read_data(sqlite.open_store(str(path)), "k") == 8


# Refusals


AS_NOBODY = """
import os, sys
from lpcm.engine.drive import run
from lpcm.errors import *
from lpcm.ports import Add, Put, Cell
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.connections import Connection
os.setgid(65534); os.setuid(65534)
try:
    store = sqlite.open_store(sys.argv[1], busy_timeout=1.0)
    print("read", run(store.read("ns/map/", "k", 0.0)).data)
    run(store.apply("ns/map/", "k", Put(Cell(2, None), 1), 0.0))
    print("wrote")
except StoreError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody"
)
@pytest.mark.parametrize(
    ("file", "folder", "said"),
    [
        (0o644, 0o777, ["read 1", "StoreReadOnly"]),
        (0o644, 0o755, ["read 1", "StoreReadOnly"]),
        (0o600, 0o777, ["StoreUnavailable"]),
        (None, 0o755, ["StoreReadOnly"]),
        (0o666, 0o777, ["read 1", "wrote"]),
    ],
)
def test_permission(file, folder, said):
    """What a user may not do is said by kind and by file, and nothing is written."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        place = Path(outer, "place")
        place.mkdir()
        path = place / "l.sqlite3"
        if file is not None:
            store = sqlite.open_store(str(path))
            apply(store, "k", value(1))
            store.close()
            path.chmod(file)
        place.chmod(folder)
        child = python(AS_NOBODY, path)
        out, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        lines = out.splitlines()
        assert [line.split(" /")[0] for line in lines] == said
        if lines[-1].startswith("Store"):
            assert str(path) in lines[-1]


def test_full(store):
    """A full disk is an error of its own, leaves what was there, and passes."""
    apply(store, "k", value(1))
    with store._file.connection() as connection, connection.lock:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        apply(store, "big", value("x" * 100_000))
    with pytest.raises(StoreFull):
        run(store.apply_many(MAP, [("a", value(1)), ("b", value("x" * 100_000))], NOW))
    with pytest.raises(StoreFull):
        run(store.apply_many(MAP, [("a", Add(1, 0, 1)), ("b", value("x" * 100_000))], NOW))
    assert read(store, "a") is None
    assert read_data(store, "k") == 1
    with store._file.connection() as connection, connection.lock:
        assert not connection.raw.in_transaction
        connection.execute("PRAGMA max_page_count = 1000000")
    apply(store, "big", value("x" * 100_000))


def test_full_in_the_middle_of_a_batch(store):
    """A batch that fails in a later piece reports the pieces that were done."""
    apply(store, "k", value(1))
    with store._file.connection() as connection, connection.lock:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 40}")
    writes = [(f"{n:05}", value("x" * (1 if n < 1000 else 1000))) for n in range(2500)]
    outcomes = run(store.apply_many(MAP, writes, NOW))
    assert len(outcomes) == 2500
    assert all(isinstance(outcome, Applied) for outcome in outcomes[:1000])
    assert all(isinstance(outcome, StoreFull) for outcome in outcomes[1000:])
    assert run(store.count(MAP, KeyRange(), NOW)) == 1001


def test_busy(path):
    """A lock held longer than the busy timeout is StoreBusy, and nothing is written."""
    store = sqlite.open_store(str(path), busy_timeout=0.1)
    apply(store, "k", value(1))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        for op in (value(2), Add(1, 0, 2), Delete(), Touch(None, 2), value(2, when=When.PRESENT)):
            with pytest.raises(StoreBusy, match="busy_timeout"):
                apply(store, "k", op)
        with pytest.raises(StoreBusy):
            run(store.apply_many(MAP, [("k", value(2))], NOW))
        assert 0.5 < time.monotonic() - start < 5
        assert read(store, "k") == (1, None, 1, None)
        other.execute("ROLLBACK")
    apply(store, "k", value(2))
    assert read_data(store, "k") == 2
    store.close()


def test_opening_takes_no_lock(path):
    """A file is opened and read while another process writes, be it for long."""
    store = sqlite.open_store(str(path))
    apply(store, "k", value(1))
    store.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = sqlite.open_store(str(path), busy_timeout=0.1)
        assert read_data(store, "k") == 1
        store.close()


def test_refusals_take_no_lock(path):
    """What can be refused by reading is, even while another process writes."""
    store = sqlite.open_store(str(path), busy_timeout=0.1)
    apply(store, "k", value(1))
    run(store.register("ns", MapInfo("map")))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert apply(store, "k", value(2, when=When.ABSENT)).entry.data == 1
        assert run(store.register("ns", MapInfo("map"))).info == MapInfo("map")
    store.close()


def test_max_value(path):
    """A value over the limit is refused by name of the sizes, alone in a batch too."""
    store = sqlite.open_store(str(path), max_value=10)
    for data in ("x" * 11, b"x" * 11, "é" * 6):
        with pytest.raises(ValueTooLarge, match=r"1[12] bytes.* 10"):
            apply(store, "k", value(data))
    for first in (value("x" * 10), Add(1, 0, 1)):
        ok, error, last = run(
            store.apply_many(MAP, [("a", first), ("b", value("é" * 6)), ("c", value(3))], NOW)
        )
        assert isinstance(ok, Applied)
        assert isinstance(error, ValueTooLarge)
        assert isinstance(last, Applied)
        assert [sk for sk, _ in scan(store).entries] == ["a", "c"]
        run(store.clear(MAP, KeyRange()))
    store.close()


def test_max_value_is_at_most_what_sqlite_takes(path):
    """Without an option the limit is SQLite's own, with room for the key."""
    store = sqlite.open_store(str(path), max_value=10**12)
    assert 500_000_000 < store._limit.most < 2**31
    store.close()


def test_what_sqlite_cannot_bind_fails_alone(store):
    """A write that cannot be expressed is the only one of its batch to fail."""
    for bad in (2**63, "\ud800", object()):
        for beside in (value(1), Add(1, 0, 1)):
            outcomes = run(
                store.apply_many(MAP, [("a", beside), ("b", value(bad)), ("c", value(1))], NOW)
            )
            assert [isinstance(one, Exception) for one in outcomes] == [False, True, False]
            run(store.clear(MAP, KeyRange()))


def test_closed(store):
    """A closed store says so, in every thread."""
    apply(store, "k", value(1))
    store.close()
    for use in (
        lambda: read(store, "k"),
        lambda: apply(store, "k", value(1)),
        lambda: scan(store),
        lambda: run(store.maps("ns")),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()
    errors = []

    def use_in_thread():
        try:
            read(store, "k")
        except StoreError as error:
            errors.append(error)

    in_threads(use_in_thread, 2)
    assert len(errors) == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda store: read(store, "k"),
        lambda store: apply(store, "k", value(2)),
        lambda store: apply(store, "k", value(2, expires=NOW + 5)),
        scan,
    ],
    ids=["read", "put", "expiring put", "scan"],
)
def test_an_operation_that_is_closed_meanwhile_is_the_last(store, use):
    """An operation that ``close`` finds under way ends well, and disconnects at its end."""
    apply(store, "k", value(1))
    (connection,) = store._file.connections()
    connection.raw.set_progress_handler(store.close, 1)
    use(store)
    assert connection.raw is None
    with pytest.raises(StoreError, match="closed"):
        use(store)


def test_an_engine_closes_at_the_end_of_with(path):
    """``with Engine.open(...)`` closes it, for all its maps, also where the block raises."""
    with (
        pytest.raises(ZeroDivisionError),
        Engine.open(f"sqlite:///{path}") as engine,
    ):  # what raises is the last
        m, other = LPCM("m", using=engine), LPCM("other", using=engine)
        m["k"] = 1
        1 / 0  # noqa: B018  # it raises
    for one in (m, other):
        with pytest.raises(StoreError, match="closed"):
            one["k"]
    assert [name for name in descriptors() if name.startswith(str(path))] == []


def test_close_while_in_use(path):
    """Closing under the feet of other threads is an error for them, not a crash or a hang."""
    for _ in range(10):
        store = sqlite.open_store(str(path), synchronous="normal")
        errors = []

        def use(store=store, errors=errors):
            try:
                for n in itertools.count():
                    apply(store, f"{n % 50}", value(n))
                    read(store, f"{n % 50}")
            except StoreError:
                errors.append(sys.exception())

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        store.close()
        for thread in threads:
            thread.join(30)
        assert [type(error) for error in errors] == [StoreError] * 4
        assert store._file.connections() == [] or all(
            connection.raw is None for connection in store._file.connections()
        )


# Connections


def test_one_kept_connection_for_each_thread(store):
    """A thread's operations share one connection, which ends with the thread."""
    barrier = threading.Barrier(5)
    seen = []

    def use():
        for n in range(20):
            apply(store, f"{n}", value(n))
            read(store, f"{n}")
            scan(store)
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    ours = [one for one in store._file.connections() if type(one) is Connection]
    opened = [one for one in ours if one.raw is not None]
    seen = [one.raw for one in opened]
    assert len({id(raw) for raw in seen}) == len({one.thread for one in opened}) == 5
    del opened, ours
    barrier.wait()
    for thread in threads:
        thread.join()
    gc.collect()
    ours = [one for one in store._file.connections() if type(one) is Connection]
    assert len([one for one in ours if one.raw is not None]) == 1
    closed = 0
    for raw in seen:
        try:
            raw.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            closed += 1
    assert closed == 4


@pytest.mark.posix
def test_descriptors_of_ended_threads_are_closed(store):
    """A program that starts threads for ever does not run out of descriptors."""
    apply(store, "k", value(1))
    before = len(descriptors())
    for _ in range(5):
        in_threads(lambda: read(store, "k"), 10)
    # SQLite itself keeps a few that it must not close yet, and uses them again.
    assert len(descriptors()) <= before + 10


def test_reads_do_not_pin_the_log(store, path):
    """No read leaves a transaction behind: the log can be emptied after every one."""
    fill(store, 300)
    for n in range(20):
        apply(store, f"big{n:02}", value("x" * 100_000))
    reads = {
        "read": lambda: read(store, "00001"),
        "read_absent": lambda: read(store, "nothing"),
        "read_many": lambda: run(store.read_many(MAP, ["00001", "x"], NOW)),
        "scan": lambda: scan(store, limit=3),
        "scan_full": lambda: scan(store, keys=KeyRange("big")),
        "scan_keys": lambda: scan(store, limit=3, values=False, reverse=True),
        "count": lambda: run(store.count(MAP, KeyRange(), NOW)),
        "refused": lambda: apply(store, "00001", value(1, when=When.ABSENT)),
        "put": lambda: apply(store, "00001", value(1)),
        "add": lambda: apply(store, "n", Add(1, 0, 1)),
        "delete": lambda: apply(store, "n", Delete(returning=True)),
        "maps": lambda: run(store.maps("ns")),
    }
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.2)) as other:
        for name, use in reads.items():
            use()
            other.execute("UPDATE entries SET etag = etag + 1 WHERE sk = '00002'")
            busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert (name, busy) == (name, 0)


def test_failed_reads_do_not_pin_the_log(store, path):
    """An interrupted read gives its lock back."""
    fill(store, 300)
    with pytest.raises(KeyboardInterrupt), store._file.connection() as connection, connection.lock:
        connection.execute("SELECT * FROM entries").fetchone()
        raise KeyboardInterrupt
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.2)) as other:
        other.execute("UPDATE entries SET etag = etag + 1")
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_an_interrupted_batch_is_rolled_back(store):
    """A batch that an exception ends has written nothing and holds no lock."""
    with pytest.raises(KeyboardInterrupt), store._file.connection() as connection, connection.lock:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM entries")
        raise KeyboardInterrupt
    in_threads(lambda: apply(store, "k", value(1)), 1)
    assert read_data(store, "k") == 1


@pytest.mark.posix
def test_operations_within_operations(store):
    """A signal handler may use the store in the middle of an operation of its own thread."""
    apply(store, "a", value("a"))
    apply(store, "b", value("b"))
    handled = []

    def handle(*_):
        handled.append(read_data(store, "b"))

    old = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert read_data(store, "a") == "a"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(handled) > 100
    assert set(handled) == {"b"}


# Expiry


def test_expired_rows_do_not_stay(store):
    """Writes that may expire pay for deleting what has expired, in small doses."""
    for n in range(1000):
        apply(store, f"{n}", value(n, expires=NOW + n), NOW + n)
    assert 0 < rows(store) <= 257
    writes = [(f"m{n}", value(n, expires=NOW + 5000)) for n in range(600)]
    run(store.apply_many(MAP, writes, NOW + 4000))
    assert rows(store) == 600


def test_purge_spares_the_living(store):
    """The purge deletes nothing that has no expiry or has not reached it."""
    fill(store, 300)
    for n in range(600):
        apply(store, f"t{n}", value(n, expires=NOW + 1))
    assert run(store.count(MAP, KeyRange(), NOW)) == 900
    assert rows(store) == 900


def test_a_clock_ahead_purges_nothing_that_lives(store):
    """Whoever's clock is ahead, a test's for one, deletes no other map's living entries."""
    now = time.time()
    run(store.apply("others/", "k", value(1, expires=now + 3600), now))
    for n in range(600):
        apply(store, f"{n}", value(n, expires=now + 7201), now + 7200)
    assert run(store.read("others/", "k", now)).expires == now + 3600


def test_failed_purge_does_not_fail_the_write(path):
    """A write that is done is not reported as failed because of what comes after it."""
    store = sqlite.open_store(str(path))
    with store._file.connection() as connection, connection.lock:
        connection.execute(
            "CREATE TRIGGER no BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    for n in range(600):
        apply(store, f"{n}", value(n, expires=NOW + n), NOW + n)
    assert rows(store) == 600
    store.close()


def rows(store):
    with store._file.connection() as connection, connection.lock:
        return connection.execute("SELECT count(*) FROM entries").fetchone()[0]


# Forks and crashes


@pytest.mark.posix
def test_fork_while_threads_write(path):
    """A child can use the store at once, whatever the parent's threads were in the middle of."""
    store = sqlite.open_store(str(path), synchronous="normal")
    stop = threading.Event()
    failures = []
    written = [0] * 8

    def write(thread):
        try:
            while not stop.is_set():
                n = written[thread]
                apply(store, f"t{thread}", Add(1, 0, n))
                if n % 10 == 0:
                    run(store.apply_many(MAP, [(f"b{n % 50}", value(n))] * 20, NOW))
                read(store, f"t{thread}")
                written[thread] += 1
        except BaseException as error:
            failures.append(error)
            raise

    def work_in_child():
        for n in range(20):
            apply(store, "children", Add(1, 0, n))
            assert read(store, "children") is not None
        in_threads(lambda: apply(store, "children", Add(1, 0, 1)), 3)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            time.sleep(0.01)
            start = time.monotonic()
            in_child(work_in_child)
            assert time.monotonic() - start < 20
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
    assert read_data(store, "children") == 15 * 23
    assert [read_data(store, f"t{n}") for n in range(8)] == written
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.posix
def test_fork_while_threads_come_and_go(path):
    """A fork waits for no thread for ever, though connections open and end meanwhile."""
    store = sqlite.open_store(str(path), synchronous="normal")
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            in_threads(lambda: apply(store, "k", Add(1, 0, 1)), 2)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            in_child(lambda: apply(store, "child", Add(1, 0, 1)))
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert read_data(store, "child") == 30
    store.close()


@pytest.mark.posix
def test_a_child_outlives_the_parents_connections(path):
    """What a child writes is kept when the parent closes its last connection meanwhile.

    SQLite forgets in a child which locks are its own: with a connection open across the
    fork, the parent's close deletes the log that the child goes on writing to.
    """
    store = sqlite.open_store(str(path))
    apply(store, "k", Add(1, 0, 1))
    (ready, tell_ready), (go_on, tell_go_on) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            apply(store, "k", Add(1, 0, 2))
            os.write(tell_ready, b"1")
            os.read(go_on, 1)
            apply(store, "k", Add(1, 0, 3))
        finally:
            os._exit(0)
    os.read(ready, 1)
    assert read_data(store, "k") == 2
    store.close()
    os.write(tell_go_on, b"1")
    os.waitpid(child, 0)
    store = sqlite.open_store(str(path))
    assert read_data(store, "k") == 3
    store.close()


@pytest.mark.posix
def test_no_connection_is_open_across_a_fork(store):
    """The child starts without a descriptor of the parent's."""
    apply(store, "k", value(1))

    def look():
        assert not [target for target in descriptors() if store._file.path in target]

    in_child(look)
    assert read_data(store, "k") == 1


@pytest.mark.posix
def test_fork_inside_an_operation(store):
    """A fork by a signal handler inside an operation hangs nobody; the child is told."""

    def in_the_middle():
        with pytest.raises(StoreError, match="forked"):
            read(store, "k")

    apply(store, "k", value(1))
    with store._file.connection() as connection, connection.lock:
        connection.execute("BEGIN IMMEDIATE")
        in_child(in_the_middle)
        connection.execute("COMMIT")
    assert read_data(store, "k") == 1
    in_child(lambda: read_data(store, "k"))


@pytest.mark.posix
def test_fork_and_exit_normally(path):
    """A child that ends through the interpreter's own exit harms nothing."""
    code = """
import os, sys
from lpcm.engine.drive import run
from lpcm.ports import Add
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.connections import Connection
store = sqlite.open_store(sys.argv[1])
run(store.apply("a/b/", "k", Add(1, 0, 1), 0.0))
child = os.fork()
run(store.apply("a/b/", "k", Add(1, 0, 1), 0.0))
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(run(store.read("a/b/", "k", 0.0)).data)
"""
    child = python(code, path)
    out, errors = child.communicate(timeout=60)
    assert (out, errors) == ("3\n", "")


KILLED = """
import sys
from lpcm.engine.drive import run
from lpcm.ports import Put, Cell
from lpcm.stores.sqlite import store as sqlite
from lpcm.stores.sqlite.connections import Connection
store = sqlite.open_store(sys.argv[1], synchronous=sys.argv[2])
for n in range(10**9):
    run(store.apply("a/b/", f"{n:09}", Put(Cell(n, None), n), 0.0))
    print(n, flush=True)
"""


@pytest.mark.posix
@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_acknowledged_writes_survive_a_kill(path, synchronous):
    """Every put that returned is there after the process was killed."""
    with python(KILLED, path, synchronous) as child:
        for line in child.stdout:
            if int(line) >= 300:
                break
        child.kill()
        acknowledged = [300, *(int(line) for line in child.stdout.read().split("\n")[:-1])][-1]
    store = sqlite.open_store(str(path))
    count = run(store.count("a/b/", KeyRange(), 0.0))
    assert acknowledged + 1 <= count <= acknowledged + 2
    store.close()


def test_many_processes(path):
    """No increment of several processes is lost."""
    start = str(time.time() + 0.7)
    children = [python(CREATE, path, start) for _ in range(4)]
    for child in children:
        child.communicate(timeout=60)
    assert run(sqlite.open_store(str(path)).read("a/b/", "k", 0.0)).data == 40


# Plans


def test_every_statement_uses_an_index(store):
    """No statement on an entry or a range reads the whole table."""
    statements = {
        name: sql
        for name, sql in {**vars(_sqlite_writes), **vars(sqlite)}.items()
        if isinstance(sql, str) and sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))
        if name not in {"_MAPS", "MAPS"}
    } | {f"_SCAN{key}": sql for key, sql in _sqlite_pages._SCAN.items()}
    assert len(statements) >= 14
    with store._file.connection() as connection, connection.lock:
        for name, sql in statements.items():
            numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
            parameters = ("",) * max([sql.count("?") - len(numbered), *numbered])
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            steps = [step for *_, step in plan]
            assert not [s for s in steps if "SCAN entries" in s or "TEMP B-TREE" in s], (name, plan)


def test_numbers_are_stored_as_themselves(store):
    """Someone who looks into the file finds the types of the data, and inf is a number."""
    kinds = {"text": "x", "integer": 5, "real": math.inf, "blob": b"x"}
    for kind, data in kinds.items():
        apply(store, kind, value(data))
    with store._file.connection() as connection, connection.lock:
        found = connection.execute("SELECT sk, typeof(v) FROM entries").fetchall()
    assert dict(found) == {kind: kind for kind in kinds}


# Helpers


def descriptors():
    """Return what this process has open, without the listing's own descriptor."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [os.path.realpath(link) for link in links]


def in_threads(target, count):
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def in_child(work):
    """Run in a fork; a child that does not end in time was left with a lock for ever."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:  # noqa: BLE001  # all of it is shown
            os.write(2, f"in child: {error!r}\n".encode())
        finally:
            os._exit(status)
    deadline = time.monotonic() + 20
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.002)


def python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_gate_is_free():
    """After all of this nobody stands at the gate."""
    assert not _sqlite_connections._forking.held
    assert not _sqlite_connections._forking.interrupted

"""lpcm on SQLite against what else keeps a dict in a file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import diskcache
import sqlitedict
from entries import (
    N,
    again,
    fill,
    filled,
    importing,
    keys,
    loop,
    many,
    mapping_get,
    mapping_put,
    pairs,
    record,
    some,
    text,
)
from harness import Action, Candidate, Limit, Scale, Target, elsewhere
from key_values import with_dbm, with_lmdb, with_lru, with_rocksdict, with_shelve

from lpcm import LPCM, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TITLE = "lpcm and other embedded maps"
ABOUT = """
Everyone holds the same 5,000 entries under text keys and is used as its documentation shows,
from one thread: one kept handle, values of 100 characters, or for *record* a dict of four.

- *durable*: an acknowledged write survives the loss of power (`synchronous=FULL` for lpcm,
  SQLite, diskcache and sqlitedict, which is not their default but lpcm's). Most of it is the
  disk's flush, the same for all. *fast*: it survives the death of the process
  (`synchronous=NORMAL`, and the write-ahead log for all), so this compares the libraries.
- *bare sqlite3* is the floor: one connection, one statement prepared by its text, values as
  they are and records as JSON, no types, no expiry, no other threads, no forks.
- *diskcache* and *bare sqlite3* put a batch in one transaction, *sqlitedict* in one commit. None
  of them reads a batch at once but lpcm and, by hand, SQLite.
- *sqlitedict* works through threads, which slow down whoever shares the process, so it has one of
  its own; *rocksdict*, RocksDB with its threads, too.
- *lmdb* has a transaction for each read and each write, or one for a batch, and text as bytes.
  *lmdb* keeps records as JSON, *rocksdict* as pickles. *dbm.sqlite3*, where this Python has it, is
  of the standard library and commits each put durably.
- *cachetools LRU* is a cache in the process: no other process sees what it holds, and nothing
  survives. It returns the same object each time.
- *again*: what was read three times a moment before, and nobody has written since: from that lpcm
  serves by its near cache. *near_cache=0* is lpcm without.
- *live=False* is lpcm with plain values: what it costs that numbers and records know where they
  came from.
- *increment* is atomic for all that do it; the others cannot.
- *shelve* uses the best `dbm` this Python has and promises nothing about a crash, so it stands
  here for its reads.
- *copy* makes a dict of all entries; its time is for each entry.
- *import* is processor time in a fresh interpreter.
"""
ACTIONS = [
    Action("get", 1000, keys(1000)),
    Action("get again", 1000, keys(1000)),
    Action("get number", 1000, keys(1000)),
    Action("get record", 1000, keys(1000)),
    Action("record again", 1000, keys(1000)),
    Action("get 100", 1000, lambda rng: [some(rng, 100) for _ in range(10)]),
    Action("put, durable", 20, pairs(20, text)),
    Action("put 100, durable", 500, lambda rng: [pairs(100, text)(rng) for _ in range(5)]),
    Action("put, fast", 200, pairs(200, text)),
    Action("put record, fast", 200, pairs(200, record)),
    Action("put 100, fast", 1000, lambda rng: [pairs(100, text)(rng) for _ in range(10)]),
    Action("increment, fast", 200, keys(200)),
    Action("copy", N),
    Action("import", 1),
]
TARGETS = [
    Target("get", "near_cache=0", "diskcache.Index", 1 / 1.2),
    Target("get again", "lpcm", "diskcache.Index", 1 / 10),
    Target("record again", "lpcm", "diskcache.Index", 1 / 1.3),
    Target("record again", "live=False", "diskcache.Index", 1 / 2),
    Target("put, fast", "lpcm", "diskcache.Index", 1 / 2),
    Target("put, durable", "lpcm", "diskcache.Index", 1 / 2),
    Target("put 100, fast", "lpcm", "diskcache.Index", 1 / 3),
    Target("put 100, durable", "lpcm", "diskcache.Index", 1 / 3),
    Target("put 100, fast", "lpcm", "bare sqlite3", 1.25),
    Limit("import", "lpcm", 0.045),
]
PLOT = [
    "get",
    "get again",
    "record again",
    "get 100",
    "copy",
    "put, durable",
    "put 100, durable",
    "put 100, fast",
]


@contextmanager
def candidates(scale: Scale) -> Iterator[Sequence[Candidate]]:
    with ExitStack() as stack:
        opened: list[Candidate] = []
        for make in (
            with_lpcm, with_lpcm_plain, with_lpcm_far, with_sqlite3, with_index, with_cache,
            with_lmdb, with_dbm, with_shelve, with_lru,
        ):  # fmt: skip
            if (made := make(scale)) is not None:
                stack.callback(made[1])
                opened.append(made[0])
        threaded = [
            stack.enter_context(elsewhere(make, scale))
            for make in (with_rocksdict, with_sqlitedict)
        ]
        yield [*opened, *threaded]


def with_lpcm(scale: Scale):
    # A file for each map, as diskcache has a directory for each.
    engines = [
        Engine.open(f"sqlite:///{scale.folder}/lpcm-{name}.sqlite3?synchronous={mode}")
        for name, mode in (
            ("texts", "normal"),
            ("safe", "full"),
            ("records", "normal"),
            ("counts", "normal"),
        )
    ]
    texts, safe, records, counts = (LPCM("bench", using=engine) for engine in engines)
    a_text, a_record = filled()
    for mapping, make in ((texts, a_text), (safe, a_text), (records, a_record)):
        fill(mapping.set_many, make)
    fill(counts.set_many, lambda: 0)

    def close() -> None:
        for engine in engines:
            engine.close()

    return Candidate("lpcm", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get number": mapping_get(counts),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": loop(texts.get_many),
        "put, durable": mapping_put(safe),
        "put 100, durable": loop(safe.set_many),
        "put, fast": mapping_put(texts),
        "put record, fast": mapping_put(records),
        "put 100, fast": loop(texts.set_many),
        "increment, fast": loop(counts.increment),
        "copy": lambda _: texts.copy() and None,
        "import": importing("import lpcm"),
    }), close  # fmt: skip


def with_lpcm_plain(scale: Scale):
    engine = Engine.open(f"sqlite:///{scale.folder}/lpcm-plain.sqlite3?synchronous=normal")
    numbers, records = (LPCM(name, using=engine, live=False) for name in ("numbers", "records"))
    fill(numbers.set_many, lambda: 0)
    fill(records.set_many, filled()[1])
    return Candidate("live=False", {
        "get number": mapping_get(numbers),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
    }), engine.close  # fmt: skip


def with_lpcm_far(scale: Scale):
    url = f"sqlite:///{scale.folder}/lpcm-far.sqlite3?synchronous=normal&near_cache=0"
    engine = Engine.open(url)
    texts, records = (LPCM(name, using=engine) for name in ("texts", "records"))
    a_text, a_record = filled()
    fill(texts.set_many, a_text)
    fill(records.set_many, a_record)
    return Candidate("near_cache=0", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "put, fast": mapping_put(texts),
    }), engine.close  # fmt: skip


def with_sqlite3(scale: Scale):
    stack = ExitStack()

    def connect(mode: str) -> Any:
        db = stack.enter_context(
            closing(sqlite3.connect(scale.folder / f"bare-{mode}.sqlite3", isolation_level=None))
        )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={mode}")
        for name in ("texts", "records", "counts"):
            db.execute(f"CREATE TABLE {name}(k TEXT PRIMARY KEY, v)")
        return db

    safe, fast = connect("full"), connect("normal")

    def upsert(table: str) -> str:
        # INSERT OR REPLACE takes twice as long: it deletes and inserts, in the index too.
        return f"INSERT INTO {table} VALUES(?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v"

    def get(table: str, load: Callable[[Any], Any]) -> Callable[[Any], None]:
        execute = fast.cursor().execute
        sql = f"SELECT v FROM {table} WHERE k=?"

        def looped(names: list[str]) -> None:
            for name in names:
                load(execute(sql, (name,)).fetchone()[0])

        return looped

    def put(db: Any, table: str, dump: Callable[[Any], Any]) -> Callable[[Any], None]:
        execute = db.cursor().execute
        sql = upsert(table)

        def looped(entries: list[tuple[str, Any]]) -> None:
            for name, value in entries:
                execute(sql, (name, dump(value)))

        return looped

    def put_many(db: Any, table: str = "texts") -> Callable[[Any], None]:
        def batch(entries: list[tuple[str, Any]]) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(upsert(table), entries)
            db.execute("COMMIT")

        return batch

    marks = ", ".join("?" * 100)

    def get_many(names: list[str]) -> object:
        return dict(fast.execute(f"SELECT k, v FROM texts WHERE k IN ({marks})", names).fetchall())

    def increment(name: str) -> object:
        return fast.execute(
            "INSERT INTO counts VALUES(?, 1) ON CONFLICT(k) DO UPDATE SET v = v + 1 RETURNING v",
            (name,),
        ).fetchall()

    a_text, a_record = filled()
    fill(put_many(safe), a_text)
    fill(put_many(fast), a_text)
    fill(put_many(fast, "records"), lambda: json.dumps(a_record()))
    fill(put_many(fast, "counts"), lambda: 0)
    return Candidate("bare sqlite3", {
        "get": get("texts", lambda value: value),
        "get again": again(get("texts", lambda value: value)),
        "get record": get("records", json.loads),
        "record again": again(get("records", json.loads)),
        "get 100": loop(get_many),
        "put, durable": put(safe, "texts", lambda value: value),
        "put 100, durable": loop(put_many(safe)),
        "put, fast": put(fast, "texts", lambda value: value),
        "put record, fast": put(fast, "records", json.dumps),
        "put 100, fast": loop(put_many(fast)),
        "increment, fast": loop(increment),
        "copy": lambda _: dict(fast.execute("SELECT k, v FROM texts ORDER BY k")) and None,
        "import": importing("import sqlite3"),
    }), stack.close  # fmt: skip


def open_cache(scale: Scale, name: str, synchronous: int) -> Any:
    folder = scale.folder / f"{name}-{synchronous}"
    # As diskcache.Index makes its own: nothing is thrown away.
    return diskcache.Cache(str(folder), eviction_policy="none", sqlite_synchronous=synchronous)


def transacted(mapping: Any) -> Callable[[Any], None]:
    put = mapping_put(mapping)

    def batch(entries: list[tuple[str, Any]]) -> None:
        with mapping.transact():
            put(entries)

    return batch


def with_index(scale: Scale):
    texts, safe, records, counts = (
        diskcache.Index.fromcache(open_cache(scale, name, mode))
        for name, mode in (("i-texts", 1), ("i-texts", 2), ("i-records", 1), ("i-counts", 1))
    )
    a_text, a_record = filled()
    for mapping, make in ((texts, a_text), (safe, a_text), (records, a_record)):
        fill(transacted(mapping), make)
    fill(transacted(counts), lambda: 0)

    def increment(name: str) -> None:
        with counts.transact():
            counts[name] += 1

    def close() -> None:
        for mapping in (texts, safe, records, counts):
            mapping.cache.close()

    return Candidate("diskcache.Index", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": many(mapping_get(texts)),
        "put, durable": mapping_put(safe),
        "put 100, durable": loop(transacted(safe)),
        "put, fast": mapping_put(texts),
        "put record, fast": mapping_put(records),
        "put 100, fast": loop(transacted(texts)),
        "increment, fast": loop(increment),
        "copy": lambda _: dict(texts.items()) and None,
        "import": importing("import diskcache"),
    }), close  # fmt: skip


def with_cache(scale: Scale):
    texts, safe, records, counts = (
        open_cache(scale, name, mode)
        for name, mode in (("c-texts", 1), ("c-texts", 2), ("c-records", 1), ("c-counts", 1))
    )
    a_text, a_record = filled()
    for cache, make in ((texts, a_text), (safe, a_text), (records, a_record)):
        fill(transacted(cache), make)
    fill(transacted(counts), lambda: 0)

    def close() -> None:
        for cache in (texts, safe, records, counts):
            cache.close()

    return Candidate("diskcache.Cache", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": many(mapping_get(texts)),
        "put, durable": mapping_put(safe),
        "put 100, durable": loop(transacted(safe)),
        "put, fast": mapping_put(texts),
        "put record, fast": mapping_put(records),
        "put 100, fast": loop(transacted(texts)),
        "increment, fast": loop(counts.incr),
        "copy": lambda _: {name: texts[name] for name in texts} and None,
        "import": importing("import diskcache"),
    }), close  # fmt: skip


def with_sqlitedict(scale: Scale):
    def open_dict(name: str, mode: str, autocommit: bool) -> Any:  # noqa: FBT001  # local
        opened = sqlitedict.SqliteDict(
            str(scale.folder / f"dict-{mode}.sqlite3"),
            tablename=name,
            autocommit=autocommit,
            journal_mode="WAL",
        )
        opened.conn.execute(f"PRAGMA synchronous={mode}")  # it sets OFF
        assert opened.conn.select_one("PRAGMA synchronous") == (1 if mode == "normal" else 2,)
        return opened

    texts, safe = open_dict("texts", "normal", True), open_dict("texts", "full", True)
    records = open_dict("records", "normal", True)
    batch, safe_batch = open_dict("batch", "normal", False), open_dict("batch", "full", False)

    def committed(mapping: Any) -> Callable[[Any], None]:
        def put(entries: list[tuple[str, Any]]) -> None:
            mapping.update(entries)
            mapping.commit()

        return put

    a_text, a_record = filled()
    for mapping, make in ((batch, a_text), (safe_batch, a_text)):
        fill(committed(mapping), make)
    for mapping, make in ((texts, a_text), (safe, a_text), (records, a_record)):
        fill(mapping.update, make)

    def close() -> None:
        for mapping in (texts, safe, records, batch, safe_batch):
            mapping.close()

    return Candidate("sqlitedict", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": many(mapping_get(texts)),
        "put, durable": mapping_put(safe),
        "put 100, durable": loop(committed(safe_batch)),
        "put, fast": mapping_put(texts),
        "put record, fast": mapping_put(records),
        "put 100, fast": loop(committed(batch)),
        "copy": lambda _: dict(texts.items()) and None,
        "import": importing("import sqlitedict"),
    }), close  # fmt: skip

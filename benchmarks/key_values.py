"""Key-value stores and an in-process cache, as candidates of the suite ``embedded``.

Text is stored as it is, or as UTF-8 where a store takes bytes alone; records are JSON there.
"""

from __future__ import annotations

import json
import pickle
import shelve
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from entries import again, fill, filled, importing, loop, many, mapping_get, mapping_put
from harness import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Scale


def with_shelve(scale: Scale):
    texts, records = (
        shelve.open(  # noqa: SIM115  # closed by close()
            str(scale.folder / f"shelf-{name}"), protocol=pickle.HIGHEST_PROTOCOL
        )
        for name in ("texts", "records")
    )
    a_text, a_record = filled()
    fill(mapping_put(texts), a_text)
    fill(mapping_put(records), a_record)

    def close() -> None:
        texts.close()
        records.close()

    return Candidate("shelve", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": many(mapping_get(texts)),
        "copy": lambda _: dict(texts.items()) and None,
        "import": importing("import shelve"),
    }), close  # fmt: skip


def with_lmdb(scale: Scale):
    import lmdb

    stack = ExitStack()

    def opened(name: str, *, sync: bool) -> Any:
        folder = str(scale.folder / f"lmdb-{name}")
        return stack.enter_context(closing(lmdb.open(folder, map_size=1 << 28, sync=sync)))

    safe, texts, records = (
        opened("safe", sync=True),
        opened("texts", sync=False),
        opened("records", sync=False),
    )

    def get(environment: Any, load: Callable[[bytes], Any]) -> Callable[[Any], None]:
        def looped(names: list[str]) -> None:
            for name in names:
                with environment.begin() as transaction:
                    load(transaction.get(name.encode()))

        return looped

    def get_many(names: list[str]) -> object:
        with texts.begin() as transaction:
            return {name: transaction.get(name.encode()).decode() for name in names}

    def put_many(environment: Any, dump: Callable[[Any], bytes]) -> Callable[[Any], None]:
        def batch(entries: list[tuple[str, Any]]) -> None:
            with environment.begin(write=True) as transaction:
                for name, value in entries:
                    transaction.put(name.encode(), dump(value))

        return batch

    def put(environment: Any, dump: Callable[[Any], bytes]) -> Callable[[Any], None]:
        one = put_many(environment, dump)
        return loop(lambda entry: one([entry]))

    def copy(_: object) -> None:
        with texts.begin() as transaction:
            {key.decode(): value.decode() for key, value in transaction.cursor()}

    def as_json(value: Any) -> bytes:
        return json.dumps(value).encode()

    a_text, a_record = filled()
    fill(put_many(safe, str.encode), a_text)
    fill(put_many(texts, str.encode), a_text)
    fill(put_many(records, as_json), a_record)
    return Candidate("lmdb", {
        "get": get(texts, bytes.decode),
        "get again": again(get(texts, bytes.decode)),
        "get record": get(records, json.loads),
        "record again": again(get(records, json.loads)),
        "get 100": loop(get_many),
        "put, durable": put(safe, str.encode),
        "put 100, durable": loop(put_many(safe, str.encode)),
        "put, fast": put(texts, str.encode),
        "put record, fast": put(records, as_json),
        "put 100, fast": loop(put_many(texts, str.encode)),
        "copy": copy,
        "import": importing("import lmdb"),
    }), stack.close  # fmt: skip


def with_rocksdict(scale: Scale):
    import rocksdict

    def opened(name: str, *, sync: bool) -> Any:
        database = rocksdict.Rdict(str(scale.folder / f"rocks-{name}"))
        options = rocksdict.WriteOptions()
        options.sync = sync
        database.set_write_options(options)
        return database

    safe = opened("safe", sync=True)
    texts, records = (opened(name, sync=False) for name in ("texts", "records"))

    def put_many(database: Any) -> Callable[[Any], None]:
        def batch(entries: list[tuple[str, Any]]) -> None:
            writes = rocksdict.WriteBatch()
            for name, value in entries:
                writes[name] = value
            database.write(writes)

        return batch

    a_text, a_record = filled()
    for mapping, make in ((texts, a_text), (safe, a_text), (records, a_record)):
        fill(put_many(mapping), make)

    def close() -> None:
        for mapping in (texts, safe, records):
            mapping.close()

    return Candidate("rocksdict", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": loop(lambda names: dict(zip(names, texts[names], strict=True))),
        "put, durable": mapping_put(safe),
        "put 100, durable": loop(put_many(safe)),
        "put, fast": mapping_put(texts),
        "put record, fast": mapping_put(records),
        "put 100, fast": loop(put_many(texts)),
        "copy": lambda _: dict(texts.items()) and None,
        "import": importing("import rocksdict"),
    }), close  # fmt: skip


def with_dbm(scale: Scale):
    """Return dbm.sqlite3, which commits each put by itself and durably; None before Python 3.13."""
    try:
        import dbm.sqlite3 as module  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    texts = module.open(scale.folder / "dbm-texts", "c")  # noqa: SIM115  # closed by the caller

    def get(names: list[str]) -> None:
        for name in names:
            texts[name].decode()

    fill(mapping_put(texts), filled()[0])
    return Candidate("dbm.sqlite3", {
        "get": get,
        "get again": again(get),
        "get 100": many(get),
        "put, durable": mapping_put(texts),
        "copy": lambda _: {name.decode(): texts[name].decode() for name in texts} and None,
        "import": importing("import dbm.sqlite3"),
    }), texts.close  # fmt: skip


def with_lru(scale: Scale):
    """Return a cache in the process, which no other process sees and nothing survives."""
    import cachetools

    del scale
    a_text, a_record = filled()
    texts, records = cachetools.LRUCache(100_000), cachetools.LRUCache(100_000)
    fill(mapping_put(texts), a_text)
    fill(mapping_put(records), a_record)
    return Candidate("cachetools LRU", {
        "get": mapping_get(texts),
        "get again": again(mapping_get(texts)),
        "get record": mapping_get(records),
        "record again": again(mapping_get(records)),
        "get 100": many(mapping_get(texts)),
    }), lambda: None  # fmt: skip

"""What others put into a SQLite file: schemas that are not ours, rows that lpcm did not write.

Knows the schema and the columns, and no operation. Invariant: nothing of a file is believed
before its tables are seen to be the ones made here; a row of any types is an entry that can be
read, or one that stands as damaged, or none.
"""

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import StoreCorrupt
from lpcm.ports import DAMAGED, MapInfo, Stored, damaged
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.stores.sqlite.connections import Execute

__all__ = [
    "MAPS",
    "SCHEMA",
    "catalogued",
    "entry",
    "infos",
    "is_not_text",
    "odd",
    "rows",
    "stored_keys",
]

# A rowid table, `v` last: see docs/explanation/sqlite-layout.md for the figures.
_TABLES: Final = {
    "entries": """CREATE TABLE entries(pk TEXT NOT NULL, sk TEXT NOT NULL,
    t TEXT, etag INTEGER NOT NULL, x REAL, v, PRIMARY KEY(pk, sk))""",
    "expiry": "CREATE INDEX expiry ON entries(x) WHERE x IS NOT NULL",
    "maps": """CREATE TABLE maps(pk TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,
    format INTEGER NOT NULL, codec TEXT NOT NULL, shards INTEGER NOT NULL)""",
}
SCHEMA: Final = tuple(_TABLES.values())


def odd(objects: Iterable[tuple[Any, ...]]) -> str:
    """Return what of a schema is not as lpcm makes it, as rows of ``sqlite_schema``; else "".

    Other tables and views are left alone, and so are plain indexes on ours: no statement of
    lpcm meets them. A trigger or a unique index would take part in its writes.
    """
    missing = dict(_TABLES)
    for kind, name, table, sql in objects:
        if missing.get(name) == sql and sql is not None:
            del missing[name]
        elif str(table).lower() not in {"entries", "maps"}:
            continue
        elif kind == "trigger" or (kind == "index" and _is_unique(sql)):
            return f"{kind} {shown(name)}"
    return next((f"{_TABLES[name].split()[1].lower()} {name!r}" for name in missing), "")


def _is_unique(sql: object) -> bool:
    """Tell so of an index; those of a primary key have no SQL."""
    return sql is not None and "unique" in str(sql).lower()


# Rows


def is_not_text(error: BaseException) -> bool:
    """Tell whether Python found text in a row that is not UTF-8."""
    return (
        isinstance(error, sqlite3.OperationalError)
        and getattr(error, "sqlite_errorcode", None) is None
        and "decode to UTF-8" in str(error)
    )


_HERE = "FROM entries WHERE pk = ? AND sk = ?"
_NOT_TEXT = (
    f"SELECT 'it holds text that is not UTF-8', '{DAMAGED}',"
    " CASE typeof(etag) WHEN 'text' THEN 0 ELSE etag END,"
    f" CASE typeof(x) WHEN 'real' THEN x END {_HERE}"
)
_READ = f"SELECT v, t, etag, x {_HERE}"


def entry(row: tuple[Any, ...], now: float) -> Stored | None:
    """Return the entry of a row ``v, t, etag, x``, None if it has expired."""
    expires = row[3]
    if expires is not None and type(expires) is not float:
        return damaged(f"its expiry is {shown(expires)}", row[2])
    return None if expires is not None and expires <= now else Stored._make(row)


def rows(execute: Execute, map: str, sks: Iterable[str]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the rows of these keys, one statement for each, whatever stands in them."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    for sk in sks:
        try:
            row = execute(_READ, (map, sk)).fetchone()
        except sqlite3.OperationalError as error:
            if not is_not_text(error):
                raise
            row = execute(_NOT_TEXT, (map, sk)).fetchone()
        if row is not None:
            found.append((sk, row))
    return found


def stored_keys(execute: Execute, where: str, bounds: tuple[object, ...], limit: int) -> list[str]:
    """Return the first keys of a range that are text at all: others are nobody's."""
    found: list[str] = []
    for (raw,) in execute(f"SELECT CAST(sk AS BLOB) FROM entries WHERE {where}", bounds):
        with suppress(UnicodeDecodeError):
            found.append(raw.decode())
        if len(found) == limit:
            break
    return found


# The catalogue

MAPS: Final = "SELECT name, format, codec, shards FROM maps"
_RAW: Final = (
    "SELECT CAST(name AS BLOB), format, CAST(codec AS BLOB), shards FROM maps"
    " WHERE namespace = ? ORDER BY name"
)


def catalogued(path: str, row: tuple[Any, ...]) -> MapInfo:
    """Return what a row of the catalogue says. **Raises** StoreCorrupt."""
    if tuple(map(type, row)) != (str, int, str, int):
        raise StoreCorrupt(
            f"{path}: the catalogue's row of map {shown(row[0])} was not written by lpcm: "
            f"{shown(row)}: delete it from the table maps"
        )
    return MapInfo._make(row)


def infos(execute: Execute, path: str, namespace: str) -> list[MapInfo]:
    """Return a namespace's catalogue, without the rows that lpcm did not write."""
    try:
        found = execute(f"{MAPS} WHERE namespace = ? ORDER BY name", (namespace,)).fetchall()
    except sqlite3.OperationalError as error:
        if not is_not_text(error):
            raise
        found = []
        for name, version, codec, shards in execute(_RAW, (namespace,)).fetchall():
            with suppress(UnicodeDecodeError, AttributeError):
                found.append((name.decode(), version, codec.decode(), shards))
    known: list[MapInfo] = []
    for row in found:
        with suppress(StoreCorrupt):
            known.append(catalogued(path, row))
    return known

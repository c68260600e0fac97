"""Many entries of a SQLite map at once: statements over chunks of keys.

Knows the columns and no connection; transactions are the caller's. Invariant: what concerns one
entry of many, fails alone.
"""

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from lpcm.errors import ValueTooLarge
from lpcm.ports import Applied, Put, Stored, When
from lpcm.stores.sqlite.foreign import is_not_text
from lpcm.stores.sqlite.pages import RANGE
from lpcm.stores.sqlite.statements import ENTRY, find, new, puts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lpcm.ports import Op, Outcome
    from lpcm.stores.sqlite.connections import Connection, Execute

__all__ = [
    "OF_ONE_WRITE",
    "Row",
    "applied",
    "chunks",
    "clear_some",
    "drop_some",
    "forget_maps",
    "plain",
    "put_all",
    "put_rows",
    "read_many",
]

Row: TypeAlias = "tuple[str, str, str | None, int, float | None, Any]"
"""Map, key, kind, etag, expiry and value."""

_READ_CHUNK = 100
_READ_MANY = (
    f"SELECT sk, {ENTRY} FROM entries WHERE pk = ? AND sk IN ({', '.join('?' * _READ_CHUNK)})"
)

_AT_ONCE = 128  # rows of one statement: a power of 2
_SMALL = 1000  # bytes of a row
_PUTS = {size: puts(size) for size in (1 << power for power in range(_AT_ONCE.bit_length()))}

_CLEAR_CHUNK = 4000
_DROP = (
    "DELETE FROM entries WHERE rowid IN"
    f" (SELECT rowid FROM entries WHERE pk >= ? AND pk < ? LIMIT {_CLEAR_CHUNK})"
)
_NTH = f"SELECT sk FROM entries WHERE {RANGE} ORDER BY sk LIMIT 1 OFFSET {_CLEAR_CHUNK}"


OF_ONE_WRITE = (
    OverflowError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What concerns one write of a batch, not the connection or the file."""


def read_many(execute: Execute, map: str, sks: Sequence[str], now: float) -> dict[str, Stored]:
    """Return those of the entries that are there: one SELECT for each hundred keys."""
    found: dict[str, Stored] = {}
    for chunk in chunks(sks, _READ_CHUNK):
        # Always the same number of parameters, so always the same cached statement.
        padding = (chunk[-1],) * (_READ_CHUNK - len(chunk))
        try:
            rows = execute(_READ_MANY, (map, *chunk, *padding)).fetchall()
            found.update(
                [(row[0], new(Stored, row[1:])) for row in rows if row[4] is None or row[4] > now]
            )
        except (TypeError, sqlite3.OperationalError) as error:  # one was not written here
            if not (isinstance(error, TypeError) or is_not_text(error)):
                raise
            each = [(sk, find(execute, map, sk, now)) for sk in chunk]
            found.update((sk, one) for sk, one in each if one is not None)
    return found


def put_all(
    connection: Connection,
    map: str,
    writes: Sequence[tuple[str, Op]],
    check: Callable[[Op], int],
) -> list[Outcome | Exception] | None:
    """Do unconditional puts in one go; None if others are among them, or one cannot be done.

    Some of them may be done then: to do each of them again, by itself, leaves the same.
    """
    rows: list[Row] = []
    size = 0
    try:
        for sk, op in writes:
            row = plain(map, sk, op)
            if row is None:
                return None
            size += check(op)
            rows.append(row)
        put_rows(connection.execute, rows, size)
    except (ValueTooLarge, *OF_ONE_WRITE):
        return None
    return [applied(row) for row in rows]


def plain(map: str, sk: str, op: Op) -> Row | None:
    """Return the row of a put without a condition, for ``put_rows``; None for another write."""
    if type(op) is not Put or op.when is not When.ALWAYS:
        return None
    (data, kind), etag, expires, _ = op
    return (map, sk, kind, etag, expires, data)


def applied(row: Row) -> Applied:
    """Return the outcome of a put of that row."""
    _, _, kind, etag, expires, data = row
    return new(Applied, (new(Stored, (data, kind, etag, expires)), None))


def put_rows(execute: Execute, rows: Sequence[Row], size: int) -> None:
    """Put rows without a condition, in order; ``size``: bytes of their values together.

    Cost: one statement for each 128 rows, and at most seven for what is left; a statement for each
    row where they are large. Not ``executemany``: each row lets go of the interpreter's lock, and
    a thread that takes it meanwhile may keep it for 5 ms.
    """
    # SQLite keeps the values of a statement until its next use: only small ones.
    most = _AT_ONCE if size <= _SMALL * len(rows) else 1
    start, left = 0, len(rows)
    while left:
        while most > left:
            most >>= 1
        execute(_PUTS[most], tuple(chain.from_iterable(rows[start : start + most])))
        start += most
        left -= most


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Return the items in pieces of that size."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def clear_some(map: str, low: str, high: str, connection: Connection) -> tuple[str] | None:
    """Delete some entries of a range; return where the next ones begin."""
    next_: tuple[str] | None = connection.execute(_NTH, (map, low, high)).fetchone()
    bounds = (map, low, *(next_ or (high,)))
    connection.execute(f"DELETE FROM entries WHERE {RANGE}", bounds)
    return next_


def drop_some(low: str, high: str, connection: Connection) -> int:
    """Delete some entries of these partitions; return how many."""
    return connection.execute(_DROP, (low, high)).rowcount


def forget_maps(low: str, high: str, connection: Connection) -> None:
    """Delete the rows of these partitions in the catalogue."""
    connection.execute("DELETE FROM maps WHERE pk >= ? AND pk < ?", (low, high))

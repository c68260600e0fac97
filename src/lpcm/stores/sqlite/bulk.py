"""Many entries of a SQLite map at once: statements over chunks of keys.

Knows the columns and no connection; transactions are the caller's. Invariant: what concerns one
entry of many, fails alone.
"""

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from lpcm.ports import Applied, Put, Stored
from lpcm.stores.sqlite.foreign import is_not_text
from lpcm.stores.sqlite.statements import ENTRY, find, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lpcm.ports import Op, Outcome
    from lpcm.stores.sqlite.connections import Execute

__all__ = ["OF_ONE_WRITE", "chunks", "puts", "read_many"]

_READ_CHUNK = 100
_READ_MANY = (
    f"SELECT sk, {ENTRY} FROM entries WHERE pk = ? AND sk IN ({', '.join('?' * _READ_CHUNK)})"
)

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


def puts(
    map: str, writes: Sequence[tuple[str, Op]], check: Callable[[Put], object]
) -> tuple[list[tuple[object, ...]], list[Outcome | Exception]]:
    """Return the rows of unconditional puts, and what becomes of them."""
    rows: list[tuple[object, ...]] = []
    outcomes: list[Outcome | Exception] = []
    for sk, op in writes:
        assert isinstance(op, Put)
        check(op)
        (data, kind), etag, expires, _ = op
        rows.append((map, sk, kind, etag, expires, data))
        outcomes.append(new(Applied, (new(Stored, (data, kind, etag, expires)), None)))
    return rows, outcomes


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Return the items in pieces of that size."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

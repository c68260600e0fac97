"""Ranges of a SQLite map: pages of about a megabyte, and how many entries there are.

Knows the columns and no connection. Invariant: a row that lpcm did not write takes no other
row out of its page.
"""

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from lpcm.ports import Stored, damaged
from lpcm.stores.sqlite.foreign import is_not_text, rows, stored_keys
from lpcm.stores.sqlite.statements import ENTRY, LIVE
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.stores.sqlite.connections import Execute

__all__ = ["RANGE", "count", "page"]

_PAGE_BYTES = 1_000_000
RANGE = "pk = ? AND sk >= ? AND sk < ?"
_SCAN = {
    (values, reverse): (
        f"SELECT sk, {ENTRY if values else 'NULL, NULL, etag, x'} FROM entries"
        f" WHERE {RANGE} AND {LIVE} ORDER BY sk{' DESC' if reverse else ''} LIMIT ?"
    )
    for values in (True, False)
    for reverse in (True, False)
}

# The first count reads the key index alone, the last only what has expired: asking each row for
# its x would read five times as much. But where more has expired, in the whole file, than the
# range has rows, each of those is asked.
_COUNT = (
    f"WITH held(n) AS MATERIALIZED (SELECT count(*) FROM entries WHERE {RANGE}),"
    " gone(n) AS MATERIALIZED (SELECT count(*) FROM (SELECT 1 FROM entries INDEXED BY expiry"
    " WHERE x <= ? LIMIT (SELECT n FROM held)))"
    " SELECT CASE WHEN gone.n < held.n THEN held.n -"
    f" (SELECT count(*) FROM entries INDEXED BY expiry WHERE x <= ? AND {RANGE})"
    f" ELSE (SELECT count(*) FROM entries WHERE {RANGE} AND {LIVE}) END FROM held, gone"
)


def count(execute: Execute, bounds: tuple[str, str, str], now: float) -> int:
    """Return how many entries ``map, low, high`` has."""
    given = (*bounds, now, now, *bounds, *bounds, now)
    return int(execute(_COUNT, given).fetchone()[0])


def page(
    execute: Execute, bounds: tuple[Any, ...], *, values: bool, reverse: bool
) -> tuple[list[tuple[str, Stored]], bool]:
    """Return the entries of ``map, low, high, now, limit``, and whether the page was too small.

    Then the statement still has rows.
    """
    pk, *_, limit = bounds
    try:
        entries, room = _page(execute(_SCAN[values, reverse], bounds))
    except sqlite3.OperationalError as error:
        if not is_not_text(error):
            raise
        where = f"{RANGE} AND {LIVE} ORDER BY sk{' DESC' if reverse else ''}"
        sks = stored_keys(execute, where, bounds[:-1], limit)
        entries, room = _page((sk, *row) for sk, row in rows(execute, pk, sks))
    return entries, room <= 0


def _page(rows: Iterable[tuple[Any, ...]]) -> tuple[list[tuple[str, Stored]], int]:
    """Return as many entries as a page has room for, and what room is left."""
    entries: list[tuple[str, Stored]] = []
    room = _PAGE_BYTES
    for sk, data, kind, etag, expires in rows:
        if expires is None or type(expires) is float:
            entries.append((sk, Stored(data, kind, etag, expires)))
        else:
            entries.append((sk, damaged(f"its expiry is {shown(expires)}", etag)))
        if isinstance(data, (str, bytes)):
            room -= len(data)
            if room <= 0:
                break
    return entries, room

"""One write of the SQLite store, as statements on one entry.

Invariant: every write is one statement that carries its own condition, so it is atomic
without a transaction around it. A refusal is a second instant: after the statement
changed nothing, the entry is read, and the write is refused only if *that* entry refuses
it; otherwise someone changed it in between, and the statement is tried again. So nobody
holds the write lock while deciding, and a refused write never takes it.
"""

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from lpcm.ports import (
    DAMAGED,
    Aborted,
    Add,
    Applied,
    Delete,
    Put,
    Refused,
    Rewrite,
    Stored,
    Touch,
    Update,
    When,
)
from lpcm.stores.local.update_json import rewritten
from lpcm.stores.sqlite.foreign import entry, is_not_text, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Change, Check, Op, Outcome
    from lpcm.stores.sqlite.connections import Execute

__all__ = [
    "ENTRY",
    "LIVE",
    "PUT",
    "READ",
    "changes",
    "find",
    "new",
    "puts",
    "rewrite",
    "transact",
    "write",
]

_LEAST, _MOST = -(2**63), 2**63 - 1

# Stored's own constructor checks what SQL has just counted, at 0.2 µs an entry.
new = tuple.__new__

_HERE = "pk = ? AND sk = ?"
LIVE = "(x IS NULL OR x > ?)"
ENTRY = "v, t, etag, x"  # in the order of Stored's fields
# RETURNING shows how SQLite keeps a whole REAL, as an INTEGER; SELECT does not.
_RETURNING = "RETURNING v, t, etag, CAST(x AS REAL)"

READ = f"SELECT {ENTRY} FROM entries WHERE {_HERE}"


def puts(number: int) -> str:
    """Return the statement that puts so many rows without a condition, one after another."""
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * number)
    return (
        f"INSERT INTO entries(pk, sk, t, etag, x, v) VALUES {values} ON CONFLICT(pk, sk) DO UPDATE"
        " SET t = excluded.t, etag = excluded.etag, x = excluded.x, v = excluded.v"
    )


PUT = puts(1)
_PUT_ABSENT = f"{PUT} WHERE entries.x <= ?"
_PUT_PRESENT = f"UPDATE entries SET t = ?, etag = ?, x = ?, v = ? WHERE {_HERE} AND {LIVE}"
_PUT_ETAG = f"{_PUT_PRESENT} AND etag = ?"
_DELETE = f"DELETE FROM entries WHERE {_HERE}"
_DELETE_PRESENT = f"{_DELETE} AND {LIVE}"
_DELETE_ETAG = f"{_DELETE_PRESENT} AND etag = ?"
_TOUCH = f"UPDATE entries SET x = ?, etag = ? WHERE {_HERE} AND {LIVE} {_RETURNING}"
# The bounds keep the sum within 64 bits: past them SQLite would make it a REAL, silently.
# An expiry that is no number never comes, so such an entry is there; but it cannot be read, and
# so not be added to, or handed over.
_READABLE = "(x IS NULL OR typeof(x) = 'real')"
_SUMMABLE = f"typeof(v) = 'integer' AND t IS NULL AND v BETWEEN ? AND ? AND {_READABLE}"
_ADD_PRESENT = (
    f"UPDATE entries SET v = v + ?, etag = ? WHERE {_HERE} AND {LIVE} AND {_SUMMABLE} {_RETURNING}"
)
_ADD = (
    "INSERT INTO entries(pk, sk, etag, v, x) VALUES (?1, ?2, ?3, ?4, ?9)"
    " ON CONFLICT(pk, sk) DO UPDATE SET etag = excluded.etag, t = NULL,"
    " v = CASE WHEN x <= ?5 THEN excluded.v ELSE v + ?6 END,"
    " x = CASE WHEN x <= ?5 THEN excluded.x ELSE x END"
    " WHERE x <= ?5 OR (typeof(v) = 'integer' AND t IS NULL AND v BETWEEN ?7 AND ?8"
    f" AND {_READABLE}) {_RETURNING}"
)


def find(execute: Execute, map: str, sk: str, now: float) -> Stored | None:
    """Return the entry."""
    try:
        row = execute(READ, (map, sk)).fetchone()
    except sqlite3.OperationalError as error:
        if not is_not_text(error):
            raise
        return next((entry(row, now) for _, row in rows(execute, map, [sk])), None)
    return None if row is None else entry(row, now)


def write(execute: Execute, map: str, sk: str, op: Op, now: float) -> Outcome:
    """Do one write: one statement, and one more that reads where it may be refused."""
    while True:
        match op:
            case Put():
                outcome = _put(execute, map, sk, op, now)
            case Delete():
                outcome = _delete(execute, map, sk, op, now)
            case Add():
                outcome = _add(execute, map, sk, op, now)
            case Touch():
                bound = (op.expires, op.etag, map, sk, now)
                try:
                    outcome = _applied(execute(_TOUCH, bound).fetchall())
                except sqlite3.OperationalError as error:
                    if not is_not_text(error):
                        raise
                    outcome = Applied(find(execute, map, sk, now))  # done, but for its answer
            case Update() | Rewrite():  # more than a statement: see rewrite
                outcome = None
        if outcome is not None:
            return outcome
        current = find(execute, map, sk, now)
        if refuses(current, op):
            return Refused(current)


def changes(op: Op, outcome: Outcome) -> bool:
    """Tell whether the op has surely changed a row."""
    if type(outcome) is not Applied:
        return False
    return type(op) is not Delete or op.when not in {When.ALWAYS, When.ABSENT}


def rewrite(
    execute: Execute,
    map: str,
    sk: str,
    op: Update | Rewrite,
    now: float,
    *,
    check: Callable[[Put], object],
) -> Outcome:
    """Change a value: read it, and write it if nobody did meanwhile, else again.

    Not by SQLite's own JSON functions: they know no order of names and no tags. Someone
    has always written when it is tried again, so all writers together get on.
    """
    current = find(execute, map, sk, now)
    while True:
        put = rewritten(current, op)
        if put is None:
            return Refused(current)
        check(put)
        put = put._replace(when=When.ABSENT if current is None else current.etag)
        outcome = write(execute, map, sk, put, now)
        if isinstance(outcome, Applied):
            return outcome
        current = outcome.entry


def _applied(rows: list[tuple[Any, ...]]) -> Applied | None:
    return Applied(new(Stored, rows[0])) if rows else None


def _put(execute: Execute, map: str, sk: str, op: Put, now: float) -> Outcome | None:
    """Try once; None if the condition failed."""
    (data, kind), etag, expires, when = op
    new = (kind, etag, expires, data)
    if when is When.ALWAYS:
        changed = execute(PUT, (map, sk, *new)).rowcount
    elif when is When.ABSENT:
        # Read first: setdefault mostly finds its key, and then takes no lock.
        current = find(execute, map, sk, now)
        if current is not None:
            return Refused(current)
        changed = execute(_PUT_ABSENT, (map, sk, *new, now)).rowcount
    elif when is When.PRESENT:
        changed = execute(_PUT_PRESENT, (*new, map, sk, now)).rowcount
    else:
        changed = execute(_PUT_ETAG, (*new, map, sk, now, when)).rowcount
    return Applied(Stored(data, kind, etag, expires)) if changed else None


def _delete(execute: Execute, map: str, sk: str, op: Delete, now: float) -> Outcome | None:
    """Try once; None if the condition failed."""
    when, returning = op
    if when is When.ABSENT:
        current = find(execute, map, sk, now)
        return Applied(None) if current is None else Refused(current)
    if returning and _is_damaged(current := find(execute, map, sk, now)):
        return Refused(current)  # what cannot be read is not handed over
    bound: tuple[object, ...] = (map, sk)
    if when is When.ALWAYS:
        sql = _DELETE
    elif when is When.PRESENT:
        sql, bound = _DELETE_PRESENT, (*bound, now)
    else:
        sql, bound = _DELETE_ETAG, (*bound, now, when)
    if not returning:
        changed = execute(sql, bound).rowcount or when is When.ALWAYS
        return Applied(None) if changed else None
    found = execute(f"{sql} AND {_READABLE} {_RETURNING}", bound).fetchall()
    if not found:
        return Applied(None) if when is When.ALWAYS else None
    previous = new(Stored, found[0])
    gone = previous.expires is not None and previous.expires <= now
    return Applied(None, None if gone else previous)


def _add(execute: Execute, map: str, sk: str, op: Add, now: float) -> Applied | None:
    """Try once; None if it cannot be done natively."""
    delta, initial, etag, expires = op
    if not _fits(delta):
        return None
    low, high = max(_LEAST, _LEAST - delta), min(_MOST, _MOST - delta)
    if initial is not None and _fits(initial + delta):
        bound = (map, sk, etag, initial + delta, now, delta, low, high, expires)
        return _applied(execute(_ADD, bound).fetchall())
    return _applied(execute(_ADD_PRESENT, (delta, etag, map, sk, now, low, high)).fetchall())


def _fits(number: int) -> bool:
    return _LEAST <= number <= _MOST


def refuses(current: Stored | None, op: Op) -> bool:
    """Tell whether the entry is one that the op must not be applied to."""
    match op:
        case Add(delta, initial):
            if not _fits(delta):
                return True
            if current is None:
                return initial is None or not _fits(initial + delta)
            data = current.data
            return type(data) is not int or current.kind is not None or not _fits(data + delta)
        case Touch():
            return current is None
        case Update() | Rewrite():
            return True
        case Put() | Delete():
            if not isinstance(op.when, When):  # an etag, of whatever type it is in a row
                return current is None or current.etag != op.when
            if type(op) is Delete and op.returning and _is_damaged(current):
                return True
            present = current is not None
            return op.when is (When.ABSENT if present else When.PRESENT)


def _is_damaged(current: Stored | None) -> bool:
    return current is not None and current.kind == DAMAGED


def transact(
    execute: Execute, changes: Sequence[Change], checks: Sequence[Check], now: float
) -> list[Applied] | Aborted:
    """Do all changes, in a transaction of the caller's; none where a condition does not hold."""
    if reasons := _failing(execute, changes, checks, now):
        return Aborted(reasons)
    applied: list[Applied] = []
    for pk, sk, op in changes:
        outcome = write(execute, pk, sk, op, now)
        assert isinstance(outcome, Applied)
        applied.append(outcome)
    return applied


def _failing(
    execute: Execute, changes: Sequence[Change], checks: Sequence[Check], now: float
) -> list[tuple[str, str, Refused]]:
    """Return each condition of a transaction that does not hold, with what refuses it."""
    reasons: list[tuple[str, str, Refused]] = []
    conditions = [*((pk, sk, op.when) for pk, sk, op in changes), *checks]
    for pk, sk, when in conditions:
        if when is not When.ALWAYS:
            current = find(execute, pk, sk, now)
            if refuses(current, Delete(when)):
                reasons.append((pk, sk, Refused(current)))
    return reasons

"""Decide a write: what an operation of the port makes of an entry.

For stores that hold the entry while they decide, and for the buffer of a transaction. Pure: the
caller reads the entry, asks here, and stores the outcome, in one instant or by compare-and-set.
Updates of a part of a value are left to ``stores.local.update_json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.ports.store import (
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

if TYPE_CHECKING:
    from lpcm.ports.store import Condition, Op, Outcome

__all__ = ["decide", "holds"]


def decide(current: Stored | None, op: Op) -> Outcome:
    """Return the outcome of the write, where ``current`` is the stored entry.

    >>> from lpcm.ports import Cell
    >>> decide(None, Put(Cell("x", None), 7))
    Applied(entry=Stored(data='x', kind=None, etag=7, expires=None), previous=None)
    >>> decide(None, Put(Cell("x", None), 7, None, When.PRESENT))
    Refused(entry=None)
    """
    match op:
        case Put((data, kind), etag, expires, when):
            if not holds(when, current):
                return Refused(current)
            return Applied(Stored(data, kind, etag, expires))
        case Delete(when, returning):
            if not holds(when, current):
                return Refused(current)
            return Applied(None, current if returning else None)
        case Touch(expires, etag):
            if current is None:
                return Refused(None)
            return Applied(current._replace(etag=etag, expires=expires))
        case Add(delta, initial, etag, expires):
            total = _sum(current, delta, initial)
            if total is None:
                return Refused(current)
            kept = expires if current is None else current.expires
            return Applied(Stored(total, None, etag, kept))
        case Rewrite(make):
            put = make(current)
            if put is None:
                return Refused(current)
            return decide(current, put._replace(when=When.ALWAYS))
        case Update():  # done by the store, which knows how large a value may be
            return Refused(current)


def holds(when: Condition, current: Stored | None) -> bool:
    """Tell whether the condition holds."""
    match when:
        case When.ALWAYS:
            return True
        case When.ABSENT:
            return current is None
        case When.PRESENT:
            return current is not None
        case etag:
            return current is not None and current.etag == etag


def _sum(current: Stored | None, delta: int, initial: int | None) -> int | None:
    """Return the sum if all numbers are ints of 64 bits, the bare ints of ``Form.TEXT``."""
    if current is None:
        start = initial
    elif current.kind is None and type(current.data) is int:
        start = current.data
    else:
        start = None
    if start is None or not _fits(delta) or not _fits(start + delta):
        return None
    return start + delta


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63

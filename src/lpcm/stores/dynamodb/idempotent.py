"""Exactly once: each write as a transaction of its own, sent again until its reply comes.

DynamoDB recognises a transaction by its token for ten minutes, so that it may be sent again after
a lost reply. A transaction returns no values, so a write that depends on the entry is a read
and a compare-and-set. Invariant: an outcome is true of one instant, because the transaction was
conditional on the etag that was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.errors import StoreBusy
from lpcm.ports import (
    DAMAGED,
    Aborted,
    Add,
    Applied,
    Cell,
    Change,
    Delete,
    Put,
    Refused,
    Rewrite,
    Stored,
    Touch,
    Update,
    When,
)
from lpcm.stores.dynamodb import transactions
from lpcm.stores.dynamodb.requests import starting_number
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lpcm.ports import Op, Outcome
    from lpcm.stores.dynamodb.retries import Caller

    Read = Callable[[str, str, float], Awaitable[Stored | None]]

__all__ = ["apply"]


async def apply(caller: Caller, read: Read, op: Op, *, map: str, sk: str, now: float) -> Outcome:
    """Do one write.

    Cost: two write units for each KB; an add, a touch, or a delete that returns the entry also
    costs a read, and both again where another client wrote in between.
    """
    if isinstance(op, Put) or (isinstance(op, Delete) and not op.returning):
        return await _transact(caller, Change(map, sk, op), now)
    pauses = caller.pauses()
    while True:
        current = await read(map, sk, now)
        change = _change(op, current)
        if change is None:
            if isinstance(op, Delete) and current is None and not isinstance(op.when, int):
                return Refused(None) if op.when is When.PRESENT else Applied(None)
            return Refused(current)
        outcome = await _transact(caller, Change(map, sk, change), now)
        if isinstance(outcome, Applied):
            return outcome._replace(previous=current if isinstance(op, Delete) else None)
        if not await pauses.pause():
            raise StoreBusy(
                f"{caller.label}: other clients changed {sk!r:.60} all the time; nothing was "
                f"written"
            )


async def _transact(caller: Caller, change: Change, now: float) -> Outcome:
    match await transactions.transact(caller, [change], [], now):
        case Aborted(reasons):
            return reasons[0][2]
        case [applied]:
            return applied
        case _:
            raise AssertionError("a transaction of one change has one outcome")


def _change(op: Op, current: Stored | None) -> Put | Delete | None:
    """Return the op as a change of the current entry; None where the entry refuses the op."""
    when = When.ABSENT if current is None else current.etag
    if current is not None and current.kind == DAMAGED:  # its value cannot be read
        return None
    match op:
        case Delete(wanted):
            if current is None or wanted is When.ABSENT or wanted not in (*When, current.etag):
                return None
            if current.kind == HEAD and op.returning and wanted != current.etag:
                return None  # its value must be read before it goes
            return Delete(current.etag)
        case Touch(expires, etag) if current is not None:
            return Put(Cell(current.data, current.kind), etag, expires, when)
        case Add(delta, _, etag, expires):
            number = starting_number(current, op)
            if number is None:
                return None
            kept = expires if current is None else current.expires
            return Put(Cell(number + delta, "int"), etag, kept, when)
        case Put():
            return op
        case Update() | Rewrite() | Touch():
            return None

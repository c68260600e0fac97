"""Transactions: changes of several entries, all or nothing, as one ``TransactWriteItems``.

Invariant: a transaction is done at most once, however often it is sent: each attempt carries the
same token, by which DynamoDB recognises it for ten minutes. So unlike any other write a
transaction is sent again after a lost reply, until the budget is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.errors import LPCMError, OutcomeUnknown, StoreBusy
from lpcm.ports import Aborted, Applied, Put, Refused, When
from lpcm.ports.etags import new_etag
from lpcm.ports.heads import owner_checks
from lpcm.stores.dynamodb import items, requests
from lpcm.stores.dynamodb.expressions import Expressions
from lpcm.stores.dynamodb.retries import Unsure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Change, Check
    from lpcm.stores.dynamodb.http.port import Reply
    from lpcm.stores.dynamodb.retries import Caller

__all__ = ["transact"]


async def transact(
    caller: Caller,
    changes: Sequence[Change],
    checks: Sequence[Check],
    now: float,
    *,
    over_heads: bool = True,
) -> list[Applied] | Aborted:
    """Do all changes, or none; heads on condition that their owners are open.

    ``over_heads``: False: entries that are heads refuse their change. Cost: one request; two
    write units for each KB of each entry changed or checked. **Raises** StoreBusy where an owner
    is not open.
    """
    checks = [check for check in checks if check.when is not When.ALWAYS]
    if not changes and not checks:
        return []
    theirs = owner_checks(changes)
    actions = [_change(caller, change, now, over_heads=over_heads) for change in changes]
    actions += [_check(caller, check, now) for check in (*checks, *theirs)]
    request: dict[str, Any] = {
        "TransactItems": actions,
        "ClientRequestToken": f"{new_etag() & (2**64 - 1):016x}",
    }
    reply, unsure = await _send(caller, request)
    if reply.status == 200:
        return [requests.applied(change.op, None) for change in changes]
    every = [*checks, *theirs]
    places = [(pk, sk) for pk, sk, _ in (*changes, *every)]
    wanted = [change.op.when for change in changes] + [check.when for check in every]
    reasons = reply.body.get("CancellationReasons") or ()
    failed = [
        (place, when, reason)
        for place, when, reason in zip(places, wanted, reasons, strict=True)
        if reason.get("Code") == "ConditionalCheckFailed"
    ]
    # An attempt that is still on its way is refused as well where a condition on an etag failed,
    # for an old etag never comes back. An absent entry may be present when it arrives, or the
    # other way round.
    if unsure is not None and not any(isinstance(when, int) for _, when, _ in failed):
        raise _unknown(caller, unsure) from unsure
    owners = {check[:2] for check in theirs}
    if any(place in owners for place, _, _ in failed):
        raise StoreBusy(
            f"{caller.label}: the write took so long that its parts were swept; nothing was "
            "written: write again"
        )
    return Aborted(
        [(*place, Refused(items.entry(reason.get("Item"), now))) for place, _, reason in failed]
    )


async def _send(caller: Caller, request: dict[str, Any]) -> tuple[Reply, Unsure | None]:
    """Send a transaction until there is a reply; return the last ``Unsure`` before that as well."""
    pauses = caller.pauses()
    unsure: Unsure | None = None
    while True:
        try:
            return await caller.call("TransactWriteItems", request, pauses), unsure
        except Unsure as error:
            unsure = error
            if not await pauses.pause():
                raise _unknown(caller, error) from error
        except LPCMError as error:
            if unsure is None:
                raise
            raise _unknown(caller, error) from error


def _unknown(caller: Caller, error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{caller.label}: a transaction was sent and may have been done, as a whole, or may still "
        f"be: {error}"
    )


def _change(caller: Caller, change: Change, now: float, *, over_heads: bool) -> dict[str, Any]:
    op = change.op
    if isinstance(op, Put):
        item = items.checked(change.map, change.sk, op, caller.label, caller.most)
        write = requests.put(item, op.when, op.etag, now, heads=over_heads)
    else:
        write = requests.delete(change.map, change.sk, op.when, now, heads=over_heads)
    return {write.operation.removesuffix("Item"): {"TableName": caller.table, **write.request}}


def _check(caller: Caller, check: Check, now: float) -> dict[str, Any]:
    made = Expressions(now, heads=True)
    holds = made.holds(check.when)
    return {
        "ConditionCheck": {
            "TableName": caller.table,
            "Key": items.key(check.map, check.sk),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **made.request(ConditionExpression=holds),
        }
    }

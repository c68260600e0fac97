"""Purge: delete what has expired from a partition, for ``lpcm purge``.

A table's TTL does that within days, at no price. This is for tables without one, and for maps whose
walks read too much that has expired. Knows items and requests, and no map.

Invariants: each delete is conditional on the item's being expired then, so one that was written
again stays; a tombstone that another client may still have to read stays (``put_tombstone``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import StoreUnavailable
from lpcm.ports import KeyRange, Purged, When
from lpcm.stores.dynamodb import items
from lpcm.stores.dynamodb.batches import chunks
from lpcm.stores.dynamodb.concurrency import later
from lpcm.stores.dynamodb.expressions import Expressions
from lpcm.stores.dynamodb.requests import LONG_AGO
from lpcm.stores.dynamodb.retries import Unsure, units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from lpcm.stores.dynamodb.concurrency import Runner
    from lpcm.stores.dynamodb.retries import Caller

__all__ = ["purge"]

_READ: Final = 0.2
"""The price of a read unit, in write units."""
_DELETED: Final = 600.0
"""Seconds after which no client looks for its tombstone any more, clocks that differ included."""


async def purge(
    caller: Caller, runner: Runner, pk: str, now: float, most: int
) -> AsyncIterator[Purged]:
    """Delete what had expired at that time, ``most`` entries in a step.

    Cost: a Query for each MB of the partition, half a read unit for each 4 KB; a DeleteItem for
    each expired entry, eight at once, a write unit for each KB. The reads are eventually
    consistent, for each delete has its own condition.
    """
    made = Expressions(now)
    request = made.request(
        KeyConditionExpression=made.keys(pk, KeyRange()),
        FilterExpression=_expired(made, now),
        ProjectionExpression="pk, sk, f",
    )
    request |= {
        "TableName": caller.table,
        "ConsistentRead": False,
        "ReturnConsumedCapacity": "TOTAL",
    }

    def delete(key: Mapping[str, Any]) -> Coroutine[Any, Any, Purged]:
        return _delete(caller, key, now)

    while True:
        reply = await caller.call("Query", request)
        yield Purged(0, _READ * units(reply))
        found = reply.body["Items"]
        for item in found:
            items.check_format(item)
        for chunk in chunks(found, most):
            done = await runner.run([later(delete, key) for key in chunk])
            yield Purged(sum(each.entries for each in done), sum(each.units for each in done))
        if "LastEvaluatedKey" not in reply.body:
            return
        request["ExclusiveStartKey"] = reply.body["LastEvaluatedKey"]


async def _delete(caller: Caller, key: Mapping[str, Any], now: float) -> Purged:
    made = Expressions(now, heads=True)
    known = made.holds(When.ALWAYS)
    request = made.request(ConditionExpression=f"{known} AND {_expired(made, now)}")
    key = {"pk": key["pk"], "sk": key["sk"]}
    request |= {"TableName": caller.table, "Key": key, "ReturnConsumedCapacity": "TOTAL"}
    pauses = caller.pauses()
    while True:
        try:
            reply = await caller.call("DeleteItem", request, pauses)
        except Unsure as error:  # may be sent again: what is written meanwhile does not expire then
            if not await pauses.pause():
                raise StoreUnavailable(
                    f"{caller.label}: {key['sk']['S']!r:.60} may not have been purged: {error}"
                ) from error
        else:
            return Purged(reply.status == 200, units(reply))


def _expired(made: Expressions, now: float) -> str:
    early, late = now - LONG_AGO - _DELETED, now - LONG_AGO + _DELETED
    return f"{made.expired()} AND NOT x BETWEEN {made.number(early)} AND {made.number(late)}"

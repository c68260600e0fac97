"""Requests: one ``Op`` as one request, and its reply as an ``Outcome``.

Every condition is part of the request, the one on expiry included, so that DynamoDB checks and
writes in one instant. The reply to a refused write has the item that refused it. Sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.ports import (
    Add,
    Applied,
    Cell,
    Delete,
    Put,
    Stored,
    Touch,
    When,
)
from lpcm.stores.dynamodb import items
from lpcm.stores.dynamodb.expressions import Expressions
from lpcm.values.form import HEAD
from lpcm.values.native_number import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.ports import Condition, Op

__all__ = [
    "LONG_AGO",
    "Write",
    "add",
    "applied",
    "delete",
    "delete_tombstone",
    "over_head",
    "plain",
    "put",
    "put_tombstone",
    "replace_tombstone",
    "start",
    "starting_number",
    "touch",
]

_MOST: Final = LIMIT - 1
_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long
LONG_AGO: Final = 30 * 86_400.0
"""Seconds for which a tombstone has been expired: longer than clocks differ, and short enough
for DynamoDB's TTL to delete it."""


class Write(NamedTuple):
    """A request, and the etag by which its item is recognised."""

    operation: str
    request: dict[str, Any]
    etag: int | None


def plain(op: Op) -> bool:
    """Tell whether ``BatchWriteItem`` can do an op: it has no condition and returns no entry."""
    match op:
        case Put(cell=(_, kind), when=When.ALWAYS):
            return kind != HEAD
        case Delete(when=When.ALWAYS, returning=False):
            return True
        case _:
            return False


def put(
    item: dict[str, Any], when: Condition, etag: int, now: float, *, heads: bool = False
) -> Write:
    """Return the request that stores an item; with ``heads``, also in place of a head."""
    return Write("PutItem", {"Item": item} | _condition(when, now, heads=heads), etag)


def delete(map: str, sk: str, when: Condition, now: float, *, heads: bool = False) -> Write:
    """Return the request that removes an entry; with ``heads``, also a head."""
    key = {"Key": items.key(map, sk)}
    return Write("DeleteItem", key | _condition(when, now, heads=heads), None)


def put_tombstone(map: str, sk: str, when: Condition, etag: int, now: float) -> Write:
    """Return the request that turns an entry into a tombstone, so that one client can return it.

    If the reply to a delete were lost, the removed value would be lost for good. A tombstone is
    an expired entry: absent to every client, but its writer can recognise it by its etag and read
    its value.
    """
    made = Expressions(now)
    change = f"SET etag = {made.number(etag)}, x = {made.number(now - LONG_AGO)}"
    when = When.PRESENT if when is When.ALWAYS else when
    request = {"Key": items.key(map, sk), "ReturnValues": "ALL_OLD"}
    return Write("UpdateItem", request | _conditional(made, when, change), etag)


def delete_tombstone(map: str, sk: str, etag: int) -> Write:
    """Return the request that removes a tombstone, unless another client has replaced it."""
    made = Expressions(0)
    holds = f"etag = {made.number(etag)}"
    request = {"Key": items.key(map, sk)} | made.request(ConditionExpression=holds)
    return Write("DeleteItem", request, None)


def replace_tombstone(item: Mapping[str, Any], etag: int) -> Write:
    """Return the request that puts an item back in place of its tombstone."""
    made = Expressions(0)
    holds = f"etag = {made.number(etag)}"
    request = {"Item": item} | made.request(ConditionExpression=holds)
    return Write("PutItem", request, items.etag(item))


def over_head(write: Write, head: Mapping[str, Any]) -> Write:
    """Return a write that a head has refused, on condition that the entry is still that head."""
    values = write.request.get("ExpressionAttributeValues", {})
    condition = write.request["ConditionExpression"]
    request = write.request | {
        "ConditionExpression": condition.replace(Expressions.known, "f = :f AND etag = :head"),
        "ExpressionAttributeValues": values | {":f": items.LARGE, ":head": head["etag"]},
    }
    return Write(write.operation, request, write.etag)


def touch(map: str, sk: str, op: Touch, now: float) -> Write:
    """Return the request that changes an entry's expiry."""
    made = Expressions(now)
    change = f"SET etag = {made.number(op.etag)}"
    change += " REMOVE x" if op.expires is None else f", x = {made.number(op.expires)}"
    request = {"Key": items.key(map, sk), "ReturnValues": "ALL_NEW"}
    return Write("UpdateItem", request | _conditional(made, When.PRESENT, change), op.etag)


def add(map: str, sk: str, op: Add, now: float) -> Write | None:
    """Return the request of a native sum; None where no sum with this delta is exact.

    It is conditional on the type and range in which the sum is exact. It also makes an absent
    entry, where that entry would never expire.
    """
    delta, initial, etag, expires = op
    low, high = max(-_MOST, -_MOST - delta), min(_MOST, _MOST - delta)
    if abs(delta) > _MOST or low > high:
        return None
    made = Expressions(now)
    kind, summand, mine = made.value({"S": "int"}), made.number(delta), made.number(etag)
    span = f"{made.number(low)} AND {made.number(high)}"
    holds = f"t = {kind} AND v BETWEEN {span} AND {made.live()}"
    change = f"SET etag = {mine} ADD v {summand}"
    if initial is not None and expires is None and low <= initial <= high:
        holds = f"attribute_not_exists(pk) OR ({holds})"
        first = f"if_not_exists(v, {made.number(initial)})"
        change = f"SET v = {first} + {summand}, t = {kind}, etag = {mine}"
    expressions = made.request(ConditionExpression=holds, UpdateExpression=change)
    request = {"Key": items.key(map, sk), "ReturnValues": "ALL_NEW", **_SHOW, **expressions}
    return Write("UpdateItem", request, etag)


def start(map: str, sk: str, op: Add, now: float) -> Write | None:
    """Return the request that puts the first sum of an absent entry; None if it is not exact."""
    if op.initial is None or not -_MOST <= op.initial + op.delta <= _MOST:
        return None
    cell = Cell(op.initial + op.delta, "int")
    return put(items.item(map, sk, cell, op.etag, op.expires), When.ABSENT, op.etag, now)


_SHOW: Final = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
_KNOWN: Final = {**_SHOW, "ConditionExpression": Expressions.known}


def _condition(when: Condition, now: float, *, heads: bool = False) -> dict[str, Any]:
    if when is When.ALWAYS and not heads:
        return _KNOWN
    return _conditional(Expressions(now, heads=heads), when, None)


def _conditional(made: Expressions, when: Condition, change: str | None) -> dict[str, Any]:
    holds = made.holds(when)
    return _SHOW | made.request(ConditionExpression=holds, UpdateExpression=change)


def applied(op: Op, attributes: Mapping[str, Any] | None) -> Applied:
    """Return the outcome of an applied op; ``attributes`` are the item after it."""
    match op:
        case Put((data, kind), etag, expires):
            return _new(Applied, (_new(Stored, (data, kind, etag, expires)), None))
        case Delete():
            return Applied(None)
        case _:
            return _new(Applied, (items.entry(attributes, float("-inf")), None))


def starting_number(current: Stored | None, op: Add) -> int | None:
    """Return the int that an op adds to; None where the sum would not be exact."""
    number = op.initial if current is None else current.data if current.kind == "int" else None
    if not isinstance(number, int) or abs(number + op.delta) > _MOST or abs(op.delta) > _MOST:
        return None
    return number

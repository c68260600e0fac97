"""The table: its keys, its TTL attribute, and how one is made.

Knows what a table of lpcm's looks like, in this one place, and nothing of entries.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import StoreError, StoreUnavailable
from lpcm.stores.dynamodb.failures import failure
from lpcm.stores.dynamodb.port import NotSent, ReplyLost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.port import Reply, Transport

__all__ = ["KEYS", "TTL", "create_table", "definition"]

KEYS: Final = (("pk", "HASH"), ("sk", "RANGE"))
"""The primary key: attributes of type S, and what they are to DynamoDB."""
TTL: Final = "x"
"""The attribute by whose number of epoch seconds DynamoDB deletes what has expired."""
_WITHIN: Final = 10.0


def definition(table: str, *, capacity: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the request that makes the table.

    ``capacity``: provisioned read and write units a second; None: billed on demand.
    """
    made: dict[str, Any] = {
        "TableName": table,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in KEYS],
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS],
    }
    if capacity is None:
        return made | {"BillingMode": "PAY_PER_REQUEST"}
    read, write = capacity
    units = {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
    return made | {"BillingMode": "PROVISIONED", "ProvisionedThroughput": units}


async def create_table(
    transport: Transport,
    table: str,
    *,
    capacity: tuple[int, int] | None = None,
    within: float = 120.0,
) -> None:
    """Make the table unless it is there, wait until it can be used, and turn TTL on.

    **Raises** StoreDenied, StoreUnavailable; StoreError where a table of that name has
    other keys, or is not ready ``within`` that many seconds.
    """
    deadline = time.monotonic() + within
    reply = await _call(transport, "CreateTable", definition(table, capacity=capacity))
    if reply.status != 200 and reply.error != "ResourceInUseException":
        raise failure(reply, "CreateTable", table, transport.endpoint)
    while (description := await _describe(transport, table))["TableStatus"] != "ACTIVE":
        if time.monotonic() > deadline:
            raise StoreError(f"table {table!r} is {description['TableStatus']} after {within:g} s")
        await transport.sleep(0.1)
    keys = tuple((key["AttributeName"], key["KeyType"]) for key in description["KeySchema"])
    if keys != KEYS:
        raise StoreError(f"table {table!r} has the keys {keys}, not lpcm's {KEYS}: choose another")
    await _enable_ttl(transport, table)


async def _describe(transport: Transport, table: str) -> Mapping[str, Any]:
    reply = await _call(transport, "DescribeTable", {"TableName": table})
    if reply.status == 200:
        described: Mapping[str, Any] = reply.body["Table"]
        return described
    if reply.error == "ResourceNotFoundException":  # just made, and not everywhere known yet
        return {"TableStatus": "CREATING"}
    raise failure(reply, "DescribeTable", table, transport.endpoint)


async def _enable_ttl(transport: Transport, table: str) -> None:
    reply = await _call(transport, "DescribeTimeToLive", {"TableName": table})
    described = reply.body.get("TimeToLiveDescription", {})
    if described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        return
    setting = {"Enabled": True, "AttributeName": TTL}
    request = {"TableName": table, "TimeToLiveSpecification": setting}
    reply = await _call(transport, "UpdateTimeToLive", request)
    if reply.status != 200:
        raise failure(reply, "UpdateTimeToLive", table, transport.endpoint)


async def _call(transport: Transport, operation: str, request: Mapping[str, Any]) -> Reply:
    try:
        return await transport.call(operation, request, _WITHIN)
    except (NotSent, ReplyLost) as error:
        raise StoreUnavailable(str(error)) from error

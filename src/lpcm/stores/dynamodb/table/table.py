"""The table: its keys and TTL attribute, its creation, and its description.

Knows the form of lpcm's table, in this one place, and nothing of entries. ``templates`` makes its
texts for other tools from the same ``definition``.

Invariant: creating a table that exists only turns its TTL on, and its point-in-time recovery
where that is asked for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.errors import StoreError, StoreUnavailable
from lpcm.stores.dynamodb.errors import failure
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.port import Reply, Transport

__all__ = ["KEYS", "TTL", "Table", "create_table", "definition", "describe_table"]

KEYS: Final = (("pk", "HASH"), ("sk", "RANGE"))
"""The primary key: attributes of type S, and their key types."""
TTL: Final = "x"
"""The attribute of epoch seconds after which DynamoDB deletes an item."""
_WITHIN: Final = 10.0
_ON: Final = frozenset({"ENABLED", "ENABLING"})


def definition(table: str, *, capacity: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the request that creates the table.

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
    recovery: bool = False,
    within: float = 120.0,
) -> bool:
    """Create the table unless it exists, wait until it can be used, and turn TTL on.

    Return whether it was created now. ``recovery``: turn point-in-time recovery on, too.

    **Raises** StoreDenied, StoreUnavailable; StoreError where a table of that name has
    other keys, or is not ready ``within`` that many seconds.
    """
    deadline = time.monotonic() + within
    reply = await _call(transport, "CreateTable", definition(table, capacity=capacity))
    made = reply.status == 200
    if not made and reply.error != "ResourceInUseException":
        raise failure(reply, "CreateTable", table, transport.endpoint)
    while (description := await _describe(transport, table))["TableStatus"] != "ACTIVE":
        if time.monotonic() > deadline:
            raise StoreError(f"table {table!r} is {description['TableStatus']} after {within:g} s")
        await transport.sleep(0.1)
    keys = _keys(description)
    if keys != _named():
        raise StoreError(
            f"table {table!r} has the keys {', '.join(keys)}, not lpcm's {', '.join(_named())}: "
            "choose another"
        )
    await _enable_ttl(transport, table)
    if recovery:
        await _enable_recovery(transport, table, deadline)
    return made


class Table(NamedTuple):
    """The description of a table."""

    name: str
    arn: str
    status: str
    keys: tuple[str, ...]
    ours: bool
    """Whether its keys are those of lpcm."""
    billing: str
    """``on demand``, or the units a second that are provisioned."""
    items: int
    """As DynamoDB counted them last, up to six hours ago."""
    size: int
    """Bytes, counted at the same time."""
    ttl: str
    """``x`` where DynamoDB deletes expired items by it; else another attribute, or ``off``."""
    recovery: str
    """``on`` or ``off``: point-in-time recovery; ``unknown`` where the client may not ask."""


async def describe_table(transport: Transport, table: str) -> Table:
    """Describe a table. **Raises** StoreMissing, StoreDenied, StoreUnavailable."""
    description = await _describe(transport, table, absent=False)
    units = description.get("ProvisionedThroughput", {})
    read, write = (units.get(f"{kind}CapacityUnits", 0) for kind in ("Read", "Write"))
    billing = f"{read} read and {write} write units" if read or write else "on demand"
    keys = _keys(description)
    ttl = await _ttl(transport, table)
    return Table(
        table,
        description.get("TableArn", ""),
        description["TableStatus"],
        keys,
        keys == _named(),
        billing,
        description.get("ItemCount", 0),
        description.get("TableSizeBytes", 0),
        ttl.get("AttributeName", TTL) if ttl.get("TimeToLiveStatus") in _ON else "off",
        await _recovery(transport, table),
    )


def _keys(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a table's keys as ``pk HASH S``."""
    types = {
        each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]
    }
    schema = [(key["AttributeName"], key["KeyType"]) for key in description["KeySchema"]]
    return tuple(f"{name} {kind} {types[name]}" for name, kind in schema)


def _named() -> tuple[str, ...]:
    return _keys(definition("lpcm"))


async def _describe(transport: Transport, table: str, *, absent: bool = True) -> Mapping[str, Any]:
    reply = await _call(transport, "DescribeTable", {"TableName": table})
    if reply.status == 200:
        described: Mapping[str, Any] = reply.body["Table"]
        return described
    if absent and reply.error == "ResourceNotFoundException":  # just made, not yet known everywhere
        return {"TableStatus": "CREATING"}
    raise failure(reply, "DescribeTable", table, transport.endpoint)


async def _ttl(transport: Transport, table: str) -> Mapping[str, Any]:
    reply = await _call(transport, "DescribeTimeToLive", {"TableName": table})
    if reply.status != 200:
        raise failure(reply, "DescribeTimeToLive", table, transport.endpoint)
    described: Mapping[str, Any] = reply.body.get("TimeToLiveDescription", {})
    return described


async def _enable_ttl(transport: Transport, table: str) -> None:
    ttl = await _ttl(transport, table)
    if ttl.get("TimeToLiveStatus") in _ON:
        if (attribute := ttl.get("AttributeName", TTL)) != TTL:
            raise StoreError(
                f"table {table!r} deletes by the attribute {attribute!r}, not by lpcm's {TTL!r}: "
                "turn its TTL off, or choose another table"
            )
        return
    setting = {"Enabled": True, "AttributeName": TTL}
    request = {"TableName": table, "TimeToLiveSpecification": setting}
    reply = await _call(transport, "UpdateTimeToLive", request)
    if reply.status != 200:
        raise failure(reply, "UpdateTimeToLive", table, transport.endpoint)


async def _recovery(transport: Transport, table: str) -> str:
    reply = await _call(transport, "DescribeContinuousBackups", {"TableName": table})
    if reply.status != 200:
        return "unknown"
    described = reply.body.get("ContinuousBackupsDescription", {})
    recovery = described.get("PointInTimeRecoveryDescription", {})
    return "on" if recovery.get("PointInTimeRecoveryStatus") == "ENABLED" else "off"


async def _enable_recovery(transport: Transport, table: str, deadline: float) -> None:
    if await _recovery(transport, table) == "on":
        return
    setting = {"PointInTimeRecoveryEnabled": True}
    request = {"TableName": table, "PointInTimeRecoverySpecification": setting}
    while True:
        reply = await _call(transport, "UpdateContinuousBackups", request)
        if reply.status == 200:
            return
        # A new table is not ready for that at once.
        soon = reply.error == "ContinuousBackupsUnavailableException"
        if not soon or time.monotonic() > deadline:
            raise failure(reply, "UpdateContinuousBackups", table, transport.endpoint)
        await transport.sleep(0.5)


async def _call(transport: Transport, operation: str, request: Mapping[str, Any]) -> Reply:
    try:
        return await transport.call(operation, request, _WITHIN)
    except (NotSent, ReplyLost) as error:
        raise StoreUnavailable(str(error)) from error

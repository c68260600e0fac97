"""The table: its creation, and its description.

Makes what ``design`` describes, as ``templates`` does for other tools. Knows nothing of entries.

Invariant: creating a table that exists only turns its TTL on, and where that is asked for its
point-in-time recovery, and tags it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.errors import StoreError, StoreUnavailable
from lpcm.stores.dynamodb.errors import failure
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.stores.dynamodb.table.design import TTL, Design, definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.port import Reply, Transport

__all__ = ["OWN_KEY", "Table", "create_table", "describe_table"]

OWN_KEY: Final = "DynamoDB's own key"
_WITHIN: Final = 10.0
_ON: Final = frozenset({"ENABLED", "ENABLING"})


async def create_table(
    transport: Transport,
    table: str,
    design: Design = Design(),  # noqa: B008  # a tuple
    *,
    within: float = 120.0,
) -> bool:
    """Create the table unless it exists, wait until it can be used, and turn TTL on.

    Return whether it was created now. One that exists keeps its design, but for recovery and tags.

    **Raises** StoreDenied, StoreUnavailable; StoreError where a table of that name has
    other keys, or is not ready ``within`` that many seconds.
    """
    deadline = time.monotonic() + within
    reply = await _call(transport, "CreateTable", definition(table, design))
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
    if design.tags and not made:
        await _tag(transport, table, description["TableArn"], design)
    if design.recovery:
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
    protected: bool
    """Whether deleting it is refused."""
    encryption: str
    """``DynamoDB's own key``, or the ARN of the KMS key."""
    table_class: str
    """``STANDARD`` or ``STANDARD_INFREQUENT_ACCESS``."""
    warm: str
    """The units a second that it is ready for now; empty where the server does not tell."""
    most: str
    """The most units a second that are served on demand; empty: no limit but the account's."""
    replicas: tuple[str, ...]
    """The other regions of a global table."""
    consistency: str
    """``STRONG`` or ``EVENTUAL`` where there are replicas, else empty."""
    tags: tuple[tuple[str, str], ...] | None
    """None where the client may not ask."""


async def describe_table(transport: Transport, table: str) -> Table:
    """Describe a table. **Raises** StoreMissing, StoreDenied, StoreUnavailable."""
    description = await _describe(transport, table, absent=False)
    billing = _units(description, "ProvisionedThroughput", "{}CapacityUnits") or "on demand"
    replicas = tuple(
        sorted(str(each["RegionName"]) for each in description.get("Replicas") or () if each)
    )
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
        protected=description.get("DeletionProtectionEnabled") is True,
        encryption=(description.get("SSEDescription") or {}).get("KMSMasterKeyArn") or OWN_KEY,
        table_class=(description.get("TableClassSummary") or {}).get("TableClass") or "STANDARD",
        warm=_units(description, "WarmThroughput", "{}UnitsPerSecond"),
        most=_units(description, "OnDemandThroughput", "Max{}RequestUnits"),
        replicas=replicas,
        consistency=description.get("MultiRegionConsistency") or "EVENTUAL" if replicas else "",
        tags=await _tags(transport, description.get("TableArn", "")),
    )


def _units(description: Mapping[str, Any], name: str, field: str) -> str:
    given = description.get(name) or {}
    read, write = (given.get(field.format(kind), 0) for kind in ("Read", "Write"))
    # -1: no limit
    return f"{read} read and {write} write units" if max(read, write) > 0 else ""


async def _tags(transport: Transport, arn: str) -> tuple[tuple[str, str], ...] | None:
    found: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        reply = await _call(transport, "ListTagsOfResource", {"ResourceArn": arn, **more})
        if reply.status != 200:
            return None
        found += [(each["Key"], each["Value"]) for each in reply.body.get("Tags", ())]
        if not reply.body.get("NextToken"):
            return tuple(sorted(found))
        more = {"NextToken": reply.body["NextToken"]}


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


async def _tag(transport: Transport, table: str, arn: str, design: Design) -> None:
    request = {"ResourceArn": arn, "Tags": definition(table, design)["Tags"]}
    reply = await _call(transport, "TagResource", request)
    if reply.status != 200:
        raise failure(reply, "TagResource", table, transport.endpoint)


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

"""The design of a table: what its owner chooses, beside the keys and the TTL that lpcm needs.

Knows the words of CreateTable, no transport and no notation of another tool.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEYS", "TTL", "Design", "Units", "definition"]

KEYS: Final = (("pk", "HASH"), ("sk", "RANGE"))
"""The primary key: attributes of type S, and their key types."""
TTL: Final = "x"
"""The attribute of epoch seconds after which DynamoDB deletes an item."""

Units: TypeAlias = "tuple[int, int]"
"""Read and write units a second."""


class Design(NamedTuple):
    """How a table is to be."""

    capacity: Units | None = None
    """Provisioned; None: billed on demand."""
    scale_to: Units | None = None
    """Up to where auto scaling may raise the capacity, and never below it."""
    most: Units | None = None
    """The most units a second that are served, and paid for, on demand."""
    warm: Units | None = None
    """What the table is ready for from the beginning, without having grown to it."""
    recovery: bool = False
    """Point-in-time recovery."""
    protected: bool = False
    """Against deletion: it is refused until somebody turns that off."""
    kms_key: str | None = None
    """The KMS key that it is encrypted with, as ARN or alias; None: DynamoDB's own."""
    infrequent: bool = False
    """The class for infrequent access: storage costs less than half, requests a quarter more."""
    tags: tuple[tuple[str, str], ...] = ()

    def check(self) -> Design:
        """Return the design. **Raises** ValueError for parts that do not go together."""
        if self.most is not None and self.capacity is not None:
            raise ValueError("the most units on demand, and provisioned ones, exclude each other")
        if self.scale_to is None:
            return self
        if self.capacity is None:
            raise ValueError("auto scaling starts from provisioned units: give them, too")
        if any(most < least for most, least in zip(self.scale_to, self.capacity, strict=True)):
            raise ValueError("auto scaling goes up from the provisioned units, not down")
        return self


def definition(table: str, design: Design = Design()) -> dict[str, Any]:  # noqa: B008  # a tuple
    """Return the request that creates the table."""
    made: dict[str, Any] = {
        "TableName": table,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in KEYS],
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS],
    }
    if design.capacity is None:
        made["BillingMode"] = "PAY_PER_REQUEST"
    else:
        made["BillingMode"] = "PROVISIONED"
        made["ProvisionedThroughput"] = _units(design.capacity, "{}CapacityUnits")
    return made | dict(_chosen(design))


def _chosen(design: Design) -> Mapping[str, Any]:
    made: dict[str, Any] = {}
    if design.most is not None:
        made["OnDemandThroughput"] = _units(design.most, "Max{}RequestUnits")
    if design.warm is not None:
        made["WarmThroughput"] = _units(design.warm, "{}UnitsPerSecond")
    if design.protected:
        made["DeletionProtectionEnabled"] = True
    if design.kms_key is not None:
        made["SSESpecification"] = {
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": design.kms_key,
        }
    if design.infrequent:
        made["TableClass"] = "STANDARD_INFREQUENT_ACCESS"
    if design.tags:
        made["Tags"] = [{"Key": key, "Value": value} for key, value in design.tags]
    return made


def _units(units: Units, name: str) -> dict[str, int]:
    return {
        name.format(kind): number for kind, number in zip(("Read", "Write"), units, strict=True)
    }

"""Auto scaling: the requests that make a table's capacity follow its use.

Application Auto Scaling is a service beside DynamoDB, which changes the provisioned units when some
minutes of use are far from ``TARGET``. https://docs.aws.amazon.com/autoscaling/application/APIReference/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lpcm.stores.dynamodb.table.design import Design

__all__ = ["TARGET", "Scaled", "scale", "scaled"]

TARGET: Final = 70.0
"""Percent of the provisioned units that are to be in use."""


class Scaled(NamedTuple):
    """One of the two dimensions of a table."""

    kind: str
    """``Read`` or ``Write``."""
    least: int
    most: int

    @property
    def dimension(self) -> str:
        """Its name there."""
        return f"dynamodb:table:{self.kind}CapacityUnits"

    @property
    def metric(self) -> str:
        """What is measured."""
        return f"DynamoDB{self.kind}CapacityUtilization"


def scaled(design: Design) -> Iterator[Scaled]:
    """Yield the dimensions that are to scale, where any are."""
    if design.capacity is not None and design.scale_to is not None:
        for kind, least, most in zip(
            ("Read", "Write"), design.capacity, design.scale_to, strict=True
        ):
            yield Scaled(kind, least, most)


def scale(table: str, design: Design, region: str | None, profile: str | None) -> None:
    """Have the table's capacity scaled. Cost: four requests. **Raises** StoreError, ConfigError."""
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError as missing:
        raise ConfigError("auto scaling needs botocore: pip install 'lpcm[dynamodb]'") from missing

    try:
        session = botocore.session.Session(profile=profile)
        client = session.create_client("application-autoscaling", region)
        for each in scaled(design):
            where: dict[str, Any] = {
                "ServiceNamespace": "dynamodb",
                "ResourceId": f"table/{table}",
                "ScalableDimension": each.dimension,
            }
            client.register_scalable_target(**where, MinCapacity=each.least, MaxCapacity=each.most)
            client.put_scaling_policy(
                **where,
                PolicyName=f"{table}-{each.kind.lower()}",
                PolicyType="TargetTrackingScaling",
                TargetTrackingScalingPolicyConfiguration={
                    "TargetValue": TARGET,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": each.metric},
                },
            )
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise StoreError(
            f"table {table!r} is there, and does not scale by itself: {error}"
        ) from error

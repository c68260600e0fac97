"""Templates: the table, for users who create tables with tools of their own.

Knows the notations of CloudFormation, Terraform, the CDK and the AWS command line; the form of
the table comes from ``table``. With each template the tool keeps the table when the template is
removed, for a map is data.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lpcm.stores.dynamodb.table.table import KEYS, TTL, definition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMATS", "template"]


def template(
    name: str, table: str, *, capacity: tuple[int, int] | None = None, recovery: bool = False
) -> str:
    """Return the table in a format of ``FORMATS``; see ``table.create_table``.

    >>> print(template("terraform", "users"))
    resource "aws_dynamodb_table" "lpcm" {
      name         = "users"
      billing_mode = "PAY_PER_REQUEST"
      hash_key     = "pk"
      range_key    = "sk"
    ...
    >>> template("pulumi", "users")
    Traceback (most recent call last):
        ...
    KeyError: 'pulumi'
    """
    return FORMATS[name](table, capacity, recovery)


Capacity = tuple[int, int] | None


def _json(table: str, capacity: Capacity, recovery: bool) -> str:  # noqa: FBT001  # as template
    """Return the requests, each for ``aws dynamodb ... --cli-input-json``."""
    requests: dict[str, Any] = {
        "create-table": definition(table, capacity=capacity),
        "update-time-to-live": {
            "TableName": table,
            "TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL},
        },
    }
    if recovery:
        requests["update-continuous-backups"] = {
            "TableName": table,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        }
    return json.dumps(requests, indent=2)


def _cloudformation(table: str, capacity: Capacity, recovery: bool) -> str:  # noqa: FBT001  # as template
    properties = definition(table, capacity=capacity) | {
        "TimeToLiveSpecification": {"AttributeName": TTL, "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": recovery},
    }
    resource = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }
    made = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The table of lpcm's maps",
        "Resources": {"Table": resource},
        "Outputs": {
            "TableName": {"Value": {"Ref": "Table"}},
            "TableArn": {"Value": {"Fn::GetAtt": ["Table", "Arn"]}},
        },
    }
    return json.dumps(made, indent=2)


def _terraform(table: str, capacity: Capacity, recovery: bool) -> str:  # noqa: FBT001  # as template
    (partition, _), (sort, _) = KEYS
    settings = {"name": f'"{table}"'}
    if capacity is None:
        settings["billing_mode"] = '"PAY_PER_REQUEST"'
    else:
        settings["billing_mode"] = '"PROVISIONED"'
        settings["read_capacity"], settings["write_capacity"] = map(str, capacity)
    settings |= {"hash_key": f'"{partition}"', "range_key": f'"{sort}"'}
    blocks = [_aligned(settings)]
    blocks += [_block("attribute", {"name": f'"{name}"', "type": '"S"'}) for name, _ in KEYS]
    blocks.append(_block("ttl", {"attribute_name": f'"{TTL}"', "enabled": "true"}))
    blocks.append(_block("point_in_time_recovery", {"enabled": str(recovery).lower()}))
    blocks.append(_block("lifecycle", {"prevent_destroy": "true"}))
    return 'resource "aws_dynamodb_table" "lpcm" {\n' + "\n\n".join(blocks) + "\n}"


def _aligned(settings: Mapping[str, str], indent: str = "  ") -> str:
    width = max(map(len, settings))
    return "\n".join(f"{indent}{name:{width}} = {value}" for name, value in settings.items())


def _block(name: str, settings: Mapping[str, str]) -> str:
    return f"  {name} {{\n{_aligned(settings, '    ')}\n  }}"


_CDK: Final = '''\
from aws_cdk import RemovalPolicy, aws_dynamodb as dynamodb
from constructs import Construct


class Maps(Construct):
    """The table of lpcm's maps."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.table = dynamodb.Table(
            self,
            "Table",
            table_name="{table}",
            partition_key=dynamodb.Attribute(
                name="{partition}", type=dynamodb.AttributeType.STRING
            ),
            sort_key=dynamodb.Attribute(name="{sort}", type=dynamodb.AttributeType.STRING),
            {billing},
            time_to_live_attribute="{ttl}",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled={recovery}
            ),
            removal_policy=RemovalPolicy.RETAIN,
        )'''


def _cdk(table: str, capacity: Capacity, recovery: bool) -> str:  # noqa: FBT001  # as template
    billing = "billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST"
    if capacity is not None:
        read, write = capacity
        billing = f"read_capacity={read},\n            write_capacity={write}"
    (partition, _), (sort, _) = KEYS
    return _CDK.format(
        table=table, partition=partition, sort=sort, billing=billing, ttl=TTL, recovery=recovery
    )


FORMATS: Mapping[str, Callable[[str, Capacity, bool], str]] = {
    "cdk": _cdk,
    "cloudformation": _cloudformation,
    "json": _json,
    "terraform": _terraform,
}
"""The functions that write templates; the CDK's in Python, the command line's in JSON."""

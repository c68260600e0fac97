"""Templates: the table, for users who create tables with tools of their own.

Knows the notations of CloudFormation, Terraform, the CDK and the AWS command line; the form of
the table comes from ``table``. With each template the tool keeps the table when the template is
removed, for a map is data.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lpcm.stores.dynamodb.table.design import KEYS, TTL, Design, definition
from lpcm.stores.dynamodb.table.scaling import TARGET, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FORMATS", "template"]


def template(name: str, table: str, design: Design = Design()) -> str:  # noqa: B008  # a tuple
    """Return the table in a format of ``FORMATS``. **Raises** ValueError: see ``Design.check``.

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
    return FORMATS[name](table, design.check())


def _json(table: str, design: Design) -> str:
    """Return the requests, each for ``aws dynamodb ... --cli-input-json``."""
    if design.scale_to is not None:
        raise ValueError("auto scaling is another service's: take another format for it")
    requests: dict[str, Any] = {
        "create-table": definition(table, design),
        "update-time-to-live": {
            "TableName": table,
            "TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL},
        },
    }
    if design.recovery:
        requests["update-continuous-backups"] = {
            "TableName": table,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        }
    return json.dumps(requests, indent=2)


def _cloudformation(table: str, design: Design) -> str:
    properties: dict[str, Any] = definition(table, design) | {
        "TimeToLiveSpecification": {"AttributeName": TTL, "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": design.recovery},
    }
    if encryption := properties.get("SSESpecification"):
        encryption["SSEEnabled"] = encryption.pop("Enabled")
    resource = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }
    made = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The table of lpcm's maps",
        "Resources": {"Table": resource, **_cloudformation_scaling(design)},
        "Outputs": {
            "TableName": {"Value": {"Ref": "Table"}},
            "TableArn": {"Value": {"Fn::GetAtt": ["Table", "Arn"]}},
        },
    }
    return json.dumps(made, indent=2)


def _cloudformation_scaling(design: Design) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for each in scaled(design):
        target = f"{each.kind}Target"
        made[target] = {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "Properties": {
                "ServiceNamespace": "dynamodb",
                "ResourceId": {"Fn::Sub": "table/${Table}"},
                "ScalableDimension": each.dimension,
                "MinCapacity": each.least,
                "MaxCapacity": each.most,
            },
        }
        made[f"{each.kind}Policy"] = {
            "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
            "Properties": {
                "PolicyName": f"{each.kind.lower()}-units",
                "PolicyType": "TargetTrackingScaling",
                "ScalingTargetId": {"Ref": target},
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": TARGET,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": each.metric},
                },
            },
        }
    return made


def _terraform(table: str, design: Design) -> str:
    (partition, _), (sort, _) = KEYS
    settings = {"name": _quoted(table)}
    if design.capacity is None:
        settings["billing_mode"] = '"PAY_PER_REQUEST"'
    else:
        settings["billing_mode"] = '"PROVISIONED"'
        settings["read_capacity"], settings["write_capacity"] = map(str, design.capacity)
    settings |= {"hash_key": _quoted(partition), "range_key": _quoted(sort)}
    if design.infrequent:
        settings["table_class"] = '"STANDARD_INFREQUENT_ACCESS"'
    if design.protected:
        settings["deletion_protection_enabled"] = "true"
    blocks = [_aligned(settings)]
    blocks += [_block("attribute", {"name": _quoted(name), "type": '"S"'}) for name, _ in KEYS]
    blocks.append(_block("ttl", {"attribute_name": _quoted(TTL), "enabled": "true"}))
    blocks.append(_block("point_in_time_recovery", {"enabled": str(design.recovery).lower()}))
    blocks += _terraform_choices(design)
    # What auto scaling has set is not to be set back.
    kept = {"ignore_changes": "[read_capacity, write_capacity]"} if design.scale_to else {}
    blocks.append(_block("lifecycle", {"prevent_destroy": "true", **kept}))
    made = 'resource "aws_dynamodb_table" "lpcm" {\n' + "\n\n".join(blocks) + "\n}"
    return "\n\n".join([made, *_terraform_scaling(design)])


def _terraform_choices(design: Design) -> Iterator[str]:
    if design.most is not None:
        names = ("max_read_request_units", "max_write_request_units")
        yield _block("on_demand_throughput", dict(zip(names, map(str, design.most), strict=True)))
    if design.warm is not None:
        names = ("read_units_per_second", "write_units_per_second")
        yield _block("warm_throughput", dict(zip(names, map(str, design.warm), strict=True)))
    if design.kms_key is not None:
        key = {"enabled": "true", "kms_key_arn": _quoted(design.kms_key)}
        yield _block("server_side_encryption", key)
    if design.tags:
        yield _block("tags =", {_quoted(key): _quoted(value) for key, value in design.tags})


def _terraform_scaling(design: Design) -> Iterator[str]:
    for each in scaled(design):
        name = each.kind.lower()
        target = f"aws_appautoscaling_target.{name}"
        yield _resource(
            "aws_appautoscaling_target",
            name,
            _aligned(
                {
                    "service_namespace": '"dynamodb"',
                    "resource_id": '"table/${aws_dynamodb_table.lpcm.name}"',
                    "scalable_dimension": _quoted(each.dimension),
                    "min_capacity": str(each.least),
                    "max_capacity": str(each.most),
                }
            ),
        )
        metric = _aligned({"predefined_metric_type": _quoted(each.metric)}, "      ")
        yield _resource(
            "aws_appautoscaling_policy",
            name,
            _aligned(
                {
                    "name": _quoted(f"{name}-units"),
                    "policy_type": '"TargetTrackingScaling"',
                    "service_namespace": f"{target}.service_namespace",
                    "resource_id": f"{target}.resource_id",
                    "scalable_dimension": f"{target}.scalable_dimension",
                }
            ),
            "  target_tracking_scaling_policy_configuration {\n"
            f"    target_value = {TARGET:g}\n\n"
            f"    predefined_metric_specification {{\n{metric}\n    }}\n  }}",
        )


def _resource(kind: str, name: str, *parts: str) -> str:
    return f'resource "{kind}" "{name}" {{\n' + "\n\n".join(parts) + "\n}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def _aligned(settings: Mapping[str, str], indent: str = "  ") -> str:
    width = max(map(len, settings))
    return "\n".join(f"{indent}{name:{width}} = {value}" for name, value in settings.items())


def _block(name: str, settings: Mapping[str, str]) -> str:
    return f"  {name} {{\n{_aligned(settings, '    ')}\n  }}"


_CDK: Final = '''\
from aws_cdk import {imported}
from constructs import Construct


class Maps(Construct):
    """The table of lpcm's maps."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.table = dynamodb.Table(
            self,
            "Table",
            table_name={table},
            partition_key=dynamodb.Attribute(
                name="{partition}", type=dynamodb.AttributeType.STRING
            ),
            sort_key=dynamodb.Attribute(name="{sort}", type=dynamodb.AttributeType.STRING),
{chosen}
            time_to_live_attribute="{ttl}",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled={recovery}
            ),
            removal_policy=RemovalPolicy.RETAIN,
        )'''


def _cdk(table: str, design: Design) -> str:
    (partition, _), (sort, _) = KEYS
    imported = ["RemovalPolicy", "aws_dynamodb as dynamodb"]
    if design.kms_key is not None:
        imported.append("aws_kms as kms")
    if design.tags:
        imported.insert(1, "Tags")
    made = _CDK.format(
        imported=", ".join(imported),
        table=json.dumps(table),
        partition=partition,
        sort=sort,
        chosen="\n".join(f"            {line}," for line in _cdk_choices(design)),
        ttl=TTL,
        recovery=design.recovery,
    )
    for each in scaled(design):
        made += (
            f"\n        self.table.auto_scale_{each.kind.lower()}_capacity("
            f"\n            min_capacity={each.least}, max_capacity={each.most}"
            f"\n        ).scale_on_utilization(target_utilization_percent={TARGET:g})"
        )
    for key, value in design.tags:
        made += f"\n        Tags.of(self.table).add({json.dumps(key)}, {json.dumps(value)})"
    return made


def _cdk_choices(design: Design) -> Iterator[str]:
    if design.capacity is None:
        yield "billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST"
    else:
        yield f"read_capacity={design.capacity[0]}"
        yield f"write_capacity={design.capacity[1]}"
    if design.most is not None:
        yield f"max_read_request_units={design.most[0]}"
        yield f"max_write_request_units={design.most[1]}"
    if design.warm is not None:
        read, write = design.warm
        yield (
            "warm_throughput=dynamodb.WarmThroughput("
            f"read_units_per_second={read}, write_units_per_second={write})"
        )
    if design.protected:
        yield "deletion_protection=True"
    if design.kms_key is not None:
        yield "encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED"
        key = json.dumps(design.kms_key)
        if design.kms_key.startswith("alias/"):
            yield f'encryption_key=kms.Alias.from_alias_name(self, "Key", {key})'
        else:
            yield f'encryption_key=kms.Key.from_key_arn(self, "Key", {key})'
    if design.infrequent:
        yield "table_class=dynamodb.TableClass.STANDARD_INFREQUENT_ACCESS"


FORMATS: Mapping[str, Callable[[str, Design], str]] = {
    "cdk": _cdk,
    "cloudformation": _cloudformation,
    "json": _json,
    "terraform": _terraform,
}
"""The functions that write templates; the CDK's in Python, the command line's in JSON."""

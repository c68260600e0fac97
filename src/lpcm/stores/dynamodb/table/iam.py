"""The policy: the permissions that the store needs, and no other.

Knows which of IAM's actions the store's requests need, and why; a test compares that with
the requests themselves. Sends nothing.

A policy for one map uses ``dynamodb:LeadingKeys``, the partition keys of a request. A
map's partition key ends in ``/``, so ``default/users/*`` covers the map ``users``, its shards and
the parts of its large values included, and not ``users2``. Its namespace's catalogue, the partition
``default/``, holds the map's format and the identity that cached items are named by: every client
reads it. Before its first write a map is entered there. IAM cannot distinguish rows of one
partition: a client that may enter one map may also overwrite the rows of others in the namespace,
which then refuse writes. So leave this permission out for a map that has been written before
(``registered``). The map's first value over 400 KB changes its row: a client with this permission
must store that one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ADMINISTRATION", "READS", "WRITES", "arn", "policy"]

READS: Final[dict[str, str]] = {
    "BatchGetItem": "read many entries at once: get_many, and what became of a batch; a map's and "
    "its namespace's rows in the catalogue",
    "GetItem": "read an entry, strongly consistent; what became of a write whose reply was lost",
    "Query": "walk, count, clear and purge a map, in key order; list the maps",
}
WRITES: Final[dict[str, str]] = {
    "BatchWriteItem": "write many entries at once: set_many, delete_many, clear",
    "ConditionCheckItem": "hold a transaction to entries that it does not change",
    "DeleteItem": "remove an entry, by itself or in a transaction; purge",
    "PutItem": "store an entry, by itself or in a transaction; enter a map into the catalogue",
    "UpdateItem": "increment, change a part of a value or its expiry; hand over what is removed",
}
ADMINISTRATION: Final[dict[str, str]] = {
    "CreateTable": "make the table",
    "DescribeContinuousBackups": "see whether point-in-time recovery is on",
    "DescribeTable": "see whether the table is ready, and has the right keys",
    "DescribeTimeToLive": "see whether what has expired is deleted",
    "ListTagsOfResource": "show the table's tags",
    "TagResource": "tag the table",
    "UpdateContinuousBackups": "turn point-in-time recovery on",
    "UpdateTimeToLive": "have what has expired deleted",
}

_VARIABLE = re.compile(r"[*?$]")


def arn(table: str, region: str = "*", account: str = "*") -> str:
    """Return a table's ARN, in whichever of AWS's partitions the region is.

    >>> arn("users", "eu-west-1"), arn("users", "cn-north-1", "123456789012")
    ('arn:aws:dynamodb:eu-west-1:*:table/users', 'arn:aws-cn:dynamodb:cn-north-1:123456789012:...')
    """
    if table.startswith("arn:"):
        return table
    families = {"*": "*", "cn": "aws-cn", "us-gov": "aws-us-gov"}
    family = families.get(region.rsplit("-", 2)[0], "aws")
    return f"arn:{family}:dynamodb:{region}:{account}:table/{table}"


def policy(
    resource: str,
    *,
    namespace: str | None = None,
    maps: Sequence[str] = (),
    read_only: bool = False,
    registered: bool = False,
    administration: bool = False,
) -> dict[str, Any]:
    """Return the policy for a table, or a namespace or some maps in it.

    ``registered``: the maps are in the catalogue already, and need not be entered.

    >>> made = policy(arn("lpcm"), namespace="default", maps=["users"], read_only=True)
    >>> made["Statement"][0]["Condition"]
    {'ForAllValues:StringLike': {'dynamodb:LeadingKeys': ['default/users/*']}}
    >>> made["Statement"][1]["Action"]
    ['dynamodb:BatchGetItem']
    >>> policy(arn("lpcm"), maps=["users"])
    Traceback (most recent call last):
        ...
    ValueError: a map is of a namespace
    """
    if administration:
        return _policy(_statement("Administer", sorted(ADMINISTRATION), resource))
    if maps and namespace is None:
        raise ValueError("a map is of a namespace")
    prefixes: list[str] | None = None
    if namespace is not None:
        prefixes = [partition(namespace, name) for name in maps] or [partition(namespace)]
    statements = [_statement("Read", sorted(READS), resource, prefixes)]
    if not read_only:
        statements.append(_statement("Write", sorted(WRITES), resource, prefixes))
    if namespace is not None and maps:
        catalogue = [_literal(partition(namespace))]
        entered = ["BatchGetItem", "PutItem"]
        if read_only or registered:
            entered.remove("PutItem")
        statements.append(_statement("Catalogue", entered, resource) | _leading(catalogue))
    return _policy(*statements)


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _statement(
    name: str, actions: Sequence[str], resource: str, prefixes: Sequence[str] | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "Sid": name,
        "Effect": "Allow",
        "Action": [f"dynamodb:{action}" for action in actions],
        "Resource": resource,
    }
    if prefixes is None:
        return made
    return made | _leading([f"{_literal(prefix)}*" for prefix in prefixes])


def _leading(keys: Sequence[str]) -> dict[str, Any]:
    return {"Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(keys)}}}


def _literal(text: str) -> str:
    """Return text in which IAM finds no pattern and no variable.

    >>> _literal("a*b$")
    'a${*}b${$}'
    """
    return _VARIABLE.sub(lambda found: f"${{{found[0]}}}", text)

"""Throttling: which limit a request went over, and what helps against that.

Knows DynamoDB's ``ThrottlingReasons``, and from which partition keys a request is. Sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lpcm.stores.dynamodb.http.port import Reply

__all__ = ["UNKNOWN", "advice", "limited_partitions", "partitions"]

UNKNOWN: Final = "raise the table's capacity, or send fewer requests"
"""What helps where no reason was given."""

_KEY_RANGE = "KeyRangeThroughputExceeded"
_ADVICE = {
    "ProvisionedThroughputExceeded": (
        "the table's provisioned capacity of {kind}s is used up: raise it, or make the table "
        "on-demand"
    ),
    "MaxOnDemandThroughputExceeded": (
        "the table's maximum of on-demand {kind}s, which its owner has set, is reached: raise it"
    ),
    "AccountLimitExceeded": (
        "the account's limit of {kind}s of one table in this region is reached: ask AWS for a "
        "higher quota"
    ),
}


def _reasons(reply: Reply) -> list[str]:
    found = reply.body.get("ThrottlingReasons") or ()
    return [str(each.get("reason")) for each in found]


def limited_partitions(reply: Reply, of: Iterable[str]) -> Iterable[str | None]:
    """Return the partition keys of these whose limits a request went over; None: the table's.

    A batch is throttled as a whole only where each of its parts was.
    """
    if any(_KEY_RANGE in reason for reason in _reasons(reply)):
        return dict.fromkeys(of)
    return (None,)


def advice(reply: Reply, of: Iterable[str]) -> str:
    """Return what was too much and what to do, for a throttled request of these partition keys."""
    reasons = _reasons(reply)
    kind = "read" if any("Read" in reason for reason in reasons) else "write"
    if any(_KEY_RANGE in reason for reason in reasons):
        return _hot(kind, of)
    for limit, text in _ADVICE.items():
        if any(limit in reason for reason in reasons):
            return text.format(kind=kind)
    return UNKNOWN


def _hot(kind: str, of: Iterable[str]) -> str:
    maps = ", ".join(dict.fromkeys(map(_shown, of))) or "a map"
    rate = "3,000 reads of 4 KB" if kind == "read" else "1,000 writes of 1 KB"
    ways = "put a cache in front, " if kind == "read" else ""
    return (
        f"{maps} gets more {kind}s than one partition takes, about {rate} a second, whatever the "
        f"table's capacity: {ways}copy it to a map of more shards (lpcm copy --to NAME --shards "
        "16), or send fewer requests where one key is hot"
    )


def _shown(pk: str) -> str:
    namespace, name, *_ = pk.split("/")  # and then the shard's number
    if not name:
        return f"the catalogue of namespace {unquote(namespace)!r}"
    return f"map {unquote(name)!r} of namespace {unquote(namespace)!r}"


def partitions(operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return the partition key of each part of a request, as often as it has parts."""
    match operation:
        case "BatchGetItem":
            return [
                key["pk"]["S"] for part in request["RequestItems"].values() for key in part["Keys"]
            ]
        case "BatchWriteItem":
            parts = [part for parts in request["RequestItems"].values() for part in parts]
        case "TransactWriteItems":
            parts = request["TransactItems"]
        case "Query":
            return [request["ExpressionAttributeValues"][":0"]["S"]]  # see Expressions.keys
        case _:
            parts = [{operation: request}]
    inner = [next(iter(part.values())) for part in parts]
    keys = [each.get("Item") or each.get("Key") for each in inner]
    return [key["pk"]["S"] for key in keys if key]

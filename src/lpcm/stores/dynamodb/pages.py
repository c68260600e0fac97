"""Pages: the entries of a partition in key order, and how many there are, as queries.

Knows items and expressions; the caller sends the queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import Page
from lpcm.stores.dynamodb import items
from lpcm.stores.dynamodb.expressions import Expressions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from lpcm.ports import KeyRange, Scan, Stored

    Query = Callable[[dict[str, Any]], AsyncIterator[Mapping[str, Any]]]
    """Sends a query, and yields the body of each reply until there is no more."""

__all__ = ["count", "scan"]

_MOST_ENTRIES: Final = 100_000
"""More than a page of 1 MB has, where DynamoDB ends it."""
_EVER: Final = float("-inf")
"""A time at which nothing has expired yet."""


async def scan(query: Query, map: str, wanted: Scan, now: float) -> Page:
    """Return a page."""
    keys, after, limit, reverse, values = wanted
    made = Expressions(now)
    where = made.keys(map, keys)
    if where is None or _outside(after, keys, reverse=reverse):
        return Page([], None)
    request = made.request(
        KeyConditionExpression=where,
        FilterExpression=made.unexpired(),
        ProjectionExpression=None if values else "sk, etag, x, f",
    )
    request["ScanIndexForward"] = not reverse
    request["Limit"] = limit
    if after is not None and keys.low <= after < keys.high:
        request["ExclusiveStartKey"] = items.key(map, after)
    async for body in query(request):
        page = body["Items"][:limit]
        found = [(item["sk"]["S"], _entry(item, values=values)) for item in page]
        resume = body.get("LastEvaluatedKey")
        if len(body["Items"]) > limit:
            return Page(found, found[-1][0])
        if found or resume is None:
            return Page(found, resume and resume["sk"]["S"])
        # Many expired entries in a row: do not send one request for each of them.
        request["Limit"] = min(_MOST_ENTRIES, request["Limit"] * 10)
    return Page([], None)


async def count(query: Query, map: str, keys: KeyRange, now: float) -> int:
    """Count the range."""
    made = Expressions(now)
    where = made.keys(map, keys)
    if where is None:
        return 0
    # Not COUNT, which would count entries of a later format. Other entries come as {}.
    request = made.request(
        KeyConditionExpression=where,
        FilterExpression=made.unexpired(),
        ProjectionExpression="f",
    )
    found = 0
    async for body in query(request):
        for item in filter(None, body["Items"]):
            items.check_format(item)
        found += body["Count"]
    return found


def _outside(after: str | None, keys: KeyRange, *, reverse: bool) -> bool:
    """Tell whether no key of the range is left behind ``after``."""
    if after is None:
        return False
    return after <= keys.low if reverse else after >= keys.high


def _entry(item: Mapping[str, Any], *, values: bool) -> Stored:
    if not values:
        return items.head(item)
    entry = items.entry(item, _EVER)
    assert entry is not None
    return entry

"""Batches: many keys in few requests, until no key is left unprocessed.

DynamoDB may leave a part of a batch unprocessed and return it; that part is sent again, after a
pause, within the caller's budget. Knows items and keys, and no entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from lpcm.errors import LPCMError, StoreThrottled
from lpcm.stores.dynamodb.throttling import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lpcm.stores.dynamodb.retries import Caller, Pauses

__all__ = ["READ_MOST", "WRITE_MOST", "chunks", "read", "write"]

READ_MOST: Final = 100
WRITE_MOST: Final = 25

T = TypeVar("T")


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield pieces of at most that length."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


async def read(
    caller: Caller, keys: Sequence[Mapping[str, Any]], *, consistent: bool = True
) -> list[Mapping[str, Any]]:
    """Return the existing items of at most 100 different keys, in any order.

    Cost: one BatchGetItem, one read unit for each 4 KB of each item; half where not
    ``consistent``.
    """
    found: list[Mapping[str, Any]] = []
    pauses = caller.pauses()
    left = {"Keys": list(keys), "ConsistentRead": consistent}
    while True:
        request = {"RequestItems": {caller.table: left}}
        body = (await caller.call("BatchGetItem", request, pauses)).body
        items = body.get("Responses", {}).get(caller.table, [])
        found += items
        unprocessed = body.get("UnprocessedKeys", {})
        rest = unprocessed.get(caller.table)
        if not rest:
            return found
        # A reply is full at 16 MB: a reply with items needs no pause before the next request.
        if not items:
            caller.unprocessed("BatchGetItem", unprocessed, pauses)
            if not await pauses.pause(paced=True):
                raise _throttled(caller, len(rest["Keys"]), "read")
        left = rest


async def write(caller: Caller, requests: Mapping[str, dict[str, Any]]) -> dict[str, Exception]:
    """Do at most 25 puts and deletes, by sort key; return the errors of those that were not done.

    The error of a request whose outcome is unknown is ``Unsure``. Cost: one BatchWriteItem, one
    write unit for each KB of each item.
    """
    pauses = caller.pauses()
    left = dict(requests)
    while True:
        try:
            rest = await _write_once(caller, left, pauses)
        except Exception as error:  # noqa: BLE001  # the result has the error of each key
            return dict.fromkeys(left, error)
        if not rest:
            return {}
        progress = len(rest) < len(left)
        left = {sk: left[sk] for sk in rest}
        # Where a part was done, the pace alone says when the rest may follow.
        if pauses.left() <= 0 or not (progress or await pauses.pause(paced=True)):
            return dict.fromkeys(left, _throttled(caller, len(left), "written"))


async def _write_once(
    caller: Caller, requests: Mapping[str, dict[str, Any]], pauses: Pauses
) -> list[str]:
    """Send the requests once; return the sort keys of the unprocessed requests."""
    sent = {"RequestItems": {caller.table: list(requests.values())}}
    body = (await caller.call("BatchWriteItem", sent, pauses)).body
    unprocessed = body.get("UnprocessedItems", {})
    rest = unprocessed.get(caller.table, ())
    if rest:
        caller.unprocessed("BatchWriteItem", unprocessed, pauses)
    return [_sk(request) for request in rest]


def _sk(request: Mapping[str, Any]) -> str:
    (what,) = request.values()
    sk: str = what.get("Item", what.get("Key"))["sk"]["S"]
    return sk


def _throttled(caller: Caller, count: int, what: str) -> LPCMError:
    return StoreThrottled(
        f"{caller.label}: {count} entries of a batch could not be {what} within "
        f"{caller.budget:g} s: {UNKNOWN}"
    )

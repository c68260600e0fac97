"""Registration: entering a map into the catalogue, and raising its format there.

Knows the rows (``catalogue``) and how requests are sent; the store reads a map's state.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lpcm.errors import StoreDenied, StoreUnavailable
from lpcm.stores.dynamodb import catalogue
from lpcm.stores.dynamodb.retries import Unsure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lpcm.ports import MapInfo, MapState
    from lpcm.stores.dynamodb.retries import Caller

    Describe = Callable[[str, str], Awaitable[MapState]]
    """The store's ``describe``."""

__all__ = ["raise_format", "register"]


async def register(describe: Describe, caller: Caller, namespace: str, info: MapInfo) -> MapState:
    """Enter a map, and the namespace's identity, unless they are there; return the map's state.

    Cost: one BatchGetItem; the first time also one or two PutItem, and a second BatchGetItem.
    """
    row = catalogue.enter(catalogue.row(namespace, info)) | {"TableName": caller.table}
    pauses = caller.pauses()
    while True:
        state = await describe(namespace, info.name)
        if state.identity is not None and state.info is not None:
            return state
        try:
            if state.info is None:
                await caller.call("PutItem", row)
            if state.identity is None:
                own = catalogue.enter(catalogue.new_identity(namespace))
                await caller.call("PutItem", own | {"TableName": caller.table})
        except StoreDenied:
            if state.info is None:
                raise
            return state  # a client without a cache needs no identity
        except Unsure as error:  # may be sent again: the put is conditional on no row
            if not await pauses.pause():
                raise StoreUnavailable(
                    f"{caller.label}: the map {info.name!r} could not be entered into the "
                    f"catalogue: {error}"
                ) from error


async def raise_format(
    describe: Describe, caller: Caller, namespace: str, name: str, least: int
) -> MapState:
    """Raise the format of a map that is in the catalogue; return its state there.

    Cost: one BatchGetItem; where it writes a PutItem and another BatchGetItem. **Raises**
    StoreDenied, which says what to do, for a client that may not write the map's row.
    """
    state = await describe(namespace, name)
    while state.info is not None and state.info.format < least:
        request = catalogue.raised(namespace, state.info, least)
        try:
            with suppress(Unsure):  # may be sent again: the put is conditional on the row
                await caller.call("PutItem", request | {"TableName": caller.table})
        except StoreDenied as error:
            raise StoreDenied(
                f"{error}. The map {name!r} has had no value over DynamoDB's 400 KB. Its first one "
                "changes the map's row in the catalogue, which a policy of `lpcm iam --registered` "
                "does not allow: store one such value with a policy made without --registered, "
                "then any client may store more. Nothing was written"
            ) from error
        state = await describe(namespace, name)
    return state

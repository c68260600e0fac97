"""Parts in the store: a few in each request, each in a partition of its own.

So no partition's limit slows down a value. Knows the store's port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.errors import StoreThrottled
from lpcm.ports.heads import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Op
    from lpcm.ports.heads import PartStore

__all__ = ["TOGETHER", "read_parts", "write_parts"]

TOGETHER: Final = 4
"""Parts in one call of the store: so many are in memory beside the value."""


async def read_parts(
    store: PartStore, map: str, content: str, names: Sequence[str], now: float
) -> dict[str, bytes]:
    """Return those parts that are there, by their keys. Cost: one request."""
    pks = parts(map, content, names)
    found = await store.read_spread(pks, names, now)
    return {
        name: entry.data
        for name, entry in zip(names, found, strict=True)
        if entry is not None and type(entry.data) is bytes
    }


async def write_parts(
    store: PartStore,
    map: str,
    content: str,
    writes: Sequence[tuple[str, Op]],
    now: float,
) -> Sequence[tuple[str, Op]]:
    """Do these writes of parts; return those that were throttled while others were done.

    The caller is to do those once more. So a value is stored however low the store's limit is, if
    it lets one part through in the time of a call. Cost: one request. **Raises**
    the first error of another kind; StoreThrottled where no write was done.
    """
    pks = parts(map, content, [name for name, _ in writes])
    outcomes = await store.apply_spread(pks, writes, now)
    left: list[tuple[str, Op]] = []
    for each, outcome in zip(writes, outcomes, strict=True):
        if isinstance(outcome, StoreThrottled):
            left.append(each)
        elif isinstance(outcome, Exception):
            raise outcome
    return left

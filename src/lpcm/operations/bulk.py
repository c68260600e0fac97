"""Many keys at once: read, written or removed in as few requests as the store can do.

Operations of ``operations``, which takes them for its methods. Invariant: every key and value
is encoded, and so checked, before the first is written.
"""

# ruff: noqa: SLF001  # methods of the operations, in a module of their own

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.errors import BatchError, KeyEncodingError, ValueDecodingError
from lpcm.operations.absent import absent, encodable
from lpcm.operations.damage import found_of
from lpcm.ports import Delete
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.operations.access import Access
    from lpcm.operations.entry import TTL
    from lpcm.ports import Put

__all__ = ["apply_many", "delete_many", "get_many", "known", "set_many"]


async def get_many(use: Access, keys: Iterable[Any]) -> dict[Any, Any]:
    """Return the values of those keys that are present."""
    wanted = encodable(keys)
    now = use._now()
    if now >= use._until:
        await use._look(now)
    found = await use._reads.read_many(use._map, list(wanted.values()), now)
    bare, decoded, makers = use._bare, use._decode, use._makers
    try:
        # The body of _value once more: its call is a tenth of a cached read.
        values = {
            key: data
            if bare and stored[1] is None and (data := stored[0]) is not None
            else decoded(stored[0], stored[1])
            for key, stored in zip(wanted, found, strict=True)
            if stored is not None
        }
    except ValueDecodingError:
        return await found_of(use, wanted, found)
    if makers:
        for key, value in values.items():
            if type(value) in makers:
                values[key] = use._live(key, value)
    return values


async def known(use: Access, keys: Iterable[Any]) -> set[Any]:
    """Return the keys that are present, even those whose values cannot be read."""
    wanted = encodable(keys)
    found = await use._reads.read_many(use._map, list(wanted.values()), use._now())
    return {key for key, stored in zip(wanted, found, strict=True) if stored is not None}


async def set_many(use: Access, pairs: Iterable[tuple[Any, Any]], ttl: TTL = None) -> None:
    """Store every pair, the last of equal keys winning; each key atomic by itself."""
    expires = use._expiry(ttl)
    writes = {encode(key): (key, use._put(value, expires)) for key, value in pairs}
    await apply_many(use, {sk: put for sk, (_, put) in writes.items()}, writes)


async def delete_many(use: Access, keys: Iterable[Any]) -> None:
    """Remove the entries of these keys, where there are any."""
    names: dict[str, tuple[Any, Any]] = {}
    for key in keys:
        try:
            names[encode(key)] = key, None
        except KeyEncodingError as error:
            absent(key, error)
    await apply_many(use, dict.fromkeys(names, Delete()), names)


async def apply_many(
    use: Access, writes: dict[str, Put] | dict[str, Delete], names: dict[str, tuple[Any, Any]]
) -> None:
    """Do the writes; raise BatchError with the keys, by ``names``, of those that failed."""
    if not writes:
        return
    await use._enter_catalogue()
    outcomes = await use._tier.apply_many(use._map, list(writes.items()), use._now())
    errors = {
        names[sk][0]: outcome
        for sk, outcome in zip(writes, outcomes, strict=True)
        if isinstance(outcome, Exception)
    }
    if errors:
        raise BatchError(errors)

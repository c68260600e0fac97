"""Increments of stored numbers: one request where a store does it exactly.

Operations of ``operations``, which takes them for its methods. Knows when an increment is a
store's own (``ports.Add``); all others are ``rewriting.update``. Invariant: what is left is what
Python's ``+`` makes of the number that was stored in the instant it was written.
"""

# ruff: noqa: SLF001  # methods of the operations, in a module of their own

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from lpcm.operations.entry import MISSING
from lpcm.operations.retry import etag
from lpcm.ports import Add, Applied
from lpcm.values.arithmetic import add, check_delta, negate
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.entry import TTL
    from lpcm.ports import Stored

__all__ = ["decrement", "increment", "increment_existing"]

Use: TypeAlias = Any
"""The operations on a map, ``operations.Entries``, which import this module."""


async def increment(use: Use, key: object, delta: object, ttl: TTL = None) -> Any:
    """Leave what ``m[key] + delta`` would be, from the map's default or 0.

    ``ttl`` is of an entry that this begins; one that is there keeps its expiry.
    """
    check_delta(delta)
    sk = encode(key)
    initial = use.default()
    initial = 0 if initial is MISSING else initial
    if type(delta) is int and type(initial) is int:
        outcome = await use._apply(sk, Add(delta, initial, etag(), use._expiry(ttl)))
        if isinstance(outcome, Applied):
            return use._value(cast("Stored", outcome.entry))
        current = outcome.entry
    else:
        use._expiry(ttl)  # refuses what is none
        current = await use.find(sk)
    return await use._update(key, sk, current, lambda value: add(value, delta), initial, ttl)


async def decrement(use: Use, key: object, delta: object, ttl: TTL = None) -> Any:
    """Leave what ``m[key] - delta`` would be, from the map's default or 0."""
    return await increment(use, key, negate(delta), ttl)


async def increment_existing(
    use: Use, key: object, delta: object, added: Callable[[Any], Any] | None = None
) -> Any:
    """Leave what ``m[key] + delta`` would be; else, without any default, raise KeyError.

    ``added`` makes that sum of what is stored, where it is not an int plus an int.
    """
    sk = encode(key)
    initial = use.default()
    if type(delta) is int and (initial is MISSING or type(initial) is int):
        start = None if initial is MISSING else initial
        outcome = await use._apply(sk, Add(delta, start, etag(), use._expiry(None)))
        if isinstance(outcome, Applied):
            return use._value(cast("Stored", outcome.entry))
        current = outcome.entry
    else:
        current = await use.find(sk)
    change = added or (lambda value: add(value, delta))
    return await use._update(key, sk, current, change, MISSING)

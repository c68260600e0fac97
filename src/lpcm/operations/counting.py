"""Increments of stored numbers: one request where a store does it exactly.

Operations of ``operations``, which takes them for its methods. Knows when an increment is a
store's own (``ports.Add``); all others are ``rewriting.update``. Invariant: the result is what
Python's ``+`` makes of the number that was stored in the instant of the write.
"""

# ruff: noqa: SLF001  # methods of the operations, in a module of their own

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.operations.entry import MISSING
from lpcm.operations.rewriting import check_stored, update
from lpcm.ports import Add, Applied
from lpcm.ports.etags import new_etag
from lpcm.values.arithmetic import add, check_delta, negate
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.access import Access
    from lpcm.operations.entry import TTL

__all__ = ["decrement", "increment", "increment_existing"]


async def increment(use: Access, key: object, delta: object, ttl: TTL = None) -> Any:
    """Store ``m[key] + delta``, or the map's default or 0 plus ``delta``; return the sum.

    ``ttl`` is for a new entry; one that exists keeps its expiry.
    """
    check_delta(delta)
    sk = encode(key)
    initial = use.default()
    initial = 0 if initial is MISSING else initial
    if type(delta) is int and type(initial) is int:
        outcome = await use._apply(sk, Add(delta, initial, new_etag(), use._expiry(ttl)))
        if isinstance(outcome, Applied):
            assert outcome.entry is not None, "an increment leaves an entry"
            return use._value(outcome.entry)
        current = outcome.entry
    else:
        use._expiry(ttl)  # refuses an invalid ttl
        current = await use.find(sk)
    return await update(use, key, sk, current, lambda value: add(value, delta), initial, ttl)


async def decrement(use: Access, key: object, delta: object, ttl: TTL = None) -> Any:
    """Store ``m[key] - delta``, or the map's default or 0 minus ``delta``; return it."""
    return await increment(use, key, negate(delta), ttl)


async def increment_existing(
    use: Access, key: object, delta: object, added: Callable[[Any], Any] | None = None
) -> Any:
    """Store ``m[key] + delta`` and return it; raise KeyError without an entry and a default.

    ``added`` makes the sum of the stored value, where it is not an int plus an int.
    """
    if added is not None:
        check_stored(added)
    sk = encode(key)
    initial = use.default()
    if type(delta) is int and (initial is MISSING or type(initial) is int):
        start = None if initial is MISSING else initial
        expires = None if use._ttl is None else use._expiry(None)
        # Add's own constructor takes twice as long.
        op = tuple.__new__(Add, (delta, start, new_etag(), expires))
        outcome = await use._apply(sk, op)
        if isinstance(outcome, Applied):
            assert outcome.entry is not None, "an increment leaves an entry"
            return use._value(outcome.entry)
        current = outcome.entry
    else:
        current = await use.find(sk)
    change = added or (lambda value: add(value, delta))
    return await update(use, key, sk, current, change, MISSING)

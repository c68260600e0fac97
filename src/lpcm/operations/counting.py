"""Increments of stored numbers: one request where a store does it exactly.

Operations of ``operations``, which takes them for its methods. Knows when an increment is a
store's own (``ports.Add``), and when a store may add by a function of this module, under its lock
(``ports.Rewrite``); all others are ``rewriting.update``. Invariant: the result is what Python's
``+`` makes of the number that was stored in the instant of the write.
"""

# ruff: noqa: SLF001  # methods of the operations, in a module of their own

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lpcm.operations.entry import MISSING
from lpcm.operations.rewriting import check_stored, update
from lpcm.ports import Add, Applied, Rewrite
from lpcm.ports.etags import new_etag
from lpcm.values.arithmetic import add, check_delta, negate
from lpcm.values.codec import is_number
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.access import Access
    from lpcm.operations.entry import TTL
    from lpcm.ports import Outcome, Put, Stored

__all__ = ["decrement", "increment", "increment_existing"]

_NUMBERS: Final = frozenset({int, float, Decimal})
"""The classes whose ``+`` is Python's own, and so quick: a store may add them under its lock."""


async def increment(use: Access, key: object, delta: object, ttl: TTL = None) -> Any:
    """Store ``m[key] + delta``, or the map's default or 0 plus ``delta``; return the sum.

    ``ttl`` is for a new entry; one that exists keeps its expiry.
    """
    check_delta(delta)
    sk = encode(key)
    initial = use.default()
    initial = 0 if initial is MISSING else initial
    expires, outcome = use._expiry(ttl), None
    if type(delta) is int and type(initial) is int:
        outcome = await use._apply(sk, Add(delta, initial, new_etag(), expires))
    if not isinstance(outcome, Applied):
        outcome = await _rewritten(use, sk, (delta, initial, expires), outcome)
    if isinstance(outcome, Applied):
        assert outcome.entry is not None, "an increment leaves an entry"
        return use._value(outcome.entry)
    return await update(use, key, sk, outcome, lambda value: add(value, delta), initial, ttl)


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
    initial, outcome = use.default(), None
    expires = None if use._ttl is None else use._expiry(None)
    # Not one function with increment: `m[k] += 1` is to make few calls.
    if type(delta) is int and (initial is MISSING or type(initial) is int):
        start = None if initial is MISSING else initial
        # Add's own constructor takes twice as long.
        outcome = await use._apply(sk, tuple.__new__(Add, (delta, start, new_etag(), expires)))
    if added is None and not isinstance(outcome, Applied):
        outcome = await _rewritten(use, sk, (delta, initial, expires), outcome)
    if isinstance(outcome, Applied):
        assert outcome.entry is not None, "an increment leaves an entry"
        return use._value(outcome.entry)
    change = added or (lambda value: add(value, delta))
    return await update(use, key, sk, outcome, change, MISSING)


async def _rewritten(
    use: Access, sk: str, what: tuple[object, object, float | None], outcome: Outcome | None
) -> Outcome | None:
    """Have the store do a sum that is no ``Add``, or was refused as one; else return ``outcome``.

    ``what``: the delta, the initial value, and when a new entry expires.
    """
    delta, initial, expires = what
    if not use._rewrites or type(delta) not in _NUMBERS:
        return outcome
    if initial is not MISSING and type(initial) not in _NUMBERS:
        return outcome
    if outcome is not None and (outcome.entry is None or not _is_number(outcome.entry)):
        return outcome
    return await use._apply(sk, Rewrite(partial(_summed, use, delta, initial, expires)))


def _is_number(entry: Stored) -> bool:
    return is_number(entry.data, entry.kind)


def _summed(
    use: Access, delta: object, initial: object, expires: float | None, current: Stored | None
) -> Put | None:
    """Return the put of the sum; None: ``update`` must do it, or raise what prevents it."""
    try:
        if current is None:
            return None if initial is MISSING else use._put(add(initial, delta), expires)
        if not _is_number(current):
            return None
        return use._put(add(use._value(current), delta), current.expires)
    except Exception:  # noqa: BLE001  # update meets it again, on its caller's thread, and raises it
        return None

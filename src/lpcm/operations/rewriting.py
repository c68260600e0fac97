"""Compare-and-set: values that are read, changed and written back, again after a conflict.

Operations of ``operations``, which takes them for its methods. Those of one engine that meet at a
key take turns (``system.turns``). Invariant: the written value was made of the value that was
stored in the instant of the write.
"""

# ruff: noqa: SLF001  # methods of the operations, in a module of their own

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ValueDecodingError
from lpcm.operations.damage import give_back, read_again, readable, take
from lpcm.operations.entry import MISSING
from lpcm.operations.retry import UNCHANGED
from lpcm.ports import Applied, Delete, Scan, Update, When
from lpcm.ports.etags import new_etag
from lpcm.system.backoff import shuffled
from lpcm.values.form import HEAD
from lpcm.values.functions import check_plain
from lpcm.values.keys import encode, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.access import Access
    from lpcm.operations.entry import TTL
    from lpcm.operations.retry import Retry
    from lpcm.ports import Action, KeyRange, Outcome, Step, Stored
    from lpcm.system.turns import Turn

__all__ = ["check_stored", "mutate", "peekitem", "popitem", "transform", "update"]

MOST_TO_PICK: Final = 16
"""The entries among which ``popitem`` picks: a store reads them whole, values included."""


async def mutate(
    use: Access,
    key: object,
    change: Callable[[Any], Any],
    native: tuple[tuple[Step, ...], Action] | None,
) -> tuple[Any, Any]:
    """Have the store change the value natively, or compare-and-set the one ``change`` makes.

    ``change`` mutates a copy of the value in place and may be called several times. Return the
    value after the change, and the last result of ``change``: None for a native change.
    ``UNCHANGED`` means that there is nothing to write.
    """
    sk = encode(key)
    outcome: Outcome | None = None
    if native is not None:
        outcome = await use._apply(sk, tuple.__new__(Update, (*native, new_etag())))
        if isinstance(outcome, Applied):
            assert outcome.entry is not None, "an update leaves an entry"
            return readable(use, key, outcome.entry), None
    with use._turn(sk) as turn:
        retry = use._retry(f"update of {key!r}")
        current = await _first(use, sk, outcome, retry, turn)
        while True:
            expires: float | None = None
            when: When | int = When.ABSENT
            if current is None:
                value = use.default()
            else:
                try:
                    value = use._value(current)
                except ValueDecodingError as error:
                    current = await read_again(use, key, sk, current, error)
                    continue
                expires, when = current.expires, current.etag
            if value is MISSING:
                raise KeyError(key)
            current = outcome = None  # of a large value, nothing is kept that is not needed
            result = turn.call(change, value)
            if result is UNCHANGED:
                return value, result
            put = use._put(value, use._expiry(None) if when is When.ABSENT else expires, when)
            del value
            outcome = await use._apply(sk, put)
            if isinstance(outcome, Applied):
                turn.left = outcome.entry
                retry.won(((use._map, sk),))
                return use._decode(*put.cell), result
            current = await _next(use, sk, outcome, retry, turn)


async def update(  # noqa: PLR0917  # a method's arguments, its object among them
    use: Access,
    key: object,
    sk: str,
    outcome: Outcome | None,
    fn: Callable[[Any], Any],
    fallback: object,
    ttl: TTL = None,
) -> Any:
    """Compare-and-set, first on the entry of a refusal if there was one: see ``Retry``.

    ``ttl`` is for a new entry; one that exists keeps its expiry.
    """
    with use._turn(sk) as turn:
        retry = use._retry(f"update of {key!r}")
        current = await _first(use, sk, outcome, retry, turn)
        while True:
            expires: float | None = None
            when: When | int = When.ABSENT
            if current is not None:
                try:
                    value = use._value(current)
                except ValueDecodingError as error:
                    current = await read_again(use, key, sk, current, error)
                    continue
                expires, when = current.expires, current.etag
            else:
                value = use.default() if fallback is MISSING else fallback
                if value is MISSING:
                    raise KeyError(key)
            current = outcome = None  # as in ``mutate``
            value = turn.call(fn, value)
            put = use._put(value, use._expiry(ttl) if when is When.ABSENT else expires, when)
            del value
            outcome = await use._apply(sk, put)
            if isinstance(outcome, Applied):
                turn.left = outcome.entry
                retry.won(((use._map, sk),))
                return use._decode(*put.cell)
            current = await _next(use, sk, outcome, retry, turn)


async def _first(
    use: Access, sk: str, outcome: Outcome | None, retry: Retry, turn: Turn
) -> Stored | None:
    """Return the entry for the first attempt, where ``outcome`` is what refused another way."""
    if await turn.follow():
        retry.restart()
        return turn.inherit() or await use._latest(sk)
    return await use.find(sk) if outcome is None else outcome.entry


async def _next(use: Access, sk: str, outcome: Outcome, retry: Retry, turn: Turn) -> Stored | None:
    """Return the entry for the next attempt, after one that was refused."""
    if await retry.pause(((use._map, sk),), turn):
        return turn.inherit() or await use._latest(sk)
    return outcome.entry


async def transform(
    use: Access,
    key: object,
    fn: Callable[[Any], Any],
    fallback: object = MISSING,
    ttl: TTL = None,
) -> Any:
    """Store ``fn(value)`` and return it; start again after a write in between."""
    check_stored(fn)
    sk = encode(key)
    use._expiry(ttl)  # refuses an invalid ttl
    return await update(use, key, sk, None, fn, fallback, ttl)


def check_stored(fn: object) -> None:
    """Refuse an async function where the result of a plain one is stored."""
    instead = "read with aentry(key), await, and then areplace(key, value, if_etag=...)"
    check_plain(fn, "what makes a value", instead)


async def popitem(use: Access, keys: KeyRange, *, last: bool = True) -> tuple[Any, Any]:
    """Remove the last entry in key order, or the first, and return it; else raise KeyError.

    Where others take entries at the same time: one of the last few, or first few.
    """
    retry = use._retry("popitem")
    few = 1
    while True:
        wanted = Scan(keys, limit=few, reverse=last, values=False)
        there = await use._some(use._scan, wanted)
        if not there:
            raise KeyError("popitem(): map is empty")
        # All who take the last one meet; of a few in random order most take different ones.
        for sk, found in there if few == 1 else shuffled(there):
            key = key_of(sk)
            if found.kind == HEAD:
                taken = await take(use, key, sk, await use._latest(sk))
                if taken is not None:
                    return key, await give_back(use, key, sk, taken)
                continue
            outcome = await use._apply(sk, Delete(found.etag, returning=True))
            if isinstance(outcome, Applied):
                assert outcome.previous is not None, "asked for, of an entry that was there"
                return key, await give_back(use, key, sk, outcome.previous)
            if outcome.entry is not None and outcome.entry.etag == found.etag:
                readable(use, key, outcome.entry)
        few = min(MOST_TO_PICK, few * 4)
        await retry.wait(())  # no window: the entries are gone, and the next ones are others


async def peekitem(use: Access, keys: KeyRange, *, last: bool = True) -> tuple[Any, Any]:
    """Return the last entry in key order, or the first; else raise KeyError."""
    there = await use._some(use._walk, Scan(keys, limit=1, reverse=last))
    if not there:
        raise KeyError("peekitem(): map is empty")
    ((sk, found),) = there
    key = key_of(sk)
    if found.kind == HEAD:
        entry = await use._whole(key, sk, found)
        if entry is None:  # it has gone meanwhile
            return await peekitem(use, keys, last=last)
        found = entry
    return key, use._live(key, readable(use, key, found))

"""Entries that cannot be read: their errors, and the way on for an operation that meets one.

The errors come here from where values are decoded, and leave with map and key. Knows ``Access``
and no store.

Invariants: a value that only a cache has damaged is read from the store; an entry that the
store itself has damaged is never taken for absent, never lost by a ``pop``, and hides no other
entry.
"""

# ruff: noqa: SLF001  # a part of the operations, for those that fail

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import BatchError, StoreCorrupt, ValueDecodingError
from lpcm.operations.entry import Entry
from lpcm.ports import Applied, Cell, Delete, Put, When
from lpcm.ports.etags import new_etag
from lpcm.values.form import HEAD
from lpcm.values.keys import decode, key_of
from lpcm.values.size import size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lpcm.operations.access import Access
    from lpcm.ports import Page, Stored

__all__ = [
    "MANY",
    "entries_of",
    "found_of",
    "give_back",
    "keys_of",
    "live_of",
    "read_again",
    "readable",
    "take",
    "whole",
    "wholes",
]

MANY: Final = 1000
"""A walk gives up after so many entries that cannot be read."""
ROOM: Final = 8 * 1024 * 1024
"""Bytes of large values on one page of a walk; one more that passes them is the last."""


def whole(use: Access, stored: Stored) -> Any:
    """Return the value of an entry, which must have an etag that lpcm writes."""
    if not isinstance(stored.etag, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # of others
        raise ValueDecodingError(f"not written by lpcm: its etag is {stored.etag!r}")
    return use._value(stored)


def _value(use: Access, stored: Stored) -> Any:
    return use._value(stored)


def readable(use: Access, key: object, stored: Stored) -> Any:
    """Return the value of an entry that was read from the store itself."""
    try:
        return use._value(stored)
    except ValueDecodingError as error:
        failure = use._unreadable(key, error)
        failure.etag = stored.etag
        raise failure from error


def live_of(
    use: Access, pairs: Sequence[tuple[Any, Any]], failed: dict[Any, Exception]
) -> list[tuple[Any, Any]]:
    """Return pairs with live values; put the errors of those that nest too deep aside."""
    live: list[tuple[Any, Any]] = []
    for key, value in pairs:
        try:
            live.append((key, use._live(key, value)))
        except ValueDecodingError as error:
            failed[key] = error.with_traceback(None)
    return live


async def read_again(
    use: Access, key: object, sk: str, found: Stored, error: Exception
) -> Stored | None:
    """Return the store's entry where a read, perhaps from a cache, brought an unreadable one.

    A head is no damage: its parts are read. An item that is damaged in the cache alone is emptied
    there, as if evicted (R1, second form). **Raises** ValueDecodingError if the store's entry
    cannot be read either.
    """
    if found.kind == HEAD:
        return await use._whole(key, sk, found)
    if use._coherent is None:
        raise use._unreadable(key, error) from error
    try:
        stored: Stored | None = await use._read_store(sk)
        if stored is not None:
            use._value(stored)  # if this is no better, the cache is left as it is
        (stored,) = await use._coherent.read_stored(use._map, [sk], use._now())
        if stored is not None:
            use._value(stored)
    except ValueDecodingError as other:
        raise use._unreadable(key, other) from other
    return stored


async def found_of(
    use: Access, wanted: Mapping[Any, str], found: Sequence[Stored | None]
) -> dict[Any, Any]:
    """Return the values of entries of which some cannot be read at once.

    **Raises** BatchError, with the values of the others, if some cannot be read at all.
    """
    values: dict[Any, Any] = {}
    errors: dict[Any, Exception] = {}
    for (key, sk), first in zip(wanted.items(), found, strict=True):
        stored = first
        if stored is None:
            continue
        try:
            try:
                value = use._value(stored)
            except ValueDecodingError as error:
                stored = await read_again(use, key, sk, stored, error)
                if stored is None:
                    continue
                value = use._value(stored)
        except ValueDecodingError as error:
            errors[key] = error.with_traceback(None)
        else:
            values[key] = use._live(key, value)
    if errors:
        raise BatchError(errors, values)
    return values


def keys_of(entries: Sequence[tuple[str, Stored]]) -> list[Any]:
    """Return the keys of a page, with a RawKey where the encoding is none."""
    try:
        return [decode(sk) for sk, _ in entries]
    except ValueDecodingError:
        return [key_of(sk) for sk, _ in entries]


def entries_of(
    use: Access,
    keys: Sequence[Any],
    entries: Sequence[tuple[str, Stored]],
    failed: dict[Any, Exception],
    *,
    etags: bool,
) -> list[Entry[Any]]:
    """Return the entries of a page that can be read; put the errors of the others aside."""
    readables: list[Entry[Any]] = []
    read = whole if etags else _value
    for key, (_, stored) in zip(keys, entries, strict=True):
        try:
            value = read(use, stored)
        except ValueDecodingError as error:
            failed[key] = use._unreadable(key, error.with_traceback(None))
        else:
            readables.append(Entry(key, value, stored.etag, stored.expires))
    return readables


async def wholes(
    use: Access, page: Page, failed: dict[Any, Exception]
) -> tuple[Sequence[tuple[str, Stored]], str | None]:
    """Return a page's entries and where to go on, with the values of its heads.

    The page ends where it has ``ROOM`` bytes of such values, so that no walk holds many of them.
    The errors of heads without their parts are put into ``failed``, by key.
    """
    entries: list[tuple[str, Stored]] = []
    room = ROOM
    for sk, stored in page.entries:
        if room <= 0:
            return entries, entries[-1][0]
        if stored.kind != HEAD:
            entries.append((sk, stored))
            continue
        try:
            found = await use._whole(key_of(sk), sk, stored)
        except (StoreCorrupt, ValueDecodingError) as error:
            failed[key_of(sk)] = error.with_traceback(None)
            continue
        if found is not None:
            entries.append((sk, found))
            room -= size(found.data)
    return entries, page.resume


async def take(use: Access, key: object, sk: str, found: Stored | None) -> Stored | None:
    """Remove the entry of a head and return it with its value; None where it is gone.

    The value is read first, and the head removed on condition that it is still that one: its parts
    may be swept as soon as it is gone.
    """
    retry = use._retry(f"pop of {key!r}")
    while found is not None:
        entry = await use._whole(key, sk, found) if found.kind == HEAD else found
        if entry is None:
            return None
        outcome = await use._apply(sk, Delete(entry.etag, returning=True))
        if isinstance(outcome, Applied):
            return entry
        await retry.wait(((use._map, sk),))
        found = await use._latest(sk)
    return None


async def give_back(use: Access, key: object, sk: str, gone: Stored) -> Any:
    """Return the value of an entry that was removed for the caller.

    An unreadable entry is stored again as it was, unless another write came first. **Raises**
    ValueDecodingError then.
    """
    try:
        return use._value(gone)
    except ValueDecodingError as error:
        put = Put(Cell(gone.data, gone.kind), new_etag(), gone.expires, When.ABSENT)
        await use._apply(sk, put)
        raise use._unreadable(key, error) from error

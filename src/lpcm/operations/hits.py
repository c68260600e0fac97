"""Hits in a near cache: a value without a coroutine, a thread or a statement.

What ``Entries.get`` does, where the near cache of the store has the row under a str key and the
row is current; and, for blocking callers, where one statement finds it. Whatever is out of the
ordinary is left to ``Entries.get``. Knows no store.

Invariant: what is served was the entry's value at one moment between call and return, or where the
near cache ages, at one that is not longer ago than it says; and what one reader can change of it no
other reader sees.
"""

# ruff: noqa: SLF001  # a part of Access, in a module of its own

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, Protocol

from lpcm.errors import ValueDecodingError
from lpcm.operations.entry import MISSING
from lpcm.ports.near import NOTHING, Nothing
from lpcm.system.process import same
from lpcm.values.copies import COPIES, UNCHANGING, weight
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.operations.options import MakeLive
    from lpcm.ports.near import Near, Row, Select
    from lpcm.values.codec import Codec

__all__ = ["hits"]

# How the value of a row that was read goes on:
_ONCE: Final[Any] = Nothing()  # decoded once, and kept when that is asked for again
_ANEW: Final[Any] = Nothing()  # decoded for each reader


def _copier(copy: Callable[[Any], Any]) -> MakeLive:
    return lambda value, _binding, _key: copy(value)


_PLAIN: Final = {kind: _copier(copy) for kind, copy in COPIES.items()}


class Owner(Protocol):
    """Access to the entries whose hits these are."""

    binding: Any
    codec: Codec
    _map: str
    _now: Callable[[], float]
    _until: float


def hits(
    near: Near,
    access: Owner,
    makers: Mapping[type, MakeLive],
    *,
    absent: Callable[[object, object], Any] | None,
    select: Select | None,
) -> Callable[..., Any]:
    """Return what gives the value of a key, or NOTHING where the store must be asked.

    With ``select`` the store is asked at once, without a coroutine. ``absent`` is called with the
    key and the caller's default then, if there is no entry.
    """
    partition = access._map
    binding = access.binding
    place = near.place
    now = access._now
    ages, monotonic = near.ages, near.monotonic
    copiers = {**_PLAIN, **makers}  # for a value that is kept; each makes a copy

    def hit(key: object, default: object = MISSING) -> Any:
        # One state, its row, and only then the look at the header: a write that comes meanwhile
        # has not returned yet, or has left another header.
        state = near.state
        header, young, old = state
        if type(key) is not str:
            return NOTHING
        rows = young.get(partition)
        row = None if rows is None else rows.get(key)
        if row is None or near.view.raw != header:  # a miss: ``Entries.get``'s body once more
            if select is None or absent is None or (old and key in old.get(partition, ())):
                return NOTHING
            moment = now()
            header = near.view.raw
            if not header or not same[0] or moment >= access._until or encode(key) != key:
                return NOTHING
            stored = select(partition, key, moment, state, header)
            if stored is None:
                return absent(key, default)
            data, form, _, _ = stored
            try:
                bare = form is None and data is not None
                value = data if bare else access.codec.decode(data, form)
                make = makers.get(type(value))
                return value if make is None else make(value, binding, key)
            except (ValueDecodingError, RecursionError):
                return NOTHING
        if row[0] is None or not same[0]:  # in a fork's child nothing is near any more
            return NOTHING
        moment = now()
        if (
            not place.since <= moment < place.until
            or moment >= access._until
            or (ages and row[3] <= monotonic())
        ):
            return NOTHING
        expires = row[0][3]
        if expires is not None and expires <= moment:
            return NOTHING
        value = row[1]
        kind = type(value)
        if kind is Nothing:
            value = _decoded(near, access, key, row)
            if value is NOTHING:
                return NOTHING
            kind = type(value)
        near.hits += 1
        make = copiers.get(kind)
        if make is None:
            return value
        try:
            return make(value, binding, key)
        except RecursionError:
            return NOTHING

    return hit


def _decoded(near: Near, access: Owner, key: str, row: Row) -> Any:
    """Return the value of a row; NOTHING where the row is not this key's, or cannot be read."""
    if encode(key) != key:  # then it is of a key that is no str
        return NOTHING
    (data, kind, _, _), before = row[:2]
    try:
        value = access.codec.decode(data, kind)
        if type(value) in UNCHANGING:
            row[1] = value
        elif before is NOTHING:
            row[1] = _ONCE
        elif before is _ONCE:
            size = weight(value)
            if size is None or not near.keep(row, value, size + getsizeof(data)):
                row[1] = _ANEW
    except (ValueDecodingError, RecursionError):
        return NOTHING
    return value

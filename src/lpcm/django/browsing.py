"""What the browse page shows and does: maps, pages of keys, and single entries.

Knows maps and how to write keys into addresses; nothing of requests or templates.

Invariant: looking fills no cache and writes nothing; a change is made only to the entry that
was looked at, by its etag. A map that is private (``conf.private_maps``) has no ``AdminUrl``, so
no page, search, history or form leads to it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import LPCM
from lpcm import maps as maps_of
from lpcm.administration import Records, is_cached
from lpcm.django import conf, stores
from lpcm.errors import CacheUnavailable, LPCMError
from lpcm.text import (
    check_name,
    decode_key,
    encode_key,
    foreign,
    from_json,
    printable,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Stored

__all__ = [
    "AdminUrl",
    "Listed",
    "Row",
    "Shown",
    "Whole",
    "aliases",
    "change",
    "look",
    "page",
    "remove",
    "whole",
]

PAGE = 50
_PREVIEW = 100


class AdminUrl(NamedTuple):
    """A map, or an entry of one, as an address names it."""

    alias: str
    map: str
    stored_key: str | None = None
    """The entry's encoded key."""

    @classmethod
    def of(cls, address: str) -> AdminUrl:
        """Return what ``address`` leads to. **Raises** ValueError, also for a private map."""
        alias, *tokens = address.split("/")
        try:
            words = [b64decode(token, b"-_", validate=True).decode() for token in tokens]
        except (binascii.Error, ValueError) as error:
            raise ValueError(address) from error
        if len(words) not in {1, 2} or alias not in aliases():
            raise ValueError(address)
        url = cls(alias, *words)
        check_name(url.map)
        if url.stored_key is not None and encode_key(decode_key(url.stored_key)) != url.stored_key:
            raise ValueError(address)
        if url.map in conf.private_maps(alias):
            raise ValueError(address)
        return url

    def __str__(self) -> str:
        words = (self.map,) if self.stored_key is None else (self.map, self.stored_key)
        tokens = [urlsafe_b64encode(word.encode()).decode("ascii") for word in words]
        return "/".join((self.alias, *tokens))

    @property
    def records(self) -> Records:
        """The entries of the map as they are stored."""
        return Records(self.map, using=stores[self.alias])

    @property
    def key(self) -> str:
        """The key in words."""
        return _json(decode_key(self.stored_key)) if self.stored_key is not None else ""

    def open(self) -> LPCM[Any, Any]:
        """Return the map."""
        return LPCM(self.map, using=self.alias, live=False)

    @property
    def whole_map(self) -> AdminUrl:
        """The map it is of."""
        return self._replace(stored_key=None)

    def within(self, stored_key: str) -> AdminUrl:
        """Return the address of an entry of this map."""
        return self._replace(stored_key=stored_key)


class Listed(NamedTuple):
    """The maps of one alias."""

    alias: str
    location: str
    namespace: str
    maps: Sequence[AdminUrl]
    error: str = ""
    """Why there are none to be seen."""


class Row(NamedTuple):
    """An entry of a page of keys."""

    url: AdminUrl | None
    """None where no address leads there: a key that lpcm did not write."""
    key: str
    value: str
    kind: str
    expires: datetime | str | None
    """Text where no calendar has the moment."""
    cached: str


class Whole(NamedTuple):
    """A page of keys."""

    rows: Sequence[Row]
    after: str
    """Where the next page begins; empty: this is the last one."""
    is_cached: bool
    """Whether a cache stands in front of this map."""


class Shown(NamedTuple):
    """One entry, to be looked at whole and perhaps changed."""

    url: AdminUrl
    key: str
    value: str
    kind: str
    etag: int
    expires: datetime | str | None
    """Text where no calendar has the moment."""
    left: float | None
    """Seconds until then."""
    cached: str
    problem: str = ""
    """Why the value cannot be shown."""


def aliases() -> list[str]:
    """Return the aliases of the settings, ``default`` first."""
    known = {"default": None, **dict.fromkeys(sorted(conf.aliases()))}
    return list(known)


def look() -> list[Listed]:
    """Return the maps of each alias, from its catalogue. Cost: one read for each."""
    found: list[Listed] = []
    for alias in aliases():
        try:
            private = conf.private_maps(alias)
            engine = stores[alias]
            names = maps_of(using=engine)
        except LPCMError as error:
            found.append(Listed(alias, "", "", [], str(error)))
            continue
        maps = [AdminUrl(alias, name) for name in names if name not in private]
        found.append(Listed(alias, engine.location, engine.namespace, maps))
    return found


def page(url: AdminUrl, prefix: str, after: str) -> Whole:
    """Return the keys that begin with ``prefix`` behind the one called ``after``.

    An entry that cannot be read is shown as such, among the others.

    Cost: one page of the store, and one look at the cache.
    """
    records = url.records
    found = records.page(prefix=prefix or None, after=after or None, limit=PAGE)
    cached = _cached(records, found.entries)
    rows = [
        _row(url, records, stored_key, stored, cached[stored_key])
        for stored_key, stored in found.entries
    ]
    return Whole(rows, found.resume or "", is_cached(records.engine))


def _row(url: AdminUrl, records: Records, stored_key: str, stored: Stored, cached: str) -> Row:
    text, kind, problem = _read(records, stored)
    where: AdminUrl | None = url.within(stored_key)
    try:
        key = decode_key(stored_key)
        shown = _json(key)
        where = where if encode_key(key) == stored_key else None
    except LPCMError:
        shown, where = printable(repr(stored_key)), None
    return Row(where, shown, problem or _short(text), kind, _moment(stored.expires), cached)


def _read(records: Records, stored: Stored) -> tuple[str, str, str]:
    """Return a value in words, its type, and what is wrong with it."""
    try:
        value = records.value(stored)
        return _json(value), type(value).__name__, ""
    except (LPCMError, RecursionError) as error:
        return "", "?", f"cannot be read: {error}"


def whole(url: AdminUrl) -> Shown:
    """Return one entry. Cost: one read of the store, one look at the cache. **Raises** KeyError."""
    assert url.stored_key is not None
    records, key = url.records, decode_key(url.stored_key)
    (stored,) = records.read([url.stored_key])
    if stored is None:
        raise KeyError(key)
    text, kind, problem = _read(records, stored)
    left = None if stored.expires is None else stored.expires - records.now()
    return Shown(
        url,
        _json(key),
        text,
        kind,
        stored.etag,
        _moment(stored.expires),
        left,
        _cached(records, [(url.stored_key, stored)])[url.stored_key],
        problem,
    )


def change(url: AdminUrl, text: str, etag: int, ttl: float | None) -> None:
    """Store what the JSON says, if the entry still is the one of that etag.

    **Raises** ValueError for what is no value, KeyError and Conflict.
    """
    assert url.stored_key is not None
    with foreign():
        url.open().replace(decode_key(url.stored_key), from_json(text), if_etag=etag, ttl=ttl)


def remove(url: AdminUrl) -> None:
    """Delete the entry, if it is there."""
    assert url.stored_key is not None
    url.open().delete(decode_key(url.stored_key))


# Words


def _json(value: object) -> str:
    with foreign():
        return printable(to_json(value))


def _short(text: str) -> str:
    return text if len(text) <= _PREVIEW else f"{text[:_PREVIEW]}…"


def _moment(seconds: float | None) -> datetime | str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # milliseconds for seconds, say
        return f"{seconds!r} seconds after 1970"


def _cached(records: Records, entries: Sequence[tuple[str, Stored]]) -> dict[str, str]:
    """Say of each entry whether the cache serves it, without filling it."""
    keys = [key for key, _ in entries]
    if not is_cached(records.engine):
        return dict.fromkeys(keys, "")
    try:
        served = records.cached(keys)
    except CacheUnavailable:
        return dict.fromkeys(keys, "unreachable")
    return {
        stored_key: "no"
        if stored_key not in served
        else "yes"
        if served[stored_key] == stored
        else "another value"
        for stored_key, stored in entries
    }

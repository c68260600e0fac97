"""What the browse page shows and does: maps, pages of keys, and single entries.

Knows maps; nothing of requests or templates. Where an entry is, is in ``addresses``.

Invariant: looking fills no cache and writes nothing; a change is made only to the entry that
was looked at, by its etag, and only what is not there is added. Of a value in parts a list reads
nothing, and an entry's page the first part.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import maps as maps_of
from lpcm.administration import Records, is_cached
from lpcm.django import conf, stores
from lpcm.django.addresses import AdminUrl, aliases, as_json, parse_key, search
from lpcm.errors import CacheUnavailable, LPCMError, StoreCorrupt, ValueDecodingError
from lpcm.text import decode_key, encode_key, foreign, from_json, key_of, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Stored

__all__ = [
    "Listed",
    "Row",
    "Shown",
    "Whole",
    "add",
    "change",
    "look",
    "page",
    "remove",
    "whole",
]

PAGE = 50
BEGINNING = 64 * 1024
"""Bytes of a large value, or characters of its JSON, that an entry's page shows."""
WHOLE = 400 * 1024
"""Characters of JSON that the page shows whole and offers to change: an item of DynamoDB's."""
_PREVIEW = 100


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
    before: str
    """The stored key that the page before ends at; empty: this is the first one."""
    after: str
    """The stored key that the next page begins behind; empty: this is the last one."""
    is_cached: bool
    """Whether a cache stands in front of this map."""


class Shown(NamedTuple):
    """One entry, to be looked at and perhaps changed."""

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
    form: str = ""
    """How the value is stored, where it is compressed or in parts."""
    cut: str = ""
    """How much of a large value is shown; empty: all of it."""


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


def page(url: AdminUrl, wanted: str = "", after: str = "", before: str = "") -> Whole:
    """Return the entries that a search finds behind, or else before, a stored key.

    An entry that cannot be read is shown as such, among the others.

    Cost: one page of the store, and one look at the cache; the first page of a search for a key
    that is no text one read more.
    """
    records, (prefix, exact) = url.records, search(wanted)
    if before:
        entries, more = _scan(records, prefix, before, reverse=True)
        if more:
            return _page(url, records, entries[::-1], before=more, after=entries[0][0])
        after = ""  # the first page is whole, however few entries are left before
    entries, more = _scan(records, prefix, after)
    first = entries[0][0] if after and entries else ""
    if exact is not None and not after:
        (stored,) = records.read([exact])
        entries = [*([] if stored is None else [(exact, stored)]), *entries]
    return _page(url, records, entries, before=first, after=more)


def _scan(
    records: Records, prefix: Any, after: str, *, reverse: bool = False
) -> tuple[Sequence[tuple[str, Stored]], str]:
    """Return a page's entries, and the last one's key where there are more behind."""
    at: str | None = after or None
    while True:
        found = records.page(prefix=prefix, after=at, limit=PAGE + 1, reverse=reverse)
        if len(found.entries) > PAGE:
            return found.entries[:PAGE], found.entries[PAGE - 1][0]
        if found.entries or found.resume is None:
            return found.entries, found.resume or ""
        at = found.resume  # a page of expired entries, say


def _page(
    url: AdminUrl,
    records: Records,
    entries: Sequence[tuple[str, Stored]],
    *,
    before: str,
    after: str,
) -> Whole:
    cached = _cached(records, entries)
    rows = [_row(url, records, key, stored, cached[key]) for key, stored in entries]
    return Whole(rows, before, after, is_cached(records.engine))


def _row(url: AdminUrl, records: Records, stored_key: str, stored: Stored, cached: str) -> Row:
    text, kind, problem = _read(records, stored)
    key = key_of(stored_key)
    where = url.within(stored_key) if _has_address(key, stored_key) else None
    return Row(where, as_json(key), problem or _short(text), kind, _moment(stored.expires), cached)


def _has_address(key: Any, stored_key: str | None) -> bool:
    try:
        return encode_key(decode_key(encode_key(key))) == stored_key
    except LPCMError:
        return False


def _read(records: Records, stored: Stored) -> tuple[str, str, str]:
    """Return a value in words, its type, and what is wrong with it; the size of one in parts."""
    try:
        if (found := records.in_parts(stored)) is not None:
            return records.form(stored), found.kind, ""
        value = records.value(stored)
        return as_json(value), type(value).__name__, ""
    except (LPCMError, RecursionError) as error:
        return "", "?", f"cannot be read: {error}"


def _beginning(records: Records, stored: Stored, text: str) -> tuple[str, str, str]:
    """Return what is shown of a value, how much that is, and what is wrong with it."""
    if records.in_parts(stored) is None:
        if len(text) <= WHOLE:
            return text, "", ""
        return text[:BEGINNING], f"the first {BEGINNING:,} of {len(text):,} characters", ""
    try:
        text = printable(records.beginning(stored, BEGINNING))
    except (StoreCorrupt, ValueDecodingError) as error:
        return "", "", f"cannot be read: {error}"
    return text, f"the first {BEGINNING:,} bytes", ""


def whole(url: AdminUrl) -> Shown:
    """Return one entry; of a large value, its beginning.

    Cost: one read of the store, and one more of a value in parts; one look at the cache.
    **Raises** KeyError.
    """
    assert url.stored_key is not None
    records, key = url.records, decode_key(url.stored_key)
    (stored,) = records.read([url.stored_key])
    if stored is None:
        raise KeyError(key)
    text, kind, problem = _read(records, stored)
    cut = form = ""
    if not problem:
        form = records.form(stored)
        text, cut, problem = _beginning(records, stored, text)
    left = None if stored.expires is None else stored.expires - records.now()
    return Shown(
        url,
        as_json(key),
        text,
        kind,
        stored.etag,
        _moment(stored.expires),
        left,
        _cached(records, [(url.stored_key, stored)])[url.stored_key],
        problem,
        form,
        cut,
    )


def change(url: AdminUrl, text: str, etag: int, ttl: float | None) -> None:
    """Store what the JSON says, if the entry still is the one of that etag.

    **Raises** ValueError for what is no value, KeyError and Conflict.
    """
    assert url.stored_key is not None
    with foreign():
        url.open().replace(decode_key(url.stored_key), from_json(text), if_etag=etag, ttl=ttl)


def add(url: AdminUrl, key: str, text: str, ttl: float | None) -> AdminUrl | None:
    """Store what the JSON says under a key that is not there; return where, None: it is there.

    **Raises** ValueError for what is no key or no value.
    """
    with foreign():
        named = parse_key(key)
        where = url.within(encode_key(named))
        if not _has_address(named, where.stored_key):
            raise ValueError(f"No map writes the key {as_json(named)}.")
        added = url.open().add(named, from_json(text), ttl=ttl)
    return where if added else None


def remove(url: AdminUrl) -> None:
    """Delete the entry, if it is there."""
    assert url.stored_key is not None
    url.open().delete(decode_key(url.stored_key))


# Words


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

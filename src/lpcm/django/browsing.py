"""What the browse page shows and does: maps, pages of keys, and single entries.

Knows maps and how to write keys into addresses; nothing of requests or templates.

Invariant: looking fills no cache and writes nothing; a change is made only to the entry that
was looked at, by its etag. A map that is private (``conf.private_maps``) has no ``Place``, so
no page, search, history or form leads to it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import LPCM
from lpcm.django import conf, stores
from lpcm.engine.drive import run
from lpcm.errors import LPCMError
from lpcm.map.views import span
from lpcm.ports import CacheLost
from lpcm.values.json_text import from_json, printable, to_json
from lpcm.values.keys import decode, encode, partition
from lpcm.values.registry import foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm import Engine
    from lpcm.ports import Stored

__all__ = [
    "Listed",
    "Place",
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


class Place(NamedTuple):
    """A map, or an entry of one, as an address names it."""

    alias: str
    map: str
    sk: str | None = None
    """The entry's encoded key."""

    @classmethod
    def of(cls, address: str) -> Place:
        """Return what ``address`` leads to. **Raises** ValueError, also for a private map."""
        alias, *tokens = address.split("/")
        try:
            words = [b64decode(token, b"-_", validate=True).decode() for token in tokens]
        except (binascii.Error, ValueError) as error:
            raise ValueError(address) from error
        if len(words) not in {1, 2} or alias not in aliases():
            raise ValueError(address)
        place = cls(alias, *words)
        partition("default", place.map)  # refuses what is no map's name
        if place.sk is not None and encode(decode(place.sk)) != place.sk:
            raise ValueError(address)
        if place.map in conf.private_maps(alias):
            raise ValueError(address)
        return place

    def __str__(self) -> str:
        words = (self.map,) if self.sk is None else (self.map, self.sk)
        tokens = [urlsafe_b64encode(word.encode()).decode("ascii") for word in words]
        return "/".join((self.alias, *tokens))

    @property
    def engine(self) -> Engine:
        """Where it is."""
        return stores[self.alias]

    @property
    def key(self) -> str:
        """The key in words."""
        return _json(decode(self.sk)) if self.sk is not None else ""

    def open(self) -> LPCM[Any, Any]:
        """Return the map."""
        return LPCM(self.map, using=self.alias, live=False)

    @property
    def whole_map(self) -> Place:
        """The map it is of."""
        return self._replace(sk=None)

    def within(self, sk: str) -> Place:
        """Return the place of an entry of this map."""
        return self._replace(sk=sk)


class Listed(NamedTuple):
    """The maps of one alias."""

    alias: str
    location: str
    namespace: str
    maps: Sequence[Place]
    error: str = ""
    """Why there are none to be seen."""


class Row(NamedTuple):
    """An entry of a page of keys."""

    place: Place | None
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

    place: Place
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
            infos = run(engine.store.maps(engine.namespace))
        except LPCMError as error:
            found.append(Listed(alias, "", "", [], str(error)))
            continue
        maps = [Place(alias, info.name) for info in infos if info.name not in private]
        found.append(Listed(alias, engine.location, engine.namespace, maps))
    return found


def page(place: Place, prefix: str, after: str) -> Whole:
    """Return the keys that begin with ``prefix`` behind the one called ``after``.

    An entry that cannot be read is shown as such, among the others.

    Cost: one page of the store, and one look at the cache.
    """
    engine = place.engine
    keys = span(prefix or None, None, None, reverse=False).keys
    pk, now = engine.partition(place.map), engine.stack.clock.now()
    found = run(engine.store.scan(pk, keys, now, after=after or None, limit=PAGE))
    cached = _cached(place, found.entries)
    rows = [_row(place, sk, stored, cached[sk]) for sk, stored in found.entries]
    return Whole(rows, found.resume or "", engine.stack.coherent is not None)


def _row(place: Place, sk: str, stored: Stored, cached: str) -> Row:
    text, kind, problem = _read(place.engine, stored)
    where: Place | None = place.within(sk)
    try:
        key = decode(sk)
        shown = _json(key)
        where = where if encode(key) == sk else None
    except LPCMError:
        shown, where = printable(repr(sk)), None
    return Row(where, shown, problem or _short(text), kind, _moment(stored.expires), cached)


def _read(engine: Engine, stored: Stored) -> tuple[str, str, str]:
    """Return a value in words, its type, and what is wrong with it."""
    try:
        with foreign():
            value = engine.codec.decode(stored.data, stored.kind)
        return _json(value), type(value).__name__, ""
    except (LPCMError, RecursionError) as error:
        return "", "?", f"cannot be read: {error}"


def whole(place: Place) -> Shown:
    """Return one entry. Cost: one read of the store, one look at the cache. **Raises** KeyError."""
    assert place.sk is not None
    engine, key = place.engine, decode(place.sk)
    stored = run(engine.store.read(engine.partition(place.map), place.sk, engine.stack.clock.now()))
    if stored is None:
        raise KeyError(key)
    text, kind, problem = _read(engine, stored)
    left = None if stored.expires is None else stored.expires - engine.stack.clock.now()
    return Shown(
        place,
        _json(key),
        text,
        kind,
        stored.etag,
        _moment(stored.expires),
        left,
        _compared(engine, place, stored),
        problem,
    )


def change(place: Place, text: str, etag: int, ttl: float | None) -> None:
    """Store what the JSON says, if the entry still is the one of that etag.

    **Raises** ValueError for what is no value, KeyError and Conflict.
    """
    assert place.sk is not None
    with foreign():
        place.open().replace(decode(place.sk), from_json(text), if_etag=etag, ttl=ttl)


def remove(place: Place) -> None:
    """Delete the entry, if it is there."""
    assert place.sk is not None
    place.open().delete(decode(place.sk))


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


def _cached(place: Place, entries: Sequence[tuple[str, Stored]]) -> dict[str, str]:
    """Say of each entry whether the cache serves it, without filling it."""
    coherent = place.engine.stack.coherent
    if coherent is None:
        return dict.fromkeys((sk for sk, _ in entries), "")
    sks = [sk for sk, _ in entries]
    try:
        served = run(coherent.cached(place.engine.partition(place.map), sks))
    except CacheLost:
        return dict.fromkeys(sks, "unreachable")
    words: dict[str, str] = {}
    for sk, stored in entries:
        item = served.get(sk)
        same = item is not None and item.etag == stored.etag
        words[sk] = "no" if sk not in served else "yes" if same else "another value"
    return words


def _compared(engine: Engine, place: Place, stored: Any) -> str:
    if engine.stack.coherent is None or place.sk is None:
        return ""
    try:
        served = run(engine.stack.coherent.cached(engine.partition(place.map), [place.sk]))
    except CacheLost:
        return "unreachable"
    if place.sk not in served:
        return "no"
    return "yes" if served[place.sk] == stored else "another value"

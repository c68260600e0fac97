"""Copying: a map's entries from one store to another, with their types and expiries.

Knows maps and their records; nothing of command lines. Values go through the codec, so each
store holds them in its own form; those of registered classes pass as they are stored. Etags are
new.

How far a copy got stands in the destination, in a namespace of its own that is dropped
when the copy is complete. Invariant: an entry that is in none of the parts that are left has been
stored, or is counted among the failures of the run that got so far; storing it again changes
nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import LPCM, BatchError, Entry, maps
from lpcm.administration import (
    MapNotFound,
    Records,
    check_exists,
    drop,
    find_map,
    open_engine,
    same_store,
)
from lpcm.cli.spreading import bounds, interleave, spreads
from lpcm.config import find
from lpcm.errors import ValueEncodingError
from lpcm.text import encode_key, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Copy", "Done", "Progress"]

PAGE = 1000
_WIDTH = 4
_SOON = 1.0
"""Seconds before its end in which an entry need not be found any more."""


class Part(NamedTuple):
    """The entries of a map behind one key up to another, by their stored keys."""

    after: str | None = None
    """None: from the first on."""
    last: str | None = None
    """None: to the end."""


class Progress(NamedTuple):
    """How far a map's copy got."""

    parts: Sequence[Sequence[str | None]] | None = None
    """What is left, each a ``Part``; None: nobody has cut the map yet."""
    copied: int = 0
    done: bool = False
    began: float = 0.0
    """Epoch seconds at which the first run began."""


@dataclass
class Done:
    """What became of one map."""

    copied: int = 0
    """Entries stored by this run."""
    resumed: int = 0
    """Entries that earlier runs had stored."""
    repaired: int = 0
    """Entries that were found missing or different afterwards, and stored once more."""
    extra: int = 0
    """Entries of the destination that the source has not."""
    failed: dict[Any, str] = field(default_factory=dict)
    """Keys that could not be copied, or still differ, and why."""


class Copy:
    """All that is copied from one URL to another.

    ``to``: the name of the map there, where one map is copied. ``shards``: the number of
    partitions of a map that is not there yet; None: as in the source.

    **Raises** StoreMissing where the source is no file, ConfigError for what is no URL.
    """

    def __init__(
        self, source: str, destination: str, *, to: str | None = None, shards: int | None = None
    ) -> None:
        self._urls = source, destination
        self._name, self._shards = to, shards
        # Else a misspelt source would be made, empty, and copied with success.
        check_exists(find(url=source), "nothing to copy")
        self._from, self._to = open_engine(url=source), open_engine(url=destination)
        origin = f"{self._from.store.identity}\0{self._from.namespace}"
        self._own = f"{self._to.namespace}.copying.{sha256(origin.encode()).hexdigest()[:16]}"
        self._noted = Records("maps", using=self._to, namespace=self._own)
        self._spreads = spreads(self._to)
        self._stopped = Event()
        self._paced = Lock()
        self._begun = 0.0
        self._read = 0

    @property
    def width(self) -> int:
        """How many maps are to be copied at once."""
        return _WIDTH if self._spreads else 1

    @property
    def circular(self) -> bool:
        """Whether both URLs lead to one store."""
        return same_store(self._from, self._to)

    def names(self, named: Sequence[str] = ()) -> list[str]:
        """Return the maps to copy: these, each once, or all of the source's.

        **Raises** MapNotFound.
        """
        if not named:
            return maps(using=self._from)
        for name in named:
            if find_map(self._from, name) is None:
                raise MapNotFound(name)
        return list(dict.fromkeys(named))

    def count(self, names: Sequence[str]) -> int | None:
        """Return how many entries there are to copy; None where that would cost a read of all."""
        if spreads(self._from):
            return None
        return sum(len(LPCM(name, url=self._urls[0])) for name in names)

    # How far it got

    def progress(self, name: str) -> Progress:
        """Return how far earlier runs got with a map."""
        (stored,) = self._noted.read([self._row(name)])
        return Progress() if stored is None else Progress(**self._noted.value(stored))

    def _note(self, name: str, progress: Progress) -> None:
        self._noted.restore([Entry(self._row(name), progress._asdict(), 0, None)])

    def _row(self, name: str) -> str:
        text = name if self._name is None else f"{name}\0{self._name}"
        return sha256(text.encode()).hexdigest()

    def forget(self) -> None:
        """Remove what is noted of how far it got."""
        drop(self._to, self._own)

    # Copying

    def copy(self, name: str, advance: Callable[[int], None], *, rate: float | None = None) -> Done:
        """Store a map's entries in the destination, from where an earlier run stopped.

        ``rate``: entries a second, at most, of all maps that are copied at once. Into DynamoDB the
        entries of distant parts of the map take turns: see ``spreading``.
        """
        done = Done()
        noted = self.progress(name)
        done.resumed = noted.copied
        advance(noted.copied)
        if noted.done:
            return done
        noted = noted._replace(began=noted.began or time.time())
        source, destination = self._records(name)
        parts = self._cut(source) if noted.parts is None else [Part(*each) for each in noted.parts]
        while not (noted.done or self._stopped.is_set()):
            page, unread, parts = _page(source, parts)
            done.failed |= {key: str(error) for key, error in unread.items()}
            done.failed |= _restore(destination, page)
            copied = noted.copied + len(page)
            left = [list(part) for part in parts]
            noted = noted._replace(parts=left, copied=copied, done=not parts)
            self._note(name, noted)
            done.copied += len(page)
            advance(len(page))
            if rate is not None:
                self._pause(len(page), rate)
        return done

    def stop(self) -> None:
        """Have all ``copy`` that go on elsewhere end after the page in hand."""
        self._stopped.set()

    def _cut(self, source: Records) -> list[Part]:
        """Return the parts of a map; one, where that would cost a read of all."""
        keys: list[str] = []
        if self._spreads and not spreads(self._from):
            keys = bounds(source)
        return [Part(*each) for each in pairwise([None, *keys, None])]

    def _pause(self, count: int, rate: float) -> None:
        with self._paced:
            now = time.monotonic()
            self._begun = self._begun or now
            self._read += count
            due = self._begun + self._read / rate
        self._stopped.wait(max(0.0, due - now))

    def verify(self, name: str, done: Done, advance: Callable[[int], None]) -> None:
        """Compare both maps, entry by entry; store once more what differs, and look again."""
        source, destination = self._records(name)
        differing: list[Any] = []
        seen = 0
        for one, other in _side_by_side(_walk(source), _walk(destination)):
            if one is None:
                done.extra += 1
                continue
            seen += 1
            if seen % PAGE == 0:  # to show each one would take longer than to compare it
                advance(PAGE)
            if _same(one, other):
                done.failed.pop(one.key, None)  # its outcome was unknown, and now it is known
            else:
                differing.append(one.key)
            if len(differing) == PAGE:
                _repair(source, destination, differing, done)
                differing.clear()
        advance(seen % PAGE)
        _repair(source, destination, differing, done)

    def _records(self, name: str) -> tuple[Records, Records]:
        source, destination = self._urls
        to = self._name or name
        shards = self._shards
        if shards is None and find_map(self._to, to) is None:
            there = find_map(self._from, name)
            shards = there and there.shards
        return Records(name, url=source), Records(to, url=destination, shards=shards)


def _page(
    source: Records, parts: Sequence[Part]
) -> tuple[Sequence[Entry[Any]], dict[Any, Exception], list[Part]]:
    """Return the next entries of all parts, those that cannot be read, and what is left."""
    runs: list[Sequence[Entry[Any]]] = []
    failed: dict[Any, Exception] = {}
    left: list[Part] = []
    for after, last in parts:
        run, unread, resume = source.entries(after=after, limit=-(-PAGE // len(parts)))
        failed |= unread
        if last is not None:
            run = [entry for entry in run if encode_key(entry.key) <= last]
        runs.append(run)
        # A page's last key is where to go on, and None at the end.
        if resume is not None and (last is None or resume < last):
            left.append(Part(resume, last))
    return interleave(runs), failed, left


def _restore(destination: Records, entries: Sequence[Entry[Any]]) -> dict[Any, str]:
    """Store entries; return why each of those that could not be stored was not."""
    try:
        destination.restore(entries)
    except BatchError as batch:
        return {key: str(error) for key, error in batch.errors.items()}
    except ValueEncodingError as error:
        if len(entries) == 1:
            return {entries[0].key: str(error)}
        # One value that this store cannot hold: find it, and store the others.
        return {
            key: why for entry in entries for key, why in _restore(destination, [entry]).items()
        }
    return {}


def _repair(source: Records, destination: Records, keys: Sequence[Any], done: Done) -> None:
    """Store what the source has now under these keys; see that it is there."""
    for key in keys:
        entry = _entry(source, key)
        if entry is None or _same(entry, _entry(destination, key)):
            continue  # it changed, ended or arrived meanwhile
        failed = _restore(destination, [entry])
        now = _entry(source, key)
        if not failed and now is not None and not _same(now, _entry(destination, key)):
            failed = {key: "differs from the source's, though it was stored just now"}
        done.failed |= failed
        if not failed:
            done.failed.pop(key, None)
            done.repaired += 1


def _entry(records: Records, key: Any) -> Entry[Any] | None:
    try:
        return records.entry(key)
    except KeyError:
        return None


def _walk(records: Records) -> Iterator[Entry[Any]]:
    for page in records.pages(limit=PAGE):
        # An entry that cannot be read differs from the destination's, and is reported already.
        yield from page.entries


def _side_by_side(
    ones: Iterator[Entry[Any]], others: Iterator[Entry[Any]]
) -> Iterator[tuple[Entry[Any] | None, Entry[Any] | None]]:
    """Yield the entries of both with equal keys together, in key order."""
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        left = None if one is None else encode_key(one.key)
        right = None if other is None else encode_key(other.key)
        first = right is None or (left is not None and left <= right)
        second = left is None or (right is not None and right <= left)
        yield one if first else None, other if second else None
        if first:
            one = next(ones, None)
        if second:
            other = next(others, None)


def _same(one: Entry[Any], other: Entry[Any] | None) -> bool:
    """Tell whether both are equal, with every type in them, or the first is about to end."""
    if one.expires is not None and one.expires <= time.time() + _SOON:
        return True
    return (
        other is not None
        and one.expires == other.expires
        and to_json(one.value) == to_json(other.value)
    )

"""Copying: a map's entries from one store to another, with their types and expiries.

Knows engines and maps; nothing of command lines. Values go through the codec, so each
store holds them in its own form; those of registered classes pass as they are stored, for
whoever copies under ``foreign``. Etags are new.

How far a copy got stands in the destination, in a namespace of its own that is dropped
when the copy is complete. Invariant: an entry before that point has been stored or is
counted among the failures of the run that got so far; storing it again changes nothing.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import LPCM, BatchError
from lpcm.engine import config
from lpcm.engine.aliases import resolve
from lpcm.engine.drive import run
from lpcm.errors import StoreMissing, ValueEncodingError
from lpcm.ports import KeyRange, MapInfo, Put
from lpcm.values.json_text import to_json
from lpcm.values.keys import encode, partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lpcm import Entry

__all__ = ["Copy", "Done", "Progress"]

PAGE = 1000
_SOON = 1.0
"""Seconds before its end in which an entry need not be found any more."""


class Progress(NamedTuple):
    """How far a map's copy got."""

    after: str | None = None
    """The encoded key of the last entry that was dealt with."""
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

    **Raises** StoreMissing where the source is no file, ConfigError for what is no URL.
    """

    def __init__(self, source: str, destination: str) -> None:
        self._urls = source, destination
        settings = config.parse_again(source)
        scratch = "LPCM_SCRATCH" in os.environ  # then another file stands for this one
        if settings.scheme == "sqlite" and not scratch and not Path(settings.path).exists():
            # Else a misspelt source would be made, empty, and copied with success.
            raise StoreMissing(f"{settings.location} is not there: nothing to copy")
        self._from, self._to = resolve("default", source), resolve("default", destination)
        place = f"{self._from.store.identity}\0{self._from.namespace}"
        self._own = f"{self._to.namespace}.copying.{sha256(place.encode()).hexdigest()[:16]}"
        self._noted = partition(self._own, "maps")

    @property
    def circular(self) -> bool:
        """Whether both URLs lead to one store."""
        return self._from.store.identity == self._to.store.identity

    def names(self) -> list[str]:
        """Return the maps of the source."""
        found = run(self._from.store.maps(self._from.namespace))
        return [info.name for info in found]

    def count(self, name: str) -> int | None:
        """Return how many entries there are to copy; None where that would cost a read of all."""
        if self._from.location.startswith("dynamodb:"):
            return None
        return len(LPCM(name, url=self._urls[0]))

    # How far it got

    def progress(self, name: str) -> Progress:
        """Return how far earlier runs got with a map."""
        stored = run(self._to.store.read(self._noted, _row(name), time.time()))
        if stored is None:
            return Progress()
        return Progress(**self._to.codec.decode(stored.data, stored.kind))

    def _note(self, name: str, progress: Progress) -> None:
        cell = self._to.codec.encode(progress._asdict())
        put = Put(cell, time.time_ns())
        run(self._to.store.apply(self._noted, _row(name), put, time.time()))

    def forget(self) -> None:
        """Remove what is noted of how far it got."""
        run(self._to.store.drop(self._own))

    # Copying

    def copy(self, name: str, advance: Callable[[int], None], *, rate: float | None = None) -> Done:
        """Store a map's entries in the destination, from where an earlier run stopped.

        ``rate``: entries a second, at most.
        """
        done = Done()
        noted = self.progress(name)
        done.resumed = noted.copied
        advance(noted.copied)
        if noted.done:
            return done
        run(self._to.store.register(self._own, MapInfo("maps")))
        noted = noted._replace(began=noted.began or time.time())
        source, destination = self._maps(name)
        began = time.monotonic()
        while not noted.done:
            # The page's last key is where to go on, and None at the end.
            unread: dict[Any, Exception] = {}
            page, after = run(
                source._use().entries(KeyRange(), noted.after, unread, limit=PAGE)  # noqa: SLF001  # a face of the map
            )
            done.failed |= {key: str(error) for key, error in unread.items()}
            done.failed |= _restore(destination, page)
            copied = noted.copied + len(page)
            noted = noted._replace(after=after, copied=copied, done=after is None)
            self._note(name, noted)
            done.copied += len(page)
            advance(len(page))
            if rate is not None:
                time.sleep(max(0.0, done.copied / rate - (time.monotonic() - began)))
        return done

    def verify(self, name: str, done: Done, advance: Callable[[int], None]) -> None:
        """Compare both maps, entry by entry; store once more what differs, and look again."""
        source, destination = self._maps(name)
        differing: list[Entry[Any]] = []
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
                differing.append(one)
            if len(differing) == PAGE:
                _repair(source, destination, differing, done)
                differing.clear()
        advance(seen % PAGE)
        _repair(source, destination, differing, done)

    def _maps(self, name: str) -> tuple[LPCM[Any, Any], LPCM[Any, Any]]:
        return LPCM(name, url=self._urls[0]), LPCM(name, url=self._urls[1])


def _row(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def _restore(destination: LPCM[Any, Any], entries: list[Entry[Any]]) -> dict[Any, str]:
    """Store entries; return why each of those that could not be stored was not."""
    entries_of = destination._use()  # noqa: SLF001  # a face of the map
    try:
        run(entries_of.restore(entries))
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


def _repair(
    source: LPCM[Any, Any], destination: LPCM[Any, Any], entries: list[Entry[Any]], done: Done
) -> None:
    """Store what the source has now under the keys of these entries; see that it is there."""
    for old in entries:
        entry = _entry(source, old.key)
        if entry is None or _same(entry, _entry(destination, old.key)):
            continue  # it changed, ended or arrived meanwhile
        failed = _restore(destination, [entry])
        now = _entry(source, old.key)
        if not failed and now is not None and not _same(now, _entry(destination, old.key)):
            failed = {old.key: "differs from the source's, though it was stored just now"}
        done.failed |= failed
        if not failed:
            done.failed.pop(old.key, None)
            done.repaired += 1


def _entry(map: LPCM[Any, Any], key: Any) -> Entry[Any] | None:
    try:
        return map.entry(key)
    except KeyError:
        return None


def _walk(map: LPCM[Any, Any]) -> Iterator[Entry[Any]]:
    after: str | None = None
    while True:
        # What cannot be read differs from whatever is on the other side, and was told already.
        page, after = run(map._use().entries(KeyRange(), after, {}, limit=PAGE))  # noqa: SLF001  # as above
        yield from page
        if after is None:
            return


def _side_by_side(
    ones: Iterator[Entry[Any]], others: Iterator[Entry[Any]]
) -> Iterator[tuple[Entry[Any] | None, Entry[Any] | None]]:
    """Yield the entries of both with equal keys together, in key order."""
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        left = None if one is None else encode(one.key)
        right = None if other is None else encode(other.key)
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

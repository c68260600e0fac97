"""Merge: one page in key order, of pages of the shards of a map.

Decides which shards to read, from where, and how much of each. Knows pages, and sends nothing. A
page ends at about a megabyte, as that of one shard does.

Keys are spread evenly, whatever they are, so of the next n entries each of k shards has about n/k.
The first round asks each shard for that, and one standard deviation more; further rounds ask only
the shards that had more than that. So about an eighth of what is read is not returned, but
read again for the next page: each page begins anew, for ``after`` is a plain key. Where a shard
has a few entries only, one more of them costs less than another round: two deviations.

Invariant: no entry is returned behind which (in the direction of travel) a shard may have one that
was not read. ``_frontier`` is the last key up to which all shards have been read.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from lpcm.ports import Page
from lpcm.values.size import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Scan, Stored

__all__ = ["PAGE", "Merge"]

PAGE: Final = 1_000_000
"""Bytes of values in a page, about."""

_ROUNDS: Final = 4
"""After so many a page may be shorter than asked for: much of what was read had expired."""
_FEW: Final = 16
_key = itemgetter(0)


class Merge:
    """The pages of all shards, while they are read.

    >>> from lpcm.ports import Scan
    >>> merge = Merge(Scan(limit=2, values=False), ["m/", "m/1/"])
    >>> [(pk, scan.limit) for pk, scan in merge.next()]
    [('m/', 2), ('m/1/', 2)]
    >>> merge.take([Page([("a", 1), ("d", 4)], "d"), Page([("b", 2)], None)])
    >>> merge.next(), merge.page()
    ([], Page(entries=[('a', 1), ('b', 2)], resume='b'))
    """

    def __init__(self, wanted: Scan, pks: Sequence[str]) -> None:
        self._wanted = wanted
        self._entries: list[tuple[str, Stored]] = []
        self._reached: dict[str, str | None] = dict.fromkeys(pks, wanted.after)
        """How far each shard has been read that may have more entries."""
        self._asked: Sequence[tuple[str, Scan]] = ()
        self._rounds = 0
        self.mean = 0.0
        """Bytes of the value of an entry of the page."""

    def next(self) -> Sequence[tuple[str, Scan]]:
        """Return what to ask the shards for, by partition; nothing: the page is complete."""
        if not self._rounds:
            behind, missing = list(self._reached), self._wanted.limit
        else:
            ready = self._ready()
            missing = self._most(ready) - len(ready)
            behind = self._behind() if missing > 0 else []
            if self._rounds >= _ROUNDS and ready:
                behind = []
        if not behind:
            return []
        mean = missing / len(self._reached)  # those that are not asked have theirs at hand
        deviations = 2 if mean < _FEW else 1
        limit = min(missing, math.ceil(mean + deviations * math.sqrt(mean)))
        self._rounds += 1
        self._asked = [
            (pk, self._wanted._replace(after=self._reached[pk], limit=limit)) for pk in behind
        ]
        return self._asked

    def take(self, pages: Sequence[Page]) -> None:
        """Take what was asked for last, in that order."""
        for (pk, _), (entries, resume) in zip(self._asked, pages, strict=True):
            self._entries += entries
            if resume is None:
                del self._reached[pk]
            else:
                self._reached[pk] = resume
        self._entries.sort(key=_key, reverse=self._wanted.reverse)

    def page(self) -> Page:
        """Return the entries up to which every shard has been read."""
        ready = self._ready()
        limit = self._most(ready)
        if len(ready) > limit or (len(ready) == limit and self._reached):
            return Page(ready[:limit], ready[limit - 1][0])
        return Page(ready, self._frontier() if self._reached else None)

    def _most(self, ready: Sequence[tuple[str, Stored]]) -> int:
        """Return how many entries the page may have, and note how large they are."""
        limit, bytes_ = self._wanted.limit, 0
        if self._wanted.values:
            for count, (_, stored) in enumerate(ready[:limit], 1):
                bytes_ += size(stored.data)
                self.mean = bytes_ / count
                if bytes_ >= PAGE:
                    return count
        return limit

    def _frontier(self) -> str:
        reached = [key for key in self._reached.values() if key is not None]
        return max(reached) if self._wanted.reverse else min(reached)

    def _ready(self) -> Sequence[tuple[str, Stored]]:
        if not self._reached:
            return self._entries
        frontier = self._frontier()
        if self._wanted.reverse:
            return [each for each in self._entries if each[0] >= frontier]
        return [each for each in self._entries if each[0] <= frontier]

    def _behind(self) -> list[str]:
        """Return the shards that may have entries of this page that were not read."""
        limit = self._wanted.limit
        if len(self._entries) < limit:
            return list(self._reached)
        end = self._entries[limit - 1][0]
        if self._wanted.reverse:
            return [pk for pk, key in self._reached.items() if key is None or key > end]
        return [pk for pk, key in self._reached.items() if key is None or key < end]

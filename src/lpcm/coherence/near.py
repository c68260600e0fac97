"""The near cache of a network store: entries in this process, served while they are young.

No store of a network tells for nothing whether an entry is current, as the log of SQLite does. So
an entry is served for ``max_stale`` seconds at most, by the monotonic clock, from the moment
*before* the request was sent that found it so. Knows tiers, no adapter.

- **Hit**: ``operations.hits`` and ``read_kept``, for ``m[key]`` and ``get``. All else that a map
  asks goes to the tier behind, and is as current as without: what is a condition, or becomes one.
- **Settle**: what an operation learns of an entry replaces what is kept of it, before the operation
  returns: the result of a read, the entry after a write, the entry that refused one. If something
  else was settled for the key since the operation *began*, nobody can tell which of the two is
  newer. Then it is *in doubt*: nothing is served, and the next read asks. So no fill that began
  before an own write undoes it, and the reads of one key in one process never go back in time.
- **Failure**: after a write that raised the key is in doubt.
- **Room**: a row that is dropped could have been the one that was settled since. So what began
  before the youngest dropped row was settled leaves the key in doubt as well.
- **End**: a fork, ``clear`` and ``close`` forget all of it.

Invariant: as in ``ports.near``, but for the age of what is served.
"""

from __future__ import annotations

import math
from itertools import chain, count
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import Aborted
from lpcm.ports.near import NOTHING, SHARE
from lpcm.system import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from lpcm.ports import Applied, Change, Check, KeyRange, Op, Outcome, Stored, Tier
    from lpcm.ports.near import NearState, Row

    Begun: TypeAlias = tuple[int, float]
    """How many rows had been settled when an operation began, and when that was."""

__all__ = ["AgingCache", "NearTier"]

_ROW: Final = 500
"""Bytes of what is kept of an entry, beside its key and its data."""
_headers: Final = count(1)


class _Header:
    """A header that is current until another takes its place."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw = b"%d" % next(_headers)


class _Always:
    """The place of a store that cannot be moved: see ``ports.near.Period``."""

    since = -math.inf
    until = math.inf


class AgingCache:
    """The near cache of one engine, for all its tiers. See ``ports.near`` for what is public."""

    ages = True
    place = _Always()

    def __init__(self, size: int, max_stale: float, monotonic: Callable[[], float]) -> None:
        self.max_stale = max_stale
        self.monotonic = monotonic
        self.hits = 0
        self.state: NearState
        self._half = size // 2
        self._held = 0
        self._settled = 0
        """The number of the row that was settled last."""
        self._turned = 0
        """The same, when the young rows became old."""
        self._dropped = 0
        """The highest number that a row may have had that was dropped."""
        self._closed = False
        self._lock = process.Lock()
        self._forget()
        process.follow(self, AgingCache._forget)

    def begin(self) -> Begun:
        """Return what ``settle`` needs of an operation that begins now."""
        if not process.same[0]:
            process.forked()
        return self._settled, self.monotonic()

    def settle(self, begun: Begun, map: str, sk: str, entry: Stored | None) -> None:
        """Keep what an operation has learnt of an entry, unless it is in doubt."""
        settled, since = begun
        with self._lock():
            row = self._row(map, sk)
            if (self._dropped if row is None else row[4]) <= settled:
                self._keep(map, sk, entry, since + self.max_stale)
            elif row is None or entry is None or row[0] is None or row[0].etag != entry.etag:
                self._keep(map, sk, None, -math.inf)

    def doubt(self, map: str, sk: str) -> None:
        """Serve nothing for the key before it was read again."""
        with self._lock():
            self._keep(map, sk, None, -math.inf)

    def find(self, map: str, sk: str) -> Row | None:
        """Return the row of a key, where it may be served."""
        if not process.same[0]:
            process.forked()
        row = self._row(map, sk)
        if row is None or row[3] <= self.monotonic():
            return None
        if sk not in self.state[1].get(map, ()):
            self._rejuvenate(map, sk)
        self.hits += 1
        return row

    def keep(self, row: Row, value: Any, size: int) -> bool:
        """Keep the decoded value with its row, unless it takes too much; tell whether."""
        if size > self._half // SHARE:
            return False
        with self._lock():
            row[1] = value
            row[2] += size
            self._grow(size)
        return True

    def forget(self) -> None:
        """Serve nothing of what is kept, nor of what operations under way learn."""
        with self._lock():
            self._forget()

    def close(self) -> None:
        """Keep nothing any more."""
        self._closed = True
        self.forget()

    def info(self) -> dict[str, object]:
        """Return how long entries are served, how many are kept, and how often one was served."""
        held = sum(map(len, (*self.state[1].values(), *self.state[2].values())))
        return {
            "near_cache": "on",
            "max_stale": self.max_stale,
            "near_entries": held,
            "near_hits": self.hits,
        }

    def _forget(self) -> None:
        # Without the lock, which a child of a fork has not got yet.
        self._settled += 1
        self._dropped = self._turned = self._settled
        self._held = 0
        self.view = _Header()
        self.state = self.view.raw, {}, {}

    def _row(self, map: str, sk: str) -> Row | None:
        _, young, old = self.state
        row = young.get(map, {}).get(sk)
        return row if row is not None else old.get(map, {}).get(sk)

    def _keep(self, map: str, sk: str, entry: Stored | None, until: float) -> None:
        if self._closed:
            return
        self._settled += 1
        size = _ROW + len(sk) + (0 if entry is None else 2 * _size(entry.data))
        row = [entry, NOTHING, size, until, self._settled]
        self.state[1].setdefault(map, {})[sk] = row
        self._grow(size)

    def _rejuvenate(self, map: str, sk: str) -> None:
        with self._lock():
            row = self._row(map, sk)
            if row is not None and sk not in self.state[1].setdefault(map, {}):
                self.state[1][map][sk] = row
                self._grow(row[2])

    def _grow(self, size: int) -> None:
        self._held += size
        if self._held > self._half:
            self.state = self.state[0], {}, self.state[1]
            self._held = 0
            self._dropped, self._turned = self._turned, self._settled


def _size(data: Any) -> int:
    """Return the bytes of a value in a store's form."""
    parts: Iterable[Any] = ()
    if type(data) is dict:
        parts = chain(data, data.values())
    elif type(data) in {list, frozenset}:
        parts = data
    return sum(map(_size, parts), getsizeof(data))


class NearTier:
    """A ``ports.Tier`` in front of another, which keeps what it learns in a near cache."""

    def __init__(self, tier: Tier, near: AgingCache) -> None:
        self._tier = tier
        self._near = near

    @property
    def near(self) -> AgingCache:
        """The near cache, for those who serve its hits."""
        return self._near

    async def read_kept(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry as it was ``max_stale`` seconds ago, or at any instant since."""
        row = self._near.find(map, sk)
        if row is None:
            return await self.read(map, sk, now)
        entry: Stored | None = row[0]
        if entry is None or ((expires := entry.expires) is not None and expires <= now):
            return None
        return entry

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry: one read of the tier."""
        begun = self._near.begin()
        entry = await self._tier.read(map, sk, now)
        self._near.settle(begun, map, sk, entry)
        return entry

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries, read from the tier."""
        begun = self._near.begin()
        entries = await self._tier.read_many(map, sks, now)
        for sk, entry in dict(zip(sks, entries, strict=True)).items():
            self._near.settle(begun, map, sk, entry)
        return entries

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        begun = self._near.begin()
        try:
            outcome = await self._tier.apply(map, sk, op, now)
            self._near.settle(begun, map, sk, outcome.entry)
        except BaseException:
            self._near.doubt(map, sk)
            raise
        return outcome

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes; a key that is written twice is in doubt."""
        begun = self._near.begin()
        try:
            outcomes = await self._tier.apply_many(map, writes, now)
            for (sk, _), outcome in zip(writes, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    self._near.doubt(map, sk)
                else:
                    self._near.settle(begun, map, sk, outcome.entry)
        except BaseException:
            for sk, _ in writes:
                self._near.doubt(map, sk)
            raise
        return outcomes

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none."""
        begun = self._near.begin()
        try:
            done = await self._tier.transact(changes, checks, now)
            if isinstance(done, Aborted):
                for pk, sk, refused in done.reasons:
                    self._near.settle(begun, pk, sk, refused.entry)
            else:
                for (pk, sk, _), applied in zip(changes, done, strict=True):
                    self._near.settle(begun, pk, sk, applied.entry)
        except BaseException:
            for pk, sk, _ in changes:
                self._near.doubt(pk, sk)
            raise
        return done

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete a range, and forget all that is kept."""
        try:
            await self._tier.clear(map, keys)
        finally:
            self._near.forget()

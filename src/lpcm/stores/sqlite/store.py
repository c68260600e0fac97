"""The SQLite store: all maps in one file, shared by the threads and processes of a machine.

Knows entries as rows. What one write is as statements, and why it is atomic, is
``stores.sqlite.statements``'s; connections, forks and the file itself are ``stores.sqlite.file``'s.

====== ======= ======================================================================
column type
====== ======= ======================================================================
pk     TEXT    the map (``keys.partition``)
sk     TEXT    the encoded key
t      TEXT    how to read ``v`` (``Stored.kind``)
etag   INTEGER
x      REAL    expiry in epoch seconds, NULL: never
v      any     str as TEXT, int as INTEGER, float as REAL, bytes as BLOB
====== ======= ======================================================================
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from lpcm.errors import LPCMError, StoreBusy, StoreCorrupt, StoreError
from lpcm.ports import Aborted, Applied, Form, Page, Put, Rewrite, Stored, Update, When
from lpcm.stores.sqlite import catalogue
from lpcm.stores.sqlite.access import mend, writable
from lpcm.stores.sqlite.bulk import (
    OF_ONE_WRITE,
    chunks,
    clear_some,
    drop_some,
    forget_maps,
    plain,
    put_all,
    read_many,
)
from lpcm.stores.sqlite.commit import Commits
from lpcm.stores.sqlite.confirm import confirm
from lpcm.stores.sqlite.connections import another, operations
from lpcm.stores.sqlite.file import File, is_busy
from lpcm.stores.sqlite.foreign import entry, infos, is_not_text
from lpcm.stores.sqlite.limit import Limit
from lpcm.stores.sqlite.line import Lines
from lpcm.stores.sqlite.location import GONE, directory
from lpcm.stores.sqlite.near import NearCache, alive
from lpcm.stores.sqlite.options import NEAR_CACHE, OPTIONS
from lpcm.stores.sqlite.pages import count, page
from lpcm.stores.sqlite.statements import (
    PUT,
    READ,
    changes,
    find,
    new,
    rewrite,
    transact,
    write,
)
from lpcm.stores.sqlite.upkeep import LOAD, Upkeep
from lpcm.stores.sqlite.writes import Write
from lpcm.system.process import forked, same
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from lpcm.ports import Change, Check, KeyRange, MapInfo, MapState, Op, Outcome, Purged, Scan
    from lpcm.ports.findings import Report
    from lpcm.ports.near import NearState
    from lpcm.stores.sqlite.awaited import AwaitedStore, Threads
    from lpcm.stores.sqlite.connections import Connection, Execute
    from lpcm.stores.sqlite.line import KeyLine
    from lpcm.stores.sqlite.readonly import ReadOnlyStore

__all__ = ["OPTIONS", "SQLiteStore", "examine", "open_store"]

operations.add(__name__)

_SLACK = 16_384  # of SQLite's limit on a row, for the key and the other columns
_WRITE_CHUNK = 1000
_TYPICAL = 500  # bytes of an entry, where it is not worth while to count them


class SQLiteStore:
    """A ``ports.Store`` in one SQLite file. See ``open_store``."""

    form = Form.TEXT
    blocking = True
    rewrites = True

    def __init__(self, file: File, max_value: int, near_cache: int = 0) -> None:
        self._file = file
        self._near = NearCache(file, near_cache)
        self._idle = file.idle
        self._place = file.place
        self._limit = Limit(file.path, max_value)
        self._check_size = self._limit.check
        self._upkeep = Upkeep(file)
        self.commits = Commits(file, self._near)
        self._lines = Lines(file.path)

    @property
    def identity(self) -> str:
        """The machine and the file on it."""
        from platform import node  # 3 ms to import, for stores with a cache in front

        return f"sqlite:{node()}:{os.path.realpath(self._file.path)}"

    def awaited(self, threads: Threads) -> AwaitedStore:
        """Return the same store for event loops; what would block them runs on ``threads``."""
        from lpcm.stores.sqlite.awaited import AwaitedStore  # for programs that await

        return AwaitedStore(self, self.commits, self._upkeep, threads)

    @property
    def near(self) -> NearCache | None:
        """The near cache, for those who serve its hits."""
        return self._near if self._near.limit else None

    def line(self, map: str, sk: str) -> KeyLine:
        """Return the line of the processes whose compare-and-sets meet at a key."""
        return self._lines.of(map, sk)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._file.path}>"

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry. Cost: one SELECT, 1.1 times the bare statement."""
        # The hottest path of the library: `with self._file.connection() as connection,
        # connection.lock`, without its calls.
        if not same[0]:
            forked()
        place = self._place
        near = self._near
        state = near.state  # before the look at the header
        header = near.view.raw
        if state[0] == header and place.since <= now < place.until:
            kept = near.find(state, map, sk)
            if kept is not None:
                return alive(kept[0], now)
        return self.select(map, sk, now, state, header)

    def select(
        self, map: str, sk: str, now: float, state: NearState, header: bytes
    ) -> Stored | None:
        """Read an entry that is not near, and keep it: see ``ports.near.Select``."""
        near = self._near
        place = self._place
        idle = self._idle.connections
        try:
            connection = idle.pop()
        except IndexError:
            connection, idle = another(self._file)
        try:
            with connection.lock:
                connection.busy = True
                row = connection.execute(READ, (map, sk)).fetchone()
                if not place.since <= now < place.until:
                    confirm(self._file, connection, wrote=False, now=now)
                connection.busy = False
        except BaseException as error:
            try:
                connection.failed(error)
            except (StoreBusy, StoreCorrupt):
                if not is_busy(error) and not is_not_text(error):
                    raise
                return self._find(map, sk, now)
            raise
        idle.append(connection)
        if self._file.closed:  # by another thread meanwhile
            self._file.close()
        if row is None:
            found = None
        elif row[3] is None or type(row[3]) is float:
            found = new(Stored, row)
        else:
            return entry(row, now)
        if header:
            if near.view.raw == header:
                near.fill(state, header, map, sk, found)
        elif near.wanted:
            near.open()
        return found if found is None or found[3] is None else alive(found, now)

    def _find(self, map: str, sk: str, now: float) -> Stored | None:
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            return find(connection.execute, map, sk, now)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write. Cost: one statement, and one SELECT where it may be refused."""
        if type(op) is Put and op.when is When.ALWAYS and op.expires is None:
            return self._put(map, sk, op, now)
        self._check_size(op)
        commits = self.commits
        near = self._near
        before = near.view.raw
        if not commits.alone or commits.queue or commits.lead.locked():
            return self._meet(map, sk, op, now)
        try:
            with self._file.connection() as connection, commits.lead, connection.lock:
                if not connection.hasty:
                    connection.hasten()
                outcome = self._write(connection.execute, map, sk, op, now)
                confirm(self._file, connection, wrote=type(outcome) is Applied, now=now)
        except StoreBusy:
            return self._meet(map, sk, op, now)
        if commits.queue:
            commits.wake_next()
        if near.state[0] == before and changes(op, outcome):
            near.wrote(before, ((map, sk, outcome.entry),))
        if type(outcome) is Applied:
            self._upkeep.wrote((op,), now)
        return outcome

    def _meet(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write together with others, or when others have done theirs."""
        outcome: Outcome
        (outcome,) = self.commits.write(self.waiting(map, sk, op, now))
        if type(outcome) is Applied:
            self._upkeep.wrote((op,), now)
        return outcome

    def waiting(self, map: str, sk: str, op: Op, now: float) -> Write:
        """Return one write, for a queue; refuse a value that is too large."""
        return Write(
            lambda connection: [self._write(connection.execute, map, sk, op, now)],
            ((map, sk, op),),
            now=now,
            size=self._check_size(op),
            plain=plain(map, sk, op),
        )

    def _put(self, map: str, sk: str, op: Put, now: float) -> Outcome:
        """Do what ``m[k] = v`` is, the most frequent write, by the shortest way: see read."""
        size = self._check_size(op)
        (data, kind), etag, _, _ = op
        if not same[0]:
            forked()
        idle = self._idle.connections
        place = self._place
        near = self._near
        commits = self.commits
        if not commits.alone or commits.queue or commits.lead.locked():
            return self._meet(map, sk, op, now)
        before = near.view.raw
        try:
            connection = idle.pop()
        except IndexError:
            connection, idle = another(self._file)
        try:
            with commits.lead, connection.lock:
                connection.busy = True
                if not connection.hasty:
                    connection.hasten()
                connection.execute(PUT, (map, sk, kind, etag, None, data))
                # Is the file still in its place? See location; without its calls.
                try:
                    folder = directory(place.folder)
                except OSError:
                    folder = GONE
                if folder.st_ctime_ns != place.ctime or folder.st_ino != place.inode:
                    confirm(self._file, connection)
                connection.busy = False
        except BaseException as error:
            try:
                connection.failed(error)
            except StoreBusy:
                return self._meet(map, sk, op, now)
            raise
        idle.append(connection)
        if commits.queue:
            commits.wake_next()
        if self._file.closed:
            self._file.close()
        upkeep = self._upkeep
        upkeep.load += 1 + (size >> 12)
        if upkeep.load >= LOAD:
            upkeep.look(now)
        stored = new(Stored, (data, kind, etag, None))
        if near.state[0] == before:
            near.wrote(before, ((map, sk, stored),))
        return new(Applied, (stored, None))

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries. Cost: one SELECT for each hundred keys."""
        with self._file.connection() as connection, connection.lock:
            if connection.hasty:
                connection.calm()
            found = read_many(connection.execute, map, sks, now)
            confirm(self._file, connection, wrote=False)
        return [found.get(sk) for sk in sks]

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes. Cost: one transaction for each thousand."""
        outcomes: list[Outcome | Exception] = []
        # In pieces, so that other writers get their turn.
        for chunk in chunks(writes, _WRITE_CHUNK):
            write = Write(
                partial(self._apply_chunk, map, chunk, now),
                [(map, sk, op) for sk, op in chunk],
                now=now,
                size=len(chunk) * _TYPICAL,
                several=True,
            )
            try:
                outcomes += self.commits.write(write)
            except LPCMError as error:  # no other: a time limit of the program's must come out
                if not outcomes:
                    raise
                outcomes += [error] * (len(writes) - len(outcomes))
                break
        self._upkeep.wrote([op for _, op in writes], now)
        return outcomes

    def _apply_chunk(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float, connection: Connection
    ) -> list[Outcome | Exception]:
        done = put_all(connection, map, writes, self._check_size)
        if done is not None:
            return done
        execute = connection.execute
        return [self._one_of_many(execute, map, sk, op, now) for sk, op in writes]

    def _write(self, execute: Execute, map: str, sk: str, op: Op, now: float) -> Outcome:
        if type(op) is Update or type(op) is Rewrite:
            return rewrite(execute, map, sk, op, now, check=self._check_size)
        return write(execute, map, sk, op, now)

    def _one_of_many(
        self, execute: Execute, map: str, sk: str, op: Op, now: float
    ) -> Outcome | Exception:
        try:
            self._check_size(op)
            return self._write(execute, map, sk, op, now)
        except OF_ONE_WRITE as error:
            return self._file.translated(error) if isinstance(error, sqlite3.Error) else error

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return a page. Cost: one SELECT, over before this returns."""
        (low, high), after, limit, reverse, values = wanted
        if after is not None and reverse:
            high = min(high, after)
        elif after is not None:
            low = max(low, after + "\0")  # the very next string
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            bounds = (map, low, high, now, limit)
            entries, full = page(connection.execute, bounds, values=values, reverse=reverse)
            if full:
                connection.end_statement()
            confirm(self._file, connection, wrote=False)
        more = full or len(entries) >= limit
        return Page(entries, entries[-1][0] if more else None)

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the range. Cost: reads the keys' index."""
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            bounds = (map, keys.low, keys.high)
            number = count(connection.execute, bounds, now)
            confirm(self._file, connection, wrote=False)
        return number

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range, four thousand entries at a time."""
        low, high = keys
        while next_ := self.commits.write(Write(partial(clear_some, map, low, high))):
            (low,) = next_
        self._upkeep.give_back()

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says of a map. Cost: two SELECTs."""
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            state = catalogue.describe(connection.execute, self._file.path, namespace, name)
            confirm(self._file, connection, wrote=False)
        return state

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue. Cost: two SELECTs, and one write the first time."""
        state = await self.describe(namespace, info.name)
        if state.identity is not None and state.info is not None:
            return state
        path = self._file.path
        new = Write(
            lambda one: catalogue.register(one.execute, path, namespace, info), several=True
        )
        registered: MapState = self.commits.write(new)
        return registered

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity. Cost: one write."""
        self.commits.write(Write(lambda one: catalogue.renew(one.execute, namespace)))

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none. Cost: one transaction, its conditions read first in it."""
        for change in changes:
            self._check_size(change.op)
        write = Write(
            lambda one: transact(one.execute, changes, checks, now), changes,
            now=now,
            size=len(changes) * _TYPICAL,
            several=True,
        )  # fmt: skip
        outcome: list[Applied] | Aborted = self.commits.write(write)
        if not isinstance(outcome, Aborted):
            self._upkeep.wrote([change.op for change in changes], now)
        return outcome

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue. Cost: one SELECT."""
        with self._file.connection() as connection, connection.lock:
            connection.calm()
            found = infos(connection.execute, self._file.path, namespace)
            confirm(self._file, connection, wrote=False)
        return found

    async def drop(self, namespace: str) -> None:
        """Delete the namespace, four thousand entries at a time, its catalogue last."""
        low = partition(namespace)
        high = low[:-1] + chr(ord(low[-1]) + 1)
        while self.commits.write(Write(partial(drop_some, low, high))):
            pass
        self.commits.write(Write(partial(forget_maps, low, high)))
        self._upkeep.give_back()

    async def backup(self, path: str) -> None:
        """Copy the file to ``path``, as of one instant. Cost: reads and writes all of it."""
        from lpcm.stores.sqlite.backup import backup  # for those who make one

        backup(self._file, path)

    def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:
        """Delete what has expired from these maps. Cost: a transaction for ``most`` rows."""
        return self._upkeep.purge(maps, now, most)

    async def vacuum(self) -> None:
        """Write the file anew, without free pages. Cost: all of it, others' writes wait."""
        self._upkeep.vacuum()

    async def info(self, now: float) -> dict[str, Any]:
        """Return sizes and counts, see ``Upkeep.info``. Cost: reads the keys' index."""
        return {**self._upkeep.info(now), **self._near.info()}

    def close(self) -> None:
        """Disconnect every thread; using the store again raises ``StoreError``."""
        self._file.close()
        self.commits.withdraw_all(StoreError(f"{self._file.path}: closed: nothing was written"))


# Opening


def open_store(
    path: str,
    *,
    synchronous: str = "full",
    busy_timeout: float = 30.0,
    max_value: int | None = None,
    near_cache: int = NEAR_CACHE,
) -> SQLiteStore | ReadOnlyStore:
    """Open the file, creating it (mode 0600) if it is missing; what may only be read, for reading.

    ``synchronous``: ``full`` survives the loss of power, ``normal`` that of the process.
    ``busy_timeout``: seconds to wait for other writers. ``max_value``: bytes of one value.
    ``near_cache``: bytes of entries that are kept in this process, 0: none.

    **Raises** ``StoreUnavailable``, ``StoreReadOnly``, ``StoreCorrupt``, ``StoreForeign``,
    ``StoreTooNew``.
    """
    if writable(path):
        mend(path)
        return _opened(File(path, synchronous, busy_timeout), max_value, near_cache)
    from lpcm.stores.sqlite.readonly import ReadOnlyFile, ReadOnlyStore  # for the few who need it

    file = ReadOnlyFile(path, synchronous, busy_timeout)
    return ReadOnlyStore(_opened(file, max_value), file)


async def examine(path: str, report: Report, **options: Any) -> bool:
    """Report on the file, for ``lpcm doctor``."""
    from lpcm.stores.sqlite.inspection import examine as look  # for those who ask

    return await look(path, report, lambda: open_store(path, **options), options)


def _opened(file: File, max_value: int | None, near_cache: int = 0) -> SQLiteStore:
    file.prepare()
    with file.connection() as connection, connection.lock:
        raw = connection.raw or connection.open()
        most = raw.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - _SLACK
    return SQLiteStore(file, most if max_value is None else min(most, max_value), near_cache)

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

# ruff: noqa: S608  # every part of every statement is a constant of this module

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from lpcm.errors import LPCMError, StoreCorrupt, ValueTooLarge
from lpcm.ports import (
    Aborted,
    Applied,
    Form,
    Page,
    Put,
    Stored,
    Update,
    When,
)
from lpcm.stores.sqlite import catalogue
from lpcm.stores.sqlite.access import mend, writable
from lpcm.stores.sqlite.bulk import OF_ONE_WRITE, chunks, puts, read_many
from lpcm.stores.sqlite.confirm import confirm
from lpcm.stores.sqlite.connections import another, operations
from lpcm.stores.sqlite.file import File
from lpcm.stores.sqlite.foreign import entry, infos, is_not_text
from lpcm.stores.sqlite.location import GONE, directory
from lpcm.stores.sqlite.near import NearCache, alive
from lpcm.stores.sqlite.options import NEAR_CACHE, OPTIONS
from lpcm.stores.sqlite.pages import RANGE, page
from lpcm.stores.sqlite.statements import (
    LIVE,
    PUT,
    READ,
    changes,
    failing,
    find,
    new,
    update,
    write,
)
from lpcm.stores.sqlite.upkeep import LOAD, Upkeep
from lpcm.system.process import forked, same
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lpcm.ports import Change, Check, KeyRange, MapInfo, MapState, Op, Outcome, Scan
    from lpcm.ports.findings import Report
    from lpcm.stores.sqlite.connections import Execute
    from lpcm.stores.sqlite.readonly import ReadOnlyStore

__all__ = ["OPTIONS", "SQLiteStore", "examine", "open_store"]

operations.add(__name__)

_SLACK = 16_384  # of SQLite's limit on a row, for the key and the other columns
_WRITE_CHUNK = 1000
_CLEAR_CHUNK = 4000

# The first count reads the key index alone, the last only what has expired: asking each row for
# its x would read five times as much. But where more has expired, in the whole file, than the
# range has rows, each of those is asked.
_COUNT = (
    f"WITH held(n) AS MATERIALIZED (SELECT count(*) FROM entries WHERE {RANGE}),"
    " gone(n) AS MATERIALIZED (SELECT count(*) FROM (SELECT 1 FROM entries INDEXED BY expiry"
    " WHERE x <= ? LIMIT (SELECT n FROM held)))"
    " SELECT CASE WHEN gone.n < held.n THEN held.n -"
    f" (SELECT count(*) FROM entries INDEXED BY expiry WHERE x <= ? AND {RANGE})"
    f" ELSE (SELECT count(*) FROM entries WHERE {RANGE} AND {LIVE}) END FROM held, gone"
)
_NTH = f"SELECT sk FROM entries WHERE {RANGE} ORDER BY sk LIMIT 1 OFFSET {_CLEAR_CHUNK}"


class SQLiteStore:
    """A ``ports.Store`` in one SQLite file. See ``open_store``."""

    form = Form.TEXT
    blocking = True

    def __init__(self, file: File, max_value: int, near_cache: int = 0) -> None:
        self._file = file
        self._near = NearCache(file, near_cache)
        self._idle = file.idle
        self._place = file.place
        self._max_value = max_value
        self._upkeep = Upkeep(file)

    @property
    def identity(self) -> str:
        """The machine and the file on it."""
        from platform import node  # 3 ms to import, for stores with a cache in front

        return f"sqlite:{node()}:{os.path.realpath(self._file.path)}"

    @property
    def near(self) -> NearCache | None:
        """The near cache, for those who serve its hits."""
        return self._near if self._near.limit else None

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
            except StoreCorrupt:
                if not is_not_text(error):
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
        return alive(found, now)

    def _find(self, map: str, sk: str, now: float) -> Stored | None:
        with self._file.connection() as connection, connection.lock:
            return find(connection.execute, map, sk, now)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write. Cost: one statement, and one SELECT where it may be refused."""
        if type(op) is Put and op.when is When.ALWAYS and op.expires is None:
            return self._put(map, sk, op, now)
        self._check_size(op)
        near = self._near
        before = near.view.raw
        with self._file.connection() as connection, connection.lock:
            outcome = self._write(connection.execute, map, sk, op, now)
            confirm(self._file, connection, wrote=type(outcome) is Applied, now=now)
        if near.state[0] == before and changes(op, outcome):
            near.wrote(before, ((map, sk, outcome.entry),))
        if type(outcome) is Applied:
            self._upkeep.wrote((op,), now)
        return outcome

    def _put(self, map: str, sk: str, op: Put, now: float) -> Applied:
        """Do what ``m[k] = v`` is, the most frequent write, by the shortest way: see read."""
        size = self._check_size(op)
        (data, kind), etag, _, _ = op
        if not same[0]:
            forked()
        idle = self._idle.connections
        place = self._place
        near = self._near
        before = near.view.raw
        try:
            connection = idle.pop()
        except IndexError:
            connection, idle = another(self._file)
        try:
            with connection.lock:
                connection.busy = True
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
            connection.failed(error)
            raise
        idle.append(connection)
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
            try:
                outcomes += self._apply_chunk(map, chunk, now)
            except LPCMError as error:  # no other: a time limit of the program's must come out
                if not outcomes:
                    raise
                outcomes += [error] * (len(writes) - len(outcomes))
                break
        self._upkeep.wrote([op for _, op in writes], now)
        return outcomes

    def _apply_chunk(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> Iterable[Outcome | Exception]:
        if all(type(op) is Put and op.when is When.ALWAYS for _, op in writes):
            done = self._put_chunk(map, writes)
            if done is not None:
                return done
        with self._file.connection() as connection, connection.lock:
            execute = connection.execute
            execute("BEGIN IMMEDIATE")
            outcomes = [self._one_of_many(execute, map, sk, op, now) for sk, op in writes]
            connection.execute("COMMIT")
            confirm(self._file, connection)
        return outcomes

    def _put_chunk(
        self, map: str, writes: Sequence[tuple[str, Op]]
    ) -> list[Outcome | Exception] | None:
        """Do unconditional puts in one go; None, and nothing is done, if one cannot be done."""
        try:
            rows, outcomes = puts(map, writes, self._check_size)
        except ValueTooLarge:
            return None
        with self._file.connection() as connection, connection.lock:
            cursor = connection.execute("BEGIN IMMEDIATE")
            try:
                cursor.executemany(PUT, rows)
            except OF_ONE_WRITE:
                connection.execute("ROLLBACK")
                return None
            connection.execute("COMMIT")
            confirm(self._file, connection)
        return outcomes

    def _write(self, execute: Execute, map: str, sk: str, op: Op, now: float) -> Outcome:
        if type(op) is Update:
            return update(execute, map, sk, op, now, check=self._check_size)
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
            bounds = (map, *keys)
            bound = (*bounds, now, now, *bounds, *bounds, now)
            (count,) = connection.execute(_COUNT, bound).fetchone()
            confirm(self._file, connection, wrote=False)
        return int(count)

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range, four thousand entries at a time."""
        low, high = keys
        with self._file.connection() as connection, connection.lock:
            while next_ := connection.execute(_NTH, (map, low, high)).fetchone():
                connection.execute(f"DELETE FROM entries WHERE {RANGE}", (map, low, *next_))
                (low,) = next_
            connection.execute(f"DELETE FROM entries WHERE {RANGE}", (map, low, high))
            confirm(self._file, connection)
        self._upkeep.give_back()

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says of a map. Cost: two SELECTs."""
        with self._file.connection() as connection, connection.lock:
            state = catalogue.describe(connection.execute, self._file.path, namespace, name)
            confirm(self._file, connection, wrote=False)
        return state

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue. Cost: two SELECTs, and one write the first time."""
        with self._file.connection() as connection, connection.lock:
            state = catalogue.register(connection.execute, self._file.path, namespace, info)
            confirm(self._file, connection)
        return state

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity. Cost: one write."""
        with self._file.connection() as connection, connection.lock:
            catalogue.renew(connection.execute, namespace)
            confirm(self._file, connection)

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none. Cost: one transaction, its conditions read first in it."""
        for change in changes:
            self._check_size(change.op)
        applied: list[Applied] = []
        with self._file.connection() as connection, connection.lock:
            execute = connection.execute
            execute("BEGIN IMMEDIATE")
            reasons = failing(execute, changes, checks, now)
            if not reasons:
                for pk, sk, op in changes:
                    outcome = write(execute, pk, sk, op, now)
                    assert isinstance(outcome, Applied)
                    applied.append(outcome)
            execute("ROLLBACK" if reasons else "COMMIT")
            confirm(self._file, connection, wrote=not reasons)
        if applied:
            self._upkeep.wrote([change.op for change in changes], now)
        return Aborted(reasons) if reasons else applied

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue. Cost: one SELECT."""
        with self._file.connection() as connection, connection.lock:
            found = infos(connection.execute, self._file.path, namespace)
            confirm(self._file, connection, wrote=False)
        return found

    async def drop(self, namespace: str) -> None:
        """Delete the namespace, four thousand entries at a time, its catalogue last."""
        low = partition(namespace)
        high = low[:-1] + chr(ord(low[-1]) + 1)
        chunk = (
            "DELETE FROM entries WHERE rowid IN"
            f" (SELECT rowid FROM entries WHERE pk >= ? AND pk < ? LIMIT {_CLEAR_CHUNK})"
        )
        with self._file.connection() as connection, connection.lock:
            while connection.execute(chunk, (low, high)).rowcount:
                pass
            connection.execute("DELETE FROM maps WHERE pk >= ? AND pk < ?", (low, high))
            confirm(self._file, connection)
        self._upkeep.give_back()

    async def backup(self, path: str) -> None:
        """Copy the file to ``path``, as of one instant. Cost: reads and writes all of it."""
        from lpcm.stores.sqlite.backup import backup  # for those who make one

        backup(self._file, path)

    async def purge(self, now: float) -> int:
        """Delete all that has expired; return how many rows. Cost: writes all of it."""
        return self._upkeep.purge(now)

    async def vacuum(self) -> None:
        """Write the file anew, without free pages. Cost: all of it, others' writes wait."""
        self._upkeep.vacuum()

    async def info(self, now: float) -> dict[str, Any]:
        """Return sizes and counts, see ``Upkeep.info``. Cost: reads the keys' index."""
        return {**self._upkeep.info(now), **self._near.info()}

    def close(self) -> None:
        """Disconnect every thread; using the store again raises ``StoreError``."""
        self._file.close()

    def _check_size(self, op: Op) -> int:
        """Return the length of the value where it is text or bytes, else 0."""
        if type(op) is not Put:
            return 0
        data = op.cell.data
        if not isinstance(data, (str, bytes)):
            return 0
        length = len(data)
        if length > self._max_value // 4:
            size = len(data.encode(errors="replace")) if isinstance(data, str) else length
            if size > self._max_value:
                raise ValueTooLarge(
                    f"{self._file.path}: a value of {size:,} bytes is over the limit of "
                    f"{self._max_value:,}"
                )
        return length


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

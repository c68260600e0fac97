"""A SQLite file that this process may read and not write: its permissions, directory or medium.

SQLite itself would make a log and its index beside such a file where it may, with the file's
permissions; a reader's then lies in the way of the owner for good. So nothing is made here:

- Somebody has the file open, or left its log and index: both are read, by SQLite's own rules.
- There is no log: the file is all there is, and SQLite reads it without locks (``immutable``).
  It does not see that others write, so here each read looks before and after: if a log has come,
  or the file has changed, the read is done again on new connections.
- There is a log and no index: refused, because reading it means making the index.

Invariant: no file is made, changed or removed, and what a read returns was in the file at one
instant between its begin and its end.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

from lpcm.errors import StoreBusy, StoreError, StoreReadOnly
from lpcm.ports import Form
from lpcm.stores.sqlite.connections import operations
from lpcm.stores.sqlite.file import File
from lpcm.system import process

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from lpcm.ports import (
        Aborted,
        Applied,
        Change,
        Check,
        KeyRange,
        MapInfo,
        MapState,
        Op,
        Outcome,
        Page,
        Purged,
        Scan,
        Stored,
    )

__all__ = ["ReadOnlyFile", "ReadOnlyStore"]

operations.add(__name__)

# ruff: noqa: PTH116  # pathlib costs import time

T = TypeVar("T")

_ATTEMPTS = 100
_TRUSTED = 3  # attempts after which an error is believed
_PAUSE = 0.02
_TICK = 0.05  # time stamps are as coarse as the clock that makes them


class ReadOnlyFile(File):
    """A file that is read as it is now: with its log, or alone."""

    def __init__(self, path: str, synchronous: str, busy_timeout: float) -> None:
        super().__init__(path, synchronous, busy_timeout)
        real = os.path.realpath(path)  # beside which the log is
        self._log, self._index = f"{real}-wal", f"{real}-shm"
        self._following = process.Lock()
        self._state: tuple[object, ...] = ()

    def prepare(self) -> None:
        """Refuse what is not ours, or not yet anything."""
        for attempt in range(_ATTEMPTS):
            state = self.follow()
            try:
                with self.connection() as connection, connection.lock:
                    ours = self._is_ours(connection.raw or connection.open())
            except StoreError:
                if self.same(state, attempt):
                    raise
                time.sleep(_PAUSE)
            else:
                break
        else:
            raise self.changing()
        if not ours:
            raise StoreReadOnly(f"{self.path}: is empty, and this user may not write it")

    def same(self, state: tuple[object, ...], attempt: int) -> bool:
        """Return whether an error is of that state, and not of another that came and went."""
        return attempt >= _TRUSTED and self.state() == state

    def changing(self) -> StoreBusy:
        """Return the error for a file that does not stand still."""
        return StoreBusy(f"{self.path}: it changed {_ATTEMPTS} times while it was read")

    def connect(self, mode: str) -> sqlite3.Connection:  # noqa: ARG002  # never another
        """Connect in the way that ``follow`` found."""
        how = "readonly_shm=1" if self._state[0] == "log" else "immutable=1"
        return super().connect(f"ro&{how}")

    def follow(self) -> tuple[object, ...]:
        """Look at the files; disconnect all threads where they are others than before."""
        state = self.state()
        if state != self._state:
            with self._following():
                for connection in self.connections():
                    # Its operation, which sees that the state is another, is done again.
                    with connection.lock:
                        connection.shut()
                self._state = state
        return state

    def state(self) -> tuple[object, ...]:
        """Return what must be the same before and after a read."""
        log, index = _found(self._log), _found(self._index)
        if log is not None and log.st_size:
            if index is None:
                raise StoreReadOnly(
                    f"{self.path}: has a log without an index, {self._index}, and this user may "
                    "not make one: open it once as a user who may write the directory"
                )
            return "log", log.st_ino, index.st_ino
        file = _found(self.path)
        if file is None:
            return ("gone",)
        return "alone", file.st_ino, file.st_size, file.st_ctime_ns, file.st_mtime

    def just_changed(self, state: tuple[object, ...]) -> bool:
        """Return whether a further change could leave the time stamps as they are."""
        changed = state[-1]
        return isinstance(changed, float) and abs(time.time() - changed) < _TICK


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


class ReadOnlyStore:
    """A store whose writes raise ``StoreReadOnly``. Reads cost six ``stat`` more.

    ``store`` is the ``SQLiteStore`` on the file, whose module imports this one.
    """

    form = Form.TEXT
    blocking = True

    def __init__(self, store: Any, file: ReadOnlyFile) -> None:
        self._store = store
        self._file = file

    @property
    def identity(self) -> str:
        """The machine and the file on it."""
        identity: str = self._store.identity
        return identity

    def __repr__(self) -> str:
        return f"<ReadOnlyStore {self._file.path}>"

    async def _steadily(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        for attempt in range(_ATTEMPTS):
            state = self._file.follow()
            try:
                result = await read()
            except StoreError:  # of what is half of one state and half of another, perhaps
                if self._file.same(state, attempt):
                    raise
            else:
                if self._file.state() == state and not self._file.just_changed(state):
                    return result
            time.sleep(_PAUSE)  # noqa: ASYNC251  # a blocking store, never on an event loop
        raise self._file.changing()

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry."""
        return await self._steadily(lambda: self._store.read(map, sk, now))

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries."""
        return await self._steadily(lambda: self._store.read_many(map, sks, now))

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return a page."""
        return await self._steadily(lambda: self._store.scan(map, wanted, now))

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the range."""
        return await self._steadily(lambda: self._store.count(map, keys, now))

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue."""
        return await self._steadily(lambda: self._store.maps(namespace))

    async def backup(self, path: str) -> None:
        """Copy the file."""
        await self._steadily(lambda: self._store.backup(path))

    async def info(self, now: float) -> dict[str, Any]:
        """Return sizes and counts."""
        found: dict[str, Any] = await self._steadily(lambda: self._store.info(now))
        return {**found, "near_cache": "the file may only be read"}

    def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:  # noqa: ARG002  # as the store's
        """Refuse."""
        raise self._refusal()

    async def vacuum(self) -> None:
        """Refuse."""
        raise self._refusal()

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:  # noqa: ARG002  # the port's
        """Refuse."""
        raise self._refusal()

    async def apply_many(
        self,
        map: str,  # noqa: ARG002  # the port's
        writes: Sequence[tuple[str, Op]],  # noqa: ARG002  # the port's
        now: float,  # noqa: ARG002  # the port's
    ) -> list[Outcome | Exception]:
        """Refuse."""
        raise self._refusal()

    async def transact(
        self,
        changes: Sequence[Change],
        checks: Sequence[Check],
        now: float,
    ) -> list[Applied] | Aborted:
        """Refuse what would write; judge the conditions of what only reads."""
        if changes:
            raise self._refusal()
        return await self._steadily(lambda: self._store.transact(changes, checks, now))

    async def clear(self, map: str, keys: KeyRange) -> None:  # noqa: ARG002  # the port's
        """Refuse."""
        raise self._refusal()

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return what the catalogue says of a map."""
        return await self._steadily(lambda: self._store.describe(namespace, name))

    async def renew(self, namespace: str) -> None:  # noqa: ARG002  # the port's
        """Refuse."""
        raise self._refusal()

    async def register(self, namespace: str, info: MapInfo) -> MapState:  # noqa: ARG002  # the port's
        """Refuse: who registers a map is about to write it."""
        raise self._refusal()

    async def drop(self, namespace: str) -> None:  # noqa: ARG002  # the port's
        """Refuse."""
        raise self._refusal()

    def close(self) -> None:
        """Disconnect every thread; using the store again raises ``StoreError``."""
        self._store.close()

    def _refusal(self) -> StoreReadOnly:
        return StoreReadOnly(
            f"{self._file.path}: this user may only read it: allow this user to write the file and "
            "its directory, and start again or call lpcm.close()"
        )

"""One SQLite file: making it, checking it, and its errors.

Knows nothing of entries or maps beyond the schema's text. Connections, and what an exception
or a fork does to them, are ``stores.sqlite.connections``'s.

Invariant: nothing is written to a file before it is known to be ours, or empty.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING

from lpcm.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    ValueTooLarge,
)
from lpcm.stores.sqlite.connections import Idle, another, gate, operations, registered, torn
from lpcm.stores.sqlite.foreign import SCHEMA, is_not_text, odd
from lpcm.stores.sqlite.location import Place
from lpcm.system.process import forked, same

if TYPE_CHECKING:
    from lpcm.stores.sqlite.connections import Connection

__all__ = ["APPLICATION_ID", "FORMAT", "File", "is_busy"]

operations.add(__name__)

APPLICATION_ID = 0x4C50434D  # "LPCM"
FORMAT = 1
OLDEST_SQLITE = (3, 35)  # RETURNING
# A longer log, so that what is written often is copied once; but a log that still grows costs
# a flush double, so not where each write waits for one. See docs/explanation/performance.md.
CHECKPOINT_PAGES = {"normal": 2500, "full": 1000}
LOG_SIZE = {"normal": 12_000_000, "full": 6_000_000}
"""Bytes of the log from which on others are waited for, to begin it anew: see ``upkeep``."""
CACHE_KIB = 8000  # for each connection, so for each thread

_MAKING = (
    *SCHEMA,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)


class File:
    """A database file and this process's connections to it."""

    def __init__(self, path: str, synchronous: str, busy_timeout: float) -> None:
        # Absolute, for the program may change its directory before a thread connects.
        self.path = os.path.abspath(path)  # noqa: PTH100  # pathlib costs import time
        self.busy_timeout = busy_timeout
        self.place = Place(self.path)
        self.closed = False
        self.idle = Idle()
        self.log_size = LOG_SIZE[synchronous]
        self.flushes = synchronous == "full"
        """Whether each commit waits for the disk."""
        self.pragmas = [
            "PRAGMA trusted_schema = OFF",  # nothing of a file's schema calls a function
            f"PRAGMA synchronous = {synchronous}",
            f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES[synchronous]}",
            f"PRAGMA journal_size_limit = {self.log_size}",
            f"PRAGMA cache_size = -{CACHE_KIB}",
            # What SQLite keeps to undo a statement of many rows: a file would double the writes.
            "PRAGMA temp_store = MEMORY",
        ]
        if synchronous == "full":
            # Only macOS knows the difference: its plain fsync leaves data in the drive.
            self.pragmas.append("PRAGMA fullfsync = 1")

    def connection(self) -> Connection:
        """Return one no other operation is using: ``with`` it, and with its lock."""
        if not same[0]:
            forked()
        try:
            return self.idle.connections.pop()
        except IndexError:
            return another(self)[0]

    def connections(self) -> list[Connection]:
        """Return every connection of every thread."""
        return [connection for connection in registered() if connection.file is self]

    def close(self) -> None:
        """Disconnect every thread; an operation under way disconnects at its end."""
        if not same[0]:
            forked()
        self.closed = True
        for connection in self.connections():
            taken: list[bool] = []
            try:
                taken.extend(map(connection.lock.acquire, (False,)))
                if taken[0]:
                    connection.shut()
            finally:
                if True in taken:
                    connection.lock.release()

    def connect(self, mode: str) -> sqlite3.Connection:
        """Connect without creating anything."""
        path = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        if os.name == "nt":
            path = "/" + path.replace("\\", "/")
        return sqlite3.connect(
            f"file://{path}?mode={mode}",
            uri=True,
            timeout=self.busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def check_usable(self) -> None:
        """Refuse a closed file, and one whose connection was forked in mid-operation."""
        if self.closed:
            raise StoreError(f"{self.path}: closed")
        if torn(self.path):
            raise StoreError(
                f"{self.path}: not usable in this process: it was forked in the middle of an "
                "operation on the file, by a signal handler or by code in C that did not wait for "
                "other threads: fork before threads use the map, or by os.fork()"
            )

    def prepare(self) -> None:
        """Create the file and its schema if need be; refuse what is not ours, untouched."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(
                f"lpcm needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, this Python has "
                f"{sqlite3.sqlite_version}"
            )
        if not same[0]:
            forked()
        self._create()
        with self.connection() as connection, connection.lock:
            with gate():
                self._inspect_untouched()
            raw = connection.open()
            ours = self._is_ours(raw)  # without its lock, which another process may hold for long
            if not ours:
                # Before the first page is written; a file that has one keeps what it has.
                raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._switch_to_wal(raw)
            if not ours:
                raw.execute("BEGIN IMMEDIATE")
                if not self._is_ours(raw):  # another process may have been quicker
                    for statement in _MAKING:
                        raw.execute(statement)
                raw.execute("COMMIT")
            self.place.opened(first=True)  # only now there is a log

    def _create(self) -> None:
        try:
            # Under the gate: closing any descriptor of a file drops the process's locks on
            # it, so no connection may be opened before it is closed.
            with gate(), open(self.path, "xb", opener=partial(os.open, mode=0o600)):
                pass
        except FileExistsError:
            if os.path.isdir(self.path):  # noqa: PTH112  # pathlib costs import time
                raise StoreUnavailable(
                    f"{self.path}: is a directory: name a file in it, like lpcm.sqlite3"
                ) from None
        except (FileNotFoundError, NotADirectoryError) as error:
            folder = os.path.dirname(self.path) or "."  # noqa: PTH120  # as above
            raise StoreUnavailable(
                f"{self.path}: there is no directory {folder!r}: create it first"
            ) from error
        except OSError as error:
            raise self._uncreatable(error) from error

    def _uncreatable(self, error: OSError) -> StoreError:
        message = f"{self.path}: cannot create it: {error.strerror}"
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return StoreReadOnly(f"{message}: allow this user to write the directory")
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return StoreFull(message)
        return StoreUnavailable(message)

    def _inspect_untouched(self) -> None:
        raw = self.connect("ro")
        try:
            self._is_ours(raw)
        except sqlite3.OperationalError:
            # A crash left a journal that only a writer may roll back, or the like: what
            # follows will do it, or say why not.
            pass
        finally:
            raw.close()

    def _is_ours(self, raw: sqlite3.Connection) -> bool:
        """Tell our database from an empty one; raise on anything else."""
        # As one instant: another process may be creating the schema right now.
        raw.execute("SAVEPOINT look")
        (application,) = raw.execute("PRAGMA application_id").fetchone()
        (version,) = raw.execute("PRAGMA user_version").fetchone()
        try:
            objects = raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        except sqlite3.OperationalError as error:
            if not is_not_text(error):
                raise
            objects = [("text", "that is not UTF-8", None, None)]
        raw.execute("RELEASE look")
        if application == APPLICATION_ID:
            if version > FORMAT:
                raise StoreTooNew(
                    f"{self.path}: has format {version}, this version of lpcm reads up to "
                    f"{FORMAT}: upgrade lpcm"
                )
            if what := odd(objects):
                raise StoreForeign(
                    f"{self.path}: its {what} is not as lpcm makes it; lpcm does not touch the "
                    "file: restore it from a backup, or choose another file name"
                )
            return True
        if objects or application:
            raise StoreForeign(
                f"{self.path}: is the SQLite database of another program; lpcm does not touch "
                "it: choose another file name"
            )
        return False

    def _switch_to_wal(self, raw: sqlite3.Connection) -> None:
        # SQLite does not wait for its busy timeout in the middle of this switch.
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                (mode,) = raw.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                break
        if mode != "wal":
            raise StoreError(
                f"{self.path}: its file system has no shared memory for SQLite's write-ahead log "
                "(a network drive?): use a local one"
            )

    def busy(self) -> StoreBusy:
        """Return the error of a write that has waited for others long enough."""
        return StoreBusy(f"{self.path}: others held its lock for the whole busy_timeout")

    def translated(self, error: sqlite3.Error) -> Exception:
        """Return lpcm's exception for one of SQLite's."""
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        message = f"{self.path}: {error} ({name})"
        if is_not_text(error):
            return StoreCorrupt(message)
        if name == "SQLITE_READONLY_DBMOVED":
            return StoreUnavailable(f"{message}: the file was moved or deleted while in use")
        kind, advice = _KINDS.get(_code(error), (StoreError, ""))
        return kind(f"{message}{advice}")


_KINDS: dict[int | None, tuple[type[Exception], str]] = {
    sqlite3.SQLITE_BUSY: (StoreBusy, ": others held its lock for the whole busy_timeout"),
    sqlite3.SQLITE_LOCKED: (StoreBusy, ""),
    sqlite3.SQLITE_READONLY: (StoreReadOnly, ": allow this user to write the file and directory"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, ": is it there, with permission to use it?"),
    sqlite3.SQLITE_PERM: (StoreUnavailable, ""),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, ""),
    sqlite3.SQLITE_FULL: (StoreFull, ": nothing was written"),
    sqlite3.SQLITE_CORRUPT: (StoreCorrupt, ": restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (StoreCorrupt, ": choose another file name"),
    sqlite3.SQLITE_TOOBIG: (ValueTooLarge, ""),
}


def is_busy(error: BaseException) -> bool:
    """Tell whether others hold the lock of the file: nothing was done."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None where Python itself raised."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF

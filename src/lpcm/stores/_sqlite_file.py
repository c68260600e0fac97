"""One SQLite file: making it, checking it, its connections, forks, and its errors.

Knows nothing of entries or maps beyond the schema's text. Each thread keeps its own
connections (connecting for every operation costs twenty times a read), and a connection
is used by one operation at a time, inside ``with file.connection() as connection``.

Invariants:

1. **No connection of ours is open across a fork.** SQLite's locks are per process, and it
   counts their holders in memory that a child inherits: with a parent's connection merely
   left alone, the child's fresh one believes in locks it does not hold, and the parent's
   last ``close`` deletes the write-ahead log under it. Measured: the child's next
   acknowledged write was lost. So a fork first closes them all; each opens again by
   itself, in parent and child, at its next use.
2. **No thread is inside SQLite at a fork**: it may hold one of SQLite's process-wide
   mutexes, which the child would then wait for in vain. Every connection's lock, and
   ``_gate``, is held by the forking thread.
3. A connection given back has no open statement and no open transaction.

A connection is registered, then locked, then opened under ``_gate``. The fork takes the
connections' locks first, waiting for the operations under way (at most ``busy_timeout``),
then ``_gate``, then the locks of those that were opened in between.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

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
from lpcm.stores._sqlite_confirm import opened, unmoved
from lpcm.stores._sqlite_place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["APPLICATION_ID", "FORMAT", "Connection", "Execute", "File"]

APPLICATION_ID = 0x4C50434D  # "LPCM"
FORMAT = 1
OLDEST_SQLITE = (3, 35)  # RETURNING
# A longer log, so that what is written often is copied once; but a log that still grows costs
# a flush double, so not where each write waits for one. See docs/explanation/performance.md.
CHECKPOINT_PAGES = {"normal": 4000, "full": 1000}
CACHE_KIB = 8000  # for each connection, so for each thread

# A rowid table, `v` last: see docs/explanation/sqlite-layout.md for the figures.
SCHEMA = f"""
CREATE TABLE entries(pk TEXT NOT NULL, sk TEXT NOT NULL,
    t TEXT, etag INTEGER NOT NULL, x REAL, v, PRIMARY KEY(pk, sk));
CREATE INDEX expiry ON entries(x) WHERE x IS NOT NULL;
CREATE TABLE maps(pk TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,
    format INTEGER NOT NULL, codec TEXT NOT NULL, shards INTEGER NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

Execute: TypeAlias = "Callable[..., sqlite3.Cursor]"


class Connection:
    """A connection of one thread, open or not; a context manager for one operation."""

    __slots__ = ("__weakref__", "execute", "file", "lock", "raw", "thread")

    def __init__(self, file: File) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.thread = threading.get_ident()
        self.raw: sqlite3.Connection | None = None
        # Either a cursor's or _first: so that being open costs the hot path no question.
        self.execute: Execute = self._first
        key = id(self)
        _live[key] = weakref.ref(self, lambda _: _live.pop(key, None))

    def _first(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        if self.raw is None:
            self.open()
        return self.execute(sql, parameters)

    def open(self) -> sqlite3.Connection:
        """Connect, with what every connection must be told."""
        with _gate:
            self.file.check_usable()
            unmoved(self.file)
            raw = self.file.connect("rw")
            try:
                for pragma in self.file.pragmas:
                    raw.execute(pragma)
                opened(self.file, raw)
            except BaseException:
                raw.close()
                raise
            self.raw = raw
            self.execute = raw.cursor().execute
        _bury()
        return raw

    def shut(self) -> None:
        """Disconnect; the next use connects again."""
        raw, self.raw = self.raw, None
        self.execute = self._first
        if raw is not None:
            raw.close()

    def renew(self) -> None:
        """Let go of a statement that still has rows, and with it of its read lock."""
        if self.raw is not None:
            self.execute = self.raw.cursor().execute

    def _recover(self) -> None:
        self.renew()
        try:
            if self.raw is not None and self.raw.in_transaction:
                self.raw.rollback()
        except sqlite3.Error:
            self.shut()

    def __enter__(self) -> Self:
        self.lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lock.release()
        if error is not None:
            self.failed(error)
        else:
            self.give_back()

    def failed(self, error: BaseException) -> None:
        """Take back a connection whose operation raised, and raise lpcm's error for it."""
        with self.lock:
            self._recover()
        self.give_back()
        if isinstance(error, sqlite3.Error):
            raise self.file.translated(error) from error

    def give_back(self) -> None:
        """Let the thread's next operation use it."""
        self.file.idle.connections.append(self)
        if self.file.closed:
            self.file.close()

    def __del__(self) -> None:
        # The thread has ended. Not closed right here: a garbage collection may run this
        # while another thread forks, which must find nobody inside SQLite.
        if self.raw is not None:
            _graveyard.append(self.raw)
            _bury()


class _Idle(threading.local):
    """This thread's connections that no operation is using.

    Almost always one; a signal handler that interrupts an operation and starts another
    finds none and opens a second.
    """

    def __init__(self) -> None:
        self.connections: list[Connection] = []


class File:
    """A database file and this process's connections to it."""

    def __init__(self, path: str, synchronous: str, busy_timeout: float) -> None:
        # Absolute, for the program may change its directory before a thread connects.
        self.path = os.path.abspath(path)  # noqa: PTH100  # pathlib costs import time
        self.busy_timeout = busy_timeout
        self.place = Place(self.path)
        self.closed = False
        self.idle = _Idle()
        self.pragmas = [
            f"PRAGMA synchronous = {synchronous}",
            f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES[synchronous]}",
            f"PRAGMA cache_size = -{CACHE_KIB}",
        ]
        if synchronous == "full":
            # Only macOS knows the difference: its plain fsync leaves data in the drive.
            self.pragmas.append("PRAGMA fullfsync = 1")

    def connection(self) -> Connection:
        """Return a connection no other operation is using, for ``with``."""
        try:
            return self.idle.connections.pop()
        except IndexError:
            return Connection(self)

    def connections(self) -> list[Connection]:
        """Return every connection of every thread."""
        return [connection for connection in _registered() if connection.file is self]

    def close(self) -> None:
        """Disconnect every thread; an operation under way disconnects at its end."""
        self.closed = True
        for connection in self.connections():
            if connection.lock.acquire(blocking=False):
                try:
                    connection.shut()
                finally:
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
        if self.path in _torn:
            raise StoreError(
                f"{self.path}: not usable in this process: it was forked by code that interrupted "
                "an operation on the file (a signal handler); start it otherwise"
            )

    def prepare(self) -> None:
        """Create the file and its schema if need be; refuse what is not ours, untouched."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(
                f"lpcm needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, this Python has "
                f"{sqlite3.sqlite_version}"
            )
        self._create()
        with self.connection() as connection:
            with _gate:
                self._inspect_untouched()
            raw = connection.open()
            self._switch_to_wal(raw)
            if not self._is_ours(raw):
                raw.execute("BEGIN IMMEDIATE")
                if not self._is_ours(raw):  # another process may have been quicker
                    for statement in SCHEMA.split(";"):
                        raw.execute(statement)
                raw.execute("COMMIT")
            self.place.opened(first=True)  # only now there is a log

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            # Under the gate: closing any descriptor of a file drops the process's locks on
            # it, so no connection may be opened between these two lines.
            with _gate:
                os.close(os.open(self.path, flags, 0o600))
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
        (tables,) = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        raw.execute("RELEASE look")
        if application == APPLICATION_ID:
            if version > FORMAT:
                raise StoreTooNew(
                    f"{self.path}: has format {version}, this version of lpcm reads up to "
                    f"{FORMAT}: upgrade lpcm"
                )
            return True
        if tables or application:
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

    def translated(self, error: sqlite3.Error) -> Exception:
        """Return lpcm's exception for one of SQLite's."""
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        message = f"{self.path}: {error} ({name})"
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


def _code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None where Python itself raised."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


# Forks. See the invariants above.

_live: dict[int, weakref.ref[Connection]] = {}
_gate = threading.RLock()
_graveyard: deque[sqlite3.Connection] = deque()
_held: list[Connection] = []
_interrupted: list[Connection] = []
_torn: set[str] = set()
_leaked: list[Any] = []


def _registered() -> list[Connection]:
    # Not a WeakSet: copying one while another thread adds to it raises.
    found = (reference() for reference in list(_live.values()))
    return [connection for connection in found if connection is not None]


def _bury() -> None:
    """Close what ended threads left, unless someone else is at the gate, who then does."""
    while _graveyard and _gate.acquire(blocking=False):
        try:
            _graveyard.popleft().close()
        except (IndexError, sqlite3.Error):
            pass
        finally:
            _gate.release()


def _before_fork() -> None:
    _hold(_registered(), -1)
    _gate.acquire()
    # One that is not open cannot become so now; the others have come since. The wait is
    # short, because such a connection's thread may itself be on its way to the gate.
    while not _hold([one for one in _registered() if one.raw is not None], 0.1):
        _gate.release()
        _hold(_registered(), -1)
        _gate.acquire()
    for connection in _held:
        connection.shut()
    while _graveyard:
        _graveyard.popleft().close()


def _hold(connections: Sequence[Connection], patience: float) -> bool:
    """Take these connections' locks; False if one did not come free in time."""
    for connection in connections:
        if connection in _held or connection in _interrupted:
            continue
        if connection.thread == threading.get_ident():
            if not connection.lock.acquire(blocking=False):
                # This very thread is in the middle of using it: a signal handler forks.
                _interrupted.append(connection)
                continue
        elif not connection.lock.acquire(timeout=patience):
            return False
        _held.append(connection)
    return True


def _after_fork_in_parent() -> None:
    for connection in _held:
        connection.lock.release()
    _held.clear()
    _interrupted.clear()
    _gate.release()
    _bury()


def _after_fork_in_child() -> None:
    global _gate  # noqa: PLW0603  # a lock others waited for at the fork is not to be trusted
    _gate = threading.RLock()
    for connection in _held:
        connection.lock = threading.Lock()
    for connection in _interrupted:
        _torn.add(connection.file.path)
        _leaked.append(connection.raw)  # closing it here would be using it
        connection.raw = None
        connection.shut()
    _held.clear()
    _interrupted.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

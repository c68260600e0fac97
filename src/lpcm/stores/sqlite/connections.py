"""The connections of this process to SQLite files: one a thread, whole after any exception, forks.

Knows nothing of entries, maps or schemas; a file tells how it is connected to. Each thread
keeps its own connection (connecting for every operation costs twenty times a read), and a
connection is used by one operation at a time:
``with file.connection() as connection, connection.lock``.

Invariants:

1. **No connection of ours is used across a fork.** SQLite's locks are per process, and it
   counts their holders in memory that a child inherits: with a parent's connection merely
   left alone, the child's fresh one believes in locks it does not hold, and the parent's
   last ``close`` deletes the write-ahead log under it. Measured: the child's next
   acknowledged write was lost. So a fork by Python first closes them all; each opens again by
   itself, in parent and child, at its next use. A fork in C asks nobody: there the child
   closes what it inherited, before it opens anything.
2. **No thread is inside SQLite at a fork by Python**: it may hold one of SQLite's process-wide
   mutexes, which the child would then wait for in vain. Every connection's lock, and
   ``_gate``, is held by the forking thread.
3. A connection given back has no open statement and no open transaction.
4. **An exception may come out between any two steps** (a signal handler's, such as
   KeyboardInterrupt), its traceback keeps every frame alive, and each frame its cursor. So a
   connection has one cursor, its own, and closes that explicitly: this ends the statement,
   whoever still holds the cursor.

A connection is registered, then locked, then opened under ``_gate``. The fork takes the
connections' locks first, waiting for the operations under way (at most ``busy_timeout``),
then ``_gate``, then the locks of those that were opened in between.

CPython looks for signals at the start of a function of Python, at jumps back and when a
function of C has returned; not between a ``with`` and the ``__enter__`` of a lock, which is
C. So locks are acquired by ``with`` alone, or, where only an attempt is wanted, by
``list.extend(map(lock.acquire, ...))``: one call of C that acquires and remembers.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lpcm.stores.sqlite.confirm import opened, unmoved
from lpcm.stores.sqlite.database import Database
from lpcm.stores.sqlite.inherited import nothing_deleted
from lpcm.system.instances import Instances
from lpcm.system.process import after_fork_in_child, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType
    from typing import Self

__all__ = ["Connection", "Execute", "Idle", "another", "gate", "operations", "registered", "torn"]

_PAUSE = 0.001
Execute: TypeAlias = "Callable[..., sqlite3.Cursor]"


class File(Database, Protocol):
    """A file whose connections are kept here."""

    idle: Idle
    busy_timeout: float
    """Seconds to wait for others."""


class Connection:
    """A connection of one thread, open or not; a context manager for one operation."""

    __slots__ = (
        "__weakref__",
        "busy",
        "cursor",
        "execute",
        "file",
        "forking",
        "hasty",
        "lock",
        "nested",
        "raw",
        "thread",
    )

    def __init__(self, file: File, *, nested: bool = False) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.thread = threading.get_ident()
        self.nested = nested
        # Whether an operation has begun and not yet ended well.
        self.busy = False
        # Whether a thread that forks holds the lock.
        self.forking = False
        # Whether SQLite does not wait for others now.
        self.hasty = False
        self.raw: sqlite3.Connection | None = None
        self.cursor: sqlite3.Cursor | None = None
        # Either the cursor's or _first: so that being open costs the hot path no question.
        self.execute: Execute = self._first
        _live.add(self)

    def _first(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        raw = self.raw or self.open()
        if self.cursor is None:
            self.cursor = raw.cursor()
        self.execute = self.cursor.execute
        return self.execute(sql, parameters)

    def open(self) -> sqlite3.Connection:
        """Connect, with what every connection must be told."""
        until = time.monotonic() + self.file.busy_timeout
        with _gate:
            while True:
                try:
                    self.raw = raw = self._opened()
                    _open[id(raw)] = raw
                    break
                except sqlite3.OperationalError as error:
                    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                    if code != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                        raise
                time.sleep(_PAUSE)
            self.hasty = False
        _bury()
        return raw

    def _opened(self) -> sqlite3.Connection:
        """Connect, without waiting for others.

        Who closes the last connection deletes the log: where it was just opened, begin anew.
        """
        self.file.check_usable()
        unmoved(self.file)
        raw = self.file.connect("rw")
        try:
            raw.execute("PRAGMA busy_timeout = 0")
            for pragma in self.file.pragmas:
                raw.execute(pragma)
            opened(self.file, raw)
            raw.execute(f"PRAGMA busy_timeout = {round(self.file.busy_timeout * 1000)}")
        except BaseException:
            raw.close()
            raise
        return raw

    def hasten(self) -> None:
        """Have SQLite not wait for others, but raise at once. For writes: see ``commit``."""
        if not self.hasty:
            self.execute("PRAGMA busy_timeout = 0").fetchone()  # to its end: see shut
            self.hasty = True

    def calm(self) -> None:
        """Have SQLite wait for others, as it does at first."""
        if self.hasty:
            self.execute(f"PRAGMA busy_timeout = {round(self.file.busy_timeout * 1000)}").fetchone()
            self.hasty = False

    def end_statement(self) -> None:
        """Let go of a statement that still has rows, and with it of its locks."""
        self.execute = self._first
        if self.cursor is not None:
            self.cursor.close()
            self.cursor = None

    def shut(self) -> None:
        """Disconnect; the next use connects again."""
        # Without this, SQLite would keep the connection open underneath for its statement.
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed already
            self.end_statement()
        if self.raw is not None:
            self.raw.close()
            _open.pop(id(self.raw), None)
        self.cursor = self.raw = None
        self.hasty = False

    def recover(self) -> None:
        """End what an exception left open; whoever calls this holds the lock."""
        try:
            self.end_statement()
            if self.raw is not None and self.raw.in_transaction:
                self.raw.rollback()
        except sqlite3.Error:
            self.shut()
        self.busy = False

    def __enter__(self) -> Self:
        self.busy = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.failed(error)
        else:
            self.busy = False
            self.give_back()

    def failed(self, error: BaseException) -> None:
        """Take back a connection whose operation raised, and raise lpcm's error for it."""
        with self.lock:
            self.recover()
        self.give_back()
        if isinstance(error, sqlite3.Error):
            raise self.file.translated(error) from error

    def give_back(self) -> None:
        """Let the thread's next operation use it."""
        idle = self.file.idle
        if self.nested:
            idle.spare.append(self)
        elif not idle.look:
            idle.connections.append(self)
        if self.file.closed:
            self.file.close()

    def __del__(self) -> None:
        # The thread has ended. Not closed right here: a garbage collection may run this
        # while another thread forks, which must find nobody inside SQLite.
        if self.raw is not None:
            _graveyard.append((self.file.path, self.raw))
            self.cursor = self.raw = None  # a fork may find this one still registered
            _bury()


class Idle(threading.local):
    """This thread's connections to a file.

    One is enough, but for a signal handler or a finalizer that interrupts an operation and
    begins another, which has a second.
    """

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        """The first, unless an operation is using it or an exception has left it lying."""
        self.spare: list[Connection] = []
        """The others that no operation is using."""
        self.own: list[Connection] = []
        self.look = False
        """Whether the next operation that interrupts none shall look after them all."""


def another(file: File) -> tuple[Connection, list[Connection]]:
    """Return a connection where none lies idle, and the list it goes back to."""
    idle = file.idle
    if _interrupts(sys._getframe(1)):  # noqa: SLF001  # the only way to see what is suspended
        # What is suspended beneath goes on with its own connection, and gives it back to the
        # old list: the next operation finds this one empty, and looks after all.
        idle.look = True
        idle.connections = []
        home = idle.spare
        try:
            return home.pop(), home
        except IndexError:
            connection = Connection(file, nested=True)
            idle.own.append(connection)
            return connection, home
    # No operation of this thread is under way: whatever is not idle was left by an exception.
    for connection in idle.own:
        with connection.lock:
            connection.recover()
    if not idle.own:
        idle.own.append(Connection(file))
    first, *idle.spare = idle.own
    first.nested = False
    for connection in idle.spare:
        connection.nested = True
    idle.connections = home = []
    idle.look = False
    return first, home


operations = {__name__}
"""The modules whose frames are an operation's; each that begins one adds itself."""


def _interrupts(frame: FrameType | None) -> bool:
    """Tell whether the operation of this frame began in the midst of another one."""
    asking = True
    while frame is not None:
        ours = frame.f_globals.get("__name__") in operations
        if ours and not asking:
            return True
        asking = asking and ours
        frame = frame.f_back
    return False


_live: Instances[Connection] = Instances()
_open: dict[int, sqlite3.Connection] = {}  # also those whose owner the collector has just taken
_gate = threading.RLock()
_graveyard: deque[tuple[str, sqlite3.Connection]] = deque()


def gate() -> threading.RLock:
    """Return the lock under which connections are opened."""
    return _gate


def registered() -> list[Connection]:
    """Return every connection of the process."""
    return _live.all()


def _bury() -> None:
    """Close what ended threads left, unless someone else is at the gate, who then does."""
    while _graveyard:
        taken: list[bool] = []
        try:
            taken.extend(map(_gate.acquire, (False,)))
            if not taken[0]:
                return
            raw = _graveyard.popleft()[1]
            raw.close()
            _open.pop(id(raw), None)
        except (IndexError, sqlite3.Error):
            pass
        finally:
            if True in taken:
                _gate.release()


# Forks by Python. See the invariants above.


class _Forking(threading.local):
    """What the thread that forks holds meanwhile; of several that fork at once, each its own."""

    def __init__(self) -> None:
        self.held: dict[Connection, list[bool]] = {}
        self.interrupted: list[Connection] = []
        self.gated: list[bool] = []


_forking = _Forking()
_MOMENT = 0.05
"""Seconds in which another thread that has taken a lock, to fork, surely says so."""


def _before_fork() -> None:
    if not same[0]:
        forked()
    try:
        _close_all()
    except BaseException:  # a signal handler's: Python shows it, and forks all the same
        _open_gate()
        _close_all()
        raise


def _close_all() -> None:
    _hold(registered(), -1)
    _forking.gated.extend(map(_gate.acquire, (True,)))
    # One that is not open cannot become so now; the others have come since. The wait is
    # short, because such a connection's thread may itself be on its way to the gate.
    while not _hold([one for one in registered() if one.raw is not None], 0.1):
        _open_gate()
        _hold(registered(), -1)
        _forking.gated.extend(map(_gate.acquire, (True,)))
    for connection, got in _forking.held.items():
        if got:
            connection.shut()
    _graveyard.clear()
    used = {id(one.raw) for one in _forking.interrupted}
    for key in [*_open.keys() - used]:
        _open.pop(key).close()


def _open_gate() -> None:
    while _forking.gated:
        _forking.gated.pop()
        _gate.release()


def _hold(connections: Sequence[Connection], patience: float) -> bool:
    """Take these connections' locks; False if one did not come free in time."""
    for connection in connections:
        got = _forking.held.setdefault(connection, [])
        if got or connection in _forking.interrupted:
            continue
        ours = connection.thread == threading.get_ident()
        while not got:
            wait = _MOMENT if ours else patience
            got.extend(map(connection.lock.acquire, (True,), (wait,)))
            if got[0]:
                connection.forking = True
                continue
            got.clear()
            if not ours:
                return False
            if not connection.forking:  # else another thread that forks holds it
                # This very thread is in the middle of using it: a signal handler forks.
                _forking.interrupted.append(connection)
                break
    return True


def _after_fork_in_parent() -> None:
    for connection, got in _forking.held.items():
        if got:
            connection.forking = False
            connection.lock.release()
    _forking.held.clear()
    _forking.interrupted.clear()
    _open_gate()
    _bury()


# The child, whoever forked it

_torn: set[str] = set()
_EVERY = ""  # stands for every path


def torn(path: str) -> bool:
    """Tell whether the file must not be used in this process: see ``_in_child``."""
    return path in _torn or _EVERY in _torn


def _in_child() -> None:
    """Close what was inherited; after a fork by Python that is nothing.

    SQLite's record of a file goes with the last connection to it, and the next one to open it
    takes locks of its own. What an operation was using cannot be closed: its memory may be
    in the midst of a change, and rolling back would write to the parent's log. Then the file
    is torn: not to be used here. Where another thread may have been inside SQLite, it may
    have held a mutex that nobody releases here, so every file is.
    """
    global _gate  # noqa: PLW0603  # a lock others waited for at the fork is not to be trusted
    if not _forking.gated and not _gate.acquire(blocking=False):
        _torn.add(_EVERY)
    inherited: dict[str, list[tuple[Connection | None, sqlite3.Connection]]] = {}
    for connection in registered():
        raw, under_way = connection.raw, connection.lock.locked()
        if raw is not None:
            inherited.setdefault(connection.file.path, []).append((connection, raw))
            if under_way or connection.busy:
                _torn.add(connection.file.path)
            if under_way and connection.thread != threading.get_ident():
                _torn.add(_EVERY)
        connection.lock = threading.Lock()
        connection.forking = False
    for path, raw in _graveyard:
        inherited.setdefault(path, []).append((None, raw))
    _graveyard.clear()
    _forking.held.clear()
    _forking.interrupted.clear()
    _forking.gated.clear()
    _gate = threading.RLock()
    for path, connections in inherited.items():
        if torn(path):
            _leak(connections)
            continue
        with nothing_deleted(path, [raw for _, raw in connections]) as safe:
            if not safe:
                _torn.add(path)
                _leak(connections)
                continue
            for owner, raw in connections:
                if owner is not None:
                    owner.shut()
                raw.close()
    _open.clear()


def _leak(connections: Sequence[tuple[Connection | None, sqlite3.Connection]]) -> None:
    """Never close them, not even at exit: that would be using them."""
    import ctypes  # 10 ms to import

    for connection, raw in connections:
        kept: list[object] = [raw]
        if connection is not None:
            kept.append(connection.cursor)
            connection.raw = connection.cursor = None
            connection.end_statement()
        for each in kept:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


def _at_exit() -> None:
    # A child of a fork in C that never used its file: before the interpreter closes it.
    if not same[0]:
        forked()


after_fork_in_child(_in_child)
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)

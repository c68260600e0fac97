"""Writes of one process to a SQLite file, which are committed together where they meet.

A *write* is enqueued and waits. One of the threads leads: while it holds the *lead*, a lock, it
takes the writes that wait, does them in one transaction, and tells each of them its outcome, after
COMMIT has returned and not before. So they share one flush. Where nobody waits, none of this is
used: see ``SQLiteStore.apply``.

- **Each write keeps its own condition, outcome and errors.** A write is one statement that changes
  something, and so atomic in a transaction as without; a write of several such has a SAVEPOINT.
  After an error that concerns them all (SQLITE_FULL ends the transaction, savepoints included)
  everything is rolled back, and each write is done once more, by itself.
- **A write is taken only once the lock of the file is held.** Until then it can be withdrawn: its
  awaiter was cancelled, its thread was interrupted, its loop or the file was closed. Only a write
  that has waited for other processes for the whole ``busy_timeout`` fails.
- **Processes that meet at the file stand in a line** (``line``). The first of it asks SQLite for
  the lock, ten times in a millisecond, until it has its turn; the others wait for theirs. Who has
  met others of late, or committed much, looks at the line when its turn is over.
- **An exception may come out between any two steps**, as ``connections`` says. Writes that are
  taken stay in ``_batch`` until each has its outcome. One call of C runs COMMIT and adds to a list,
  which shows whether it has returned. Where it has not, the leader rolls back and puts the others
  back. The next leader finishes what an interrupted one could not.
- **Another thread may add a write at any time**, also while this one goes through a queue: where
  the collector runs then, and calls a finalizer. So a copy is gone through, which one call of C
  makes.
- **Puts without a condition that follow each other are one statement**, or a few: each statement
  lets go of the interpreter's lock, and a thread that takes it meanwhile may keep it for 5 ms.
  Where one of them cannot be done, each is done by itself, which leaves the same.
- **A leader that goes wakes the next one.** Should an exception come between these two steps, those
  who wait find the lead free a moment later: they look.
- **A fork** waits for the leader, which holds its connection's lock whenever it uses SQLite. The
  child drops the queue: its writes are the parent's.

An operation that a signal handler or a finalizer begins in the midst of another one of its thread
cannot wait for that. It writes by itself.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import groupby, islice, repeat, starmap
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import LPCMError, StoreError
from lpcm.ports import Applied
from lpcm.stores.sqlite.bulk import OF_ONE_WRITE, applied, put_rows
from lpcm.stores.sqlite.confirm import confirm
from lpcm.stores.sqlite.connections import operations
from lpcm.stores.sqlite.file import is_busy
from lpcm.stores.sqlite.line import OFTEN, Line
from lpcm.stores.sqlite.statements import changes
from lpcm.stores.sqlite.writes import end, pass_on, wake
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Stored
    from lpcm.stores.sqlite.bulk import Row
    from lpcm.stores.sqlite.connections import Connection
    from lpcm.stores.sqlite.file import File
    from lpcm.stores.sqlite.near import NearCache
    from lpcm.stores.sqlite.writes import Write

__all__ = ["Commits"]

operations.add(__name__)

MOST: Final = 256
"""Writes of one transaction: so that others get their turn."""
MOST_BYTES: Final = 1_000_000
MOMENT: Final = 0.001
"""Seconds between two attempts to get the lock of the file."""
_IN_A_ROW = 16  # transactions of several writes, after which others are looked for
_OF_LATE = 0.1
_NAP = 0.0001
_NAPS = 10
_LOOK = 0.05  # seconds after which who waits looks whether there is still a leader


class _Batch:
    """Writes that were taken, and do not have their outcome yet."""

    __slots__ = ("before", "committed", "home", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.home: deque[Write] = deque()
        """Where they are put back."""
        self.before = b""
        self.committed: list[object] = []
        """Not empty: COMMIT has returned."""


class Commits:
    """The writes of this process to one file."""

    def __init__(self, file: File, near: NearCache) -> None:
        self._file = file
        self._near = near
        self._begin_anew()
        follow(self, Commits._after_fork)

    def _begin_anew(self) -> None:
        self.lead = threading.Lock()
        self.alone = True
        """Whether no other write, of this process or another, was met of late."""
        self._crowd = 0
        """How many writes the last transaction had: as many may come again at once."""
        self._called = False
        """Whether a thread is in ``lead_all``, or on its way there."""
        self._leader = 0
        self.queue: deque[Write] = deque()
        """Writes that wait. Who held the lead has them wake up, if there are any."""
        self._singles: deque[Write] = deque()
        """Writes that are done by themselves, before all others."""
        self._batch: _Batch | None = None
        self._busy_since = 0.0
        """When the lock was first refused, since it was last given."""
        self._busy_last = -_OF_LATE
        """When this process last waited for others."""
        self._line = Line(self._file.path)
        self._row = 0

    # Waiting

    def write(self, write: Write) -> Any:
        """Do a write, together with those that wait; return its outcome, or raise its error."""
        with self._file.connection() as connection:
            if connection.nested:
                return self._nested(connection, write)
            self.queue.append(write)
            try:
                while not write.ended:
                    if not self.lead.locked():
                        self._turn(partial(self._lead, connection, write))
                    self._wait(write)
            except BaseException:
                # What another thread has taken is in a transaction that is about to end.
                while not write.ended and not self.withdraw(write):
                    self._turn(self._settle)
                    self._wait(write)
                raise
            finally:
                pass_on(write)
        return write.result()

    def enqueue(self, write: Write) -> bool:
        """Let a write wait that is awaited; tell whether a thread must be called to lead."""
        if not same[0]:
            forked()
        self.queue.append(write)
        called, self._called = self._called, True
        return not called

    def lead_all(self) -> None:
        """Do all that waits, on this thread, which waits for nothing else."""
        if not same[0]:
            forked()
        try:
            while self.queue or self._singles:
                with self._file.connection() as connection, self.lead:
                    self._lead(connection, None)
                self._called = False
        except Exception as error:
            self.withdraw_all(error)
            raise
        finally:
            self._called = False
            self.wake_next()

    def withdraw(self, write: Write) -> bool:
        """Take a write back that was not taken; tell whether that was so."""
        for queue in (self.queue, self._singles):
            try:
                queue.remove(write)
            except ValueError:
                continue
            return True
        return False

    def withdraw_all(self, error: Exception) -> None:
        """End all writes that were not taken."""
        for write in self._waiting():
            if self.withdraw(write):
                write.error = self._of_one(error)
                end([write])

    def _waiting(self) -> list[Write]:
        """Return the writes that wait: before all others those that are done by themselves."""
        return [*self._singles.copy(), *self.queue.copy()]

    def _turn(self, work: Callable[[], object]) -> None:
        """Do the work with the lead; nothing if another thread has that."""
        lead, taken = self.lead, list[bool]()
        try:
            taken.extend(map(lead.acquire, (False,)))  # see connections
            if taken[0]:
                work()
        finally:
            if True in taken:
                lead.release()
                self.wake_next()

    @staticmethod
    def _wait(write: Write) -> None:
        if not write.ended:
            write.wake.acquire(timeout=_LOOK)

    def wake_next(self) -> None:
        """Have another thread lead, where one waits; awaited writes have called one already."""
        for write in self._waiting():
            if write.loop is None:
                wake(write)
                return

    # Leading

    def _lead(self, connection: Connection, own: Write | None) -> None:
        """Do what waits until ``own`` has ended; None: until nothing waits. Holds the lead."""
        self._leader = threading.get_ident()
        try:
            self._settle()
            while (self.queue or self._singles) and not (own is not None and own.ended):
                self._gather()
                first = self._may_go()
                if first and self._attempt(connection, own):
                    self._granted()
                else:
                    self._refused(first=first)
        finally:
            self._leader = 0
            if not self.queue and not self._singles:
                self._busy_since = 0.0
                self._line.leave()

    def _gather(self) -> None:
        """Let those come again whom the last transaction has just released."""
        waiting = len(self.queue)
        for _ in range(_NAPS):
            if waiting >= self._crowd:
                return
            time.sleep(_NAP)
            came, waiting = len(self.queue) - waiting, len(self.queue)
            if came <= 0:
                return

    def _may_go(self) -> bool:
        """Tell whether it is this process's turn; else it stands in the line."""
        line = self._line
        if not line.standing:
            met = time.monotonic() - self._busy_last < _OF_LATE
            if line.ours() or not (met or self._row >= _IN_A_ROW):
                return True
            self._row = 0
            line.stand()
        return line.first()

    def _granted(self) -> None:
        """Begin a turn, where this process stood in the line for it."""
        if self._busy_since:
            # Counted from the end of the transaction, which may have taken long.
            self._busy_last = time.monotonic()
            self._busy_since = 0.0
            self.alone = False
        self._line.leave()

    def _refused(self, *, first: bool) -> None:
        """Stand in the line; end those that have waited for the whole ``busy_timeout``."""
        now = self._busy_last = time.monotonic()
        self._busy_since = self._busy_since or now
        for write in self._waiting():
            if now - max(write.since, self._busy_since) < self._file.busy_timeout:
                break
            if self.withdraw(write):
                write.error = self._file.busy()
                end([write])
        placed = self._line.stand()
        time.sleep(OFTEN if first and placed else self._line.pause())

    def _attempt(self, connection: Connection, own: Write | None) -> bool:
        """Do some of what waits; return False if others hold the lock, and nothing was taken."""
        batch = self._batch = _Batch()
        try:
            with connection.lock:
                connection.busy = True
                connection.hasten()
                self._do(connection, batch, own)
                self._finish(connection, batch)
                connection.busy = False
        except (LPCMError, sqlite3.Error, *OF_ONE_WRITE) as error:
            with connection.lock:
                connection.recover()
            return self._failed(batch, error)
        except BaseException:
            with connection.lock:
                connection.recover()
            self._settle()
            raise
        return True

    def _do(self, connection: Connection, batch: _Batch, own: Write | None) -> None:
        waiting = list(islice(self._singles.copy(), 1)) or list(islice(self.queue.copy(), MOST))
        if len(waiting) == 1 and not waiting[0].several and own in {None, waiting[0]}:
            # As if it had never waited: one statement, and no transaction around it. Not where it
            # is another thread's: nobody could tell what an interrupted one has done.
            self._take(batch, 1)
            for write in batch.writes:
                batch.before = self._near.view.raw
                write.error = None
                write.outcome = None if write.dropped() else write.do(connection)
            batch.committed.append(True)
        else:
            connection.execute("BEGIN IMMEDIATE")
            batch.before = self._near.view.raw
            self._take(batch, _fitting(waiting))
            self._do_all(connection, batch.writes)
            batch.committed.extend(map(connection.execute, ("COMMIT",)))
        self._crowd = len(batch.writes)
        self._row += self._crowd > 1
        self.alone = self._crowd < 2 and time.monotonic() - self._busy_last > _OF_LATE

    def _take(self, batch: _Batch, count: int) -> None:
        batch.home = self._singles or self.queue
        # One call of C, so that no write is in neither place. Some may be withdrawn meanwhile.
        with suppress(IndexError):
            batch.writes.extend(starmap(batch.home.popleft, repeat((), count)))

    def _do_all(self, connection: Connection, writes: Sequence[Write]) -> None:
        """Do writes in their order; those that follow each other and are ``plain`` in one go."""
        for plain, some in groupby(writes, _is_plain):
            run = list(some)
            if not plain or not self._put_all(connection, run):
                for write in run:
                    self._do_one(connection, write)

    @staticmethod
    def _put_all(connection: Connection, writes: Sequence[Write]) -> bool:
        """Do plain writes; return False where one cannot be done, and some may be done."""
        kept: list[tuple[Write, Row]] = []
        size = 0
        for write in writes:
            write.error = write.outcome = None
            if write.plain is not None and not write.dropped():
                kept.append((write, write.plain))
                size += write.size
        try:
            put_rows(connection.execute, [row for _, row in kept], size)
        except OF_ONE_WRITE:
            if _is_over(connection):
                raise
            return False
        for write, row in kept:
            write.outcome = [applied(row)]
        return True

    def _do_one(self, connection: Connection, write: Write) -> None:
        write.error = write.outcome = None
        if write.dropped():
            return
        if write.several:
            connection.execute("SAVEPOINT one")
        try:
            write.outcome = write.do(connection)
        except (LPCMError, *OF_ONE_WRITE) as error:
            if _is_over(connection):
                raise
            write.error = self._of_one(error)
            if write.several:
                connection.execute("ROLLBACK TO one")
        if write.several:
            connection.execute("RELEASE one")

    def _failed(self, batch: _Batch, error: Exception) -> bool:
        """Do what an error of a transaction asks for, which was rolled back; as ``_attempt``."""
        if batch.committed:  # and now it is out of its place: see confirm
            for write in batch.writes:
                write.error = write.error or self._of_one(error)
        elif is_busy(error):
            self._settle()
            return False
        else:
            if not batch.writes:  # it could not even begin
                self._take(batch, 1)
            if len(batch.writes) > 1:
                batch.home = self._singles
                self._settle()
                return True
            for write in batch.writes:
                write.error = self._of_one(error)
        end(batch.writes)
        self._batch = None
        return True

    def _of_one(self, error: Exception) -> Exception:
        """Return the error for one write: an object of its own, for it gets a traceback."""
        if isinstance(error, sqlite3.Error):
            own = self._file.translated(error)
        elif isinstance(error, LPCMError):
            own = type(error)(*error.args)
        else:
            return error
        own.__cause__ = error
        return own

    def _finish(self, connection: Connection, batch: _Batch) -> None:
        """Tell each write its outcome, which is committed."""
        rows: list[tuple[str, str, Stored | None]] = []
        known, changed = True, False
        for write in batch.writes:
            if write.error is not None:
                continue
            if write.rows is None:
                known = False
            elif isinstance(write.outcome, list):
                for (where, sk, op), outcome in zip(write.rows, write.outcome, strict=True):
                    if type(outcome) is Applied:
                        rows.append((where, sk, outcome.entry))
                        changed = changed or changes(op, outcome)
        now = max((write.now for write in batch.writes), default=0.0)
        confirm(self._file, connection, wrote=bool(rows) or not known, now=now)
        if known and changed and self._near.state[0] == batch.before:
            self._near.wrote(batch.before, rows)
        self._settle()

    def _settle(self) -> None:
        """Tell the writes of the last transaction what became of them, or put them back."""
        batch = self._batch
        if batch is None:
            return
        if batch.committed:
            end(batch.writes)
        else:
            batch.home.extendleft(map(batch.writes.pop, repeat(-1, len(batch.writes))))
        self._batch = None

    # By itself

    def _nested(self, connection: Connection, write: Write) -> Any:
        until = time.monotonic() + self._file.busy_timeout
        while True:
            try:
                with connection.lock:
                    connection.hasten()
                    if write.several:
                        connection.execute("BEGIN IMMEDIATE")
                    write.outcome = write.do(connection)
                    if write.several:
                        connection.execute("COMMIT")
                    confirm(self._file, connection)
                    return write.outcome
            except sqlite3.OperationalError as error:
                # In a transaction of this very thread, it would wait for itself.
                own = self._leader == threading.get_ident()
                if not is_busy(error) or own or time.monotonic() >= until:
                    raise
                with connection.lock:
                    connection.recover()
            time.sleep(MOMENT)

    def _after_fork(self) -> None:
        waiting = [*self._waiting(), *(self._batch.writes if self._batch else ())]
        self._begin_anew()
        for write in waiting:
            # Read by who was interrupted by the fork, by a signal handler's.
            write.error = StoreError(
                f"{self._file.path}: forked while this write waited: the parent does it"
            )
            write.ended = True


def _is_plain(write: Write) -> bool:
    return write.plain is not None


def _is_over(connection: Connection) -> bool:
    """Tell whether an error has ended the transaction."""
    return connection.raw is None or not connection.raw.in_transaction


def _fitting(writes: Sequence[Write]) -> int:
    """Return how many of the writes go into one transaction."""
    size = 0
    for number, write in enumerate(writes, 1):
        size += write.size
        if size > MOST_BYTES:
            return number
    return len(writes)

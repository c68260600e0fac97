"""The near cache: rows of a SQLite file in this process, served while nobody has written.

The index of the write-ahead log (``-shm``) begins with a header of 48 bytes. Every commit, of any
process, changes it before the commit returns, and no header comes again as long as one connection
is open. So rows that were read between two looks at one header are what the file holds whenever
that header is seen again: a hit is linearizable, and costs no call of SQLite.

- **Hit**: take the state, *then* compare its header with the one that the view shows.
- **Miss**: look at the header; SELECT to its end, outside any transaction; look again. Only where
  both are equal the row is added to the state of that header (``fill``).
- **Own write**: where the header before the write is the state's, and exactly one commit lies
  between that and the header after it, the commit is that write: its rows are replaced and the new
  header remembered (``wrote``). Writes that were committed together are one commit. Without "it
  wrote", a refused write and another process's commit look the same; without the rule on frames, a
  recovery that counts from 0 does.
- **End**: when the pin, a connection of this cache's own, is closed, all is forgotten first. After
  the last connection is closed, the next header is always the same one.

No lock: a state is replaced as a whole, and each is true by itself. ``fill`` never replaces a
row, so it cannot undo a ``wrote`` that came between its look and its end; and ``wrote`` never
removes one, but writes down that the key is absent.

The view is a mapping of SQLite's own descriptor of the index. Opening the index here would not
do: closing any descriptor of a file drops the locks that this process has on it.

Invariant: as in ``ports.near``.
"""

from __future__ import annotations

import os
import sys
from struct import Struct
from sys import getsizeof
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import finalize, ref

from lpcm.errors import LPCMError
from lpcm.ports.near import NOTHING, SHARE
from lpcm.stores.sqlite.connections import Connection, operations
from lpcm.system import process

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lpcm.ports.near import NearState, Row, View
    from lpcm.ports.store import Stored
    from lpcm.stores.sqlite.file import File

__all__ = ["WORTH", "NearCache", "alive", "file_system", "is_network"]

operations.add(__name__)

_HEADER = 48
_FIELDS = Struct("=8x I 4x I 12x 8s 8x")  # the counter of commits, the last frame, the salts
_VERSION = (3007000).to_bytes(4, sys.byteorder)
_ROW = 330  # bytes of what is kept of an entry, beside its key and its data
_PAGE = 4096
WORTH = 16  # reads after which a program is one that reads
_NETWORK = frozenset({
    "9p", "afs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "smb3", "smbfs", "virtiofs",
})  # fmt: skip


class _Off:
    """The view of nothing."""

    raw = b""


_OFF = _Off()
_EMPTY: NearState = (None, {}, {})


class _Pin(Connection):
    """The connection that keeps the index what it is."""

    __slots__ = ("_near",)

    def __init__(self, file: File, near: NearCache) -> None:
        self._near = ref(near)
        super().__init__(file)

    def shut(self) -> None:
        """Disconnect, and forget all before."""
        near = self._near()
        if near is not None:
            near.forget()
        super().shut()


class NearCache:
    """The near cache of one store. See ``ports.near`` for what is public."""

    ages = False
    monotonic = staticmethod(monotonic)

    def __init__(self, file: File, size: int) -> None:
        self.state = _EMPTY
        self.view: View = _OFF
        self.place = file.place
        self.hits = 0
        self.limit = size
        self.off = "" if size else "near_cache=0"
        """Why there is none; "" where there is one, or will be at the next read."""
        self.wanted = not self.off
        """Whether the next read shall open it."""
        self.held = 0
        """Bytes of the young rows, at most ``half``."""
        self.half = size // 2
        self._file = file
        self._pin: _Pin | None = None
        self._opening = process.Lock()
        self._reads = 0
        process.follow(self, NearCache.forget)

    def open(self) -> None:
        """Begin to look at the index, where that can be done and enough is read."""
        self._reads += 1
        if self._reads < WORTH:
            return
        try:
            with self._opening():
                pin = self._pin = self._pin or _Pin(self._file, self)
                with pin.lock:
                    if not self.wanted:
                        return
                    self.wanted = False
                    try:
                        self._open(pin.raw or pin.open())
                    except BaseException:
                        pin.shut()
                        raise
        except (LPCMError, OSError, ImportError) as error:
            self.off = str(error)
            self.wanted = False

    def _open(self, raw: sqlite3.Connection) -> None:
        if sys.platform != "linux":
            raise OSError("not on this system")
        index = os.path.realpath(self._file.path) + "-shm"
        raw.execute("SELECT 1 FROM sqlite_master").fetchone()
        found = os.stat(index)  # noqa: PTH116  # pathlib costs import time
        kind = file_system(found.st_dev)
        if is_network(kind):
            raise OSError(f"its file system is {kind}")
        view = _mapped(_descriptor(found.st_dev, found.st_ino))
        if view.raw[:4] != _VERSION or not view.raw[12]:
            raise OSError("the index of its log has another format")
        self.off = ""
        self.view = view

    def forget(self) -> None:
        """Serve nothing more; the next read begins anew."""
        self.state = _EMPTY
        self.view = _OFF
        self.wanted = self.limit > 0

    def info(self) -> dict[str, object]:
        """Return whether it is on, or why not, and how often it was asked with success."""
        held = sum(map(len, (*self.state[1].values(), *self.state[2].values())))
        return {
            "near_cache": self.off or ("on" if self.view is not _OFF else "not yet used"),
            "near_entries": held,
            "near_hits": self.hits,
        }

    def find(self, state: NearState, map: str, sk: str) -> Row | None:
        """Return the row of a state, whose header was compared after the state was taken."""
        rows = state[1].get(map)
        row = None if rows is None else rows.get(sk)
        if row is None and state[2]:
            rows = state[2].get(map)
            row = None if rows is None else rows.get(sk)
            if row is not None:
                self._add(state, map, sk, row)
        if row is not None:
            self.hits += 1
        return row

    def fill(
        self, state: NearState, header: bytes, map: str, sk: str, stored: Stored | None
    ) -> None:
        """Add what a SELECT found between two looks at this header; ``state``: before both."""
        if state[0] != header:
            state = self.state
            if state[0] != header:
                state = self.state = (header, {}, {})
                self.held = 0
        rows = state[1].get(map)
        if rows is None:
            rows = state[1].setdefault(map, {})
        size = _ROW + len(sk) if stored is None else _ROW + len(sk) + getsizeof(stored[0])
        rows.setdefault(sk, [stored, NOTHING, size])  # never replaced: see the module
        self.held = held = self.held + size
        if held > self.half:
            self._turn(state)

    def _add(self, state: NearState, map: str, sk: str, row: Row) -> None:
        """Add a row to the young ones."""
        rows = state[1].get(map)
        if rows is None:
            rows = state[1].setdefault(map, {})
        rows.setdefault(sk, row)  # never replaced: see the module
        self.held += row[2]
        if self.held > self.half:
            self._turn(state)

    def keep(self, row: Row, value: Any, size: int) -> bool:
        """Keep the decoded value with its row, unless it takes too much; tell whether."""
        if size > self.half // SHARE:
            return False
        row[1] = value
        row[2] += size
        self.held += size
        if self.held > self.half:
            self._turn(self.state)
        return True

    def wrote(self, before: bytes, rows: Sequence[tuple[str, str, Stored | None]]) -> None:
        """Replace rows by what one commit of ours has written, after it has returned.

        ``before``: the header before its first statement. It has changed one of the rows at least.
        ``rows``: map, encoded key and entry of each, in the order in which they were written.
        """
        after = self.view.raw
        state = self.state
        if state[0] != before:
            return
        if not _one_commit(before, after):
            self.state = _EMPTY
            return
        _, young, old = state
        held = 0
        for where, sk, stored in rows:
            entries = young.get(where)
            if entries is None:
                entries = young.setdefault(where, {})
            size = _ROW + len(sk) + (0 if stored is None else getsizeof(stored[0]))
            entries[sk] = [stored, NOTHING, size]
            held += size
        self.state = state = (after, young, old)
        self.held += held
        if self.held > self.half:
            self._turn(state)

    def _turn(self, state: NearState) -> None:
        """Let go of what was not read again since the last turn."""
        self.state = (state[0], {}, state[1])
        self.held = 0


def alive(stored: Stored | None, now: float) -> Stored | None:
    """Return the entry unless it has expired."""
    expires = None if stored is None else stored[3]
    return stored if expires is None or expires > now else None


def _one_commit(before: bytes, after: bytes) -> bool:
    """Tell whether exactly one commit lies between two headers."""
    if len(after) != _HEADER:
        return False
    count, frames, salts = _FIELDS.unpack(before)
    count_after, frames_after, salts_after = _FIELDS.unpack(after)
    # A recovery counts commits from 0; a commit has a frame for each page.
    return bool(
        salts == salts_after and count_after == count + 1 and frames_after - frames <= count
    )


def _descriptor(device: int, inode: int) -> int:
    """Return SQLite's own descriptor of the index."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # pathlib costs import time
        try:
            found = os.fstat(int(name))
        except OSError:  # that of the listing
            continue
        if (found.st_dev, found.st_ino) == (device, inode):
            return int(name)
    raise OSError("the index of its log is in no file")


def _mapped(descriptor: int) -> View:
    import ctypes  # 10 ms to import

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, _PAGE, 1, 1, descriptor, 0)  # PROT_READ, MAP_SHARED
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "cannot map the index of its log")
    view = (ctypes.c_char * _HEADER).from_address(address)
    # With the last one who reads it, not with the pin: a hit may be under way.
    finalize(view, libc.munmap, address, _PAGE).atexit = False
    return view


def is_network(kind: str) -> bool:
    """Tell whether a type of file system may be another machine's."""
    return kind in _NETWORK or kind.startswith("fuse")


def file_system(device: int) -> str:
    """Return the type of the file system of a device."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:  # noqa: PTH123  # as above
        for line in mounts:
            words = line.split()
            if words[2] == number:
                return words[words.index("-") + 1]
    return ""

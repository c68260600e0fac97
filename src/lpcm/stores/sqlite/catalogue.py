"""The catalogue of a SQLite file: a row for each map, and each namespace's identity.

Says what rows there are; transactions are the caller's connection's. The identity stands among
the entries, under the namespace's own partition, which is no map's: so files of earlier versions
need no other schema, and earlier versions do not see it.

Invariant: two files that exist at one time never give one identity, copies of each other
included. The random half tells files that were made apart; the file's number on its device,
and the system that runs, tell copies apart. Clients of one file give the same, whatever path,
host name or container they see it from: they share the system, which the log's index needs.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from lpcm.ports import MapState
from lpcm.stores.sqlite.foreign import MAPS, catalogued
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from lpcm.ports import MapInfo
    from lpcm.stores.sqlite.connections import Execute

__all__ = ["IDENTITY", "describe", "register", "renew"]

IDENTITY = "identity"
"""The ``sk`` of the row with a namespace's identity."""
_MAP = f"{MAPS} WHERE pk = ?"
_NEW_MAP = "INSERT INTO maps VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_IDENTITY = "SELECT v FROM entries WHERE pk = ? AND sk = ?"
_NEW_IDENTITY = "INSERT INTO entries(pk, sk, etag, v) VALUES (?, ?, 0, ?) ON CONFLICT(pk, sk) DO"


def describe(execute: Execute, path: str, namespace: str, name: str) -> MapState:
    """Return what the catalogue says of a map."""
    row = execute(_MAP, (partition(namespace, name),)).fetchone()
    identity = execute(_IDENTITY, (partition(namespace), IDENTITY)).fetchone()
    return MapState(
        None if identity is None else f"{identity[0]}:{_number(path)}",
        None if row is None else catalogued(path, row),
    )


def register(execute: Execute, path: str, namespace: str, info: MapInfo) -> MapState:
    """Enter a map, and the namespace's identity, unless they are there; in a transaction."""
    execute(_NEW_MAP, (partition(namespace, info.name), namespace, *info))
    execute(f"{_NEW_IDENTITY} NOTHING", _row(namespace))
    return describe(execute, path, namespace, info.name)


def renew(execute: Execute, namespace: str) -> None:
    """Give the namespace a new identity."""
    execute(f"{_NEW_IDENTITY} UPDATE SET v = excluded.v", _row(namespace))


def _row(namespace: str) -> tuple[str, str, str]:
    return partition(namespace), IDENTITY, os.urandom(16).hex()


def _number(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116  # pathlib costs import time
    except OSError:
        return ""  # it is no more in its place, of which the caller tells
    return f"{found.st_dev}:{found.st_ino}:{_system()}"


@functools.cache
def _system() -> str:
    """Return what tells the running system from others, where that can be told.

    The first files of two new disks have one number, and are copies where both came from one
    image. A restart gives another one: nobody has the file open then.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123  # as above
            return file.read().strip()
    except (OSError, ValueError):
        return ""

"""What the modules below ``file`` know of a database file and its connections: types alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import sqlite3
    import threading
    from collections.abc import Sequence

    from lpcm.stores.sqlite.location import Place

__all__ = ["Database", "Handle"]


class Handle(Protocol):
    """A connection of one thread, open or not."""

    lock: threading.Lock
    """Held by the operation that uses the connection."""
    raw: sqlite3.Connection | None
    """None: not open."""

    def shut(self) -> None:
        """Disconnect; the next use connects again."""
        ...


class Database(Protocol):
    """A database file and this process's connections to it."""

    path: str
    place: Place
    closed: bool
    pragmas: list[str]
    """What every connection is told when it is opened."""

    def check_usable(self) -> None:
        """Raise where nothing may be opened."""
        ...

    def connect(self, mode: str) -> sqlite3.Connection:
        """Connect without creating anything."""
        ...

    def connections(self) -> Sequence[Handle]:
        """Return every connection of every thread."""
        ...

    def translated(self, error: sqlite3.Error) -> Exception:
        """Return lpcm's exception for one of SQLite's."""
        ...

    def close(self) -> None:
        """Disconnect every thread."""
        ...

"""Backups of a store's file: ``lpcm.backup`` and its awaitable twin.

Knows stores by their port: which of them can be backed up, each says itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lpcm.engine.aliases import resolve
from lpcm.engine.drive import run
from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from lpcm.engine.engine import Engine
    from lpcm.ports import Store

__all__ = ["abackup", "backup"]


def backup(path: str | os.PathLike[str], *, using: str | Engine = "default") -> None:
    """Copy the SQLite file of an alias to ``path``, as of one instant, while it is in use.

    The copy is written beside ``path`` and replaces it at the end, so an earlier backup is there
    until the new one is whole. To restore, see ``docs/howto/backup.md``.

    **Cost**: reads and writes the whole file; its log grows by all writes meanwhile.
    **Raises** ``ConfigError`` where the store is no file, ``StoreError`` where ``path`` is the
    database itself or another one in use, or cannot be written.

    >>> from lpcm import LPCM, Engine
    >>> LPCM("pets")["rex"] = "dog"
    >>> backup("saturday.sqlite3")
    >>> LPCM("pets", url="sqlite:///saturday.sqlite3").get("rex")
    'dog'
    >>> backup("saturday", using=Engine.open("memory://"))
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: memory://: has no file to back up: use `lpcm export` ...
    """
    engine = resolve(using, None)
    run(_backup(engine, engine.store, path))


async def abackup(path: str | os.PathLike[str], *, using: str | Engine = "default") -> None:
    """Await ``backup``."""
    engine = resolve(using, None)
    stack = engine.awaitable()
    await stack.drive(_backup(engine, stack.store, path), reads=True)


def _backup(
    engine: Engine, store: Store, path: str | os.PathLike[str]
) -> Coroutine[Any, Any, None]:
    copy = getattr(store, "backup", None)
    if copy is None:
        raise ConfigError(
            f"{engine.location}: has no file to back up: use `lpcm export` to write its entries"
        )
    operation: Coroutine[Any, Any, None] = copy(os.fspath(path))
    return operation

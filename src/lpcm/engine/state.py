"""The state of the process that every map looks at: its epoch, its fence, its namespace.

Read as ``state.epoch`` and ``state.fence``, through the module: both are replaced. Knows no
engine and no configuration.

Invariant: whatever changes the meaning of an alias or the namespace calls ``refresh``. So a map
made at import time follows a later ``configure`` or ``testing.insulate``.
"""

from __future__ import annotations

import os

from lpcm.system import process

__all__ = ["lock", "namespace", "refresh"]

epoch = 0
"""Raised by ``refresh``. A map that was resolved at a lower epoch must be resolved again."""

fence: str | None = None
"""The namespace that tests may write to; "": they are over, None: there are none."""

lock = process.Lock()
"""Held while the process's configuration, or which engines are open, changes."""


def refresh() -> None:
    """Make every map resolve its engine and namespace again."""
    global epoch  # noqa: PLW0603  # the one switch of the process, read on every operation
    with lock():
        epoch += 1


def namespace() -> str | None:
    """Return the namespace of all maps of the process, None: each is where it is configured."""
    return os.environ.get("LPCM_NAMESPACE") or fence or None

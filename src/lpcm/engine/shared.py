"""The engines that the process shares: one for all maps with an equal configuration.

Knows configurations and no alias. Invariant: an equal configuration has one engine, until it is
closed.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from lpcm.engine import state
from lpcm.engine.engine import Engine, open_engine

if TYPE_CHECKING:
    from lpcm.engine.config import Config

__all__ = ["close", "close_in", "forget_used", "shared", "used"]

_shared: dict[Config, Engine] = {}
_used: dict[Config, None] = {}


def shared(settings: Config) -> Engine:
    """Return the engine of a configuration, opening it if need be."""
    with state.lock():
        engine = _shared.get(settings)
        if engine is None:
            engine = _shared[settings] = open_engine(settings)
        if state.fence:
            _used[settings] = None
        return engine


def forget_used() -> None:
    """Forget which engines were used."""
    _used.clear()


def used() -> list[Engine]:
    """Return every shared engine that was used since the fence is up, opening closed ones again."""
    with state.lock():
        for settings in _used:
            if settings not in _shared:
                _shared[settings] = open_engine(settings)
        return [_shared[settings] for settings in _used]


def close_in(directory: str) -> None:
    """Close every engine whose store is a file in this directory."""
    with state.lock():
        gone = [settings for settings in _shared if settings.path.startswith(directory)]
        engines = [_shared.pop(settings) for settings in gone]
        for settings in gone:
            _used.pop(settings, None)
        state.refresh()
    for engine in engines:
        engine.close()


def close() -> None:
    """Close every engine the process shares; maps open theirs again when used."""
    with state.lock():
        engines = list(_shared.values())
        _shared.clear()
        state.refresh()
    for engine in engines:
        engine.close()


atexit.register(close)

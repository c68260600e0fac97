"""The engines that the process shares: one for all maps with an equal configuration.

Knows configurations and no alias. Each engine has *users*: the maps that work on it, and the
process itself where something else than a map asked for the engine. Invariants: an equal
configuration has one engine, until it is closed; an engine that has a user is closed by ``close``
alone, or by its own ``close``.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from lpcm.engine import state
from lpcm.engine.engine import Engine, open_engine

if TYPE_CHECKING:
    from lpcm.engine.config import Config

__all__ = [
    "close",
    "close_in",
    "forget_used",
    "hold",
    "keep",
    "let_go",
    "shared",
    "swap_used",
    "used",
]

_shared: dict[Config, Engine] = {}
_used: dict[Config, None] = {}
_users: WeakKeyDictionary[Engine, WeakSet[object]] = WeakKeyDictionary()


def shared(settings: Config) -> Engine:
    """Return the engine of a configuration, opening it if need be."""
    with state.lock():
        engine = _shared.get(settings)
        if engine is None or engine.closed:
            engine = _shared[settings] = open_engine(settings)
            _users[engine] = WeakSet()
            if settings.scheme == "memory" and not settings.path:
                keep(engine)  # its entries are in the engine alone
        if state.fence:
            _used[settings] = None
        return engine


def hold(engine: Engine, user: object) -> None:
    """Keep a shared engine open until the user lets go of it, or is collected."""
    with state.lock():
        users = _users.get(engine)
        if users is not None:
            users.add(user)


def keep(engine: Engine) -> None:
    """Keep a shared engine open until ``close``: what has it says nobody when it is done."""
    hold(engine, keep)


def let_go(engine: Engine, user: object) -> bool:
    """Tell whether the caller must close the engine: it is shared, and has no other user."""
    with state.lock():
        users = _users.get(engine)
        if users is None or engine.closed:
            return False
        users.discard(user)
        own = [settings for settings, one in _shared.items() if one is engine]
        if users or not own:  # without: ``close`` is about to close it
            return False
        del _shared[own[0]]
        engine.closed = True
        return True


def forget_used() -> None:
    """Forget which engines were used."""
    _used.clear()


def swap_used(others: dict[Config, None]) -> dict[Config, None]:
    """Count the engines used from now on with these; return those used until now."""
    global _used  # replaced whole, under the lock that its readers hold
    with state.lock():
        before, _used = _used, others
    return before


def used() -> list[Engine]:
    """Return every shared engine that was used since the fence is up, opening closed ones again."""
    with state.lock():
        for settings in _used:
            shared(settings)
        return [_shared[settings] for settings in _used]


def close_in(directory: str) -> None:
    """Close every engine whose store is a file in this directory, and forget that it was used."""
    with state.lock():
        gone = [each for each in {**_used, **_shared} if each.path.startswith(directory)]
        engines = [_shared.pop(settings) for settings in gone if settings in _shared]
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

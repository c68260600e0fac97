"""For tests: keep them away from real data, own the clock, hold adapters to their contracts.

``insulate`` gives a test run a namespace of its own, shared by its threads, tasks, forks
and subprocesses (through ``LPCM_NAMESPACE``), and removes it afterwards. The contracts are
in ``lpcm.testing.store_contract`` and ``lpcm.testing.mapping_contract``.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpcm import _engine
from lpcm._run import run

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["FakeClock", "insulate"]

_INHERITED = ("LPCM_NAMESPACE", "LPCM_URL")


@contextmanager
def insulate(url: str | None = None, *, namespace: str | None = None) -> Generator[str, None, None]:
    """Keep every map of the process in a namespace of its own; yield its name.

    Maps made before, at import time, are insulated too, and so are processes started
    meanwhile. Afterwards whatever was written to the namespace is deleted, in every store
    that this process had open. With ``url`` all aliases and URLs lead there meanwhile;
    ``memory://`` keeps a test off the disk, but is not shared with subprocesses.

    >>> from lpcm import LPCM
    >>> settings = LPCM("settings")
    >>> settings["theme"] = "dark"
    >>> with insulate():
    ...     print(settings.get("theme"))
    None
    >>> settings["theme"]
    'dark'
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = namespace or f"test-{worker}-{os.getpid()}-{secrets.token_hex(4)}"
    saved = {variable: os.environ.get(variable) for variable in _INHERITED}
    saved_override = _engine.override(url)
    os.environ["LPCM_NAMESPACE"] = name
    if url is not None:
        os.environ["LPCM_URL"] = url
    _engine.refresh()
    try:
        yield name
    finally:
        for engine in _engine.opened():
            run(engine.store.drop(name))
        for variable, value in saved.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        _engine.restore(saved_override)


class FakeClock:
    """A clock that stands still until it is moved; for ``Engine.open(url, clock=...)``.

    >>> from lpcm import LPCM, Engine
    >>> clock = FakeClock()
    >>> m = LPCM("m", using=Engine.open("memory://", clock=clock))
    >>> m.set("k", 1, ttl=60)
    >>> clock.advance(60)
    >>> "k" in m
    False
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time it shows, in epoch seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the same."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Move on by so much, at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self._now += seconds

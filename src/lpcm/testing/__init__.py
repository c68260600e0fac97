"""For tests: keep them away from real data, own the clock, hold adapters to their contracts.

``insulate`` gives a test run a namespace of its own, shared by its threads, tasks, forks
and subprocesses (through ``LPCM_NAMESPACE``), and removes it afterwards. pytest
(``lpcm.testing.pytest_plugin``), Django's test runner and ``python -m unittest`` are
insulated without being told to. The contracts are in ``lpcm.testing.contracts.store`` and
``lpcm.testing.contracts.mapping``.

Invariant: while insulated, no map of this process writes to any other namespace, whatever
becomes of the environment: what would is ``Insulated``.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpcm.engine import engine as _engine
from lpcm.engine.drive import run
from lpcm.errors import LPCMError
from lpcm.system.process import this

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["FakeClock", "insulate", "insulate_until_exit"]

_INHERITED = ("LPCM_NAMESPACE", "LPCM_SCRATCH", "LPCM_URL")


@contextmanager
def insulate(
    url: str | None = None,
    *,
    namespace: str | None = None,
    scratch: bool = False,
    final: bool = False,
) -> Generator[str, None, None]:
    """Keep every map of the process in a namespace of its own; yield its name.

    Maps made before, at import time, are insulated too, and so are forks and processes
    started meanwhile. Afterwards whatever was written to the namespace is deleted, in every
    store that this process had open.

    ``url``
        All aliases and URLs lead there meanwhile. ``memory://`` keeps a test off the disk,
        but is not shared with forks and subprocesses.
    ``scratch``
        They lead to throw-away SQLite files instead, one for each store: nothing outside
        the machine is asked. Stores in memory stay what they are.
    ``final``
        The process has nothing to do afterwards: what the tests left running must not
        write, until somebody calls ``lpcm.configure``.

    **Raises**, from the maps, Insulated where a write would reach another namespace.

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
    process = this()
    saved = {variable: os.environ.get(variable) for variable in _INHERITED}
    saved_override = _engine.override(url)
    directory = tempfile.mkdtemp(prefix="lpcm-test-") if scratch else None
    os.environ["LPCM_NAMESPACE"] = name
    if url is not None:
        os.environ["LPCM_URL"] = url
    if directory is not None:
        os.environ["LPCM_SCRATCH"] = directory
        _engine.restore(None)
    before = _engine.fence(name)
    try:
        yield name
    finally:
        try:
            if this() is process:  # a fork that ends here must not clear its parent's away
                _clear_away(name, directory)
        finally:
            for variable, value in saved.items():
                if value is None:
                    os.environ.pop(variable, None)
                else:
                    os.environ[variable] = value
            _engine.fence("" if final and before is None else before)
            _engine.restore(saved_override)


def _clear_away(namespace: str, directory: str | None) -> None:
    if directory is not None:
        _engine.close_in(directory)
        shutil.rmtree(directory, ignore_errors=True)
    failed: LPCMError | None = None
    used = _engine.used()
    for engine in {*_engine.opened(), *used}:
        try:
            run(engine.store.drop(namespace))
            engine.catalogue.forget()
        except LPCMError as error:  # and on to the others
            if (
                engine in used or engine.catalogue.registered
            ):  # else it was open, and nobody wrote to it
                failed = failed or error
    if failed is not None:
        raise failed


def insulate_until_exit(*, scratch: bool = True) -> None:
    """Insulate this process for the rest of its life: it does nothing but run tests."""
    context = insulate(scratch=scratch, final=True)
    context.__enter__()
    atexit.register(context.__exit__, None, None, None)


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

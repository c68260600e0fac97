"""For tests: keep them away from real data, own the clock, hold adapters to their contracts.

``insulate`` gives a test run a namespace of its own, shared by its threads, tasks, forks
and subprocesses (through ``LPCM_NAMESPACE``), and removes it afterwards. ``rollback`` undoes
what a part of the run wrote. pytest (``lpcm.testing.pytest_plugin``), Django's test runner and
``python -m unittest`` are insulated without a setting. ``lpcm.testing.contracts`` is for authors
of adapters, and ``run``, which runs a coroutine of a blocking store or cache to its end without an
event loop.

Invariant: while insulated, no map of this process writes to any other namespace, whatever
becomes of the environment: what would is ``Insulated``.
"""

from __future__ import annotations

from lpcm.engine.drive import run
from lpcm.engine.insulation import fence, insulate, insulate_until_exit, rollback

__all__ = ["FakeClock", "fence", "insulate", "insulate_until_exit", "rollback", "run"]


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

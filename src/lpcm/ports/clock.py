"""The port of a clock: time that tests and the model checker can control."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time as a port, so that tests and the model checker can control it."""

    def now(self) -> float:
        """Return epoch seconds: for expiry only."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back: for budgets."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

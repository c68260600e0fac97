"""The port of a clock: time, so that tests and the model checker can own it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Time, so that tests and the model checker can own it."""

    def now(self) -> float:
        """Return epoch seconds: for expiry only."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back: for budgets."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

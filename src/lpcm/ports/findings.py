"""Findings: what an adapter says of the server or file it would open, for ``lpcm doctor``."""

from __future__ import annotations

from typing import Protocol

from lpcm.system.records import NamedTuple

__all__ = ["Finding", "Report"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    about: str
    """The thing: ``table``, ``clock``."""
    found: str
    """What was found, in words, without secrets."""
    fix: str = ""
    """What to do; empty where nothing is to be done, or ``found`` says it."""
    wrong: bool = False
    """Whether maps do not work, or not as promised, until that is done."""

    @property
    def state(self) -> str:
        """``wrong``; ``note`` where something could be better; else ``ok``."""
        if self.wrong:
            return "wrong"
        return "note" if self.fix else "ok"


class Report(Protocol):
    """What an adapter calls with each finding."""

    def __call__(self, finding: Finding, /) -> object:
        """Take it."""
        ...

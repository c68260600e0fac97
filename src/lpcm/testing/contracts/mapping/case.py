"""A test case of a map of one store, and what the tests of maps say in short."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lpcm import LPCM
from lpcm.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Generator

    from lpcm import Engine

__all__ = ["MapCase", "raises"]


class _Caught:
    """What ``raises`` caught."""

    error: Any = None


@contextmanager
def raises(kind: type[BaseException], text: str = "") -> Generator[_Caught]:
    """Require an error of that very class whose message contains the text."""
    caught = _Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
    assert type(caught.error) is kind, f"wanted {kind.__name__}, got {caught.error!r}"
    assert text in str(caught.error), f"{text!r} not in {caught.error}"


class MapCase:
    """A map of the test's one store. Override ``using``."""

    clock: FakeClock
    max_value: int | None = None
    """The store's limit on a value, where the test class has set one."""

    def setup_method(self) -> None:
        """Start a clock for the test."""
        self.clock = FakeClock()

    def using(self) -> str | Engine:
        """Return the alias or engine of the test's one store, which keeps time by ``clock``."""
        raise NotImplementedError

    def make(self, name: str = "m", **options: Any) -> LPCM[Any, Any]:
        """Open a map of the test's store."""
        return LPCM(name, using=self.using(), **options)

    def filled(self, name: str = "m", **entries: Any) -> LPCM[Any, Any]:
        """Open a map that holds these entries."""
        made = self.make(name)
        made.update(entries)
        return made

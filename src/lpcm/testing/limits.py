"""Assertions on what code asks of its maps: so many reads and writes, and no more.

They count what a map asks of its tier, cache or store alike: the *requests* that the
documentation of each operation counts, a batch being one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpcm.events import recorded

if TYPE_CHECKING:
    from collections.abc import Generator

    from lpcm.events import Operation

__all__ = ["max_reads", "max_writes"]

_READS = frozenset({"read", "scan", "count"})
_SHOWN = 20


@contextmanager
def max_reads(number: int) -> Generator[None, None, None]:
    """Fail where this thread or task makes more than so many reading requests meanwhile.

    >>> from lpcm import LPCM
    >>> m = LPCM("m")
    >>> with max_reads(1):
    ...     _ = m.get_many("ab")
    >>> with max_reads(1):
    ...     _ = [m.get(key) for key in "ab"]
    Traceback (most recent call last):
        ...
    AssertionError: 2 reads, where at most 1 was allowed:
        read of m: 'a'
        read of m: 'b'
    """
    with _at_most(number, "read", _READS):
        yield


@contextmanager
def max_writes(number: int) -> Generator[None, None, None]:
    """Fail where this thread or task makes more than so many writing requests meanwhile."""
    with _at_most(number, "write", frozenset({"write", "clear"})):
        yield


@contextmanager
def _at_most(number: int, what: str, operations: frozenset[str]) -> Generator[None, None, None]:
    with recorded() as calls:
        yield
    made = [call for call in calls if call.kind in operations]
    if len(made) > number:
        verb = "was" if number == 1 else "were"
        lines = [f"    {_line(call)}" for call in made[:_SHOWN]]
        more = [f"    and {len(made) - _SHOWN} more"] if len(made) > _SHOWN else []
        head = f"{len(made)} {what}s, where at most {number} {verb} allowed:"
        raise AssertionError("\n".join([head, *lines, *more]))


def _line(call: Operation) -> str:
    keys = ", ".join(map(repr, call.keys[:5]))
    return f"{call.kind} of {call.map}: {keys}" if keys else f"{call.kind} of {call.map}"

"""What a near cache shows to the code that serves hits: rows, and whether they are current.

Only what a hit needs; all of it is read without a call. Knows no store.

Invariant: as long as ``Near.view.raw`` can return the header of a state, its rows are what the
store holds. So a hit takes one state, and compares the headers after that, never before.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

__all__ = ["NOTHING", "Near", "NearState", "Period", "Row", "Rows", "View"]

Row: TypeAlias = "list[Any]"
"""``[entry, value]``: a ``Stored``, or None where the key is absent; and its value, where nothing
can change that, once it was read under a str key that is its own encoding, else NOTHING."""
Rows: TypeAlias = "dict[str, dict[str, Row]]"
"""By map and encoded key."""

NOTHING: Final[Any] = type("Nothing", (), {"__slots__": ()})()
"""What is not there, where None may be."""


NearState: TypeAlias = "tuple[bytes | None, Rows, Rows]"
"""The header of the log under which the rows are what the store holds; the young rows; and what was
young before: what of that is read becomes young again, the rest is forgotten.

A bare tuple: it is taken apart at every hit."""


class View(Protocol):
    """The header of the log as it is now."""

    @property
    def raw(self) -> bytes:
        """Its bytes; none where there is no telling."""
        ...


class Period(Protocol):
    """When a read need not look whether the file is still in its place."""

    since: float
    until: float


class Near(Protocol):
    """A near cache."""

    state: NearState
    view: View
    place: Period
    hits: int

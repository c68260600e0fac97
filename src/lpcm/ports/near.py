"""What a near cache shows to the code that serves hits: rows, and whether they are current.

Only what a hit needs; all of it is read without a call. Knows no store.

Invariant: as long as ``Near.view.raw`` can return the header of a state, its rows are what the
store holds, or where rows *age*, what it held once since each began to. So a hit takes one state,
and compares the headers after that, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lpcm.ports.store import Stored, Tier

    Read: TypeAlias = Callable[[str, str, float], Awaitable[Stored | None]]
    Select: TypeAlias = "Callable[[str, str, float, NearState, bytes], Stored | None]"
    """What reads an entry that is not near, blocking, and keeps it: of a map and an encoded key, at
    a time, where the state, and after it the header, were taken before."""

__all__ = [
    "NOTHING",
    "SHARE",
    "Near",
    "NearState",
    "Nothing",
    "Period",
    "Row",
    "Rows",
    "View",
    "read_kept",
]

SHARE: Final = 32
"""No decoded value is kept that takes more than this part of the room for young rows."""

Row: TypeAlias = "list[Any]"
"""``[entry, value, size]``: a ``Stored``, or None where the key is absent; its value, decoded, or
a ``Nothing``; the bytes that the row takes. Nobody changes the value, but replaces it as a whole.
A row that ages has two more: until when it is served, by ``Near.monotonic``, and its number."""
Rows: TypeAlias = "dict[str, dict[str, Row]]"
"""By map and encoded key."""


class Nothing:
    """The type of what is not there, where None may be."""

    __slots__ = ()


NOTHING: Final[Any] = Nothing()


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
    ages: bool
    """Whether a row is served for some time only; else as long as its header is the view's."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def keep(self, row: Row, value: Any, size: int) -> bool:
        """Keep the decoded value with its row, unless it takes too much; tell whether."""
        ...


def read_kept(tier: Tier) -> Read:
    """Return the way to read an entry from a tier that may be served from its near cache."""
    kept: Read = getattr(tier, "read_kept", tier.read)
    return kept

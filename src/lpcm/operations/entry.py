"""An entry as one read found it, and the absence of one, for every layer above.

Knows nothing else.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["MISSING", "TTL", "Entry", "Missing"]

V = TypeVar("V")
TTL: TypeAlias = "float | timedelta | None"


class Missing(Enum):
    """The absence of an argument or an entry, where None is a value like any other."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING


class Entry(NamedTuple, Generic[V]):
    """An entry as one read found it."""

    key: Any
    value: V
    etag: int
    """Changes with every write of the entry; for ``replace(if_etag=...)``."""
    expires: float | None
    """Epoch seconds at which it expires; None: never."""

"""What a map was made with, as one value for all that works on its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MapOptions", "Waker", "Wakers"]

Waker: TypeAlias = "Callable[[Any, Any, object], Any]"
"""Makes a live value of (a plain value, the map's binding, the key)."""
Wakers: TypeAlias = "tuple[Mapping[type, Waker], Mapping[type, Waker]]"
"""How values of a type become live however they are read; and with numbers, by subscripting."""


class MapOptions(NamedTuple):
    """How a map treats its entries."""

    default: object
    """What a missing key reads as, or makes it when called; MISSING: none."""
    ttl: float | None
    """Seconds that entries live; None: what the engine says."""
    wakers: Wakers
    fit: Callable[[Any], object] | None = None
    """What makes a value of this kind of map of what is assigned; TypeError refuses it."""
    caching: bool = True
    """False: reads ask the store."""

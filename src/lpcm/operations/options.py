"""The options of a map, as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LiveMakers", "MakeLive", "MapOptions"]

MakeLive: TypeAlias = "Callable[[Any, Any, object], Any]"
"""Makes a live value of (a plain value, the map's binding, the key)."""
LiveMakers: TypeAlias = "tuple[Mapping[type, MakeLive], Mapping[type, MakeLive]]"
"""How values of a type become live however they are read; and with numbers, by subscripting."""


class MapOptions(NamedTuple):
    """How a map treats its entries."""

    default: object
    """The value of a missing key, or a callable that makes it; MISSING: there is none."""
    ttl: float | None
    """Seconds that entries live; None: the engine's."""
    makers: LiveMakers
    fit: Callable[[Any], object] | None = None
    """Makes a value of this kind of map of an assigned one; a TypeError refuses it."""
    caching: bool = True
    """False: reads go to the store."""
    shards: int | None = None
    """The number of partitions that the map is to have; None: whatever it has, or one."""

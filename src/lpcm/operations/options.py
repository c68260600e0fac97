"""The options of a map, as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from lpcm.errors import ConfigError
from lpcm.system.records import NamedTuple
from lpcm.values.form import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LiveMakers", "MakeLive", "MapOptions", "check_compression"]

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
    compress: str | None = None
    """What values are compressed with, as in ``values.compress``; None: the engine's."""
    compress_over: int | None = None
    """Bytes of an encoded value, of which smaller ones are not compressed; None: the engine's."""


def check_compression(method: str | None, over: int | None) -> None:
    """Refuse what no map compresses with. **Raises** ConfigError.

    >>> check_compression("gzip", None)
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: compress='gzip': use zlib, zstd or none
    """
    if method is not None and method not in METHODS:
        raise ConfigError(f"compress={method!r}: use {', '.join(METHODS[:-1])} or {METHODS[-1]}")
    if over is not None and (type(over) is not int or over < 1):
        raise ConfigError(f"compress_over={over!r}: use a number of bytes, 1 or more")

"""The number of partitions of each map, for a store that spreads a map's entries over several.

Such a store has a method ``sharded(shards)``, which returns the store as the tiers use it: one that
knows maps by their names alone, and finds each entry's partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Shards"]


class Shards(Protocol):
    """What is known of the maps of one engine.

    Invariant: the number of a map that is in the catalogue never changes. So an answer may be old.
    That a map is *not* there says nothing of the next instant: such a map is never in ``known``.
    """

    known: Mapping[str, int]
    """The number by the map's encoded partition."""

    async def ask(self, map: str) -> int:
        """Return a map's number as the catalogue has it now; 1 where it has none. For reads."""
        ...

    async def enter(self, map: str) -> int:
        """Return a map's number; enter the map into the catalogue if it is not there. For writes.

        An entry that is written before its map has a number would be lost when it gets another.
        """
        ...

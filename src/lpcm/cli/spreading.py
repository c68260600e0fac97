"""Spreading: the order in which many entries are written to DynamoDB.

DynamoDB gives each range of keys so many writes a second, and splits a range that stays hot. Keys
that only increase are all at one end of a range: whatever is split, the next ones meet again. So a
load takes turns between distant places of each map, and is of several maps at once.

Other stores are faster in the order of keys.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm import Engine
    from lpcm.administration import Records
    from lpcm.config import Config

__all__ = ["PARTS", "bounds", "interleave", "spread", "spreads"]

PARTS: Final = 8
"""The places of a map that take turns."""
_SAMPLE: Final = 1024

T = TypeVar("T")
_NONE: Final[Any] = object()


def spreads(where: Config | Engine) -> bool:
    """Tell whether a load of this store is to be spread."""
    return where.location.startswith("dynamodb:")


def interleave(runs: Sequence[Sequence[T]]) -> list[T]:
    """Return the items of all runs, one of each in turn.

    >>> interleave(["ab", "cde", "f"])
    ['a', 'c', 'f', 'b', 'd', 'e']
    """
    rows = zip_longest(*runs, fillvalue=_NONE)
    return [item for item in chain.from_iterable(rows) if item is not _NONE]


def spread(items: Sequence[T]) -> list[T]:
    """Return items that are in order in an order that takes turns between distant places.

    >>> spread(range(20))
    [0, 3, 6, 9, 12, 15, 18, 1, 4, 7, 10, 13, 16, 19, 2, 5, 8, 11, 14, 17]
    """
    length = max(1, -(-len(items) // PARTS))
    return interleave([items[at : at + length] for at in range(0, len(items), length)])


def bounds(records: Records) -> list[str]:
    """Return stored keys that cut a map into ``PARTS`` of about one size.

    Cost: a walk of its keys, of which it holds some.
    """
    sample: list[str] = []
    every, seen, after = 1, 0, None
    while True:
        page = records.page(after=after, values=False)
        for sk, _ in page.entries:
            seen += 1
            if seen % every == 0:
                sample.append(sk)
            if len(sample) == 2 * _SAMPLE:  # each other one of them from now on
                sample, every = sample[1::2], 2 * every
        after = page.resume
        if after is None:
            break
    return sorted({sample[len(sample) * part // PARTS] for part in range(1, PARTS) if sample})

"""Heads: what stands in the place of an entry whose value is stored in parts.

A value over a store's limit is cut into *parts*, under a random content id and outside the map's
keys. Its *head*, an entry of the kind ``HEAD`` under the entry's own key, names them. An *owner*
row for each content id says whose the parts are, by the map and the logical key. Owners and parts
are entries of partitions that are no map's, so each store holds them as it holds any other entry.

Knows where they are and what a head says; ``lpcm.large`` knows when each is written. Invariants:

1. Parts are immutable: a content id never gets other parts.
2. A store puts a head on condition that its owner is *open*: that the owner has the etag which the
   head names. So no head is put whose parts a sweeper deletes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ValueDecodingError
from lpcm.ports.store import Check, Put, Stored
from lpcm.system.records import NamedTuple
from lpcm.values.form import HEAD
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.ports.store import Change

__all__ = [
    "FORMAT",
    "HEAD",
    "PART",
    "Head",
    "head_of",
    "owner_checks",
    "owners",
    "part_names",
    "parts",
]

FORMAT: Final = 3
"""The format of a map that may have heads: an earlier lpcm refuses the map."""
PART: Final = 390 * 1024
"""The most bytes of a part: an item of DynamoDB has 400 KB, keys and etag included."""


class Head(NamedTuple):
    """What a head says of its value."""

    content: str
    """The content id: 32 hexadecimal digits, random."""
    parts: int
    """The number of parts."""
    size: int
    """The bytes of all parts together."""
    form: str
    """How to read them: a letter of ``values.serial``."""
    owner: int
    """The etag of the owner while it is open."""

    def text(self) -> str:
        """Return it as the data of a cell of the kind ``HEAD``.

        >>> Head("00ff", 2, 500_000, "b", 7).text()
        '{"content":"00ff","parts":2,"size":500000,"form":"b","owner":7}'
        """
        return json.dumps(self._asdict(), separators=(",", ":"))


_TYPES: Final = (str, int, int, str, int)


def head_of(stored: Stored) -> Head:
    """Return what an entry of the kind ``HEAD`` says.

    **Raises** ValueDecodingError where another program has written it.

    >>> head_of(Stored(Head("00ff", 2, 500_000, "b", 7).text(), HEAD, 1, None)).parts
    2
    """
    data: Any = stored.data
    try:
        found = Head(**json.loads(data))
        if tuple(map(type, found)) == _TYPES and 0 < found.parts <= found.size:
            return found
    except (TypeError, ValueError, RecursionError):
        pass
    raise ValueDecodingError(f"not a head that lpcm wrote: {shown(data)}")


def _logical(partition: str) -> str:
    """Return the partition of the map that a partition belongs to: a shard's is longer."""
    return "/".join(partition.split("/", 2)[:2]) + "/"


def owners(partition: str) -> str:
    """Return the partition of the owners of a map's parts; an owner's key is its content id.

    >>> owners("default/users/"), owners("default/users/3/")
    ('default/users/!/', 'default/users/!/')
    """
    return _logical(partition) + "!/"


def parts(partition: str, content: str) -> str:
    """Return the partition of the parts of one value.

    >>> parts("default/users/", "00ff")
    'default/users/!00ff/'
    """
    return f"{_logical(partition)}!{content}/"


def part_names(count: int) -> list[str]:
    """Return the keys of so many parts, in order.

    >>> part_names(2)
    ['000000', '000001']
    """
    return [f"{number:06}" for number in range(count)]


def owner_checks(changes: Iterable[Change]) -> list[Check]:
    """Return the conditions under which the heads among these changes may be put: open owners."""
    checks: list[Check] = []
    for pk, _, op in changes:
        if isinstance(op, Put) and op.cell.kind == HEAD:
            head = head_of(Stored(*op.cell, op.etag, op.expires))
            checks.append(Check(owners(pk), head.content, head.owner))
    return checks

"""Heads: what stands in the place of an entry whose value is stored in parts.

A value over a store's limit is cut into *parts*, under a random content id and outside the map's
keys. Its *head*, an entry of the kind ``HEAD`` under the entry's own key, names them. An *owner*
row for each content id says whose the parts are, by the map and the logical key. Owners and parts
are entries of partitions that are no map's, so each store holds them as it holds any other entry.
Each part has a partition of its own: a partition has a limit of its own to what it takes a second.

Knows where they are and what a head and an owner say; ``lpcm.large`` knows when each is written.
Invariants:

1. Parts are immutable: a content id never gets other parts.
2. A store puts a head on condition that its owner is *open*: that the owner has the etag which the
   head names. So no head is put whose parts a sweeper deletes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from lpcm.errors import ValueDecodingError
from lpcm.ports.store import Check, Put, Store, Stored
from lpcm.system.records import NamedTuple
from lpcm.values.form import HEAD, Cell
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lpcm.ports.store import Change, MapState, Op, Outcome

__all__ = [
    "FORMAT",
    "HEAD",
    "PART",
    "Head",
    "Owner",
    "PartStore",
    "head_of",
    "owner_checks",
    "owner_of",
    "owners",
    "part_name",
    "parts",
]

FORMAT: Final = 3
"""The format of a map that may have heads: an earlier lpcm refuses the map."""
PART: Final = 390 * 1024
"""The most bytes of a part: an item of DynamoDB has 400 KB, keys and etag included."""


class PartStore(Store, Protocol):
    """A store of items that are limited: a larger value is put into it in parts."""

    def splits(self, map: str, sk: str, op: Put) -> bool:
        """Tell whether an entry is over the limit of one item."""
        ...

    async def raise_format(self, namespace: str, name: str, least: int) -> MapState:
        """Raise the format of a map that is in the catalogue; return its state there."""
        ...

    async def read_spread(
        self, pks: Mapping[str, str], sks: Sequence[str], now: float
    ) -> list[Stored | None]:
        """Return the entries in the order of ``sks``; ``pks`` has the partition of each."""
        ...

    async def apply_spread(
        self, pks: Mapping[str, str], writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes as ``apply_many`` does; ``pks`` has the partition of each key."""
        ...


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


class Owner(NamedTuple):
    """What an owner says."""

    key: str
    """The logical key, encoded."""
    parts: int
    """At least so many as are stored: a file's owner is entered before its end is known."""
    written: float
    """Epoch seconds, by the writer's clock; a file's owner is entered anew as the file grows."""
    open: int
    """The etag that it has while it is open."""

    def cell(self) -> Cell:
        """Return it as a cell: text of JSON, in each form of store."""
        return Cell(json.dumps(self._asdict(), separators=(",", ":")), None)


_OWNER_TYPES: Final = (str, int, float, int)


def owner_of(stored: Stored) -> Owner | None:
    """Return what an owner says; None where another program has written it.

    >>> owner_of(Stored(*Owner("k", 2, 0.5, 7).cell(), 7, None))
    Owner(key='k', parts=2, written=0.5, open=7)
    """
    data: Any = stored.data
    try:
        found = Owner(**json.loads(data))
    except (TypeError, ValueError, RecursionError):
        return None
    return found if tuple(map(type, found)) == _OWNER_TYPES else None


def _logical(partition: str) -> str:
    """Return the partition of the map that a partition belongs to: a shard's is longer."""
    return "/".join(partition.split("/", 2)[:2]) + "/"


def owners(partition: str) -> str:
    """Return the partition of the owners of a map's parts; an owner's key is its content id.

    >>> owners("default/users/"), owners("default/users/3/")
    ('default/users/!/', 'default/users/!/')
    """
    return _logical(partition) + "!/"


def parts(partition: str, content: str, names: Iterable[str]) -> dict[str, str]:
    """Return the partitions of these parts of one value, by their keys.

    >>> parts("default/users/", "00ff", ["000000", "000001"])
    {'000000': 'default/users/!00ff/000000/', '000001': 'default/users/!00ff/000001/'}
    """
    start = f"{_logical(partition)}!{content}/"
    return {name: f"{start}{name}/" for name in names}


def part_name(number: int) -> str:
    """Return the key of a part, which no other part of its value has.

    >>> part_name(8)
    '000008'
    """
    return f"{number:06}"


def owner_checks(changes: Iterable[Change]) -> list[Check]:
    """Return the conditions under which the heads among these changes may be put: open owners."""
    checks: list[Check] = []
    for pk, _, op in changes:
        if isinstance(op, Put) and op.cell.kind == HEAD:
            head = head_of(Stored(*op.cell, op.etag, op.expires))
            checks.append(Check(owners(pk), head.content, head.owner))
    return checks

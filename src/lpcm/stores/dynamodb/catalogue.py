"""The catalogue: a row for each map, written before its first entry.

So maps are found without a scan of the table. A namespace's rows share one partition,
``keys.partition(namespace)``, which is no map's.

========== == ===========================================================
``pk``     S  ``namespace/``, escaped
``sk``     S  the map's name, encoded as a key
``name``   S  the map's name
``format`` N  the version of the layout of its entries
``codec``  S  what its values are encoded with
``shards`` N  the number of partitions of its entries
========== == ===========================================================

One more row is the namespace's own. Its map name is empty, which no map's name is. Its
``identity``, a random text, differs from that of every other namespace in any table. The other
attributes are there for earlier versions, which read the row as a map's.

Invariant: of a map's row nothing changes once it exists but its format, which is raised when the
first value over 400 KB is stored; an identity changes by ``lpcm identity renew`` alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ConfigError, KeyTooLong, StoreCorrupt
from lpcm.ports import MapInfo, MapState
from lpcm.values.keys import encode, partition
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "enter",
    "info",
    "infos",
    "is_own",
    "key",
    "namespace_key",
    "new_identity",
    "raised",
    "row",
    "state",
]

_OWN: Final = encode("")
"""The sort key of the namespace's own row: no map's name is empty."""


def key(namespace: str, name: str) -> dict[str, Any]:
    """Return the primary key of a map's row."""
    try:
        sk = encode(name)
    except KeyTooLong as error:
        raise ConfigError(f"a map's name on DynamoDB: {error}") from error
    return {"pk": {"S": partition(namespace)}, "sk": {"S": sk}}


def row(namespace: str, info: MapInfo) -> dict[str, Any]:
    """Return a map's row."""
    return key(namespace, info.name) | {
        "name": {"S": info.name},
        "format": {"N": str(info.format)},
        "codec": {"S": info.codec},
        "shards": {"N": str(info.shards)},
    }


def namespace_key(namespace: str) -> dict[str, Any]:
    """Return the primary key of the namespace's own row."""
    return {"pk": {"S": partition(namespace)}, "sk": {"S": _OWN}}


def new_identity(namespace: str) -> dict[str, Any]:
    """Return the namespace's own row, with a new identity."""
    _, format_, codec, shards = MapInfo("")
    return namespace_key(namespace) | {
        "name": {"S": ""},
        "format": {"N": str(format_)},
        "codec": {"S": codec},
        "shards": {"N": str(shards)},
        "identity": {"S": os.urandom(16).hex()},
    }


def is_own(item: Mapping[str, Any]) -> bool:
    """Tell whether a row is the namespace's own, and not a map's."""
    own: bool = item["sk"]["S"] == _OWN
    return own


def state(items: Sequence[Mapping[str, Any]], table: str) -> MapState:
    """Return a map's state from its row and the namespace's own, as far as they exist.

    A table restored under another name has the old table's rows: the table's name, as part of the
    identity, distinguishes the two.
    """
    identity: str | None = None
    found: MapInfo | None = None
    for item in items:
        if not is_own(item):
            found = info(item)
        elif "identity" in item:
            identity = f"{item['identity']['S']}:{table.rpartition('/')[2]}"
    return MapState(identity, found)


def enter(row: dict[str, Any]) -> dict[str, Any]:
    """Return the request that puts a row unless it exists."""
    return {"Item": row, "ConditionExpression": "attribute_not_exists(pk)"}


def raised(namespace: str, known: MapInfo, least: int) -> dict[str, Any]:
    """Return the request that raises a map's format, if the row is still as known."""
    return {
        "Item": row(namespace, known._replace(format=least)),
        "ConditionExpression": "#format = :format AND shards = :shards",
        "ExpressionAttributeNames": {"#format": "format"},
        "ExpressionAttributeValues": {
            ":format": {"N": str(known.format)},
            ":shards": {"N": str(known.shards)},
        },
    }


def info(item: Mapping[str, Any]) -> MapInfo:
    """Return a row's MapInfo. **Raises** StoreCorrupt."""
    try:
        return MapInfo(
            item["name"]["S"],
            int(item["format"]["N"]),
            item["codec"]["S"],
            int(item["shards"]["N"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise StoreCorrupt(
            f"the catalogue's row of map {item['sk']['S']!r} was not written by lpcm: "
            f"{shown(item)}: delete it"
        ) from error


def infos(items: Iterable[Mapping[str, Any]]) -> list[MapInfo]:
    """Return the MapInfo of each map's row, leaving out rows that lpcm did not write."""
    found: list[MapInfo] = []
    for item in items:
        if is_own(item):
            continue
        with suppress(StoreCorrupt):
            found.append(info(item))
    return found

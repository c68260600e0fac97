"""The catalogue: a row for each map, written before its first entry.

So maps are found without a scan of the table. A namespace's rows share one partition,
``keys.partition(namespace)``, which is no map's.

========== == ===========================================================
``pk``     S  ``namespace/``, escaped
``sk``     S  the map's name, encoded as a key
``name``   S  the map's name
``format`` N  the version of the layout of its entries
``codec``  S  what its values are encoded with
``shards`` N  over how many partitions it is spread
========== == ===========================================================
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lpcm.errors import ConfigError, KeyTooLong, StoreCorrupt
from lpcm.ports import MapInfo
from lpcm.values.keys import encode, partition
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["enter", "info", "infos", "row"]


def row(namespace: str, info: MapInfo) -> dict[str, Any]:
    """Return a map's row."""
    try:
        sk = encode(info.name)
    except KeyTooLong as error:
        raise ConfigError(f"a map's name on DynamoDB: {error}") from error
    return {
        "pk": {"S": partition(namespace)},
        "sk": {"S": sk},
        "name": {"S": info.name},
        "format": {"N": str(info.format)},
        "codec": {"S": info.codec},
        "shards": {"N": str(info.shards)},
    }


def enter(row: dict[str, Any]) -> dict[str, Any]:
    """Return the request that enters a row unless there is one."""
    return {"Item": row, "ConditionExpression": "attribute_not_exists(pk)"}


def info(item: Mapping[str, Any]) -> MapInfo:
    """Return what a row says."""
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
    """Return what rows say, but for those that lpcm did not write."""
    found: list[MapInfo] = []
    for item in items:
        with suppress(StoreCorrupt):
            found.append(info(item))
    return found

"""Times of day and datetimes as text that loses nothing: RFC 9557.

ISO 8601 with the offset, then in brackets the zone's name, and ``[fold=1]`` for the second of two
equal times on the clock::

    2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]

A ``ZoneInfo`` comes back as itself; any other ``tzinfo`` as its fixed offset.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, time, tzinfo

__all__ = ["read_datetime", "read_time", "write_datetime", "write_time"]

_TEXT = re.compile(r"([^\[]+)(?:\[([^=\]]+)\])?(\[fold=1\])?")


def write_datetime(moment: datetime) -> str:
    """Return the text of a datetime.

    >>> write_datetime(datetime(2026, 5, 1, 12))
    '2026-05-01T12:00:00'
    """
    return moment.isoformat() + _zone(moment.tzinfo) + _fold(moment)


def write_time(moment: time) -> str:
    """Return the text of a time of day."""
    return moment.isoformat() + _zone(moment.tzinfo) + _fold(moment)


def _fold(moment: datetime | time) -> str:
    return "[fold=1]" if moment.fold else ""


def _zone(zone: tzinfo | None) -> str:
    known = getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None)
    key = getattr(zone, "key", None) if known is not None and type(zone) is known else None
    return f"[{key}]" if key else ""


def read_datetime(text: str) -> datetime:
    """Return the datetime of a text.

    Where the zone's rules have changed since, the instant is kept; where this machine does
    not know the zone, the offset is kept.

    >>> read_datetime("2026-05-01T12:00:00+02:00[Europe/Berlin]")
    datetime.datetime(2026, 5, 1, 12, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin'))
    """
    written, name, fold = _split(text)
    moment = datetime.fromisoformat(written)
    zone = _find(name)
    if zone is not None:
        local = moment.replace(tzinfo=zone, fold=fold)
        return local if local.utcoffset() == moment.utcoffset() else moment.astimezone(zone)
    return moment.replace(fold=fold)


def read_time(text: str) -> time:
    """Return the time of day of a text."""
    written, name, fold = _split(text)
    moment = time.fromisoformat(written)
    zone = _find(name)
    return moment.replace(fold=fold) if zone is None else moment.replace(tzinfo=zone, fold=fold)


def _split(text: str) -> tuple[str, str | None, int]:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a time: {text!r}")
    return found[1], found[2], 1 if found[3] else 0


def _find(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # 3 ms to import, and few need it

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: a directory of zones ("Europe"), or a name that no file system takes.
        return None

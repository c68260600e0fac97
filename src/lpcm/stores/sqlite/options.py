"""The options of a SQLite URL, each with what makes it of its text.

Knows text only. Invariant: what is returned can be used; anything else is a ``ValueError``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lpcm.ports.options import at_least_one, near_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["NEAR_CACHE", "OPTIONS"]

NEAR_CACHE = 32_000_000
"""Bytes of entries that each process keeps, unless the option says otherwise."""


def _synchronous(text: str) -> str:
    if text.lower() not in {"full", "normal"}:
        raise ValueError("use full or normal")
    return text.lower()


def _busy_timeout(text: str) -> float:
    duration = float(text)
    if not 0 <= duration < math.inf:
        raise ValueError("use a finite number of seconds, 0 or more")
    return duration


OPTIONS: Mapping[str, Callable[[str], object]] = {
    "synchronous": _synchronous,
    "busy_timeout": _busy_timeout,
    "max_value": at_least_one("bytes"),
    "near_cache": near_cache,
}

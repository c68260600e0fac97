"""Expiries outside the calendar are refused where they are given, before anything is written."""

import math
from datetime import timedelta

import pytest

from lpcm import LPCM

BEYOND = [math.nan, math.inf, -math.inf, 0, -1, 1e15, 1e300, 10**400]


@pytest.mark.parametrize(
    "ttl", BEYOND, ids=lambda it: f"{it:.3}" if isinstance(it, float) else str(it)[:9]
)
@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_a_ttl_that_nobody_means(tmp_path, url, ttl):
    """NaN, infinities, what is past, what no calendar has: ValueError, and nothing is written."""
    m = LPCM("m", url=url if url == "memory://" else f"sqlite:///{tmp_path}/m.sqlite3")
    m.set("old", 1, ttl=1e6)
    before = m.entry("old").expires
    for attempt in (
        lambda: m.set("k", 1, ttl=ttl),
        lambda: m.expire("old", ttl),
        lambda: m.set_many({"k": 1}, ttl=ttl),
        lambda: LPCM("m", ttl=ttl),
    ):
        with pytest.raises(ValueError, match="ttl must be a positive, finite number"):
            attempt()
    assert list(m) == ["old"]
    assert m.entry("old").expires == before


@pytest.mark.parametrize("ttl", [1.7e12, timedelta.max, 9e14])
def test_a_ttl_of_milliseconds_works(tmp_path, ttl):
    """Milliseconds for seconds are a long time, which the entry shows."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")
    m.set("k", 1, ttl=ttl)
    assert m["k"] == 1
    assert m.entry("k").expires > 1e12
    assert m.ttl("k") > 1e12

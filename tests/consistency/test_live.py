"""Eight processes change the same values, on each store: nothing is lost, nothing doubled.

LPCM_LIVE_TIMES sets how often each process makes each change; the full run is 1,000.
"""

import os

import pytest

from lpcm import LPCM, Engine
from tests.consistency import live_workers
from tests.consistency.processes import crew
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

PROCESSES = 8
TIMES = int(os.environ.get("LPCM_LIVE_TIMES", "20"))


@pytest.mark.parametrize("kind", ["sqlite", "dynoxide", "dynoxide behind memcached"])
@pytest.mark.timeout(3600 if TIMES > 100 else 300)
def test_eight_processes_lose_nothing(kind, request, tmp_path):
    """Each ``+=``, nested ``+=``, ``append``, ``|=`` and ``transform`` counts exactly once."""
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"
    else:
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        url = f"{table.url}&timeout=120"
        if kind != "dynoxide":
            memcached = request.getfixturevalue("memcached")
            url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(url)
    m = LPCM("m", live=False, using=engine)
    m.update(plus=0, nested={"a": {"n": 0}}, append=[], members={-1}, transform=0)
    with crew() as processes:
        started = [
            processes.start(live_workers.work, url, number, TIMES) for number in range(PROCESSES)
        ]
        processes.wait(*started, timeout=240 if TIMES <= 100 else 3500)
    total = PROCESSES * TIMES
    assert (m["plus"], m["nested"]["a"]["n"], m["transform"]) == (total, total, total)
    assert sorted(m["append"]) == list(range(total))
    assert m["members"] == {-1, *range(total)}
    engine.close()

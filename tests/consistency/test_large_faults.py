"""Values in parts under kills: old or new for every reader, and after a sweep no part is left over.

``make large`` runs for ten minutes, with values of 20 MB too.
"""

import json
import random
import time

import pytest

from checks import servers
from lpcm import LPCM, Engine
from lpcm.administration import sweep
from lpcm.large import owners
from tests.consistency import large_workers
from tests.consistency.processes import crew
from tests.dynamodb.tables import Table


@pytest.fixture
def table(dynoxide):
    """Yield an empty table."""
    made = Table(dynoxide.endpoint, "large_faults")
    made.empty()
    yield made
    made.close()


@pytest.mark.parametrize("size", [900_000, 20_000_000])
def test_killed_clients(table, request, monkeypatch, size):
    """Writers and memcached are killed again and again; no reader meets a mixture, or an error."""
    seconds = request.config.getoption("--large-seconds", 0) / 2 or 3
    with servers.memcached() as cache, crew() as workers:
        url = f"{table.url}&cache=memcached://{cache.host}:{cache.port}"
        with Engine.open(table.url) as engine:  # one that does not know the map of another run
            LPCM("m", using=engine)["a"] = large_workers.value(size)
        readers = [workers.start(large_workers.read, url, size, seconds + 2) for _ in range(2)]
        writers = [workers.start(large_workers.write, url, size, seconds + 60) for _ in range(2)]
        kills = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(random.uniform(0.5, 1.5))
            if random.random() < 0.3:
                cache.kill()
                cache.start()
            else:
                workers.kill(writers.pop(0))
                writers.append(workers.start(large_workers.write, url, size, seconds + 60))
            kills += 1
        for writer in writers:
            workers.kill(writer)
        with Engine.open(url) as engine:  # for a reader on a busy machine that had no time for one
            LPCM("m", using=engine)["a"] = large_workers.value(size)
        assert sum(map(int, workers.wait(*readers, timeout=120))) > 0
    assert kills
    monkeypatch.setattr(owners, "AGE", -60.0)  # no writer is left that could stall
    with Engine.open(table.url) as engine:
        sweep(using=engine, maps=["m"])
        m = LPCM("m", using=engine, live=False)
        for found in m.copy().values():
            large_workers.check(found)
    items = table.items()
    named = {json.loads(item["v"]["S"])["content"] for item in items if "f" in item}
    pks = [item["pk"]["S"] for item in items if "/!" in item["pk"]["S"]]
    there = {pk.split("!")[1].split("/")[0] for pk in pks}  # of a part behind "!", of an owner none
    assert there - {""} <= named

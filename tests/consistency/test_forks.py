"""Forks, those that run no hook of Python included: parent and children never share a thing.

Run for longer by ``--fork-operations=3000``.
"""

import json
import os

import pytest

from lpcm import LPCM, Engine
from lpcm.testing import servers
from tests.consistency import fork_workers
from tests.consistency.processes import crew
from tests.dynamodb.tables import Table

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

FORKS = ("python", "c")
PLACES = ("dynamodb", "memcached", "both")


@pytest.fixture
def place(request, aws):
    """Give the URLs of a store and a cache, and the pids of their servers, this test's own."""
    kind = request.param
    with servers.memcached() as memcached, servers.dynoxide() as dynoxide:
        cache = f"memcached://{memcached.host}:{memcached.port}"
        if kind == "memcached":
            yield cache, "", memcached.pid
            return
        table = Table(dynoxide.endpoint)
        if kind == "both":
            yield table.url, cache, memcached.pid, dynoxide.pid
        else:
            yield table.url, "", dynoxide.pid
        table.close()


def reports(output):
    """Yield each process's report; fail for one that made none."""
    *stories, last = output.splitlines()
    stories = "\n".join(stories)
    made = json.loads(last)
    yield made["parent"]
    left = list(made["children"])
    while left:
        one = left.pop()
        assert one["status"] == 0, f"a child ended with {one['status']}:\n{stories}"
        yield one["report"]["report"]
        left += one["report"]["below"]


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_forks_amid_operations(place, fork, fork_operations):
    """Six processes and three threads, forked amid operations, read only right values."""
    url, cache, *pids = place
    with crew() as processes:
        started = processes.start(fork_workers.hammer, url, cache, fork, fork_operations, *pids)
        (output,) = processes.wait(started, timeout=120.0)
    made = list(reports(output))
    wrong = [one for report in made for one in report["wrong"]]
    errors = [one for report in made for one in report["errors"]]
    etags = [one for report in made for one in report["etags"]]
    assert len(made) == 6
    assert (len(wrong), len(errors), len(etags) - len(set(etags))) == (0, 0, 0), (
        wrong[:5],
        errors[:5],
    )
    with_cache = {"cache": cache} if cache else {}
    engine = Engine.open(url, **with_cache)
    try:
        fresh = LPCM("m", using=engine)
        known = {key: value for report in made for key, value in report["known"].items()}
        assert len(known) > 40
        assert {key: fresh.get(key) for key in known} == known
        assert fresh.get_many(known) == known
        assert all(fresh[key]["key"] == key for key in fork_workers.SHARED)
    finally:
        engine.close()

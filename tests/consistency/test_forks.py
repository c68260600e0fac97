"""Forks, those that run no hook of Python included: parent and children never share a thing.

Run for longer by ``--fork-operations=3000``.
"""

import json
import os
from typing import NamedTuple

import pytest

from checks import servers
from lpcm import LPCM, Engine
from tests.consistency import fork_workers
from tests.consistency.processes import crew
from tests.dynamodb.tables import Table

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

FORKS = ("python", "c")
KINDS = ("dynamodb", "memcached", "both", "client", "session")


class Place(NamedTuple):
    """Where a map lives, on servers of a test's own."""

    url: str
    cache: str
    kind: str
    """``client`` or ``session``: what of boto3's its requests go through."""
    pids: list[int]
    """Its servers."""


@pytest.fixture
def place(request, aws):
    kind = request.param
    with servers.memcached() as memcached, servers.dynoxide() as dynoxide:
        cache = f"memcached://{memcached.host}:{memcached.port}"
        if kind == "memcached":
            yield Place(cache, "", "", [memcached.pid])
            return
        table = Table(dynoxide.endpoint)
        if kind == "both":
            yield Place(table.url, cache, "", [memcached.pid, dynoxide.pid])
        else:
            yield Place(table.url, "", kind.removeprefix("dynamodb"), [dynoxide.pid])
        table.close()


def lives(*kinds):
    return pytest.mark.parametrize("place", kinds, indirect=True)


def output_of(function, *arguments):
    with crew() as processes:
        (output,) = processes.wait(processes.start(function, *arguments), timeout=120.0)
    return output


def told(output):
    """Return what a program printed last, and what else."""
    *stories, last = output.splitlines()
    return json.loads(last), "\n".join(stories)


def reports(output):
    """Yield each process's report; fail for one that made none."""
    made, stories = told(output)
    yield made["parent"]
    left = list(made["children"])
    while left:
        one = left.pop()
        assert one["status"] == 0, f"a child ended with {one['status']}:\n{stories}"
        yield one["report"]["report"]
        left += one["report"]["below"]


@pytest.mark.parametrize("fork", FORKS)
@lives(*KINDS)
def test_forks_amid_operations(place, fork, fork_operations):
    """Six processes and three threads, forked amid operations, read only right values."""
    url, cache, kind, pids = place
    if kind:  # thirty times slower
        fork_operations //= 5
    output = output_of(fork_workers.hammer, url, cache, kind, fork, fork_operations, *pids)
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


@pytest.mark.parametrize("fork", FORKS)
@lives("dynamodb", "both")
def test_an_event_loop_that_goes_on(place, fork):
    """Parent and child that both go on with one loop, and with new ones, read only right values."""
    made, stories = told(output_of(fork_workers.loops, place.url, place.cache, fork, 30))
    assert made == {"parent": [], "child": {"status": 0, "report": []}}, stories


@pytest.mark.parametrize("fork", FORKS)
@lives("dynamodb", "both")
def test_a_fork_inside_a_task(place, fork):
    """A child forked inside a running loop may start its own; the parent's tasks go on."""
    made, stories = told(output_of(fork_workers.inside, place.url, place.cache, fork, 60))
    child = {"status": 0, "report": []}
    assert made == {"parent": [], "children": [child] * 3}, stories


@pytest.mark.parametrize("fork", FORKS)
@lives("both")
def test_locks_that_are_held_at_a_fork(place, fork):
    """A child goes on whichever lock of lpcm's another thread held at the fork."""
    made, stories = told(output_of(fork_workers.held, place.url, place.cache, fork))
    memory = {"a": 1, "b": 2, "c": 3}
    assert made["child"] == {"status": 0, "report": [{"n": 2}, -59, memory, memory]}, stories
    assert made["locks"] > 5
    assert made["parent"] == [{"n": 2}, -59]


@pytest.mark.parametrize("payer", ["parent", "child"])
@pytest.mark.parametrize("fork", FORKS)
@lives("both")
def test_invalidations_owed_at_a_fork(place, fork, payer):
    """What the parent owed to the cache is paid by whichever process goes on first."""
    url, cache, _, (memcached, _) = place
    made, stories = told(output_of(fork_workers.owed, url, cache, fork, payer, memcached))
    assert made["owed"] == 1, stories
    paid = {"parent": made["parent"], "child": made["child"]["report"]}
    assert paid == {"parent": None, "child": None, payer: 0}, stories
    engine = Engine.open(url, cache=cache)
    try:
        assert LPCM("m", using=engine)["k"] == "new"
    finally:
        engine.close()

"""Histories with a near cache: real processes and servers, hurt, judged by the given bound."""

import pytest

from checks import histories
from lpcm.verify import play
from lpcm.verify.judge import Operation, judge

NEAR = "&near_cache=1000000&max_stale=0.05"


@pytest.fixture
def target(tmp_path, aws):
    """Yield memcached in front of DynamoDB, with near caches in front of both."""
    with histories.own("dynamodb", tmp_path, strict=True, options=NEAR) as target:
        yield target


@pytest.mark.timeout(180)
def test_the_promise_with_a_near_cache(target, tmp_path):
    """Reads are as old as the bound at most, and none is older than what its process knew."""
    hits = 0
    for seed in range(30):  # few are near where the machine is busy: an entry is for 50 ms
        played = play(target, tmp_path, seconds=2.0, seed=seed)
        assert played.broken is None, str(played.broken)
        hits += played.counts["near hits"]
        if seed and hits > 50:
            return
    pytest.fail(f"{hits} hits show nothing")


@pytest.mark.timeout(400)
def test_a_near_cache_that_serves_too_long_is_found(target, tmp_path):
    """A read that is older than it may be is found within seconds."""
    tier = "tests.coherence.real_mutants:NearTooLong"
    for seed in range(60):
        played = play(
            target,
            tmp_path,
            seconds=1.5 + seed / 15,  # where the machine is busy, clients do little in a second
            seed=seed,
            tier=tier,
            kinds="reads",
            gently=True,
        )
        if played.broken is not None:
            print(seed, played.broken)
            return
    pytest.fail("60 rounds, and nothing was found")


def put(value, began, ended, client=10):
    return Operation(client, "k", "put", value, None, began, ended)


def get(value, began, ended, client=20):
    return Operation(client, "k", "get", None, value, began, ended)


WRITTEN = [put(1000, 0, 1), put(2000, 2, 3)]
OLD = {
    "within the bound": ([*WRITTEN, get(1000, 7, 8)], True),
    "beyond it": ([*WRITTEN, get(1000, 9, 10)], False),
    "older than an own write": ([put(1000, 0, 1), put(2000, 2, 3, 20), get(1000, 4, 5, 21)], False),
    "older than an own read": ([*WRITTEN, get(2000, 4, 5), get(1000, 6, 7, 21)], False),
    "older than another's read": ([*WRITTEN, get(2000, 4, 5), get(1000, 6, 7, 30)], True),
    "beside a read of its own": ([*WRITTEN, get(2000, 4, 6), get(1000, 5, 7, 21)], True),
    "amid many that are newer": (
        [*WRITTEN, *(get(2000, 3 + n / 10, 3.05 + n / 10) for n in range(40)), get(1000, 5, 6, 21)],
        False,
    ),
    "never there": ([*WRITTEN, get(3000, 4, 5)], False),
    "not there yet": ([get(1000, 0, 1), put(1000, 2, 3)], False),
    "counted anew": (
        [
            Operation(10, "k", "add", 1, 1, 0, 1),
            Operation(10, "k", "del", None, None, 2, 3),
            get(1, 4, 5),
            get(None, 5, 6, 30),
            Operation(10, "k", "add", 1, 1, 7, 8),
            get(1, 9, 10),
        ],
        True,
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_old_reads_are_judged_by_the_bound(name):
    """With a near cache a read may be old, but not older than what its process knew."""
    history, explained = OLD[name]
    seconds = [
        each._replace(began=int(each.began * 1e9), ended=each.ended * 1e9) for each in history
    ]
    found = judge(sorted(seconds, key=lambda each: each.began), max_stale=5.0)
    assert (found is None) == explained, str(found)

"""No update is lost or doubled, whatever several processes do to the same keys."""

import random
from collections import Counter
from contextlib import closing

import pytest

from lpcm import LPCM, Engine
from tests.consistency import workers
from tests.consistency.processes import crew, lines, looking, until
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture


def test_increments_survive_kills(tmp_path):
    """Every acknowledged increment of every process counts once, killed processes included."""
    path, times, kills = tmp_path / "m.sqlite3", 2000, 3
    logs = []

    def start(processes, remaining):
        logs.append(tmp_path / f"log{len(logs)}")
        return processes.start(workers.count, path, logs[-1], remaining, 5)

    with crew() as processes:
        others = [start(processes, times) for _ in range(3)]
        remaining = times
        for _ in range(kills):
            victim, log = start(processes, remaining), logs[-1]
            enough = random.randint(100, 400)
            until(lambda log=log, enough=enough: acknowledged(log) >= enough)
            processes.kill(victim)
            remaining -= acknowledged(log)
        processes.wait(*others, start(processes, remaining))

    said = [line.split() for log in logs for line in lines(log)]
    results = [(key, int(*result)) for mark, key, *result in said if mark == "="]
    begun = Counter(key for mark, key, *_ in said if mark == "?")
    done = Counter(key for key, _ in results)
    assert sum(done.values()) == 4 * times
    assert len(set(results)) == len(results), "two increments returned the same sum"
    with looking(path) as counters:
        assert set(counters) == set(done)
        for key, total in counters.items():
            assert done[key] <= total <= begun[key]
    assert sum((begun - done).values()) <= kills


def acknowledged(log):
    """Count the increments that returned."""
    return sum(line.startswith("=") for line in lines(log))


@pytest.fixture(params=["sqlite", "dynoxide behind memcached"])
def url(request, tmp_path):
    """Return the URL of an empty store that several processes reach."""
    if request.param == "sqlite":
        return workers.url(tmp_path / "m.sqlite3")
    table = request.getfixturevalue("dynoxide_table")
    table.empty()
    memcached = request.getfixturevalue("memcached")
    return f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"


def test_one_begins_and_all_count(url, tmp_path):
    """Of 8 processes one adds each key, all count, and what is begun has its expiry."""
    logs, times = [tmp_path / f"log{number}" for number in range(8)], 15
    with crew() as processes:
        processes.wait(*(processes.start(workers.begin, url, log, times) for log in logs))
    won = Counter(line for log in logs for line in lines(log))
    assert won == {str(number): 1 for number in range(times)}
    with closing(Engine.open(url)) as engine:
        m = LPCM("m", using=engine)
        for number in range(times):
            assert [m.get(f"{what}{number}") for what in "ift"] == [8, 4.0, 8]
            assert all(540 < m.ttl(f"{what}{number}") <= 600 for what in "aift")


def test_transforms_survive_kills(tmp_path):
    """Every acknowledged transform of every process is applied once, in that process's order."""
    path = tmp_path / "m.sqlite3"
    logs = [tmp_path / f"log{number}" for number in range(3)]
    with crew() as processes:
        started = [processes.start(workers.append, path, log, 150, "k") for log in logs]
        until(lambda: len(lines(logs[0])) >= 50)
        processes.kill(started[0])
        processes.wait(*started[1:])
    with looking(path) as lists:
        stored = lists["k"]
    assert len(set(stored)) == len(stored)
    for log in logs:
        said = [tuple(map(int, line.split())) for line in lines(log)]
        kept = [item for item in stored if item[0] == said[0][0]]
        unsaid = len(kept) - len(said)
        assert kept[: len(said)] == said
        assert unsaid == 0 or (log == logs[0] and unsaid == 1)


def test_batches(tmp_path):
    """After concurrent batches each key holds the last value that one of the writers gave it."""
    path, rounds, keys = tmp_path / "m.sqlite3", 40, 50
    with crew() as processes:
        started = [processes.start(workers.set_batches, path, rounds, keys) for _ in range(3)]
        names = [int(output) for output in processes.wait(*started)]
    with looking(path) as numbers:
        last = {(name, rounds - 1) for name in names}
        assert set(numbers.get_many(f"k{i}" for i in range(keys)).values()) <= last
        own = {f"{name}/{number}": number for name in names for number in range(rounds)}
        assert numbers.get_many(own) == own
        assert len(numbers) == keys + len(own)


def test_pop(tmp_path):
    """Of several processes that pop the same keys, exactly one gets each entry."""
    path, keys = tmp_path / "m.sqlite3", 1000
    entries = {f"k{i}": i for i in range(keys)}
    assert taken(tmp_path, path, entries, workers.pop_all, keys) == sorted(entries.items())


def test_popitem(tmp_path):
    """Of several processes that pop items, exactly one gets each entry, until there is none."""
    entries = {f"k{i}": i for i in range(400)}
    path = tmp_path / "m.sqlite3"
    assert taken(tmp_path, path, entries, workers.popitem_all) == sorted(entries.items())


def taken(tmp_path, path, entries, function, *arguments):
    """Return what four processes took of these entries, sorted; nothing may be left."""
    logs = [tmp_path / f"log{number}" for number in range(4)]
    with looking(path) as stored:
        stored.set_many(entries)
        with crew() as processes:
            processes.wait(*[processes.start(function, path, log, *arguments) for log in logs])
        assert not stored
    pairs = [line.split() for log in logs for line in lines(log)]
    return sorted((key, int(value)) for key, value in pairs)

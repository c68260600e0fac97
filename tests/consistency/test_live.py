"""Eight processes change the same values, on each store: nothing is lost, nothing doubled.

``make counts`` has them make each change a thousand times.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from threading import Thread

import pytest

from lpcm import LPCM, Engine
from lpcm.verify.proxy import Faults, http_proxy, proxy
from tests.consistency import live_workers
from tests.consistency.processes import ROOT, crew
from tests.dynamodb.conftest import dynoxide_table, extenddb_table  # noqa: F401  # fixtures
from tests.dynamodb.tables import REGION, TABLE

PROCESSES = 8
HURT = Faults(refuse=0.01, lose=0.03, cut=0.01, delay=0.1, seconds=(0.001, 0.01))
HURT_HTTP = HURT._replace(fail=0.01, fail_after=0.01, throttle=0.03)


def emptied(request, name):
    table = request.getfixturevalue(f"{name}_table")
    table.empty()
    return table


@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "dynoxide", "extenddb", "dynoxide behind memcached"]
)
@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled(kind, request, tmp_path, changes):
    """Each ``+=``, nested ``+=``, ``append``, ``|=`` and ``transform`` counts exactly once."""
    times = changes
    if kind == "memory":
        url = "memory://shared?timeout=60"
    elif kind == "sqlite":
        url = f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal&timeout=60"
    else:
        url = f"{emptied(request, kind.split()[0]).url}&timeout=60"
        if "memcached" in kind:
            memcached = request.getfixturevalue("memcached")
            url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(url)
    m = LPCM("m", live=False, using=engine)
    live_workers.start(m, times)
    logs = [tmp_path / f"log{number}" for number in range(PROCESSES)]
    work = [(url, log, number, times) for number, log in enumerate(logs)]
    if kind == "memory":
        threads = [Thread(target=live_workers.work, args=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60 + times)
    else:
        with crew() as processes:
            started = [processes.start(live_workers.work, *each) for each in work]
            processes.wait(*started, timeout=60 + 3 * times)
    told = [word for log in logs for _, _, word in json.loads(log.read_text())]
    assert Counter(told) == {"done": PROCESSES * times * len(live_workers.KINDS)}
    everything = sorted((number, turn) for number in range(PROCESSES) for turn in range(times))
    for name, found in live_workers.made(m, PROCESSES, times).items():
        assert sorted(found) == everything, name
    engine.close()


@pytest.mark.parametrize("kind", ["sqlite behind memcached", "dynoxide behind memcached"])
@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled_under_faults(kind, request, tmp_path, changes, memcached):
    """What was told to be done is stored once, what was not is not, the unknown at most once.

    Proxies lose, cut, fail and throttle what goes to the cache and to DynamoDB.
    """
    times = changes
    with ExitStack() as stack:
        cache = stack.enter_context(proxy(memcached.host, memcached.port, HURT))
        proxies = [cache]
        if kind.startswith("sqlite"):
            url = true_url = f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"
        else:
            table = emptied(request, "dynoxide")
            host, port = table.endpoint.removeprefix("http://").split(":")
            between = stack.enter_context(http_proxy(host, int(port), HURT_HTTP))
            proxies.append(between)
            true_url = table.url
            url = (
                f"dynamodb://{TABLE}?region={REGION}&endpoint={between.endpoint}"
                "&budget=5&patience=0.4"
            )
        engine = Engine.open(true_url)
        m = LPCM("m", live=False, using=engine)
        live_workers.start(m, times)
        url += f"&timeout=20&cache=memcached://{cache.host}:{cache.port}"
        logs = [tmp_path / f"log{number}" for number in range(PROCESSES)]
        with crew() as processes:
            started = [
                processes.start(live_workers.work, url, log, number, times)
                for number, log in enumerate(logs)
            ]
            processes.wait(*started, timeout=120 + 10 * times)
        counts = [Counter(each.counts) for each in proxies]
    assert all(count["lose"] > 0 for count in counts), counts
    told = {
        (name, number, turn): word
        for number, log in enumerate(logs)
        for name, turn, word in json.loads(log.read_text())
    }
    words = Counter(told.values())
    print(words, *map(dict, counts), sep="\n")
    assert words["done"] > 0.8 * len(told), words
    for name, found in live_workers.made(m, PROCESSES, times).items():
        stored = Counter(found)
        assert set(stored.values()) == {1}, (name, "made twice")
        for (kind_of, number, turn), word in told.items():
            if kind_of == name and word != "unknown":
                assert stored[number, turn] == (word == "done"), (name, number, turn, word)
    engine.close()


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("memcached", "dynoxide")  # where one is missing, this says so
def test_two_hundred_messages_are_kept():
    """Of eight processes' 200 messages to one list each store keeps all, boto3's way does not."""
    command = [sys.executable, "benchmarks/messages.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = re.findall(r"^\| (.*?) \| (\d+) \|$", done.stdout, re.MULTILINE)
    kept = {way: int(count) for way, count in rows}
    assert kept.pop("boto3, read and put back") < 200
    assert len(kept) == 5
    assert set(kept.values()) == {200}, done.stdout

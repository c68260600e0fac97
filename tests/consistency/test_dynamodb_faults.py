"""DynamoDB through a proxy that loses, cuts, fails and throttles: the promise holds.

The engine is real, the clients are processes, the faults are the proxy's. Run for longer by
``make faults`` (or ``--fault-seconds=60``).
"""

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from checks import servers
from lpcm import LPCM, Engine
from lpcm.verify.proxy import Faults, http_proxy
from tests.consistency import dynamodb_workers as workers
from tests.consistency.processes import crew
from tests.consistency.register_history import Op, by_key, check
from tests.dynamodb.tables import REGION, TABLE, Table

CLIENTS = 4
BUDGET, PATIENCE = 2.0, 0.4
FAULTS = Faults(
    refuse=0.01,
    lose=0.03,
    cut=0.01,
    hang=0.006,
    fail=0.01,
    fail_after=0.01,
    throttle=0.04,
    unprocess=0.6,
    hold=0.1,
    delay=0.2,
    seconds=(0.001, 0.01),
)


@pytest.fixture
def table(aws):
    """Give a table on an engine of this test's own."""
    with servers.dynoxide() as server:
        made = Table(server.endpoint)
        yield made
        made.close()


def history(table, tmp_path, faults, seconds, *, worker=workers.work, doing):
    """Let the clients work through the proxy; return their rows and what was done to them."""
    host, port = table.endpoint.removeprefix("http://").split(":")
    with crew() as processes, http_proxy(host, int(port), faults) as between:
        url = (
            f"dynamodb://{TABLE}?region={REGION}&endpoint={between.endpoint}"
            f"&budget={BUDGET}&patience={PATIENCE}"
        )
        logs = [tmp_path / f"log{number}" for number in range(CLIENTS)]
        started = [
            processes.start(worker, url, log, seconds, number + 1, doing)
            for number, log in enumerate(logs)
        ]
        processes.wait(*started, timeout=seconds + 60)
        counts = Counter(between.counts)
    rows = [json.loads(line) for log in logs for line in Path(log).read_text().splitlines()]
    return rows, counts


def registers(rows):
    """Return the rows of the registers as a history; what was certainly not done is none."""
    return [
        Op(key, kind, argument, result, invoked, responded if told == "done" else None)
        for role, key, kind, argument, told, result, invoked, responded in rows
        if role == "register" and (told == "done" or (told == "unknown" and kind != "get"))
    ]


def explained(total, done, unknown):
    """Tell whether a total is the sum of what is done and of some of what is unknown, each once."""
    return any(
        total == sum(done) + sum(some)
        for size in range(len(unknown) + 1)
        for some in itertools.combinations(unknown, size)
    )


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice(table, tmp_path, fault_seconds):
    """Under faults of every kind, what clients were told is true, and they are told in time.

    Every acknowledged increment is counted exactly once and no unacknowledged one more than
    once; no batch entry is lost; registers are linearizable; no call hangs.
    """
    rows, counts = history(table, tmp_path, FAULTS, fault_seconds, doing="everything")
    happened = {name: counts[name] for name in FAULTS._fields if name != "seconds"}
    assert min(happened.values()) > 0, happened
    told = Counter((role, word) for role, _, _, _, word, *_ in rows)
    assert told["count", "done"] > 20 * fault_seconds / 4, told
    assert told["count", "unknown"] > 0, told

    engine = Engine.open(table.url)
    counted, batched = LPCM("counts", using=engine), LPCM("batches", using=engine)
    deltas = {"done": defaultdict(list), "unknown": defaultdict(list), "not": defaultdict(list)}
    results = defaultdict(list)
    for role, key, _, argument, word, result, *_ in rows:
        if role == "count":
            deltas[word][key].append(argument)
            results[key] += [result] if word == "done" else []
    totals = dict(counted.items())
    assert totals.keys() <= {*deltas["done"], *deltas["unknown"]}
    for key in {*deltas["done"], *deltas["unknown"]}:
        done, unknown = deltas["done"][key], deltas["unknown"][key]
        assert explained(totals.get(key, 0), done, unknown), (key, totals.get(key), done, unknown)
        assert len(set(results[key])) == len(done)

    stored = dict(batched.items())
    for role, key, _, argument, word, result, *_ in rows:
        if role == "read":
            assert not result, "a batch was read, but not all of it"
        if role == "batch":
            allowed = {"done": [argument], "not": [None], "unknown": [argument, None]}[word]
            assert stored.pop(key, None) in allowed, (key, word)
    assert stored == {}
    assert check(registers(rows)) is None
    engine.close()

    slowest = max((responded - invoked) / 1e9 for *_, invoked, responded in rows)
    print(dict(counts), dict(told), f"slowest: {slowest:.2f} s", sep="\n")
    # A write may take its budget, and the read that tells what became of it another.
    assert slowest < 2 * BUDGET + 2


def test_resending_blindly_is_found_out(table, tmp_path):
    """With a fault built in, a write sent again when its reply was lost, the check fails."""
    faults = Faults(lose=0.1, fail_after=0.1)
    worker = workers.resend_blindly
    rows, counts = history(table, tmp_path, faults, 4, worker=worker, doing="puts_and_gets")
    assert counts["lose"] > 10
    assert counts["fail_after"] > 10
    assert check(registers(rows)) is not None


def test_the_faultless_pass_the_same_check(table, tmp_path):
    """Without the built-in fault the same operations under the same faults pass it."""
    faults = Faults(lose=0.1, fail_after=0.1)
    rows, counts = history(table, tmp_path, faults, 2, doing="puts_and_gets")
    assert counts["lose"] > 5
    assert counts["fail_after"] > 5
    assert check(registers(rows)) is None
    assert len(by_key(registers(rows))) >= 4


def test_what_explains_a_total():
    """The check of the counters finds one increment too many or too few."""
    assert explained(60, [10, 20], [30, 50])
    assert explained(30, [10, 20], [30, 50])
    assert not explained(90, [10, 20], [30, 50])  # 30 twice
    assert not explained(20, [10, 20], [50])

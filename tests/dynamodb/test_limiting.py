"""Over a limit: what the proxy that limits says, and what the store makes of it."""

import threading
import time
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

import lpcm
from checks.limiting import Limits, limiting
from lpcm import LPCM, Engine, Entry, StoreThrottled
from lpcm.engine.drive import run
from lpcm.stores.dynamodb import pace as pace_module
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.pace import Pace, ticket
from lpcm.stores.dynamodb.shards import partitions
from lpcm.testing import FakeClock
from tests.dynamodb.tables import REGION
from tests.test_process import FORKS, seen_in_child

TYPES = ("Provisioned", "MaxOnDemand", "Account")


@pytest.fixture
def dynoxide_table(dynoxide_table):
    """Return the table, emptied: a map that another test left may have any number of shards."""
    dynoxide_table.empty()
    return dynoxide_table


@contextmanager
def limited(table, **limits):
    """Yield a proxy in front of the table's engine."""
    at = urlsplit(table.endpoint)
    with limiting(at.hostname, at.port, Limits(**limits)) as proxy:
        yield proxy


@contextmanager
def opened(table, proxy, **options):
    """Yield an engine over the proxy."""
    url = f"dynamodb://{table.name}?region={REGION}&endpoint={proxy.endpoint}"
    with Engine.open(url, **options) as engine:
        yield engine


def put(pk, number=0, data="x"):
    return {"pk": {"S": pk}, "sk": {"S": f"{number:05}"}, "v": {"S": data}}


def test_each_partition_has_its_limit(dynoxide_table):
    """What is over the limit is refused, with AWS's reason; other partitions go on."""
    table = dynoxide_table
    with limited(table, writes=20, reads=20) as proxy:
        transport = SocketTransport(Credentials(REGION, proxy.endpoint))
        with closing(transport):

            def call(operation, **request):
                return run(transport.call(operation, {"TableName": table.name, **request}, 20.0))

            begun = time.monotonic()
            replies = [call("PutItem", Item=put("hot/a/", number)) for number in range(200)]
            passed = [reply for reply in replies if reply.status == 200]
            allowed = 20 * (time.monotonic() - begun) + 3
            assert 2 <= len(passed) <= allowed
            refused = next(reply for reply in replies if reply.status != 200)
            assert refused.error == "ProvisionedThroughputExceededException"
            (reason,) = refused.body["ThrottlingReasons"]
            assert reason["reason"] == "TableWriteKeyRangeThroughputExceeded"
            assert reason["resource"].endswith(f":table/{table.name}")
            assert call("PutItem", Item=put("cool/a/")).status == 200
            assert proxy.counts["throttled"] == 200 - len(passed)
            key = {"pk": {"S": "hot/a/"}, "sk": {"S": "00000"}}
            reads = [call("GetItem", Key=key, ConsistentRead=True) for _ in range(60)]
            codes = {reply.status for reply in reads}
            assert codes == {200, 400}

            wanted = [{"PutRequest": {"Item": put("batch/a/", number)}} for number in range(25)]
            reply = run(
                transport.call("BatchWriteItem", {"RequestItems": {table.name: wanted}}, 20.0)
            )
            assert reply.status == 200
            assert 20 <= len(reply.body["UnprocessedItems"][table.name]) < 25
    table.empty()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"writes": 1},
            "map 'hot' of namespace '[^']+' gets more writes than one partition takes.+ --shards",
        ),
        ({"table_writes": 1}, "provisioned capacity of writes is used up: raise it"),
        (
            {"table_writes": 1, "table_reason": "MaxOnDemandThroughputExceeded"},
            "maximum of on-demand writes, which its owner has set",
        ),
        (
            {"table_writes": 1, "table_reason": "AccountLimitExceeded"},
            "account's limit of writes .+ ask AWS for a higher quota",
        ),
    ],
    ids=["partition", "provisioned", "maximum", "account"],
)
def test_the_message_says_which_limit(dynoxide_table, limits, words):
    """The error names the limit, and the map where it is the map's."""
    with limited(dynoxide_table) as proxy, opened(dynoxide_table, proxy, budget=0.4) as engine:
        m = LPCM("hot", using=engine)
        m["a"] = 1
        proxy.limits = Limits(**limits, saved=0)
        proxy.forget_units()
        with pytest.raises(StoreThrottled, match=words):
            for _ in range(20):
                m["a"] = 1


def test_many_threads(dynoxide_table):
    """Threads at several times the limit all get through, in the order in which they came."""
    waits, failed = [], []
    with limited(dynoxide_table) as proxy, opened(dynoxide_table, proxy, budget=30) as engine:
        m = LPCM("crowd", using=engine)
        m["first"] = 0
        proxy.limits = Limits(writes=100)
        proxy.forget_units()
        begin = threading.Barrier(120)

        def write(number):
            begin.wait()
            for turn in range(2):
                started = time.monotonic()
                try:
                    m[number] = turn
                except lpcm.LPCMError as error:
                    failed.append(error)
                waits.append(time.monotonic() - started)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(120)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(m) == 121
        assert proxy.counts["throttled"] < 240, "hardly more than the first of each"
    assert max(waits) < 3 * sum(waits) / len(waits)


def test_a_large_batch(dynoxide_table):
    """A batch at several times the limit is sent at the pace that gets through, hardly oftener."""
    with limited(dynoxide_table) as proxy, opened(dynoxide_table, proxy, budget=30) as engine:
        m = LPCM("load", using=engine)
        m["first"] = 0
        proxy.limits = Limits(writes=300, saved=1)
        proxy.forget_units()
        before = proxy.counts["requests"]
        m.set_many({number: number for number in range(1500)})
        assert proxy.counts["requests"] - before <= 1.5 * 1500 / 25
        assert len(m) == 1501


def test_each_shard_has_its_pace(dynoxide_table):
    """Batches of several shards are sent at the pace of each, and the table has none."""
    with limited(dynoxide_table) as proxy, opened(dynoxide_table, proxy, budget=30) as engine:
        m = LPCM("spread", using=engine, shards=4)
        m["first"] = 0
        proxy.limits = Limits(writes=75, saved=1)
        proxy.forget_units()
        before = proxy.counts["requests"]
        m.set_many({number: number for number in range(1000)})
        assert proxy.counts["requests"] - before <= 3 * 1000 / 25
        paced = {pk for pk, _ in engine.store._store._caller._paces}
        assert paced
        assert paced <= set(partitions(engine.partition("spread"), 4))
        assert len(m) == 1001


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of the paces, which stands still until it is moved."""
    clock = FakeClock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def test_paces_are_forgotten(dynoxide_table, clock):
    """A process does not keep a pace for each partition that was ever throttled, as of parts."""
    with Engine.open(dynoxide_table.url) as engine:
        caller = engine.store._store._caller
        for number in range(100):
            caller._refused((f"default/m/!00ff/{number:06}/", False), clock.monotonic(), "")
            clock.advance(1)
        assert len(caller._paces) == 31


def test_first_come_first_served(clock):
    """The turns of a queue are taken in the order of its places, not of the questions."""
    pace = Pace()
    pace.rate = 50.0
    waiting = [ticket() for _ in range(5)]
    for place in reversed(waiting):
        pace.enter(place)
    taken = []
    for _ in range(5):
        for place in reversed(waiting):
            if place not in taken and not pace.wait(place, 1):
                taken.append(place)
        clock.advance(0.02)
    assert taken == waiting


@pytest.mark.posix
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_of_a_fork_waits_for_none_of_its_parents_callers(dynoxide_table, fork):
    """Callers that waited in the parent are not in the child's queues."""
    table = dynoxide_table
    with limited(table) as proxy, opened(table, proxy, budget=2) as engine:
        m = LPCM("m", using=engine)
        m["k"] = 1
        pace = engine.store._store._caller._paces[engine.partition("m"), False] = Pace()
        for _ in range(1000):
            pace.enter(ticket())
        assert seen_in_child(fork, lambda: m.increment("k")) == "2"
        with pytest.raises(StoreThrottled):
            m["k"] = 3


def test_who_gives_up_holds_nobody_up(clock):
    """A caller that leaves the queue before its turn is no longer waited for."""
    pace = Pace()
    first, second = ticket(), ticket()
    pace.enter(first)
    pace.enter(second)
    assert pace.wait(second, 1) > 0
    pace.leave(first)
    clock.advance(0.01)
    assert pace.wait(second, 1) == 0


def test_the_rate_follows(clock):
    """Refusals bring the rate to what got through; successes raise it while others wait."""
    pace = Pace()
    start = pace.rate
    pace.refused(0.0)
    assert pace.rate == start, "what was sent before there was a pace says nothing about it"
    clock.advance(0.1)
    for _ in range(30):
        pace.refused(clock.now())
    assert pace.rate == start / 2, "refusals that come together count once"
    for _ in range(20):
        clock.advance(0.5)
        pace.succeeded(50)
        pace.refused(clock.now())
    assert 90 < pace.rate < 100, "a hundred a second got through"
    before = pace.rate
    pace.succeeded(50)
    assert pace.rate == before, "nobody waits"
    pace.enter(ticket())
    pace.succeeded(50)
    assert pace.rate > before


def test_expired_entries_in_a_row(dynoxide_table):
    """A look for one entry goes over thousands that have expired in few requests."""
    with limited(dynoxide_table) as proxy, opened(dynoxide_table, proxy) as engine:
        m = LPCM("old", using=engine)
        run(m._use().restore(Entry(number, "x", 0, 1.0) for number in range(4000)))
        m["last"] = 1
        before = proxy.counts["requests"]
        assert m
        assert proxy.counts["requests"] - before <= 6

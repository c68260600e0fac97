"""``purge`` on DynamoDB: what it deletes, what it leaves, and at which rate."""

import signal
import threading
import time

import pytest
from click.testing import CliRunner

from lpcm import LPCM, Engine, StoreTooNew, administration
from lpcm.cli import main
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import MapInfo
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.requests import LONG_AGO
from lpcm.stores.dynamodb.store import DynamoDBStore
from lpcm.testing import FakeClock
from lpcm.values.keys import partition
from tests.dynamodb.hurting import Hurting
from tests.dynamodb.tables import REGION
from tests.dynamodb.test_limiting import limited, opened
from tests.signals import interrupting

PAST = 1_700_000_000.0
purge = administration.purge


class Watched(Hurting):
    """Calls ``before_delete`` with each key before it is deleted; notes how maps are read."""

    before_delete = staticmethod(lambda _: None)

    def __init__(self, inner, **plan):
        super().__init__(inner, **plan)
        self.consistent = []

    async def call(self, operation, request, within):
        if operation == "Query" and "FilterExpression" in request:
            self.consistent.append(request["ConsistentRead"])
        if operation == "DeleteItem":
            self.before_delete(request["Key"]["sk"]["S"])
        return await super().call(operation, request, within)

    async def sleep(self, seconds):
        time.sleep(seconds)  # noqa: ASYNC251  # a blocking transport


@pytest.fixture
def transport(table):
    return Watched(SocketTransport(Credentials(REGION, table.endpoint)))


@pytest.fixture
def clock():
    return FakeClock(PAST)


@pytest.fixture
def engine(table, transport, clock):
    store = DynamoDBStore(transport, table.name, str)
    with Engine(store, config.parse(table.url), clock=clock) as engine:
        yield engine


def keys(table, name="m"):
    """Return the keys of a map's items, expired ones included."""
    pk = partition("default", name)
    return {item["sk"]["S"] for item in table.items() if item["pk"]["S"] == pk}


def test_what_has_expired_goes(table, engine, clock):
    """Of all maps of the namespace, or of those that are named; all else stays."""
    for name in ("m", "n"):
        m = LPCM(name, using=engine)
        m.set_many({"a": 1, "b": 2})
        m.set_many({"later": 1}, ttl=100)
        m.set_many({f"old{number}": number for number in range(60)}, ttl=10)
    clock.advance(11)
    steps = []
    assert purge(using=engine, maps=["n"], rate=1000, advance=steps.append) == 60
    assert sum(steps) == 60
    assert (len(keys(table, "m")), keys(table, "n")) == (63, {"a", "b", "later"})
    assert purge(using=engine, rate=1000) == 60
    assert keys(table, "m") == {"a", "b", "later"}
    assert purge(using=engine) == 0


def test_by_the_command_line(table):
    """``lpcm purge`` is the same command as for a file."""
    with Engine.open(table.url) as engine:
        LPCM("m", using=engine).set("old", 1, ttl=0.001)
    time.sleep(0.01)
    done = CliRunner().invoke(main, ["--url", table.url, "--json", "purge", "--rate", "500"])
    assert (done.exit_code, done.stdout) == (0, '{"purged": 1}\n')
    assert not keys(table)


def test_another_namespace_stays(table, clock):
    """A purge is of the namespace of its engine."""
    for namespace in ("one", "two"):
        with Engine.open(f"{table.url}&namespace={namespace}", clock=clock) as engine:
            LPCM("m", using=engine).set("old", 1, ttl=1)
    clock.advance(2)
    with Engine.open(f"{table.url}&namespace=one", clock=clock) as engine:
        assert purge(using=engine) == 1
    assert [item["pk"]["S"] for item in table.items() if item["sk"]["S"] == "old"] == ["two/m/"]


def test_what_is_written_again_meanwhile_stays(table, engine, transport, clock):
    """Each delete is conditional on the entry's being expired still."""
    m = LPCM("m", using=engine)
    m.set_many({"a": 1, "b": 1, "c": 1}, ttl=10)
    clock.advance(11)
    again = {"a": lambda: m.set("a", 2), "b": lambda: m.set("b", 2, ttl=10)}
    transport.before_delete = lambda sk: again.pop(sk, lambda: None)()
    assert purge(using=engine) == 1
    assert m.copy() == {"a": 2, "b": 2}


def test_a_clock_ahead_deletes_nothing_that_lives(table):
    """An engine's clock, a test's for one, can be ahead of the machine's."""
    with Engine.open(table.url) as engine:
        LPCM("m", using=engine).set("k", 1, ttl=3600)
    with Engine.open(table.url, clock=FakeClock(time.time() + 7200)) as ahead:
        assert purge(using=ahead) == 0
    assert keys(table) == {"k"}


def test_a_lost_reply_is_sent_again(table, engine, transport, clock):
    """A delete whose reply is lost is repeated: it has the same condition."""
    m = LPCM("m", using=engine)
    m.set_many({"a": 1, "b": 1}, ttl=10)
    clock.advance(11)
    transport.plan["DeleteItem"] = ["lost", "lost after"]
    assert purge(using=engine) == 1  # of the other one nobody knows who deleted it
    assert not keys(table)
    assert transport.sent("DeleteItem") == 4


def test_a_tombstone_is_left_to_its_writer(table, engine, transport, clock):
    """A ``pop`` whose reply was lost still finds the value that it removed."""
    m = LPCM("m", using=engine)
    m["k"] = "value"

    class Purging(Hurting):
        async def call(self, operation, request, within):
            reply = await super().call(operation, request, within)
            if operation == "UpdateItem":
                purged.append(purge(using=engine))
            return reply

    purged = []
    transport.inner = Purging(transport.inner)
    transport.plan["UpdateItem"] = ["lost after"]
    assert m.pop("k") == "value"
    assert purged == [0]


@pytest.mark.parametrize(("age", "gone"), [(0, 0), (599, 0), (-599, 0), (601, 1), (-601, 1)])
def test_what_may_be_a_tombstone_is_left_for_ten_minutes(table, engine, clock, age, gone):
    """What expired thirty days ago, give or take ten minutes, is left; older tombstones go."""
    m = LPCM("m", using=engine)
    m.set("k", 1, ttl=1)
    clock.advance(1 + LONG_AGO + age)
    assert clock.now() < time.time()
    assert purge(using=engine) == gone


@pytest.mark.parametrize("later", [MapInfo("m", 99), MapInfo("m", 99, "typed", 4)])
def test_a_later_format_is_refused(table, engine, clock, later):
    """Nothing is deleted where one of the maps is of a format that this version does not know."""
    LPCM("a", using=engine).set("old", 1, ttl=1)
    run(engine.store.register("default", later))
    clock.advance(2)
    with pytest.raises(StoreTooNew):
        purge(using=engine)
    assert keys(table, "a") == {"old"}
    assert purge(using=engine, maps=["a"]) == 1


def test_an_entry_of_a_later_format_is_refused(table, engine, clock):
    """Its expiry may mean something else."""
    m = LPCM("m", using=engine)
    m.set("old", 1, ttl=1)
    (item,) = [item for item in table.items() if item["sk"]["S"] == "old"]
    table.call("PutItem", TableName=table.name, Item={**item, "f": {"N": "2"}})
    clock.advance(2)
    with pytest.raises(StoreTooNew):
        purge(using=engine)
    assert keys(table) == {"old"}


def test_it_keeps_to_its_rate(table, engine, clock):
    """200 entries of 1 KB at 50 units a second take four seconds and the reads' share."""
    m = LPCM("m", using=engine)
    m.set_many(dict.fromkeys(range(200), "x" * 900), ttl=10)
    clock.advance(11)
    begun = clock.now()
    assert purge(using=engine, rate=50) == 200
    # 200 write units, and 190 KB of half-price reads, a fifth of a unit each: 5.
    assert 4.0 <= clock.now() - begun <= 4.3


def test_large_entries_count_as_what_they_cost(table, engine, clock):
    """An entry of 10 KB is ten units of the rate."""
    m = LPCM("m", using=engine)
    m.set_many(dict.fromkeys(range(20), "x" * 10000), ttl=10)
    clock.advance(11)
    begun = clock.now()
    purge(using=engine, rate=100)
    assert 2.0 <= clock.now() - begun <= 2.3


def test_its_reads_cost_half(table, engine, transport, clock):
    """It reads with eventual consistency."""
    LPCM("m", using=engine).set("old", 1, ttl=1)
    clock.advance(2)
    assert purge(using=engine) == 1
    assert transport.consistent == [False]


def test_an_interrupted_purge_is_begun_again(table, engine, transport, clock):
    """Ctrl-C ends it between two entries; the next one deletes the rest."""
    m = LPCM("m", using=engine)
    m.set_many(((number, 1) for number in range(300)), ttl=10)
    clock.advance(11)
    sent = threading.Event()

    with interrupting(signal.SIGINT, signal.default_int_handler) as send:

        def interrupt(_):
            if transport.sent("DeleteItem") > 50 and not sent.is_set():
                sent.set()
                send()

        transport.before_delete = interrupt
        with pytest.raises(KeyboardInterrupt):
            purge(using=engine)
    transport.before_delete = lambda _: None
    assert purge(using=engine) > 0
    assert not keys(table)


def test_what_is_throttled_goes_at_the_pace_that_gets_through(table, clock):
    """A purge over a partition's limit is slowed down, and ends."""
    with Engine.open(table.url, clock=clock) as engine:
        LPCM("m", using=engine).set_many(((number, 1) for number in range(400)), ttl=10)
    clock.advance(11)
    with (
        limited(table, writes=200, reads=1000) as proxy,
        opened(table, proxy, clock=clock) as engine,
    ):
        assert purge(using=engine, rate=100_000) == 400
    assert not keys(table)

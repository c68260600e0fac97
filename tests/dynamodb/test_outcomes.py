"""What became of a request: retried where it certainly was not applied, else known or unknown.

Faults are injected at the transport's port, in front of a real engine.
"""

import threading
import time

import pytest

from lpcm import events
from lpcm.engine.drive import run
from lpcm.errors import (
    OutcomeUnknown,
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreMissing,
    StoreThrottled,
    StoreUnavailable,
    ValueTooLarge,
)
from lpcm.ports import (
    Aborted,
    Add,
    Applied,
    Cell,
    Change,
    Delete,
    Extend,
    KeyRange,
    MapInfo,
    Put,
    Refused,
    Stored,
    Touch,
    Update,
    When,
)
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import Reply
from lpcm.stores.dynamodb.retries import Bucket
from lpcm.stores.dynamodb.store import DynamoDBStore
from lpcm.testing.contracts.store.case import MAP, NOW, apply, fill, read, scan_all
from tests.dynamodb.hurting import FAILED, THROTTLED, Hurting
from tests.dynamodb.tables import REGION

AFTER = ["lost after", "failed after"]
INSTEAD = ["lost", "failed"]
NUMBER = Stored(40, "int", 7, None)
LIST = Stored(["a"], None, 7, NOW + 60)

# What is there, the op, and the operation it is sent as.
WRITES = {
    "put": (NUMBER, Put(Cell("new", None), 9, NOW + 5), "PutItem"),
    "put if absent": (None, Put(Cell("new", None), 9, None, When.ABSENT), "PutItem"),
    "compare and set": (NUMBER, Put(Cell("new", None), 9, None, 7), "PutItem"),
    "add": (NUMBER, Add(2, 0, 9), "UpdateItem"),
    "add to nothing": (None, Add(2, 40, 9), "UpdateItem"),
    "add to nothing, expiring": (None, Add(2, 40, 9, NOW + 5), "PutItem"),
    "touch": (NUMBER, Touch(NOW + 5, 9), "UpdateItem"),
    "extend": (LIST, Update((), Extend(["b"]), 9), "UpdateItem"),
}


@pytest.fixture
def opened(dynoxide_table):
    """Return what opens the emptied table over a transport with a plan."""
    dynoxide_table.empty()
    stores = []

    def open_store(entry=None, *, budget=8.0, exactly_once=False, **plan):
        transport = Hurting(SocketTransport(Credentials(REGION, dynoxide_table.endpoint)))
        store = DynamoDBStore(
            transport, dynoxide_table.name, str, budget=budget, exactly_once=exactly_once
        )
        stores.append(store)
        if entry is not None:
            apply(store, "k", Put(Cell(entry.data, entry.kind), entry.etag, entry.expires))
        transport.plan = plan
        transport.calls.clear()
        return store, transport

    yield open_store
    for store in stores:
        store.close()


# Writes whose reply does not come


@pytest.mark.parametrize("fault", AFTER)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_was_applied_is_recognised(opened, name, fault):
    """A lost reply of an applied write is read from the entry; nothing is sent twice."""
    entry, op, operation = WRITES[name]
    expected = apply(opened(entry)[0], "k", op)
    assert isinstance(expected, Applied)
    apply(opened()[0], "k", Delete())
    store, transport = opened(entry, **{operation: [fault]})
    assert apply(store, "k", op) == expected
    assert transport.sent(operation) == 1
    assert read(store, "k") == expected.entry


@pytest.mark.parametrize("fault", INSTEAD)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_was_not_applied_is_unknown(opened, name, fault):
    """A lost request is OutcomeUnknown, never sent again, and has written nothing."""
    entry, op, operation = WRITES[name]
    store, transport = opened(entry, **{operation: [fault]})
    with pytest.raises(OutcomeUnknown) as caught:
        apply(store, "k", op)
    assert caught.value.committed is None
    assert transport.sent(operation) == 1
    assert read(store, "k") == entry


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_arrives_late_is_unknown(opened, name):
    """What arrives after its OutcomeUnknown is applied once, as it was asked."""
    entry, op, operation = WRITES[name]
    expected = apply(opened(entry)[0], "k", op)
    apply(opened()[0], "k", Delete())
    store, transport = opened(entry, **{operation: ["late"]})
    with pytest.raises(OutcomeUnknown):
        apply(store, "k", op)
    assert read(store, "k") == entry
    transport.arrive()
    assert read(store, "k") == expected.entry


def test_a_lost_put_does_not_come_back(opened):
    """Put A, its reply lost and B acknowledged before anyone looks: it stays B."""
    store, transport = opened()
    call = transport.call

    async def overtaken(operation, request, within):
        if operation == "GetItem":  # the look at what became of A
            transport.call = call
            other = DynamoDBStore(transport, store._table, str)
            assert isinstance(await other.apply(MAP, "k", Put(Cell("B", None), 2), NOW), Applied)
        return await call(operation, request, within)

    transport.plan = {"PutItem": ["lost after"]}
    transport.call = overtaken
    with pytest.raises(OutcomeUnknown):
        apply(store, "k", Put(Cell("A", None), 1))
    assert read(store, "k") == Stored("B", None, 2, None)


@pytest.mark.parametrize("fault", [*AFTER, *INSTEAD])
@pytest.mark.parametrize("when", [When.ALWAYS, When.PRESENT, 7])
def test_a_lost_delete_is_unknown(opened, when, fault):
    """A delete leaves nothing to recognise it by: its lost reply is OutcomeUnknown."""
    store, transport = opened(NUMBER, DeleteItem=[fault])
    with pytest.raises(OutcomeUnknown):
        apply(store, "k", Delete(when))
    assert transport.sent("DeleteItem") == 1
    assert read(store, "k") == (None if fault in AFTER else NUMBER)


def test_when_nobody_can_be_asked_it_is_unknown(opened):
    """A write lost in an outage is OutcomeUnknown, whatever the look at it ends with."""
    store, _ = opened(budget=0.2, PutItem=["lost after"], GetItem=["lost"] * 1000)
    with pytest.raises(OutcomeUnknown):
        apply(store, "k", Put(Cell("A", None), 1))


# Pop


@pytest.mark.parametrize("when", [When.ALWAYS, When.PRESENT, 7])
@pytest.mark.parametrize("fault", AFTER)
def test_pop_does_not_lose_the_value(opened, fault, when):
    """A pop whose replies are lost still hands the value over, once."""
    for plan in ({"UpdateItem": [fault]}, {"DeleteItem": [fault]}, {"DeleteItem": ["lost"]}):
        store, _ = opened(NUMBER, **plan)
        outcome = apply(store, "k", Delete(when, returning=True))
        assert isinstance(outcome, Applied)
        assert (outcome.previous.data, outcome.previous.kind) == (40, "int")
        assert read(store, "k") is None
        assert read(store, "k", NOW - 86_400) is None
        assert apply(store, "k", Delete(When.PRESENT, returning=True)) == Refused(None)
        assert scan_all(store) == []


def test_pop_that_was_not_applied_is_unknown(opened):
    """A pop that did not arrive is OutcomeUnknown and leaves the entry."""
    store, _ = opened(NUMBER, UpdateItem=["lost"])
    with pytest.raises(OutcomeUnknown):
        apply(store, "k", Delete(When.PRESENT, returning=True))
    assert read(store, "k") == NUMBER


def test_what_was_popped_leaves_nothing(opened, dynoxide_table):
    """After a pop the table has no item of it; after a lost one, one that DynamoDB sweeps."""
    store, _ = opened(NUMBER)
    apply(store, "k", Delete(When.PRESENT, returning=True))
    assert dynoxide_table.items() == []
    store, _ = opened(NUMBER, DeleteItem=["lost"])
    apply(store, "k", Delete(When.PRESENT, returning=True))
    (item,) = dynoxide_table.items()
    five_years = 5 * 365 * 86_400
    assert NOW - five_years < float(item["x"]["N"]) < NOW - 86_400
    apply(store, "k", Put(Cell("again", None), 1))
    assert read(store, "k") == Stored("again", None, 1, None)


def test_pop_of_an_item_that_is_full(opened):
    """An entry of 400 KB, without room for an expiry, can be popped too."""
    room = 409_600 - len("pkskvetag") - len(MAP) - 1 - 2
    entry = Stored("x" * room, None, 7, None)
    store, transport = opened(entry)
    assert apply(store, "k", Delete(7, returning=True)) == Applied(None, entry)
    assert read(store, "k") is None
    assert transport.sent("UpdateItem") == 1


# Refusals for want of capacity, and connections that fail


@pytest.mark.parametrize("name", WRITES)
def test_what_was_not_applied_is_sent_again(opened, name):
    """Throttled or unsent writes are sent again until they are done, with pauses."""
    entry, op, operation = WRITES[name]
    expected = apply(opened(entry)[0], "k", op)
    apply(opened()[0], "k", Delete())
    faults = ["throttled", "unsent", "throttled"]
    store, transport = opened(entry, **{operation: [*faults]})
    assert apply(store, "k", op) == expected
    assert transport.sent(operation) == len(faults) + 1
    assert len(transport.slept) >= len(faults)


def test_pauses_grow_and_are_random(opened):
    """Pauses are spread from zero to a ceiling that doubles, up to a second."""
    slept = []
    for _ in range(40):
        store, transport = opened(PutItem=["unsent"] * 8)
        apply(store, "k", Put(Cell("new", None), 9))
        slept.append(transport.slept)
    for attempt, pauses in enumerate(zip(*slept, strict=True), 1):
        ceiling = min(1.0, 0.025 * 2**attempt)
        assert max(pauses) <= ceiling
        assert min(pauses) < ceiling / 3
        assert max(pauses) > ceiling / 2


@pytest.mark.parametrize("fault", ["throttled", "unsent", "lost", "failed"])
def test_reads_are_sent_again(opened, fault):
    """A read changes nothing, so it is sent again after any failure."""
    store, transport = opened(NUMBER, GetItem=[fault] * 3)
    assert read(store, "k") == NUMBER
    assert transport.sent("GetItem") == 4
    store, _ = opened(BatchGetItem=[fault] * 3, Query=[fault] * 3)
    assert run(store.read_many(MAP, ["k", "j"], NOW)) == [NUMBER, None]
    assert scan_all(store) == [("k", NUMBER)]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("throttled", StoreThrottled),
        ("unsent", StoreUnavailable),
        (Reply(400, {}, "TransactionConflictException", 0, 0), StoreBusy),
        (Reply(400, {}, "ReplicatedWriteConflictException", 0, 0), StoreBusy),
    ],
)
def test_the_budget_ends_it(opened, fault, error):
    """When the time budget is over, the error names the cause; nothing is written."""
    store, transport = opened(NUMBER, budget=0.3, PutItem=[fault] * 10_000)
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        apply(store, "k", Put(Cell("new", None), 9))
    assert type(caught.value) is error
    assert time.monotonic() - begun < 10
    assert transport.sent("PutItem") > 1
    assert read(store, "k") == NUMBER


def test_reads_end_with_what_stood_in_the_way(opened):
    """A read that never gets its reply is StoreUnavailable, throttled StoreThrottled."""
    for fault, error in (("lost", StoreUnavailable), (FAILED, StoreUnavailable)):
        store, _ = opened(budget=0.2, GetItem=[fault] * 10_000)
        with pytest.raises(error):
            read(store, "k")
    store, _ = opened(budget=0.2, GetItem=[THROTTLED] * 10_000)
    with pytest.raises(StoreThrottled):
        read(store, "k")


def test_an_outage_is_not_amplified(opened):
    """However many operations fail, few requests are repeats."""
    store, transport = opened(budget=0.05, GetItem=["unsent"] * 100_000)
    begun = time.monotonic()

    def fail(count):
        for _ in range(count):
            with pytest.raises(StoreUnavailable):
                read(store, "k")

    threads = [threading.Thread(target=fail, args=(100,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    elapsed = time.monotonic() - begun
    repeats = transport.sent("GetItem") - 800
    assert 0 < repeats <= Bucket.FULL + Bucket.RATE * elapsed + 16


def test_success_earns_repeats():
    """In good health a tenth of the requests may be repeats at once."""
    bucket = Bucket()
    while bucket.take(0.0) is not None:
        pass
    assert bucket.take(0.0) is None
    for _ in range(100):
        bucket.earn()
    free = 0
    while bucket.take(0.0) is not None:
        free += 1
    assert 9 <= free <= 12
    wait = bucket.take(10.0)
    assert wait is not None
    assert 0 < wait <= 2 / Bucket.RATE


# Batches


def puts(count):
    return [(f"{n:05}", Put(Cell(n, "int"), n + 1)) for n in range(count)]


def test_unprocessed_writes_are_sent_again(opened):
    """What a batch leaves undone is sent again until all is done, once each."""
    store, transport = opened(BatchWriteItem=["unprocessed"] * 6)
    assert run(store.apply_many(MAP, puts(60), NOW)) == [
        Applied(Stored(n, "int", n + 1, None)) for n in range(60)
    ]
    assert transport.sent("BatchWriteItem") == 9
    assert [entry.data for _, entry in scan_all(store)] == list(range(60))


def test_unprocessed_reads_are_sent_again(opened):
    """What a batch leaves unread is asked for again."""
    store, _ = opened(BatchGetItem=["unprocessed"] * 20)
    fill(store, 120)
    found = run(store.read_many(MAP, [f"{n:05}" for n in range(130)], NOW))
    assert [entry and entry.data for entry in found] == [*range(120), *[None] * 10]


def test_a_batch_throttled_to_the_end(opened):
    """What could not be written within the budget says so; the rest is done."""
    store, _ = opened(budget=0.3, BatchWriteItem=["unprocessed", *["throttled"] * 10_000])
    first, *rest = run(store.apply_many(MAP, puts(20), NOW))
    assert first == Applied(Stored(0, "int", 1, None))
    assert {type(outcome) for outcome in rest} == {StoreThrottled}
    assert [sk for sk, _ in scan_all(store)] == ["00000"]
    store, _ = opened(budget=0.3, BatchWriteItem=["throttled"] * 10_000)
    with pytest.raises(StoreThrottled):
        run(store.apply_many(MAP, puts(20), NOW))


@pytest.mark.parametrize("fault", [*AFTER, *INSTEAD])
def test_a_lost_batch(opened, fault):
    """Of a lost batch the puts found there are done; all else is OutcomeUnknown, for each key."""
    store, transport = opened(NUMBER, BatchWriteItem=[fault])
    writes = [*puts(3), ("k", Delete())]
    *done, delete = run(store.apply_many(MAP, writes, NOW))
    assert isinstance(delete, OutcomeUnknown)
    if fault in AFTER:
        assert done == [Applied(Stored(n, "int", n + 1, None)) for n in range(3)]
    else:
        assert {type(outcome) for outcome in done} == {OutcomeUnknown}
    assert transport.sent("BatchWriteItem") == 1


def test_a_batch_of_everything(opened):
    """In a batch of all kinds of writes each has its own outcome, whatever befalls others."""
    store, _ = opened(NUMBER, UpdateItem=["lost"])
    outcomes = run(
        store.apply_many(
            MAP,
            [
                ("k", Add(1, None, 9)),
                ("a", Put(Cell("x" * 409_600, None), 1)),
                ("a", Put(Cell("y", None), 2)),
                ("b", Put(Cell("z", None), 3, None, When.PRESENT)),
            ],
            NOW,
        )
    )
    assert [type(outcome) for outcome in outcomes] == [
        OutcomeUnknown,
        ValueTooLarge,
        Applied,
        Refused,
    ]
    assert read(store, "a") == Stored("y", None, 2, None)


def test_a_lost_clear_is_unknown(opened):
    """A clear of which a reply was lost may still delete: it says so."""
    store, _ = opened(NUMBER, BatchWriteItem=["lost after"])
    with pytest.raises(OutcomeUnknown):
        run(store.clear(MAP, KeyRange()))
    run(store.clear(MAP, KeyRange()))
    assert scan_all(store) == []


@pytest.mark.parametrize("fault", [*AFTER, *INSTEAD, "throttled", "unsent"])
def test_a_map_is_registered_whatever_is_lost(opened, fault):
    """Entering a map into the catalogue twice does no harm, so it is sent again."""
    store, _ = opened(PutItem=[fault])
    assert run(store.register("ns", MapInfo("m"))).info == MapInfo("m")
    assert run(store.maps("ns")) == [MapInfo("m")]


# Exactly once


@pytest.mark.parametrize("fault", [*AFTER, *INSTEAD, "throttled", "unsent"])
@pytest.mark.parametrize("name", [name for name in WRITES if name != "extend"])
def test_exactly_once(opened, name, fault):
    """With ``exactly_once`` a write whose replies are lost is sent again and happens once."""
    entry, op, _ = WRITES[name]
    expected = apply(opened(entry)[0], "k", op)
    apply(opened()[0], "k", Delete())
    store, transport = opened(entry)
    transport.plan = {"TransactWriteItems": [fault, fault]}
    once = DynamoDBStore(transport, store._table, str, exactly_once=True)
    assert apply(once, "k", op) == expected
    assert transport.sent("TransactWriteItems") == 3
    assert read(store, "k") == expected.entry


@pytest.mark.parametrize("fault", [*AFTER, *INSTEAD])
def test_exactly_once_hands_over_once(opened, fault):
    """Delete and pop are exact too, sent again or not."""
    store, transport = opened(NUMBER)
    once = DynamoDBStore(transport, store._table, str, exactly_once=True)
    transport.plan = {"TransactWriteItems": [fault]}
    assert apply(once, "k", Delete(When.PRESENT, returning=True)) == Applied(None, NUMBER)
    assert apply(once, "k", Delete(When.PRESENT, returning=True)) == Refused(None)
    transport.plan = {"TransactWriteItems": [fault]}
    assert run(once.apply_many(MAP, puts(2), NOW)) == [
        Applied(Stored(n, "int", n + 1, None)) for n in range(2)
    ]
    transport.plan = {"TransactWriteItems": [fault]}
    assert apply(once, "00000", Delete(When.PRESENT)) == Applied(None)


def test_a_transaction_lost_to_the_end_is_unknown(opened):
    """A transaction that may have happened is never reported as not written."""
    for last, error in (("lost", OutcomeUnknown), ("throttled", OutcomeUnknown)):
        faults = ["lost after", *[last] * 10_000]
        store, _ = opened(budget=0.3, exactly_once=True, TransactWriteItems=faults)
        with pytest.raises(error):
            apply(store, "k", Put(Cell(1, "int"), 1))
        assert read(store, "k") is not None
        run(store.clear(MAP, KeyRange()))
    store, _ = opened(budget=0.3, exactly_once=True, TransactWriteItems=["throttled"] * 10_000)
    with pytest.raises(StoreThrottled):
        apply(store, "k", Put(Cell(1, "int"), 1))


def test_a_transaction_on_its_way_that_fails_now(opened):
    """A condition that may hold when a lost attempt arrives leaves it unknown; an etag does not."""
    store, _ = opened(NUMBER, TransactWriteItems=["late"])
    absent = [Change(MAP, "k", Put(Cell("new", None), 9, None, When.ABSENT))]
    with pytest.raises(OutcomeUnknown):
        run(store.transact(absent, [], NOW))
    store, _ = opened(TransactWriteItems=["late"])
    replaced = [Change(MAP, "k", Put(Cell("new", None), 9, None, 8))]
    assert run(store.transact(replaced, [], NOW)) == Aborted([(MAP, "k", Refused(NUMBER))])


# One clear error each


ERRORS = [
    (Reply(400, {}, "ResourceNotFoundException", 0, 0), StoreMissing, "lpcm table create"),
    (Reply(400, {}, "UnrecognizedClientException", 0, 0), StoreDenied, "region"),
    (Reply(400, {}, "InvalidSignatureException", 0, 0), StoreDenied, "clock"),
    (Reply(400, {}, "ExpiredTokenException", 0, 0), StoreDenied, "sign in again"),
    (Reply(400, {}, "AccessDeniedException", 0, 0), StoreDenied, "lpcm iam"),
    (Reply(403, {}, "", 0, 0), StoreDenied, "403"),
    (Reply(400, {"message": "Item size has exceeded"}, "ValidationException", 0, 0),
     ValueTooLarge, "size"),
    (Reply(400, {"message": "odd"}, "ValidationException", 0, 0), StoreError, "odd"),
    (Reply(400, {}, "", 0, 0), StoreError, "400"),
]  # fmt: skip


REFUSED_KEYS = {"UnrecognizedClientException", "ExpiredTokenException"}


@pytest.mark.parametrize(("reply", "error", "says"), ERRORS)
def test_one_clear_error(opened, reply, error, says):
    """A refusal that no attempt will change is one error that says what to do, at once."""
    for operation, write in (("PutItem", Put(Cell(1, "int"), 1)), ("DeleteItem", Delete())):
        # Keys that are refused are looked up anew, once.
        attempts = 2 if reply.error in REFUSED_KEYS else 1
        store, transport = opened(**{operation: [reply] * 2})
        with pytest.raises(error, match=says) as caught:
            apply(store, "k", write)
        assert type(caught.value) is error
        assert transport.calls == [operation] * attempts
    store, _ = opened(BatchWriteItem=[reply] * 2)
    if error is not ValueTooLarge:
        with pytest.raises(error):
            run(store.apply_many(MAP, puts(3), NOW))


def test_a_missing_table(dynoxide_table, extenddb_table):
    """Engines agree: a table that is not there is StoreMissing, to reads and writes."""
    for table in (dynoxide_table, extenddb_table):
        transport = SocketTransport(Credentials(REGION, table.endpoint))
        store = DynamoDBStore(transport, "no-such-table", str)
        for use in (
            lambda store: read(store, "k"),
            lambda store: apply(store, "k", Put(Cell(1, "int"), 1)),
            lambda store: run(store.apply_many(MAP, puts(2), NOW)),
            lambda store: run(store.read_many(MAP, ["a"], NOW)),
            scan_all,
        ):
            with pytest.raises(StoreMissing, match="lpcm table create"):
                use(store)
        store.close()


def test_wrong_credentials(extenddb_table, monkeypatch):
    """A wrong secret key is StoreDenied, at once, and says where to look."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = extenddb_table.open()
    with pytest.raises(StoreDenied, match="secret key"):
        read(store, "k")
    store.close()


def test_nobody_there():
    """An endpoint where nobody listens is StoreUnavailable within the budget."""
    store = DynamoDBStore(
        SocketTransport(Credentials(REGION, "http://127.0.0.1:1")), "table", str, budget=0.3
    )
    for use in (
        lambda: read(store, "k"),
        lambda: apply(store, "k", Put(Cell(1, "int"), 1)),
        lambda: run(store.apply_many(MAP, puts(2), NOW)),
    ):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            use()


def test_closed(opened):
    """A closed store says so."""
    store, _ = opened()
    store.close()
    for use in (
        lambda: read(store, "k"),
        lambda: apply(store, "k", Delete()),
        lambda: run(store.read_many(MAP, ["a"], NOW)),
        lambda: run(store.apply_many(MAP, puts(1), NOW)),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()


# Events


def test_every_request_is_an_event(opened):
    """Each attempt is one event, with its units, bytes and how it ended."""
    store, _ = opened(GetItem=["throttled", "lost"])
    heard = []
    with events.subscribe(heard.append):
        apply(store, "k", Put(Cell("x" * 2500, None), 1))
        read(store, "k")
        run(store.read_many(MAP, ["k"], NOW))
        scan_all(store)
        run(store.apply_many(MAP, [("a", Delete())], NOW))
    told = [(e.operation, e.error, e.attempt, e.read_units, e.write_units) for e in heard]
    assert told == [
        ("PutItem", "", 1, 0.0, 3.0),
        ("GetItem", "ProvisionedThroughputExceededException", 1, 0.0, 0.0),
        ("GetItem", "ReplyLost", 2, 0.0, 0.0),
        ("GetItem", "", 3, 1.0, 0.0),
        ("BatchGetItem", "", 1, 1.0, 0.0),
        ("Query", "", 1, 1.0, 0.0),
        ("BatchWriteItem", "", 1, 0.0, 1.0),
    ]
    for event in heard:
        assert event.store == "dynamodb"
        assert event.seconds > 0
        assert bool(event.received) == (not event.error)


def test_a_meter_counts_what_runs_at_once(opened):
    """A meter sums all batches of one call, though several are under way at once."""
    store, _ = opened()
    with events.meter() as meter:
        run(store.apply_many(MAP, puts(250), NOW))
    assert (meter.calls, meter.write_units, meter.errors) == (10, 250.0, 0)
    with events.meter() as meter:
        run(store.read_many(MAP, [sk for sk, _ in puts(250)], NOW))
    assert (meter.calls, meter.read_units) == (3, 250.0)


def test_without_listeners_nothing_is_counted(opened):
    """DynamoDB is asked for the units only where somebody listens."""
    store, transport = opened()
    asked = []
    call = transport.call

    async def watched(operation, request, within):
        asked.append("ReturnConsumedCapacity" in request)
        return await call(operation, request, within)

    transport.call = watched
    read(store, "k")
    with events.meter():
        read(store, "k")
    read(store, "k")
    assert asked == [False, True, False]

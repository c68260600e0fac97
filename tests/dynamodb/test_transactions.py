"""Transactions on the wire: what no engine here raises, put in its mouth."""

import pytest

import lpcm
from lpcm import LPCM, Conflict, Engine, StoreBusy, StoreError, StoreThrottled
from lpcm.engine import config
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import Reply
from lpcm.stores.dynamodb.store import DynamoDBStore
from tests.dynamodb.hurting import Hurting
from tests.dynamodb.tables import REGION

CONFLICT, FULL, FAILED = "TransactionConflict", "ThrottlingError", "ConditionalCheckFailed"


def cancelled(*codes):
    """Return DynamoDB's reply that cancels a transaction, with a reason for each entry."""
    body = {"CancellationReasons": [{"Code": code or "None"} for code in codes]}
    return Reply(400, body, "TransactionCanceledException", 0, 0)


@pytest.fixture(params=["dynoxide", "extenddb"])
def table(request):
    """Return an emptied table."""
    made = request.getfixturevalue(f"{request.param}_table")
    made.empty()
    return made


@pytest.fixture
def opened(table, request):
    """Return a map, and the transport under it, whose answers a test can set."""
    transport = Hurting(SocketTransport(Credentials(REGION, table.endpoint)))
    transport.requests = []
    call = transport.call

    async def noted(operation, request, within):
        if operation == "TransactWriteItems":
            transport.requests.append(request)
        return await call(operation, request, within)

    transport.call = noted
    store = DynamoDBStore(transport, table.name, str, budget=2.0)
    engine = Engine(store, config.parse(f"{table.url}&namespace=live"))
    m = LPCM("m", using=engine)
    m.update(a=1, b=1)
    yield m, transport
    engine.close()


def move(t, m):
    """Move 1 from a to b."""
    t[m]["a"] -= 1
    t[m]["b"] += 1


@pytest.mark.parametrize("codes", [(CONFLICT, None), (None, CONFLICT), (CONFLICT, FULL)])
def test_a_conflict_that_passes_is_waited_for(opened, codes):
    """Another transaction in the way is waited out: the same request goes again, with its token."""
    m, transport = opened
    transport.plan = {"TransactWriteItems": [cancelled(*codes)] * 2}
    with lpcm.transaction() as t:
        move(t, m)
    assert m.copy() == {"a": 0, "b": 2}
    assert len(transport.requests) == 3
    assert len({request["ClientRequestToken"] for request in transport.requests}) == 1
    assert len(transport.slept) >= 2


@pytest.mark.parametrize(("code", "error"), [(CONFLICT, StoreBusy), (FULL, StoreError)])
def test_a_conflict_that_stays_is_an_error(opened, code, error):
    """Within the budget or not at all: an error that says so, and nothing is written."""
    m, transport = opened
    transport.plan = {"TransactWriteItems": [cancelled(None, code)] * 10_000}
    with pytest.raises(error), lpcm.transaction() as t:
        move(t, m)
    assert m.copy() == {"a": 1, "b": 1}
    assert transport.sent("TransactWriteItems") > 2


def test_a_failed_condition_beside_a_conflict(opened):
    """What was read has changed: no waiting helps, so it is a Conflict that names the key."""
    m, transport = opened
    transport.plan = {"TransactWriteItems": [cancelled(FAILED, CONFLICT)]}
    with pytest.raises(Conflict) as caught, lpcm.transaction() as t:
        move(t, m)
    assert caught.value.keys == (("m", "a"),)
    assert transport.sent("TransactWriteItems") == 1
    assert m.copy() == {"a": 1, "b": 1}


def test_other_reasons_are_errors_at_once(opened):
    """A reason that time does not remove ends it."""
    m, transport = opened
    transport.plan = {"TransactWriteItems": [cancelled("ValidationError", None)]}
    with pytest.raises(StoreError), lpcm.transaction() as t:
        move(t, m)
    assert transport.sent("TransactWriteItems") == 1


def test_transact_goes_on_after_injected_conflicts(opened):
    """``transact`` reads again and ends well, once, whatever was in the way before."""
    m, transport = opened
    transport.plan = {
        "TransactWriteItems": [
            cancelled(FAILED, None),
            cancelled(CONFLICT, None),
            cancelled(None, FAILED),
            "throttled",
            "lost after",
        ]
    }
    lpcm.transact(lambda t: move(t, m))
    assert m.copy() == {"a": 0, "b": 2}
    assert transport.sent("TransactWriteItems") == 6


def test_throttled_to_the_end(opened):
    """Too little capacity for the whole budget is StoreThrottled, and nothing is written."""
    m, transport = opened
    transport.plan = {"TransactWriteItems": ["throttled"] * 10_000}
    with pytest.raises(StoreThrottled), lpcm.transaction() as t:
        move(t, m)
    assert m.copy() == {"a": 1, "b": 1}


def test_one_request(opened):
    """The end is one request: writes with their conditions, and checks of what was only read."""
    m, transport = opened
    m["c"] = 1
    with lpcm.transaction() as t:
        t[m]["a"] = t[m]["b"] + t[m].get("none", 0)
        del t[m]["c"]
        t[m]["new"] = 1
    (request,) = transport.requests
    actions = sorted(next(iter(item)) for item in request["TransactItems"])
    assert actions == ["ConditionCheck", "ConditionCheck", "Delete", "Put", "Put"]
    assert m.copy() == {"a": 1, "b": 1, "new": 1}

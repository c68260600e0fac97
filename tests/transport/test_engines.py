"""The transports against real engines: dynoxide, and ExtendDB, which checks signatures."""

import time

import pytest

TABLE = "transports"
KEYS = [("pk", "HASH"), ("sk", "RANGE")]
CREATE = {
    "TableName": TABLE,
    "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in KEYS],
    "BillingMode": "PAY_PER_REQUEST",
}
DIGITS = "12345678901234567890123456789012345678"


def key(name):
    return {"pk": {"S": "transport"}, "sk": {"S": name}}


def until_active(call):
    """Create the table if need be and wait until it is there."""
    call("CreateTable", CREATE)
    for _ in range(200):
        reply = call("DescribeTable", {"TableName": TABLE})
        if reply.body.get("Table", {}).get("TableStatus") == "ACTIVE":
            return
        time.sleep(0.05)
    raise AssertionError(reply)


@pytest.fixture(params=["dynoxide", "extenddb"])
def endpoint(request):
    return request.getfixturevalue(request.param).endpoint


@pytest.fixture
def call(endpoint, caller):
    made = caller(endpoint)
    until_active(made)
    return made


def test_what_is_put_is_got(call):
    """Numbers are text, binary is base64 text, and a reply tells its size."""
    item = {**key("a"), "n": {"N": DIGITS}, "b": {"B": "AP8="}, "t": {"S": "ä\x00 \U0001f600"}}
    put = call("PutItem", {"TableName": TABLE, "Item": item})
    assert (put.status, put.error, dict(put.body)) == (200, "", {})
    got = call("GetItem", {"TableName": TABLE, "Key": key("a"), "ConsistentRead": True})
    assert got.body["Item"] == item
    assert got.sent > 300
    assert got.received > len(DIGITS)


def test_an_error_has_its_code(call):
    """A refusal comes back as a reply with DynamoDB's short code and what came with it."""
    call("PutItem", {"TableName": TABLE, "Item": key("b")})
    condition = {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    refused = call("PutItem", {"TableName": TABLE, "Item": key("b"), **condition})
    assert (refused.status, refused.error) == (400, "ConditionalCheckFailedException")
    assert refused.body["Item"] == key("b")
    missing = call("GetItem", {"TableName": "no-such-table", "Key": key("b")})
    assert (missing.status, missing.error) == (400, "ResourceNotFoundException")


def test_large_requests_and_replies(call):
    """A request of megabytes and a reply of a megabyte get through whole."""
    names = [f"large/{number:02}" for number in range(25)]
    text = "x" * 100_000
    for at in range(0, 25, 5):
        puts = [
            {"PutRequest": {"Item": {**key(name), "v": {"S": text}}}} for name in names[at : at + 5]
        ]
        assert call("BatchWriteItem", {"RequestItems": {TABLE: puts}}).status == 200
    keys = {"Keys": [key(name) for name in names]}
    reply = call("BatchGetItem", {"RequestItems": {TABLE: keys}})
    found = reply.body["Responses"][TABLE]
    assert sorted(item["sk"]["S"] for item in found) == names
    assert {item["v"]["S"] for item in found} == {text}
    assert reply.received > 2_500_000


def test_wrong_keys_are_refused(extenddb, caller, monkeypatch):
    """A signature with another secret, or of an unknown key, is refused by a code that says so."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert caller(extenddb.endpoint)("ListTables").error == "InvalidSignatureException"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
    assert caller(extenddb.endpoint)("ListTables").error == "UnrecognizedClientException"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_is_refused(extenddb, caller, monkeypatch, hours):
    """A signature of another hour is refused with a code that says so."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    refused = caller(extenddb.endpoint)("ListTables")
    assert refused.status == 400
    # AWS's is the first of the two.
    assert refused.error in {"InvalidSignatureException", "UnrecognizedClientException"}


def test_the_signature_of_a_session(extenddb, caller, monkeypatch):
    """A session token travels with the request and is signed."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a+token/==")
    assert caller(extenddb.endpoint)("ListTables").status == 200

"""The compatibility transport: a user's client or session of boto3, sending each request once."""

import asyncio
import socket
from contextlib import closing

import boto3
import botocore.exceptions
import moto
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto.core.botocore_stubber import MockRawResponse

from lpcm import LPCM, ConfigError, Engine, StoreDenied, StoreError
from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.boto3_client import ClientTransport
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.stores.dynamodb.table.table import create_table
from tests.dynamodb.tables import Table
from tests.transport.canned import answer, canned

ONCE = Config(
    retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=0.5, region_name="eu-west-1"
)
GET = {"TableName": "ttt", "Key": {"pk": {"S": "a"}}}


@pytest.fixture(params=["client", "session"])
def make(request, aws):
    """Give what makes a transport to an endpoint, of a client and of a session."""

    def client(endpoint):
        return ClientTransport(boto3.client("dynamodb", endpoint_url=endpoint, config=ONCE))

    def session(endpoint):
        return ClientTransport(boto3.Session(), endpoint=endpoint)

    return {"client": client, "session": session}[request.param]


@pytest.fixture
def caller(make):
    """Stand in for the fixture of that name: the tests of the engines run on this too."""

    def start(endpoint):
        transport = make(endpoint)
        return lambda operation="GetItem", request=None, within=20.0: run(
            transport.call(operation, request or GET, within)
        )

    return start


def test_what_is_put_is_got(caller, dynoxide):
    """Requests and replies are those of the other transports: text for numbers and binary."""
    from tests.transport.test_engines import TABLE, key, until_active

    call = caller(dynoxide.endpoint)
    until_active(call)
    values = {
        "n": {"N": "1.50"},
        "b": {"B": "AP8="},
        "bs": {"BS": ["AA=="]},
        "l": {"L": [{"M": {"B": {"B": "AQ=="}, "S": {"S": "B"}}}, {"NULL": True}]},
    }
    item = {**key("client"), **values}
    assert call("PutItem", {"TableName": TABLE, "Item": item}).status == 200
    got = call("GetItem", {"TableName": TABLE, "Key": key("client"), "ConsistentRead": True})
    assert got.body["Item"] | {"n": item["n"]} == item
    assert float(got.body["Item"]["n"]["N"]) == 1.5
    condition = {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    refused = call("PutItem", {"TableName": TABLE, "Item": key("client"), **condition})
    assert (refused.status, refused.error) == (400, "ConditionalCheckFailedException")
    assert refused.body["Item"]["b"] == item["b"]
    assert call("GetItem", {"TableName": "absent", "Key": key("b")}).error == (
        "ResourceNotFoundException"
    )


@pytest.mark.parametrize("said", [b"", answer()[:30], answer()[:-1]])
def test_a_lost_reply_is_lost_and_sent_once(caller, said):
    """A connection that ends before its reply: unknown outcome, and no second attempt."""

    def script(peer):
        peer.request()
        peer.say(said)

    with canned(script) as server:
        with pytest.raises(ReplyLost):
            caller(server.endpoint)()
        assert len(server.requests) == 1


def test_a_wrong_checksum(caller):
    """A reply with another checksum than its own is lost, and asked for once."""
    with canned(lambda peer: peer.serve_all(answer().replace(b"crc32: ", b"crc32: 1"))) as server:
        with pytest.raises(ReplyLost):
            caller(server.endpoint)()
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
@pytest.mark.parametrize("body", [b'{"__type":"x#InternalServerError"}', b"<html>"])
def test_an_error_of_the_server_is_a_reply(caller, status, body):
    """A 5xx is a reply with its code, and is not asked for again."""
    with canned(lambda peer: peer.serve_all(answer(body, status))) as server:
        reply = caller(server.endpoint)()
        assert reply.status == int(status[:3])
        assert reply.error in {"InternalServerError", f"HTTP{status[:3]}"}
        assert len(server.requests) == 1


def test_nobody_there(caller):
    """A refused connection is a request that was not sent; a budget that is over, too."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(NotSent):
        caller(f"http://127.0.0.1:{port}")()
    with pytest.raises(NotSent):
        caller(f"http://127.0.0.1:{port}")(within=0.0)


def test_silence(aws):
    """A client's own limit ends a reply that does not come."""

    def silent(peer):
        peer.request()
        peer.request()

    with canned(silent) as server:
        transport = ClientTransport(
            boto3.client("dynamodb", endpoint_url=server.endpoint, config=ONCE)
        )
        with pytest.raises(ReplyLost):
            run(transport.call("GetItem", GET, 20.0))


def test_no_keys(make, monkeypatch, tmp_path):
    """Where there are no AWS keys, that is said."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    boto3.setup_default_session()
    try:
        with pytest.raises(StoreDenied):
            run(make("http://127.0.0.1:9").call("GetItem", GET, 20.0))
    finally:
        boto3.DEFAULT_SESSION = None


def test_a_mistake_in_a_request_is_not_hidden(caller):
    """What botocore finds wrong in a request before it sends it is raised as it is."""
    with pytest.raises(botocore.exceptions.ParamValidationError):
        caller("http://127.0.0.1:9")("GetItem", {"TableName": "ttt", "Key": 7})


@pytest.mark.parametrize(
    "retries",
    [None, {"mode": "standard"}, {"max_attempts": 3}, {"total_max_attempts": 2}],
)
def test_a_client_that_retries_is_refused(aws, retries):
    """A client that would send a write twice is refused, with what to write instead."""
    client = boto3.client("dynamodb", config=Config(retries=retries))
    with pytest.raises(ConfigError, match="total_max_attempts"):
        ClientTransport(client)
    ClientTransport(boto3.client("dynamodb", config=Config(retries={"max_attempts": 0})))


@pytest.mark.parametrize("thing", [None, "dynamodb", object()])
def test_what_is_no_client(thing):
    """What is neither client nor session is refused."""
    with pytest.raises(ConfigError, match="not a DynamoDB client"):
        ClientTransport(thing)


def test_another_services_client(aws):
    """A client of another service is refused."""
    with pytest.raises(ConfigError, match="not a DynamoDB client"):
        ClientTransport(boto3.client("sts"))


def test_closed(make):
    """A closed transport refuses to work; the client is its owner's."""
    transport = make("http://127.0.0.1:9")
    transport.close()
    with pytest.raises(StoreError, match="closed"):
        run(transport.call("GetItem", GET, 20.0))


@pytest.mark.parametrize("kind", ["client", "session"])
def test_a_map_through_a_client(dynoxide, kind):
    """A map works through the client or session that the engine was opened with."""
    table = Table(dynoxide.endpoint, f"through-{kind}")
    if kind == "client":
        given = {"client": boto3.client("dynamodb", endpoint_url=table.endpoint, config=ONCE)}
    else:
        given = {"client": boto3.Session(), "endpoint": table.endpoint}
    values = {"i": 7, "f": 0.5, "b": b"\x00\xff", "l": [1, ("t", {2})], "d": {b"k": None}}
    with closing(Engine.open(f"dynamodb://{table.name}", **given)) as engine:
        entries = LPCM("through", using=engine, default=0)
        entries.update(values)
        assert entries.copy() == values
        assert entries.increment("i", 10**30) == 7 + 10**30
        assert entries.pop("b") == b"\x00\xff"
        assert entries.get_many(["b", "f"]) == {"f": 0.5}

        async def work():
            await entries.aset("async", 1)
            return await asyncio.gather(*(entries.aincrement("async") for _ in range(20)))

        assert sorted(asyncio.run(work())) == list(range(2, 22))
    with closing(Engine.open(table.url)) as engine:
        assert LPCM("through", using=engine)["async"] == 21
    table.close()


def test_a_mocked_client(aws):
    """A map works through a client of moto's mock_aws, whose replies have no length."""
    with moto.mock_aws():
        client = boto3.client("dynamodb", config=ONCE)
        run(create_table(ClientTransport(client), "mocked"))
        with closing(Engine.open("dynamodb://mocked", client=client)) as engine:
            entries = LPCM("mocked", using=engine, default=0)
            entries.update({"a": 1, "b": {"c": [2]}})
            assert entries.increment("a") == 2
            entries["b"]["c"].append(3)
            assert entries.copy() == {"a": 2, "b": {"c": [2, 3]}}
            assert entries.pop("a") == 2
            assert entries.get_many(["a", "b"]) == {"b": {"c": [2, 3]}}
            entries.clear()
            assert len(entries) == 0


@pytest.mark.parametrize("checksum", [None, "1"])
def test_a_reply_without_a_length(aws, checksum):
    """A reply without a length counts as whole by its checksum, and by nothing else."""
    client = boto3.client("dynamodb", config=ONCE)
    headers = {"x-amz-crc32": checksum} if checksum else {}
    reply = AWSResponse("http://x", 200, headers, MockRawResponse(b'{"Item": {}}'))
    client.meta.events.register_first("before-send.dynamodb", lambda **_: reply)
    with pytest.raises(ReplyLost):
        run(ClientTransport(client).call("GetItem", GET, 20.0))


def test_what_goes_with_a_client(aws):
    """A client given as text, with options that are its own, or of another place is refused."""
    client = boto3.client("dynamodb", config=ONCE)
    for url, options in [
        ("dynamodb://ttt?client=x", {}),
        ("dynamodb://ttt", {"client": "x"}),
        ("dynamodb://ttt?pool=3", {"client": client}),
        ("dynamodb://ttt?profile=x", {"client": client}),
        ("dynamodb://ttt?region=us-east-1", {"client": client}),
        ("dynamodb://ttt?endpoint=http://localhost:1", {"client": client}),
        ("dynamodb://ttt", {"client": boto3.client("dynamodb")}),
        ("dynamodb://t", {"client": client}),
    ]:
        with pytest.raises(ConfigError):
            Engine.open(url, **options)
    engine = Engine.open("dynamodb://ttt?region=eu-west-1", client=client)
    assert engine.store.identity == "dynamodb:eu-west-1:ttt"
    engine.close()

"""The policy covers exactly what the store can ask: its source, and requests held to it."""

import ast
import re
from pathlib import Path

import botocore.loaders
import pytest

import lpcm.stores.dynamodb
from lpcm import LPCM, BatchError, Engine, StoreDenied
from lpcm.administration import sweep
from lpcm.caches import memcached as client
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.large import owners
from lpcm.ports import Change, Check, Delete, MapInfo, Put, When
from lpcm.stores.dynamodb.http.port import Reply
from lpcm.stores.dynamodb.store import DynamoDBStore
from lpcm.stores.dynamodb.table import iam as policy
from lpcm.stores.dynamodb.table import table as schema
from lpcm.stores.dynamodb.table import templates
from lpcm.stores.dynamodb.table.design import Design
from lpcm.values.codec import Codec, Form
from lpcm.values.keys import partition

SOURCE = Path(lpcm.stores.dynamodb.__file__).parent
ADMINISTRATION = {"table/table"}
NEVER_SENDS = {"table/iam"}
IN_TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""IAM knows no TransactWriteItems: each part of one needs what it would need alone."""


def operations(modules):
    """Return the DynamoDB operations that are named in these modules."""
    model = botocore.loaders.Loader().load_service_model("dynamodb", "service-2")
    return {
        node.value
        for module in modules
        for node in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in model["operations"]
    }


def actions(named):
    """Return what IAM must allow for these operations."""
    if "TransactWriteItems" not in named:
        return named
    return named - {"TransactWriteItems"} | set(IN_TRANSACTIONS.values())


def test_the_policy_is_what_the_source_can_send():
    """Each operation that the store's modules name is allowed, and nothing else is."""
    files = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    modules = {file.as_posix() for file in files} - NEVER_SENDS
    sent = actions(operations(modules - ADMINISTRATION))
    assert sent == policy.READS.keys() | policy.WRITES.keys()
    assert operations(ADMINISTRATION) == policy.ADMINISTRATION.keys()
    assert policy.READS.keys() == {"GetItem", "BatchGetItem", "Query"}


def asked(operation, request):
    """Yield what a request asks of IAM: actions, each with the partition keys it leads to."""

    def leading(part):
        return (part.get("Key") or part["Item"])["pk"]["S"]

    match operation:
        case "TransactWriteItems":
            for part in request["TransactItems"]:
                ((name, body),) = part.items()
                yield IN_TRANSACTIONS[name], {leading(body)}
        case "BatchGetItem":
            (body,) = request["RequestItems"].values()
            yield operation, {key["pk"]["S"] for key in body["Keys"]}
        case "BatchWriteItem":
            (parts,) = request["RequestItems"].values()
            yield operation, {leading(body) for part in parts for body in part.values()}
        case "Query":
            placeholder = re.match(r"pk = (:\d+)", request["KeyConditionExpression"])[1]
            yield operation, {request["ExpressionAttributeValues"][placeholder]["S"]}
        case "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem":
            yield operation, {leading(request)}
        case _:
            yield operation, set()


def like(pattern, text):
    """Tell whether IAM's StringLike holds: ``*`` and ``?`` are patterns, ``${*}`` is a star."""
    parts = re.findall(r"\$\{([*?$])\}|([*?])|(.)", pattern, re.DOTALL)
    rule = "".join(
        {"*": ".*", "?": "."}[wild] if wild else re.escape(literal or plain)
        for literal, wild, plain in parts
    )
    return re.fullmatch(rule, text, re.DOTALL) is not None


def allows(made, action, keys):
    """Judge as IAM does."""
    for statement in made["Statement"]:
        assert statement["Effect"] == "Allow"
        if f"dynamodb:{action}" not in statement["Action"]:
            continue
        if "Condition" not in statement:
            return True
        ((kind, condition),) = statement["Condition"].items()
        assert kind == "ForAllValues:StringLike"
        patterns = condition["dynamodb:LeadingKeys"]
        if all(any(like(pattern, key) for pattern in patterns) for key in keys):
            return True
    return False


class Guarded:
    """A transport that lets through what a policy allows, and notes which actions it used."""

    def __init__(self, transport, made):
        self._transport = transport
        self._made = made
        self.blocking = transport.blocking
        self.endpoint = transport.endpoint
        self.used = set()
        self.keys = set()
        """The partition keys of all requests."""

    async def call(self, operation, request, within):
        for action, keys in asked(operation, request):
            self.keys |= keys
            if not allows(self._made, action, keys):
                return Reply(400, {"message": action}, "AccessDeniedException", 0, 0)
            self.used.add(action)
        return await self._transport.call(operation, request, within)

    async def sleep(self, seconds):
        await self._transport.sleep(seconds)

    def close(self):
        pass  # the table's own


@pytest.fixture
def guarded(dynoxide_table):
    """Yield a function that opens an engine behind a policy, and its transport."""
    dynoxide_table.empty()

    def open_engine(*, cache=None, before=False, within=None, **options):
        if options.get("namespace") is True:
            options["namespace"] = config_namespace()
        made = policy.policy(policy.arn(dynoxide_table.name), **options)
        if before:  # as it was before namespaces had identities
            *others, catalogue = made["Statement"]
            catalogue["Action"] = ["dynamodb:GetItem", "dynamodb:PutItem"]
            made["Statement"] = others if options.get("read_only") else [*others, catalogue]
        transport = Guarded(dynoxide_table.transport, made)
        store = DynamoDBStore(transport, dynoxide_table.name, lambda: "here")
        url = dynoxide_table.url if within is None else f"{dynoxide_table.url}&namespace={within}"
        return Engine(store, config.parse(url), cache=cache), transport

    def config_namespace():
        return Engine.open("memory://").namespace

    return open_engine


def read(m):
    """Read a map in every way."""
    m.get("a")
    m.get_many(["a", "b"])
    assert list(m.items()) is not None
    len(m)


def write(m, engine):
    """Write a map in every way."""
    m["a"] = 1
    m.increment("a")
    m.increment("fresh")
    m.expire("a", 60)
    m.setdefault("c", 1)
    m.transform("c", lambda value: value + 1)
    m.set_many({"d": 1, "e": 2})
    m.delete_many(["d"])
    m.pop("e")
    del m["c"]
    place, cell = engine.partition(m.name), engine.codec.encode(1)
    changes = [Change(place, "x", Put(cell, 1)), Change(place, "y", Delete())]
    run(engine.store.transact(changes, [Check(place, "a", When.PRESENT)], 0.0))
    m.clear()


def test_a_table_s_policy_is_enough_and_all_of_it_is_used(guarded):
    """What maps do is allowed, and each action that is allowed is one they do."""
    engine, transport = guarded()
    m = LPCM("m", using=engine)
    write(m, engine)
    read(m)
    assert lpcm.maps(using=engine) == ["m"]
    assert transport.used == policy.READS.keys() | policy.WRITES.keys()


def test_a_reader_s_policy(guarded):
    """Who may only read can read, and is refused each write, with nothing written."""
    owner, _ = guarded()
    LPCM("m", using=owner).update(a=1)
    engine, transport = guarded(read_only=True)
    m = LPCM("m", using=engine)
    read(m)
    assert lpcm.maps(using=engine) == ["m"]
    assert transport.used == policy.READS.keys()
    for attempt in (
        lambda: m.set("a", 2),
        lambda: m.increment("a"),
        lambda: m.pop("a"),
        lambda: m.delete("a"),
        lambda: m.set_many({"a": 2, "b": 3}),
        m.clear,
    ):
        with pytest.raises((StoreDenied, BatchError)):
            attempt()
    assert LPCM("m", using=owner).copy() == {"a": 1}


NAMES = ["a", "a*", "a?", "*", "${aws:username}", "a/b", "ä", "default/a"]


@pytest.mark.parametrize("name", NAMES)
def test_a_map_s_policy_is_for_that_map_alone(guarded, name):
    """Whatever it is called, its policy is enough for one map and opens no other."""
    engine, _ = guarded(maps=[name], namespace=True)
    m = LPCM(name, using=engine)
    write(m, engine)
    read(m)
    for other in {*NAMES, "ab", "", "a/"} - {name, ""}:
        for attempt in (
            lambda: LPCM(other, using=engine).get("a"),  # noqa: B023  # called at once
            lambda: list(LPCM(other, using=engine)),  # noqa: B023
            lambda: LPCM(other, using=engine).set("a", 1),  # noqa: B023
        ):
            with pytest.raises(StoreDenied):
                attempt()
    with pytest.raises(StoreDenied):
        lpcm.maps(using=engine)


def test_a_map_s_policy_is_for_all_its_shards(guarded):
    """A map's policy opens all its shards, to a reader to read, and no shard of another map."""
    engine, _ = guarded(maps=["a"], namespace=True)
    m = LPCM("a", using=engine, shards=16)
    write(m, engine)
    m.update({number: number for number in range(50)})
    reader, _ = guarded(maps=["a"], namespace=True, read_only=True)
    read(LPCM("a", using=reader))
    assert LPCM("a", using=reader).copy() == m.copy()
    with pytest.raises(StoreDenied):
        LPCM("a", using=reader).set("k", 1)
    owner, _ = guarded()
    LPCM("ab", using=owner, shards=16)["k"] = 1
    for other in (engine, reader):
        with pytest.raises(StoreDenied):
            LPCM("ab", using=other).get("k")
        with pytest.raises(StoreDenied):
            list(LPCM("ab", using=other))


def test_who_may_not_read_the_catalogue_says_the_number(guarded):
    """A reader by a policy of earlier versions finds all entries where it says how many shards."""
    owner, _ = guarded()
    wanted = {number: number for number in range(50)}
    LPCM("a", using=owner, shards=4).update(wanted)
    options = {"maps": ["a"], "namespace": True, "read_only": True, "before": True}
    assert LPCM("a", using=guarded(**options)[0], shards=4).copy() == wanted


LARGE = bytes(500_000)


def write_large(m, engine):
    """Write large values of a map in every way, and sweep them."""
    m["a"] = LARGE
    m["a"] = 1
    m.set_many({"b": LARGE, "c": LARGE})
    m.set_many({"b": 1})
    m.transform("c", lambda value: value + b"x")
    assert m.pop("c") == LARGE + b"x"
    m["d"] = LARGE
    with lpcm.transaction():
        m["a"], m["b"] = LARGE, 2
    assert m.get_many(["a", "d"]) == {"a": LARGE, "d": LARGE}
    assert list(m.values()) == [LARGE, 2, LARGE]
    assert sweep(using=engine, maps=[m.name]).values >= 2
    m.clear()
    assert sweep(using=engine, maps=[m.name]) == (2, 2)


USED = [("shop", "users"), ("shop", "users2"), ("shop", "user"), ("shop2", "users"), ("sho", "p")]


def test_a_map_s_policy_is_for_its_shards_owners_and_parts(guarded, monkeypatch):
    """Judged by the requests that maps of near names really send: its own keys, and no others."""
    monkeypatch.setattr(owners, "AGE", -1.0)
    sent = {}
    for namespace, name in USED:
        options = {"within": namespace, "namespace": namespace, "maps": [name]}
        engine, transport = guarded(**options)
        m = LPCM(name, using=engine, shards=16, live=False)
        m.update({number: number for number in range(100)})
        write(m, engine)
        write_large(m, engine)
        sent[namespace, name] = transport.keys
    for (namespace, name), keys in sent.items():
        own = f"{namespace}/{name}/"
        assert {f"{own}{number}/" for number in range(1, 16)} < keys
        assert {f"{namespace}/", own, f"{own}!/"} < keys
        assert (
            sum(bool(re.fullmatch(r"![0-9a-f]{32}/\d{6}/", key.removeprefix(own))) for key in keys)
            > 10
        )
    for namespace, name in USED:
        made = policy.policy(policy.arn("t"), namespace=namespace, maps=[name])
        for other, keys in sent.items():
            allowed = {key for key in keys if allows(made, "UpdateItem", {key})}
            mine = other == (namespace, name)
            assert allowed == (keys - {f"{namespace}/"} if mine else set())


def test_the_first_large_value_of_a_registered_map(guarded):
    """Who may not write the catalogue is told so, and what to do; doing that helps."""
    owner, _ = guarded()
    LPCM("a", using=owner)["k"] = 1
    engine, transport = guarded(maps=["a"], namespace=True, registered=True)
    m = LPCM("a", using=engine)
    words = "changes the map's row in the catalogue, which a policy of `lpcm iam --registered`"
    with pytest.raises(StoreDenied, match=words) as denied:
        m["k"] = LARGE
    assert "PutItem" in str(denied.value)
    with pytest.raises(BatchError, match=words):
        m.set_many({"k": LARGE, "l": 2})
    with pytest.raises(StoreDenied, match=words), lpcm.transaction():
        m["k"] = LARGE
    assert m.copy() == {"k": 1, "l": 2}
    assert not any("!" in key for key in transport.keys)
    LPCM("a", using=owner)["first"] = LARGE
    m["k"] = LARGE
    assert m["k"] == LARGE


@pytest.mark.parametrize("before", [False, True], ids=["today's", "the one before"])
def test_a_map_s_policy_behind_a_cache(guarded, memcached, before):
    """A writer works by today's policy and the one before; a reader caches by today's alone."""
    cache = client.open_cache(f"{memcached.host}:{memcached.port}", scheme="memcached")
    options = {"maps": ["a"], "namespace": True, "cache": cache, "before": before}
    writer = LPCM("a", using=guarded(**options)[0])
    writer["k"] = 1
    writer["k"] = 2
    assert writer["k"] == 2
    engine, _ = guarded(read_only=True, **options)
    reader = LPCM("a", using=engine)
    assert reader["k"] == 2
    writer["k"] = 3
    assert reader["k"] == 3
    assert reader.get_many(["k"]) == {"k": 3}
    cached = run(engine.stack.coherent.cached(engine.partition("a"), ["k"]))
    assert bool(cached) is not before
    cache.close()


def test_a_registered_map_needs_no_right_to_the_catalogue(guarded):
    """Who may not enter maps writes the one that is entered, and no row of the catalogue."""
    engine, _ = guarded(maps=["a"], namespace=True, registered=True)
    with pytest.raises(StoreDenied):
        LPCM("a", using=engine)["k"] = 1
    owner, _ = guarded()
    LPCM("a", using=owner)["k"] = 1
    LPCM("a", using=engine)["k"] = 2
    with pytest.raises(StoreDenied):
        run(engine.store.register(engine.namespace, MapInfo("b")))
    cell = Codec(Form.TREE).encode(1)
    with pytest.raises(StoreDenied):
        run(engine.store._store.apply(partition(engine.namespace), "a", Put(cell, 1), 0.0))


def test_a_namespace_s_policy(guarded):
    """A namespace's policy is enough for all its maps, and opens no other namespace."""
    engine, _ = guarded(namespace=True)
    write(LPCM("m", using=engine), engine)
    assert lpcm.maps(using=engine) == ["m"]
    for other in (f"{engine.namespace}x", "", engine.namespace[:-1]):
        with pytest.raises(StoreDenied):
            run(engine.store.maps(other or "x"))


def test_administration(guarded, extenddb):
    """Making and showing a table needs what that policy allows, all of it, and no entry."""
    from lpcm.stores.dynamodb.http.blocking import SocketTransport
    from lpcm.stores.dynamodb.http.credentials import Credentials

    made = policy.policy(policy.arn("made"), administration=True)
    transport = Guarded(SocketTransport(Credentials("eu-west-1", extenddb.endpoint)), made)
    wanted = Design(recovery=True, tags=(("team", "shop"),))
    assert run(schema.create_table(transport, "made")) is True
    assert run(schema.create_table(transport, "made", wanted)) is False
    found = run(schema.describe_table(transport, "made"))
    assert (found.ours, found.status, found.ttl, found.recovery) == (True, "ACTIVE", "x", "on")
    assert found.tags == wanted.tags
    assert transport.used == policy.ADMINISTRATION.keys()
    assert not any(allows(made, action, set()) for action in policy.READS | policy.WRITES)
    transport._transport.close()


@pytest.mark.parametrize("capacity", [None, (5, 7)])
def test_a_cloudformation_template_is_the_table(dynoxide_table, capacity):
    """The template's properties, sent as they stand, make a table that maps can use."""
    import json

    text = templates.template("cloudformation", "formed", Design(capacity))
    properties = json.loads(text)["Resources"]["Table"]["Properties"]
    assert properties.pop("TimeToLiveSpecification") == {"AttributeName": "x", "Enabled": True}
    assert properties.pop("PointInTimeRecoverySpecification") == {
        "PointInTimeRecoveryEnabled": False
    }
    dynoxide_table.call("CreateTable", **properties)
    try:
        assert run(schema.create_table(dynoxide_table.transport, "formed")) is False
        found = run(schema.describe_table(dynoxide_table.transport, "formed"))
        assert found.billing == ("5 read and 7 write units" if capacity else "on demand")
    finally:
        dynoxide_table.call("DeleteTable", TableName="formed")

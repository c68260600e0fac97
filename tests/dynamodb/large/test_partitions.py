"""Parts over partitions: each in one of its own, and all of them dropped."""

import math
import time
from urllib.parse import urlsplit

import pytest

from checks.limiting import Limits, limiting
from lpcm import LPCM, Engine, StoreThrottled
from lpcm.administration import drop
from lpcm.engine import config
from lpcm.large import cells, large
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import Reply
from lpcm.stores.dynamodb.store import DynamoDBStore
from tests.dynamodb.hurting import THROTTLED, Hurting
from tests.dynamodb.large.common import BIG, OTHER, count, places
from tests.dynamodb.tables import REGION

VALUE = bytes(range(251)) * 20_000
"""5 MB, in 13 parts."""
LESS = VALUE[:3_000_000]
"""In eight parts."""


@pytest.mark.parametrize("as_file", [False, True])
def test_no_partition_s_limit_slows_down_a_value(dynoxide_table, as_file):
    """No part waits for another one, though a partition takes one part in three seconds."""
    table = dynoxide_table
    table.empty()
    at = urlsplit(table.endpoint)
    with limiting(at.hostname, at.port, Limits()) as limits:
        url = f"dynamodb://{table.name}?region={REGION}&endpoint={limits.endpoint}"
        with Engine.open(url) as engine:
            m = LPCM("m", using=engine, live=False)
            m["first"] = BIG
            limits.limits = Limits(writes=150, reads=150)
            limits.forget_units()
            if as_file:
                with m.open("k", "wb") as file:
                    file.write(LESS)
                with m.open("k") as file:
                    assert file.read() == LESS
            else:
                m["k"] = LESS
                assert m["k"] == LESS
            assert limits.counts["throttled"] == 0


class Trickle(Hurting):
    """Lets a part through now and then, as a table of little capacity does."""

    pause = 0.5

    def __init__(self, inner):
        super().__init__(inner)
        self.next = 0.0

    async def call(self, operation, request, within):
        if operation != "BatchWriteItem":
            return await super().call(operation, request, within)
        if time.monotonic() < self.next:
            return THROTTLED
        self.next = time.monotonic() + self.pause
        ((table, (first, *rest)),) = request["RequestItems"].items()
        await self.inner.call(operation, {"RequestItems": {table: [first]}}, 20.0)
        return Reply(200, {"UnprocessedItems": {table: rest} if rest else {}}, "", 0, 0)

    async def sleep(self, seconds):
        time.sleep(seconds)  # noqa: ASYNC251  # a blocking transport


def test_a_table_of_little_capacity(dynoxide_table):
    """A value is stored though its parts take longer than one operation may; else nothing is."""
    table = dynoxide_table
    table.empty()
    transport = Trickle(SocketTransport(Credentials(REGION, table.endpoint)))
    store = DynamoDBStore(transport, table.name, str, budget=1.5)
    value = VALUE[:1_500_000]
    assert count(value) == 4
    with Engine(store, config.parse(table.url)) as engine:
        m = LPCM("m", using=engine, live=False)
        m["k"] = value
        assert m["k"] == value
        transport.next = math.inf
        with pytest.raises(StoreThrottled):
            m["k"] = VALUE
        assert m["k"] == value


@pytest.mark.parametrize("foreign", [False, True])
def test_a_namespace_is_dropped(m, engine, table, monkeypatch, foreign):
    """Every part goes, also those whose owner another program has written."""
    monkeypatch.setattr(cells, "PART", 20_000)
    monkeypatch.setattr(large, "PART", 20_000)
    m["k"], m["l"] = BIG, OTHER
    assert places(table) == (2, 2, 52 + 50)
    for item in table.items() if foreign else ():
        if item["pk"]["S"].endswith("/!/") and '"parts":52,' in item["v"]["S"]:
            table.call("PutItem", TableName=table.name, Item=item | {"v": {"S": "?"}})
    drop(engine)
    assert table.items() == []

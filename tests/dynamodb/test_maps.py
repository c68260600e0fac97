"""Maps in DynamoDB: the mapping contract, CPython's tests and the state machine, on the engines."""

from typing import ClassVar

import pytest
from test import mapping_tests

from lpcm import LPCM, Engine
from lpcm.engine import config
from lpcm.stores.dynamodb.items import ITEM_LIMIT
from lpcm.stores.dynamodb.shards import Sharded
from lpcm.testing.contracts.mapping import MappingContract
from tests.map.machine import check
from tests.map.test_cpython import TESTS, adapter
from tests.map.test_cpython import check as check_cpython
from tests.map.test_machine import Paging


class OnTable(MappingContract):
    max_value = ITEM_LIMIT

    def using(self):
        return self.engine

    def open(self, table):
        table.empty()
        self.engine = Engine.open(table.url, clock=self.clock, max_value=ITEM_LIMIT)

    def teardown_method(self):
        self.engine.close()


class TestDynoxide(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):
        self.open(dynoxide_table)


class InShards(dict):
    """What engines are told to make of maps that they enter into the catalogue: several shards."""

    def get(self, map, default=None):
        del map, default
        return 4


class TestShards(OnTable):
    """Maps of several shards."""

    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):
        self.open(dynoxide_table)
        self.engine.catalogue.declared = InShards()


class TestExtendDB(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, extenddb_table):
        self.open(extenddb_table)


@pytest.fixture(scope="module", params=["dynoxide", "extenddb"])
def table(request):
    table = request.getfixturevalue(f"{request.param}_table")
    table.empty()
    return table


@pytest.fixture(scope="module")
def mapping(table):
    """Yield a class made as dict is, of maps in a table."""
    engine = Engine.open(table.url)
    yield adapter(engine)
    engine.close()


@pytest.mark.parametrize(("suite", "name"), TESTS, ids=lambda it: getattr(it, "__name__", it))
def test_cpython(mapping, suite, name, monkeypatch):
    """A test of CPython's passes, but for those no map passes."""
    if name == "test_popitem":  # from maps of up to 2**11 entries: here of up to 2**5
        monkeypatch.setattr(mapping_tests, "range", lambda *of: range(*of)[:6], raising=False)
    check_cpython(mapping, suite, name)


def test_a_map_is_a_dict(table, operations):
    """Random operations leave what dict would: a twentieth of what the embedded stores do."""

    def open_engine(clock):
        engine = Engine.open(table.url)
        return Engine(Paging(engine.store), config.parse(table.url), clock=clock)

    check(open_engine, operations // 20)


class PagingOfShards(Paging):
    """Small pages of each shard."""

    scanned: ClassVar[set[str]] = set()

    async def scan(self, map, wanted, now, **options):
        self.scanned.add(map)
        return await super().scan(map, wanted, now, **options)

    def sharded(self, shards):
        return Sharded(self, shards)


def test_a_map_of_several_shards_is_a_dict(dynoxide_table, operations):
    """So it is where each map has several shards, whose pages are small."""
    dynoxide_table.empty()

    def open_engine(clock):
        store = PagingOfShards(dynoxide_table.open())
        engine = Engine(store, config.parse(dynoxide_table.url), clock=clock)
        engine.catalogue.declared = InShards()
        return engine

    check(open_engine, operations // 20)
    assert {pk.count("/") for pk in PagingOfShards.scanned} == {2, 3}


def test_a_map_of_many_pages(table):
    """2,500 entries of 5 MB go in and come back: complete, in order, none twice."""
    table.empty()
    engine = Engine.open(table.url)
    m = LPCM("big", using=engine)
    wanted = {f"{number:05}": f"{number}-{'x' * 2000}" for number in range(2500)}
    m.set_many(wanted)
    assert m.get_many(wanted) == wanted
    assert [key for key, _ in m.items()] == sorted(wanted)
    assert list(reversed(m)) == sorted(wanted, reverse=True)
    assert m.copy() == wanted
    assert len(m) == 2500
    m.clear()
    assert not m
    engine.close()

"""The whole mapping contract, on maps within a transaction: they have the same methods."""

import pytest

from lpcm import LPCM, Engine, transaction
from lpcm.testing.contracts.mapping import MappingContract
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

LIMIT = 300_000


class InATransaction(MappingContract):
    """Each test is one transaction, which ends as it should."""

    max_value = LIMIT

    # Of more than 100 entries, or of maps that are not in a transaction yet.
    test_a_batch_that_fails_in_part = None
    test_a_default_that_cannot_be_stored = None
    test_a_limit_of_several_pages = None
    test_delete_many = None
    test_fromkeys = None
    test_impossible_keys_are_absent_for_who_awaits = None
    test_impossible_keys_in_a_transaction = None
    test_iteration_of_many_pages = None
    test_iteration_while_the_map_changes = None
    test_one_rule_of_expiry = None
    test_pickling = None
    test_set_many = None
    test_unhashable_keys = None

    def make(self, name="m", **options):
        """Return a map of the transaction."""
        outside = LPCM(name, using=self.engine, **options)
        self.made.append(outside)
        return self.transaction[outside]

    def begin(self, url):
        """Begin the transaction, on an empty engine."""
        self.engine = Engine.open(url, clock=self.clock)
        self.made = []
        self.transaction = transaction().__enter__()

    def teardown_method(self):
        """End it: what was seen within is what is stored then."""
        within = [self.transaction[each].copy() for each in self.made]
        self.transaction.__exit__(None, None, None)
        assert [each.copy() for each in self.made] == within
        self.engine.close()


class TestMemory(InATransaction):
    @pytest.fixture(autouse=True)
    def _begin(self):
        self.begin(f"memory://?max_value={LIMIT}")


class TestSQLite(InATransaction):
    @pytest.fixture(autouse=True)
    def _begin(self, tmp_path):
        self.begin(f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal&max_value={LIMIT}")


class TestDynoxide(InATransaction):
    @pytest.fixture(autouse=True)
    def _begin(self, request):
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        self.begin(table.url)


class TestDynoxideBehindMemcached(InATransaction):
    @pytest.fixture(autouse=True)
    def _begin(self, request, memcached):
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        self.begin(f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}")

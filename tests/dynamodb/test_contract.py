"""The DynamoDB store against the contracts, on the engines."""

import pytest

from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract


class OnTable(StoreContract, UpdateContract, TransactionContract):
    exactly_once = False

    def open(self):
        self.table.empty()
        return self.table.open(exactly_once=self.exactly_once)


class TestDynoxide(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):
        self.table = dynoxide_table


class TestExactlyOnce(TestDynoxide):
    """Every write as a transaction; an update of a part is always left to the caller."""

    exactly_once = True
    native = False


class TestExtendDB(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, extenddb_table):
        self.table = extenddb_table

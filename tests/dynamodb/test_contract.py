"""The DynamoDB store against the contracts, on the engines."""

import pytest

from lpcm.testing.change_contract import TransactionContract, UpdateContract
from lpcm.testing.store_contract import StoreContract


class OnTable(StoreContract, UpdateContract, TransactionContract):
    def open(self):
        self.table.empty()
        return self.table.open()


class TestDynoxide(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, dynoxide_table):
        self.table = dynoxide_table


class TestExtendDB(OnTable):
    @pytest.fixture(autouse=True)
    def _table(self, extenddb_table):
        self.table = extenddb_table

"""The engines' tables, for the tests of the DynamoDB store."""

import pytest

from tests.dynamodb.tables import Table


@pytest.fixture(scope="session")
def dynoxide_table(dynoxide):
    table = Table(dynoxide.endpoint)
    yield table
    table.close()


@pytest.fixture(scope="session")
def extenddb_table(extenddb):
    table = Table(extenddb.endpoint)
    yield table
    table.close()


@pytest.fixture
def table(dynoxide_table):
    """Return the table of dynoxide, emptied."""
    dynoxide_table.empty()
    return dynoxide_table

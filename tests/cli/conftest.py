"""What the tests of the command line have in common."""

import pytest

import lpcm
from tests.dynamodb.conftest import dynoxide_table

__all__ = ["dynoxide_table", "table", "url"]


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Yield the URL that the command line uses by default."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    monkeypatch.setenv("LPCM_URL", url)
    lpcm.close()
    yield url
    lpcm.close()


@pytest.fixture
def table(dynoxide_table, monkeypatch):
    """Yield an empty table that the command line uses by default."""
    dynoxide_table.empty()
    monkeypatch.setenv("LPCM_URL", dynoxide_table.url)
    lpcm.close()
    yield dynoxide_table
    lpcm.close()
    dynoxide_table.empty()

"""What the tests of the command line have in common."""

import pytest

import lpcm


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Yield the URL that the command line uses by default."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    monkeypatch.setenv("LPCM_URL", url)
    lpcm.close()
    yield url
    lpcm.close()

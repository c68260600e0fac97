"""Where the application's maps live: SQLite, DynamoDB, and DynamoDB behind memcached."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import pytest

from checks import servers
from tests.dynamodb.tables import Table

TABLE = "applications"


@pytest.fixture(scope="session")
def table(dynoxide):
    made = Table(dynoxide.endpoint, TABLE)
    made.close()
    return made


@pytest.fixture
def namespace():
    """Return a namespace of each test's own, for tables and memcached are shared."""
    return f"test-{uuid4().hex}"


def cached(url, memcached, options=""):
    """Return a URL with this memcached in front."""
    return (
        f"{url}&cache={quote(f'memcached://{memcached.host}:{memcached.port}{options}', safe='')}"
    )


@pytest.fixture(params=["sqlite", "dynamodb", "memcached"])
def url(request, tmp_path):
    """Return the URL of each place in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'app.sqlite3'}"
    store = request.getfixturevalue("table").url
    if request.param == "dynamodb":
        return store
    return cached(store, request.getfixturevalue("memcached"))


@pytest.fixture
def rounds(request):
    """How many rounds each client makes."""
    return request.config.getoption("--application-rounds")


@pytest.fixture
def silent(aws):
    """Yield a table behind a memcached, both this test's own, to be stopped."""
    with servers.memcached() as memcached, servers.dynoxide() as dynoxide:
        own = Table(dynoxide.endpoint, TABLE)
        own.close()
        yield memcached, dynoxide, own.url

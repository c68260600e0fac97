"""The fixtures of the tests of values in parts."""

import pytest

from checks import servers
from lpcm import LPCM, Engine
from lpcm.testing import FakeClock


@pytest.fixture(scope="module", params=["dynoxide", "extenddb"])
def table(request):
    return request.getfixturevalue(f"{request.param}_table")


@pytest.fixture(scope="module")
def memcached():
    """Yield a server of these tests alone: large items leave others little room for a while."""
    with servers.memcached() as server:
        yield server


@pytest.fixture(params=["alone", "memcached", "shards"])
def engine(request, table, memcached):
    """Yield an engine of an empty table, whose clock is a test's."""
    table.empty()
    url = table.url
    if request.param == "memcached":
        url += f"&cache=memcached://{memcached.host}:{memcached.port}"
    clock = FakeClock()
    with Engine.open(url, clock=clock) as engine:
        if request.param == "shards":
            LPCM("m", using=engine, shards=4)["first"] = 1
            del LPCM("m", using=engine)["first"]
        engine.test_clock = clock
        yield engine


@pytest.fixture
def m(engine):
    return LPCM("m", using=engine, live=False)

"""Every cache against the contract: memcached by TCP, unix socket, TLS and login; memory."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from checks import servers
from lpcm.testing.contracts.cache import CacheContract
from tests.caches.drivers import awaitable, blocking, unix_memcached

CERTIFICATE = Path(__file__).parent / "localhost.pem"


@pytest.fixture(scope="module")
def several():
    with ExitStack() as stack:
        running = [stack.enter_context(servers.memcached()) for _ in range(3)]
        yield ",".join(f"{server.host}:{server.port}" for server in running)


@pytest.fixture(scope="module")
def unix(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("unix") / "memcached.sock")
    with unix_memcached(path):
        yield path


@pytest.fixture(scope="module")
def tls():
    options = f"ssl_chain_cert={CERTIFICATE},ssl_key={CERTIFICATE}"
    with servers.memcached(options=("-Z", "-o", options)) as server:
        yield f"localhost:{server.port}"


@pytest.fixture(scope="module")
def login(tmp_path_factory):
    users = tmp_path_factory.mktemp("login") / "users"
    users.write_text("me:se@cret\nother:word\n")
    with servers.memcached(options=("-Y", str(users))) as server:
        yield f"me:se@cret@{server.host}:{server.port}"


class OnServers(CacheContract):
    """Through one of the two clients."""

    client = staticmethod(blocking)
    scheme = "memcached"

    def opened(self):
        return self.client(self.path, self.scheme)


class TestOne(OnServers):
    @pytest.fixture(autouse=True)
    def _path(self, memcached):
        self.path = f"{memcached.host}:{memcached.port}"


class TestSeveral(OnServers):
    @pytest.fixture(autouse=True)
    def _path(self, several):
        self.path = several


class TestUnixSocket(OnServers):
    scheme = "memcached+unix"

    @pytest.fixture(autouse=True)
    def _path(self, unix):
        self.path = unix


class TestTLS(OnServers):
    scheme = "memcached+tls"

    @pytest.fixture(autouse=True)
    def _path(self, tls):
        self.path = tls

    def opened(self):
        return self.client(self.path, self.scheme, ca=str(CERTIFICATE))


class TestLogin(OnServers):
    @pytest.fixture(autouse=True)
    def _path(self, login):
        self.path = login


class TestOneAsync(TestOne):
    client = staticmethod(awaitable)


class TestSeveralAsync(TestSeveral):
    client = staticmethod(awaitable)


class TestUnixSocketAsync(TestUnixSocket):
    client = staticmethod(awaitable)


class TestTLSAsync(TestTLS):
    client = staticmethod(awaitable)


class TestLoginAsync(TestLogin):
    client = staticmethod(awaitable)


class TestMemory(CacheContract):
    too_large = 65 << 20

    def opened(self):
        return blocking("", "memory")

"""The transports under test, all driven alike: ``caller(endpoint)(operation, body, within)``."""

import asyncio
from contextlib import ExitStack, closing

import pytest

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.aio import AsyncTransport
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials


def known(endpoint, bundle):
    """Return an identity that has looked up its keys: not within a test's short budget."""
    identity = Credentials("eu-west-1", endpoint, bundle=bundle)
    identity.keys(20.0)
    return identity


class Blocking:
    """Calls through the blocking transport."""

    def __init__(self, endpoint, bundle=None, **options):
        self.transport = SocketTransport(known(endpoint, bundle), **options)

    def __call__(self, operation="GetItem", request=None, within=20.0):
        return run(self.transport.call(operation, request or {}, within))

    def close(self):
        self.transport.close()


class Looping:
    """Calls through the asyncio transport, each while its loop runs for just that call."""

    def __init__(self, endpoint, bundle=None, **options):
        self.transport = AsyncTransport(known(endpoint, bundle), **options)
        self._runner = asyncio.Runner()

    def __call__(self, operation="GetItem", request=None, within=20.0):
        return self._runner.run(self.transport.call(operation, request or {}, within))

    def close(self):
        async def end():
            self.transport.close()
            await asyncio.sleep(0)

        self._runner.run(end())
        self._runner.close()


@pytest.fixture(params=[Blocking, Looping], ids=["blocking", "asyncio"])
def caller(request, aws):
    """Give what makes callers of one transport; they are closed afterwards."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(closing(request.param(*args, **options)))

"""Open caches for tests, with what drives their coroutines."""

import asyncio
import os
import socket
import subprocess
import time
from contextlib import contextmanager

from checks import servers
from lpcm import caches
from lpcm.testing.contracts.cache import Driven

TIMES = {"timeout": 10.0, "connect_timeout": 10.0}  # other tests may keep the machine busy


@contextmanager
def unix_memcached(path):
    """Run a memcached that listens on a unix socket."""
    user = ["-u", "root"] if os.geteuid() == 0 else []
    process = subprocess.Popen([str(servers._find("memcached")), "-s", path, *user])
    try:
        deadline = time.monotonic() + servers.START
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(path)
                    break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        yield
    finally:
        process.kill()
        process.wait(20)


@contextmanager
def blocking(path, scheme="memcached", **options):
    """Yield a blocking cache, driven."""
    times = {} if scheme == "memory" else TIMES
    cache = caches.adapter(scheme).open_cache(path, scheme=scheme, **{**times, **options})
    try:
        yield Driven(cache)
    finally:
        cache.close()


@contextmanager
def awaitable(path, scheme="memcached", **options):
    """Yield a cache of an event loop that runs while one of its coroutines does."""

    async def opened():
        adapter = caches.adapter(scheme)
        return adapter.open_async_cache(path, scheme=scheme, **{**TIMES, **options})

    with asyncio.Runner() as runner:
        cache = runner.run(opened())

        def concurrently(number, make):
            async def gathered():
                return await asyncio.gather(*(make(n) for n in range(number)))

            return runner.run(gathered())

        async def close():
            cache.close()
            await asyncio.sleep(0)

        try:
            yield Driven(cache, runner.run, concurrently)
        finally:
            runner.run(close())

"""What tests/test_green.py runs under gevent or eventlet, in a process of its own.

Arguments: the library, ``first`` (patched before lpcm is imported) or ``late`` (patched when it
is connected), then what to do and its arguments. Prints one line, ``well``.
"""

import importlib
import os
import signal
import sys
import time

library, when, deed, *arguments = sys.argv[1:]


def patch():
    if library == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    else:
        importlib.import_module("eventlet").monkey_patch()


def spawn(function, *args):
    """Start a green thread; return what waits for its result."""
    if library == "gevent":
        return importlib.import_module("gevent").spawn(function, *args).get
    return importlib.import_module("eventlet").spawn(function, *args).wait


if when == "first":
    patch()

from lpcm import LPCM, Engine, StoreUnavailable  # noqa: E402  # after the patch
from lpcm.caches import adapter  # noqa: E402  # after the patch
from lpcm.engine.drive import run  # noqa: E402  # after the patch
from lpcm.ports import CacheLost, Packet, Set  # noqa: E402  # after the patch
from lpcm.stores.dynamodb.http.blocking import SocketTransport  # noqa: E402  # after the patch
from lpcm.stores.dynamodb.http.connection import Limits  # noqa: E402  # after the patch
from lpcm.stores.dynamodb.http.credentials import Credentials  # noqa: E402  # after the patch
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost  # noqa: E402  # after the patch
from tests.signals import stop  # noqa: E402  # after the patch


class Ticks:
    """Counts how often other green threads came to run."""

    def __init__(self):
        self.count = 0
        self.going = True
        self.join = spawn(self.tick)

    def tick(self):
        while self.going:
            self.count += 1
            time.sleep(0.01)

    def stop(self):
        self.going = False
        self.join()
        return self.count


def cost(kinds, call, *args):
    """Return the seconds until a call raises one of these."""
    start = time.monotonic()
    try:
        result = call(*args)
    except kinds:
        return time.monotonic() - start
    raise AssertionError(f"no error but {result!r}")


def bounded(seconds, least, most):
    assert least <= seconds < most, seconds


def stopped_memcached(path, pid):
    """See every operation on a memcached that hangs cost no more than its limit."""
    open_cache = lambda connect_timeout: adapter("memcached").open_cache(
        path, scheme="memcached", timeout=0.5, connect_timeout=connect_timeout
    )
    put = Packet("k", (Set(b"x", 1, 100),))
    known = [open_cache(10.0) for _ in range(4)]  # the machine may be busy
    for cache in known:
        run(cache.send(put))
    if when == "late":
        patch()
        for cache in known:  # what was connected before goes on; what is opened now is green
            assert run(cache.look("k", 10)) == b"x"
            cache.servers[0].give_back(cache.servers[0].connect())
            assert run(cache.look("k", 10)) == b"x"
    stop(pid)
    try:
        ticks = Ticks()
        calls = [
            lambda: run(known[0].look("k", 10)),
            lambda: run(known[1].send(put)),
            lambda: run(known[2].send(Packet("k", (Set(b"x" * 900_000, 1, 100),)))),
            lambda: run(open_cache(0.5).look("k", 10)),  # the greeting
        ]
        for call in calls:
            bounded(cost(CacheLost, call), 0.4, 2.5)
        server = known[3].servers[0]
        busy = server.take()
        bounded(cost(CacheLost, lambda: server.exactly(busy.id)), 0.4, 2.5)
        server.give_back(busy)
        assert ticks.stop() > 40
    finally:
        os.kill(int(pid), signal.SIGCONT)


def silent_endpoint(endpoint):
    """Every request to an endpoint that says nothing costs no more than its limit."""
    identity = Credentials("eu-west-1", endpoint)
    identity.keys(20.0)
    transport = SocketTransport(identity, limits=Limits(connect=0.3, read=0.3))
    hasty = SocketTransport(identity, pool=1)
    if when == "late":
        patch()
    ticks = Ticks()
    call = lambda over, within, **request: run(over.call("GetItem", request, within))
    bounded(cost(ReplyLost, call, transport, 20.0), 0.25, 1.5)
    bounded(cost(ReplyLost, call, hasty, 0.3), 0.25, 1.5)
    large = {"x": "y" * 12_000_000}  # more than the kernel takes: it is sending that waits
    bounded(cost(ReplyLost, lambda: call(hasty, 0.5, **large)), 0.25, 2.5)
    busy = spawn(cost, ReplyLost, call, hasty, 1.0)
    time.sleep(0.1)
    bounded(cost(NotSent, call, hasty, 0.3), 0.25, 0.95)  # the pool's one place is taken
    busy()
    if when == "late":  # neither library lets ssl be patched once it is imported
        assert ticks.stop() > 50
        return
    secure = Credentials("eu-west-1", endpoint.replace("http:", "https:"))
    secure.keys(20.0)
    shaking = SocketTransport(secure, limits=Limits(connect=0.3))
    bounded(cost(NotSent, call, shaking, 20.0), 0.25, 1.5)
    assert ticks.stop() > 50


def many(url, cache):
    """Many green threads at once share few connections, and nothing is lost or mixed up."""
    engine = Engine.open(f"{url}&pool=4", cache=f"memcached://{cache}?timeout=10")
    entries = LPCM("green", using=engine, default=0)
    entries["warm"] = 1
    assert entries["warm"] == 1
    if when == "late":
        patch()

    def work(number):
        for turn in range(10):
            entries.increment("shared")
            entries[f"{number}"] = [number, turn]
            assert entries[f"{number}"] == [number, turn]
            assert entries.get_many([f"{number}", "warm"]) == {
                f"{number}": [number, turn], "warm": 1,
            }  # fmt: skip

    ticks = Ticks()
    for wait in [spawn(work, number) for number in range(30)]:
        wait()
    # Connections from before the patch block all: nothing but their limits helps there.
    assert ticks.stop() > 5 or when == "late"
    assert entries["shared"] == 300
    engine.close()


def one_client(endpoint):
    """Green threads on one boto3 client each get their own reply, whenever it was patched."""
    import boto3
    from botocore.config import Config

    from lpcm.stores.dynamodb.http.boto3_client import ClientTransport

    once = Config(retries={"total_max_attempts": 1}, region_name="eu-west-1")
    transport = ClientTransport(boto3.client("dynamodb", endpoint_url=endpoint, config=once))
    if when == "late":
        patch()

    def work(number):
        key = {"pk": {"S": f"{number}"}}
        for _ in range(5):
            reply = run(transport.call("GetItem", {"TableName": "ttt", "Key": key}, 20.0))
            assert reply.body["Item"] == key, (reply.body, key)

    for wait in [spawn(work, number) for number in range(20)]:
        wait()


def slow_resolver():
    """See a name that is not resolved cost no more than the limit, and others run meanwhile."""
    import socket

    lookup = socket.getaddrinfo

    def slow(host, *args, **options):
        if host == "slow.test" and not (args[4:5] or [0])[0]:
            time.sleep(20)
        return lookup(host, *args, **options)

    if when == "late":
        patch()
        lookup = socket.getaddrinfo
    socket.getaddrinfo = slow
    identity = Credentials("eu-west-1", "http://slow.test:8000")
    identity.keys(20.0)
    transport = SocketTransport(identity, limits=Limits(connect=0.3))
    options = {"timeout": 0.3, "connect_timeout": 0.3}
    cache = adapter("memcached").open_cache("slow.test", scheme="memcached", **options)
    ticks = Ticks()
    bounded(cost(NotSent, lambda: run(transport.call("GetItem", {}, 20.0))), 0.25, 1.5)
    bounded(cost(CacheLost, lambda: run(cache.look("k", 10))), 0.25, 1.5)
    assert ticks.stop() > 20


def silent_store(table, endpoint):
    """See a map on a silent endpoint end with its budget."""
    url = f"dynamodb://{table}?region=eu-west-1&endpoint={endpoint}&budget=0.8&patience=0.3"
    engine = Engine.open(url)
    if when == "late":
        patch()
    ticks = Ticks()
    bounded(cost(StoreUnavailable, lambda: LPCM("silent", using=engine)["k"]), 0.25, 2.5)
    assert ticks.stop() > 15
    engine.close()


globals()[deed](*arguments)
print("well")

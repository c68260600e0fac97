"""lpcm through memcached against bare sockets, other clients, and other caches on stores."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import warnings
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pylibmc
import pymemcache
from django.core.cache.backends.memcached import PyMemcacheCache
from dogpile.cache import make_region
from harness import Action, Candidate, Limit, Scale, Target
from key_value.aio.stores.memcached import MemcachedStore
from key_value.aio.stores.memory import MemoryStore
from key_value.aio.wrappers.passthrough_cache import PassthroughCacheWrapper

from checks import servers
from checks.tables import make_table
from lpcm import LPCM, Engine, caches, stores
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import Packet, Set

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

TITLE = "lpcm through memcached, and others"
ABOUT = """
Values of 100 characters under 1,000 text keys, one thread, client and servers pinned to one core.
The store answers at once (a dict) where the name does not say otherwise.

- *bare socket* is the floor: a blocking socket that sends `mg` and reads once, or sends a hundred
  commands at once and reads until the last reply; no pool, no limit of time, nothing checked.
- *lpcm client* is lpcm's client of memcached by itself: bytes, and no coherence.
- *pylibmc* is libmemcached, in C. Its `set_multi` waits for each reply, so for *write 100* it is
  told to wait for none and then reads one item.
- *pymemcache* and *Django* (`PyMemcacheCache`) are called as documented, with replies awaited.
- *lpcm* is the whole map: typed keys and values, entries that certify themselves, expiry, and on
  writes the marks that keep all readers linearizable: of each key it writes, memcached hears four
  commands in two round trips. The others' writes are one command to the cache and promise nothing.
- *Django + store*, *dogpile* and *py-key-value* are caches in front of a store: read the cache,
  else the store and then set the cache. None of them is coherent: with a writer and a reader at
  once an old value can stay until it expires. On *DynamoDB* the store is dynoxide, asked by
  boto3 with its defaults for all but lpcm.
- *1,000* is one `get_many` of all keys: *warm*, *cold*, and cold with a store that takes 3 ms.
"""
N = 1000
VALUE = "x" * 100
NAMES = [f"user/{number:06d}" for number in range(N)]
TABLE = "bench"


def some(count: int) -> Any:
    return lambda rng: [rng.choice(NAMES) for _ in range(count)]


def fresh(count: int) -> Any:
    def names(rng: random.Random) -> list[str]:
        return [f"user/{os.getpid()}/{rng.getrandbits(60)}" for _ in range(count)]

    return names


ACTIONS = [
    Action("hit", 500, some(500)),
    Action("miss", 200, fresh(200)),
    Action("write", 200, some(200)),
    Action("read 100", 20, lambda _: NAMES[:100]),
    Action("write 100", 10, lambda _: NAMES[:100]),
    Action("1,000 warm", 3, lambda _: NAMES),
    Action("1,000 cold", 2, lambda rng: [fresh(N)(rng) for _ in range(2)]),
    Action("1,000 cold, 3 ms", 2, lambda rng: [fresh(N)(rng) for _ in range(2)]),
    Action("miss, DynamoDB", 50, fresh(50)),
    Action("write, DynamoDB", 50, some(50)),
]
TARGETS: Sequence[Target | Limit] = [
    Target("hit", "lpcm", "bare socket", 1.25),
    Target("hit", "lpcm", "bare socket", 1.3, cpu=True),
    Target("read 100", "lpcm", "pylibmc", 1.8),
    Target("read 100", "lpcm client", "pylibmc", 1.8),
    Target("write 100", "lpcm", "pylibmc", 1.7),
    Target("write 100", "lpcm client", "pylibmc", 1.7),
    Limit("miss", "lpcm", 140e-6),
    Limit("write", "lpcm", 140e-6),
    Limit("1,000 warm", "lpcm", 3e-3),
    Limit("1,000 cold", "lpcm", 11e-3),
    Limit("1,000 cold, 3 ms", "lpcm", 20e-3),
    Target("hit", "lpcm", "Django", 1.0),
    Target("hit", "lpcm", "dogpile", 1.0),
    Target("hit", "lpcm", "py-key-value", 1.0),
    Target("miss, DynamoDB", "lpcm", "Django", 1.0),
]
PLOT = ["hit", "miss", "write", "read 100", "miss, DynamoDB", "write, DynamoDB"]


def each(function: Any) -> Any:
    def loop(material: list[Any]) -> None:
        for thing in material:
            function(thing)

    return loop


def repeat(times: int, function: Any) -> Any:
    def loop(material: Any) -> None:
        for _ in range(times):
            function(material)

    return loop


class Slow:
    """A store that takes its time."""

    def __init__(self, store: Any, seconds: float) -> None:
        self.store = store
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def read(self, *arguments: Any) -> Any:
        time.sleep(self.seconds)  # noqa: ASYNC251  # as a blocking store would
        return await self.store.read(*arguments)

    async def read_many(self, *arguments: Any) -> Any:
        time.sleep(self.seconds)  # noqa: ASYNC251  # as above
        return await self.store.read_many(*arguments)


class Bare:
    """A socket that does the least there is to do."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.write_many(NAMES)

    def actions(self) -> dict[str, Any]:
        return {
            "hit": each(self.hit),
            "read 100": repeat(20, self.read_many),
            "write 100": repeat(10, self.write_many),
            "1,000 warm": repeat(3, self.read_many),
        }

    def hit(self, name: str) -> bytes:
        self.sock.sendall(b"mg bare/%b v\r\n" % name.encode())
        return self.sock.recv(65536)[8:-2]

    def until(self, end: bytes) -> None:
        while not self.sock.recv(65536).endswith(end):
            pass

    def read_many(self, names: list[str]) -> None:
        self.sock.sendall("".join([f"mg bare/{name} v\r\n" for name in names]).encode() + b"mn\r\n")
        self.until(b"MN\r\n")

    def write_many(self, names: list[str]) -> None:
        commands = [f"ms bare/{name} 100 T3600\r\n{VALUE}\r\n" for name in names]
        self.sock.sendall("".join(commands).encode() + b"mn\r\n")
        self.until(b"MN\r\n")

    def close(self) -> None:
        self.sock.close()


def lpcm_map(cached: Engine, slow: Engine, remote: Engine) -> dict[str, Any]:
    users, late, far = (LPCM("users", using=engine) for engine in (cached, slow, remote))
    for users_of in (users, far):
        users_of.set_many(dict.fromkeys(NAMES, VALUE))

    def cold(of: LPCM[str, str]) -> Any:
        return each(of.get_many)

    return {
        "hit": each(users.__getitem__),
        "miss": each(users.get),
        "write": each(lambda name: users.set(name, VALUE)),
        "read 100": repeat(20, users.get_many),
        "write 100": repeat(10, lambda names: users.set_many(dict.fromkeys(names, VALUE))),
        "1,000 warm": repeat(3, users.get_many),
        "1,000 cold": cold(users),
        "1,000 cold, 3 ms": cold(late),
        "miss, DynamoDB": each(far.get),
        "write, DynamoDB": each(lambda name: far.set(name, VALUE)),
    }


def lpcm_client(path: str) -> dict[str, Any]:
    cache = caches.adapter("memcached").open_cache(path, scheme="memcached")
    data = VALUE.encode()

    def write_many(names: list[str]) -> None:
        run(cache.send_many([Packet(name, (Set(data, 100, 3600),)) for name in names]))

    write_many(NAMES)
    return {
        "hit": each(lambda name: run(cache.look(name, 5))),
        "read 100": repeat(20, lambda names: run(cache.look_many(names, 5))),
        "write 100": repeat(10, write_many),
        "1,000 warm": repeat(3, lambda names: run(cache.look_many(names, 5))),
    }


def with_pylibmc(path: str) -> dict[str, Any]:
    client = pylibmc.Client([path], behaviors={"tcp_nodelay": True})
    quick = pylibmc.Client([path], behaviors={"_noreply": True, "buffer_requests": True})
    data = VALUE.encode()
    client.set_multi(dict.fromkeys(NAMES, data), key_prefix="pylibmc/")

    def read_many(names: list[str]) -> None:
        client.get_multi(names, key_prefix="pylibmc/")

    def write_many(names: list[str]) -> None:
        quick.set_multi(dict.fromkeys(names, data), key_prefix="pylibmc/")
        quick.get("pylibmc/user/000000")

    return {
        "hit": each(lambda name: client.get(f"pylibmc/{name}")),
        "write": each(lambda name: client.set(f"pylibmc/{name}", data)),
        "read 100": repeat(20, read_many),
        "write 100": repeat(10, write_many),
        "1,000 warm": repeat(3, read_many),
    }


def with_pymemcache(path: str) -> dict[str, Any]:
    client = pymemcache.Client(path, no_delay=True, default_noreply=False, key_prefix=b"py/")
    data = VALUE.encode()
    client.set_multi(dict.fromkeys(NAMES, data))
    return {
        "hit": each(client.get),
        "write": each(lambda name: client.set(name, data)),
        "read 100": repeat(20, client.get_multi),
        "write 100": repeat(10, lambda names: client.set_multi(dict.fromkeys(names, data))),
        "1,000 warm": repeat(3, client.get_multi),
    }


def with_django(path: str, table: Any) -> dict[str, Any]:
    cache = PyMemcacheCache(path, {"KEY_PREFIX": "django"})
    memory: dict[str, str] = dict.fromkeys(NAMES, VALUE)
    cache.set_many(memory)

    def read(name: str) -> Any:
        found = cache.get(name)
        if found is None:
            found = memory.get(name, "")
            cache.set(name, found)
        return found

    def read_remote(name: str) -> Any:
        found = cache.get(name)
        if found is None:
            found = table.get_item(Key={"k": name}, ConsistentRead=True).get("Item", "")
            cache.set(name, found)
        return found

    def write(name: str) -> None:
        memory[name] = VALUE
        cache.delete(name)

    def write_remote(name: str) -> None:
        table.put_item(Item={"k": name, "v": VALUE})
        cache.delete(f"remote/{name}")

    return {
        "hit": each(cache.get),
        "miss": each(read),
        "write": each(write),
        "read 100": repeat(20, cache.get_many),
        "write 100": repeat(10, lambda names: cache.set_many(dict.fromkeys(names, VALUE))),
        "1,000 warm": repeat(3, cache.get_many),
        "miss, DynamoDB": each(read_remote),
        "write, DynamoDB": each(write_remote),
    }


def with_dogpile(path: str, table: Any) -> dict[str, Any]:
    region = make_region(key_mangler="dogpile/{}".format).configure(
        "dogpile.cache.pymemcache", expiration_time=3600, arguments={"url": path}
    )
    for name in NAMES:
        region.set(name, VALUE)

    def read_remote(name: str) -> Any:
        return region.get_or_create(
            name, lambda: table.get_item(Key={"k": name}, ConsistentRead=True).get("Item", "")
        )

    def many(names: list[str]) -> None:
        region.get_or_create_multi(names, lambda *missing: [VALUE for _ in missing])

    return {
        "hit": each(lambda name: region.get_or_create(name, lambda: VALUE)),
        "miss": each(lambda name: region.get_or_create(name, lambda: "")),
        "read 100": repeat(20, many),
        "1,000 warm": repeat(3, many),
        "miss, DynamoDB": each(read_remote),
    }


def with_key_value(host: str, port: int, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    async def opened() -> PassthroughCacheWrapper:
        with warnings.catch_warnings(action="ignore"):  # it calls itself unstable
            cache = MemcachedStore(host=host, port=port)
        return PassthroughCacheWrapper(primary_key_value=MemoryStore(), cache_key_value=cache)

    both = loop.run_until_complete(opened())

    async def write(names: list[str]) -> None:
        for name in names:
            await both.put(name, {"v": VALUE})

    async def read(names: list[str]) -> None:
        for name in names:
            await both.get(name)

    loop.run_until_complete(write(NAMES))
    loop.run_until_complete(read(NAMES))
    return {
        "hit": lambda names: loop.run_until_complete(read(names)),
        "write": lambda names: loop.run_until_complete(write(names)),
    }


@contextmanager
def candidates(scale: Scale) -> Iterator[Sequence[Candidate]]:
    del scale
    os.environ.update(servers.AWS)
    with ExitStack() as stack:
        server = stack.enter_context(servers.memcached())
        dynoxide = stack.enter_context(servers.dynoxide())
        path = f"{server.host}:{server.port}"
        cache = f"memcached://{path}"
        cached = stack.enter_context(closing(Engine.open("memory://", cache=cache)))
        slow = Slow(stores.adapter("memory").open_store("late"), 0.003)
        settings = config.parse("memory://late", {"cache": cache})
        client = caches.adapter("memcached").open_cache(path, scheme="memcached")
        late = stack.enter_context(closing(Engine(slow, settings, cache=client)))
        url = f"dynamodb://lpcm?region=eu-west-1&endpoint={dynoxide.endpoint}"
        remote = stack.enter_context(closing(Engine.open(url, cache=cache)))
        make_table(dynoxide.endpoint, "lpcm")
        bare = stack.enter_context(closing(Bare(server.host, server.port)))
        loop = stack.enter_context(closing(asyncio.new_event_loop()))
        table = boto3.resource("dynamodb", endpoint_url=dynoxide.endpoint).create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield [
            Candidate("lpcm", lpcm_map(cached, late, remote)),
            Candidate("bare socket", bare.actions()),
            Candidate("lpcm client", lpcm_client(path)),
            Candidate("pylibmc", with_pylibmc(path)),
            Candidate("pymemcache", with_pymemcache(path)),
            Candidate("Django", with_django(path, table)),
            Candidate("dogpile", with_dogpile(path, table)),
            Candidate("py-key-value", with_key_value(server.host, server.port, loop)),
        ]

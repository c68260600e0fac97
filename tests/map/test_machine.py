"""Whatever is done to a map, in whatever order, it stays what a dict would be.

How many operations: ``--operations`` (for each store). A failure prints the steps to it.
"""

import pytest
from hypothesis import Phase

from lpcm import Engine
from lpcm.engine import config
from lpcm.ports import Add, Put, When
from tests.map.machine import check


class Paging:
    """A store of small pages, so that a few entries make a scan of many."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def scan(self, map, wanted, now, **options):
        small = wanted._replace(limit=min(wanted.limit, 3))
        return await self._store.scan(map, small, now, **options)


@pytest.fixture
def url(request, tmp_path):
    """Return the URL of a store whose data an engine finds again when it is reopened."""
    store = getattr(request, "param", "memory")
    if store == "memory":
        return f"memory://{tmp_path}"
    return f"sqlite:///{tmp_path}/m.sqlite3?synchronous=normal"


def opener(url, wrapper):
    """Return what opens an engine whose store is wrapped."""

    def open_engine(clock):
        settings = config.parse(url)
        return Engine(wrapper(Engine.open(url).store), settings, clock=clock)

    return open_engine


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
def test_a_map_is_a_dict(url, operations):
    """Random operations, of every kind on keys and values of every type, leave what dict would."""
    check(opener(url, Paging), operations)


class RemembersExpired(Paging):
    """A store that returns what has expired."""

    async def read(self, map, sk, now):
        return await self._store.read(map, sk, now - 1e9)


class RevivesExpired(Paging):
    """A store that adds to what has expired."""

    async def apply(self, map, sk, op, now):
        return await self._store.apply(map, sk, op, now - 1e9 if isinstance(op, Add) else now)


class ForgetsExpiry(Paging):
    """A store whose compare-and-set makes an entry live for ever."""

    async def apply(self, map, sk, op, now):
        if isinstance(op, Put) and isinstance(op.when, int):
            op = op._replace(expires=None)
        return await self._store.apply(map, sk, op, now)


class Overwrites(Paging):
    """A store that does not look whether there is an entry already."""

    async def apply(self, map, sk, op, now):
        if isinstance(op, Put) and op.when is When.ABSENT:
            op = op._replace(when=When.ALWAYS)
        return await self._store.apply(map, sk, op, now)


class Remembers(Paging):
    """A store with a cache that nobody tells of the other's writes."""

    def __init__(self, store):
        super().__init__(store)
        self._seen = {}

    async def read(self, map, sk, now):
        if (map, sk) not in self._seen:
            self._seen[map, sk] = await self._store.read(map, sk, now)
        return self._seen[map, sk]

    async def apply(self, map, sk, op, now):
        self._seen.pop((map, sk), None)
        return await self._store.apply(map, sk, op, now)


class SkipsAnEntry(Paging):
    """A store that resumes a scan one entry too late."""

    async def scan(self, map, wanted, now):
        page = await super().scan(map, wanted, now)
        return page if wanted.after is None else page._replace(entries=page.entries[1:])


@pytest.mark.parametrize(
    "wrong",
    [RemembersExpired, RevivesExpired, ForgetsExpiry, Overwrites, Remembers, SkipsAnEntry],
)
def test_a_wrong_store_is_found_out(url, wrong):
    """The machine tells a store with one fault from a right one."""
    with pytest.raises(AssertionError):
        check(opener(url, wrong), 20_000, phases=[Phase.generate], derandomize=True)

"""A map in the place of diskcache's Index, and of the Cache that its recipes work on."""

import contextlib
import tempfile
import time

import diskcache

from lpcm import LPCM


class Index(LPCM):
    """A map that is named by a directory; made with what it is to hold."""

    def __init__(self, directory=None, entries=(), /, **more):
        self.directory = directory or tempfile.mkdtemp()
        super().__init__(f"index-{self.directory.replace('/', '-')}", live=False)
        self.update(entries, **more)

    def __repr__(self):
        return f"Index({self.directory!r})"


class Cache:
    """What the recipes ask of a cache, over a map."""

    def __init__(self):
        self.directory = tempfile.mkdtemp()
        self.map = LPCM(f"cache-{self.directory.replace('/', '-')}", live=False)
        self.locks = LPCM(f"locks-{self.directory.replace('/', '-')}", live=False)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.map.clear()

    def __contains__(self, key):
        return key in self.map

    def get(self, key, default=None, *, expire_time=False, **ignored):
        if not expire_time:
            return self.map.get(key, default)
        try:
            entry = self.map.entry(key)
        except KeyError:
            return default, None
        return entry.value, entry.expires

    def set(self, key, value, expire=None, **ignored):
        self.map.set(key, value, ttl=expire)
        return True

    def add(self, key, value, expire=None, **ignored):
        return self.map.add(key, value, ttl=expire)

    def pop(self, key, default=None, **ignored):
        return self.map.pop(key, default)

    def delete(self, key, **ignored):
        return self.map.pop(key, None) is not None

    @contextlib.contextmanager
    def transact(self, **ignored):
        """Keep everybody else out, as a transaction of diskcache does."""
        while not self.locks.add("transaction", True, ttl=60):
            time.sleep(0.001)
        try:
            yield
        finally:
            self.locks.delete("transaction")


diskcache.Index, diskcache.Cache = Index, Cache

"""requests-cache's suites for storages and caches, held over a map."""

from requests_cache import dict_serializer
from requests_cache_lpcm import Cache, Storage

from tests.integration import base_cache_test, base_storage_test


class TestStorage(base_storage_test.BaseStorageTest):
    def init_cache(self, cache_name="cache", index=0, clear=True, connection=None, **kwargs):
        cache = Storage(f"{cache_name}-{index}", **kwargs)
        if clear:
            cache.clear()
        return cache


class OfASession(Cache):
    """One that is made with a session's options, most of which are not a cache's."""

    def __init__(self, name, serializer=None, decode_content=False, **ignored):
        serializer = serializer or dict_serializer
        super().__init__(name, serializer=serializer, decode_content=decode_content)


class TestCache(base_cache_test.BaseCacheTest):
    backend_class = OfASession

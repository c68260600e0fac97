"""lpcm in the place of cachelib's SimpleCache."""

import secrets

import cachelib
from cachelib.serializers import SimpleSerializer
from cachelib_lpcm import Cache


class SimpleCache(Cache):
    """A map of its own for each cache, as SimpleCache has a dict."""

    serializer = SimpleSerializer()  # the tests wrap it; a map has no use for one

    def __init__(self, threshold=500, default_timeout=300, ignore_delete_many_errors=True):
        super().__init__(
            f"cache-{secrets.token_hex(8)}",
            default_timeout,
            ignore_delete_many_errors=ignore_delete_many_errors,
        )
        self._threshold = threshold or 500
        self._cache = self.map  # the tests count what is in it


cachelib.SimpleCache = SimpleCache

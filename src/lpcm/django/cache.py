"""A ``CACHES`` backend on a map: Django's cache that outlives restarts and is shared by all.

::

    CACHES = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "LOCATION": "cache"}}

``LOCATION`` is the map's name. ``OPTIONS``: ``ALIAS``, the alias of ``LPCM`` it lives on, and
``CODEC``: ``pickle`` takes whatever Django's other backends take, signed with SECRET_KEY, so
that who can write to the store cannot run code here; ``plain`` takes what a map takes, and
shows values to the command line and the admin.

An int stands as one, so that ``incr`` is atomic. Entries expire by themselves: there is
nothing to cull. Knows no store; each method is one operation of a map, its a-twin awaited
as such and not in a thread.
"""

# ruff: noqa: ASYNC109  # Django's signatures

from __future__ import annotations

import hmac
import pickle
import time
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from lpcm import LPCM
from lpcm._run import run
from lpcm.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LPCMCache"]

_OPTIONS: Final = frozenset({"ALIAS", "CODEC", "MAX_ENTRIES", "CULL_FREQUENCY"})
_SALT: Final = "lpcm.django.cache"
_SIGNED: Final = 32
"""Bytes of a signature."""
_GONE: Final = object()
"""What a key that is not there reads as, for None is a value."""


class LPCMCache(BaseCache):
    """Django's cache interface over a map. See the module."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options: Mapping[str, Any] = params.get("OPTIONS") or {}
        if unknown := sorted(options.keys() - _OPTIONS):
            raise ImproperlyConfigured(
                f"LPCMCache has no option {unknown[0]!r}: use {', '.join(sorted(_OPTIONS))}"
            )
        codec = options.get("CODEC", "pickle")
        if codec not in {"pickle", "plain"}:
            raise ImproperlyConfigured(f"LPCMCache's CODEC is 'pickle' or 'plain', not {codec!r}")
        self._pickles = codec == "pickle"
        alias = options.get("ALIAS", "default")
        self._map: LPCM[str, Any] = LPCM(location or "cache", using=alias, live=False)

    # Pieces

    def _stored(self, key: str, value: Any) -> Any:
        """Return a value as the map holds it."""
        if not self._pickles or type(value) is int:
            return value
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return _signature(key, data, settings.SECRET_KEY) + data

    def _loaded(self, key: str, value: Any) -> Any:
        """Return what was stored; ``_GONE`` for what is not signed by a key of ours."""
        if not self._pickles or type(value) is not bytes:
            return value
        signature, data = value[:_SIGNED], value[_SIGNED:]
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            if hmac.compare_digest(signature, _signature(key, data, secret)):
                return pickle.loads(data)  # noqa: S301  # signed by us
        return _GONE

    def _left(self, timeout: Any) -> float | None:
        """Return the seconds to live, None: for ever; 0 or less: none."""
        until = self.get_backend_timeout(timeout)
        return None if until is None else until - time.time()

    def _key(self, key: Any, version: int | None) -> str:
        return str(self.make_and_validate_key(key, version=version))

    def _given(self, key: str, found: Any, default: Any) -> Any:
        value = found if found is _GONE else self._loaded(key, found)
        return default if value is _GONE else value

    def _all_given(self, made: Mapping[str, Any], found: Mapping[str, Any]) -> dict[Any, Any]:
        values = {made[key]: self._loaded(key, value) for key, value in found.items()}
        return {key: value for key, value in values.items() if value is not _GONE}

    def _made(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        """Return the keys by the map's own."""
        return {self._key(key, version): key for key in keys}

    # One key. Each costs one request, on a map that is cached as that says.

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, else the default."""
        made = self._key(key, version)
        return self._given(made, self._map.get(made, _GONE), default)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Await ``get``."""
        made = self._key(key, version)
        return self._given(made, await self._map.aget(made, _GONE), default)

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Store the value."""
        made, left = self._key(key, version), self._left(timeout)
        stored = self._stored(made, value)
        if left is not None and left <= 0:
            self._map.delete(made)
        else:
            self._map.set(made, stored, ttl=left)

    async def aset(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Await ``set``."""
        made, left = self._key(key, version), self._left(timeout)
        stored = self._stored(made, value)
        if left is not None and left <= 0:
            await self._map.adelete(made)
        else:
            await self._map.aset(made, stored, ttl=left)

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store the value unless the key is there; tell whether that was done, atomically."""
        made, left = self._key(key, version), self._left(timeout)
        stored = self._stored(made, value)
        if left is not None and left <= 0:
            return made not in self._map
        return run(self._map._use().add(made, stored, left))  # noqa: SLF001  # no dict has it

    async def aadd(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``add``."""
        made, left = self._key(key, version), self._left(timeout)
        stored = self._stored(made, value)
        if left is not None and left <= 0:
            return not await self._map.acontains(made)
        use = self._map._ause()  # noqa: SLF001  # as above
        return await use.drive(use.add(made, stored, left))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Let the entry live for so long from now; tell whether it is there."""
        made, left = self._key(key, version), self._left(timeout)
        if left is not None and left <= 0:
            return self.delete(key, version=version)
        try:
            self._map.expire(made, left)
        except KeyError:
            return False
        return True

    async def atouch(
        self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``touch``."""
        made, left = self._key(key, version), self._left(timeout)
        if left is not None and left <= 0:
            return await self.adelete(key, version=version)
        try:
            await self._map.aexpire(made, left)
        except KeyError:
            return False
        return True

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove the entry; tell whether it was there."""
        try:
            del self._map[self._key(key, version)]
        except KeyError:
            return False
        return True

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        """Await ``delete``."""
        try:
            await self._map.adelitem(self._key(key, version))
        except KeyError:
            return False
        return True

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether the entry is there."""
        return self._key(key, version) in self._map

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Await ``has_key``."""
        return await self._map.acontains(self._key(key, version))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to the number and return it, atomically. **Raises** ValueError without one."""
        made = self._key(key, version)
        use = self._map._use()  # noqa: SLF001  # increment would start from nothing
        try:
            return int(run(use.grow(made, delta)))
        except KeyError:
            raise ValueError(f"Key {key!r} not found") from None

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Await ``incr``."""
        made = self._key(key, version)
        use = self._map._ause()  # noqa: SLF001  # as above
        try:
            return int(await use.drive(use.grow(made, delta)))
        except KeyError:
            raise ValueError(f"Key {key!r} not found") from None

    async def adecr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Await ``decr``."""
        return await self.aincr(key, -delta, version=version)

    # Many keys. Each costs one request for each batch the store can do at once.

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those that are there."""
        made = self._made(keys, version)
        return self._all_given(made, self._map.get_many(made))

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Await ``get_many``."""
        made = self._made(keys, version)
        return self._all_given(made, await self._map.aget_many(made))

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Store them; return the keys of those that could not be."""
        made, left = self._made(data, version), self._left(timeout)
        if left is not None and left <= 0:
            self._map.delete_many(made)
            return []
        try:
            self._map.set_many(self._all_stored(made, data), ttl=left)
        except BatchError as errors:
            return [made[key] for key in errors.errors]
        return []

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Await ``set_many``."""
        made, left = self._made(data, version), self._left(timeout)
        if left is not None and left <= 0:
            await self._map.adelete_many(made)
            return []
        try:
            await self._map.aset_many(self._all_stored(made, data), ttl=left)
        except BatchError as errors:
            return [made[key] for key in errors.errors]
        return []

    def _all_stored(self, made: Mapping[str, Any], data: Mapping[Any, Any]) -> dict[str, Any]:
        return {key: self._stored(key, data[own]) for key, own in made.items()}

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove them, where they are there."""
        self._map.delete_many(self._made(keys, version))

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Await ``delete_many``."""
        await self._map.adelete_many(self._made(keys, version))

    def clear(self) -> None:
        """Remove every entry of this map, of all versions and prefixes, and of no other."""
        self._map.clear()

    async def aclear(self) -> None:
        """Await ``clear``."""
        await self._map.aclear()


def _signature(key: str, data: bytes, secret: str | bytes) -> bytes:
    """Sign data for one key: an entry is worth nothing under another."""
    made = salted_hmac(f"{_SALT}:{key}", data, secret=secret, algorithm="sha256")
    return made.digest()

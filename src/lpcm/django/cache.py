"""A ``CACHES`` backend on a map: Django's cache that outlives restarts and is shared by all.

::

    CACHES = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "LOCATION": "cache"}}

``LOCATION`` is the map's name. ``OPTIONS``: ``ALIAS``, the alias of ``LPCM`` it lives on, and
``CODEC``: ``pickle`` takes whatever Django's other backends take, signed with SECRET_KEY, so
that who can write to the store cannot run code here; ``plain`` takes what a map takes, and
shows values to the command line and the admin.

With ``pickle`` an int stands as one, so that ``incr`` is atomic. Entries expire by themselves:
there is nothing to cull. Knows no store; each method is one coroutine over the operations of a
map, which its a-twin awaits as such and not in a thread.

Invariant: what this backend did not write reads as missing, for every method: with ``pickle``
all but ints and what is signed for that key, with ``plain`` what cannot be decoded. A value
that is too large leaves nothing under its key, and is logged.
"""

# ruff: noqa: ASYNC109, SLF001  # Django's signatures; operations that no dict has

from __future__ import annotations

import hashlib
import hmac
import logging
import pickle
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from lpcm import LPCM
from lpcm.engine.drive import run
from lpcm.errors import BatchError, Conflict, KeyEncodingError, ValueDecodingError, ValueTooLarge
from lpcm.ports import Applied
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lpcm.operations.operations import Entries
    from lpcm.ports import Stored

__all__ = ["LPCMCache"]

_OPTIONS: Final = frozenset({"ALIAS", "CODEC", "MAX_ENTRIES", "CULL_FREQUENCY"})
_SALT: Final = "lpcm.django.cache"
_SIGNED: Final = 32
"""Bytes of a signature."""
_SHORT: Final = 250
"""Characters of a key that surely fits: of at most 4 bytes each."""
_ATTEMPTS: Final = 20
"""Times that ``add`` meets another stranger's entry before it gives up."""
_GONE: Final = object()
"""What a key that is not there reads as, for None is a value."""

_log = logging.getLogger("lpcm.django.cache")


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

    def _is_ours(self, key: str, value: Any) -> bool:
        """Tell whether this backend wrote that: with ``pickle``, an int or what is signed."""
        if not self._pickles or type(value) is int:
            return True
        if type(value) is not bytes:
            return False
        signature, data = value[:_SIGNED], value[_SIGNED:]
        return any(
            hmac.compare_digest(signature, _signature(key, data, secret))
            for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        )

    def _loaded(self, key: str, value: Any) -> Any:
        """Return what was stored; ``_GONE`` for what is not ours."""
        if value is _GONE or not self._is_ours(key, value):
            return _GONE
        if not self._pickles or type(value) is int:
            return value
        return pickle.loads(value[_SIGNED:])  # noqa: S301  # signed by us

    def _left(self, timeout: Any) -> float | None:
        """Return the seconds to live, None: for ever; 0 or less: none."""
        until = self.get_backend_timeout(timeout)
        return None if until is None else until - time.time()

    def _key(self, key: Any, version: int | None) -> str:
        """Return the map's key: a digest where it can be none itself, with a warning."""
        made = str(self.make_and_validate_key(key, version=version))
        if len(made) <= _SHORT and made.isprintable():
            return made
        try:
            encode(made)
        except KeyEncodingError:
            if len(made) <= _SHORT:  # else Django has warned
                text = f"Cache key is no text, and is stored under its hash: {made!a}"
                warnings.warn(text, CacheKeyWarning, stacklevel=4)
            return f"lpcm:{hashlib.sha256(made.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return made

    def _made(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        """Return the keys by the map's own."""
        return {self._key(key, version): key for key in keys}

    # Each operation, once, over the entries of the map

    async def _found(self, use: Entries, key: str) -> Any:
        """Return what the map holds, ours or not; ``_GONE`` for what cannot be read."""
        try:
            return await use.get(key, _GONE)
        except ValueDecodingError:
            return _GONE

    async def _get(self, use: Entries, key: str, default: Any) -> Any:
        value = self._loaded(key, await self._found(use, key))
        return default if value is _GONE else value

    async def _has(self, use: Entries, key: str) -> bool:
        value = await self._found(use, key)
        return value is not _GONE and self._is_ours(key, value)

    async def _set(self, use: Entries, key: str, stored: Any, left: float | None) -> None:
        if left is not None and left <= 0:
            await use.delete(key)
            return
        try:
            await use.set(key, stored, left)
        except ValueTooLarge as error:
            await use.delete(key)  # what stood there is not what was set last
            _log.warning("not cached: %s: %s", ascii(key), error)

    async def _add(self, use: Entries, key: str, stored: Any, left: float | None) -> bool:
        if left is not None and left <= 0:
            return not await self._has(use, key)
        try:
            for _ in range(_ATTEMPTS):
                outcome = await use.find_or_add(key, stored, left)
                if isinstance(outcome, Applied):
                    return True
                if outcome.entry is None or self._is_readable(use, key, outcome.entry):
                    return False
                try:
                    await use.replace(key, stored, outcome.entry.etag, left)
                except Conflict:
                    continue
                return True
        except ValueTooLarge as error:
            _log.warning("not cached: %s: %s", ascii(key), error)
        return False

    def _is_readable(self, use: Entries, key: str, there: Stored) -> bool:
        try:
            return self._is_ours(key, use.codec.decode(there.data, there.kind))
        except ValueDecodingError:
            return False

    async def _touch(self, use: Entries, key: str, left: float | None) -> bool:
        if not await self._has(use, key):
            return False
        if left is not None and left <= 0:
            return await use.delete(key)
        try:
            await use.expire(key, left)
        except KeyError:
            return False
        return True

    async def _incr(self, use: Entries, key: str, delta: Any) -> Any:
        """Add, natively where an int stands there, else by compare-and-set, as locmem adds."""

        def added(value: Any) -> Any:
            loaded = self._loaded(key, value)
            if loaded is _GONE:
                raise KeyError(key)
            return self._stored(key, loaded + delta)

        try:
            return self._loaded(key, await use.increment_existing(key, delta, added))
        except (KeyError, ValueDecodingError):
            raise ValueError(f"Key {key!r} not found") from None

    async def _get_many(self, use: Entries, made: Mapping[str, Any]) -> dict[Any, Any]:
        try:
            found = await use.get_many(made)
        except BatchError as batch:  # what cannot be read is missing
            found = batch.found
        values = {made[key]: self._loaded(key, value) for key, value in found.items()}
        return {key: value for key, value in values.items() if value is not _GONE}

    async def _set_many(
        self, use: Entries, made: Mapping[str, Any], data: Mapping[Any, Any], left: float | None
    ) -> list[Any]:
        if left is not None and left <= 0:
            await use.delete_many(made)
            return []
        stored = [(key, self._stored(key, data[own])) for key, own in made.items()]
        try:
            await use.set_many(stored, left)
        except BatchError as batch:
            large = [key for key, error in batch.errors.items() if isinstance(error, ValueTooLarge)]
            for key in large:
                _log.warning("not cached: %s: %s", ascii(key), batch.errors[key])
            await use.delete_many(large)  # as in _set
            return [made[key] for key in batch.errors]
        return []

    # One key. Each costs one request, on a map that is cached as that says; touch two.

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, else the default."""
        return run(self._get(self._map._use(), self._key(key, version), default))

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Await ``get``."""
        use = self._map._ause()
        return await use.drive(self._get(use, self._key(key, version), default))

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Store the value."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        run(self._set(self._map._use(), made, stored, self._left(timeout)))

    async def aset(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Await ``set``."""
        made, use = self._key(key, version), self._map._ause()
        stored = self._stored(made, value)
        await use.drive(self._set(use, made, stored, self._left(timeout)))

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store the value unless the key is there; tell whether that was done, atomically."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        return run(self._add(self._map._use(), made, stored, self._left(timeout)))

    async def aadd(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``add``."""
        made, use = self._key(key, version), self._map._ause()
        stored = self._stored(made, value)
        return await use.drive(self._add(use, made, stored, self._left(timeout)))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Let the entry live for so long from now; tell whether it is there."""
        return run(self._touch(self._map._use(), self._key(key, version), self._left(timeout)))

    async def atouch(
        self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``touch``."""
        use = self._map._ause()
        return await use.drive(self._touch(use, self._key(key, version), self._left(timeout)))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove the entry; tell whether anything was there."""
        return run(self._map._use().delete(self._key(key, version)))

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        """Await ``delete``."""
        use = self._map._ause()
        return await use.drive(use.delete(self._key(key, version)))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether the entry is there."""
        return run(self._has(self._map._use(), self._key(key, version)))

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Await ``has_key``."""
        use = self._map._ause()
        return await use.drive(self._has(use, self._key(key, version)))

    def incr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Add to the number and return it, atomically. **Raises** ValueError without one."""
        return run(self._incr(self._map._use(), self._key(key, version), delta))

    async def aincr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Await ``incr``."""
        use = self._map._ause()
        return await use.drive(self._incr(use, self._key(key, version), delta))

    async def adecr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Await ``decr``."""
        return await self.aincr(key, -delta, version=version)

    # Many keys. Each costs one request for each batch the store can do at once.

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those that are there."""
        return run(self._get_many(self._map._use(), self._made(keys, version)))

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Await ``get_many``."""
        use = self._map._ause()
        return await use.drive(self._get_many(use, self._made(keys, version)))

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Store them; return the keys of those that could not be."""
        made, left = self._made(data, version), self._left(timeout)
        return run(self._set_many(self._map._use(), made, data, left))

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Await ``set_many``."""
        made, left, use = self._made(data, version), self._left(timeout), self._map._ause()
        return await use.drive(self._set_many(use, made, data, left))

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

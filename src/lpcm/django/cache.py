"""A ``CACHES`` backend on a map: Django's cache that outlives restarts and is shared by all.

::

    CACHES = {"default": {"BACKEND": "lpcm.django.cache.LPCMCache", "LOCATION": "cache"}}

``LOCATION`` is the map's name. ``OPTIONS``: ``ALIAS``, the alias of ``LPCM`` it lives on, and
``CODEC``: ``pickle`` takes whatever Django's other backends take, signed with SECRET_KEY, so
that a writer of the store cannot run code here; ``plain`` takes what a map takes, and
shows values to the command line and the admin. ``COMPRESS``: ``zlib``, ``zstd`` or ``none``.

With ``pickle`` an int stands as one, so that ``incr`` is atomic. Entries expire by themselves:
there is nothing to cull. Knows maps by their public methods alone. Each operation is written once,
over a map's methods or their a-twins, so that nothing that is awaited runs in a thread of Django's.

Invariant: what this backend did not write reads as missing, for every method: with ``pickle``
all but ints and what is signed for that key, with ``plain`` what cannot be decoded. A value
that is too large leaves nothing under its key, and is logged.
"""

# ruff: noqa: ASYNC109  # Django's signatures

from __future__ import annotations

import hashlib
import hmac
import logging
import pickle
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from lpcm import LPCM
from lpcm.errors import BatchError, Conflict, KeyEncodingError, ValueDecodingError, ValueTooLarge
from lpcm.text import encode_key

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

__all__ = ["LPCMCache"]

_OPTIONS: Final = frozenset({"ALIAS", "CODEC", "COMPRESS", "MAX_ENTRIES", "CULL_FREQUENCY"})
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

T = TypeVar("T")

_SPELT: Final = {"delitem": "__delitem__"}
"""A blocking method, where its name is not the a-twin's without the a."""

_Ask: TypeAlias = "Callable[..., Coroutine[Any, Any, Any]]"
"""Calls the method of a map by its name."""


async def _blocking(map: LPCM[str, Any], name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(map, _SPELT.get(name, name))(*arguments, **options)


async def _awaiting(map: LPCM[str, Any], name: str, *arguments: Any, **options: Any) -> Any:
    return await getattr(map, f"a{name}")(*arguments, **options)


def _run(operation: Coroutine[Any, Any, T]) -> T:
    """Return what an operation over ``_blocking``, which never suspends, comes to."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
    raise RuntimeError(f"a blocking operation suspended: {operation!r}")


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
        self._map: LPCM[str, Any] = LPCM(
            location or "cache", using=alias, live=False, compress=options.get("COMPRESS")
        )
        self._ask: _Ask = partial(_blocking, self._map)
        self._aask: _Ask = partial(_awaiting, self._map)

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
            encode_key(made)
        except KeyEncodingError:
            if len(made) <= _SHORT:  # else Django has warned
                text = f"Cache key is no text, and is stored under its hash: {made!a}"
                warnings.warn(text, CacheKeyWarning, stacklevel=4)
            return f"lpcm:{hashlib.sha256(made.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return made

    def _made(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        """Return the keys by the map's own."""
        return {self._key(key, version): key for key in keys}

    # Each operation, once: ``ask`` does a method of the map, by blocking or by awaiting it

    async def _found(self, ask: _Ask, key: str) -> Any:
        """Return what the map holds, ours or not; ``_GONE`` for what cannot be read."""
        try:
            return await ask("get", key, _GONE)
        except ValueDecodingError:
            return _GONE

    async def _get(self, ask: _Ask, key: str, default: Any) -> Any:
        value = self._loaded(key, await self._found(ask, key))
        return default if value is _GONE else value

    async def _has(self, ask: _Ask, key: str) -> bool:
        value = await self._found(ask, key)
        return value is not _GONE and self._is_ours(key, value)

    async def _set(self, ask: _Ask, key: str, stored: Any, left: float | None) -> None:
        if left is not None and left <= 0:
            await ask("delete", key)
            return
        try:
            await ask("set", key, stored, ttl=left)
        except ValueTooLarge as error:
            await ask("delete", key)  # the value there is not the one that was set last
            _log.warning("not cached: %s: %s", ascii(key), error)

    async def _add(self, ask: _Ask, key: str, stored: Any, left: float | None) -> bool:
        if left is not None and left <= 0:
            return not await self._has(ask, key)
        try:
            for _ in range(_ATTEMPTS):
                try:
                    entry, added = await ask("get_or_add", key, stored, ttl=left)
                    if added or self._is_ours(key, entry.value):
                        return bool(added)
                    etag = entry.etag
                except ValueDecodingError as error:
                    etag = error.etag
                try:  # a stranger's entry is no entry here, and only one caller may replace it
                    await ask("replace", key, stored, if_etag=etag, ttl=left)
                except Conflict:
                    continue
                return True
        except ValueTooLarge as error:
            _log.warning("not cached: %s: %s", ascii(key), error)
        return False

    async def _touch(self, ask: _Ask, key: str, left: float | None) -> bool:
        if not await self._has(ask, key):
            return False
        if left is not None and left <= 0:
            return await self._delete(ask, key)
        return bool(await ask("touch", key, left))

    async def _delete(self, ask: _Ask, key: str) -> bool:
        try:
            await ask("delitem", key)
        except KeyError:
            return False
        return True

    async def _incr(self, ask: _Ask, key: str, delta: Any) -> Any:
        """Add, natively where the entry is an int, else by compare-and-set, as locmem adds."""

        def added(value: Any) -> Any:
            loaded = self._loaded(key, value)
            if loaded is _GONE:
                raise KeyError(key)
            return self._stored(key, loaded + delta)

        try:
            return self._loaded(key, await ask("increment_existing", key, delta, fn=added))
        except (KeyError, ValueDecodingError):
            raise ValueError(f"Key {key!r} not found") from None

    async def _get_many(self, ask: _Ask, made: Mapping[str, Any]) -> dict[Any, Any]:
        try:
            found = await ask("get_many", made)
        except BatchError as batch:  # what cannot be read is missing
            found = batch.found
        values = {made[key]: self._loaded(key, value) for key, value in found.items()}
        return {key: value for key, value in values.items() if value is not _GONE}

    async def _set_many(
        self, ask: _Ask, made: Mapping[str, Any], data: Mapping[Any, Any], left: float | None
    ) -> list[Any]:
        if left is not None and left <= 0:
            await ask("delete_many", made)
            return []
        stored = [(key, self._stored(key, data[own])) for key, own in made.items()]
        try:
            await ask("set_many", stored, ttl=left)
        except BatchError as batch:
            large = [key for key, error in batch.errors.items() if isinstance(error, ValueTooLarge)]
            for key in large:
                _log.warning("not cached: %s: %s", ascii(key), batch.errors[key])
            await ask("delete_many", large)  # as in _set
            return [made[key] for key in batch.errors]
        return []

    # One key. Each costs one request, on a map that is cached as that says; touch two.

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, else the default."""
        return _run(self._get(self._ask, self._key(key, version), default))

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Await ``get``."""
        return await self._get(self._aask, self._key(key, version), default)

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Store the value."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        _run(self._set(self._ask, made, stored, self._left(timeout)))

    async def aset(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Await ``set``."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        await self._set(self._aask, made, stored, self._left(timeout))

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store the value unless the key is there; tell whether that was done, atomically."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        return _run(self._add(self._ask, made, stored, self._left(timeout)))

    async def aadd(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``add``."""
        made = self._key(key, version)
        stored = self._stored(made, value)
        return await self._add(self._aask, made, stored, self._left(timeout))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Let the entry live for so long from now; tell whether it is there."""
        return _run(self._touch(self._ask, self._key(key, version), self._left(timeout)))

    async def atouch(
        self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Await ``touch``."""
        return await self._touch(self._aask, self._key(key, version), self._left(timeout))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove the entry; tell whether anything was there."""
        return _run(self._delete(self._ask, self._key(key, version)))

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        """Await ``delete``."""
        return await self._delete(self._aask, self._key(key, version))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether the entry is there."""
        return _run(self._has(self._ask, self._key(key, version)))

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Await ``has_key``."""
        return await self._has(self._aask, self._key(key, version))

    def incr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Add to the number and return it, atomically. **Raises** ValueError without one."""
        return _run(self._incr(self._ask, self._key(key, version), delta))

    async def aincr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Await ``incr``."""
        return await self._incr(self._aask, self._key(key, version), delta)

    async def adecr(self, key: Any, delta: Any = 1, version: int | None = None) -> Any:
        """Await ``decr``."""
        return await self.aincr(key, -delta, version=version)

    # Many keys. Each costs one request for each batch the store can do at once.

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those that are there."""
        return _run(self._get_many(self._ask, self._made(keys, version)))

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Await ``get_many``."""
        return await self._get_many(self._aask, self._made(keys, version))

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Store them; return the keys of those that could not be."""
        made, left = self._made(data, version), self._left(timeout)
        return _run(self._set_many(self._ask, made, data, left))

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Await ``set_many``."""
        made, left = self._made(data, version), self._left(timeout)
        return await self._set_many(self._aask, made, data, left)

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

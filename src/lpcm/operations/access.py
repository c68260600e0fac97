"""Access to the entries of one map: the steps that its operations are made of.

Values are encoded and decoded here, writes get their etags and expiries, and the catalogue is
looked at in time. Knows a tier (``ports.Tier``), which knows encoded keys and cells only; knows no
operation. Invariant: no entry is read or written whose map is in a format that this version does
not know.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lpcm.coherence.catalogue import LOOK_AGAIN
from lpcm.engine.config import seconds
from lpcm.engine.insulation import check_fence
from lpcm.errors import ConfigError, KeyEncodingError, ValueDecodingError
from lpcm.operations.absent import absent
from lpcm.operations.entry import MISSING
from lpcm.operations.hits import hits
from lpcm.operations.retry import Retry
from lpcm.ports import Form, Put, Reads, When
from lpcm.ports.etags import new_etag
from lpcm.ports.near import read_kept
from lpcm.system.turns import Turn
from lpcm.values.keys import encode, partition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from lpcm.engine.engine import Engine
    from lpcm.engine.stack import Stack
    from lpcm.operations.entry import TTL
    from lpcm.operations.options import MapOptions
    from lpcm.ports import Applied, Cell, Op, Page, Refused, Scan, Stored
    from lpcm.ports.near import Near

__all__ = ["Access"]


def _default(_: object, default: object) -> Any:
    """Return what ``get`` returns for a key without an entry, of a map without a default."""
    return None if default is MISSING else default


def _missing(key: object, _: object) -> Any:
    raise KeyError(key)


class Access:
    """The entries of one map of one engine, for the operations on them."""

    streams = True
    """Whether a file may store parts before it is closed."""

    def __init__(
        self,
        engine: Engine,
        stack: Stack,
        name: str,
        options: MapOptions,
        *,
        namespace: str,
        binding: Any,
        blocking: bool = False,
    ) -> None:
        default, ttl, live, fit, caching, shards, compress, over = options
        self._makers, self._number_makers = live
        self._engine = engine
        self._name = name
        self._namespace = namespace
        self.binding = binding
        """The map's binding, which live values remember; nothing here looks into it."""
        self._map = partition(namespace, name)
        self._tier = stack.tier
        self._store = stack.store
        self._coherent = stack.coherent
        self._large = stack.large
        self._catalogue = engine.catalogue
        self._shards = shards
        self._catalogued = engine.catalogue.declare(self._map, shards)
        # Until when single entries may be read and written without a look at the catalogue: for
        # ever behind a cache, whose tier looks by itself whenever it asks the store.
        self._until = 0.0 if stack.coherent is None else math.inf
        self._until_whole = 0.0
        self._clock = stack.clock
        self._read = read_kept(stack.tier) if caching else stack.tier.read
        self._reads = _reads(stack)
        """The reads that no write depends on; ``find`` and ``_scan`` are for the others."""
        if self._reads is stack.eventual:
            self._read = self._reads.read
        self._now = stack.clock.now
        self.drive = stack.drive
        self.codec = engine.codec
        # ``fit`` makes a value of this kind of map of the given one, or refuses it.
        encode = engine.encoder(compress, over)
        self.encode = encode if fit is None else lambda value: encode(fit(value))
        self._decode = engine.codec.decode
        # Data without a kind are the value itself, but for trees, which hold tags.
        self._bare = engine.codec.form is Form.TEXT
        self._rewrites: bool = getattr(type(engine.store), "rewrites", False)
        """Whether the store does ``ports.Rewrite``: asked of the store itself, not of a wrapper."""
        has_lines = hasattr(type(engine.store), "line")
        self._line = getattr(engine.store, "line") if has_lines else None  # noqa: B009  # no part of the port
        self._ttl = ttl if ttl is not None else engine.ttl
        self._factory = default if callable(default) else None
        plain = default is not MISSING and self._factory is None
        self._default = self.encode(default) if plain else None
        self.identity = id(engine), self._map
        # Of the tier itself: a wrapper that passes other attributes on may count or refuse reads.
        has_near = caching and hasattr(type(stack.tier), "near")
        near: Near | None = getattr(stack.tier, "near") if has_near else None  # noqa: B009  # no part of the port
        self.hit = self.hit_item = None
        """What serves ``get``, and ``item``, where the tier has a near cache."""
        if near is not None:
            plain = self._factory is None and self._default is None
            absent, missing = (_default, _missing) if plain else (None, None)
            select = getattr(stack.tier, "select", None) if blocking else None
            self.hit = hits(near, self, self._makers, absent=absent, select=select)
            makers = self._number_makers
            self.hit_item = hits(near, self, makers, absent=missing, select=select)

    # Values

    def default(self) -> Any:
        """Return a fresh copy of the map's default, or MISSING."""
        if self._factory is not None:
            return self._factory()
        return MISSING if self._default is None else self._decode(*self._default)

    def _value(self, stored: Stored) -> Any:
        data, kind, _, _ = stored
        if kind is None and self._bare and data is not None:
            return data
        return self._decode(data, kind)

    def _live(self, key: object, value: Any) -> Any:
        """Return a container live, anything else as it is."""
        make = self._makers.get(type(value))
        try:
            return value if make is None else make(value, self.binding, key)
        except RecursionError as error:
            raise self._too_deep(key) from error

    def _put(self, value: object, expires: float | None, when: When | int = When.ALWAYS) -> Put:
        cell: Cell = self.encode(value)
        # Put's own constructor takes twice as long, for defaults that are not asked for here.
        return tuple.__new__(Put, (cell, new_etag(), expires, when))

    def _expiry(self, ttl: TTL) -> float | None:
        length = self._ttl if ttl is None else seconds(ttl)
        return None if length is None else self._now() + length

    def _unreadable(self, key: object, error: Exception) -> ValueDecodingError:
        """Return the error of an entry, with its map and key."""
        return ValueDecodingError(f"{key!r} in map {self._name!r}: {error}")

    def _too_deep(self, key: object) -> ValueDecodingError:
        """Return the error of a value that nests deeper than this process can follow."""
        return self._unreadable(key, ValueDecodingError("not a stored value: it nests too deep"))

    def _retry(self, what: str) -> Retry:
        """Return the pauses of a compare-and-set, for ``what`` that may fail."""
        engine = self._engine
        return Retry(self._clock, engine.timeout, what, self._name, engine.windows)

    def _turn(self, sk: str) -> Turn:
        """Return the place of a compare-and-set among those of this engine at the same key.

        Threads and tasks stand in lines apart: a thread that waits for a task may be its loop's.
        """
        line = None if self._line is None else self._line(self._map, sk)
        return Turn(self._engine.turns, (id(self._clock), self._map, sk), self._clock, line)

    # Entries

    async def _present(self, key: object) -> Stored:
        try:
            stored = await self.find(encode(key))
        except KeyEncodingError as error:
            stored = absent(key, error)
        if stored is None:
            raise KeyError(key)
        return stored

    async def find(self, sk: str) -> Stored | None:
        """Return the entry of an encoded key, as of now: a condition may be made of it."""
        now = self._now()
        if now >= self._until:
            await self._look(now)
        return await self._tier.read(self._map, sk, now)

    async def _read_store(self, sk: str) -> Stored | None:
        """Return the entry as the store has it, past any cache."""
        return await self._store.read(self._map, sk, self._now())

    async def _whole(self, key: object, sk: str, head: Stored) -> Stored | None:
        """Return the entry of a head, with the value that its parts make; None: it is gone.

        **Raises** StoreCorrupt where parts are missing.
        """
        if self._large is None:
            raise self._unreadable(key, ValueDecodingError("a value in parts, of another store"))
        try:
            return await self._large.whole(self._map, sk, head, self._coherent)
        except ValueDecodingError as error:
            raise self._unreadable(key, error) from error

    async def _latest(self, sk: str) -> Stored | None:
        """Return the entry for another attempt, after a write of it was refused and a pause.

        Not the entry of the refusal: during the pause others may have written it again, and the
        next attempt would be refused without fail. Of the store, which decides the attempt.
        """
        return await self._read_store(sk)

    async def _look(self, now: float) -> None:
        """Check that this version knows the map's format; see ``coherence.catalogue``."""
        await self._catalogue.look(self._store, self._map, now)
        self._check_shards()
        self._until_whole = now + LOOK_AGAIN
        if self._until < math.inf:
            self._until = self._until_whole

    async def _scan(self, wanted: Scan) -> Page:
        """Return a page whose entries a write may depend on."""
        now = await self._moment()
        return await self._store.scan(self._map, wanted, now)

    async def _walk(self, wanted: Scan) -> Page:
        """Return a page for the caller alone."""
        now = await self._moment()
        return await self._reads.scan(self._map, wanted, now)

    async def _some(
        self, page_of: Callable[[Scan], Awaitable[Page]], wanted: Scan
    ) -> Sequence[tuple[str, Stored]]:
        """Return the wanted entries, of ``_scan`` or ``_walk``. None of them: there are none."""
        while True:
            page = await page_of(wanted)
            if page.entries or page.resume is None:
                return page.entries
            wanted = wanted._replace(after=page.resume)  # the entries that it passed have expired

    async def _moment(self) -> float:
        """Return the time for an operation on the whole map, whose format is known."""
        now = self._now()
        if now >= self._until_whole:
            await self._look(now)
        return now

    def _apply(self, sk: str, op: Op) -> Coroutine[Any, Any, Applied | Refused]:
        # Not a coroutine itself: one less on the way of every write.
        now = self._now()
        if self._map in self._catalogued and now < self._until:
            return self._tier.apply(self._map, sk, op, now)
        return self._apply_first(sk, op)

    async def _apply_first(self, sk: str, op: Op) -> Applied | Refused:
        await self._enter_catalogue()
        return await self._tier.apply(self._map, sk, op, self._now())

    async def _enter_catalogue(self) -> None:
        """Enter the map into the catalogue; check that this version can write its format."""
        now = self._now()
        registered = self._catalogue.registered
        if self._map in registered and now >= self._until:
            await self._look(now)  # it may have been dropped
        if self._map not in registered:
            check_fence(self._namespace)
            await self._catalogue.register(self._store, self._map, now)
            await self._look(now)
        self._check_shards()
        self._catalogued = registered

    def _check_shards(self) -> None:
        """Check that the map has the number of shards it was opened with, if the store has any."""
        found = self._catalogue.shards.get(self._map)
        if self._shards is not None and found is not None and found != self._shards:
            raise ConfigError(
                f"map {self._name!r} has {found} shards, and was opened with "
                f"shards={self._shards}: the number is chosen when a map is first written. "
                f"Leave shards= out or say {found}, or copy it to another map with lpcm copy "
                "--to NAME --shards N"
            )


def _reads(stack: Stack) -> Reads:
    """Return the reads that no write depends on: the cheaper ones, where they fill no cache."""
    tier, store, eventual = stack.tier, stack.store, stack.eventual
    if eventual is None:
        return Reads(tier.read, tier.read_many, store.scan, store.count)
    if stack.coherent is None and stack.near is None:
        return eventual
    return eventual._replace(read=tier.read, read_many=tier.read_many)

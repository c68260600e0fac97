"""Administration: maps as they are stored, for tools that look at them, copy them and mend them.

A map gives values. A tool also meets entries that no map can give: of classes this process does not
have, of other hands, damaged, or cached and not stored. ``Records`` has the entries of one map as
the store holds them, under the text of their keys, and what the cache would serve of them. Values
of registered classes are read as they are stored, and stored again so.

``lpcm.cli`` and ``lpcm.django`` are made of this. Everything blocks: a program with an event loop
runs it in a thread. Invariants: looking fills no cache and writes nothing; what is written is
fenced where tests run, as what maps write.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.engine.aliases import MapNotFound, resolve
from lpcm.engine.drive import run
from lpcm.engine.observe import wrap_with_hooks
from lpcm.engine.sweep import Swept, sweep
from lpcm.engine.upkeep import purge, vacuum
from lpcm.errors import CacheUnavailable, StoreCorrupt, StoreMissing, ValueDecodingError
from lpcm.large.cells import kind_of
from lpcm.map.views import span
from lpcm.operations.entry import MISSING, Entry
from lpcm.operations.operations import Entries
from lpcm.operations.options import MapOptions
from lpcm.ports import CacheLost, Scan
from lpcm.ports.heads import HEAD, head_of
from lpcm.values.compress import method_of
from lpcm.values.partitions import check_shards, partition
from lpcm.values.registry import foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lpcm.engine.config import Config
    from lpcm.engine.engine import Engine
    from lpcm.ports import MapInfo, Page, Stored

__all__ = [
    "SETTLED",
    "EntryPage",
    "InParts",
    "MapNotFound",
    "Records",
    "Swept",
    "check_exists",
    "drop",
    "find_map",
    "is_cached",
    "open_engine",
    "purge",
    "renew_identity",
    "same_store",
    "sweep",
    "vacuum",
]

PAGE: Final = 1000
SETTLED: Final = 11.0
"""Seconds after which a difference between cache and store is no write under way."""


class EntryPage(NamedTuple):
    """Some entries of a map, in key order."""

    entries: Sequence[Entry[Any]]
    failed: dict[Any, Exception]
    """Why others of the page cannot be read, by key."""
    after: str | None
    """Where the next page begins; None: this is the last one."""


class InParts(NamedTuple):
    """What is known of a value in parts that was not read."""

    size: int
    """The bytes of all parts together."""
    parts: int
    kind: str
    """The name of its type, as far as it is known."""
    method: str | None
    """What compressed it."""


class Records:
    """The entries of one map as they are stored.

    ``using``, ``url``
        Where the map is, as for ``LPCM``.
    ``namespace``
        Another namespace of that store.
    ``shards``
        The number of partitions that the first write gives the map, as for ``LPCM``.

    >>> from lpcm import LPCM
    >>> LPCM("pets")["rex"] = "dog"
    >>> records = Records("pets")
    >>> page = records.page(prefix="r")
    >>> [(address, records.value(stored)) for address, stored in page.entries], page.resume
    ([('rex', 'dog')], None)
    >>> is_cached(records.engine), records.cached(["rex"])
    (False, {})
    """

    def __init__(
        self,
        name: str,
        *,
        using: str | Engine = "default",
        url: str | None = None,
        namespace: str | None = None,
        shards: int | None = None,
    ) -> None:
        self.name = name
        self._where = using, url
        self._namespace = namespace
        self._shards = None if shards is None else check_shards(shards)

    @property
    def engine(self) -> Engine:
        """The engine, as configured now."""
        return resolve(*self._where)

    def now(self) -> float:
        """Return the time by which entries expire, in epoch seconds."""
        return self.engine.stack.clock.now()

    def _partition(self, engine: Engine) -> str:
        return partition(self._namespace or engine.namespace, self.name)

    def _use(self) -> Entries:
        engine = self.engine
        return Entries(
            engine,
            wrap_with_hooks(engine.stack, engine, self.name),
            self.name,
            MapOptions(MISSING, None, ({}, {}), shards=self._shards),
            namespace=self._namespace or engine.namespace,
            binding=None,
        )

    # Looking

    def page(
        self,
        *,
        prefix: object = None,
        after: str | None = None,
        limit: int = PAGE,
        reverse: bool = False,
        values: bool = True,
    ) -> Page:
        """Return entries whose keys begin with ``prefix``, by their stored keys, in key order.

        ``after`` is a stored key, ``Page.resume`` of the page before. Without ``values`` no value
        is read where the store can avoid that. **Cost**: one request.
        """
        engine, now = self.engine, self.now()
        pk, keys = self._partition(engine), span(prefix, None, None, reverse=reverse).keys
        run(engine.catalogue.look(engine.store, pk, now))  # a later format is none of ours
        return run(engine.store.scan(pk, Scan(keys, after, limit, reverse, values), now))

    def pages(self, *, prefix: object = None, limit: int = PAGE) -> Iterator[EntryPage]:
        """Walk the map: the entries of each page, and those that cannot be read."""
        after: str | None = None
        while True:
            page = self.entries(prefix=prefix, after=after, limit=limit)
            yield page
            after = page.after
            if after is None:
                return

    def entries(
        self, *, prefix: object = None, after: str | None = None, limit: int = PAGE
    ) -> EntryPage:
        """Return entries with key, value, etag and expiry. **Cost**: one request."""
        part = span(prefix, None, None, reverse=False).keys
        failed: dict[Any, Exception] = {}
        with foreign():
            found, resume = run(self._use().entries(Scan(part, after, limit), failed))
        return EntryPage(found, failed, resume)

    def entry(self, key: object) -> Entry[Any]:
        """Return one entry, as ``LPCM.entry`` does, of whatever class its value is."""
        with foreign():
            return run(self._use().entry(key))

    def read(self, addresses: Sequence[str]) -> list[Stored | None]:
        """Return what the store has under these stored keys, whatever is cached.

        **Cost**: one request per batch the store can read at once.
        """
        engine = self.engine
        return run(engine.store.read_many(self._partition(engine), addresses, self.now()))

    def value(self, stored: Stored) -> Any:
        """Return the value. **Raises** ValueDecodingError where it cannot be read."""
        try:
            with foreign():
                return self.engine.codec.decode(stored.data, stored.kind)
        except RecursionError as error:
            raise ValueDecodingError("not a stored value: it nests too deep") from error

    def form(self, stored: Stored) -> str:
        """Return how a value is stored that is compressed or in parts, in words; else nothing."""
        if (found := self.in_parts(stored)) is not None:
            words = f"{found.size:,} bytes in {found.parts:,} parts"
            return words if found.method is None else f"{words}, compressed by {found.method}"
        method = method_of(stored.kind)
        if method is None or not isinstance(stored.data, bytes):
            return ""
        return f"{len(stored.data):,} bytes, compressed by {method}"

    def in_parts(self, stored: Stored) -> InParts | None:
        """Return what an entry says of its value where that is stored in parts; None: it is not.

        **Raises** ValueDecodingError where another program has written the entry.
        """
        if stored.kind != HEAD:
            return None
        head = head_of(stored)
        try:
            return InParts(head.size, head.parts, *kind_of(head.form))
        except LookupError as error:
            raise ValueDecodingError(f"a value in parts of the form {head.form!r:.20}") from error

    def beginning(self, stored: Stored, most: int) -> str:
        """Return what the first bytes of a value in parts say, as the beginning of its JSON.

        At most so many bytes, and those of the first part: up to 390 KB, or what they expand to.
        **Cost**: one request; fills no cache. **Raises** StoreCorrupt where the part is gone: the
        entry was replaced meanwhile, or another program has deleted the part.
        """
        self.in_parts(stored)
        engine = self.engine
        text = None
        if engine.stack.large is not None:
            text = run(engine.stack.large.beginning(self._partition(engine), stored, most))
        if text is None:
            raise StoreCorrupt(
                "the first part is gone: others have deleted it, or replaced the entry meanwhile"
            )
        return text

    # The cache

    def cached(self, addresses: Sequence[str]) -> dict[str, Stored | None]:
        """Return what the cache would serve of these now; None: that there is no entry.

        **Cost**: one trip to the cache. **Raises** CacheUnavailable.
        """
        engine = self.engine
        if engine.stack.coherent is None:
            return {}
        try:
            return run(engine.stack.coherent.cached(self._partition(engine), addresses))
        except CacheLost as lost:
            raise CacheUnavailable(str(lost)) from lost

    def uncache(self, addresses: Sequence[str]) -> None:
        """Remove these from the cache, so that they are read anew."""
        engine = self.engine
        if engine.stack.coherent is not None:
            pk = self._partition(engine)
            run(engine.stack.coherent.read_stored(pk, addresses, self.now()))

    # Writing

    def create(self) -> None:
        """Enter the map into the catalogue unless it is there.

        **Cost**: a look at the catalogue, and up to two writes there. **Raises** ConfigError where
        it has another number of shards.
        """
        run(self._use().restore(()))

    def restore(self, entries: Iterable[Entry[Any]]) -> None:
        """Store entries as they were elsewhere, each with its own expiry; etags are new.

        **Cost**: one request per batch the store can write at once. **Atomic** per key.
        **Raises** ValueEncodingError for a value that cannot be stored, before anything is
        written; BatchError with the keys that failed; the rest is done.
        """
        with foreign():
            run(self._use().restore(entries))


def open_engine(using: str | Engine = "default", *, url: str | None = None) -> Engine:
    """Return the engine that all maps of an alias, or of a URL in its place, share."""
    return resolve(using, url)


def find_map(engine: Engine, name: str, namespace: str | None = None) -> MapInfo | None:
    """Return what the catalogue has of a map, whatever its format; None: it was never written.

    **Cost**: one request. ``shards`` is the number of its partitions, ``format`` its layout's.

    >>> from lpcm import LPCM
    >>> LPCM("pets")["rex"] = "dog"
    >>> find_map(open_engine(), "pets"), find_map(open_engine(), "cars")
    (MapInfo(name='pets', format=1, codec='typed', shards=1), None)
    """
    return run(engine.store.describe(namespace or engine.namespace, name)).info


def is_cached(engine: Engine) -> bool:
    """Tell whether a cache stands in front of the store."""
    return engine.stack.coherent is not None


def same_store(one: Engine, other: Engine) -> bool:
    """Tell whether both lead to one file, table or memory, whatever the namespace."""
    return one.store.identity == other.store.identity


def drop(engine: Engine, namespace: str | None = None) -> None:
    """Delete a namespace: every entry of each of its maps, and its catalogue.

    **Cost**: in bulk, every entry. What of it is cached is served for ``cache_ttl`` at most.
    """
    run(engine.store.drop(namespace or engine.namespace))
    engine.catalogue.forget()
    if engine.near is not None:
        engine.near.forget()


def renew_identity(engine: Engine) -> None:
    """Give the namespace a new identity: nothing that is cached of it counts any more.

    For a table or file that was restored in place, under the name it had.
    """
    run(engine.store.renew(engine.namespace))
    engine.catalogue.forget()


def check_exists(settings: Config, what: str) -> None:
    """Raise StoreMissing where the file of a URL is not there: opening it would make it.

    ``what`` ends the message: "nothing to copy". Asks nobody; other stores never make themselves.
    """
    if settings.scheme != "sqlite" or "LPCM_SCRATCH" in os.environ:
        return  # while tests run, another file stands for this one
    if not os.path.exists(settings.path):  # noqa: PTH110  # a str, as os.path made it
        raise StoreMissing(f"{settings.location} is not there: {what}")

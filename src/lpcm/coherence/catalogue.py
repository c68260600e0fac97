"""What an engine knows of its maps' rows in the catalogue, and the cache prefixes made of it.

A map's format and its namespace's identity are asked for in one request, before the map's first
operation, and again when that was more than ``LOOK_AGAIN`` seconds ago: by whoever reads past
the cache, writes, or looks at a whole map. A hit asks for neither.

Knows the store's port; never what is cached or why. Invariants:

1. Whoever got past ``look`` works on a map whose format, as of ``LOOK_AGAIN`` seconds ago at
   most, this version of lpcm can read and write.
2. A prefix is a function of the namespace's identity and the cache's servers. So two stores
   share no item, and a store that was made anew has none of the old one's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from lpcm.errors import StoreDenied, StoreTooNew
from lpcm.ports import MapInfo, MapState
from lpcm.system.process import follow

if TYPE_CHECKING:
    from lpcm.ports import Store

__all__ = ["FORMAT", "LOOK_AGAIN", "NEVER", "Catalogue", "Fixed", "Identified", "Prefixes"]

FORMAT: Final = 1
LOOK_AGAIN: Final = 60.0
"""Seconds for which what the catalogue said is taken for granted."""
DENIED: Final = MapState(None, None)
"""What a client that may not read the catalogue knows."""
_ASKING: Final = 1.0
NEVER: Final = (math.inf, -math.inf)
ALWAYS: Final = (-math.inf, math.inf)
"""What ``Prefixes.looked`` has of a map."""


class _Seen(NamedTuple):
    state: MapState
    since: float


class Catalogue:
    """What all stacks of one engine have seen of the catalogue."""

    def __init__(self) -> None:
        self.registered: set[str] = set()
        """The maps that are known to stand in the catalogue."""
        self._seen: dict[str, _Seen] = {}
        self._prefixes: Identified | None = None
        follow(self, Catalogue.forget)  # the memory of a child is another store

    def prefixes(self, servers: str) -> Identified:
        """Return the prefixes of items on these servers, the engine's only ones."""
        if self._prefixes is None:
            self._prefixes = Identified(self, servers)
        return self._prefixes

    def forget(self) -> None:
        """Ask anew before the next operation of each map."""
        self._seen = {}
        if self._prefixes is not None:
            self._prefixes.clear()
            self._prefixes.looked.clear()

    def known(self, map: str, now: float) -> MapState | None:
        """Return what was seen lately, without asking."""
        seen = self._seen.get(map)
        if seen is None or not seen.since <= now < seen.since + LOOK_AGAIN:
            return None
        return seen.state

    async def look(self, store: Store, map: str, now: float) -> MapState:
        """Return what the catalogue says, or said lately. Cost: none, or one request.

        **Raises** StoreTooNew.
        """
        return self.known(map, now) or await self.ask(store, map, now)

    async def ask(self, store: Store, map: str, now: float) -> MapState:
        """Return what the catalogue says now."""
        if map in self._seen:
            # One asks for all: the others go on with what was seen before, for a second.
            seen = self._seen[map] = _Seen(self._seen[map].state, now - LOOK_AGAIN + _ASKING)
            if self._prefixes is not None:
                self._prefixes.keep(map, *seen)
        try:
            namespace, name = names(map)  # not *: see Coherent
            state = await store.describe(namespace, name)
        except StoreDenied:  # who may read the map alone can do without
            state = DENIED
        if state.info is None and state is not DENIED:
            self.registered.discard(map)
        return self._remember(map, state, now)

    async def register(self, store: Store, map: str, now: float) -> MapState:
        """Enter the map into the catalogue unless it is there; return what stands there."""
        state = self.known(map, now)
        if state is None or state.identity is None or state.info is None:
            namespace, name = names(map)
            state = self._remember(map, await store.register(namespace, MapInfo(name)), now)
        self.registered.add(map)
        return state

    def _remember(self, map: str, state: MapState, now: float) -> MapState:
        info = state.info
        if info is not None and (info.format > FORMAT or info.shards != 1):
            self._seen.pop(map, None)
            if self._prefixes is not None:
                self._prefixes.keep(map, DENIED, now)
            raise StoreTooNew(
                f"map {info.name!r} has format {info.format} with {info.shards} shards, this "
                f"version of lpcm reads and writes format {FORMAT}: upgrade lpcm"
            )
        self._seen[map] = _Seen(state, now)
        if self._prefixes is not None:
            self._prefixes.keep(map, state, now)
        return state


class Prefixes(dict[str, str]):
    """The prefix of each map's items in a cache: a dict, so that a hit calls no function.

    A map that is missing here, or was looked at too long ago, is asked for with ``current``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looked: dict[str, tuple[float, float]] = {}
        """From when until when, by the clock, the prefix of a map is taken for granted."""

    async def current(
        self, store: Store, map: str, now: float, *, anew: bool = False
    ) -> str | None:
        """Return the map's prefix; None: nothing of the map may be cached.

        ``anew``: as of an instant within the call.
        """
        raise NotImplementedError

    async def for_writing(self, store: Store, map: str, now: float) -> str:
        """Return the map's prefix, made if there is none."""
        raise NotImplementedError


class Fixed(Prefixes):
    """One prefix for all maps: for who has one store and one cache, and nobody else's."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, map: str) -> str:
        self.looked[map] = ALWAYS
        self[map] = self._prefix
        return self._prefix

    async def current(
        self,
        store: Store,  # noqa: ARG002  # as in Prefixes
        map: str,
        now: float,  # noqa: ARG002  # as in Prefixes
        *,
        anew: bool = False,  # noqa: ARG002  # as in Prefixes
    ) -> str | None:
        """Return it."""
        return self[map]

    async def for_writing(self, store: Store, map: str, now: float) -> str:  # noqa: ARG002  # as in Prefixes
        """Return it."""
        return self[map]


class Identified(Prefixes):
    """Prefixes made of what the store's catalogue says."""

    def __init__(self, catalogue: Catalogue, servers: str) -> None:
        super().__init__()
        self._servers = servers
        self._catalogue = catalogue

    async def current(
        self, store: Store, map: str, now: float, *, anew: bool = False
    ) -> str | None:
        """Return the map's prefix; None: there is no identity, or this client may not see it.

        What nobody has written yet is asked for every time: it may be written any moment.
        """
        state = self._catalogue.known(map, now)
        if state is None or (state is not DENIED and (anew or state.identity is None)):
            await self._catalogue.ask(store, map, now)
        return self.get(map)

    async def for_writing(self, store: Store, map: str, now: float) -> str:
        """Return the map's prefix; enter the map into the catalogue if need be.

        **Raises** StoreDenied where this client may not read the identity, or there is none
        and it may not make one: others might be served what its write replaces.
        """
        state = await self._catalogue.look(store, map, now)
        if state.identity is None or state.info is None:
            await self._catalogue.register(store, map, now)
        prefix = self.get(map)
        if prefix is None:
            raise StoreDenied(
                f"{store!r}: nothing was written: behind a cache a writer must be allowed to "
                "read the namespace's identity in the catalogue, and to enter it where there is "
                "none: see `lpcm iam`, or run `lpcm identity renew` once"
            )
        return prefix

    def keep(self, map: str, state: MapState, since: float) -> None:
        """Take note of what the catalogue says."""
        if state.identity is None:
            self.pop(map, None)
            self.looked.pop(map, None)
            return
        from base64 import urlsafe_b64encode
        from hashlib import sha256  # 3 ms to import, for those who have a cache

        place = f"{state.identity}\0{self._servers}".encode()
        self[map] = urlsafe_b64encode(sha256(place).digest()).decode()[:12] + ":"
        self.looked[map] = since, since + LOOK_AGAIN


def names(map: str) -> tuple[str, str]:
    """Return the names of a map's namespace and of the map.

    >>> names("eu%2F1/50%25/")
    ('eu/1', '50%')
    """
    from urllib.parse import unquote  # 5 ms to import, and not needed before a map is used

    namespace, name, _ = map.split("/")
    return unquote(namespace), unquote(name)

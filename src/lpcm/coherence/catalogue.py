"""What an engine knows of its maps' rows in the catalogue, and the cache prefixes made of them.

A map's format and its namespace's identity are asked for in one request, before the map's first
operation. Operations that read past the cache, write, or look at a whole map ask again where the
last answer is more than ``LOOK_AGAIN`` seconds old. A hit never asks.

Knows the store's port; never what is cached or why. Invariants:

1. An operation that got past ``look`` works on a map whose format this version of lpcm can read
   and write, as of at most ``LOOK_AGAIN`` seconds ago.
2. A prefix is a function of the namespace's identity and the cache's servers. So two stores
   share no item, and a store that was made anew shares none with the old store.
3. ``shards`` has the number of shards of a map only while the map is known to be in the catalogue,
   or this client may not read it. So a store never takes an old "it is not there" for a number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lpcm.errors import StoreDenied, StoreTooNew
from lpcm.ports import MapInfo, MapState
from lpcm.system.process import follow
from lpcm.system.records import NamedTuple
from lpcm.values.partitions import MOST_SHARDS

if TYPE_CHECKING:
    from collections.abc import Collection

    from lpcm.ports import Clock, Store

__all__ = [
    "DENIED",
    "FORMAT",
    "LOOK_AGAIN",
    "NEVER",
    "Catalogue",
    "Fixed",
    "Identified",
    "Prefixes",
    "ShardsOf",
    "new_row",
]

FORMAT: Final = 1
SHARDED: Final = 2
"""The format of a map of several shards: an earlier version would see one of them."""
LARGE: Final = 3
"""The format of a map that may have heads (``ports.heads``): an earlier version knows no parts."""
LOOK_AGAIN: Final = 60.0
"""Seconds for which an answer of the catalogue is used."""
DENIED: Final = MapState(None, None)
"""The state that a client sees that may not read the catalogue."""
_ASKING: Final = 1.0
NEVER: Final = (math.inf, -math.inf)
ALWAYS: Final = (-math.inf, math.inf)
"""Values of ``Prefixes.looked``: the prefix is used at no time, or at any time."""


class _Seen(NamedTuple):
    state: MapState
    since: float


class Catalogue:
    """What all stacks of one engine know of the catalogue."""

    def __init__(self) -> None:
        self.registered: set[str] = set()
        """The maps that are known to be in the catalogue."""
        self.declared: dict[str, int] = {}
        """The number of shards that a map of this process is to have, where it said so."""
        self.shards: dict[str, int] = {}
        """The number of shards that a map has, where the store spreads maps at all."""
        self.spreads = False
        """Whether it does."""
        self._seen: dict[str, _Seen] = {}
        self._prefixes: Identified | None = None
        follow(self, Catalogue._forget)  # in a forked child the memory store is another store

    def declare(self, map: str, shards: int | None) -> Collection[str]:
        """Note how many shards a map is to have; return the maps that need no look before a write.

        None of them where there is a number, for it must be compared first.
        """
        if shards is None:
            return self.registered
        self.declared[map] = shards
        return ()

    def prefixes(self, servers: str) -> Identified:
        """Return the prefixes of items on these servers, the engine's only ones."""
        if self._prefixes is None:
            self._prefixes = Identified(self, servers)
        return self._prefixes

    def forget(self) -> None:
        """Ask anew before the next operation of each map."""
        self._forget()
        self.shards.clear()

    def _forget(self) -> None:
        self._seen = {}
        if self._prefixes is not None:
            self._prefixes.clear()
            self._prefixes.looked.clear()

    def known(self, map: str, now: float) -> MapState | None:
        """Return the last answer if it is recent, without asking."""
        seen = self._seen.get(map)
        if seen is None or not seen.since <= now < seen.since + LOOK_AGAIN:
            return None
        return seen.state

    async def look(self, store: Store, map: str, now: float) -> MapState:
        """Return a map's state in the catalogue, now or recently. Cost: none, or one request.

        **Raises** StoreTooNew.
        """
        return self.known(map, now) or await self.ask(store, map, now)

    async def ask(self, store: Store, map: str, now: float) -> MapState:
        """Return a map's state in the catalogue now."""
        if map in self._seen:
            # One operation asks for all: the others use the last answer for another second.
            seen = self._seen[map] = _Seen(self._seen[map].state, now - LOOK_AGAIN + _ASKING)
            if self._prefixes is not None:
                self._prefixes.keep(map, *seen)
        try:
            namespace, name = names(map)  # not *: see Coherent
            state = await store.describe(namespace, name)
        except StoreDenied:  # a client that may only read the map can do without
            state = DENIED
        if state.info is None and state is not DENIED:
            self.registered.discard(map)
        return self._remember(map, state, now)

    async def register(self, store: Store, map: str, now: float) -> MapState:
        """Enter the map into the catalogue unless it is there; return its state there."""
        state = self.known(map, now)
        if state is None or state.identity is None or state.info is None:
            namespace, name = names(map)
            row = new_row(name, self.declared.get(map, 1) if self.spreads else 1)
            state = self._remember(map, await store.register(namespace, row), now)
        self.registered.add(map)
        return state

    async def raise_format(self, store: Store, map: str, least: int, now: float) -> None:
        """See to it that a map's format is at least that. Cost: none where it is known to be."""
        state = self.known(map, now)
        if state is None or state.info is None or state.info.format < least:
            namespace, name = names(map)
            raised = getattr(store, "raise_format")  # noqa: B009  # no part of the port
            self._remember(map, await raised(namespace, name, least), now)

    def _remember(self, map: str, state: MapState, now: float) -> MapState:
        info = state.info
        if info is not None and not self._knows(info):
            self._seen.pop(map, None)
            self.shards.pop(map, None)
            if self._prefixes is not None:
                self._prefixes.keep(map, DENIED, now)
            raise StoreTooNew(
                f"map {info.name!r} has format {info.format} with {info.shards} shards, this "
                f"version of lpcm reads and writes format {self._format}: upgrade lpcm"
            )
        # A signal handler's exception, or another thread, may come between any two steps, and must
        # not find a map about which nothing need be asked, but without its prefix or its number
        # of shards: they come before the state, and go after it.
        gone = state.info is None and state is not DENIED
        if self.spreads and not gone:
            self.shards[map] = self.declared.get(map, 1) if info is None else info.shards
        if self._prefixes is not None and state.identity is not None:
            self._prefixes.keep(map, state, now)
        self._seen[map] = _Seen(state, now)
        if gone:
            self.shards.pop(map, None)
        if self._prefixes is not None and state.identity is None:
            self._prefixes.keep(map, state, now)
        return state

    @property
    def _format(self) -> int:
        return LARGE if self.spreads else FORMAT

    def _knows(self, info: MapInfo) -> bool:
        """Tell whether this version, on this store, can read and write a map."""
        _, format_, _, shards = info
        several = self.spreads and format_ >= SHARDED and 1 < shards <= MOST_SHARDS
        return format_ <= self._format and (shards == 1 or several)


class ShardsOf:
    """The ``ports.shards.Shards`` of an engine: what its catalogue knows, and a store to ask."""

    def __init__(self, catalogue: Catalogue, store: Store, clock: Clock) -> None:
        catalogue.spreads = True
        self.known = catalogue.shards
        self._catalogue = catalogue
        self._store = store
        self._clock = clock

    async def ask(self, map: str) -> int:
        """Return a map's number of shards as the catalogue has it now; 1 where it has none."""
        await self._catalogue.ask(self._store, map, self._clock.now())
        return self.known.get(map, 1)

    async def enter(self, map: str) -> int:
        """Return a map's number of shards; enter the map if it is not there: it was dropped."""
        await self._catalogue.register(self._store, map, self._clock.now())
        return self.known[map]


def new_row(name: str, shards: int = 1) -> MapInfo:
    """Return the row to enter for a map.

    >>> new_row("users"), new_row("events", 16)
    (MapInfo(name='users', format=1, ...), MapInfo(name='events', format=2, ..., shards=16))
    """
    return MapInfo(name, FORMAT if shards == 1 else SHARDED, shards=shards)


class Prefixes(dict[str, str]):
    """The prefix of each map's items in a cache: a dict, so that a hit calls no function.

    The prefix of a map that is missing here, or whose ``looked`` is over, comes from ``current``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looked: dict[str, tuple[float, float]] = {}
        """From when until when, by the clock, the prefix of a map is used without asking."""

    async def current(
        self, store: Store, map: str, now: float, *, anew: bool = False
    ) -> str | None:
        """Return the map's prefix; None: no entry of the map may be cached.

        ``anew``: the prefix is that of an instant within the call.
        """
        raise NotImplementedError

    async def for_writing(self, store: Store, map: str, now: float) -> str:
        """Return the map's prefix; make one where there is none."""
        raise NotImplementedError


class Fixed(Prefixes):
    """One prefix for all maps: for a store and a cache that no other client uses."""

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
    """Prefixes made of the identities in the store's catalogue."""

    def __init__(self, catalogue: Catalogue, servers: str) -> None:
        super().__init__()
        self._servers = servers
        self._catalogue = catalogue

    async def current(
        self, store: Store, map: str, now: float, *, anew: bool = False
    ) -> str | None:
        """Return the map's prefix; None: there is no identity, or this client may not read it.

        Where there is no identity yet, the catalogue is asked every time: another client may
        write the first entry at any moment.
        """
        state = self._catalogue.known(map, now)
        if state is None or (state is not DENIED and (anew or state.identity is None)):
            await self._catalogue.ask(store, map, now)
        return self.get(map)

    async def for_writing(self, store: Store, map: str, now: float) -> str:
        """Return the map's prefix; enter the map into the catalogue if it is not there.

        **Raises** StoreDenied where this client may not read the identity, or there is none
        and the client may not make one: the cache might go on serving the value that its write
        replaces.
        """
        state = await self._catalogue.look(store, map, now)
        if state.identity is None or state.info is None:
            state = await self._catalogue.register(store, map, now)
        if state.identity is None:
            raise StoreDenied(
                f"{store!r}: nothing was written: behind a cache a writer must be allowed to "
                "read the namespace's identity in the catalogue, and to enter it where there is "
                "none: see `lpcm iam`, or run `lpcm identity renew` once"
            )
        return self.get(map) or self._made(state.identity)  # another thread may just change it

    def keep(self, map: str, state: MapState, since: float) -> None:
        """Take note of a map's state in the catalogue."""
        if state.identity is None:
            self.pop(map, None)
            self.looked.pop(map, None)
            return
        self[map] = self._made(state.identity)
        self.looked[map] = since, since + LOOK_AGAIN

    def _made(self, identity: str) -> str:
        from base64 import urlsafe_b64encode
        from hashlib import sha256  # 3 ms to import, for engines with a cache

        place = f"{identity}\0{self._servers}".encode()
        return urlsafe_b64encode(sha256(place).digest()).decode()[:12] + ":"


def names(map: str) -> tuple[str, str]:
    """Return the names of a map's namespace and of the map.

    >>> names("eu%2F1/50%25/")
    ('eu/1', '50%')
    """
    from urllib.parse import unquote  # 5 ms to import, and not needed before a map is used

    namespace, name, _ = map.split("/")
    return unquote(namespace), unquote(name)

"""Items: how the cache holds an entry, as commands and replies of the cache port.

An item is ``base + b"+" * n``, with the base's length in the client flags; ``coherence.protocol``
says what that means. This module makes the commands about one item, and reads the replies to
them. It never decides what may be returned or acknowledged, and knows no store or event loop.

Invariant: the key of an item is a function of the prefix, the map and the entry's key. An item
under a digest is used only if the item carries the whole name itself.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64encode
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from lpcm.coherence.payload import Unreadable, pack
from lpcm.ports import CacheLost, Get, Invalidate, Packet, Replies, Set

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lpcm.ports import Clock, Command, Result, Stored

__all__ = [
    "MARK",
    "PLAIN",
    "Item",
    "Policy",
    "Token",
    "invalidation",
    "invalidation_failure",
    "item",
    "keys_and_names",
    "lookup",
    "marked",
    "marking",
    "publication",
    "token_of",
]

MARK: Final = b"+"
PLAIN: Final = 200
"""Characters of the longest cache key that is a plain name; a longer name becomes a digest."""
_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long
_LONGEST: Final = 30 * 24 * 3600
"""Seconds; memcached reads a longer time to live as a date."""


class Policy(NamedTuple):
    """The times of the protocol, in seconds, and what to do without the cache."""

    strict: bool = False
    """True: without the cache, raise. False: without the cache, work on the store directly."""
    ttl: int = 3600
    """How long an item without marks lives: the bound on everything outside the promise."""
    mark: int = 10
    """How long a marked item lives. A write's whole time on the store must be a second less."""
    lease: int = 5
    """How long the right to fill a cold key lasts."""
    patience: float = 0.1
    """How long a reader waits for another reader's fill; doubles with each steal."""
    deadline: float = 2.0
    """How long a reader tries to publish its entry; after that it only invalidates."""
    tries: int = 3
    """How often a writer tries to set its mark, before it goes on as without the cache."""


class Item(NamedTuple):
    """The item of an entry: its key in the cache, and its name."""

    sk: str
    """The entry's key in its map."""
    key: str
    """The cache's key."""
    name: bytes
    """The name that the base must carry: the whole name where the key is a digest, else empty."""


class Token(NamedTuple):
    """An item at one instant: the right to publish as long as the item has not changed."""

    cas: int
    connection: int
    marks: int
    ttl: int
    """Seconds that the item had left; -1: for ever."""


def item(prefix: str, map: str, sk: str) -> Item:
    """Return the item of an entry.

    >>> item("v1/", "default/pets/", "rex")
    Item(sk='rex', key='v1/default/pets/rex', name=b'')
    >>> item("v1/", "default/pets/", "rex the dog").key
    'v1/gp2NOaejowU2Um4G_B6Ul9IDeAHeXCTKNqAlQvW_NrE='
    """
    key = f"{prefix}{map}{sk}"
    if len(key) <= PLAIN and key.isascii() and key.isprintable() and " " not in key:
        return _new(Item, (sk, key, b""))
    from hashlib import sha256  # 3 ms to import, for keys that the cache does not take

    # A plain key has slashes from its partition; the digest's alphabet has none.
    name = f"{map}{sk}".encode()
    return Item(sk, prefix + urlsafe_b64encode(sha256(name).digest()).decode(), name)


def keys_and_names(prefix: str, map: str, sks: Sequence[str]) -> tuple[list[str], Iterable[bytes]]:
    """Return the keys and the names of many items."""
    start = prefix + map
    keys = [start + sk for sk in sks]
    text = "".join(keys)  # checked at once: key by key takes as long as all the rest
    if text.isascii() and text.isprintable() and " " not in text:
        longest = max(keys, key=len, default="")
        if len(longest) <= PLAIN:
            return keys, repeat(b"")
    items = [item(prefix, map, sk) for sk in sks]
    return [each.key for each in items], [each.name for each in items]


def lookup(key: str, lease: int) -> Packet:
    """Look an item up; where it is missing or stale, take the lease on it."""
    return Packet(key, (Get(lease),))


def marking(ttl: int) -> tuple[Command, ...]:
    """Add one mark to the item, whatever it is, and look at the result (R3)."""
    return (Set(MARK, 0, ttl, "A"), Set(MARK, 0, ttl, "E"), Get(None, ttl, value=False))


def marked(reply: Replies) -> Token | None:
    """Return the token if the item is still as this packet's mark left it."""
    appended, added, seen = reply.results
    own = appended if appended.status == "HD" else added
    if own.status != "HD" or seen.status != "HD" or seen.cas != own.cas:
        return None
    return _new(
        Token, (seen.cas, reply.connection, seen.size - seen.base, seen.ttl)
    )  # token_of, without its call


def invalidation(ttl: int) -> tuple[Command, ...]:
    """Empty an item, so that every token on it is void, and let the next reader fill the item."""
    return (Set(MARK, 0, ttl), Invalidate())


def publication(  # noqa: PLR0917  # by keyword it costs a tenth of a bulk write more
    item: Item, entry: Stored | None, token: Token, ttl: int, mark: bytes, clock: Clock
) -> Packet | None:
    """Store an entry if the token is still valid, for no longer than the entry lives itself.

    None: no cache can hold the entry.
    """
    if entry is not None and (expires := entry[3]) is not None:
        ttl = max(1, min(ttl, math.ceil(expires - clock.now())))
    try:
        base = pack(entry, item[2])
    except Unreadable:
        return None
    put = _new(Set, (base + mark, len(base), min(ttl, _LONGEST), "S", token[0]))
    return _new(Packet, (item[1], (put,), token[1]))


def token_of(reply: Replies, seen: Result) -> Token:
    """Return the token that the reply to a look at an item gives."""
    return _new(Token, (seen.cas, reply.connection, seen.size - seen.base, seen.ttl))


def invalidation_failure(key: str, reply: Replies | CacheLost) -> CacheLost | None:
    """Return None if the packet of ``invalidation`` emptied the item, else why it may not have."""
    if isinstance(reply, CacheLost):
        return reply
    if reply.results[0].status != "HD":
        return CacheLost(f"the cache refuses to invalidate {key}")
    return None

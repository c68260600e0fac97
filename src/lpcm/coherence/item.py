"""Items: how an entry stands in the cache, as commands and replies of the cache port.

An item is ``base + b"+" * n``, with the base's length in the client flags; see
``coherence.tier`` for what that means. This module knows what to say to a cache about one item
and what its replies tell; it never decides what may be returned or acknowledged, and knows
no store, clock or event loop.

Invariant: the key of an item is a function of the prefix, the map and the entry's key, and
an item found under a digest is believed only if it carries the whole name itself.
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
    "emptied",
    "emptying",
    "item",
    "lookup",
    "marked",
    "marking",
    "places",
    "publication",
    "token",
]

MARK: Final = b"+"
PLAIN: Final = 200
"""Characters of a cache key that is the entry's own name; longer ones become a digest."""
_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long
_LONGEST: Final = 30 * 24 * 3600
"""Seconds; memcached takes a longer time to live for a date."""


class Policy(NamedTuple):
    """How long things live, in seconds, and what to do without the cache."""

    strict: bool = False
    """True: no cache, no operation. False: work on the store directly meanwhile."""
    ttl: int = 3600
    """An item without marks: the bound on everything outside the promise."""
    mark: int = 10
    """An item with marks; a write's whole time on the store must stay a second below."""
    lease: int = 5
    """The right to fill a cold key."""
    patience: float = 0.1
    """How long a reader waits for another one's fill, doubling with each steal."""
    deadline: float = 2.0
    """How long a reader tries to publish what it reads, before it only invalidates."""
    tries: int = 3
    """How often a writer tries to set its mark, before it does as without the cache."""


class Item(NamedTuple):
    """Where an entry stands in the cache."""

    sk: str
    """The entry's key in its map."""
    key: str
    """The cache's key."""
    name: bytes
    """What its base must carry: empty, or the whole name where the key is a digest."""


class Token(NamedTuple):
    """An item as it was at one moment: the right to publish if it still is."""

    cas: int
    connection: int
    marks: int
    ttl: int
    """Seconds the item had left, -1: for ever."""


def item(prefix: str, map: str, sk: str) -> Item:
    """Return where an entry stands.

    >>> item("v1/", "default/pets/", "rex")
    Item(sk='rex', key='v1/default/pets/rex', name=b'')
    >>> item("v1/", "default/pets/", "rex the dog").key
    'v1/gp2NOaejowU2Um4G_B6Ul9IDeAHeXCTKNqAlQvW_NrE='
    """
    key = f"{prefix}{map}{sk}"
    if len(key) <= PLAIN and key.isascii() and key.isprintable() and " " not in key:
        return _new(Item, (sk, key, b""))
    from hashlib import sha256  # 3 ms to import, for keys too long or odd to stand as they are

    # A plain key has slashes from its partition; the digest's alphabet has none.
    name = f"{map}{sk}".encode()
    return Item(sk, prefix + urlsafe_b64encode(sha256(name).digest()).decode(), name)


def places(prefix: str, map: str, sks: Sequence[str]) -> tuple[list[str], Iterable[bytes]]:
    """Return the keys and the names of many items."""
    start = prefix + map
    keys = [start + sk for sk in sks]
    text = "".join(keys)  # looked at once: each by itself takes as long as all the rest
    if text.isascii() and text.isprintable() and " " not in text:
        longest = max(keys, key=len, default="")
        if len(longest) <= PLAIN:
            return keys, repeat(b"")
    items = [item(prefix, map, sk) for sk in sks]
    return [each.key for each in items], [each.name for each in items]


def lookup(key: str, lease: int) -> Packet:
    """Look an item up, and have a lease on it where it is missing or stale."""
    return Packet(key, (Get(lease),))


def marking(ttl: int) -> tuple[Command, ...]:
    """Add one mark to whatever is there, and see what that made of it (R3)."""
    return (Set(MARK, 0, ttl, "A"), Set(MARK, 0, ttl, "E"), Get(None, ttl, value=False))


def marked(reply: Replies) -> Token | None:
    """Return the token if the item still is what this packet's mark made it."""
    appended, added, seen = reply.results
    own = appended if appended.status == "HD" else added
    if own.status != "HD" or seen.status != "HD" or seen.cas != own.cas:
        return None
    return _new(Token, (seen.cas, reply.connection, seen.size - seen.base, seen.ttl))  # token


def emptying(ttl: int) -> tuple[Command, ...]:
    """Empty an item, so that every token on it is void, and let the next reader fill it."""
    return (Set(MARK, 0, ttl), Invalidate())


def publication(  # noqa: PLR0917  # by keyword it costs a tenth of a bulk write more
    item: Item, entry: Stored | None, right: Token, ttl: int, mark: bytes, clock: Clock
) -> Packet | None:
    """Put an entry where the token stands, for no longer than it lives itself.

    None: it cannot stand in a cache.
    """
    if entry is not None and (expires := entry[3]) is not None:
        ttl = max(1, min(ttl, math.ceil(expires - clock.now())))
    try:
        base = pack(entry, item[2])
    except Unreadable:
        return None
    put = _new(Set, (base + mark, len(base), min(ttl, _LONGEST), "S", right[0]))
    return _new(Packet, (item[1], (put,), right[1]))


def token(reply: Replies, seen: Result) -> Token:
    """Return the token that a look at an item gives."""
    return _new(Token, (seen.cas, reply.connection, seen.size - seen.base, seen.ttl))


def emptied(key: str, reply: Replies | CacheLost) -> CacheLost | None:
    """Return None if the packet of ``emptying`` emptied the item, else why it may not be empty."""
    if isinstance(reply, CacheLost):
        return reply
    if reply.results[0].status != "HD":
        return CacheLost(f"the cache refuses to invalidate {key}")
    return None

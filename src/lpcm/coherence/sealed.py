"""Sealed items: for a cache that other programs can write to as well.

With a ``cache_key`` each item's base is sealed: one type byte, a MAC of 16 bytes (keyed BLAKE2b)
over the cache's key and the base, then the base. So a program without the key can neither plant a
value nor move one from another key. An item without a right seal is unreadable to the protocol,
which then reads the store and invalidates the item (R1, second form); each is an ``Unsealed``
event.

A program that can write to the cache can still delete items, or put an older item of the same key
back. A compare-and-set with the older item's etag is refused by the store.

Wraps a cache, and is a cache; without a key there is no wrapper, and so no cost. Knows bytes.
Invariant: only bases that are sealed with the key are returned, and only sealed bases are sent.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from lpcm import events
from lpcm.ports import CacheLost, Get, Packet, Replies, Result, Set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Cache, Command

__all__ = ["Sealed"]

_MARK: Final = b"K"
"""The type byte: that of no entry, so that a sealed base is unreadable to clients without a key."""
_SIZE: Final = 16
_HEAD: Final = len(_MARK) + _SIZE
_UNREADABLE: Final = b"?"
"""A base that the protocol finds unreadable."""


class Sealed:
    """A ``ports.Cache`` whose items carry a seal."""

    def __init__(self, cache: Cache, secret: bytes) -> None:
        self.identity = cache.identity
        self.blocking = cache.blocking
        self.retry = cache.retry
        self.close = cache.close
        self._cache = cache
        self._look = cache.look
        # Copied for each item: to set up the key costs as much as the rest of a MAC.
        key = blake2b(secret, digest_size=32, person=b"lpcm cache_key").digest()
        self._keyed = blake2b(key=key, digest_size=_SIZE)

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Look an item up."""
        found = await self._look(key, lease)
        return self._opened(key, found) if type(found) is bytes else found

    async def look_many(
        self, keys: Sequence[str], lease: int
    ) -> Sequence[bytes | Replies | CacheLost]:
        """Look many items up."""
        found = await self._cache.look_many(keys, lease)
        return [
            self._opened(key, one) if type(one) is bytes else one
            for key, one in zip(keys, found, strict=False)
        ]

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do the commands."""
        return self._read(packet, await self._cache.send(self._sealed(packet), fresh=fresh))

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets."""
        replies = await self._cache.send_many([self._sealed(packet) for packet in packets])
        return [
            reply if isinstance(reply, CacheLost) else self._read(packet, reply)
            for packet, reply in zip(packets, replies, strict=True)
        ]

    def _mac(self, key: str, base: bytes) -> bytes:
        made = self._keyed.copy()
        made.update(b"%b\0%b" % (key.encode(), base))  # a cache's key has no zero byte
        return made.digest()

    def _opened(self, key: str, base: bytes) -> bytes:
        """Return the base without its seal, or an unreadable base."""
        if base[:1] != _MARK:
            events.emit(events.Unsealed(key, "missing"))
            return _UNREADABLE
        inner = base[_HEAD:]
        if not compare_digest(base[1:_HEAD], self._mac(key, inner)):
            events.emit(events.Unsealed(key, "wrong"))
            return _UNREADABLE
        return inner

    def _sealed(self, packet: Packet) -> Packet:
        return packet._replace(commands=[self._command(packet.key, c) for c in packet.commands])

    def _command(self, key: str, command: Command) -> Command:
        if not isinstance(command, Set) or not 0 < command.base <= len(command.data):
            return command  # a mark alone; or a command that the cache itself refuses
        base, marks = command.data[: command.base], command.data[command.base :]
        data = b"".join((_MARK, self._mac(key, base), base, marks))
        return command._replace(data=data, base=command.base + _HEAD)

    def _read(self, packet: Packet, replies: Replies) -> Replies:
        """Return the replies with the seals removed; the number of marks stays."""
        pairs = zip(packet.commands, replies.results, strict=False)
        results = [
            self._result(packet.key, command, seen)
            if isinstance(command, Get) and seen.base
            else seen
            for command, seen in pairs
        ]
        return replies._replace(results=results)

    def _result(self, key: str, command: Get, seen: Result) -> Result:
        if not command.value:
            seal = min(_HEAD, seen.base - 1)  # a base without a seal keeps at least one byte
            return seen._replace(base=seen.base - seal, size=seen.size - seal)
        inner = self._opened(key, seen.data[: seen.base])
        return seen._replace(
            data=inner + seen.data[seen.base :],
            base=len(inner),
            size=seen.size - seen.base + len(inner),
        )

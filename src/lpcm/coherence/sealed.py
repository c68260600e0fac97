"""Sealed items: what stands in a cache that others can write to as well.

With a ``cache_key`` each item's base is sealed: one type byte, a MAC of 16 bytes (keyed BLAKE2b)
over the cache's key and the base, then the base. So nobody without the key can plant a value,
nor move one from another place. What has no right seal is unreadable to the protocol, which
then reads the store and empties the item (R1, second form); and each is an ``Unsealed`` event.

Whoever can write the cache can still delete items, or put back what once stood in the same
place: older, never other, and a compare-and-set with its etag is refused by the store.

Wraps a cache, and is one; without a key there is no wrapper, and so no cost. Knows bytes.
Invariant: no base that is not sealed with the key goes up from here, none unsealed goes down.
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
"""The type byte: no entry's, so that clients without a key take the base for unreadable."""
_SIZE: Final = 16
_HEAD: Final = len(_MARK) + _SIZE
_UNREADABLE: Final = b"?"
"""A base that the protocol takes for nobody's."""


class Sealed:
    """A ``ports.Cache`` whose items carry a seal."""

    def __init__(self, cache: Cache, secret: bytes) -> None:
        self.identity = cache.identity
        self.blocking = cache.blocking
        self.retry = cache.retry
        self.close = cache.close
        self._cache = cache
        self._look = cache.look
        # Copied for each item: to begin with a key costs as much as an item does.
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
        """Return the base without its seal, or one that is unreadable."""
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
            return command  # a mark alone; or what the cache itself refuses
        base, marks = command.data[: command.base], command.data[command.base :]
        data = b"".join((_MARK, self._mac(key, base), base, marks))
        return command._replace(data=data, base=command.base + _HEAD)

    def _read(self, packet: Packet, replies: Replies) -> Replies:
        """Return the replies with each base that was read opened; the marks' number stays."""
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
            seal = min(_HEAD, seen.base - 1)  # of a base that nobody sealed as good as nothing
            return seen._replace(base=seen.base - seal, size=seen.size - seal)
        inner = self._opened(key, seen.data[: seen.base])
        return seen._replace(
            data=inner + seen.data[seen.base :],
            base=len(inner),
            size=seen.size - seen.base + len(inner),
        )

"""A model of memcached: what its meta commands do to one item, as plain tuples.

For the protocol explorer, which keeps millions of these tuples. The tests compare the model with
the real server on random command sequences. It knows the subset that ``ports.Command`` can say:
``mg`` with leases and touch, ``ms`` set, add and append with CAS, ``md I``. ``ModelCache``
is a ``ports.Cache`` made of the model, for tests that decide exactly when the cache fails.

Time is not modelled: an item that expires is an item that vanishes (``item=None``), at any
moment the explorer chooses. The item's last TTL is kept: ``mg t`` returns it, and tests judge it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from lpcm.ports import CacheLost, Get, Invalidate, Packet, Replies, Result, Set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.ports import Command

__all__ = ["EMPTY", "Item", "ModelCache", "Server", "execute"]


class Item(NamedTuple):
    """What memcached holds under a key."""

    data: bytes
    flags: int
    """The client flags: the length of the base."""
    cas: int
    ttl: int
    """Seconds, as last set."""
    stale: bool = False
    """Invalidated (X)."""
    leased: bool = False
    """A client has won the refill (others get Z)."""

    @property
    def base(self) -> bytes:
        """The servable bytes of the item."""
        return self.data[: self.flags]


class Server(NamedTuple):
    """One item of a process that counts its changes."""

    item: Item | None = None
    cas: int = 0


EMPTY = Server()

_MISS = Result("EN")
_NOT_STORED = Result("NS")
_EXISTS = Result("EX")
_GONE = Result("NF")


def execute(server: Server, command: Command) -> tuple[Server, Result]:
    """Return the server after a command, and its reply."""
    match command:
        case Get():
            return _get(server, command)
        case Set():
            return _set(server, command)
        case Invalidate():
            return _invalidate(server, command)


def _get(server: Server, command: Get) -> tuple[Server, Result]:
    item = server.item
    won = False
    if item is None:
        if command.lease is None:
            return server, _MISS
        item = Item(b"", 0, server.cas + 1, command.lease, leased=True)
        server, won = Server(item, item.cas), True
    else:
        if command.touch is not None:
            item = item._replace(ttl=command.touch)
        if item.stale and not item.leased:
            item, won = item._replace(leased=True), True
        server = server._replace(item=item)
    taken = item.leased and not won
    result = Result(
        "VA" if command.value else "HD",
        item.data if command.value else b"",
        item.cas,
        len(item.data),
        item.flags,
        item.ttl,
        won,
        item.stale,
        taken,
    )
    return server, result


def _set(server: Server, command: Set) -> tuple[Server, Result]:
    item = server.item
    cas = server.cas + 1
    if command.mode == "A":
        if item is None:
            return server, _NOT_STORED
        made = Item(item.data + command.data, item.flags, cas, item.ttl)
    elif command.mode == "E" and item is not None:
        return server, _NOT_STORED
    elif command.cas is not None and item is None:
        return server, _GONE
    elif command.cas is not None and item is not None and command.cas != item.cas:
        return server, _EXISTS
    else:
        made = Item(command.data, command.base, cas, command.ttl)
    return Server(made, cas), Result("HD", cas=cas)


def _invalidate(server: Server, command: Invalidate) -> tuple[Server, Result]:
    item = server.item
    if item is None:
        return server, _GONE
    if command.cas is not None and command.cas != item.cas:
        return server, _EXISTS
    cas = server.cas + 1
    ttl = item.ttl if command.ttl is None else command.ttl
    return Server(item._replace(cas=cas, ttl=ttl, stale=True, leased=False), cas), Result("HD")


class ModelCache:
    """A ``ports.Cache`` in this process, shared by all clients that have the object."""

    blocking = True

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self.generation = 1
        """The modelled process's generation, and so the number of every connection to it."""
        self.reachable = True
        self.packets = 0
        """How many packets were sent, hits included."""
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Forget everything and count from 1 again."""
        with self._lock:
            self.servers.clear()
            self.generation += 1

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Do one ``Get``."""
        replies = await self.send(Packet(key, (Get(lease),)))
        (found,) = replies.results
        return found.data[: found.base] if found.base else replies

    async def look_many(self, keys: Sequence[str], lease: int) -> list[bytes | Replies | CacheLost]:
        """Do one ``Get`` for each key."""
        answers: list[bytes | Replies | CacheLost] = []
        for key in keys:
            try:
                answers.append(await self.look(key, lease))
            except CacheLost as lost:
                answers.append(lost)
        return answers

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:  # noqa: ARG002  # the port's
        """Do the commands."""
        with self._lock:
            self.packets += 1
            if not self.reachable or packet.connection not in {None, self.generation}:
                raise CacheLost("no connection to the model")
            results: list[Result] = []
            for command in packet.commands:
                server, result = execute(self.servers.get(packet.key, EMPTY), command)
                self.servers[packet.key] = server
                results.append(result)
            return Replies(results, self.generation)

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets."""
        replies: list[Replies | CacheLost] = []
        for packet in packets:
            try:
                replies.append(await self.send(packet))
            except CacheLost as lost:
                replies.append(lost)
        return replies

    def retry(self) -> None:
        """Do nothing: no server is ever marked down."""

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

"""The port of a cache: memcached as the coherence protocol sees it, and what crosses to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Cache",
    "CacheLost",
    "Command",
    "Get",
    "Invalidate",
    "Packet",
    "Replies",
    "Result",
    "Set",
]


class Get(NamedTuple):
    """``mg``: look the key up; with ``lease`` a miss makes a stub, and the first wins it."""

    lease: int | None = None
    """Seconds the stub lives (flag N)."""
    touch: int | None = None
    """Seconds the item lives from now on (flag T)."""
    value: bool = True
    """Whether ``Result.data`` is wanted (flag v)."""


class Set(NamedTuple):
    """``ms``: store bytes; its client flags say how many of them are the base (flag F)."""

    data: bytes
    base: int
    ttl: int
    """Seconds; ignored by an append."""
    mode: str = "S"
    """S: set, E: only if absent, A: append to what is there, flags and ttl unchanged."""
    cas: int | None = None
    """Only if the item has this CAS id (flag C); with mode S alone."""


class Invalidate(NamedTuple):
    """``md I``: mark the item stale, so that the next ``Get`` with a lease wins it."""

    ttl: int | None = None
    cas: int | None = None


Command: TypeAlias = Get | Set | Invalidate


class Result(NamedTuple):
    """One command's reply."""

    status: str
    """VA and HD: done; EN: no such item, NS: not stored, EX: another CAS id, NF: gone;
    TL: not stored, being too large or for want of memory, the old item maybe gone."""
    data: bytes = b""
    cas: int = 0
    size: int = 0
    base: int = 0
    """The client flags: how much of the data is servable."""
    ttl: int = -1
    """Seconds left; -1: for ever."""
    won: bool = False
    """W: the refill is this caller's."""
    stale: bool = False
    """X."""
    taken: bool = False
    """Z: someone else has won the refill."""


class Replies(NamedTuple):
    """The results of one packet."""

    results: Sequence[Result]
    connection: int
    """Where they came over: a CAS id is a token on this connection only. Never reused."""


class CacheLost(Exception):  # what happened, not what to call it
    """The cache did not answer: unreachable, timed out, or out of step."""


class Packet(NamedTuple):
    """Commands on one key: one send, one reply, in order, on one connection."""

    key: str
    commands: Sequence[Command]
    connection: int | None = None
    """The connection it must go over; CacheLost where that is gone."""


class Cache(Protocol):
    """memcached as the coherence protocol sees it: bytes under keys, per command atomic."""

    identity: str
    """Its servers, the same for every client that maps keys to servers as this one does."""
    blocking: bool
    """True: the methods never suspend but may block the thread."""

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Do one ``Get(lease)``, the fast way: the base, where there is one to serve.

        Else the whole reply (the lease may have been won). **Raises** CacheLost.
        """
        ...

    async def look_many(
        self, keys: Sequence[str], lease: int
    ) -> Sequence[bytes | Replies | CacheLost]:
        """Do many looks, pipelined to each server; one result each."""
        ...

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do the commands in order, in one round trip; ``fresh``: over a new connection.

        **Raises** CacheLost; then any prefix of the commands may have been done.
        """
        ...

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets, pipelined to each server; one result each."""
        ...

    def retry(self) -> None:
        """Have servers that were given up for a while be asked by who comes next."""
        ...

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        ...

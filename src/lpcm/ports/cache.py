"""The port of a cache: memcached as the coherence protocol sees it, and the types that cross it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from lpcm.system.records import NamedTuple

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
    """``mg``: look the key up. With ``lease`` a miss makes a stub, and the first reader wins it."""

    lease: int | None = None
    """Seconds the stub lives (flag N)."""
    touch: int | None = None
    """Seconds the item lives from now on (flag T)."""
    value: bool = True
    """Whether the reply has the data (flag v)."""


class Set(NamedTuple):
    """``ms``: store bytes; the client flags say how many of them are the base (flag F)."""

    data: bytes
    base: int
    ttl: int
    """Seconds; ignored by an append."""
    mode: str = "S"
    """S: set, E: set only if absent, A: append to the item, whose flags and ttl stay."""
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
    TL: not stored, too large or no memory left, and the old item may be gone."""
    data: bytes = b""
    cas: int = 0
    size: int = 0
    base: int = 0
    """The client flags: how many bytes of the data are servable."""
    ttl: int = -1
    """Seconds left; -1: for ever."""
    won: bool = False
    """W: the refill is this caller's."""
    stale: bool = False
    """X."""
    taken: bool = False
    """Z: another reader has won the refill."""


class Replies(NamedTuple):
    """The results of one packet."""

    results: Sequence[Result]
    connection: int
    """The id of their connection: a CAS id is a token on this connection only. Never reused."""


class CacheLost(Exception):  # no "Error" at the end: it says what happened
    """The cache did not answer: unreachable, timed out, or out of step."""


class Packet(NamedTuple):
    """Commands on one key: one send, one reply, in order, on one connection."""

    key: str
    commands: Sequence[Command]
    connection: int | None = None
    """The connection that the packet must go over; CacheLost where that connection is gone."""


class Cache(Protocol):
    """memcached as the coherence protocol sees it: bytes under keys, per command atomic."""

    identity: str
    """The servers; equal for all clients that map keys to servers alike."""
    blocking: bool
    """True: the methods never suspend but may block the thread."""

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Do one ``Get(lease)``, the fast way: return the base where there is one.

        Else return the whole reply (the lease may have been won). **Raises** CacheLost.
        """
        ...

    async def look_many(
        self, keys: Sequence[str], lease: int
    ) -> Sequence[bytes | Replies | CacheLost]:
        """Do many looks, pipelined to each server; one result each."""
        ...

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do the commands in order, in one round trip; ``fresh``: over a new connection.

        **Raises** CacheLost; then the commands may have been done up to any of them.
        """
        ...

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets, pipelined to each server; one result each."""
        ...

    def retry(self) -> None:
        """Let the next operation try servers that are marked down."""
        ...

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        ...

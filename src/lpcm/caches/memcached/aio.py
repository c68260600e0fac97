"""The client for an event loop: one connection to each server, all requests pipelined on it.

All requests of one turn of the loop go out in one write, and each reply goes to the oldest request
without one. One connection for all requests is four times faster than a pool of four. A client
belongs to the loop that is running when the client is first used, and to no other.

Invariants:

1. Replies come in the order of the requests, so a written request keeps its place in the order
   even when its task has been cancelled.
2. A token (a CAS id) is valid on the connection that it came from, and lost with it.
3. Every wait is finite. One timer watches all requests of a connection: the connection fails when
   a reply is due and none was completed for ``timeout`` seconds (long replies have more).
4. A child of a fork that goes on with its parent's loop reads and writes nothing on its
   parent's connections. Parent and child share that loop's selector; the child does not change
   what the selector watches for the parent.
5. No request goes out on a connection that the network may have forgotten, or whose name may
   have moved (see ``network``): such a connection is replaced, without an error.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lpcm.caches.memcached.meta import (
    MAX_DATA,
    encode,
    lookup,
)
from lpcm.caches.memcached.servers import Breaker, chooser, identity
from lpcm.caches.memcached.stream import Closed, Connection
from lpcm.ports import CacheLost, Get, Packet, Replies, Result
from lpcm.system.process import follow, forked, same, this

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.caches.memcached.servers import Address, Settings

__all__ = ["AsyncMemcached"]


class _Server:
    """One server: the connection to it, and whether it is up."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self.settings = settings
        self.breaker = Breaker(str(address))
        self.connection: Connection | None = None
        self.closed = False
        self.limit = MAX_DATA
        """Bytes of the largest item, as the server says in its greeting."""
        self._opening: asyncio.Task[Connection | CacheLost] | None = None
        follow(self, _Server._orphan)

    def _orphan(self) -> None:
        """In a forked child: connect anew."""
        self.connection = self._opening = None

    async def reach(self, *, fresh: bool = False) -> Connection:
        """Return the connection; where there is none, all callers wait for one attempt."""
        if not same[0]:
            forked()
        connection = self.connection
        if connection is not None and connection.lost is None and not fresh:
            return connection
        if self.closed:
            raise CacheLost("this client of memcached is closed")
        if self._opening is None:
            loop = asyncio.get_running_loop()
            patience = self.settings.connect_timeout
            trial = self.breaker.admit(loop.time(), 2 * patience)
            self._opening = loop.create_task(self._open(trial=trial))
        # Shielded: a cancelled caller must not cancel the attempt that others wait for.
        opened = await asyncio.shield(self._opening)
        if isinstance(opened, CacheLost):
            raise CacheLost(*opened.args) from opened
        return opened

    async def _open(self, *, trial: bool) -> Connection | CacheLost:
        loop = asyncio.get_running_loop()
        process = this()
        patience = self.settings.connect_timeout
        connection = Connection(
            str(self.address), self.settings.timeout, tls=self.settings.tls is not None
        )
        try:
            async with asyncio.timeout(patience):
                await self._connect(connection)
                limit = await connection.greet(self.settings)
        except (OSError, CacheLost) as error:
            text = f"no connection in {patience} s" if isinstance(error, TimeoutError) else error
            lost = CacheLost(f"memcached {self.address}: {text}")
            connection.fail(lost)
            self.breaker.failed(loop.time(), str(text), trial=trial)
            return lost
        except BaseException:  # cancelled, or closed with the loop
            connection.fail(CacheLost(f"memcached {self.address}: given up"))
            raise
        finally:
            if this() is process:
                self._opening = None
        if this() is not process:
            lost = CacheLost(f"memcached {self.address}: another process was connecting")
            connection.fail(lost)
            return lost
        if isinstance(limit, str):
            self.breaker.refused(loop.time(), limit)
        if isinstance(limit, str) or self.closed:
            lost = CacheLost(f"memcached {self.address}: {'closed' if self.closed else limit}")
            connection.fail(lost)
            return lost
        self.limit = limit
        self.breaker.worked()
        if self.connection is not None:
            self.connection.fail(CacheLost(f"memcached {self.address}: connected anew"))
        self.connection = connection
        return connection

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.address
        if not port:
            await loop.create_unix_connection(lambda: connection, host)
            return
        tls = self.settings.tls
        name = host if tls else None
        await loop.create_connection(lambda: connection, host, port, ssl=tls, server_hostname=name)

    def failed(self, lost: CacheLost) -> None:
        """Drop a failed connection; connecting anew shows whether the server is down."""
        connection, self.connection = self.connection, None
        if connection is not None and not isinstance(lost, Closed):
            now = asyncio.get_running_loop().time()
            self.breaker.failed(now, str(lost).removeprefix(f"memcached {self.address}: "))

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        opening: Any = self._opening
        if opening is not None and opening.get_loop().is_closed():
            self._opening = None
            opening._log_destroy_pending = False  # noqa: SLF001  # nothing public stops the warning
            with suppress(RuntimeError):  # its finally blocks may use the loop, which is closed
                opening.get_coro().close()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.fail(CacheLost("this client of memcached is closed"))


class AsyncMemcached:
    """A ``ports.Cache`` on memcached servers, for the tasks of one event loop."""

    blocking = False

    def __init__(self, addresses: Sequence[Address], settings: Settings) -> None:
        self.identity = identity(addresses)
        self._servers = [_Server(address, settings) for address in addresses]
        self._only = self._servers[0] if len(self._servers) == 1 else None
        self._choose = chooser(len(self._servers))

    def __repr__(self) -> str:
        return f"<AsyncMemcached {', '.join(str(server.address) for server in self._servers)}>"

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Look an item up. Cost: one round trip."""
        if not same[0]:
            forked()
        server = self._only or self._servers[self._choose(key)]
        request = lookup(key, lease)
        connection = server.connection
        if connection is None or connection.lost is not None:
            connection = await server.reach()
        answer = await connection.ask((request,))
        if isinstance(answer, CacheLost):
            answer, connection = await self._again(server, connection, answer, (request,))
        found = answer[0]
        return found.data[: found.base] if found.base else Replies(answer, connection.id)

    async def look_many(self, keys: Sequence[str], lease: int) -> list[bytes | Replies | CacheLost]:
        """Look many items up. Cost: the servers' round trips at once."""
        command = (Get(lease),)
        answers = await self.send_many([Packet(key, command) for key in keys])
        return [
            found.data[: found.base]
            if isinstance(each, Replies) and (found := each.results[0]).base
            else each
            for each in answers
        ]

    @staticmethod
    async def _again(
        server: _Server, connection: Connection, lost: CacheLost, request: Sequence[bytes]
    ) -> tuple[list[Result], Connection]:
        """Send the request once more where the server had closed the connection; else raise."""
        if server.connection is connection:
            server.failed(lost)
        if not isinstance(lost, Closed):
            raise CacheLost(*lost.args) from lost
        connection = await server.reach()
        answer = await connection.ask(request)
        if isinstance(answer, CacheLost):
            if server.connection is connection:
                server.failed(answer)
            raise CacheLost(*answer.args) from answer
        return answer, connection

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do one packet. Cost: one round trip; ``fresh`` connects anew."""
        server = self._only or self._servers[self._choose(packet.key)]
        return await self._ask(
            server,
            encode(packet.key, packet.commands, server.limit),
            packet.connection,
            fresh=fresh,
        )

    async def _ask(
        self,
        server: _Server,
        request: Sequence[bytes],
        token: int | None,
        *,
        fresh: bool = False,
    ) -> Replies:
        if not same[0]:
            forked()
        connection = server.connection
        if token is not None and not fresh:
            if connection is None or connection.id != token or connection.lost is not None:
                raise CacheLost(f"memcached {server.address}: the token's connection is gone")
        elif connection is None or connection.lost is not None or fresh:
            connection = await server.reach(fresh=fresh)
        answer = await connection.ask(request)
        if isinstance(answer, CacheLost):
            if token is not None:
                if server.connection is connection:
                    server.failed(answer)
                raise CacheLost(*answer.args) from answer
            answer, connection = await self._again(server, connection, answer, request)
        return Replies(answer, connection.id)

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets. Cost: the servers' round trips at once."""
        groups: dict[tuple[int, int | None], list[int]] = {}
        for number, packet in enumerate(packets):
            where = 0 if self._only else self._choose(packet.key)
            groups.setdefault((where, packet.connection), []).append(number)
        requests: list[tuple[_Server, list[bytes], int | None]] = []
        for (where, token), numbers in groups.items():
            server = self._servers[where]
            request: list[bytes] = []
            for number in numbers:
                request += encode(packets[number].key, packets[number].commands, server.limit)
            requests.append((server, request, token))
        answers: list[Replies | CacheLost] = [CacheLost("not sent")] * len(packets)
        if len(requests) == 1:
            done: list[Replies | BaseException]
            try:
                done = [await self._ask(*requests[0])]
            except CacheLost as lost:
                done = [lost]
        else:
            asked = (self._ask(*request) for request in requests)
            done = await asyncio.gather(*asked, return_exceptions=True)
        for numbers, replies in zip(groups.values(), done, strict=True):
            if isinstance(replies, CacheLost):
                for number in numbers:
                    answers[number] = replies
            elif isinstance(replies, BaseException):
                raise replies
            else:
                at = 0
                for number in numbers:
                    stop = at + len(packets[number].commands)
                    answers[number] = Replies(replies.results[at:stop], replies.connection)
                    at = stop
        return answers

    def retry(self) -> None:
        """Let the next operation try servers that are marked down."""
        if not same[0]:
            forked()
        for server in self._servers:
            server.breaker.retry()

    def close(self) -> None:
        """Close every connection; requests under way are lost."""
        if not same[0]:
            forked()
        for server in self._servers:
            server.close()

"""The client for an event loop: one connection to each server, all requests pipelined on it.

Everything that is asked in one turn of the loop goes out in one write, and replies are
handed to whoever is next in line; four connections would be four times slower than one.
Belongs to the loop that is running when it is first used, and to no other.

Invariants:

1. Replies come in the order of the requests, so a request, once written, keeps its place
   even when whoever made it has been cancelled.
2. A token (a CAS id) is good for the connection it came from, and lost with it.
3. Every wait is finite. One timer watches all requests of a connection: it fails when no
   reply was completed for ``timeout`` seconds, and what long ones take, while one is due.
4. A child of a fork that goes on with its parent's loop reads and writes nothing on its
   parent's connections, and changes nothing of what that loop's selector, which both share,
   watches for the parent.
5. Nothing goes out on a connection that the network may have forgotten, or whose name may
   have moved (see ``network``): it is replaced, and nobody notices.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from lpcm import network
from lpcm.caches.memcached.meta import (
    GREETING,
    MAX_DATA,
    Parser,
    encode,
    greeted,
    login,
    lookup,
    met,
    records,
)
from lpcm.caches.memcached.servers import PACE, Breaker, chooser, identity
from lpcm.ports import CacheLost, Get, Packet, Replies, Result
from lpcm.process import follow, forked, same, sever, this
from lpcm.transports import abort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.caches.memcached.servers import Address, Settings

__all__ = ["AsyncMemcached"]

_PIECE: Final = 65_536
_ids = count(1)

_Answer: TypeAlias = "list[Result] | CacheLost"


class _Closed(CacheLost):
    """The server closed the connection between two replies: perhaps it saw no request."""


class _Due:
    """A request whose replies are due."""

    __slots__ = ("answer", "results", "since", "wanted")

    def __init__(self, wanted: int, answer: asyncio.Future[_Answer], since: float) -> None:
        self.wanted = wanted
        self.answer = answer
        self.since = since
        self.results: list[Result] = []


class _Connection(asyncio.BufferedProtocol):
    """A connection: requests out, replies in, in one order."""

    def __init__(self, name: str, timeout: float, *, tls: bool) -> None:
        self.id = next(_ids)
        self.lost: CacheLost | None = None
        """Why it can no longer be used."""
        self._name = name
        self._timeout = timeout
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._memory = memoryview(bytearray(_PIECE))
        self._parser = Parser()
        self._due: deque[_Due] = deque()
        self._unsent: list[bytes] = []
        self._heard = self._moved = self._loop.time()
        self._until = self._heard + network.LONGEST
        self._trusted = network.TRUSTED
        self._pieces = 0
        self._backlog = 0
        self._watched = False
        self._greeting = b""
        self._greeter: asyncio.Future[None] | None = None
        self._descriptor = -1
        follow(self, _Connection._orphan)

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            self._descriptor = raw.fileno()
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            network.keep_alive(raw)
        else:
            self._trusted = self._until = math.inf

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        if not same[0]:
            forked()  # before the loop reads what the parent waits for
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._memory[:nbytes])
        if self._greeter is not None:
            self._greeting += data
            if not self._greeter.done():
                self._greeter.set_result(None)
            return
        self._heard = self._loop.time()
        try:
            results = self._parser.feed(data)
        except CacheLost as error:
            self.fail(CacheLost(f"memcached {self._name}: {error}"))
            return
        if results:
            self._moved, self._pieces = self._heard, 0
        else:
            self._pieces += nbytes
        due = self._due
        for result in results:
            if not due:
                self.fail(CacheLost(f"memcached {self._name}: a reply to nothing"))
                return
            first = due[0]
            first.results.append(result)
            if len(first.results) == first.wanted:
                due.popleft()
                if not first.answer.done():  # else: cancelled
                    first.answer.set_result(first.results)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = exc or "it closed the connection"
        # Or the kernel's own probes went unanswered while it lay idle: keep_alive().
        kind = _Closed if self._parser.empty else CacheLost
        self.fail(kind(f"memcached {self._name}: {reason}"))

    # What a client calls

    def ask(self, request: Sequence[bytes]) -> asyncio.Future[_Answer]:
        """Send commands, each a part, and return what will be their replies."""
        answer: asyncio.Future[_Answer] = self._loop.create_future()
        now = self._loop.time()
        if not self._due and (now - self._heard > self._trusted or now > self._until):
            self.fail(_Closed(f"memcached {self._name}: idle, or open, for too long"))
        if self.lost is not None:
            answer.set_result(self.lost)
            return answer
        if self._due:  # more are coming, probably
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent += request
        else:
            self._write(request)
        self._due.append(_Due(len(request), answer, now))
        if not self._watched:
            self._watched = True
            self._loop.call_later(self._timeout, self._watch)
        return answer

    def _flush(self) -> None:
        if not same[0]:
            forked()
        unsent, self._unsent = self._unsent, []
        if self.lost is None:
            self._write(unsent)

    def _write(self, parts: Sequence[bytes]) -> None:
        assert self._transport is not None
        if self._tls:
            for record in records(parts):
                self._transport.write(record)
        else:
            self._transport.write(b"".join(parts))

    def _watch(self) -> None:
        """See whether anything moves, while a reply is due."""
        if not same[0]:
            forked()
        self._watched = False
        if not self._due or self._transport is None:
            return
        self._watched = True
        backlog = self._transport.get_write_buffer_size()
        quiet = self._loop.time() - max(self._due[0].since, self._moved)
        quiet -= self._pieces / PACE
        if quiet < self._timeout or backlog != self._backlog:
            self._backlog = backlog
            self._loop.call_later(max(self._timeout - quiet, 0.01), self._watch)
        else:
            self.fail(CacheLost(f"memcached {self._name}: no answer for {self._timeout} s"))

    def _orphan(self) -> None:
        """In a forked child: leave the connection to the parent."""
        if self.lost is not None or self._transport is None:
            return
        sever(self._descriptor)
        self.lost = CacheLost(f"memcached {self._name}: the connection is another process's")
        try:
            self._loop.call_soon_threadsafe(self.fail, self.lost)
        except RuntimeError:  # closed, and nobody waits
            return

    def fail(self, reason: CacheLost) -> None:
        """Give up the connection, and whatever is due on it."""
        if self.lost is None:
            self.lost = reason
        transport, self._transport = self._transport, None
        if transport is not None:
            abort(transport)
        due, self._due = self._due, deque()
        if self._loop.is_closed():  # nobody can be told
            return
        for each in due:
            if not each.answer.done():
                each.answer.set_result(reason)
        if self._greeter is not None and not self._greeter.done():
            self._greeter.set_result(None)

    async def greet(self, settings: Settings) -> int | str:
        """Log in, and return the largest item; a str: why the server must not be used.

        **Raises** CacheLost.
        """
        if settings.login is not None:
            reply = await self._say(login(*settings.login))
            if reply != b"STORED\r\n":
                return f"it does not take the user and password: {reply[:80]!r}"
        reply = await self._say(GREETING)
        while not greeted(reply):
            reply += await self._say(b"")
        self._greeter = None
        return met(reply)

    async def _say(self, request: bytes) -> bytes:
        if self.lost is None and self._transport is not None:
            self._greeter = self._loop.create_future()
            if self._greeting:
                self._greeter.set_result(None)
            self._transport.write(request)
            await self._greeter
        if self.lost is not None:
            raise self.lost
        reply, self._greeting = self._greeting, b""
        return reply


class _Server:
    """One server: the connection to it, and whether it is up."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self.settings = settings
        self.breaker = Breaker(str(address))
        self.connection: _Connection | None = None
        self.closed = False
        self.limit = MAX_DATA
        """Bytes of the largest item, once the server has told."""
        self._opening: asyncio.Task[_Connection | CacheLost] | None = None
        follow(self, _Server._orphan)

    def _orphan(self) -> None:
        """In a forked child: connect anew."""
        self.connection = self._opening = None

    async def reach(self, *, fresh: bool = False) -> _Connection:
        """Return the connection, connecting where there is none; together with who else does."""
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
        # Shielded: one who gives up must not take the connection from those who wait too.
        opened = await asyncio.shield(self._opening)
        if isinstance(opened, CacheLost):
            raise CacheLost(*opened.args) from opened
        return opened

    async def _open(self, *, trial: bool) -> _Connection | CacheLost:
        loop = asyncio.get_running_loop()
        process = this()
        patience = self.settings.connect_timeout
        connection = _Connection(
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

    async def _connect(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.address
        if not port:
            await loop.create_unix_connection(lambda: connection, host)
            return
        tls = self.settings.tls
        name = host if tls else None
        await loop.create_connection(lambda: connection, host, port, ssl=tls, server_hostname=name)

    def failed(self, lost: CacheLost) -> None:
        """Take note of a connection that failed; whether the server did, connecting will tell."""
        connection, self.connection = self.connection, None
        if connection is not None and not isinstance(lost, _Closed):
            now = asyncio.get_running_loop().time()
            self.breaker.failed(now, str(lost).removeprefix(f"memcached {self.address}: "))

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        opening: Any = self._opening
        if opening is not None and opening.get_loop().is_closed():
            self._opening = None
            opening._log_destroy_pending = False  # noqa: SLF001  # nobody else can be told of it
            with suppress(RuntimeError):  # of what it calls at its end and wants the loop
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
        server: _Server, connection: _Connection, lost: CacheLost, request: Sequence[bytes]
    ) -> tuple[list[Result], _Connection]:
        """Ask once more where the server had closed the connection; else raise."""
        if server.connection is connection:
            server.failed(lost)
        if not isinstance(lost, _Closed):
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
        """Have servers that are marked down be asked by who comes next."""
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

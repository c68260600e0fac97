"""The blocking client: a ``ports.Cache`` on pools of connections, for any thread.

Knows commands as bytes, and connections as objects that send and receive; ``pool`` chooses the
connection and decides what its failure means. Invariant: an operation that ends with an exception
closes its connections, so that no later operation reads its replies.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from lpcm.caches.memcached.meta import MAX_KEY, bases, encode, lookups
from lpcm.caches.memcached.pool import Pool
from lpcm.caches.memcached.servers import chooser, identity
from lpcm.caches.memcached.sockets import PIECE
from lpcm.ports import CacheLost, Get, Packet, Replies
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.caches.memcached.pool import Connection
    from lpcm.caches.memcached.servers import Address, Settings
    from lpcm.ports import Result

__all__ = ["Memcached"]

_PIPELINE_BYTES: Final = 32_768
_PIPELINE_COMMANDS: Final = 2_000
_NONE: Sequence[Result] = ()  # a default
_LOOKS: Final = 500  # so many keys of 60 bytes are _PIPELINE_BYTES
_MUCH: Final = 16  # pieces


class _Pipeline:
    """Packets for one connection, sent in pieces that cannot fill both directions at once.

    A server whose replies are not read stops reading requests. So the requests that are sent
    before their replies are read must fit into the kernel's buffers, or have short replies only.
    """

    def __init__(self, server: Pool, packets: Sequence[Packet], numbers: Sequence[int]) -> None:
        self.server = server
        self.packets = packets
        self.numbers = numbers
        self.token = packets[numbers[0]].connection
        self.connection: Connection | None = None
        self.results: list[Result] = []
        self.wanted = 0
        self.error: CacheLost | None = None
        self._next = 0
        self._piece: list[bytes] = []
        self._repeatable = self.token is None

    @property
    def unsent(self) -> bool:
        """True while there is more to send."""
        return self.error is None and self._next < len(self.numbers)

    def order(self) -> tuple[bool, int]:
        """Return the position among the pipelines that take connections."""
        return self.token is None, self.token or 0

    def take(self) -> None:
        """Take the connection."""
        try:
            if self.token is None:
                self.connection = self.server.take()
            else:
                self.connection = self.server.exactly(self.token)
        except CacheLost as lost:
            self.error = lost

    def send(self) -> None:
        """Send the next piece."""
        self._piece = self._next_piece()
        assert self.connection is not None
        try:
            self.connection.send_all(self._piece)
        except BaseException as error:  # noqa: BLE001  # _recover() raises it again
            self._recover(error)

    def receive(self) -> None:
        """Read the replies to the sent commands."""
        if self.connection is None:
            return
        try:
            self.connection.receive(self.wanted, self.results)
        except BaseException as error:  # noqa: BLE001  # as above
            if self._recover(error):
                self.receive()

    def _recover(self, error: BaseException) -> bool:
        """Give up; or send the first piece once more, where the connection had been closed."""
        assert self.connection is not None
        connection, self.connection = self.connection, None
        again = self._repeatable and not self.results and not connection.parser.pieces
        self._repeatable = False
        try:
            self.server.lost(connection, error, again=again)
            self.connection = self.server.connect()
            try:
                self.connection.send_all(self._piece)
            except BaseException as second:  # noqa: BLE001  # as above
                return self._recover(second)
        except CacheLost as lost:
            self.error = lost
            return False
        return True

    def _next_piece(self) -> list[bytes]:
        parts: list[bytes] = []
        size, seen = 0, self._next
        checked: object = None
        for number in itertools.islice(self.numbers, seen, None):
            key, commands, _ = self.packets[number]
            encoded = encode(key, commands, self.server.limit)
            size += len(encoded[0]) if len(encoded) == 1 else sum(map(len, encoded))
            if parts and size > _PIPELINE_BYTES and commands is not checked:
                checked = commands
                if self._values(seen, self._next + 1):
                    break
                seen = self._next + 1
            parts += encoded
            self._next += 1
            if len(parts) >= _PIPELINE_COMMANDS:
                break
        self.wanted += len(parts)
        self._repeatable = self._repeatable and self.wanted == len(parts)
        return parts

    def _values(self, start: int, stop: int) -> bool:
        """Tell whether values are among what these packets ask for."""
        return any(
            type(command) is Get and command.value
            for number in self.numbers[start:stop]
            for command in self.packets[number].commands
        )

    def abandon(self) -> None:
        """Close the connection, in the middle of its replies or not."""
        if self.connection is not None:
            self.server.discard(self.connection)

    def finish(self, answers: list[Replies | CacheLost]) -> None:
        """Give the connection back, and every packet its answer."""
        came_over = 0
        if self.connection is not None:
            came_over = self.connection.id
            # Set to None first: if an exception comes from here on, abandon() must not close it.
            connection, self.connection = self.connection, None
            if self.token is None:
                self.server.idle.append(connection)
                if connection.waiting:
                    self.server.hand_over(connection)
            else:
                self.server.give_back(connection)
        at, results, new = 0, self.results, tuple.__new__
        for number in self.numbers:
            stop = at + len(self.packets[number][1])
            if stop <= len(results):
                answers[number] = new(Replies, (results[at:stop], came_over))
            else:
                answers[number] = self.error or CacheLost("not sent")
            at = stop


class Memcached:
    """A ``ports.Cache`` on memcached servers, for blocking callers; for any thread."""

    blocking = True

    def __init__(self, addresses: Sequence[Address], settings: Settings) -> None:
        self.identity = identity(addresses)
        self._servers = [Pool(address, settings) for address in addresses]
        self._only = self._servers[0] if len(self._servers) == 1 else None
        self._choose = chooser(len(self._servers))
        follow(self, Memcached._orphan)

    def __repr__(self) -> str:
        return f"<Memcached {', '.join(str(server.address) for server in self._servers)}>"

    @property
    def servers(self) -> Sequence[Pool]:
        """The servers' connections, for operations on a whole server."""
        if not same[0]:
            forked()
        return self._servers

    async def look(self, key: str, lease: int) -> bytes | Replies:
        """Look an item up. Cost: one round trip, at little more than the bare socket's."""
        if not same[0]:
            forked()
        server = self._only or self._servers[self._choose(key)]
        # The hottest path of all: meta.lookup and meta.Parser for one hit, without their calls.
        if len(key) > MAX_KEY or " " in key or not (key.isprintable() and key.isascii() and key):
            raise ValueError(f"no key for memcached: {key!r}")
        request = f"mg {key} N{lease} v f c t\r\n".encode()
        try:
            connection = server.idle.pop()
        except IndexError:
            connection = server.connect()
        data = found = b""
        results = _NONE
        try:
            connection.send(request)
            data = connection.recv(PIECE)
            words = data.split(b" ", 3)
            if len(words) == 4 and words[0] == b"VA":
                rest = words[3]
                at = rest.find(b"\n") + 1
                base = int(words[2][1:])
                if at and 0 < base <= int(words[1]) == len(rest) - at - 2:
                    found = rest[at : at + base]
            if not found:
                results = self._rest(connection, data)
        except BaseException as error:  # noqa: BLE001  # lost() raises it again
            server.lost(connection, error, again=not data)
            found = b""
            connection, results = self._once_more(server, [request])
        # As Pool.give_back, without a call, at whose start an exception out of a signal handler
        # would lose the connection. Not within try: an exception after this line must not
        # close a connection that is given back.
        server.idle.append(connection)
        if connection.waiting:
            server.hand_over(connection)
        if found:
            return found
        reply = results[0]
        return reply.data[: reply.base] if reply.base else Replies(results, connection.id)

    @staticmethod
    def _rest(connection: Connection, data: bytes) -> list[Result]:
        if not data:
            raise ConnectionResetError("it closed the connection")
        results = connection.parser.feed(data)
        connection.receive(1, results)
        return results

    @staticmethod
    def _once_more(server: Pool, request: list[bytes]) -> tuple[Connection, list[Result]]:
        connection = server.connect()
        results: list[Result] = []
        try:
            connection.send_all(request)
            connection.receive(len(request), results)
        except BaseException as error:
            server.lost(connection, error, again=False)
            raise
        return connection, results

    async def look_many(self, keys: Sequence[str], lease: int) -> list[bytes | Replies | CacheLost]:
        """Look many items up. Cost: the servers' round trips at once; one for each 500 keys."""
        if not same[0]:
            forked()
        server = self._only
        if server is None or server.settings.tls is not None:
            command = (Get(lease),)
            return _served(await self.send_many([Packet(key, command) for key in keys]))
        answers: list[bytes | Replies | CacheLost] = []
        for start in range(0, len(keys), _LOOKS):
            piece = keys[start : start + _LOOKS]
            try:
                answers += self._looks(server, lookups(piece, lease), len(piece))
            except CacheLost as lost:
                answers += [lost] * (len(keys) - start)
                break
        return answers

    @staticmethod
    def _looks(server: Pool, request: bytes, count: int) -> Sequence[bytes | Replies]:
        connection, again = server.take(), True
        while True:
            parts: list[bytes] = []
            deadline, much = 0.0, _MUCH
            try:
                connection.send(request)
                results = None
                while results is None:
                    if parts:
                        deadline = connection.in_time(deadline, len(parts[-1]))
                    parts.append(connection.recv(PIECE))
                    if not parts[-1]:
                        raise ConnectionResetError("it closed the connection")  # noqa: TRY301
                    if parts[-1].endswith(b"MN\r\n"):  # the end, or a value that has it inside
                        results = bases(b"".join(parts), count, server.limit)
                    elif len(parts) > much:  # check a long reply early, but ever more rarely
                        much *= 2
                        results = bases(b"".join(parts), count, server.limit)
            except BaseException as error:  # noqa: BLE001  # lost() raises it again
                server.lost(connection, error, again=again and len(b"".join(parts)) == 0)
                connection, again = server.connect(), False
            else:
                break
        server.idle.append(connection)  # as in look
        if connection.waiting:
            server.hand_over(connection)
        came_over, new = connection.id, tuple.__new__
        return [
            result if type(result) is bytes else new(Replies, ((result,), came_over))
            for result in results
        ]

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Do one packet. Cost: one round trip; ``fresh`` and a first use connect as well."""
        if not same[0]:
            forked()
        server = self._only or self._servers[self._choose(packet.key)]
        request = encode(packet.key, packet.commands, server.limit)
        if fresh:
            connection, results = self._once_more(server, request)
        else:
            token = packet.connection
            connection = server.take() if token is None else server.exactly(token)
            results = []
            try:
                connection.send_all(request)
                connection.receive(len(request), results)
            except BaseException as error:  # noqa: BLE001  # lost() raises it again
                again = token is None and not results and not connection.parser.pieces
                server.lost(connection, error, again=again)
                connection, results = self._once_more(server, request)
        if packet.connection is None:
            server.idle.append(connection)  # as in look
            if connection.waiting:
                server.hand_over(connection)
        else:
            server.give_back(connection)
        return tuple.__new__(Replies, (results, connection.id))

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Do many packets. Cost: the servers' round trips at once; one for each 32 KB of gets."""
        if not same[0]:
            forked()
        pipelines: list[_Pipeline]
        if self._only is not None and len({packet[2] for packet in packets}) == 1:
            pipelines = [_Pipeline(self._only, packets, range(len(packets)))]
        else:
            groups: dict[tuple[int, int], list[int]] = {}
            for number, packet in enumerate(packets):
                where = 0 if self._only else self._choose(packet.key)
                groups.setdefault((where, packet.connection or 0), []).append(number)
            pipelines = [
                _Pipeline(self._servers[where], packets, numbers)
                for (where, _), numbers in groups.items()
            ]
        answers: list[Replies | CacheLost] = [CacheLost("not sent")] * len(packets)
        try:
            # Connections of tokens first, by id: see the invariants of ``pool``.
            for pipeline in sorted(pipelines, key=_Pipeline.order):
                pipeline.take()
            while busy := [pipeline for pipeline in pipelines if pipeline.unsent]:
                for pipeline in busy:
                    pipeline.send()
                for pipeline in busy:
                    pipeline.receive()
            for pipeline in pipelines:
                pipeline.finish(answers)
        except BaseException:
            for pipeline in pipelines:
                pipeline.abandon()
            raise
        return answers

    def retry(self) -> None:
        """Let the next operation try servers that are marked down."""
        if not same[0]:
            forked()
        for server in self._servers:
            server.breaker.retry()

    def close(self) -> None:
        """Close every connection; a connection in use when its operation ends."""
        if not same[0]:
            forked()
        for server in self._servers:
            server.close()

    def _orphan(self) -> None:
        for server in self._servers:
            server.orphan()


def _served(answers: Sequence[Replies | CacheLost]) -> list[bytes | Replies | CacheLost]:
    """Return the bases in place of replies that have one."""
    return [
        found.data[: found.base]
        if isinstance(each, Replies) and (found := each.results[0]).base
        else each
        for each in answers
    ]

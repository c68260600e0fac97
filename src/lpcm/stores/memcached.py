"""Cached only: a store whose entries live in memcached alone, for data that may be lost.

memcached may drop any entry: when its memory is short, when it restarts, after 30
days without a write. Until then every operation on one key is as atomic as on any store:
each write is a compare-and-set on the item that was read, over the same connection. Where the
server restarted in between, and counts its CAS ids from 1 again, the connection is gone and the
write fails. A deleted entry leaves a tombstone for some seconds.

Iteration, counts and ``clear`` are best effort: memcached lists its keys by ``lru_crawler
metadump``, those of all programs. **Cost**: the whole server, once for each iteration. A key
that is written during the dump may be missed.

The item: a line of JSON with the entry's name, the type of its data, kind, etag and expiry,
then the data; a tombstone is the name alone. Knows no socket but for that listing.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from lpcm.caches import memcached as client
from lpcm.errors import (
    OutcomeUnknown,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from lpcm.ports import (
    Applied,
    CacheLost,
    Cell,
    Delete,
    Form,
    Get,
    MapInfo,
    MapState,
    Packet,
    Page,
    Put,
    Refused,
    Rewrite,
    Set,
    Stored,
    Update,
    When,
)
from lpcm.ports.decisions import decide
from lpcm.ports.etags import new_etag
from lpcm.ports.options import at_least_one
from lpcm.stores._memcached_items import PREFIX, entry_of, item, key, name_of
from lpcm.stores.local.update_json import rewritten
from lpcm.values.keys import partition
from lpcm.values.size import size, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lpcm.caches.memcached.cache import Memcached
    from lpcm.caches.memcached.pool import Pool
    from lpcm.ports import Aborted, Change, Check, KeyRange, Op, Outcome, Replies, Result, Scan
    from lpcm.ports.findings import Report

__all__ = ["FILES", "OPTIONS", "MemcachedStore", "examine", "open_store"]

_LONGEST: Final = 30 * 24 * 3600
_SLACK: Final = 60
"""Seconds an item outlives its entry: clocks differ, and an entry's own expiry decides."""
_PAGE_BYTES: Final = 1_000_000
_BULK: Final = 500
_ATTEMPTS: Final = 200
_BUSY: Final = 10.0
"""Seconds to wait for the crawler, which serves one client at a time."""
_DEFAULT_MAX: Final = 1_000_000


class MemcachedStore:
    """A ``ports.Store`` in memcached alone. See ``open_store``."""

    form = Form.TEXT
    blocking = True
    remote = True

    def __init__(self, cache: Memcached, max_value: int) -> None:
        self.identity = f"only:{cache.identity}"
        self._cache = cache
        self._max_value = max_value
        self._closed = False
        # The rest of a listing's keys, for the next page behind that key: see scan.
        self._listings: dict[tuple[str, KeyRange, str, bool], list[str]] = {}

    def __repr__(self) -> str:
        return f"<MemcachedStore {self._cache!r}>"

    # One entry

    async def read(self, map: str, sk: str, now: float) -> Stored | None:
        """Return the entry. Cost: one round trip."""
        reply = await self._send(Packet(key(map + sk), (Get(),)))
        return _live(entry_of(reply.results[0], map, sk), now)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write. Cost: two round trips, two more where another client wrote in between."""
        self._check_size(op)
        for _ in range(_ATTEMPTS):
            reply = await self._send(Packet(key(map + sk), (Get(),)))
            outcome = self._decide(_live(entry_of(reply.results[0], map, sk), now), op)
            if isinstance(outcome, Refused):
                return outcome
            try:
                written = await self._cache.send(_put(map, sk, outcome.entry, reply, now))
            except CacheLost as lost:
                return await self._outcome_without_reply(map, sk, op, outcome, lost)
            if self._is_done(written.results[0], sk):
                return outcome
        raise StoreBusy(f"{self!r}: others wrote the same key {_ATTEMPTS} times in between")

    async def _outcome_without_reply(
        self, map: str, sk: str, op: Op, outcome: Applied, lost: CacheLost
    ) -> Applied:
        """Find out by the etag whether a write without a reply was done."""
        unknown = OutcomeUnknown(f"{self!r}: no reply to a write of {sk!r}: {lost}")
        try:
            found = await self.read(map, sk, -math.inf)
        except StoreUnavailable:
            raise unknown from lost
        if isinstance(op, Delete):
            if found is None and not op.returning:
                return outcome
        elif found is not None and outcome.entry is not None and found.etag == outcome.entry.etag:
            return outcome
        raise unknown from lost

    def _is_done(self, result: Result, sk: str) -> bool:
        if result.status == "TL":
            raise StoreFull(f"{self!r}: no room for {sk!r}, which may be gone")
        return result.status == "HD"

    def _decide(self, current: Stored | None, op: Op) -> Outcome:
        if not isinstance(op, (Update, Rewrite)):
            return decide(current, op)
        put = rewritten(current, op)
        if put is None:
            return Refused(current)
        self._check_size(put)
        return decide(current, put)

    async def read_many(self, map: str, sks: Sequence[str], now: float) -> list[Stored | None]:
        """Return the entries. Cost: one pipelined round trip for each 500."""
        found: list[Stored | None] = []
        for start in range(0, len(sks), _BULK):
            part = sks[start : start + _BULK]
            replies = await self._send_many([Packet(key(map + sk), (Get(),)) for sk in part])
            found += [
                _live(entry_of(reply.results[0], map, sk), now)
                for sk, reply in zip(part, replies, strict=True)
            ]
        return found

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes in order. Cost: two pipelined round trips for each 500.

        A write that lost to another client, or whose key comes again in the same part, is done
        again by itself.
        """
        outcomes: list[Outcome | Exception] = []
        for start in range(0, len(writes), _BULK):
            outcomes += await self._apply_part(map, writes[start : start + _BULK], now)
        return outcomes

    async def _apply_part(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        outcomes: dict[int, Outcome | Exception] = {}
        first = {sk: number for number, (sk, _) in reversed(list(enumerate(writes)))}
        replies = await self._send_many([Packet(key(map + sk), (Get(),)) for sk in first])
        packets: dict[int, Packet] = {}
        for (sk, number), reply in zip(first.items(), replies, strict=True):
            op = writes[number][1]
            try:
                self._check_size(op)
                outcome = self._decide(_live(entry_of(reply.results[0], map, sk), now), op)
            except ValueTooLarge as error:
                outcomes[number] = error
                continue
            outcomes[number] = outcome
            if isinstance(outcome, Applied):
                packets[number] = _put(map, sk, outcome.entry, reply, now)
        answers = await self._cache.send_many(list(packets.values())) if packets else ()
        for number, answer in zip(packets, answers, strict=True):
            sk, op = writes[number]
            decided = outcomes.pop(number)
            try:
                if isinstance(answer, CacheLost):
                    assert isinstance(decided, Applied)
                    outcomes[number] = await self._outcome_without_reply(
                        map, sk, op, decided, answer
                    )
                elif self._is_done(answer.results[0], sk):
                    outcomes[number] = decided
            except (StoreError, OutcomeUnknown) as error:
                outcomes[number] = error
        return [
            outcomes[number] if number in outcomes else await self._again(map, sk, op, now)
            for number, (sk, op) in enumerate(writes)
        ]

    async def _again(self, map: str, sk: str, op: Op, now: float) -> Outcome | Exception:
        try:
            return await self.apply(map, sk, op, now)
        except (StoreError, OutcomeUnknown, ValueTooLarge) as error:
            return error

    # Whole maps

    async def scan(self, map: str, wanted: Scan, now: float) -> Page:
        """Return a page. Cost: a listing of the whole server for the first page of a scan."""
        keys, after, limit, reverse, values = wanted
        sks = self._listings.pop((map, keys, after or "", reverse), None)
        if sks is None:
            sks = sorted({sk for sk in await self._names(map) if keys.low <= sk < keys.high})
            if reverse:
                sks.reverse()
            if after is not None:
                sks = [sk for sk in sks if (sk < after if reverse else sk > after)]
        found: list[tuple[str, Stored]] = []
        room = _PAGE_BYTES
        for start in range(0, len(sks), _BULK):
            part = sks[start : start + _BULK]
            for at, (sk, entry) in enumerate(
                zip(part, await self.read_many(map, part, now), strict=True), start + 1
            ):
                if entry is None:
                    continue
                found.append((sk, entry if values else entry._replace(data=None, kind=None)))
                room -= size(entry.data) if values else 0
                if room <= 0 or len(found) == limit:
                    self._listings[map, keys, sk, reverse] = sks[at:]
                    while len(self._listings) > 16:  # scans that were never finished
                        self._listings.pop(next(iter(self._listings)), None)
                    return Page(found, sk)
        return Page(found, None)

    async def count(self, map: str, keys: KeyRange, now: float) -> int:
        """Count the range. Cost: a listing of the whole server, and every entry's value."""
        sks = [sk for sk in await self._names(map) if keys.low <= sk < keys.high]
        return sum(entry is not None for entry in await self.read_many(map, sks, now))

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range. Cost: a listing of the whole server, and a write for each entry."""
        sks = [sk for sk in await self._names(map) if keys.low <= sk < keys.high]
        await self._put_tombstones([map + sk for sk in sks])

    async def drop(self, namespace: str) -> None:
        """Delete the namespace. Cost: as ``clear``."""
        prefix = partition(namespace)
        await self._put_tombstones([prefix, *(prefix + rest for rest in await self._names(prefix))])

    async def _put_tombstones(self, names: Sequence[str]) -> None:
        """Put tombstones in place of entries, unconditionally."""
        for start in range(0, len(names), _BULK):
            items = [(name, *item(name, None)) for name in names[start : start + _BULK]]
            packets = [Packet(key(name), (Set(data, base, _SLACK),)) for name, data, base in items]
            await self._send_many(packets)

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return a map's row; identities are for stores with a cache in front."""
        return MapState(None, _catalogue(await self.read(partition(namespace), "", 0)).get(name))

    async def renew(self, namespace: str) -> None:
        """Refuse: there is no cache in front of this store."""
        raise StoreError(f"{self!r} has no identity of {namespace!r}, and no cache in front")

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue, which is one entry, and may be lost like any other."""
        prefix = partition(namespace)
        for _ in range(_ATTEMPTS):
            current = await self.read(prefix, "", 0.0)
            if info.name in (known := _catalogue(current)):
                return MapState(None, known[info.name])
            text = json.dumps(sorted([*known.values(), info]))
            when = When.ABSENT if current is None else current.etag
            outcome = await self.apply(
                prefix, "", Put(Cell(text, None), new_etag(), None, when), 0.0
            )
            if isinstance(outcome, Applied):
                return MapState(None, info)
        raise StoreBusy(f"{self!r}: others entered maps {_ATTEMPTS} times in between")

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue."""
        return sorted(_catalogue(await self.read(partition(namespace), "", 0.0)).values())

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Refuse: memcached has no transactions."""
        del changes, checks, now
        raise StoreError(f"{self!r} has no transactions: keep this map in a real store")

    def close(self) -> None:
        """Close every connection; using the store again raises ``StoreError``."""
        self._closed = True
        self._cache.close()

    # memcached

    async def _send(self, packet: Packet) -> Replies:
        if self._closed:
            raise StoreError(f"{self!r}: closed")
        try:
            return await self._cache.send(packet)
        except CacheLost as lost:
            raise StoreUnavailable(f"{self!r}: {lost}") from lost

    async def _send_many(self, packets: Sequence[Packet]) -> list[Replies]:
        if self._closed:
            raise StoreError(f"{self!r}: closed")
        replies: list[Replies] = []
        for reply in await self._cache.send_many(packets) if packets else ():
            if isinstance(reply, CacheLost):
                raise StoreUnavailable(f"{self!r}: {reply}") from reply
            replies.append(reply)
        return replies

    def _check_size(self, op: Op) -> None:
        if isinstance(op, Put) and (length := size(op.cell.data)) > self._max_value:
            raise too_large("memcached", length, self._max_value)

    async def _names(self, start: str) -> list[str]:
        """Return the listed names that begin with ``start``, without that beginning."""
        listed = self._dump()
        names = {name for name in listed if name.startswith(start)}
        digests = [name for name in listed if "/" not in name]
        for at in range(0, len(digests), _BULK):
            packets = [Packet(PREFIX + each, (Get(),)) for each in digests[at : at + _BULK]]
            for reply in await self._send_many(packets):
                name = name_of(reply.results[0])
                if name is not None and name.startswith(start):
                    names.add(name)
        return sorted(name[len(start) :] for name in names)

    def _dump(self) -> list[str]:
        """Return every key of lpcm's on every server, without the prefix."""
        if self._closed:
            raise StoreError(f"{self!r}: closed")
        found: list[str] = []
        for server in self._cache.servers:
            try:
                found += _listed(server)
            except (CacheLost, OSError) as error:
                raise StoreUnavailable(f"{self!r}: {error}") from error
        return found


def _listed(server: Pool) -> Iterator[str]:
    """Yield the keys of lpcm's on one server."""
    deadline = time.monotonic() + _BUSY
    while True:
        connection = server.connect()
        try:
            connection.send(b"lru_crawler metadump hash\r\n")
            first, *lines = _lines(connection.recv)
        finally:
            server.discard(connection)
        if not first.startswith(b"BUSY"):
            break
        if time.monotonic() > deadline:
            raise CacheLost(f"memcached {server.address} is busy listing for others")
        time.sleep(0.02)
    for line in (first, *lines):
        if line.startswith(b"key="):
            key = unquote(line[4 : line.index(b" ")].decode("ascii"))
            if key.startswith(PREFIX):
                yield key[len(PREFIX) :]
        elif line != b"END":
            raise CacheLost(f"memcached {server.address} does not list its keys: {line[:80]!r}")


def _lines(recv: Callable[[int], bytes]) -> list[bytes]:
    """Return the lines of a listing; each but the last ends with a line feed alone."""
    data = bytearray()
    while not data.endswith(b"\r\n"):
        part = recv(65536)
        if not part:
            raise CacheLost("the server closed the connection while listing its keys")
        data += part
    return bytes(data).splitlines()


def _put(map: str, sk: str, entry: Stored | None, reply: Replies, now: float) -> Packet:
    """Store the entry, or a tombstone, if the item has not changed since the reply.

    Over the same connection, absent or not: such a packet is never sent twice.
    """
    if entry is None:
        ttl = _SLACK
    elif entry.expires is None:
        ttl = _LONGEST
    else:
        ttl = max(1, min(math.ceil(entry.expires - now) + _SLACK, _LONGEST))
    name = map + sk
    (seen,) = reply.results
    mode, cas = ("E", None) if seen.status == "EN" else ("S", seen.cas)
    return Packet(key(name), (Set(*item(name, entry), ttl, mode, cas),), reply.connection)


def _live(entry: Stored | None, now: float) -> Stored | None:
    return None if entry is None or (entry.expires or math.inf) <= now else entry


def _catalogue(entry: Stored | None) -> dict[str, MapInfo]:
    if entry is None or not isinstance(entry.data, str):
        return {}
    try:
        rows = [MapInfo(*row) for row in json.loads(entry.data)]
    except (RecursionError, TypeError, ValueError):
        return {}
    return {row.name: row for row in rows if tuple(map(type, row)) == (str, int, str, int)}


MANY_SCHEMES: Final = True
"""``open_store`` takes the scheme as an argument."""
FILES = client.FILES
OPTIONS: Mapping[str, Callable[[str], object]] = {
    **client.OPTIONS,
    "max_value": at_least_one("bytes"),
}


async def examine(
    path: str, report: Report, *, max_value: int = _DEFAULT_MAX, **options: Any
) -> bool:
    """Report on the servers, for ``lpcm doctor``."""
    del max_value
    return await client.examine(path, report, **options)


def open_store(
    path: str, *, scheme: str = "memcached", max_value: int = _DEFAULT_MAX, **options: Any
) -> MemcachedStore:
    """Open the store on the servers in ``path``; connects when used.

    ``max_value``: bytes of one value, by default a little less than memcached's own 1 MiB;
    give ``memcached -I`` first. The other options are the client's.
    """
    return MemcachedStore(client.open_cache(path, scheme=scheme, **options), max_value)

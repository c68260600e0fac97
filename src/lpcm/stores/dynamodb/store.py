"""The DynamoDB store: all maps in one table, shared by any number of machines.

Decides which requests an operation needs and what their replies mean. ``requests`` makes a request
of a write, ``items`` an item of an entry, and ``retries`` sends a request until its outcome is
known. Every read is strongly consistent, but those of ``eventual``.

Invariants: a write is one conditional request, never sent again once it may have been applied. A
write without a reply is recognised by the entry's ``etag``, or it is ``OutcomeUnknown``. A map is
here one partition: about 1,000 writes of 1 KB and 3,000 reads of 4 KB a second. Only ``shards``
knows of maps of several.

Costs are in DynamoDB's units: a read unit for each 4 KB, a write unit for each 1 KB, begun.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import (
    LPCMError,
    OutcomeUnknown,
    StoreDenied,
    StoreError,
    ValueTooLarge,
)
from lpcm.ports import (
    DAMAGED,
    Add,
    Applied,
    Delete,
    Form,
    KeyRange,
    Page,
    Put,
    Reads,
    Refused,
    Rewrite,
    Stored,
    Touch,
    Update,
    When,
)
from lpcm.ports.etags import new_etag
from lpcm.stores.dynamodb import (
    batches,
    bulk,
    catalogue,
    heads,
    idempotent,
    items,
    pages,
    registration,
    requests,
    transactions,
    update_requests,
)
from lpcm.stores.dynamodb.concurrency import Runner, later
from lpcm.stores.dynamodb.expressions import Expressions
from lpcm.stores.dynamodb.purge import purge
from lpcm.stores.dynamodb.retries import Caller, Unsure
from lpcm.stores.dynamodb.shards import Sharded, eventual_reads, partitions
from lpcm.values.form import HEAD
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from lpcm.ports import Aborted, Change, Check, MapInfo, MapState, Op, Outcome, Purged, Scan
    from lpcm.ports.shards import Shards
    from lpcm.stores.dynamodb.http.port import Reply, Transport

__all__ = ["BUDGET", "EVENTUAL", "PATIENCE", "STRONG", "DynamoDBStore"]

BUDGET: Final = 8.0
PATIENCE: Final = 3.0
STRONG: Final = "strong"
EVENTUAL: Final = "eventual"
_EVER: Final = float("-inf")
"""A time at which nothing has expired yet."""


class DynamoDBStore:
    """A ``ports.Store`` in one DynamoDB table. See ``open_store``."""

    form = Form.TREE
    remote = True
    purge_rate = 100.0
    """Write units a second: a tenth of what one partition takes."""

    def __init__(
        self,
        transport: Transport,
        table: str,
        identity: Callable[[], str],
        *,
        budget: float = BUDGET,
        patience: float = PATIENCE,
        exactly_once: bool = False,
        consistency: str = STRONG,
        max_value: int | None = None,
    ) -> None:
        self.max_value = max_value
        """Bytes of the largest value; None: no limit."""
        self.blocking = transport.blocking
        self._transport = transport
        self._table = table
        self._caller = Caller(transport, table, budget, patience, max_value)
        self._runner = Runner(blocking=transport.blocking)
        self._exactly_once = exactly_once
        self.consistency = consistency
        """Of the reads that no write depends on: ``strong`` or ``eventual``."""
        self._identity = identity
        self._closed = False

    @property
    def identity(self) -> str:
        """The region (or an endpoint that is not AWS's) and the table: for messages and copies."""
        return f"dynamodb:{self._identity()}:{self._table}"

    @property
    def eventual(self) -> Reads | None:
        """The same reads at half the price; None unless the store was opened to read so.

        DynamoDB may answer them by a copy that lacks the last writes, as a rule for under a second.
        """
        return None if self.consistency == STRONG else eventual_reads(self)

    def __repr__(self) -> str:
        return f"<DynamoDBStore {self._table} at {self._transport.endpoint}>"

    def sharded(self, shards: Shards) -> Sharded:
        """Return this store for maps of one partition or several."""
        return Sharded(self, shards)

    # One entry

    async def read(
        self, map: str, sk: str, now: float, *, consistent: bool = True
    ) -> Stored | None:
        """Return the entry. Cost: one GetItem, a read unit for each 4 KB."""
        return items.entry(await self._item(map, sk, consistent=consistent), now)

    async def _item(
        self, map: str, sk: str, *, consistent: bool = True
    ) -> Mapping[str, Any] | None:
        request = {"Key": items.key(map, sk), "ConsistentRead": consistent}
        reply = await self._call("GetItem", request)
        return reply.body.get("Item")

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write.

        Cost: one request; a write unit for each KB of the larger of the entry before and after
        it, or of the entry that refused it. Twice that for a delete that returns the entry, and
        for the first increment of a number that is to expire. With ``exactly_once``: twice the
        write units, and a read before a write that depends on the entry.
        """
        if self._exactly_once:
            self._check_open()
            return await idempotent.apply(self._caller, self.read, op, map=map, sk=sk, now=now)
        match op:
            case Add():
                return await self._add(map, sk, op, now)
            case Delete(when, returning=True) if when is not When.ABSENT:
                return await self._delete_returning(map, sk, op, now)
            case Put(cell, etag, when=when):
                if cell[1] == HEAD:
                    return await heads.put(self._caller, map, sk, op, now)
                item = items.checked(map, sk, op, self._caller.label, self._caller.most)
                write = requests.put(item, when, etag, now)
            case Delete(when):
                write = requests.delete(map, sk, when, now)
            case Touch():
                write = requests.touch(map, sk, op, now)
            case Update():
                most = self._caller.most
                # Only the store knows what a value would grow to, and asks nobody's limit.
                held = most is not None and most < items.ITEM_LIMIT and update_requests.grows(op)
                update = None if held else update_requests.update(map, sk, op, now)
                if update is None:
                    return Refused(await self.read(map, sk, now))
                write = update
            case Rewrite():  # it cannot hold an entry while a function looks at it
                return Refused(await self.read(map, sk, now))
        body, refused = await self.send(map, sk, write)
        if not refused:
            return requests.applied(op, body.get("Attributes"))
        there = body.get("Item")
        if there and "f" in there and not isinstance(op, Update):
            return await heads.replace(
                self, self._caller, op, write, there, map=map, sk=sk, now=now
            )
        return Refused(items.entry(there, now))

    def splits(self, map: str, sk: str, op: Put) -> bool:
        """Tell whether an entry is over the limit of one item, and so has to be put in parts."""
        return items.weight(map, sk, op.cell, op.etag, op.expires) > items.ITEM_LIMIT

    async def _add(self, map: str, sk: str, op: Add, now: float) -> Outcome:
        """Add to the stored number, or put the first one, until one of the two is done."""
        while True:
            write = requests.add(map, sk, op, now)
            if write is None:  # no sum with this delta is exact
                return Refused(await self.read(map, sk, now))
            body, refused = await self.send(map, sk, write)
            if not refused:
                return requests.applied(op, body["Attributes"])
            current = items.entry(body.get("Item"), now)
            write = requests.start(map, sk, op, now)
            if current is not None or write is None:
                return Refused(current)
            body, refused = await self.send(map, sk, write)
            if not refused:
                return Applied(items.entry(write.request["Item"], _EVER))

    async def _delete_returning(self, map: str, sk: str, op: Delete, now: float) -> Outcome:
        """Remove an entry and return it, also where a reply is lost: by way of a tombstone.

        A head is refused without its etag: who has not read its parts may find them swept.
        """
        mine = new_etag()
        write = requests.put_tombstone(map, sk, op.when, mine, now)
        try:
            body, refused = await self.send(map, sk, write)
            if refused and op.when == items.etag(there := body.get("Item") or {}) and "f" in there:
                body, refused = await self.send(map, sk, requests.over_head(write, there))
            previous = None if refused else items.entry(body["Attributes"], _EVER)
        except ValueTooLarge:  # an item of 400 KB has no room for an expiry
            write = requests.delete(map, sk, op.when, now)
            write.request["ReturnValues"] = "ALL_OLD"
            body, refused = await self.send(map, sk, write)
            previous = items.entry(body.get("Attributes"), now)
        else:
            if previous is not None and previous.kind == DAMAGED:  # there is no value to return
                return await self._replace_tombstone(map, sk, mine, body["Attributes"], previous)
            if not refused:
                await self._delete_tombstone(map, sk, mine)
        if not refused:
            if previous is not None and previous.etag == mine:  # read after a lost reply
                previous = previous._replace(expires=None)
            return Applied(None, previous)
        current = items.entry(body.get("Item"), now)
        return Applied(None) if op.when is When.ALWAYS and current is None else Refused(current)

    async def _replace_tombstone(
        self, map: str, sk: str, mine: int, item: Mapping[str, Any], found: Stored
    ) -> Refused:
        """Put an item back whose value cannot be read, and so not be returned."""
        item = {name: value for name, value in item.items() if found.etag != mine or name != "x"}
        await self.send(map, sk, requests.replace_tombstone(item, mine))
        return Refused(found)

    async def _delete_tombstone(self, map: str, sk: str, etag: int) -> None:
        try:
            await self.send(map, sk, requests.delete_tombstone(map, sk, etag))
        except LPCMError:
            pass  # the entry is absent to every client by now; the table's TTL deletes it

    async def send(
        self, map: str, sk: str, write: requests.Write
    ) -> tuple[Mapping[str, Any], bool]:
        """Return the body of the reply to a write, and whether the write was refused.

        Where the reply is lost, the entry is read to find out whether the write was applied.
        """
        if self._closed:  # the body of _call: its call would be one more for each write
            self._check_open()
        write.request["TableName"] = self._table
        try:
            reply = await self._caller.call(write.operation, write.request)
        except Unsure as error:
            item = None if write.etag is None else await self._recognised(map, sk, write.etag)
            if item is None:
                raise bulk.outcome_unknown(self._caller, sk, error) from error
            return {"Attributes": item}, False
        return reply.body, reply.status != 200

    async def _recognised(self, map: str, sk: str, etag: int) -> Mapping[str, Any] | None:
        """Return the item if its etag is that of the write."""
        try:
            item = await self._item(map, sk)
        except LPCMError:
            return None
        return item if item and items.etag(item) == etag else None

    async def _call(self, operation: str, request: dict[str, Any]) -> Reply:
        if self._closed:
            self._check_open()
        request["TableName"] = self._table
        return await self._caller.call(operation, request)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"dynamodb table {self._table!r}: closed")

    # Many entries

    async def read_many(
        self, map: str, sks: Sequence[str], now: float, *, consistent: bool = True
    ) -> list[Stored | None]:
        """Return the entries.

        Cost: a BatchGetItem for each hundred keys, eight at once; a read unit for each 4 KB
        of each entry.
        """
        return await self.read_spread(dict.fromkeys(sks, map), sks, now, consistent=consistent)

    async def read_spread(
        self, pks: Mapping[str, str], sks: Sequence[str], now: float, *, consistent: bool = True
    ) -> list[Stored | None]:
        """Do ``read_many`` where each key has a partition of its own."""
        self._check_open()
        wanted = [items.key(pk, sk) for sk, pk in pks.items()]

        def read(
            keys: Sequence[Mapping[str, Any]],
        ) -> Coroutine[Any, Any, list[Mapping[str, Any]]]:
            return batches.read(self._caller, keys, consistent=consistent)

        jobs = [later(read, chunk) for chunk in batches.chunks(wanted, batches.READ_MOST)]
        found: dict[str, Stored | None] = {}
        for chunk in await self._runner.run(jobs):
            found.update((item["sk"]["S"], items.entry(item, now)) for item in chunk)
        return [found.get(sk) for sk in sks]

    async def apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes, those of one key in order, those of different keys at idempotent.

        Cost: a BatchWriteItem for each 25 keys that are put or deleted without a condition (only
        the last write of a key is sent); one request for each other write; a write unit for
        each KB of each.
        """
        return await self.apply_spread(dict.fromkeys([sk for sk, _ in writes], map), writes, now)

    async def apply_spread(
        self, pks: Mapping[str, str], writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do ``apply_many`` where each key has a partition of its own."""
        self._check_open()
        return await bulk.apply_many(
            self._caller,
            self._runner,
            self.apply,
            writes,
            pks=pks,
            now=now,
            batching=not self._exactly_once,
        )

    async def transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none.

        Cost: one TransactWriteItems; two write units for each KB of each entry.
        """
        self._check_open()
        return await transactions.transact(self._caller, changes, checks, now)

    # The whole map

    async def scan(self, map: str, wanted: Scan, now: float, *, consistent: bool = True) -> Page:
        """Return a page.

        Cost: one Query, and further ones only while all entries found had expired; a read unit
        for each 4 KB of all entries read together, values included even where not returned.
        """
        return await pages.scan(partial(self._pages, consistent=consistent), map, wanted, now)

    async def count(self, map: str, keys: KeyRange, now: float, *, consistent: bool = True) -> int:
        """Count the range. Cost: a Query for each MB of its entries, 128 read units each."""
        return await pages.count(partial(self._pages, consistent=consistent), map, keys, now)

    async def clear(self, map: str, keys: KeyRange) -> None:
        """Delete the range.

        Cost: a Query for each MB of its entries, and a BatchWriteItem for each 25 of them,
        eight at once; 128 read units for each MB, a write unit for each KB of each entry.
        """
        made = Expressions(0)
        where = made.keys(map, keys)
        if where is None:
            return
        request = made.request(KeyConditionExpression=where, ProjectionExpression="pk, sk, f")

        def write(
            chunk: Sequence[tuple[str, dict[str, Any]]],
        ) -> Coroutine[Any, Any, dict[str, Exception]]:
            return batches.write(self._caller, dict(chunk))

        async for body in self._pages(request):
            deletes: dict[str, dict[str, Any]] = {}
            for item in body["Items"]:
                items.check_format(item)
                key = {"pk": item["pk"], "sk": item["sk"]}
                deletes[item["sk"]["S"]] = {"DeleteRequest": {"Key": key}}
            chunks = list(batches.chunks(list(deletes.items()), batches.WRITE_MOST))
            jobs = [later(write, chunk) for chunk in chunks]
            for errors in await self._runner.run(jobs):
                for sk, error in errors.items():
                    if isinstance(error, Unsure):
                        raise bulk.outcome_unknown(self._caller, sk, error) from error
                    raise error

    async def purge(self, maps: Sequence[str], now: float, most: int) -> AsyncIterator[Purged]:
        """Delete what has expired from these maps; see ``purge``."""
        self._check_open()
        for pk in maps:
            async for step in purge(self._caller, self._runner, pk, now, most):
                yield step

    async def _pages(
        self, request: dict[str, Any], *, consistent: bool = True
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the pages of a query, a MB or ``Limit`` entries each."""
        request["ConsistentRead"] = consistent
        while True:
            body = (await self._call("Query", request)).body
            yield body
            if "LastEvaluatedKey" not in body:
                return
            request["ExclusiveStartKey"] = body["LastEvaluatedKey"]

    # The catalogue

    async def describe(self, namespace: str, name: str) -> MapState:
        """Return a map's state in the catalogue. Cost: one BatchGetItem, of two rows."""
        self._check_open()
        keys = [catalogue.key(namespace, name), catalogue.namespace_key(namespace)]
        try:
            rows = await batches.read(self._caller, keys)
        except StoreDenied:  # policies of earlier versions allow reading one row at a time
            found = [await self._item(each["pk"]["S"], each["sk"]["S"]) for each in keys]
            rows = [row for row in found if row]
        return catalogue.state(rows, self._table)

    async def register(self, namespace: str, info: MapInfo) -> MapState:
        """Enter a map into the catalogue.

        Cost: one BatchGetItem; the first time also one or two PutItem, and a second BatchGetItem.
        """
        return await registration.register(self.describe, self._caller, namespace, info)

    async def raise_format(self, namespace: str, name: str, least: int) -> MapState:
        """Raise the format of a map that is in the catalogue; return its state there."""
        return await registration.raise_format(self.describe, self._caller, namespace, name, least)

    async def renew(self, namespace: str) -> None:
        """Give the namespace a new identity. Cost: one PutItem."""
        try:
            await self._call("PutItem", {"Item": catalogue.new_identity(namespace)})
        except Unsure as error:
            raise OutcomeUnknown(f"{self._caller.label}: {error}: renew it again") from error

    async def maps(self, namespace: str) -> list[MapInfo]:
        """Return the namespace's catalogue. Cost: one Query, a read unit for some 40 maps."""
        made = Expressions(0)
        whole = made.keys(partition(namespace), KeyRange())
        pages = self._pages(made.request(KeyConditionExpression=whole))
        rows = [row async for page in pages for row in page["Items"]]
        return sorted(catalogue.infos(rows))

    async def drop(self, namespace: str) -> None:
        """Clear every map of the catalogue, then the catalogue. Cost: that of ``clear``."""
        for info in await self.maps(namespace):
            map_ = partition(namespace, info.name)
            for pk in partitions(map_, info.shards):
                await self.clear(pk, KeyRange())
            if info.format >= heads.FORMAT:
                await heads.drop_parts(self, map_)
        await self.clear(partition(namespace), KeyRange())

    def close(self) -> None:
        """Close every connection; using the store again raises ``StoreError``."""
        self._closed = True
        self._runner.close()
        self._transport.close()

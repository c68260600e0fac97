"""A proxy that limits: read and write units for each partition key, as AWS does.

The engines answer as fast as they can. ``limiting`` stands in front of one and refuses what goes
over ``Limits``: a request whose partition key has no units left is answered with a
ProvisionedThroughputExceededException or a ThrottlingException, whose ``ThrottlingReasons`` say
what was exceeded. Of a batch, the rest comes back unprocessed; a transaction is cancelled.

As on AWS, a request goes through while any unit is left, however many it costs: so a large one
leaves a debt. Sizes are those of the JSON, which is a little longer than what AWS counts. A write
is charged by the request, before it is passed on, a read by its reply.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm.verify import proxy

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["LimitingProxy", "Limits", "limiting"]

READS = frozenset({"BatchGetItem", "GetItem", "Query", "Scan", "TransactGetItems"})
WRITES = frozenset({
    "BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem",
})  # fmt: skip
TYPE = "com.amazonaws.dynamodb.v20120810#"
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/"


class Limits(NamedTuple):
    """The units a second that the engine seems to have; None: no limit."""

    writes: float | None = None
    """Of each partition key."""
    reads: float | None = None
    """Of each partition key."""
    table_writes: float | None = None
    table_reads: float | None = None
    table_reason: str = "ProvisionedThroughputExceeded"
    """What the table's limits are: also AccountLimitExceeded, MaxOnDemandThroughputExceeded."""
    saved: float = 0.1
    """The seconds whose units may be saved up, for a burst."""


class Bucket:
    """The units that are left to a partition key, or to a table."""

    def __init__(self, rate: float, saved: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * saved)
        self._left = self._most
        self._filled = time.monotonic()

    def has_any(self) -> bool:
        """Tell whether a request may go through."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._filled) * self._rate)
        self._filled = now
        return self._left > 0

    def charge(self, units: float) -> None:
        """Take units, more than are left if need be."""
        self._left -= units


class LimitingProxy(proxy.HTTPProxy):
    """A running proxy. ``counts`` has ``requests``, ``passed`` and ``throttled``.

    ``throttled`` counts the parts of a batch, each by itself.
    """

    def __init__(self, target: tuple[str, int], limits: Limits) -> None:
        super().__init__(target, proxy.Faults(), seed=None)
        self.limits = limits
        self.units: dict[tuple[str, str], float] = {}
        """What was charged: by ``Read`` or ``Write`` and the partition key."""
        self._buckets: dict[tuple[str, str | None], Bucket | None] = {}

    def forget_units(self) -> None:
        """Begin anew, with limits that may be others."""
        self._buckets.clear()

    async def exchange(self, fault: str, head: bytes, body: bytes, ends: proxy.Ends) -> bool:
        """Answer one request: by the engine, or in its place."""
        del fault
        operation = _operation(head)
        if operation not in READS | WRITES:
            return await super().exchange("", head, body, ends)
        kind = "Read" if operation in READS else "Write"
        request = json.loads(body)
        rest: dict[str, Any] = {}
        if operation.startswith("Batch"):
            body, rest, reason = self._divide_batch(kind, request)
        else:
            reason = self._refusal(kind, _partitions(operation, request))
        if reason:
            self.counts["throttled"] += max(1, _count(rest))
            await self.answer(ends, "400 Bad Request", _refused(operation, request, reason))
            return True
        self.counts["throttled"] += _count(rest)
        if kind == "Write":
            self._charge_write(operation, json.loads(body))
        ends.server.write(proxy.framed(head, body))
        await ends.server.drain()
        reply_head, reply = await proxy.message(ends.replies)
        if kind == "Read":
            self._charge_read(operation, json.loads(body), len(reply))
        if rest:
            reply = proxy.with_rest(reply, rest)
        self.counts["passed"] += 1
        ends.client.write(proxy.framed(reply_head, reply))
        await ends.client.drain()
        return True

    def _bucket(self, kind: str, pk: str | None) -> Bucket | None:
        known = self._buckets.get((kind, pk), ...)
        if known is not ...:
            return known
        limits = self.limits
        if pk is None:
            rate = limits.table_reads if kind == "Read" else limits.table_writes
        else:
            rate = limits.reads if kind == "Read" else limits.writes
        made = None if rate is None else Bucket(rate, limits.saved)
        self._buckets[kind, pk] = made
        return made

    def _refusal(self, kind: str, partitions: list[str]) -> str:
        """Return the reason for which a request is refused, or nothing."""
        table = self._bucket(kind, None)
        if table is not None and not table.has_any():
            return f"Table{kind}{self.limits.table_reason}"
        for pk in dict.fromkeys(partitions):
            bucket = self._bucket(kind, pk)
            if bucket is not None and not bucket.has_any():
                return f"Table{kind}KeyRangeThroughputExceeded"
        return ""

    def _divide_batch(
        self, kind: str, request: dict[str, Any]
    ) -> tuple[bytes, dict[str, Any], str]:
        """Return the batch without the parts that are refused, those, and a reason if all are."""
        kept: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        reason = ""
        for table, wanted in request["RequestItems"].items():
            parts = wanted["Keys"] if isinstance(wanted, dict) else wanted
            through: list[Any] = []
            left: list[Any] = []
            for part in parts:
                why = self._refusal(kind, [_partition(part)])
                reason = reason or why
                (left if why else through).append(part)
                if not why:
                    self._spend(kind, _partition(part), 1)
            for parts_of, into in ((through, kept), (left, rest)):
                if parts_of:
                    into[table] = (
                        {**wanted, "Keys": parts_of} if isinstance(wanted, dict) else parts_of
                    )
        body = json.dumps({**request, "RequestItems": kept}).encode()
        return body, rest, "" if kept else reason

    def _charge_write(self, operation: str, request: dict[str, Any]) -> None:
        if operation == "TransactWriteItems":
            for part in request["TransactItems"]:
                self._spend("Write", _partition(part), 2.0 * _units(part))
        elif operation == "BatchWriteItem":
            for part in _parts(request):  # the first unit of each is charged
                self._spend("Write", _partition(part), _units(part) - 1.0)
        else:
            for pk in _partitions(operation, request):
                self._spend("Write", pk, float(_units(request.get("Item", {}))))

    def _charge_read(self, operation: str, request: dict[str, Any], size: int) -> None:
        if operation == "BatchGetItem":  # the first unit of each key is charged
            keys = _parts(request)
            for part in keys:
                self._spend("Read", _partition(part), max(0.0, size / 4096 / len(keys) - 1))
            return
        price = 1.0 if request.get("ConsistentRead") else 0.5
        for pk in _partitions(operation, request):
            self._spend("Read", pk, price * -(-size // 4096))

    def _spend(self, kind: str, pk: str, units: float) -> None:
        self.units[kind, pk] = self.units.get((kind, pk), 0.0) + units
        for bucket in (self._bucket(kind, pk), self._bucket(kind, None)):
            if bucket is not None:
                bucket.charge(units)


def _operation(head: bytes) -> str:
    found = re.search(rb"(?i)x-amz-target:\s*DynamoDB_20120810\.(\w+)", head)
    return found[1].decode() if found else ""


def _partition(part: Mapping[str, Any]) -> str:
    """Return the partition key of a key, or of a part of a batch or a transaction."""
    if "pk" in part:
        return str(part["pk"]["S"])
    (inner,) = part.values() if len(part) == 1 else (part,)
    return str((inner.get("Item") or inner["Key"])["pk"]["S"])


def _partitions(operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return the partition key of each part of a request."""
    if operation == "TransactWriteItems":
        return [_partition(part) for part in request["TransactItems"]]
    if operation == "Query":
        found = re.search(r"pk = (:\w+)", request["KeyConditionExpression"])
        assert found is not None, request
        return [request["ExpressionAttributeValues"][found[1]]["S"]]
    if "Key" in request or "Item" in request:
        return [_partition({"": request})]
    return []


def _parts(request: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a batch, of all its tables."""
    return [
        part
        for wanted in request["RequestItems"].values()
        for part in (wanted["Keys"] if isinstance(wanted, dict) else wanted)
    ]


def _units(what: object) -> int:
    return max(1, -(-len(json.dumps(what)) // 1024))


def _count(rest: Mapping[str, Any]) -> int:
    return len(_parts({"RequestItems": rest}))


def _refused(operation: str, request: Mapping[str, Any], reason: str) -> bytes:
    provisioned = "Provisioned" in reason or "KeyRange" in reason
    if operation == "TransactWriteItems":
        code = "ProvisionedThroughputExceeded" if provisioned else "ThrottlingError"
        reasons = [{"Code": code, "Message": reason} for _ in request["TransactItems"]]
        return json.dumps(
            {
                "__type": f"{TYPE}TransactionCanceledException",
                "message": f"Transaction cancelled, please refer cancellation reasons [{code}]",
                "CancellationReasons": reasons,
            }
        ).encode()
    name = "ProvisionedThroughputExceededException" if provisioned else "ThrottlingException"
    tables = [request["TableName"]] if "TableName" in request else [*request["RequestItems"]]
    return json.dumps(
        {
            "__type": f"{TYPE}{name}",
            "message": "Throughput exceeds the current capacity of your table or index.",
            "ThrottlingReasons": [{"reason": reason, "resource": ARN + table} for table in tables],
        }
    ).encode()


@contextmanager
def limiting(host: str, port: int, limits: Limits) -> Generator[LimitingProxy, None, None]:
    """Run a proxy that limits what comes to an engine."""
    with proxy.running(LimitingProxy((host, port), limits)) as made:
        yield made

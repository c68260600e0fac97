"""Retries: one request is sent until its outcome is known, or known to be unknown.

Sends through a transport, again where that is safe, and emits ``events``. Knows nothing of
entries.

Invariants:

1. A write is sent again only after an attempt that certainly was not applied: refused because
   no capacity was left, or (once) because its keys or signature had expired, or never sent.
   After a lost reply or a failure of the server the write may have been applied: ``Unsure`` is
   raised at once. Only reads are sent again then.
2. No call takes longer than the budget, pauses included.
3. With any number of callers and failures, the number of repeats does not exceed a tenth
   of the successes plus ``Bucket.RATE`` a second: an outage is not amplified. What is throttled
   is repeated at the pace that gets through (``pace``), in the order in which it came.
"""

from __future__ import annotations

import time
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from lpcm import events
from lpcm.errors import StoreThrottled, StoreUnavailable
from lpcm.stores.dynamodb.errors import Verdict, classify, failure, is_throttled, keys_refused
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.stores.dynamodb.pace import Pace, ticket
from lpcm.stores.dynamodb.throttling import UNKNOWN, advice, limited_partitions, partitions
from lpcm.system.backoff import backoff
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lpcm.stores.dynamodb.http.port import Reply, Transport

__all__ = ["Bucket", "Caller", "Pauses", "Unsure", "postponed", "units"]

_BASE: Final = 0.025
_CEILING: Final = 1.0

_READS: Final = frozenset({"BatchGetItem", "GetItem", "Query"})

postponed: ContextVar[list[events.Request] | None] = ContextVar("lpcm_postponed", default=None)
"""The list of events on a thread that works for another thread, which emits them."""


class Unsure(Exception):
    """A write was sent, and it is unknown whether it was, or will be, applied."""


class Bucket:
    """The tokens for repeats, shared by all callers of a store. A repeat waits for its token.

    Not locked: a race loses a fraction of a token, and a fork never finds it locked.
    """

    FULL: Final = 100.0
    RATE: Final = 10.0
    """Tokens a second."""
    EARNED: Final = 0.1
    """Tokens for a success."""

    def __init__(self) -> None:
        self._tokens = self.FULL
        self._filled = time.monotonic()

    def earn(self) -> None:
        """Note a success."""
        if self._tokens < self.FULL:
            self._tokens += self.EARNED

    def take(self, most: float) -> float | None:
        """Take a token; return the seconds to wait for it, None if more than ``most``."""
        now = time.monotonic()
        filled = self._tokens + (now - self._filled) * self.RATE
        self._filled = now
        self._tokens = min(self.FULL, filled) - 1
        wait = max(0.0, -self._tokens / self.RATE)
        if wait <= most:
            return wait
        self._tokens += 1
        return None


class Pauses:
    """The pauses between the attempts of one call, within its budget."""

    def __init__(self, transport: Transport, bucket: Bucket, budget: float) -> None:
        self._transport = transport
        self._bucket = bucket
        self._deadline = time.monotonic() + budget
        self.attempt = 1
        self.place = 0
        """The place in the queues of ``pace``; 0: none yet."""
        self.sent = 0.0
        """When the last attempt left such a queue."""

    def left(self) -> float:
        """Return the seconds left of the budget."""
        return self._deadline - time.monotonic()

    async def pause(self, *, paced: bool = False) -> bool:
        """Wait before the next attempt; False where the budget leaves no time for it.

        ``paced``: the attempt waits for its turn besides, and so takes no token.
        """
        wanted = backoff(self.attempt, _BASE, _CEILING)
        left = self.left()
        turn = (0.0 if paced else self._bucket.take(left)) if wanted < left else None
        if turn is None:
            return False
        await self._transport.sleep(max(wanted, turn))
        self.attempt += 1
        return self.left() > 0


class Caller:
    """A table, and the transport to it.

    ``budget``: seconds a call may take, repeats included. ``patience``: seconds one attempt
    may take. ``most``: bytes of the largest value; None: no limit but DynamoDB's.
    """

    def __init__(
        self,
        transport: Transport,
        table: str,
        budget: float,
        patience: float,
        most: int | None = None,
    ) -> None:
        self.transport = transport
        self.table = table
        self.label = f"dynamodb table {table!r}"
        """The table, for messages."""
        self.budget = budget
        self.most = most
        self._patience = min(patience, budget)
        self._bucket = Bucket()
        self._paces: dict[tuple[str | None, bool], Pace] = {}
        """By partition key, None: the whole table, and whether for reads."""
        follow(self, Caller._forget_paces)

    def _forget_paces(self) -> None:
        """In a forked child: those that wait in the queues are the parent's, and never leave."""
        self._paces = {}

    def pauses(self) -> Pauses:
        """Return the pauses of one call, whose budget begins now."""
        return Pauses(self.transport, self._bucket, self.budget)

    async def call(
        self, operation: str, request: dict[str, Any], pauses: Pauses | None = None
    ) -> Reply:
        """Return a reply that says ``DONE`` or ``REFUSED``.

        **Raises** Unsure for a write that may have been applied; a StoreError for a write that
        certainly was not; for a read the error of its last attempt.
        """
        observed = events.has_listeners()
        if observed:
            request["ReturnConsumedCapacity"] = "TOTAL"
        pauses = pauses or Pauses(self.transport, self._bucket, self.budget)
        anew = False
        while True:
            if self._paces:
                if not same[0]:
                    forked()
                pauses.sent = await self._turn(operation, request, pauses)
            reply, lost = await self._attempt(operation, request, pauses, observed=observed)
            if reply is not None:
                # The first is what classify says of it, without the call.
                match Verdict.DONE if reply.status == 200 else classify(reply):
                    case Verdict.DONE | Verdict.REFUSED:
                        self._bucket.earn()
                        if self._paces:
                            self._succeeded(operation, request)
                        return reply
                    case Verdict.ANEW if not anew:
                        anew = True
                        if keys_refused(reply):
                            self.transport.renew()
                    case Verdict.NEVER | Verdict.ANEW:
                        raise self._failure(reply, operation, request)
                    case Verdict.UNKNOWN if operation not in _READS:
                        raise Unsure(str(self._failure(reply, operation, request)))
                    case Verdict.LATER if is_throttled(reply):
                        self._throttled(operation, request, reply, pauses.sent)
                        if await pauses.pause(paced=True):
                            continue
                        raise self._failure(reply, operation, request)
                    case _:
                        pass
            elif isinstance(lost, ReplyLost) and operation not in _READS:
                raise Unsure(str(lost)) from lost
            if not await pauses.pause():
                if reply is not None:
                    raise self._failure(reply, operation, request)
                raise StoreUnavailable(
                    f"{self.label}: {lost} ({pauses.attempt} attempts)"
                ) from lost

    async def _attempt(
        self, operation: str, request: Mapping[str, Any], pauses: Pauses, *, observed: bool
    ) -> tuple[Reply | None, NotSent | ReplyLost | None]:
        begun = time.monotonic() if observed else 0.0
        reply: Reply | None = None
        lost: NotSent | ReplyLost | None = None
        try:
            within = self._patience if pauses.attempt == 1 else min(self._patience, pauses.left())
            reply = await self.transport.call(operation, request, within)
        except (NotSent, ReplyLost) as error:
            lost = error
        if observed:
            self._emit(operation, time.monotonic() - begun, reply, lost, pauses.attempt)
        return reply, lost

    def _failure(self, reply: Reply, operation: str, request: Mapping[str, Any]) -> Exception:
        return failure(
            reply, operation, self.table, self.transport.endpoint, partitions(operation, request)
        )

    # Throttling

    async def _turn(self, operation: str, request: Mapping[str, Any], pauses: Pauses) -> float:
        """Wait for the request's turn in the queues that it has to pass; return the time then."""
        for pk, units in _shares(partitions(operation, request)):
            pace = self._pace(pk, operation)
            if pace is None:
                continue
            pauses.place = pauses.place or ticket()
            pace.enter(pauses.place)
            try:
                while wait := pace.wait(pauses.place, units):
                    left = pauses.left()
                    if left <= 0:
                        raise StoreThrottled(
                            f"{self.label}: {operation} was over the limit for {self.budget:g} s, "
                            f"and was not done: {pace.why}"
                        )
                    await self.transport.sleep(min(wait, left))
            finally:
                pace.leave(pauses.place)
        return time.monotonic()

    def _pace(self, pk: str | None, operation: str) -> Pace | None:
        key = pk, operation in _READS
        pace = self._paces.get(key)
        if pace is not None and pace.is_over():
            self._paces.pop(key, None)
            return None
        return pace

    def _succeeded(self, operation: str, request: Mapping[str, Any]) -> None:
        for pk, units in _shares(partitions(operation, request)):
            pace = self._paces.get((pk, operation in _READS))
            if pace is not None:
                pace.succeeded(units)

    def _throttled(
        self, operation: str, request: Mapping[str, Any], reply: Reply, sent: float
    ) -> None:
        of = partitions(operation, request)
        for pk in limited_partitions(reply, of):
            self._refused((pk, operation in _READS), sent, advice(reply, of))

    def unprocessed(self, operation: str, rest: Mapping[str, Any], pauses: Pauses) -> None:
        """Note the rest of a batch, which was not done: there is no reason, so it is the maps'."""
        for pk, count in Counter(partitions(operation, {"RequestItems": rest})).items():
            self._refused((pk, operation in _READS), pauses.sent, UNKNOWN, count)

    def _refused(
        self, key: tuple[str | None, bool], sent: float, why: str, units: float = 0.0
    ) -> None:
        pace = self._paces.get(key)
        if pace is None:
            # Else those of partitions to which nobody comes back, as those of parts, would stay.
            # Only the keys: a list of pairs raises where another thread adds one meanwhile.
            for of in list(self._paces):
                each = self._paces.get(of)
                if each is not None and each.is_over():
                    self._paces.pop(of, None)
            pace, units = self._paces.setdefault(key, Pace()), 0.0
        pace.why = why
        pace.refused(sent, units)

    def _emit(
        self,
        operation: str,
        seconds: float,
        reply: Reply | None,
        lost: Exception | None,
        attempt: int,
    ) -> None:
        event = events.Request(
            "dynamodb", self.transport.endpoint, operation, seconds, attempt=attempt
        )
        if reply is None:
            event = event._replace(error=type(lost).__name__)
        else:
            spent = units(reply)
            event = event._replace(
                error=reply.error or ("" if reply.status == 200 else f"HTTP {reply.status}"),
                read_units=spent if operation in _READS else 0.0,
                write_units=0.0 if operation in _READS else spent,
                sent=reply.sent,
                received=reply.received,
            )
        later = postponed.get()
        if later is None:
            events.emit(event)
        else:
            later.append(event)


def _shares(of: Sequence[str]) -> Iterator[tuple[str | None, int]]:
    """Yield each partition key of a request with the number of its parts there; None: all."""
    yield from Counter(of).items()
    yield None, max(1, len(of))


def units(reply: Reply) -> float:
    """Return the units that a request cost, if it asked for them."""
    consumed = reply.body.get("ConsumedCapacity") or ()
    if not isinstance(consumed, list):
        consumed = (consumed,) if consumed else ()
    return float(sum(each.get("CapacityUnits", 0) for each in consumed))

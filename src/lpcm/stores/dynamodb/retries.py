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
   of the successes plus ``Bucket.RATE`` a second: an outage is not amplified.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from lpcm import events
from lpcm.errors import StoreUnavailable
from lpcm.stores.dynamodb.errors import Verdict, classify, failure, keys_refused
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.system.backoff import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.port import Reply, Transport

__all__ = ["Bucket", "Caller", "Pauses", "Unsure", "postponed"]

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

    def left(self) -> float:
        """Return the seconds left of the budget."""
        return self._deadline - time.monotonic()

    async def pause(self) -> bool:
        """Wait before the next attempt; False where the budget leaves no time for it."""
        wanted = backoff(self.attempt, _BASE, _CEILING)
        left = self.left()
        turn = self._bucket.take(left) if wanted < left else None
        if turn is None:
            return False
        await self._transport.sleep(max(wanted, turn))
        self.attempt += 1
        return self.left() > 0


class Caller:
    """A table, and the transport to it.

    ``budget``: seconds a call may take, repeats included. ``patience``: seconds one attempt
    may take.
    """

    def __init__(self, transport: Transport, table: str, budget: float, patience: float) -> None:
        self.transport = transport
        self.table = table
        self.label = f"dynamodb table {table!r}"
        """The table, for messages."""
        self.budget = budget
        self._patience = min(patience, budget)
        self._bucket = Bucket()

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
            reply, lost = await self._attempt(operation, request, pauses, observed=observed)
            if reply is not None:
                # The first is what classify says of it, without the call.
                match Verdict.DONE if reply.status == 200 else classify(reply):
                    case Verdict.DONE | Verdict.REFUSED:
                        self._bucket.earn()
                        return reply
                    case Verdict.ANEW if not anew:
                        anew = True
                        if keys_refused(reply):
                            self.transport.renew()
                    case Verdict.NEVER | Verdict.ANEW:
                        raise self._failure(reply, operation)
                    case Verdict.UNKNOWN if operation not in _READS:
                        raise Unsure(str(self._failure(reply, operation)))
                    case _:
                        pass
            elif isinstance(lost, ReplyLost) and operation not in _READS:
                raise Unsure(str(lost)) from lost
            if not await pauses.pause():
                if reply is not None:
                    raise self._failure(reply, operation)
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

    def _failure(self, reply: Reply, operation: str) -> Exception:
        return failure(reply, operation, self.table, self.transport.endpoint)

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
            units = _units(reply)
            event = event._replace(
                error=reply.error or ("" if reply.status == 200 else f"HTTP {reply.status}"),
                read_units=units if operation in _READS else 0.0,
                write_units=0.0 if operation in _READS else units,
                sent=reply.sent,
                received=reply.received,
            )
        later = postponed.get()
        if later is None:
            events.emit(event)
        else:
            later.append(event)


def _units(reply: Reply) -> float:
    consumed = reply.body.get("ConsumedCapacity") or ()
    if not isinstance(consumed, list):
        consumed = (consumed,) if consumed else ()
    return float(sum(each.get("CapacityUnits", 0) for each in consumed))

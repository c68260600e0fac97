"""Combined increments: those of one key that meet in this process go to the store together.

While an increment of a key is on its way, further ones with the same initial value wait in its
*line*. When it is done, they go as one: one mark, one write, one publication, so this is a tier
above all others. Each caller gets what it would have got alone, had all gone one after the other at
that instant: the result minus the deltas behind its own. ``expires`` is the first caller's.

- **Closed**: a sum past 38 digits, or a first caller whose own new entry would have expired by now,
  ends the batch; the rest goes next.
- **Refused**: each goes alone, in order.
- **Failed**: all of the batch have the error, each an exception of its own. So a lost reply is
  unknown to each of them.
- **Left**: a caller that is cancelled or interrupted before its batch was sent is left out of it;
  later it only stops listening.

Threads send for each other: who finds no other at it takes what waits in the line. For tasks of an
event loop the engine sends, by a task of its own, so that no caller's cancellation is another's.
Knows tiers and no adapter.

Invariants: a batch is taken from the line before it is sent, and by one sender; each of its callers
began before that and returns after its end, so that instant is within each one's call.
"""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast

from lpcm.engine.drive import running_loop
from lpcm.errors import LPCMError, OutcomeUnknown
from lpcm.ports import Add, Applied
from lpcm.ports.near import read_kept
from lpcm.system import process
from lpcm.values.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from lpcm.ports import Op, Outcome, Stored, Tier

__all__ = ["Combining", "Increments", "combine"]

Key: TypeAlias = "tuple[str, str, int | None]"
"""The map, the encoded key and the initial value."""
Apply: TypeAlias = "Callable[[str, str, Op, float], Awaitable[Outcome]]"

MOST: Final = 10**38 - 1
"""The largest int that a store adds to natively."""
PATIENCE: Final = 0.5
"""Seconds after which a waiting thread looks whether the sender was broken off before it rang."""


class Waiting(Protocol):
    """An increment that waits for its outcome."""

    op: Add
    outcome: Outcome | BaseException | None
    """None: it waits. What is set first counts."""

    def settle(self, outcome: Outcome | BaseException) -> None:
        """Set the outcome, and wake who waits for it."""
        ...


C = TypeVar("C", bound=Waiting)


def combine(apply: Apply, now: Callable[[], float], *, blocking: bool) -> Increments:
    """Return what sends the increments of a tier, for threads or for one event loop."""
    return ThreadIncrements(apply, now) if blocking else LoopIncrements(apply, now)


class Increments:
    """Sends increments together, by the write of a tier."""

    def __init__(self, apply: Apply, now: Callable[[], float]) -> None:
        self._apply = apply
        self._now = now

    async def add(self, map: str, sk: str, op: Add, now: float) -> Outcome:
        """Do one increment, with others where there are any."""
        raise NotImplementedError

    async def send(self, key: Key, batch: Sequence[Waiting]) -> None:
        """Send increments as one, and settle each; those of a refused sum alone, in order."""
        pk, sk, _ = key
        try:
            if len(batch) > 1:
                first = batch[0].op
                op = first._replace(delta=sum(each.op.delta for each in batch))
                outcome = await self._apply(pk, sk, op, self._now())
                if isinstance(outcome, Applied):
                    assert outcome.entry is not None, "an increment leaves an entry"
                    for each, share in zip(batch, self.shares(outcome.entry, batch), strict=True):
                        each.settle(Applied(share))
                    return
            for each in batch:
                if each.outcome is None:  # else: its caller has left
                    await self._send_alone(pk, sk, each)
        except LPCMError as error:
            for each in batch:
                each.settle(_another(error))
        except BaseException as error:
            for each in batch:
                each.settle(_broken_off(key, error))
            raise

    async def _send_alone(self, pk: str, sk: str, caller: Waiting) -> None:
        try:
            caller.settle(await self._apply(pk, sk, caller.op, self._now()))
        except LPCMError as error:
            caller.settle(error)

    def shares(self, entry: Stored, batch: Sequence[Waiting]) -> Iterable[Stored]:
        """Return the entry as each increment would have left it, in order."""
        number = cast("int", entry.data) - sum(each.op.delta for each in batch)
        for each in batch:
            number += each.op.delta
            yield entry._replace(data=number)


def take(waiting: list[C], now: float) -> list[C]:
    """Take from a line the callers that go together next.

    Called by one sender at a time; others only append.
    """
    batch: list[C] = []
    total = 0
    while waiting:
        if batch and (abs(total + waiting[0].op.delta) > MOST or _is_over(batch[0].op, now)):
            break
        caller = waiting.pop(0)
        if caller.outcome is None:  # else: its caller has left
            batch.append(caller)
            total += caller.op.delta
    return batch


def _is_over(op: Add, now: float) -> bool:
    """Tell whether the entry that an increment makes would have expired already."""
    return op.expires is not None and op.expires <= now


def _another(error: LPCMError) -> LPCMError:
    """Return an equal exception: one that several threads raise would have all their tracebacks."""
    made = copy(error)
    made.__cause__ = error
    return made


def _broken_off(key: Key, cause: BaseException | None = None) -> OutcomeUnknown:
    made = OutcomeUnknown(
        f"an increment of {key_of(key[1])!r} went together with others, and was broken off: the "
        "store may have it or not; read before you write again"
    )
    made.__cause__ = cause
    return made


_LEFT: Final = OutcomeUnknown("its caller has left")
"""The outcome of an increment whose caller does not wait for it any more."""


def _result(outcome: Outcome | BaseException) -> Outcome:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


# Threads


class _Thread:
    """An increment that a thread waits for."""

    __slots__ = ("bell", "op", "outcome")

    def __init__(self, op: Add) -> None:
        self.op = op
        self.outcome: Outcome | BaseException | None = None
        self.bell = threading.Lock()
        self.bell.acquire()

    def settle(self, outcome: Outcome | BaseException) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.ring()

    def ring(self) -> None:
        """Have the thread look again whether its increment is done, or is to be sent."""
        try:
            self.bell.release()
        except RuntimeError:
            pass  # it was rung already, and the thread has not looked yet


class _Line:
    """The increments of one key that wait for the sender."""

    __slots__ = ("sending", "waiting")

    def __init__(self) -> None:
        self.sending = threading.Lock()
        """Held by the sender, in a ``with`` block: however a sender ends, it is released."""
        self.waiting: list[_Thread] = []


class ThreadIncrements(Increments):
    """The same for threads: one that waits, and finds no sender, sends what is in the line.

    No step needs another lock: what a signal breaks off between two of them is found by who waits.
    """

    def __init__(self, apply: Apply, now: Callable[[], float]) -> None:
        super().__init__(apply, now)
        self._forget()
        process.follow(self, ThreadIncrements._forget)

    def _forget(self) -> None:
        """Drop the lines: in a fork's child they are another process's."""
        self._lines: dict[Key, _Line] = {}
        self._inside = set[int]()

    async def add(self, map: str, sk: str, op: Add, now: float) -> Outcome:
        """Do one increment: at once where no other is on its way, else with those that wait."""
        if not process.same[0]:
            process.forked()
        me = threading.get_ident()
        if me in self._inside:  # in a signal handler or a listener: it must not wait for itself
            return await self._apply(map, sk, op, now)
        key = map, sk, op.initial
        line = self._lines.get(key)
        if line is None:
            line = self._lines.setdefault(key, _Line())
        self._inside.add(me)
        try:
            if line.waiting or line.sending.locked():
                return await self._join(key, line, op)
            with line.sending:
                return await self._apply(map, sk, op, now)
        finally:
            self._inside.discard(me)
            if not line.sending.locked():
                for first in line.waiting[:1]:
                    first.ring()
                # Who has this line already, and joins it only now, sends by itself.
                if not line.waiting and self._lines.get(key) is line:
                    self._lines.pop(key, None)

    async def _join(self, key: Key, line: _Line, op: Add) -> Outcome:
        mine = _Thread(op)
        try:
            line.waiting.append(mine)
            while mine.outcome is None:
                if line.sending.locked():
                    mine.bell.acquire(timeout=PATIENCE)
                else:
                    with line.sending:
                        await self._send_until(key, line, mine)
        except BaseException:
            mine.settle(_LEFT)
            raise
        return _result(mine.outcome)

    async def _send_until(self, key: Key, line: _Line, mine: _Thread) -> None:
        """Send batch after batch, until the thread's own increment is settled."""
        while mine.outcome is None:
            if mine in line.waiting:
                batch = take(line.waiting, self._now())
                await self.send(key, batch)
            else:  # a sender took it, and was broken off
                mine.settle(_broken_off(key))


# Event loops


class _Task:
    """An increment that a task waits for."""

    __slots__ = ("context", "future", "op", "outcome")

    def __init__(self, op: Add, future: Any) -> None:
        self.op = op
        self.outcome: Outcome | BaseException | None = None
        self.future = future
        self.context: Context = copy_context()
        """The requests of a batch are those of its first caller, for ``events.meter``."""

    def settle(self, outcome: Outcome | BaseException) -> None:
        if self.outcome is None:
            self.outcome = outcome
            # A loop that was closed amid increments wakes nobody: their coroutines are collected.
            if not self.future.done() and not self.future.get_loop().is_closed():
                self.future.set_result(None)


class LoopIncrements(Increments):
    """The same for the tasks of one event loop."""

    def __init__(self, apply: Apply, now: Callable[[], float]) -> None:
        super().__init__(apply, now)
        self._lines: dict[Key, list[_Task]] = {}
        self._senders: dict[Key, Any] = {}
        """The tasks that send: their loop keeps none of them alive."""

    async def add(self, map: str, sk: str, op: Add, now: float) -> Outcome:
        """Do one increment: at once where no other is on its way, else with those that wait."""
        key = map, sk, op.initial
        waiting = self._lines.get(key)
        if waiting is None:
            self._lines[key] = []
            try:
                return await self._apply(map, sk, op, now)
            finally:
                self._go_on(key)
        mine = _Task(op, running_loop().create_future())
        try:
            waiting.append(mine)
            await mine.future
        except BaseException:
            mine.settle(_LEFT)
            raise
        assert mine.outcome is not None, "who settles an increment sets the outcome first"
        return _result(mine.outcome)

    def _go_on(self, key: Key) -> None:
        """Send what waits in the line, by a task; let go of a line where nothing does."""
        batch = take(self._lines[key], self._now())
        loop = batch[0].future.get_loop() if batch else None
        if loop is None or loop.is_closed():
            del self._lines[key]
            self._senders.pop(key, None)
            return
        task = loop.create_task(self.send(key, batch), context=batch[0].context)
        self._senders[key] = task
        task.add_done_callback(partial(self._sent, key, batch))

    def _sent(self, key: Key, batch: Sequence[_Task], task: Any) -> None:
        for each in batch:  # those of a task that was cancelled before it began
            each.settle(_broken_off(key))
        if not task.cancelled():
            task.exception()  # whatever it is, the callers have it
        self._go_on(key)


class Combining:
    """A ``ports.Tier`` in front of another, whose increments go together where they meet."""

    def __init__(self, tier: Tier, increments: Increments) -> None:
        self._tier = tier
        self._apply = tier.apply
        self._add = increments.add
        self.read = tier.read
        self.read_kept = read_kept(tier)
        self.read_many = tier.read_many
        self.apply_many = tier.apply_many
        self.transact = tier.transact
        self.clear = tier.clear

    @property
    def near(self) -> Any:
        """The near cache of the tier behind, for those who serve its hits; None: it has none."""
        return getattr(self._tier, "near", None)

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        if type(op) is Add:
            return await self._add(map, sk, op, now)
        return await self._apply(map, sk, op, now)

"""The write side of the protocol: mark, write, publish.

Responsible for rules R2 and R3 of ``coherence.tier``: an item is marked before the store is
written, and a write is acknowledged only after its result was published with the mark's
token, or after an invalidation made after the commit. Knows nothing of reads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from lpcm.coherence.item import MARK, exchange, marked, marking, publication
from lpcm.errors import CacheUnavailable, LPCMError, OutcomeUnknown, StoreError, ValueTooLarge
from lpcm.ports import Aborted, Applied, CacheLost, Packet, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.coherence.invalidation import Invalidations
    from lpcm.coherence.item import Item, Policy, Token
    from lpcm.ports import Cache, Change, Check, Clock, Op, Outcome, Store

__all__ = ["Writing"]

Mark: TypeAlias = "Token | CacheLost"

_UNTOLD: Final = StoreError("what is stored is not known")


class Writing:
    """What brings writes to one map's entries to their end."""

    published = frozenset({"HD", "NF"})
    """The replies to a publication after which the write is acknowledged (R2)."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        clock: Clock,
        policy: Policy,
        invalidations: Invalidations,
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._policy = policy
        self._invalidations = invalidations

    async def one(self, map: str, item: Item, op: Op, now: float) -> Outcome:
        """Do one write, or raise what prevented it."""
        (outcome,) = await self._do(map, [item], [(item.sk, op)], now, bulk=False)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def many(
        self, map: str, items: Sequence[Item], writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do writes to keys that differ; what prevented one stands in its place."""
        return await self._do(map, items, writes, now, bulk=True)

    async def together(
        self,
        changes: Sequence[tuple[Item, Change]],
        checks: Sequence[tuple[Item, Check]],
        now: float,
    ) -> list[Applied] | Aborted:
        """Do a transaction. What it changes is marked before, and published after.

        What a failed condition says of an entry is published too; of the other entries it
        says nothing, so those are invalidated. So is an entry whose check failed: its reader
        knows by now that it is another one than what may be cached (R1, second form).
        """
        items = [item for item, _ in changes]
        began = self._clock.monotonic()
        marks = await self._mark([each.key for each in items])
        lost = next((mark for mark in marks if isinstance(mark, CacheLost)), None)
        if lost is not None and self._policy.strict:
            held = zip(items, marks, strict=True)
            await self._invalidations.make([i.key for i, m in held if not isinstance(m, CacheLost)])
            raise CacheUnavailable(f"{lost}: nothing was written")
        try:
            done = await self._store.transact(
                [change for _, change in changes], [check for _, check in checks], now
            )
        except LPCMError as error:
            await self._disown(list(items), owe=not isinstance(error, (StoreError, ValueTooLarge)))
            raise
        except GeneratorExit:  # see _store_them
            for each in items:
                self._invalidations.owe(each.key)
            raise
        except BaseException:
            await self._disown(list(items), owe=True)
            raise
        outcomes: list[Outcome | Exception] = []
        refused: dict[tuple[str, str], Outcome | Exception] = {}
        if isinstance(done, Aborted):
            refused.update(((pk, sk), outcome) for pk, sk, outcome in done.reasons)
            outcomes += [refused.get((pk, sk), _UNTOLD) for _, (pk, sk, _) in changes]
        else:
            outcomes += done
        settled = await self._publish(list(zip(items, marks, outcomes, strict=True)), began)
        for before, after in zip(outcomes, settled, strict=True):
            if isinstance(after, Exception) and after is not before:
                raise after
        if isinstance(done, Aborted):
            await self._uncover([item.key for item, (pk, sk, _) in checks if (pk, sk) in refused])
        return done

    async def _uncover(self, keys: list[str]) -> None:
        """Empty what is known to have changed, by whoever and whether acknowledged or not."""
        losses = await self._invalidations.make(keys) if keys else []
        for key, loss in zip(keys, losses, strict=True):
            if loss is not None:
                self._invalidations.owe(key)
        lost = next((loss for loss in losses if loss is not None), None)
        if lost is not None and self._policy.strict:
            raise CacheUnavailable(f"{lost}: nothing was written")

    async def _do(
        self,
        map: str,
        items: Sequence[Item],
        writes: Sequence[tuple[str, Op]],
        now: float,
        *,
        bulk: bool,
    ) -> list[Outcome | Exception]:
        began = self._clock.monotonic()
        marks = await self._mark([each.key for each in items])
        outcomes: dict[int, Outcome | Exception] = {}
        if self._policy.strict:
            for at, mark in enumerate(marks):
                if isinstance(mark, CacheLost):
                    outcomes[at] = CacheUnavailable(f"{mark}: nothing was written")
        left = [at for at in range(len(items)) if at not in outcomes]
        if left:
            kept = [(items[at], writes[at][1]) for at in left]
            done = await self._store_them(map, kept, now, bulk=bulk)
            settled = await self._publish(
                [(items[at], marks[at], outcome) for at, outcome in zip(left, done, strict=True)],
                began,
            )
            outcomes.update(zip(left, settled, strict=True))
        return [outcomes[at] for at in range(len(items))]

    async def _store_them(
        self, map: str, writes: list[tuple[Item, Op]], now: float, *, bulk: bool
    ) -> list[Outcome | Exception]:
        items = [item for item, _ in writes]
        try:
            if bulk:
                ops = [(item.sk, op) for item, op in writes]
                return await self._store.apply_many(map, ops, now)
            ((item, op),) = writes
            return [await self._store.apply(map, item.sk, op, now)]
        except LPCMError as error:
            if not bulk:
                return [error]
            # Nothing was written, the port says, unless the outcome is unknown.
            await self._disown(items, owe=not isinstance(error, (StoreError, ValueTooLarge)))
            raise
        except GeneratorExit:  # given up by its driver: nothing can be awaited any more
            for each in items:
                self._invalidations.owe(each.key)
            raise
        except BaseException:
            # Cancelled or broken off: the store may have it, now or a little later.
            await self._disown(items, owe=True)
            raise

    async def _disown(self, items: list[Item], *, owe: bool) -> None:
        """Invalidate after a failure, and perhaps once more later."""
        if owe:
            for each in items:
                self._invalidations.owe(each.key)
        losses = await self._invalidations.make([each.key for each in items])
        for each, loss in zip(items, losses, strict=True):
            if loss is not None:
                self._invalidations.owe(each.key)

    async def _mark(self, keys: list[str]) -> list[Mark]:
        """Mark each item (R3); the token, or why there is none."""
        marks: dict[int, Mark] = {}
        left = list(range(len(keys)))
        commands = marking(self._policy.mark)
        for left_tries in reversed(range(self._policy.tries)):
            replies = await exchange(self._cache, [Packet(keys[at], commands) for at in left])
            unmarked: list[int] = []
            for at, reply in zip(left, replies, strict=True):
                if isinstance(reply, CacheLost):
                    marks[at] = reply
                elif (right := marked(reply)) is not None:
                    marks[at] = right
                else:
                    unmarked.append(at)
            left = unmarked
            if not left:
                break
            if left_tries == 1:
                # An item may be so large that no mark fits behind it: make room.
                await self._invalidations.make([keys[at] for at in left])
        for at in left:
            marks[at] = CacheLost(f"no mark could be set on {keys[at]}")
        return [marks[at] for at in range(len(keys))]

    async def _publish(
        self, written: list[tuple[Item, Mark, Outcome | Exception]], began: float
    ) -> list[Outcome | Exception]:
        """Put what the store now has where readers look, or see that nobody finds the old (R2)."""
        elapsed = self._clock.monotonic() - began
        moment = self._clock.now()
        packets: dict[int, Packet] = {}
        doubtful: list[int] = []
        for at, (item, mark, outcome) in enumerate(written):
            packet = None
            if not isinstance(outcome, Exception) and not isinstance(mark, CacheLost):
                life = self._life(mark, elapsed)
                if life is not None:
                    ttl, tail = life
                    packet = publication(item, outcome.entry, mark, ttl=ttl, mark=tail, now=moment)
            if packet is None:
                doubtful.append(at)
            else:
                packets[at] = packet
        replies = await exchange(self._cache, list(packets.values()))
        for at, reply in zip(packets, replies, strict=True):
            if isinstance(reply, CacheLost) or reply.results[0].status not in self.published:
                doubtful.append(at)
        settled = [outcome for _, _, outcome in written]
        if doubtful:
            losses = await self._invalidations.make([written[at][0].key for at in doubtful])
            for at, loss in zip(doubtful, losses, strict=True):
                item, _, outcome = written[at]
                settled[at] = self._settled(item.key, outcome, loss)
        return settled

    def _life(self, mark: Token, elapsed: float) -> tuple[int, bytes] | None:
        """Return how long a result lives and the mark it keeps (R3); None: it is too late."""
        left = math.floor(self._policy.mark - 1 - elapsed)
        if left < 1:
            return None
        return (self._policy.ttl, b"") if mark.marks == 1 else (left, MARK)

    def _settled(
        self, key: str, outcome: Outcome | Exception, loss: CacheLost | None
    ) -> Outcome | Exception:
        """Return what to tell of a write that was not published, after the invalidation."""
        if isinstance(outcome, OutcomeUnknown):
            self._invalidations.owe(key)  # the store may yet apply it
            return outcome
        if loss is None:
            return outcome
        if not self._policy.strict:
            self._invalidations.owe(key)
            return outcome
        match outcome:
            case Applied():
                self._invalidations.owe(key)  # the mark may have been forgotten
                return OutcomeUnknown(
                    f"the write is stored, but {loss}: readers may see the value before it "
                    f"for up to {self._policy.ttl} s",
                    committed=True,
                )
            case Refused():  # what refused it was read, and may not be told (R1)
                return CacheUnavailable(f"{loss}: nothing was written")
            case _:
                return outcome

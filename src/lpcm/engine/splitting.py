"""Values over a store's limit, written by a tier in front of all others: ``lpcm.large`` does it.

A write is tried as any other is. Where the store says that the value is too large for one item,
which it does before it sends anything, the value goes in parts. So values under the limit cost
nothing for it; text and bytes that are over it at a look are not tried first.

Knows tiers and no adapter. Invariant: the outcome of a caller's own write has the whole value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.engine.combining import Combining
from lpcm.errors import LPCMError, ValueTooLarge
from lpcm.ports import Add, Applied, Put
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.engine.combining import Increments
    from lpcm.large.large import Large
    from lpcm.ports import Aborted, Change, Check, Op, Outcome, Tier

__all__ = ["Splitting"]

_SURELY: Final = 410_000
"""Characters of text, or bytes, that no store of items of 400 KB holds in one."""
_FLAT: Final = (str, bytes)


class Splitting(Combining):
    """A ``ports.Tier`` in front of another: ``Combining``, with values over the store's limit.

    Not a tier around that one, whose call every write would pay for.
    """

    def __init__(self, tier: Tier, increments: Increments, large: Large) -> None:
        super().__init__(tier, increments)
        self._large = large
        self.apply_many = self._apply_many
        self.transact = self._transact

    async def apply(self, map: str, sk: str, op: Op, now: float) -> Outcome:
        """Do one write."""
        if type(op) is Add:
            return await self._add(map, sk, op, now)
        # Not a function of its own: this is every write.
        if type(op) is Put and isinstance(data := op.cell.data, _FLAT) and len(data) > _SURELY:
            return await self._large.put(map, sk, op, self._apply)
        try:
            outcome = await self._apply(map, sk, op, now)
        except ValueTooLarge:
            if type(op) is not Put or not self._large.splits(map, sk, op):
                raise
            return await self._large.put(map, sk, op, self._apply)
        if type(outcome) is Applied:
            gone = outcome.previous
            if gone is not None and gone.kind == HEAD:
                self._large.replaced(map, gone)
        return outcome

    async def _apply_many(
        self, map: str, writes: Sequence[tuple[str, Op]], now: float
    ) -> list[Outcome | Exception]:
        """Do the writes; those of values over the limit by themselves, after the others.

        A value that is too large stays an error where its key is written again in the same batch.
        """
        outcomes = await self._tier.apply_many(map, writes, now)
        for at, outcome in enumerate(outcomes):
            if type(outcome) is Applied:
                gone = outcome.previous
                if gone is not None and gone.kind == HEAD:
                    self._large.replaced(map, gone)
            elif type(outcome) is ValueTooLarge:
                outcomes[at] = await self._one_of_many(map, writes, at, outcome)
        return outcomes

    async def _one_of_many(
        self, map: str, writes: Sequence[tuple[str, Op]], at: int, error: Exception
    ) -> Outcome | Exception:
        sk, op = writes[at]
        again = sum(other == sk for other, _ in writes) > 1
        if again or not isinstance(op, Put) or not self._large.splits(map, sk, op):
            return error
        try:
            return await self._large.put(map, sk, op, self._apply)
        except LPCMError as failure:
            return failure

    async def _transact(
        self, changes: Sequence[Change], checks: Sequence[Check], now: float
    ) -> list[Applied] | Aborted:
        """Do all changes, or none; of values over the limit the heads."""
        try:
            return await self._tier.transact(changes, checks, now)
        except ValueTooLarge:
            return await self._large.transact(changes, checks, self._tier.transact)

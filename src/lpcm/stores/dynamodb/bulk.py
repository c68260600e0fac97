"""Many writes: which of them can go in one request, and the outcome of each.

Unconditional puts and deletes go 25 in one request; of several for one key only the last is sent.
Every other write is a request of its own, those of one key in order. Knows ops and outcomes; the
caller gives the function that does a single write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.errors import LPCMError, OutcomeUnknown, StoreError, ValueEncodingError, ValueTooLarge
from lpcm.ports import Put
from lpcm.stores.dynamodb import batches, items, requests
from lpcm.stores.dynamodb.concurrency import later
from lpcm.stores.dynamodb.retries import Unsure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from lpcm.ports import Op, Outcome
    from lpcm.stores.dynamodb.concurrency import Runner
    from lpcm.stores.dynamodb.retries import Caller

    Apply = Callable[[str, str, Op, float], Awaitable[Outcome]]
    Outcomes = dict[int, Outcome | Exception]

__all__ = ["apply_many", "outcome_unknown"]


async def apply_many(
    caller: Caller,
    runner: Runner,
    apply: Apply,
    ops: Sequence[tuple[str, Op]],
    *,
    pks: Mapping[str, str],
    now: float,
    batching: bool = True,
) -> list[Outcome | Exception]:
    """Do the writes; see ``ports.Tier.apply_many``. Without ``batching`` each by itself.

    ``pks`` has the partition of each key. The keys of a batch may be of any of them.
    """
    positions: dict[str, list[int]] = {}
    for index, (sk, _) in enumerate(ops):
        positions.setdefault(sk, []).append(index)
    by_index: Outcomes = {}
    batched: dict[str, dict[str, Any]] = {}

    def by_one(indexes: Sequence[int]) -> Coroutine[Any, Any, Outcomes]:
        return _one_by_one(apply, pks, [(index, *ops[index]) for index in indexes], now)

    def batch(chunk: Sequence[tuple[str, dict[str, Any]]]) -> Coroutine[Any, Any, Outcomes]:
        return _batch(caller, dict(chunk), positions, by_index)

    jobs = []
    for sk, indexes in positions.items():
        if batching and all(requests.plain(ops[index][1]) for index in indexes):
            for index in indexes:
                op = ops[index][1]
                try:
                    batched[sk] = _batch_part(caller, pks[sk], sk, op)
                    by_index[index] = requests.applied(op, None)
                except (ValueEncodingError, ValueTooLarge) as error:
                    by_index[index] = error
        else:
            jobs.append(later(by_one, indexes))
    jobs += [
        later(batch, chunk) for chunk in batches.chunks(list(batched.items()), batches.WRITE_MOST)
    ]
    for done in await runner.run(jobs):
        by_index.update(done)
    outcomes = [by_index[index] for index in range(len(ops))]
    if all(isinstance(outcome, StoreError) for outcome in outcomes):
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                raise outcome
    return outcomes


def _batch_part(caller: Caller, map: str, sk: str, op: Op) -> dict[str, Any]:
    """Return an unconditional write as a part of a BatchWriteItem."""
    if not isinstance(op, Put):
        return {"DeleteRequest": {"Key": items.key(map, sk)}}
    return {"PutRequest": {"Item": items.checked(map, sk, op, caller.label, caller.most)}}


async def _one_by_one(
    apply: Apply, pks: Mapping[str, str], ops: Sequence[tuple[int, str, Op]], now: float
) -> Outcomes:
    outcomes: Outcomes = {}
    for index, sk, op in ops:
        try:
            outcomes[index] = await apply(pks[sk], sk, op, now)
        except LPCMError as error:
            outcomes[index] = error
    return outcomes


async def _batch(
    caller: Caller,
    requested: Mapping[str, dict[str, Any]],
    positions: Mapping[str, Sequence[int]],
    outcomes: Mapping[int, Outcome | Exception],
) -> Outcomes:
    """Do at most 25 unconditional writes in one request; return the errors of the failed ones."""
    errors = await batches.write(caller, requested)
    unsure = {sk: error for sk, error in errors.items() if isinstance(error, Unsure)}
    if unsure:
        there = await _recognised(caller, {sk: requested[sk] for sk in unsure})
        for sk, error in unsure.items():
            if sk in there:
                del errors[sk]
            else:
                errors[sk] = outcome_unknown(caller, sk, error)
                errors[sk].__cause__ = error
    return {
        index: error
        for sk, error in errors.items()
        for index in positions[sk]
        if not isinstance(outcomes[index], Exception)
    }


async def _recognised(caller: Caller, requested: Mapping[str, dict[str, Any]]) -> set[str]:
    """Return the sort keys whose item is the one that a batch without a reply put there."""
    put = {sk: part["PutRequest"]["Item"] for sk, part in requested.items() if "PutRequest" in part}
    if not put:
        return set()
    try:
        found = await batches.read(
            caller, [items.key(item["pk"]["S"], sk) for sk, item in put.items()]
        )
    except LPCMError:
        return set()
    return {sk for item in found if items.etag(item) == items.etag(put[sk := item["sk"]["S"]])}


def outcome_unknown(caller: Caller, sk: str, error: Exception) -> OutcomeUnknown:
    """Return the exception for a write of which it is unknown whether it was done."""
    return OutcomeUnknown(
        f"{caller.label}: a write to {sk!r:.60} was sent and may have been done, or may still be: "
        f"read it before writing again ({error})"
    )

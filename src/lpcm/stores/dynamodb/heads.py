"""Heads in DynamoDB: entries whose values are stored in parts, put and replaced knowingly.

An item with the attribute ``f`` of this format is a head. Every condition of a write says that the
entry has no ``f``; so a write over a head is refused once, with the head in the reply, and is then
sent on condition that the entry is still that very head. So small values cost nothing for it, who
replaces a head knows which, and an earlier lpcm is refused. ``ports.heads`` says what a head is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from lpcm.errors import StoreBusy
from lpcm.ports import Aborted, Change, Delete, KeyRange, Refused, Scan, Touch, When
from lpcm.ports.decisions import holds
from lpcm.ports.heads import FORMAT, owner_of, owners, part_name, parts
from lpcm.stores.dynamodb import items, requests, transactions
from lpcm.stores.dynamodb.batches import WRITE_MOST
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.ports import Outcome, Put
    from lpcm.ports.heads import PartStore
    from lpcm.stores.dynamodb.requests import Write
    from lpcm.stores.dynamodb.retries import Caller

__all__ = ["FORMAT", "drop_parts", "put", "replace"]

_EVER: Final = float("-inf")


class Writer(Protocol):
    """What of a store writes over heads."""

    async def send(self, map: str, sk: str, write: Write) -> tuple[Mapping[str, Any], bool]:
        """Return the body of the reply, and whether the write was refused."""
        ...


async def put(caller: Caller, map: str, sk: str, op: Put, now: float) -> Outcome:
    """Put a head, on condition that its owner is open.

    Cost: one transaction, of two write units each for the head and what it replaces, and for the
    owner; two where it replaces another head. **Raises** StoreBusy where the owner is not open.
    """
    pauses = caller.pauses()
    while True:
        done = await transactions.transact(caller, [Change(map, sk, op)], [], now, over_heads=False)
        if not isinstance(done, Aborted):
            return done[0]
        current = done.reasons[0][2].entry
        if not holds(op.when, current):
            return Refused(current)
        if current is None or current.kind == HEAD:
            # Over that very head; over one that has expired, and so is not known.
            known = op.when if current is None else current.etag
            change = Change(map, sk, op._replace(when=known))
            done = await transactions.transact(caller, [change], [], now)
            if not isinstance(done, Aborted):
                return done[0]._replace(previous=current)
        if not await pauses.pause():
            raise _contended(caller, sk)


async def replace(
    store: Writer,
    caller: Caller,
    op: Put | Delete | Touch,
    write: Write,
    found: Mapping[str, Any],
    *,
    map: str,
    sk: str,
    now: float,
) -> Outcome:
    """Do a write that a head, ``found``, has refused, on condition that it is still that head.

    ``Applied.previous`` is the head where its parts have no head any more. Cost: another request,
    and one more for each client that is faster. **Raises** StoreBusy where others always are.
    """
    when = When.PRESENT if isinstance(op, Touch) else op.when
    pauses = caller.pauses()
    while holds(when, items.entry(found, now)):
        over = "f" in found
        body, refused = await store.send(
            map, sk, requests.over_head(write, found) if over else write
        )
        if not refused:
            applied = requests.applied(op, body.get("Attributes"))
            if not over or isinstance(op, Touch):  # a head whose expiry changes goes on
                return applied
            return applied._replace(previous=items.entry(found, _EVER))
        found = body.get("Item") or {}
        if not await pauses.pause():
            raise _contended(caller, sk)
    return Refused(items.entry(found, now))


async def drop_parts(store: PartStore, map: str) -> None:
    """Delete all owners and parts of a map.

    Cost: a request for each 25 parts, a write unit for each KB. Of a value whose owner another
    program has written, the parts are read first, to find out how many there are.
    """
    after: str | None = None
    while True:
        page = await store.scan(owners(map), Scan(after=after), 0.0)
        for content, stored in page.entries:
            owner = owner_of(stored)
            await _drop_parts_of(store, map, content, None if owner is None else owner.parts)
        after = page.resume
        if after is None:
            break
    await store.clear(owners(map), KeyRange())


async def _drop_parts_of(store: PartStore, map: str, content: str, count: int | None) -> None:
    """Delete so many parts; None: all up to 25 that are missing, more than a dead writer leaves."""
    first = 0
    while count is None or first < count:
        last = first + WRITE_MOST if count is None else min(first + WRITE_MOST, count)
        names = [part_name(number) for number in range(first, last)]
        pks = parts(map, content, names)
        if count is None and not any(await store.read_spread(pks, names, 0.0)):
            return
        for outcome in await store.apply_spread(pks, [(each, Delete()) for each in names], 0.0):
            if isinstance(outcome, Exception):
                raise outcome
        first = last


def _contended(caller: Caller, sk: str) -> StoreBusy:
    return StoreBusy(
        f"{caller.label}: other clients changed {sk!r:.60} all the time; nothing was written"
    )

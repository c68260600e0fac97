"""The protocol: how one key is read and how it is written, as two generators.

``Protocol.get`` and ``Protocol.write`` each handle one key, from their first line to their last.
Each yields what it wants next (a packet for the cache, the store, a pause) and is sent the
answer. They know no socket, thread, event loop or other key; ``play`` drives one or a thousand of
them, for blocking and awaiting callers, and the model checker (``checks.explorer``) drives the
very same text.

Rules
-----
An item is ``base + b"+" * n``; memcached's client flags give the length of the base. ``n``
counts the writes in doubt. **An entry is servable iff its base is not empty.** memcached's
own flags (won, stale, taken) only steer who refills.

R1  A value read from the store is returned only after publishing it by a CAS whose token
    was taken *before* that read, or after an invalidation made *after* it.
R2  A write is acknowledged only after publishing its result by a CAS whose token was taken
    *before* the commit, or after an invalidation made *after* it. (An item that is gone
    counts: then nothing is cached.)
R3  An item is marked before the store is written, its time cut to ``mark`` seconds; while
    marks exist, each publication keeps one and lives no longer than that. Only a writer
    that saw its own mark alone publishes clean.
R4  A token is valid only on the connection that issued it: memcached counts from 1 again
    when it restarts.

Theory of operation
-------------------
Races, by the number that stands where the code meets them:

1.  A reader takes a token, reads v1 from the store, and stalls; a writer then commits v2. The
    writer publishes v2 by CAS, or invalidates: both give the item a new CAS id. So the reader's
    publication fails, and the reader looks again. Without R1 it would return v1 after another
    reader had returned v2.
2.  A writer takes its token after its commit: a fill with the old value may lie between the two,
    and a token says nothing of what came before it. Hence R2: the token is the mark's.
3.  A writer dies after its commit and publishes nothing. Readers would hit the old base until
    the item expires: the mark cut its time to ``mark`` seconds (R3).
4.  A second writer sees the first one's mark and cannot know whether the first is dead. What the
    second publishes may be older than the first one's commit, so the second leaves a mark (R3).
5.  memcached restarts between a token and its use, and counts to the same CAS id. The token goes
    over the connection it came from, which died with the server (R4).
6.  The store applies a write whose reply was lost, at once, later, or never. The item is
    invalidated now, and once more from the queue.
7.  A reader that won the lease dies. Others wait until the item has had one CAS id for
    ``patience`` seconds, then steal the lease; the new token voids the old one.
8.  A condition refuses a write: the entry that refused it was read in the store, and is published
    like a result (R1).

Safety never depends on a mark or a lease: memcached may lose any of them. Readers go on hitting
the old base during a write that is not acknowledged yet.

Round trips (cache / store): hit 1/0, miss 2/1, write 2/1, overlapping writers 3/1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from lpcm.coherence.item import (
    MARK,
    emptied,
    emptying,
    lookup,
    marked,
    marking,
    publication,
    token,
)
from lpcm.coherence.payload import Unreadable, unpack
from lpcm.errors import CacheUnavailable, LPCMError, OutcomeUnknown, StoreError, ValueTooLarge
from lpcm.ports import Applied, CacheLost, Get, Invalidate, Outcome, Packet, Refused, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lpcm.coherence.invalidation import Queue
    from lpcm.coherence.item import Item, Policy, Token
    from lpcm.ports import Clock, Op, Replies

__all__ = ["Fresh", "Getting", "Pause", "Protocol", "Read", "Want", "Write", "Writing"]


class Fresh(NamedTuple):
    """A packet that goes over a new connection."""

    packet: Packet


class Read(NamedTuple):
    """The entry as the store has it: a strongly consistent read."""

    sk: str


class Write(NamedTuple):
    """One write of the store; its outcome is sent, its failure is thrown."""

    sk: str
    op: Op


class Pause(NamedTuple):
    """Nothing, for this many seconds."""

    seconds: float


Want: TypeAlias = Packet | Fresh | Read | Write | Pause
"""What a generator yields. A packet's answer is its replies, or CacheLost as a value."""
Getting: TypeAlias = "Generator[Want, Any, Stored | None]"
Writing: TypeAlias = "Generator[Want, Any, Outcome]"

_NEW: Final = tuple.__new__  # a NamedTuple's own constructor takes twice as long


_NOTHING_WRITTEN: Final = (StoreError, ValueTooLarge, CacheUnavailable)


class _Wait(NamedTuple):
    """What a reader remembers of a key that another reader is filling."""

    cas: int
    since: float
    patience: float


_NOBODY: Final = _Wait(0, 0.0, 0.0)


class Protocol:
    """GET and WRITE of one key, under one policy."""

    filled = frozenset({"HD"})
    """The replies to a fill after which its value may be returned (R1)."""
    published = frozenset({"HD", "NF"})
    """The replies to a publication after which the write is acknowledged (R2)."""

    def __init__(
        self, clock: Clock, policy: Policy, queue: Queue, jitter: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._queue = queue
        self._jitter = jitter
        self._marking = marking(policy.mark)
        self._emptying = emptying(policy.mark)

    # GET

    def get(self, item: Item, reply: Replies | CacheLost | None, now: float) -> Getting:
        """Return the entry, given the reply to the first look (None: unreadable)."""
        deadline = math.inf  # known only to those who do not succeed at once
        wait = _NOBODY
        while True:
            if reply is None:  # bytes of another version, or of nobody we know
                return (yield from self._read_and_empty(item))
            if isinstance(reply, CacheLost):
                self._need_cache(item, reply)
                entry = yield Read(item.sk)
                return entry  # type: ignore[no-any-return]  # what play sends for a Read
            seen = reply.results[-1]
            if seen.base:  # HIT
                try:
                    return _live(unpack(seen.data[: seen.base], item.name), now)
                except Unreadable:
                    return (yield from self._read_and_empty(item))
            if seen.won:
                right = token(reply, seen)
                entry = yield _NEW(Read, (item.sk,))
                packet = publication(item, entry, right, *self.fill_life(right), self._clock)
                if packet is None:  # no entry for a cache
                    return (yield from self._read_and_empty(item))
                answer = yield packet
                status = "" if isinstance(answer, CacheLost) else answer.results[0].status
                if status in self.filled:
                    return entry  # type: ignore[no-any-return]  # R1: by a token taken before the read
                if status in {"TL", "NS"}:  # the cache has no room for it
                    return (yield from self._read_and_empty(item))
                # Race 1: somebody wrote, or the item is gone. Look again, at once.
                pause = 0.0
            elif seen.status in {"VA", "HD"}:  # another reader is filling it
                if wait.cas != seen.cas:
                    patience = wait.patience or self._policy.patience
                    wait = _Wait(seen.cas, self._clock.monotonic(), patience)
                pause = self._jitter()
            else:  # the cache has no room even for a stub
                return (yield from self._read_and_empty(item))
            if deadline == math.inf:
                deadline = self._clock.monotonic() + self._policy.deadline
            elif self._clock.monotonic() >= deadline:
                return (yield from self._read_and_empty(item))
            if pause:
                yield Pause(pause)
            if wait.cas and self._clock.monotonic() - wait.since >= wait.patience:
                # Race 7: steal. Only the look's reply counts, whatever became of the steal
                # before it: its token is taken before the read that follows.
                wait = wait._replace(patience=wait.patience * 2)
                steal = Invalidate(self._policy.mark, wait.cas)
                reply = yield Packet(item.key, (steal, Get(self._policy.lease)))
            else:
                reply = yield lookup(item.key, self._policy.lease)

    def read_stored(self, item: Item) -> Getting:
        """Return what the store has, and empty the item: for readers past the cache."""
        return self._read_and_empty(item)

    def _read_and_empty(self, item: Item) -> Getting:
        """Return what the store has, invalidating after the read (R1, second form)."""
        entry = yield Read(item.sk)
        loss = yield from self._empty(item.key)
        if loss is not None:
            self._need_cache(item, loss)
        return entry  # type: ignore[no-any-return]  # what play sends for a Read

    def fill_life(self, right: Token) -> tuple[int, bytes]:
        """Return how long a fill lives, and the mark it keeps (R3)."""
        if not right.marks:
            return self._policy.ttl, b""
        return max(1, min(self._policy.mark, right.ttl)), MARK

    def _need_cache(self, item: Item, lost: CacheLost) -> None:
        """Raise, unless the policy is to do without the cache."""
        if self._policy.strict:
            raise CacheUnavailable(f"{lost} (key {item.key})") from lost

    # WRITE

    def write(self, item: Item, op: Op) -> Writing:
        """Do one write of the store: mark, write, publish."""
        began = self._clock.monotonic()
        mark = yield from self.mark(item.key)  # 1
        if isinstance(mark, CacheLost) and self._policy.strict:
            raise CacheUnavailable(f"{mark}: nothing was written")
        try:
            outcome: Outcome = yield _NEW(Write, (item.sk, op))  # 2
        except LPCMError as error:
            yield from self._failed(item.key, error)
            raise
        except GeneratorExit:  # given up by its driver: nothing can be yielded any more
            self._queue.enqueue(item.key)
            raise
        except BaseException:
            # Cancelled or broken off: the store may have it, now or a little later (race 6).
            self._queue.enqueue(item.key)
            yield from self._empty(item.key)
            raise
        if not isinstance(mark, CacheLost):  # 3
            life = self.write_life(mark, self._clock.monotonic() - began)
            packet = life and publication(item, outcome.entry, mark, *life, self._clock)
            if packet is not None:
                reply = yield packet
                if not isinstance(reply, CacheLost) and reply.results[0].status in self.published:
                    return outcome  # R2: by the mark's token, taken before the commit (race 2)
        loss = yield from self._empty(item.key)
        if loss is not None:
            self._unpublished(item.key, outcome, loss)
        return outcome  # R2, second form

    def mark(self, key: str) -> Generator[Want, Any, Token | CacheLost]:
        """Mark an item before the store is written (R3): the token, or why there is none."""
        packet = _NEW(Packet, (key, self._marking, None))
        for left in reversed(range(self._policy.tries)):
            reply = yield packet
            if isinstance(reply, CacheLost):
                return reply
            right = marked(reply)
            if right is not None:
                return right
            if left == 1:
                # An item may be so large that no mark fits behind it: make room.
                yield from self._empty(key)
        return CacheLost(f"no mark could be set on {key}")

    def write_life(self, mark: Token, elapsed: float) -> tuple[int, bytes] | None:
        """Return how long a result lives and the mark it keeps (R3, race 4); None: too late."""
        left = math.floor(self._policy.mark - 1 - elapsed)
        if left < 1:
            return None
        return (self._policy.ttl, b"") if mark.marks == 1 else (left, MARK)

    def _failed(self, key: str, error: LPCMError) -> Generator[Want, Any, None]:
        """Empty an item whose write failed; once more later where the store may yet have it."""
        if not isinstance(error, _NOTHING_WRITTEN):
            self._queue.enqueue(key)  # race 6
        loss = yield from self._empty(key)
        if loss is not None and not self._policy.strict:
            self._queue.enqueue(key)

    def _unpublished(self, key: str, outcome: Outcome, loss: CacheLost) -> None:
        """Decide on a write that is neither published nor invalidated."""
        match outcome:
            case _ if not self._policy.strict:
                self._queue.enqueue(key)
            case Applied():
                self._queue.enqueue(key)  # the mark may have been forgotten
                raise OutcomeUnknown(
                    f"the write is stored, but {loss}: readers may see the value before it "
                    f"for up to {self._policy.ttl} s",
                    committed=True,
                )
            case Refused():  # race 8: what refused it was read, and may not be returned (R1)
                raise CacheUnavailable(f"{loss}: nothing was written")

    # INVALIDATE

    def uncover(self, item: Item) -> Generator[Want, Any, None]:
        """Empty an item that is known to have changed, by another writer's commit."""
        loss = yield from self._empty(item.key)
        if loss is not None:
            self._queue.enqueue(item.key)
            if self._policy.strict:
                raise CacheUnavailable(f"{loss}: nothing was written")

    def _empty(self, key: str) -> Generator[Want, Any, CacheLost | None]:
        """Invalidate; None when that is done, or why it may not be.

        A failure is tried once more on a fresh connection: the first may have been left over
        from a server that restarted.
        """
        packet = Packet(key, self._emptying)
        loss = emptied(key, (yield packet))
        if loss is not None:
            loss = emptied(key, (yield Fresh(packet)))
        return loss


def _live(entry: Stored | None, now: float) -> Stored | None:
    """Return the entry unless it has expired."""
    if entry is None or (entry.expires is not None and entry.expires <= now):
        return None
    return entry

"""The protocol: GET and WRITE for one key, each one generator from its first line to its last.

A generator yields what it wants next (a packet for the cache, the store, a pause) and is sent the
answer. The generators know no socket, thread, event loop or other key. ``play`` drives one or a
thousand of them, for blocking and awaiting callers; the model checker (``checks.explorer``)
drives the same text. docs/explanation/coherence.md shows for each rule what breaks without it.

Rules
-----
An item in the cache is ``base + b"+" * n``. memcached's client flags hold the length of the base,
and ``n`` counts the writes in doubt: the *marks*. **An entry is servable iff its base is not
empty.** memcached's own flags (won, stale, taken) only say which reader refills the item.

R1  A value read from the store is returned only after publishing it by a CAS whose token was taken
    *before* that read, or after an invalidation made *after* that read.
R2  A write is acknowledged only after publishing its result by a CAS whose token was taken
    *before* the commit, or after an invalidation made *after* the commit. (Where the item is gone,
    nothing is cached: that counts as published.)
R3  An item is marked before the store is written, and its time is cut to ``mark`` seconds. While
    marks exist, each publication keeps one mark and lives no longer than ``mark`` seconds. Only a
    writer that saw its own mark alone publishes clean.
R4  A token is valid only on the connection that issued it: memcached counts CAS ids from 1 again
    when it restarts.

R1 and R2 make the promise safe, and R4 makes their tokens mean what they say. R3 only bounds how
long a dead writer's old value is served: memcached may lose any mark or lease without harm to R1
and R2. Readers go on hitting the old base during a write that is not acknowledged yet.

Races
-----
Each is named by its number on the line that handles it.

Race 1  A reader takes a token, reads v1 from the store, and stalls. A writer then commits v2, and
        publishes v2 or invalidates: both give the item a new CAS id. So the reader's publication
        fails, and the reader looks again. Without R1 the reader would return v1 after another
        reader had returned v2.
Race 2  A writer takes its token after its commit. A fill with the old value may lie between the
        two, and a token says nothing of what came before the token. Hence R2: the token of a
        publication is the mark's.
Race 3  A writer dies after its commit and publishes nothing. Readers would hit the old base until
        the item expires, but the mark has cut the item's time to ``mark`` seconds (R3).
Race 4  A second writer sees the first writer's mark, and cannot know whether the first is dead.
        The second writer's result may be older than the first one's commit, so the second writer
        keeps a mark in its publication (R3).
Race 5  memcached restarts between the issue of a token and its use, and counts to the same CAS id.
        The packet must go over the token's connection, which died with the server (R4).
Race 6  The store applies a write whose reply was lost: at once, later, or never. The item is
        invalidated now, and once more from the queue.
Race 7  A reader that won the lease dies. The other readers wait until the item has kept one CAS id
        for ``patience`` seconds, then steal the lease. The new token voids the old one.
Race 8  A condition refuses a write. The entry that refused the write was read in the store, so it
        is published like a result, or the item is invalidated (R1).

Round trips (cache / store): hit 1/0, miss 2/1, write 2/1, overlapping writers 3/1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from lpcm.coherence.item import (
    MARK,
    invalidation,
    invalidation_failure,
    lookup,
    marked,
    marking,
    publication,
    token_of,
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
    """A packet to send over a new connection."""

    packet: Packet


class Read(NamedTuple):
    """A strongly consistent read of the store; the entry is sent."""

    sk: str


class Write(NamedTuple):
    """One write of the store; its outcome is sent, its failure is thrown."""

    sk: str
    op: Op


class Pause(NamedTuple):
    """A pause of this many seconds."""

    seconds: float


Want: TypeAlias = Packet | Fresh | Read | Write | Pause
"""What a generator yields. The answer to a packet is its replies, or CacheLost as a value."""
Getting: TypeAlias = "Generator[Want, Any, Stored | None]"
Writing: TypeAlias = "Generator[Want, Any, Outcome]"

_NEW: Final = tuple.__new__  # a NamedTuple's own constructor takes twice as long


_NOTHING_WRITTEN: Final = (StoreError, ValueTooLarge, CacheUnavailable)


class _Wait(NamedTuple):
    """How long a reader has seen one CAS id on an item that another reader fills."""

    cas: int
    since: float
    patience: float


_NOT_WAITING: Final = _Wait(0, 0.0, 0.0)


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
        self._invalidation = invalidation(policy.mark)

    # GET

    def get(self, item: Item, reply: Replies | CacheLost | None, now: float) -> Getting:
        """Return the entry, given the reply to the first look (None: unreadable)."""
        deadline = math.inf  # set by a reader that does not succeed at once
        wait = _NOT_WAITING
        while True:
            if reply is None:  # the bytes of another version, or of another program
                return (yield from self._read_and_invalidate(item))
            if isinstance(reply, CacheLost):  # cache unreachable: the policy decides
                self._require_cache(item, reply)
                entry = yield Read(item.sk)
                return entry  # type: ignore[no-any-return]  # what play sends for a Read
            seen = reply.results[-1]
            if seen.base:  # HIT: servable iff the base is not empty
                try:
                    return _unexpired(unpack(seen.data[: seen.base], item.name), now)
                except Unreadable:
                    return (yield from self._read_and_invalidate(item))
            if seen.won:  # FILL
                token = token_of(reply, seen)  # R1: taken before the read
                entry = yield _NEW(Read, (item.sk,))
                packet = publication(item, entry, token, *self.fill_life(token), self._clock)
                if packet is None:  # an entry that no cache can hold
                    return (yield from self._read_and_invalidate(item))
                answer = yield packet  # R4, race 5: over the token's connection
                status = "" if isinstance(answer, CacheLost) else answer.results[0].status
                if status in self.filled:
                    return entry  # type: ignore[no-any-return]  # R1: published by that token
                if status in {"TL", "NS"}:  # the cache has no room for the entry
                    return (yield from self._read_and_invalidate(item))
                # Race 1: another client changed the item, or the item is gone. Look again, at once.
                pause = 0.0
            elif seen.status in {"VA", "HD"}:  # another reader fills the item: wait for it
                if wait.cas != seen.cas:
                    patience = wait.patience or self._policy.patience
                    wait = _Wait(seen.cas, self._clock.monotonic(), patience)
                pause = self._jitter()
            else:  # the cache has no room even for a stub
                return (yield from self._read_and_invalidate(item))
            if deadline == math.inf:
                deadline = self._clock.monotonic() + self._policy.deadline
            elif self._clock.monotonic() >= deadline:  # past the deadline
                return (yield from self._read_and_invalidate(item))
            if pause:
                yield Pause(pause)
            if wait.cas and self._clock.monotonic() - wait.since >= wait.patience:
                # Race 7: STEAL the lease. Only the look's reply counts, whether or not the
                # invalidation before it succeeded: a token from this look is taken before the
                # read that follows (R1).
                wait = wait._replace(patience=wait.patience * 2)
                steal = Invalidate(self._policy.mark, wait.cas)
                reply = yield Packet(item.key, (steal, Get(self._policy.lease)))
            else:
                reply = yield lookup(item.key, self._policy.lease)

    def read_stored(self, item: Item) -> Getting:
        """Return the entry in the store, and invalidate the item: for readers past the cache."""
        return self._read_and_invalidate(item)

    def _read_and_invalidate(self, item: Item) -> Getting:
        """Return the entry in the store, invalidating after the read (R1, second form)."""
        entry = yield Read(item.sk)
        loss = yield from self._invalidate(item.key)
        if loss is not None:
            self._require_cache(item, loss)
        return entry  # type: ignore[no-any-return]  # what play sends for a Read

    def fill_life(self, token: Token) -> tuple[int, bytes]:
        """Return how long a fill lives, and the mark that the fill keeps (R3)."""
        if not token.marks:
            return self._policy.ttl, b""
        return max(1, min(self._policy.mark, token.ttl)), MARK

    def _require_cache(self, item: Item, lost: CacheLost) -> None:
        """Raise, unless the policy is to do without the cache."""
        if self._policy.strict:
            raise CacheUnavailable(f"{lost} (key {item.key})") from lost

    # WRITE

    def write(self, item: Item, op: Op) -> Writing:
        """Do one write of the store: mark, write, publish."""
        began = self._clock.monotonic()
        mark = yield from self.mark(item.key)  # 1 MARK (R3, race 3)
        if isinstance(mark, CacheLost) and self._policy.strict:
            raise CacheUnavailable(f"{mark}: nothing was written")
        try:
            outcome: Outcome = yield _NEW(Write, (item.sk, op))  # 2 WRITE the store
        except LPCMError as error:
            yield from self._failed(item.key, error)
            raise
        except GeneratorExit:  # closed by its driver: nothing can be yielded any more
            self._queue.enqueue(item.key)
            raise
        except BaseException:
            # Race 6: cancelled or interrupted. The store may apply the write, now or later.
            self._queue.enqueue(item.key)
            yield from self._invalidate(item.key)
            raise
        if not isinstance(mark, CacheLost):  # 3 PUBLISH the result, or what refused it (race 8)
            life = self.write_life(mark, self._clock.monotonic() - began)
            packet = life and publication(item, outcome.entry, mark, *life, self._clock)
            if packet is not None:
                reply = yield packet  # R4, race 5: over the mark's connection
                if not isinstance(reply, CacheLost) and reply.results[0].status in self.published:
                    return outcome  # R2: by the mark's token, taken before the commit (race 2)
        loss = yield from self._invalidate(item.key)
        if loss is not None:
            self._unpublished(item.key, outcome, loss)
        return outcome  # R2, second form: invalidated after the commit

    def mark(self, key: str) -> Generator[Want, Any, Token | CacheLost]:
        """Mark an item before the store is written (R3). Return the token, or why there is none."""
        packet = _NEW(Packet, (key, self._marking, None))
        for left in reversed(range(self._policy.tries)):
            reply = yield packet
            if isinstance(reply, CacheLost):
                return reply
            token = marked(reply)
            if token is not None:
                return token
            if left == 1:
                # An item may be so large that no mark fits behind its base: make room.
                yield from self._invalidate(key)
        return CacheLost(f"no mark could be set on {key}")

    def write_life(self, mark: Token, elapsed: float) -> tuple[int, bytes] | None:
        """Return how long a result lives, and the mark that it keeps (R3, race 4); None: too late.

        Only a writer that saw its own mark alone publishes clean.
        """
        left = math.floor(self._policy.mark - 1 - elapsed)
        if left < 1:
            return None
        return (self._policy.ttl, b"") if mark.marks == 1 else (left, MARK)

    def _failed(self, key: str, error: LPCMError) -> Generator[Want, Any, None]:
        """Invalidate after a failed write; twice where the store may yet apply it (race 6)."""
        if not isinstance(error, _NOTHING_WRITTEN):
            self._queue.enqueue(key)
        loss = yield from self._invalidate(key)
        if loss is not None and not self._policy.strict:
            self._queue.enqueue(key)

    def _unpublished(self, key: str, outcome: Outcome, loss: CacheLost) -> None:
        """Decide on a write that could be neither published nor invalidated."""
        match outcome:
            case _ if not self._policy.strict:  # acknowledged: outside the promise, until it lands
                self._queue.enqueue(key)
            case Applied():
                self._queue.enqueue(key)  # memcached may have lost the mark
                raise OutcomeUnknown(
                    f"the write is stored, but {loss}: readers may see the value before it "
                    f"for up to {self._policy.ttl} s",
                    committed=True,
                )
            case Refused():  # race 8: its entry was read, and may not be returned (R1)
                raise CacheUnavailable(f"{loss}: nothing was written")

    # INVALIDATE

    def invalidate_changed(self, item: Item) -> Generator[Want, Any, None]:
        """Invalidate an item whose entry another writer's commit is known to have changed (R1)."""
        loss = yield from self._invalidate(item.key)
        if loss is not None:
            self._queue.enqueue(item.key)
            if self._policy.strict:
                raise CacheUnavailable(f"{loss}: nothing was written")

    def _invalidate(self, key: str) -> Generator[Want, Any, CacheLost | None]:
        """Empty the base and void every token. Return None, or why the base may not be empty.

        A failure is tried once more on a fresh connection: the first connection may be left from
        before a restart of the server.
        """
        packet = Packet(key, self._invalidation)
        loss = invalidation_failure(key, (yield packet))
        if loss is not None:
            loss = invalidation_failure(key, (yield Fresh(packet)))
        return loss


def _unexpired(entry: Stored | None, now: float) -> Stored | None:
    """Return the entry unless it has expired."""
    if entry is None or (entry.expires is not None and entry.expires <= now):
        return None
    return entry

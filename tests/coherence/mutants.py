"""The protocol with one rule broken each: what the explorer must find, or it finds nothing."""

from __future__ import annotations

from typing import NamedTuple

from checks.explorer.client import ClientPorts, Operation
from checks.explorer.search import NOT_LINEARIZABLE, STALE, Faults, Scenario
from lpcm.coherence.item import MARK, token_of
from lpcm.coherence.protocol import Protocol
from lpcm.coherence.tier import Coherent
from lpcm.engine.combining import Increments
from lpcm.errors import OutcomeUnknown
from lpcm.ports import CacheLost, Get, Packet

PUT = Operation("put", value=1)
OTHER = Operation("put", value=2)
GET = Operation("get")


class FillsUnpublished(Protocol):
    """R1 broken: what was read is returned even if the fill came too late."""

    filled = Protocol.filled | {"EX", "NF"}


class NoR1(Coherent):
    protocol = FillsUnpublished


class AcknowledgesUnpublished(Protocol):
    """R2 broken: a write whose token died is acknowledged without an invalidation."""

    published = Protocol.published | {"EX"}


class NoR2(Coherent):
    protocol = AcknowledgesUnpublished


class WritesUnmarked(Protocol):
    """R3 broken: only a token is taken before the store is written."""

    def mark(self, key):
        reply = yield Packet(key, (Get(5),))
        if isinstance(reply, CacheLost):
            return reply
        return token_of(reply, reply.results[0])._replace(marks=1)


class NoMark(Coherent):
    protocol = WritesUnmarked


class PublishesClean(Protocol):
    """R3 broken: every writer takes its own mark for the only one."""

    def write_life(self, mark, elapsed):
        return self._policy.ttl, b""


class NoSoleCheck(Coherent):
    protocol = PublishesClean


class KeepsMarksForLong(Protocol):
    """R3 broken: the mark stays, but not the bound on how long it may live."""

    def write_life(self, mark, elapsed):
        return self._policy.ttl, b"" if mark.marks == 1 else MARK

    def fill_life(self, token):
        return self._policy.ttl, MARK if token.marks else b""


class NoCap(Coherent):
    protocol = KeepsMarksForLong


class Unbound(ClientPorts):
    """A cache that sends a token over whatever connection there is."""

    def __init__(self, ports):
        super().__init__(ports.moment)

    async def send(self, packet, *, fresh=False):
        replies = await super().send(packet._replace(connection=None), fresh=fresh)
        assert packet  # kept, so that a snapshot shows the token while it is under way
        return replies

    async def send_many(self, packets):
        replies = await super().send_many([packet._replace(connection=None) for packet in packets])
        assert packets  # as above
        return replies


def not_bound(store, cache, clock, policy, **options):
    """Break R4."""
    return Coherent(store, Unbound(cache), clock, policy, **options)


class Resending(ClientPorts):
    """A store that sends a write again when no reply came."""

    def __init__(self, ports):
        super().__init__(ports.moment)

    async def apply(self, map, sk, op, now):
        try:
            return await super().apply(map, sk, op, now)
        except OutcomeUnknown:
            return await super().apply(map, sk, op, now)


def resends(store, cache, clock, policy, **options):
    """Break the store's part of the bargain."""
    return Coherent(Resending(store), cache, clock, policy, **options)


class KeepsChecked(Protocol):
    """R1 broken: what a failed check told of an entry is not what readers are served after."""

    def invalidate_changed(self, item):
        yield from ()


class NoInvalidationOfChecked(Coherent):
    protocol = KeepsChecked


class SharesTheSum(Increments):
    """Combined increments: each caller is given the sum of all of them."""

    def shares(self, entry, batch):
        return [entry] * len(batch)


class WrongShares(Coherent):
    increments = SharesTheSum


class Mutant(NamedTuple):
    name: str
    tier: object
    scenario: Scenario
    broken: str


MUTANTS = [
    Mutant("no R1", NoR1, Scenario("no R1", ((PUT,), (GET,), (GET, GET))), NOT_LINEARIZABLE),
    Mutant("no R2", NoR2, Scenario("no R2", ((PUT, GET), (GET,))), NOT_LINEARIZABLE),
    Mutant("no mark", NoMark, Scenario("no mark", ((PUT,), (GET,)), Faults(crash=1)), STALE),
    Mutant(
        "no sole check",
        NoSoleCheck,
        Scenario("no sole check", ((PUT,), (OTHER,)), Faults(crash=1)),
        STALE,
    ),
    Mutant(
        "TTL cap dropped",
        NoCap,
        Scenario("TTL cap dropped", ((PUT,), (OTHER,)), Faults(crash=1)),
        STALE,
    ),
    Mutant(
        "token not bound",
        not_bound,
        Scenario("token not bound", ((GET,), (PUT, GET, GET)), Faults(restart=1)),
        NOT_LINEARIZABLE,
    ),
    Mutant(
        "eventual fill",
        Coherent,
        Scenario("eventual fill", ((PUT, GET),), Faults(evict=1), eventual=True),
        NOT_LINEARIZABLE,
    ),
    Mutant(
        "failed check not invalidated",
        NoInvalidationOfChecked,
        Scenario(
            "failed check not invalidated",
            (
                (Operation("put", ("b",), 2),),
                (
                    Operation("get", ("b",)),
                    Operation("claim", ("a", "b"), 1),
                    Operation("get", ("b",)),
                ),
            ),
        ),
        NOT_LINEARIZABLE,
    ),
    Mutant(
        "wrong shares",
        WrongShares,
        Scenario("wrong shares", ((Operation("together", deltas=(10, 100)),),)),
        NOT_LINEARIZABLE,
    ),
    Mutant(
        "put resent blindly",
        resends,
        Scenario("put resent blindly", ((PUT,), (GET, OTHER, GET)), Faults(unknown=1)),
        NOT_LINEARIZABLE,
    ),
]

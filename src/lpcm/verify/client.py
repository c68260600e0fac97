"""A client of a recorded history: a process that works on a few keys, and logs each operation.

Its program is ``main(text)``, where the text is a ``Spec`` as JSON. It works until its standard
input ends, then makes its pending invalidations and ends; with status 1 where an operation raised
what lpcm does not document. Each operation is logged before it begins, so that the log of a killed
client shows the operation under way.

Invariant: a line says ``done`` only where lpcm returned, and ``not`` only where lpcm says that the
operation was not done.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm import LPCM, CacheUnavailable, Conflict, Engine, OutcomeUnknown, StoreError
from lpcm.coherence.item import marked
from lpcm.coherence.tier import Coherent, Policy
from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.engine.engine import open_adapters
from lpcm.engine.stack import in_front
from lpcm.errors import BatchError
from lpcm.ports import Invalidate, Replies, Set
from lpcm.verify.judge import STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.ports import Cache, CacheLost, Packet

__all__ = ["MAP", "POLICY", "Spec", "main", "opened"]

MAP = "histories"
POLICY = Policy(mark=3, lease=2)
"""The default policy with shorter times: a dead client's mark ends soon, and so does a run."""
_FLUSH = 10.0
"""Seconds to make the pending invalidations once no fault is under way."""
_NOT_DONE = (CacheUnavailable, StoreError, Conflict)


class Spec(NamedTuple):
    """The task of one client."""

    url: str
    log: str
    """The beginning of the names of its logs."""
    number: int
    seed: int
    keys: tuple[str, ...]
    threads: int = 2
    tier: str = ""
    """``module:name`` of the class to use in place of ``Coherent``: a protocol with a mistake."""
    kinds: str = "all"
    """``all``, or ``simple``: single reads and puts only; ``reads``: few of them puts."""


class Counting:
    """A cache that passes every call on and counts the events of the protocol."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.blocking = cache.blocking
        self.identity: str = cache.identity
        self.counts: Counter[str] = Counter()
        self.look = cache.look
        self.look_many = cache.look_many
        self.close = cache.close
        self.retry = cache.retry

    async def send(self, packet: Packet, *, fresh: bool = False) -> Replies:
        """Send one packet."""
        replies = await self._cache.send(packet, fresh=fresh)
        self._count(packet, replies)
        return replies

    async def send_many(self, packets: Sequence[Packet]) -> list[Replies | CacheLost]:
        """Send packets."""
        answers = await self._cache.send_many(packets)
        for packet, replies in zip(packets, answers, strict=True):
            if isinstance(replies, Replies):
                self._count(packet, replies)
        return answers

    def _count(self, packet: Packet, replies: Replies) -> None:
        first = packet.commands[0]
        if isinstance(first, Invalidate) and first.cas is not None:
            self.counts["steals"] += 1
        elif isinstance(first, Set):
            if first.cas is not None and replies.results[0].status == "EX":
                self.counts["EX"] += 1
            elif first.mode == "A":
                right = marked(replies)
                if right is not None and right.marks > 1:
                    self.counts["overlapping writers"] += 1


def opened(url: str, tier: str = "") -> tuple[Engine, Counting | None]:
    """Return an engine of the URL, with a counting cache and the given protocol."""
    settings = config.parse(url)
    store, cache = open_adapters(settings)
    if cache is None:
        return Engine(store, settings), None
    counting = Counting(cache)
    engine = Engine(store, settings, cache=counting)
    module, _, name = tier.partition(":")
    made = getattr(import_module(module), name) if tier else Coherent
    prefix = engine.stack.coherent._prefixes  # type: ignore[union-attr]  # noqa: SLF001  # see Engine
    policy = POLICY._replace(strict=settings.strict, ttl=settings.cache_ttl)
    coherent = made(engine.store, counting, engine.stack.clock, policy, prefix)
    engine.stack = engine.stack._replace(tier=in_front(coherent, engine.near), coherent=coherent)
    return engine, counting


class _Worker:
    """One thread of a client."""

    def __init__(self, spec: Spec, thread: int, m: LPCM[str, Any], counts: Counter[str]) -> None:
        self._client = spec.number * 10 + thread
        self._map = m
        self._counts = counts
        self._random = random.Random(f"{spec.seed} {self._client}")  # noqa: S311  # no secret
        self._keys = spec.keys
        self._number = 0
        self._log = os.open(
            f"{spec.log}-{self._client}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600
        )
        self._kinds = _KINDS[spec.kinds]

    def work(self, stop: threading.Event) -> None:
        """Do one operation after another."""
        kinds, weights = tuple(self._kinds), tuple(self._kinds.values())
        while not stop.is_set():
            (kind,) = self._random.choices(kinds, weights)
            getattr(self, f"_{kind}")()
        os.close(self._log)

    # The operations

    def _key(self) -> str:
        return self._random.choice(self._keys)

    def _value(self) -> int:
        """Return a number that no other client or thread stores."""
        self._number += 1
        return (self._client * 10**8 + self._number) * STEP

    def _get(self) -> None:
        key = self._key()
        self._one(key, "get", None, lambda: self._map.get(key))

    def _put(self) -> None:
        key, value = self._key(), self._value()
        self._one(key, "put", value, lambda: self._map.set(key, value))

    def _add(self) -> None:
        key = self._key()
        self._one(key, "add", 1, lambda: self._map.increment(key))

    def _transform(self) -> None:
        key = self._key()
        self._one(
            key, "add", 1, lambda: self._map.transform(key, lambda value: value + 1, default=0)
        )

    def _new(self) -> None:
        key, value = self._key(), self._value()
        self._one(key, "new", value, lambda: int(self._map.setdefault(key, value)))

    def _delete(self) -> None:
        key = self._key()
        self._one(key, "del", None, lambda: self._map.delete(key))

    def _pop(self) -> None:
        key = self._key()
        self._one(key, "pop", None, lambda: self._map.pop(key, None))

    def _get_many(self) -> None:
        keys = self._random.sample(self._keys, 2)
        begun = [self._begin(key, "get", None) for key in keys]
        try:
            found = self._map.get_many(keys)
        except _NOT_DONE as error:
            self._end_all(begun, error)
            return
        for number, key in zip(begun, keys, strict=True):
            self._end(number, "done", found.get(key))

    def _set_many(self) -> None:
        values = {key: self._value() for key in self._random.sample(self._keys, 2)}
        begun = [self._begin(key, "put", value) for key, value in values.items()]
        try:
            self._map.set_many(values)
        except BatchError as errors:
            for number, key in zip(begun, values, strict=True):
                error = errors.errors.get(key)
                self._end(number, "done" if error is None else _outcome_of(error), None)
        except (*_NOT_DONE, OutcomeUnknown) as error:
            self._end_all(begun, error)
        else:
            for number in begun:
                self._end(number, "done", None)

    def _one(self, key: str, kind: str, argument: int | None, do: Callable[[], Any]) -> None:
        number = self._begin(key, kind, argument)
        try:
            result = do()
        except (*_NOT_DONE, OutcomeUnknown) as error:
            self._end_all([number], error)
        else:
            self._end(number, "done", result)

    # The log

    def _begin(self, key: str, kind: str, argument: int | None) -> int:
        self._number += 1
        self._write("begin", monotonic_ns(), self._number, self._client, key, kind, argument)
        return self._number

    def _end(self, number: int, outcome: str, result: int | None) -> None:
        self._write("end", monotonic_ns(), number, outcome, result)
        self._counts[outcome] += 1

    def _end_all(self, begun: Sequence[int], error: Exception) -> None:
        for number in begun:
            self._end(number, _outcome_of(error), None)
        self._counts[type(error).__name__] += len(begun)
        time.sleep(0.01)  # a server that is down stays so for a moment

    def _write(self, *row: object) -> None:
        os.write(self._log, json.dumps(row).encode("ascii") + b"\n")


def _outcome_of(error: Exception) -> str:
    return "unknown" if isinstance(error, OutcomeUnknown) else "not"


_KINDS = {
    "all": {
        "get": 40, "put": 14, "add": 10, "transform": 4, "new": 5, "delete": 5, "pop": 3,
        "get_many": 10, "set_many": 6,
    },
    "simple": {"get": 70, "put": 30},
    "reads": {"get": 96, "put": 4},
}  # fmt: skip


def main(text: str) -> None:
    """Work until the standard input ends; print the counts as JSON."""
    spec = Spec(**json.loads(text))
    spec = spec._replace(keys=tuple(spec.keys))
    engine, counting = opened(spec.url, spec.tier)
    m: LPCM[str, Any] = LPCM(MAP, using=engine, live=False)
    counts = counting.counts if counting else Counter[str]()
    stop = threading.Event()
    with ThreadPoolExecutor(spec.threads) as pool:
        workers = [
            pool.submit(_Worker(spec, number, m, counts).work, stop)
            for number in range(spec.threads)
        ]
        sys.stdin.buffer.read()
        stop.set()
    for worker in workers:
        worker.result()  # an error that lpcm does not document ends the client with a traceback
    coherent = engine.stack.coherent
    if coherent is not None:
        deadline = time.monotonic() + _FLUSH
        while (left := run(coherent.flush())) and time.monotonic() < deadline:
            time.sleep(0.1)  # a server that was down is not asked at once
        counts["left pending"] = left
    if engine.near is not None:
        counts["near hits"] = engine.near.hits
    engine.close()
    sys.stdout.write(json.dumps(counts))

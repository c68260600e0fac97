"""The nemesis: injects faults while clients work, one after another, at random.

A fault is a function that injects the fault, ends it where it must not last, and returns how often
it truly happened. Knows servers, proxies and processes; nothing of lpcm.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.verify.proxy import Proxy

__all__ = [
    "FORGETTING",
    "Faults",
    "Nemesis",
    "of_clients",
    "of_proxy",
]

FORGETTING = ("cache killed", "evictions", "flushes")
"""Faults by which the cache loses marks."""
_MOST_KILLED = 6
Faults = dict[str, "Callable[[random.Random], int]"]
"""Functions by the fault's name: inject the fault, and return how often it happened."""


class Clients(Protocol):
    """Processes that can be stopped and killed."""

    def pids(self) -> list[int]:
        """Return the ids of the running processes."""
        ...

    def replace(self, pid: int) -> None:
        """Reap a killed process, and start another."""
        ...


class Nemesis:
    """A thread that injects faults until ``stop``."""

    def __init__(self, faults: Mapping[str, Callable[[random.Random], int]], seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._faults = dict(faults)
        self._random = random.Random(seed)  # noqa: S311  # a seed is the point
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nemesis")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Paused processes run on by then, and killed ones have been replaced."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        names = list(self._faults)
        queue: list[str] = []
        try:
            while not self._stop.wait(self._random.uniform(0.05, 0.25)):
                if not names:
                    continue
                if not queue:  # each fault once before any comes again
                    queue = self._random.sample(names, len(names))
                name = queue.pop()
                self.counts[name] += self._faults[name](self._random)
        except BaseException as error:  # noqa: BLE001  # raised by stop
            self.error = error


def of_proxy(between: Proxy, name: str) -> Faults:
    """Cut all connections that go through a proxy; and refuse new ones for a while."""

    def cut(_: random.Random) -> int:
        between.cut()
        return 1

    def away(rng: random.Random) -> int:
        between.down()
        try:
            time.sleep(rng.choice((0.05, 0.3)))
        finally:
            between.up()
        return 1

    return {f"{name} cut off": cut, f"{name} unreachable": away}


def of_clients(clients: Clients, *, killed: bool) -> Faults:
    """Stop clients for a while, and kill them in the middle of their operations."""

    def stop(rng: random.Random) -> int:
        pid = rng.choice(clients.pids())
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(rng.choice((0.05, 0.2, 0.5)))
        finally:
            os.kill(pid, signal.SIGCONT)
        return 1

    killed_so_far = itertools.count()

    def kill(rng: random.Random) -> int:
        if next(killed_so_far) >= _MOST_KILLED:
            return (
                0  # each killed client leaves the judge a write that may or may not have happened
            )
        pid = rng.choice(clients.pids())
        os.kill(pid, signal.SIGKILL)
        clients.replace(pid)
        return 1

    faults: dict[str, Any] = {"clients stopped": stop}
    if killed:
        faults["clients killed"] = kill
    return faults

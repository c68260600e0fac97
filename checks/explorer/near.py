"""Every interleaving of a few clients of SQLite stores that have near caches.

Not a model: the stores, their near caches and the file are the real ones. Each client is a thread,
and only one goes on at a time. It pauses before each step that others could notice or disturb: a
look at the header of the log, a statement, a change of what is near. Then the scheduler chooses who
goes on. Clients of one *process* share an engine, and so a near cache.

A search runs the programs again for each order of their steps, depth first, and judges each order
as it grows. ``python -m checks.explorer.near`` searches the large scenarios too. Knows the names of
what it pauses at, and nothing of how a near cache works.

Invariant: at most one client of a process writes, because writers wait for each other in there.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from checks.explorer.graph import NOT_LINEARIZABLE
from checks.explorer.linearizability import Call, end
from checks.explorer.search import Counterexample
from lpcm import LPCM, Engine
from lpcm.stores.sqlite.near import WORTH
from lpcm.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from checks.explorer.linearizability import Configurations

__all__ = ["LARGE", "SMALL", "Client", "Scenario", "explore", "main"]

_KEY: Final = "k"


class Client(NamedTuple):
    """One thread."""

    process: int
    program: tuple[tuple[str, int], ...]
    """What it does: the kind of a ``Call`` and its argument; ``other``: a write of another key."""


class Scenario(NamedTuple):
    """A few clients of one file."""

    name: str
    clients: tuple[Client, ...]
    warm: bool = True
    """Whether every process has the key near at first."""


_GET: Final = ("get", 0)


def _put(value: int) -> tuple[str, int]:
    return "put", value


SMALL: Final = (
    Scenario("a reader", (Client(0, (_put(1),)), Client(1, (_GET, _GET)))),
    Scenario("a cold reader", (Client(0, (_put(1),)), Client(1, (_GET, _GET))), warm=False),
    Scenario("a reader beside a writer", (Client(0, (_put(1),)), Client(0, (_GET, _GET)))),
)
"""Searched by ``make test``, in a few seconds."""

LARGE: Final = (
    Scenario("a refused write", (Client(0, (("new", 1), _GET)), Client(1, (_put(2),)))),
    Scenario("a write of another key", (Client(0, (("other", 1), _GET)), Client(1, (_put(2),)))),
    Scenario("two writers", (Client(0, (_put(1), _GET)), Client(1, (_put(2),)))),
    Scenario("two writers, cold", (Client(0, (_put(1), _GET)), Client(1, (_put(2),))), warm=False),
    Scenario("two writes", (Client(0, (_put(1), _put(2))), Client(1, (_GET,)))),
    Scenario("sums", (Client(0, (("add", 1), _GET)), Client(1, (("add", 10),)))),
    Scenario("a deletion", (Client(0, (("del", 0), _GET)), Client(1, (("new", 2),)))),
)
"""Searched by ``make check-coherence`` too."""


class _Scheduler:
    """Lets one client go on at a time, as far as its next pause."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._runs: int | None = None
        self._local = threading.local()
        self.waiting: set[int] = set()
        self.begins = threading.Event()

    def pause(self) -> None:
        """Let the scheduler choose; at once for a thread that is no client of a run."""
        number = getattr(self._local, "number", None)
        if number is not None:
            with self._turn:
                self.waiting.add(number)
                self._runs = None
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._runs == number)
                self.waiting.discard(number)

    def enter(self, number: int) -> None:
        """Make this thread the client of that number, which waits for its first turn."""
        self._local.number = number
        with self._turn:
            self.waiting.add(number)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._runs == number)
            self.waiting.discard(number)

    def leave(self) -> None:
        """End the client."""
        self._local.number = None
        with self._turn:
            self._runs = None
            self._turn.notify_all()

    def go_on(self, number: int) -> None:
        """Let a client make its next step."""
        with self._turn:
            self._runs = number
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._runs is None, timeout=30), "a client hangs"

    def until(self, count: int) -> None:
        """Wait until so many clients wait."""
        with self._turn:
            assert self._turn.wait_for(lambda: len(self.waiting) == count, timeout=30)


class _View:
    """The view of a near cache, with a pause before each look."""

    def __init__(self, view: Any, pause: Callable[[], None]) -> None:
        self._view = view
        self._pause = pause

    @property
    def raw(self) -> bytes:
        self._pause()
        return bytes(self._view.raw)


class _Process:
    """An engine, whose steps are seen."""

    def __init__(self, path: Path, scheduler: _Scheduler) -> None:
        self._scheduler = scheduler
        self.engine = Engine.open(f"sqlite:///{path}?synchronous=normal", clock=FakeClock())
        self.map: LPCM[str, Any] = LPCM("m", using=self.engine, live=False)
        self.map.set(_KEY, 0)
        for _ in range(2 * WORTH):
            self.map.get(_KEY)
        self.near: Any = self.engine.store._near  # type: ignore[attr-defined]  # noqa: SLF001  # what is looked into
        assert self.near.view.raw, "the near cache is off here"
        self.near.view = _View(self.near.view, scheduler.pause)
        for name in ("fill", "wrote"):
            setattr(self.near, name, self._paused(getattr(self.near, name)))

    def _paused(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def paused(*given: Any) -> Any:
            self._scheduler.pause()
            return step(*given)

        return paused

    def join(self) -> None:
        """Open this thread's connection, whose statements are seen."""
        self.map.set("joined", 1)
        for connection in self.engine.store._idle.connections:  # type: ignore[attr-defined]  # noqa: SLF001  # as above
            connection.execute = self._paused(connection.execute)

    def reset(self, *, warm: bool) -> None:
        """Begin a run: with the key near, or with nothing."""
        self.engine.store._upkeep.load = 0  # type: ignore[attr-defined]  # noqa: SLF001  # as above
        self.near.state = None, {}, {}
        if warm:
            assert self.map.get(_KEY) == 0

    def perform(self, kind: str, argument: int) -> Any:
        """Do one operation; return what a ``Call`` of its kind returns."""
        match kind:
            case "get":
                return self.map.get(_KEY)
            case "put":
                self.map[_KEY] = argument
            case "new":
                return self.map.get_or_add(_KEY, argument)[0].value
            case "add":
                return self.map.increment(_KEY, argument)
            case "del":
                self.map.delete(_KEY)
            case _:
                self.map["other"] = argument
        return None


class _Run:
    """One order of the steps of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.scheduler = _Scheduler()
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        count = 1 + max(client.process for client in scenario.clients)
        self.processes = [_Process(folder / "near.sqlite3", self.scheduler) for _ in range(count)]
        for process in self.processes:
            self._stack.callback(process.engine.close)
        self._start = threading.Barrier(1 + len(scenario.clients))
        self._over = False
        self._configurations: Configurations = frozenset()
        self._under_way: dict[int, Call] = {}
        self.history: list[str] = []
        self._threads = [
            threading.Thread(target=self._client, args=(number, client), daemon=True)
            for number, client in enumerate(scenario.clients)
        ]
        for thread in self._threads:
            thread.start()
        self._start.wait(30)  # all have joined

    def close(self) -> None:
        """End the clients, and all that was opened."""
        while self.scheduler.waiting:
            self.scheduler.go_on(min(self.scheduler.waiting))
        self._over = True
        self._start.wait(30)
        for thread in self._threads:
            thread.join()
        self._stack.close()

    def _client(self, number: int, client: Client) -> None:
        process = self.processes[client.process]
        process.join()
        self._start.wait(30)
        while True:
            self._start.wait()
            if self._over:
                return
            self.scheduler.enter(number)
            for at, (kind, argument) in enumerate(client.program):
                if at:
                    self.scheduler.pause()
                call = Call(number, kind, argument)
                if kind != "other":
                    self._under_way[number] = call
                self.history.append(f"client {number} begins {kind} {argument}")
                result = process.perform(kind, argument)
                self.history.append(f"client {number} ends {kind}: {result}")
                if kind != "other":
                    del self._under_way[number]
                    others = self._under_way.values()
                    self._configurations = end(self._configurations, others, call, result)
            self.scheduler.leave()

    def run(self, choices: Sequence[int]) -> list[tuple[int, int]]:
        """Run with these choices, then the first each; return each choice, and of how many.

        **Raises** Counterexample where no linear order explains the results.
        """
        self.processes[0].map[_KEY] = 0
        for process in self.processes:
            process.reset(warm=self._scenario.warm)
        self._configurations = frozenset({(0, frozenset[tuple[int, Any]]())})
        self._under_way.clear()
        self.history.clear()
        self._start.wait(30)
        self.scheduler.until(len(self._scenario.clients))
        made: list[tuple[int, int]] = []
        while self.scheduler.waiting:
            able = sorted(self.scheduler.waiting)
            choice = choices[len(made)] if len(made) < len(choices) else 0
            made.append((min(choice, len(able) - 1), len(able)))
            self.scheduler.go_on(able[made[-1][0]])
            if not self._configurations:
                raise Counterexample(self._scenario.name, NOT_LINEARIZABLE, "near", self.history)
        return made


def explore(scenario: Scenario) -> int:
    """Search a scenario to its end; return the number of orders.

    **Raises** Counterexample for an order whose results no linear order explains.
    """
    orders = 0
    choices: list[int] | None = []
    with closing(_Run(scenario)) as run:
        while choices is not None:
            orders += 1
            choices = _next(run.run(choices))
    return orders


def _next(made: Sequence[tuple[int, int]]) -> list[int] | None:
    """Return the choices of the next order; None: that was the last."""
    for at in range(len(made) - 1, -1, -1):
        choice, of = made[at]
        if choice + 1 < of:
            return [*(earlier for earlier, _ in made[:at]), choice + 1]
    return None


def main() -> int:
    """Search every scenario."""
    for scenario in (*SMALL, *LARGE):
        sys.stdout.write(f"near: {scenario.name:40} {explore(scenario):8,} orders\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

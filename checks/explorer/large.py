"""Every interleaving of clients of values in parts: writers, readers, and sweepers of dead parts.

``lpcm.large`` itself runs here, and the tier in front of it that ships, over a store, a cache of
parts and a cache of heads that are a dict each. A step is one call of a port. Clients may be killed
after any step, an hour or more may pass between any two, and a dead writer's invalidation is lost.

A search runs the programs again for each order of their steps, depth first. It goes on from no
state that it has met: a state is what is stored and cached, the answers that each client had so
far, and what the history still allows. Judged is at every end of an operation whether a linear
order explains the results, and at the end of every history that, after a last sweep, no part is
without a head and the value is whole.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

from checks.explorer.graph import NOT_LINEARIZABLE
from checks.explorer.linearizability import Call, end, withdraw
from checks.explorer.parts_store import MAP, CachedHeads, Step, World
from checks.explorer.search import Counterexample
from lpcm.coherence.catalogue import Catalogue
from lpcm.engine.combining import combine
from lpcm.engine.splitting import Splitting
from lpcm.errors import LPCMError, StoreBusy, StoreUnavailable
from lpcm.large import cells, large, owners, streams
from lpcm.large.large import Large
from lpcm.large.streams import Sink, Source, source
from lpcm.ports import (
    Cell,
    Delete,
    Put,
    Stored,
    When,
)
from lpcm.ports import heads as ports_heads
from lpcm.ports.heads import Head
from lpcm.values.form import HEAD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator

    from checks.explorer.linearizability import Configurations
    from lpcm.ports import Outcome

__all__ = ["LARGE", "LOST", "SMALL", "Scenario", "explore", "main"]

LOST: Final = "parts without a head"
_KEY: Final = "k"
_HOURS: Final = 2 * 3600.0
_MINUTES: Final = 100.0
"""Longer than the parts of a replaced head are kept, and shorter than a sweeper waits."""


class Scenario(NamedTuple):
    """A few clients of one key."""

    name: str
    programs: tuple[tuple[tuple[str, Any], ...], ...]
    """What each client does: the kind of a ``Call`` and its argument; ``small``, a put that goes in
    no parts; ``file``, a put of a file that is written, and ``open``, a get of one that is read;
    ``sweep``, ``touch``, or ``vanish``: the first value's parts are deleted."""
    first: int | None = 1
    """The value that is stored at first, long ago, in parts."""
    kills: int = 0
    """The number of clients that may be killed."""
    times: tuple[float, ...] = ()
    """Seconds that may pass, in this order, each between any two steps."""
    cached: bool = False
    """Whether a cache of heads is in front, which a dead writer leaves as it was."""
    stale: bool = False
    """Whether a writer has died there: 2 is stored, and the head of 1 still cached."""


_GET: Final = ("get", None)
_OPEN: Final = ("open", None)
_SWEEP: Final = ("sweep", None)
_VANISH: Final = ("vanish", None)
_DEL: Final = ("del", None)
_KINDS: Final = {"small": "put", "file": "put", "open": "get"}
"""How what a client does is judged, where that is another kind."""


def _put(value: int) -> tuple[str, int]:
    return "put", value


def _file(value: int) -> tuple[str, int]:
    return "file", value


SMALL: Final = (
    Scenario("a writer that stalls for hours", ((_put(2),), (_SWEEP,)), times=(_HOURS,)),
    Scenario("a death after hours", ((_put(2),), (_SWEEP,)), kills=1, times=(_HOURS,)),
    Scenario("a writer that dies", ((_put(2),), (_GET,)), kills=1),
    Scenario("a replaced value", ((_put(2), _put(3)), (_GET,)), times=(_MINUTES,)),
    Scenario("a value that lives on", ((("touch", None), _GET), (_SWEEP,)), times=(_HOURS,)),
    Scenario(
        "a stale head",
        ((_GET,), (_GET, _GET), (_VANISH,)),
        cached=True,
        stale=True,
    ),
    Scenario("a file that stalls for hours", ((_file(22),), (_SWEEP,)), times=(_HOURS,)),
    Scenario("a file that dies after hours", ((_file(22),), (_SWEEP,)), kills=1, times=(_HOURS,)),
    Scenario(
        "a file that is replaced",
        ((_put(2), _put(3)), (_OPEN,)),
        first=11,
        times=(_MINUTES,),
    ),
)
"""Searched by ``make test``, in a few seconds."""

LARGE: Final = (
    Scenario("more readers", ((_put(2), _put(3)), (_GET, _GET)), times=(_MINUTES,)),
    Scenario("a reader beside", ((_put(2),), (_SWEEP,), (_GET,)), times=(_HOURS,)),
    Scenario(
        "two sweepers and a writer that stalls",
        ((_put(2),), (_SWEEP,), (_SWEEP,)),
        times=(_HOURS,),
    ),
    Scenario("two writers", ((_put(2),), (_put(3),), (_GET, _GET)), times=(_MINUTES,)),
    Scenario("a writer, a deletion, a sweeper", ((_put(2),), (_DEL,), (_SWEEP,)), times=(_HOURS,)),
    Scenario(
        "deaths beside a sweeper", ((_put(2),), (_SWEEP,), (_put(3),)), times=(_HOURS,), kills=1
    ),
    Scenario(
        "a file, its reader, a sweeper",
        ((_file(22),), (_OPEN,), (_SWEEP,)),
        first=11,
        kills=1,
        times=(_HOURS,),
    ),
    Scenario("a file and two sweepers", ((_file(22),), (_SWEEP,), (_SWEEP,)), times=(_HOURS,)),
    Scenario("small over large", ((("small", 2),), (_put(3),), (_GET,)), times=(_MINUTES,)),
)
"""Searched by ``make check-coherence`` too."""


class _Known(Catalogue):
    """A catalogue in which the map's format has been raised."""

    async def raise_format(self, store: Any, map: str, least: int, now: float) -> None:
        """Do nothing."""


def _value_of(stored: Stored | None) -> int | None:
    if stored is None:
        return None
    assert isinstance(stored.data, (str, bytes)), "digits"
    return int(stored.data)


class _Client:
    """A process with one thread."""

    def __init__(self, number: int, run: _Run) -> None:
        self.number = number
        self._run = run
        self.trace: list[Any] = []
        """The answers that it had so far."""
        self.sent = 0.0
        """When the request was sent that is under way."""
        self.steps = 0
        self.dead = False
        self.done = False
        self._etags = count(1000 * (number + 1))
        world, scenario = run.world, run.scenario
        self._coherent = CachedHeads(world) if scenario.cached else None
        tier: Any = self._coherent or world
        cache: Any = world if scenario.cached else None
        store: Any = world
        self._large = run.kind(store, store, _Known(), world, cache, ttl=60, most=None)
        increments = combine(tier.apply, world.now, blocking=False)
        self._tier = Splitting(tier, increments, self._large)
        self._going: Coroutine[Any, Any, None] | None = None

    def etag(self) -> int:
        """Return an etag: of this client, and the same in each run."""
        return next(self._etags)

    def go_on(self) -> None:
        """Make the next step."""
        self._run.world.client = self
        self.steps += 1
        if self._going is None:
            self._going = self._live()
        try:
            self._going.send(None)
        except StopIteration:
            self.done = True

    def end(self) -> None:
        """Let go of what it was doing."""
        if self._going is not None:
            self._going.close()

    async def _live(self) -> None:
        for kind, argument in self._run.scenario.programs[self.number]:
            call = Call(self.number, kind, argument)
            await Step()
            if kind in {"sweep", "touch", "vanish"}:
                with suppress(StoreBusy, StoreUnavailable):
                    await self._perform(kind, argument)
                continue
            call = call._replace(kind=_KINDS.get(kind, kind))
            self._run.begin(call)
            try:
                result = await self._perform(kind, argument)
            except (StoreBusy, StoreUnavailable):  # nothing was written
                self._run.withdrawn(call)
            else:
                self._run.ended(call, result)

    async def _perform(self, kind: str, argument: Any) -> Any:
        now = self._run.world.now
        match kind:
            case "put" | "small":
                value: Any = b"%d" % argument if kind == "put" else str(argument)
                put = Put(Cell(value, None), self.etag(), None, When.ALWAYS)
                await self._tier.apply(MAP, _KEY, put, now())
            case "del":
                await self._tier.apply(MAP, _KEY, Delete(), now())
            case "touch":
                from lpcm.ports import Touch

                await self._tier.apply(MAP, _KEY, Touch(None, self.etag()), now())
            case "sweep":
                await self._large.sweep(MAP)
            case "file":
                await self._write_file(b"%d" % argument)
            case "open":
                return await self._read_file()
            case "vanish":  # what a sweep of the parts that no head names comes to
                await self._large.owners.remove(MAP, f"{1:032}", 1, now())
            case _:
                return await self.get()
        return None

    async def _write_file(self, value: bytes) -> None:
        """Write a file as the operations of a map do: a part for each byte."""
        sink = Sink(self._large, MAP, _KEY)
        for at in range(len(value)):
            await sink.store(value[at : at + 1])

        def put(head: Cell) -> Awaitable[Outcome]:
            return self._tier.apply(MAP, _KEY, Put(head, self.etag()), self._run.world.now())

        await sink.finish(put)

    async def _read_file(self) -> int | None:
        """Read a file as the operations of a map do."""
        stored = await self._tier.read(MAP, _KEY, self._run.world.now())
        if stored is None or stored.kind != HEAD:
            return _value_of(stored)
        found = await source(self._large, MAP, _KEY, stored, self._coherent)
        if isinstance(found, Source):
            return int(b"".join([await found.piece(number) for number in range(found.size)]))
        return _value_of(found)

    async def get(self) -> int | None:
        """Read the value as the operations of a map do."""
        stored = await self._tier.read(MAP, _KEY, self._run.world.now())
        if stored is not None and stored.kind == HEAD:
            stored = await self._large.whole(MAP, _KEY, stored, self._coherent)
        return _value_of(stored)


class _Quiet(Large):
    """Deletes what is due with each write, and sweeps only where a program says so."""

    async def _tidy(self, map: str) -> None:
        with mock.patch.object(self.owners, "some", _nobody):
            await super()._tidy(map)


async def _nobody(*_: object) -> list[tuple[str, Stored]]:
    return []


class _Run:
    """One order of the steps of a scenario."""

    def __init__(self, scenario: Scenario, kind: type[Large]) -> None:
        self.scenario = scenario
        self.kind = kind
        self.world = World(slow=bool(scenario.times))
        self.history: list[str] = []
        self._under_way: dict[int, Call] = {}
        self._configurations: Configurations = frozenset({(scenario.first, frozenset())})
        self._kills = scenario.kills
        self._times = list(scenario.times)
        self._running: _Client | None = None
        self._contents = count(1)
        if scenario.first is not None:
            self._stored(scenario.first)
        if scenario.stale:
            self.world.heads[_KEY] = self.world.entries[MAP, _KEY]
            self._stored(2)
            write = self._under_way[99] = Call(99, "put", 2)
            del write
        self.clients: list[_Client] = []

    def start(self) -> None:
        """Let every client go to its first step."""
        self.clients += (_Client(number, self) for number in range(len(self.scenario.programs)))
        for client in self.clients:
            client.go_on()

    def _stored(self, value: int) -> None:
        """Store a value in parts, hours ago."""
        world, data = self.world, b"%d" % value
        head = Head(f"{value:032}", len(data), len(data), "b", 10 + value)
        owner = ports_heads.Owner(_KEY, len(data), world.time - _HOURS, head.owner)
        put = Put(owner.cell(), head.owner)
        world.do(ports_heads.owners(MAP), head.content, put, world.time)
        names = [ports_heads.part_name(at) for at in range(len(data))]
        for at, (name, pk) in enumerate(ports_heads.parts(MAP, head.content, names).items()):
            world.do(pk, name, Put(Cell(data[at : at + 1], None), 1), world.time)
        world.do(MAP, _KEY, Put(Cell(head.text(), HEAD), 20 + value), world.time)

    # What clients do

    def begin(self, call: Call) -> None:
        self.history.append(f"client {call.slot} begins {call.kind} {call.argument}")
        self._under_way[call.slot] = call

    def ended(self, call: Call, result: Any) -> None:
        self.history.append(f"client {call.slot} ends {call.kind}: {result}")
        del self._under_way[call.slot]
        others = self._under_way.values()
        self._configurations = end(self._configurations, others, call, result)
        if not self._configurations:
            raise self.broken(NOT_LINEARIZABLE, f"{call.kind} returned {result}")

    def withdrawn(self, call: Call) -> None:
        self.history.append(f"client {call.slot} was refused")
        del self._under_way[call.slot]
        self._configurations = withdraw(self._configurations, call)

    def broken(self, what: str, why: str) -> Counterexample:
        return Counterexample(self.scenario.name, what, why, self.history)

    # What the scheduler does

    def moves(self) -> list[tuple[str, int]]:
        """Return what may come next."""
        alive = [each.number for each in self.clients if not (each.done or each.dead)]
        moves = [("step", number) for number in alive]
        if alive and self._times:
            moves.append(("time", 0))
        if self._kills:
            moves += [("kill", number) for number in alive if self._may_die(number)]
        return moves

    def _may_die(self, number: int) -> bool:
        return any(kind not in {"get", "open"} for kind, _ in self.scenario.programs[number])

    def make(self, move: tuple[str, int]) -> None:
        kind, number = move
        if kind == "time":
            self.world.time += self._times.pop(0)
            self.history.append("time passes")
            return
        client = self.clients[number]
        if kind == "kill":
            self._kills -= 1
            client.dead = True
            self.history.append(f"client {number} is killed")
            return
        self._running = client
        try:
            client.go_on()
        except LPCMError as error:
            raise self.broken(type(error).__name__, str(error)) from error
        except Counterexample:
            raise
        self.history.append(f"client {number}: {client.trace[-1:]}")

    def etag(self) -> int:
        assert self._running is not None
        return self._running.etag()

    def state(self) -> tuple[Any, ...]:
        """Return all that what comes next depends on."""
        return (
            self.world.time,
            repr(sorted(self.world.entries.items())),
            repr(sorted(self.world.parts.items())),
            repr(self.world.heads),
            tuple((each.steps, each.dead, each.sent, repr(each.trace)) for each in self.clients),
            self._configurations,
            frozenset(self._under_way.values()),
            self._kills,
        )

    def finish(self) -> None:
        """Sweep once more, much later; see that every part has a head, and the value its parts."""
        self.world.time += _HOURS
        judge = self._running = _Client(len(self.clients), self)
        self.world.client = judge
        _drive(judge._large.sweep(MAP))  # noqa: SLF001  # a client of its own
        head = self.world.entries.get((MAP, _KEY))
        named = {ports_heads.head_of(head).content} if head and head.kind == HEAD else set[str]()
        for pk, sk in self.world.entries:
            content = sk if pk == ports_heads.owners(MAP) else pk[len(MAP) + 1 :].split("/")[0]
            if pk != MAP and content not in named:
                raise self.broken(LOST, f"{pk}{sk}")
        self.world.heads.clear()
        try:
            result = _drive(judge.get())
        except LPCMError as error:
            raise self.broken(type(error).__name__, str(error)) from error
        call = Call(98, "get")
        others = self._under_way.values()
        if not end(self._configurations, others, call, result):
            raise self.broken(NOT_LINEARIZABLE, f"in the end {result} is stored")


def _drive(going: Coroutine[Any, Any, Any]) -> Any:
    try:
        while True:
            going.send(None)
    except StopIteration as done:
        return done.value


@contextmanager
def _determined() -> Generator[list[_Run]]:
    """Have etags and content ids made by the client that runs: the same in each run."""
    current: list[_Run] = []

    def etag() -> int:
        return current[0].etag()

    def content() -> str:
        return f"{etag():032}"

    with (
        mock.patch.object(large, "new_etag", etag),
        mock.patch.object(owners, "new_etag", etag),
        mock.patch.object(streams, "new_etag", etag),
        mock.patch.object(streams, "_FIRST", 1),
        mock.patch.object(streams, "PART", 1),
        mock.patch.object(large, "new_content", content),
        mock.patch.object(cells, "PART", 1),
        mock.patch.object(large, "PART", 1),
    ):
        yield current


def explore(scenario: Scenario, kind: type[Large] = _Quiet) -> int:
    """Search a scenario to its end; return the number of states.

    **Raises** Counterexample.
    """
    seen: set[Any] = set()
    with _determined() as current:
        waiting: list[tuple[tuple[str, int], ...]] = [()]
        while waiting:
            path = waiting.pop()
            run = _Run(scenario, kind)
            current[:] = [run]
            run.start()
            for move in path:
                run.make(move)
            state = hash(run.state())
            if state in seen:
                continue
            seen.add(state)
            moves = run.moves()
            if not any(what == "step" for what, _ in moves):
                run.finish()
            waiting += [(*path, move) for move in moves]
            for client in run.clients:
                client.end()
    return len(seen)


def main() -> int:
    """Search every scenario."""
    for scenario in (*SMALL, *LARGE):
        sys.stdout.write(f"large: {scenario.name:40} {explore(scenario):8,} states\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

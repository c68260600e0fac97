"""The scenarios that the explorer searches to their ends.

Each is a few clients with a program of one to three operations, and one kind of fault. Together
they are what is known of the protocol; ``python -m checks.explorer.scenarios`` searches them all
and prints the states visited and the time. Knows nothing of how a search is made.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Final

from checks.explorer.client import Operation
from checks.explorer.search import POLICY, Counterexample, Faults, Scenario, explore, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from checks.explorer.search import Explored

__all__ = ["LARGE", "SCENARIOS", "SMALL", "main"]


def _op(kind: str, value: int = 0, *keys: str) -> Operation:
    return Operation(kind, keys or ("k",), value)


_GET = _op("get")
_DEL = _op("del")


def _together(*deltas: int, kind: str = "together") -> Operation:
    return Operation(kind, deltas=deltas)


_FLUSH = Operation("flush", ())
_AVAILABLE = POLICY._replace(strict=False)

_FAULTS: Final = {
    "none": Faults(),
    "evict": Faults(evict=1),
    "crash": Faults(crash=1),
    "stall": Faults(stall=1, expire=1),
    "restart": Faults(restart=1),
    "lost message": Faults(lose=1),
    "lost store reply": Faults(unknown=1),
    "cut-off": Faults(cut=1),
}
_PUTS = ((_op("put", 1), _GET), (_op("put", 2), _GET))
_ADDS = ((_op("add", 10), _GET), (_op("add", 100), _GET))
_NEWS = ((_op("new", 1), _DEL), (_GET, _op("new", 2)))
_FLUSHING = tuple((*program, _FLUSH) for program in _PUTS)
_WATCHED = ((_op("put", 1),), (_GET,), (_GET,))
_THREE = ((_op("put", 1),), (_op("put", 2),), (_GET,))
_TTL = ((_op("ttl", 1), _GET), (_GET, _op("new", 2)))
_BULK = ((_op("put", 1, "a", "b"),), (_op("get", 0, "a", "b"),))
_CROSSED = ((_op("put", 1, "a", "b"),), (_op("put", 2, "b", "a"),))

_MEETING = ((_together(10, 100), _GET), (_op("add", 1), _GET))
_LEAVING = ((_together(10, 100, kind="leaving"), _GET), (_op("add", 1), _GET))
_REFUSED = ((_together(600, 500, 300), _GET), (_op("add", 1), _GET))
_BATCHES = ((_together(10, 100), _GET), (_together(1, 2), _GET))

_JOINS = ((_op("join", 1), _GET), (_op("join", 2), _GET))
_CHECKED = (
    (_op("put", 2, "b"),),
    (_op("get", 0, "b"), _op("claim", 1, "a", "b"), _op("get", 0, "b")),
)
_CLAIMS = (
    (_op("claim", 1, "a", "b"), _op("get", 0, "b")),
    (_op("claim", 2, "b", "a"), _op("get", 0, "a")),
)
_TRANSACT = ((_op("transact", 1, "a", "b"),), (_op("put", 2, "b"), _op("get", 0, "b")))
_TRANSACTING = {**_FAULTS, "conflict": Faults(conflict=1)}

_SHORT = ((_op("put", 1),), (_op("put", 2), _GET))
_READ = ((_op("put", 1),), (_GET, _GET))

SMALL: Final = (
    Scenario("small: 2 clients, none", _PUTS),
    *(
        Scenario(f"small: 2 clients, {name}", _SHORT, _FAULTS[name])
        for name in ("evict", "crash", "stall", "restart", "lost store reply")
    ),
    *(Scenario(f"small: 2 clients, {name}", _READ, _FAULTS[name]) for name in _FAULTS),
    Scenario(
        "small: 2 clients, cut-off, available",
        ((_op("put", 1), _FLUSH), (_GET, _GET)),
        _FAULTS["cut-off"],
        _AVAILABLE,
    ),
    Scenario("small: 3 clients, none", ((_op("del"),), (_GET,), (_GET,))),
    Scenario("small: counters", _ADDS),
    Scenario("small: combined increments", _BATCHES),
    Scenario("small: combined increments, a cancelled caller", _LEAVING),
    Scenario("small: combined increments, a refused batch", _REFUSED),
    Scenario("small: combined increments, lost store reply", _MEETING, Faults(unknown=1)),
    Scenario("small: negative caching", _NEWS),
    Scenario("small: time to live", ((_op("ttl", 1),), (_GET, _op("new", 2))), Faults(time=1)),
    Scenario("small: bulk", _BULK),
    Scenario("small: set-add", _JOINS),
    Scenario("small: transactions, a check fails", _CHECKED),
    Scenario("small: transactions, conflict", _TRANSACT, Faults(conflict=1)),
    Scenario(
        "small: transactions, lost store reply", (_TRANSACT[0], _CLAIMS[1]), Faults(unknown=1)
    ),
)
"""Searched by ``make test``, in about half a minute."""

LARGE: Final = (
    *(Scenario(f"2 clients, {name}", _PUTS, faults) for name, faults in _FAULTS.items()),
    *(Scenario(f"2 clients, {name}, counters", _ADDS, faults) for name, faults in _FAULTS.items()),
    *(
        Scenario(f"2 clients, {name}, combined increments", _BATCHES, faults)
        for name, faults in _FAULTS.items()
    ),
    *(
        Scenario(f"2 clients, {name}, combined increments, {kind}", programs, _FAULTS[name])
        for kind, programs in (("a cancelled caller", _LEAVING), ("a refused batch", _REFUSED))
        for name in ("evict", "crash", "lost store reply")
    ),
    *(
        Scenario(f"2 clients, {name}, negative caching", _NEWS, faults)
        for name, faults in _FAULTS.items()
    ),
    Scenario("2 clients, evict twice", _PUTS, Faults(evict=2)),
    Scenario("2 clients, evict and crash", _PUTS, Faults(evict=1, crash=1)),
    Scenario("2 clients, restart and crash", _PUTS, Faults(restart=1, crash=1)),
    Scenario("2 clients, crash and lost store reply", _PUTS, Faults(crash=1, unknown=1)),
    Scenario("2 clients, cut-off, available", _FLUSHING, Faults(cut=1), _AVAILABLE),
    Scenario(
        "2 clients, cut-off and evict, available", _FLUSHING, Faults(cut=1, evict=1), _AVAILABLE
    ),
    *(Scenario(f"3 clients, {name}", _THREE, faults) for name, faults in _FAULTS.items()),
    *(
        Scenario(f"3 clients, {name}, two readers", _WATCHED, faults)
        for name, faults in _FAULTS.items()
    ),
    Scenario("time to live", _TTL, Faults(time=1)),
    Scenario("time to live, evict", _TTL, Faults(time=1, evict=1)),
    Scenario("time to live, crash", _TTL, Faults(time=1, crash=1)),
    *(Scenario(f"bulk, {name}", _BULK, _FAULTS[name]) for name in ("none", "evict", "crash")),
    *(Scenario(f"2 clients, {name}, set-add", _JOINS, faults) for name, faults in _FAULTS.items()),
    *(Scenario(f"checks, {name}", _CHECKED, faults) for name, faults in _TRANSACTING.items()),
    *(Scenario(f"claims, {name}", _CLAIMS, faults) for name, faults in _TRANSACTING.items()),
    *(
        Scenario(f"transactions, {name}", _TRANSACT, faults)
        for name, faults in _TRANSACTING.items()
    ),
    Scenario("bulk writers in other orders", _CROSSED),
    Scenario("bulk writers in other orders, lost store reply", _CROSSED, Faults(unknown=1)),
)
"""Searched by ``make check-coherence`` too."""

SCENARIOS: Final = (*SMALL, *LARGE)

BEYOND: Final = (
    Scenario(
        "4 clients, everything",
        (
            (_op("put", 1), _GET, _op("add", 10), _GET),
            (_op("add", 100), _op("del"), _GET, _op("new", 2)),
            (_GET, _GET, _op("put", 3), _GET),
            (_op("new", 4), _GET, _GET, _GET),
        ),
        Faults(evict=2, expire=1, crash=1, stall=1, restart=1, lose=1, unknown=1, cut=1),
    ),
    Scenario(
        "3 clients in bulk, everything",
        (
            (_op("put", 1, "a", "b"), _op("get", 0, "a", "b")),
            (_op("add", 10, "b", "a"), _op("get", 0, "b"), _op("get", 0, "b", "a")),
            (_op("get", 0, "a", "b"), _op("del", 0, "a"), _op("get", 0, "a", "b")),
        ),
        Faults(evict=2, expire=1, crash=1, stall=1, restart=1, lose=1, unknown=1, cut=1),
    ),
    Scenario(
        "3 clients in transactions, everything",
        (
            (
                _op("claim", 1, "a", "b"),
                _op("get", 0, "b"),
                _op("join", 2, "b"),
                _op("get", 0, "a"),
            ),
            (_op("transact", 4, "b", "a"), _op("get", 0, "b"), _op("del", 0, "a", "b")),
            (
                _op("get", 0, "a"),
                _op("claim", 8, "b", "a"),
                _op("get", 0, "a"),
                _op("join", 16, "a"),
            ),
        ),
        Faults(2, expire=1, crash=1, stall=1, restart=1, lose=1, unknown=1, cut=1, conflict=1),
    ),
)
"""Too large to be searched: walked at random."""


def main(arguments: Sequence[str]) -> int:
    """Search every scenario, two at a time; walk at random for that many seconds."""
    import random

    walking = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(2**32)
    failed = states = 0
    with ProcessPoolExecutor(2, max_tasks_per_child=1) as pool:
        searches = [pool.submit(explore, scenario) for scenario in sorted(SCENARIOS, key=_size)]
        walks = [
            pool.submit(simulate, scenario, seed=seed, seconds=walking / len(BEYOND))
            for scenario in BEYOND
        ]
        for search in as_completed(searches):
            try:
                found = search.result()
            except Counterexample as counterexample:
                failed += 1
                _say(str(counterexample))
            else:
                states += found.states
                _say(_line(found))
        _say(f"{states:,} states in {len(searches)} scenarios, {failed} violations")
        for walk in walks:
            try:
                found = walk.result()
            except Counterexample as counterexample:
                failed += 1
                _say(str(counterexample))
            else:
                _say(
                    f"{found.scenario}: {found.states:,} walks, {found.steps:,} steps, seed {seed}"
                )
    return 1 if failed else 0


def _size(scenario: Scenario) -> int:
    """Sort the largest first, as far as one can tell."""
    return -len(scenario.programs)


def _line(found: Explored) -> str:
    return f"{found.scenario:60} {found.states:12,} states {found.seconds:8.1f} s"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

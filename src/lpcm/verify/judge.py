"""The judge: finds out whether the history of each key can be explained, exactly.

A history is *linearizable* if each operation can be given one instant between its beginning
and its end so that every result is what a register would have returned. An operation whose client
died, or raised OutcomeUnknown, took effect at any time after its beginning, or never.
Linearizability is local (Herlihy and Wing 1990), so keys are judged one by one.

Events are taken in the order of time, in memory bounded by the operations under way. All
*configurations* that still explain the history are kept: the register's value, and which of
the operations under way have taken effect (Lowe 2017, just-in-time linearization). Results
are known here from the beginning. So an operation is tried only where it would return its known
result, and a read is placed at the first instant that fits, which excludes no explanation.

With a near cache a read may be of any instant up to ``max_stale`` seconds before it began, but of
none before the instant of an operation that its own process had ended by then.

Knows logs only: no store, cache or process.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["STEP", "Operation", "Violation", "judge", "operations", "smallest"]

STEP = 1000
"""Values stored are multiples of this, and are counted up from there by ones."""
_NEVER = float("inf")


class Operation(NamedTuple):
    """One operation of a client on one key, as its log has it."""

    client: int
    """Ten times the number of its process, plus that of its thread."""
    key: str
    kind: str
    """``get``, ``put``, ``add``, ``new`` (store if absent), ``del``, ``pop``."""
    argument: int | None
    result: int | None
    """The returned value, if the operation ended."""
    began: int
    """Nanoseconds of a clock that all processes of the machine share."""
    ended: float
    """The same; infinite where it is unknown whether the operation took effect."""

    def __str__(self) -> str:
        what = f"{self.kind}({self.key}{'' if self.argument is None else f', {self.argument}'})"
        result = "nothing" if self.ended == _NEVER else repr(self.result)
        return f"client {self.client}: {what} -> {result}"


class Violation(NamedTuple):
    """A history that no order of its operations explains."""

    key: str
    history: Sequence[Operation]
    """Up to the end of the first operation whose result is impossible."""

    def __str__(self) -> str:
        start = self.history[0].began
        lines = [
            f"  {(each.began - start) / 1e6:10.3f} to "
            f"{'(open)' if each.ended == _NEVER else f'{(each.ended - start) / 1e6:.3f}':>10} ms  "
            f"{each}"
            for each in self.history
        ]
        return "\n".join([f"no order explains what was returned for {self.key!r}:", *lines])


def operations(paths: Iterable[Path]) -> list[Operation]:
    """Read the clients' logs. The last line of a killed client's log may be torn.

    Operations that lpcm says were not done are left out.
    """
    found: list[Operation] = []
    for path in paths:
        begun: dict[int, tuple[Any, ...]] = {}
        for line in path.read_text(encoding="ascii").split("\n")[:-1]:
            kind, *row = json.loads(line)
            if kind == "begin":
                moment, number, *rest = row
                begun[number] = (moment, *rest)
                continue
            moment, number, outcome, result = row
            began, client, key, what, argument = begun.pop(number)
            if outcome == "done":
                found.append(Operation(client, key, what, argument, result, began, moment))
            elif outcome == "unknown" and what != "get":
                found.append(Operation(client, key, what, argument, None, began, _NEVER))
        for began, client, key, what, argument in begun.values():
            if what != "get":
                found.append(Operation(client, key, what, argument, None, began, _NEVER))
    return sorted(found, key=lambda each: each.began)


def judge(
    history: Iterable[Operation], *, relaxed: bool = False, max_stale: float = 0.0
) -> Violation | None:
    """Return a history that cannot be explained; None where each key's can.

    ``relaxed``: a read may return any value its key ever had; writes are judged as before.
    ``max_stale``: the seconds that a read may be old.

    >>> put = Operation(1, "k", "put", 7, None, 0, 1)
    >>> judge([put, Operation(2, "k", "get", None, 7, 2, 3)])
    >>> judge([put, Operation(2, "k", "get", None, None, 2, 3)]).key
    'k'
    """
    # Clocks are read as floats, and rounded.
    age = round(max_stale * 1e9) + 1000 if max_stale else 0
    by_key: dict[str, list[Operation]] = {}
    for each in history:
        by_key.setdefault(each.key, []).append(each)
    for key, whole in by_key.items():
        own = _seen_or_ended(whole)
        judged = _without_reads(own) if relaxed else _thinned(own) if age else own
        last = _first_unexplained(judged, age)
        if last is not None:
            return Violation(key, [each for each in own if each.began < last.ended])
        if relaxed and (invented := _invented(own)) is not None:
            return Violation(key, [each for each in own if each.began < invented.ended])
    return None


def _seen_or_ended(history: Sequence[Operation]) -> list[Operation]:
    """Leave out writes of unknown outcome whose value no result shows: they explain nothing."""
    origins = {_origin(each.result) for each in history}
    return [
        each
        for each in history
        if each.ended != _NEVER
        or each.kind not in {"put", "new"}
        or _origin(each.argument) in origins
    ]


def _without_reads(history: Sequence[Operation]) -> list[Operation]:
    return [each for each in history if each.kind != "get"]


def _invented(history: Sequence[Operation]) -> Operation | None:
    """Return a read of a value that no operation had written when the read ended."""
    if any(each.kind == "add" and each.ended == _NEVER for each in history):
        return None  # the sum that such an add left is not known
    values: dict[int | None, float] = {None: -_NEVER}
    for each in history:
        if each.kind != "get":
            for value in (each.result, each.argument):
                values.setdefault(value, each.began)
    for each in history:
        if each.kind == "get" and values.get(each.result, _NEVER) > each.ended:
            return each
    return None


def _thinned(history: Sequence[Operation]) -> list[Operation]:
    """Leave out reads that a thread's reads before and after them explain.

    They return the same value, which no key has twice, and so has all the time in between: one that
    was put, or counted up from there.
    """
    kept: set[Operation] = set()
    last: dict[int, Operation] = {}
    for each in history:
        before = last.get(each.client)
        alike = each.kind == "get" and each.result is not None and each.result >= STEP
        if not (alike and before and before.kind == "get" and before.result == each.result):
            kept.update({each} if before is None else {before, each})
        last[each.client] = each
    kept.update(last.values())
    return [each for each in history if each in kept]


def _waits(history: Sequence[Operation], age: int) -> list[set[int]]:
    """Return, for each old read, the operations of its process that it must not be before.

    Without those that had ended before it could have been: they have taken effect by then.
    """
    waits: list[set[int]] = []
    recent: dict[int, list[int]] = {}
    for index, each in enumerate(history):
        own = recent.setdefault(each.client // 10, [])
        own[:] = [other for other in own if history[other].ended >= each.began - age]
        old = age and each.kind == "get"
        waits.append({other for other in own if old and history[other].ended < each.began})
        own.append(index)
    return waits


def _first_unexplained(history: Sequence[Operation], age: int = 0) -> Operation | None:
    """Return the first operation at whose end no configuration is left."""
    events: list[tuple[float, bool, int]] = []
    waits = _waits(history, age)
    for index, each in enumerate(history):
        events.append((each.began - (age if each.kind == "get" else 0), False, index))
        if each.ended != _NEVER:
            events.append((each.ended, True, index))
    under_way: set[int] = set()
    configurations = {(None, frozenset[int]())}
    for _, ends, index in sorted(events):  # at equal times beginnings come first: they overlap
        if not ends:
            under_way.add(index)
            continue
        configurations = _placed(history, under_way, configurations, index, waits)
        if not configurations:
            return history[index]
        under_way.remove(index)
        for other in under_way:
            waits[other].discard(index)
    return None


def _placed(
    history: Sequence[Operation],
    under_way: set[int],
    configurations: set[tuple[Any, frozenset[int]]],
    ending: int,
    waits: Sequence[set[int]],
) -> set[tuple[Any, frozenset[int]]]:
    """Let operations under way take effect until the ending one has, which is then forgotten."""
    reads = sorted(index for index in under_way if history[index].kind == "get")
    writes = [index for index in under_way if history[index].kind != "get"]

    def read(value: Any, took: frozenset[int]) -> tuple[Any, frozenset[int]]:
        seen = set(took)
        for each in reads:  # in the order in which they began: one may wait for another
            if history[each].result == value and waits[each] <= seen:
                seen.add(each)
        return value, frozenset(seen)

    todo = [read(*each) for each in configurations]
    known = set(todo)
    found: set[tuple[Any, frozenset[int]]] = set()
    mark = {ending}
    while todo:
        value, took = todo.pop()
        if ending in took:
            found.add((value, took - mark))
            continue
        for index in writes:
            if index in took:
                continue
            possible, after = _step(history[index], value)
            if possible:
                following = read(after, took | {index})
                if following not in known:
                    known.add(following)
                    todo.append(following)
    return found


def _step(operation: Operation, value: int | None) -> tuple[bool, int | None]:
    """Return whether a write on ``value`` could have its known result, and the value after it."""
    known = operation.ended != _NEVER
    match operation.kind:
        case "put":
            return True, operation.argument
        case "del":
            return True, None
        case "pop":
            return not known or operation.result == value, None
        case "new":
            after = operation.argument if value is None else value
        case _:
            assert operation.argument is not None
            after = (value or 0) + operation.argument
    return not known or operation.result == after, after


def smallest(violation: Violation, *, relaxed: bool = False, max_stale: float = 0.0) -> Violation:
    """Leave out of a violation what it does not need: reads, and writes no result shows.

    A history that has an explanation still has one without these. So a history that has none
    after they are left out proves the violation as well.
    """
    kept = list(violation.history)
    size = max(1, len(kept) // 2)
    while True:
        start, dropped = 0, False
        while start < len(kept):
            part = kept[start : start + size]
            seen = {_origin(each.result) for each in kept}
            if all(each.kind == "get" or _unseen(each, seen) for each in part):
                rest = kept[:start] + kept[start + size :]
                if judge(rest, relaxed=relaxed, max_stale=max_stale) is not None:
                    kept, dropped = rest, True
                    continue
            start += size
        if size == 1 and not dropped:
            return Violation(violation.key, kept)
        size = max(1, size // 2)


def _unseen(write: Operation, origins: set[int | None]) -> bool:
    return write.kind == "put" and _origin(write.argument) not in origins


def _origin(value: int | None) -> int | None:
    """Return the stored value that adds have counted up to this value."""
    return None if value is None else value - value % STEP

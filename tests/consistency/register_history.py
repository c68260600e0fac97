"""Checkers of recorded histories: they find an order of the operations that explains them.

An *operation* took effect at one instant between its invocation and its response; a
history is linearizable if instants can be chosen so that every result is what a register
(one key of a map: a value, or None for absent) would have given. An operation without a
response (its process died) took effect at any time after its invocation, or never.
Linearizability is local (Herlihy and Wing 1990): a history of many keys is linearizable
iff each key's is, so keys are checked one by one.

``check`` is exact for any register operations. It walks the invocations and responses in
time order and keeps the set of all *configurations* that can still explain what was seen:
the register's value, and which of the operations under way have taken effect already.
An instant can always be postponed to just before the next response, so operations need
only be linearized there: at the response of ``o``, each configuration in which ``o`` has
not taken effect is replaced by all those that sequences of pending operations ending in
``o`` lead to (Lowe 2017, just-in-time linearization). None left: not linearizable. The
cost is linear in the history and exponential in the operations under way at one time.

``check_single_writer`` is exact for one sequential writer of rising values and any number
of readers, in O(n log n). With value ``i`` the ``i``-th written, such a history is
linearizable iff for every read (Lamport 1986, part II, proposition 5)

1. its value's write was invoked before the read responded,
2. no later value's write responded before the read was invoked, and
3. no read that responded before it was invoked returned a later value.

Necessary: each names two operations whose instants would be in the wrong order.
Sufficient: put each read behind its value's write, reads of one value by invocation; 1 to
3 say that nothing then stands before something that ended before it began.

Times that are equal count as overlapping.
"""

from __future__ import annotations

import bisect
import json
import os
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns
from typing import NamedTuple


class Op(NamedTuple):
    """One operation as its caller saw it."""

    key: str
    kind: str
    argument: int | None
    result: int | bool | None
    invoked: int
    responded: int | None
    """None: the caller died meanwhile; ``result`` means nothing then."""


def step(op, value):
    """Return (possible, the register's next value) if ``op`` takes effect on ``value``."""
    known = op.responded is not None
    match op.kind:
        case "set" | "update" | "delete":
            return True, op.argument  # None for delete
        case "get":
            return not known or op.result == value, value
        case "pop":
            return not known or op.result == value, None
        case "remove":
            return not known or op.result == (value is not None), None
        case "setdefault":
            after = op.argument if value is None else value
            return not known or op.result == after, after
        case "increment":
            after = (value or 0) + op.argument
            return not known or op.result == after, after
    raise ValueError(op.kind)


def by_key(ops):
    """Split a history into those of its keys."""
    histories = defaultdict(list)
    for op in ops:
        histories[op.key].append(op)
    return histories


def check(ops):
    """Return None if the history is linearizable, else the operation that nothing explains."""
    for history in by_key(ops).values():
        violation = _check_key(history)
        if violation is not None:
            return violation
    return None


def _check_key(history):
    # (time, is_response, index): at equal times the invocation comes first.
    events = [(op.invoked, False, index) for index, op in enumerate(history)]
    events += [
        (op.responded, True, index) for index, op in enumerate(history) if op.responded is not None
    ]
    pending = set()
    configurations = {(None, frozenset())}
    for _, is_response, index in sorted(events):
        if not is_response:
            pending.add(index)
            continue
        configurations = _linearize(history, pending, configurations, index)
        pending.remove(index)
        if not configurations:
            return history[index]
    return None


def _linearize(history, pending, configurations, last):
    reached = set()
    seen = set(configurations)
    todo = list(configurations)
    while todo:
        value, done = todo.pop()
        if last in done:
            reached.add((value, done - {last}))
            continue
        for index in pending - done:
            possible, after = step(history[index], value)
            following = (after, done | {index})
            if possible and following not in seen:
                seen.add(following)
                todo.append(following)
    return reached


def check_single_writer(ops):
    """Return None if the history is linearizable, else a read that breaks rule 1, 2 or 3.

    The operations of each key must be ``get`` and ``set``, the latter one after another
    with rising values above 0; absent reads count as 0.
    """
    for history in by_key(ops).values():
        violation = _check_single_writer_key(history)
        if violation is not None:
            return violation
    return None


def _check_single_writer_key(history):
    sets = sorted((op for op in history if op.kind == "set"), key=lambda op: op.argument)
    for one, two in pairwise(sets):
        assert one.responded is None or one.responded <= two.invoked, "the writer is not sequential"
        assert 0 < one.argument < two.argument
    invoked = {op.argument: op.invoked for op in sets} | {0: -1}
    gets = [op for op in history if op.kind == "get" and op.responded is not None]
    assert len(sets) + sum(op.kind == "get" for op in history) == len(history)
    # What a read that is invoked at some time must not be older than: rules 2 and 3.
    ended = sorted(
        [(op.responded, op.argument) for op in sets if op.responded is not None]
        + [(op.responded, op.result or 0) for op in gets]
    )
    ends = [end for end, _ in ended]
    floors = [0]
    for _, value in ended:
        floors.append(max(floors[-1], value))
    for op in sorted(gets, key=lambda op: op.responded):
        value = op.result or 0
        if invoked.get(value, op.responded + 1) > op.responded:
            return op
        if value < floors[bisect.bisect_left(ends, op.invoked)]:
            return op
    return None


class Recorder:
    """Writes one process's operations to its log so that they survive its death."""

    def __init__(self, path):
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def call(self, key, kind, argument, function):
        """Do it, with a line before and one after."""
        os.write(self._log, f"{json.dumps([key, kind, argument, monotonic_ns()])}\n".encode())
        invoked = monotonic_ns()
        result = function()
        responded = monotonic_ns()
        os.write(self._log, f"{json.dumps([result, invoked, responded])}\n".encode())
        return result


def load(path):
    """Return the operations of a log; the last may lack its response."""
    rows = [json.loads(line) for line in Path(path).read_text().split("\n")[:-1]]
    ops = [
        Op(*before[:3], result, invoked, responded)
        for before, (result, invoked, responded) in zip(rows[::2], rows[1::2], strict=False)
    ]
    if len(rows) % 2:
        key, kind, argument, invoked = rows[-1]
        ops.append(Op(key, kind, argument, None, invoked, None))
    return ops

"""Linearizability of one key's history, judged as it grows: exact, and in streaming memory.

An operation takes effect at one instant between its beginning and its end. The monitor keeps
every *configuration* that can still explain the history: the register's value, and which
of the operations under way have taken effect already, with what result. An instant can
always be postponed to just before the next end of an operation, so operations need only be placed
there: when an operation ends, every order of the operations under way is tried, and the
configurations that agree with its result are kept (Lowe 2017, just-in-time linearization). Where
no configuration is left, no order explains the history.

Linearizability is local (Herlihy and Wing 1990): a history of many keys is linearizable iff
each key's is. Knows no clock, store or cache.

Invariant: a set of configurations is not closed; ``end`` first adds each configuration in which
more of the operations under way have taken effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "MOST",
    "START",
    "Call",
    "Configurations",
    "end",
    "end_stale_read",
    "perform",
    "perform_in_history",
    "withdraw",
]


class Call(NamedTuple):
    """An operation on one key, under way or done."""

    slot: int
    """A number that no other operation under way on the key has."""
    kind: str
    """``get``, ``put``, ``add`` (up to ``MOST``, else nothing), ``join`` (an int as a set of bits),
    ``new`` (store if absent), ``claim`` (likewise, and whether it did), ``absent``, ``del``,
    ``pop``, ``expire``."""
    argument: Any = None


# (value, {(slot, result) of those under way that took effect})
_Configuration: TypeAlias = "tuple[Any, frozenset[tuple[int, Any]]]"
Configurations: TypeAlias = "frozenset[_Configuration]"
Perform: TypeAlias = "Callable[[Call, Any], tuple[Any, Any]]"

MOST = 1000
"""The largest sum that an ``add`` makes: what would pass it is refused."""

START: Configurations = frozenset({(None, frozenset[tuple[int, Any]]())})
"""No value is stored, and no operation is under way."""


def perform(call: Call, value: Any) -> tuple[Any, Any]:
    """Return the register's value after an operation, and what the operation returns.

    >>> perform(Call(0, "add", 2), None)
    (2, 2)
    >>> perform(Call(0, "new", 7), 5)
    (5, 5)
    """
    _, kind, argument = call
    match kind:
        case "get":
            return value, value
        case "put":
            return argument, None
        case "add":
            total = (value or 0) + argument
            return (total, total) if total <= MOST else (value, None)
        case "join":
            return (value or 0) | argument, (value or 0) | argument
        case "new":
            return (argument, argument) if value is None else (value, value)
        case "claim":
            return (argument, True) if value is None else (value, False)
        case "absent":
            return value, value is None
        case "del":
            return None, None
        case "pop":
            return None, value
        case "expire":  # the values that had a time to live end
            return (None, None) if value in argument else (value, None)
        case _:
            raise ValueError(kind)


def perform_in_history(call: Call, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Do the same where the register is the tuple of all its values so far, the latest last."""
    after, result = perform(call, values[-1])
    return (values if call.kind == "get" else (*values, after)), result


def end(
    configurations: Configurations,
    under_way: Iterable[Call],
    call: Call,
    result: Any,
    perform: Perform = perform,
) -> Configurations:
    """Return what still explains the history after ``call`` has ended with ``result``.

    >>> two = (Call(0, "put", 1), Call(1, "get"))
    >>> after = end(START, two, two[1], 1)     # read before it was acknowledged: it took effect
    >>> bool(after), bool(end(after, two[:1], Call(2, "get"), None))
    (True, False)
    """
    mark = (call.slot, result)
    return frozenset(
        (value, took - {mark})
        for value, took in _placed(configurations, (*under_way, call), perform)
        if mark in took
    )


def withdraw(configurations: Configurations, call: Call) -> Configurations:
    """Return the same for a call that certainly took no effect."""
    return frozenset(
        each for each in configurations if not any(slot == call.slot for slot, _ in each[1])
    )


def end_stale_read(
    configurations: Configurations, under_way: Iterable[Call], result: Any
) -> Configurations:
    """Return the same for a read that may return any value the key ever had."""
    return frozenset(
        each for each in _placed(configurations, under_way, perform_in_history) if result in each[0]
    )


def _placed(
    configurations: Configurations, calls: Iterable[Call], perform: Perform
) -> set[_Configuration]:
    """Let each of the calls take effect now, or not, in every order."""
    todo, known = list(configurations), set(configurations)
    unique = dict.fromkeys(calls)
    while todo:
        value, took = todo.pop()
        slots = {slot for slot, _ in took}
        for call in unique:
            if call.slot not in slots:
                after, result = perform(call, value)
                following = (after, took | {(call.slot, result)})
                if following not in known:
                    known.add(following)
                    todo.append(following)
    return known

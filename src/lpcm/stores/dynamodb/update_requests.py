"""Updates of a part of a value: one ``UpdateItem`` each, its condition in the request.

The condition checks all that Python's container would check: the path exists, the types fit the
action, members are there. Some checks an expression cannot make (whether a set would be empty,
whether a dict of one name is a tag): then the condition fails, and the store refuses. Sends
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.ports import DeleteItem, Extend, ListSet, Merge, SetAdd, SetRemove, Sum
from lpcm.stores.dynamodb import items
from lpcm.stores.dynamodb.expressions import Expressions
from lpcm.stores.dynamodb.requests import Write
from lpcm.values.native_number import LIMIT

if TYPE_CHECKING:
    from lpcm.ports import Step, Update

__all__ = ["grows", "update"]

_MOST: Final = LIMIT - 1
_NAMES: Final = 50
"""The most names or members in one expression, whose limits are 4 KB and 300 operators."""


def update(map: str, sk: str, op: Update, now: float) -> Write | None:
    """Return the request of an update; None where no expression can describe it."""
    made = Expressions(now)
    found = _action(made, op)
    if found is None:
        return None
    holds, change = found
    mine = made.number(op.etag)
    sets = f"SET etag = {mine}"
    text = f"{sets}, {change[4:]}" if change.startswith("SET ") else f"{sets} {change}"
    expressions = made.request(
        ConditionExpression=f"{holds} AND {made.live()}", UpdateExpression=text
    )
    shown = {"ReturnValues": "ALL_NEW", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    return Write("UpdateItem", {"Key": items.key(map, sk), **shown, **expressions}, op.etag)


def grows(op: Update) -> bool:
    """Tell whether a value may be larger after an update."""
    return isinstance(op.action, (Merge, ListSet, Extend, SetAdd))


def _action(made: Expressions, op: Update) -> tuple[str, str] | None:
    """Return an action's condition and its clause of the update."""
    whole = made.path(op.path)

    def at(step: Step) -> str:
        return made.path((*op.path, step))

    def value(part: object) -> str:
        return made.value(items.encode(part))

    match op.action:
        case Sum(delta):
            low, high = max(-_MOST, -_MOST - delta), min(_MOST, _MOST - delta)
            if abs(delta) > _MOST or low > high:
                return None
            span = f"{made.number(low)} AND {made.number(high)}"
            return f"{whole} BETWEEN {span}", f"SET {whole} = {whole} + {made.number(delta)}"
        case Merge(parts, absent, beside):
            if not 0 < len(parts) <= _NAMES:
                return None
            seen = [] if absent else list(parts)
            seen += [] if beside is None or beside in parts else [beside]
            plain = [f"size({whole}) <> {made.number(1)}"]
            plain += [f"attribute_exists({at(name)})" for name in seen]
            holds = f"attribute_type({whole}, {made.value({'S': 'M'})}) AND ({' OR '.join(plain)})"
            for name in parts if absent else ():
                holds += f" AND attribute_not_exists({at(name)})"
            sets = ", ".join(f"{at(name)} = {value(part)}" for name, part in parts.items())
            return holds, f"SET {sets}"
        case ListSet(index, part):
            return f"attribute_exists({at(index)})", f"SET {at(index)} = {value(part)}"
        case DeleteItem(step):
            return f"attribute_exists({at(step)})", f"REMOVE {at(step)}"
        case Extend(parts):
            holds = f"attribute_type({whole}, {made.value({'S': 'L'})})"
            return holds, f"SET {whole} = list_append({whole}, {value(list(parts))})"
        case SetAdd(members):
            given = items.encode(members)
            (kind,) = given
            return (
                f"attribute_type({whole}, {made.value({'S': kind})})",
                f"ADD {whole} {made.value(given)}",
            )
        case SetRemove(members, present):
            if len(members) > _NAMES and present:
                return None
            given = items.encode(members)
            (kind,) = given
            holds = f"attribute_type({whole}, {made.value({'S': kind})})"
            holds += f" AND size({whole}) > {made.number(len(members))}"
            for member in members if present else ():
                holds += f" AND contains({whole}, {value(member)})"
            return holds, f"DELETE {whole} {made.value(given)}"

"""Rewrites of a value and updates of its parts, for stores of JSON text (``Form.TEXT``).

The reference implementation of ``ports.Update``: the text becomes a tree, the action is done on
the tree as Python's containers would do it, and the tree becomes text again. Knows of tags only
how a dict differs from a tag, and the form of a set; the rest of the codec's form stays unchanged.

Invariant: the text returned is the one the codec would have made of the changed value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import (
    Cell,
    DeleteItem,
    Extend,
    ListSet,
    Merge,
    Put,
    Rewrite,
    SetAdd,
    SetRemove,
    Sum,
    Update,
    When,
)
from lpcm.values.compact_json import compact_json
from lpcm.values.native_number import LIMIT

if TYPE_CHECKING:
    from lpcm.ports import Step, Stored

__all__ = ["changed", "rewritten"]

_SET: Final = "!set"


def rewritten(current: Stored | None, op: Update | Rewrite) -> Put | None:
    """Return the put that the op is where ``current`` is stored; None: the op must be refused."""
    if type(op) is Rewrite:
        put = op.make(current)
        return None if put is None else put._replace(when=When.ALWAYS)
    assert type(op) is Update
    text = changed(current, op)
    if current is None or text is None:
        return None
    return Put(Cell(text, current.kind), op.etag, current.expires)


def changed(current: Stored | None, update: Update) -> str | None:
    """Return the entry's text after the update; None: the update must be refused.

    >>> from lpcm.ports import Stored, Update
    >>> entry = Stored('{"tags":["a"],"visits":1}', "json", 7, None)
    >>> changed(entry, Update(("tags",), Extend(["b"]), 8))
    '{"tags":["a","b"],"visits":1}'
    >>> changed(entry, Update(("visits",), Sum(2), 8))
    '{"tags":["a"],"visits":3}'
    >>> changed(entry, Update(("visits",), Extend(["b"]), 8)) is None
    True
    """
    if current is None or current.kind != "json" or not isinstance(current.data, str):
        return None
    json = compact_json()
    try:
        tree = json.loads(current.data)
        done = _sum(tree, update) if isinstance(update.action, Sum) else _done(tree, update)
        text = json.dumps(tree) if done else None
        if text is not None and not text.isascii():
            text.encode()
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None  # not written by lpcm: the caller reads the entry, and raises
    return text


def _at(tree: Any, path: tuple[Step, ...]) -> Any:
    """Return the part at the path; None where there is none, or null."""
    for step in path:
        if isinstance(step, str):
            tree = tree.get(step) if type(tree) is dict else None
        else:
            tree = tree[step] if type(tree) is list and step < len(tree) else None
    return tree


def _sum(tree: Any, update: Update) -> bool:
    assert isinstance(update.action, Sum)
    *path, last = update.path
    number = _at(tree, update.path)
    if type(number) is not int:
        return False
    number += update.action.delta
    if not -LIMIT < number < LIMIT:
        return False
    _at(tree, tuple(path))[last] = number
    return True


def _done(tree: Any, update: Update) -> bool:
    """Change the tree in place; return False, without a change, where the action does not fit."""
    target = _at(tree, update.path)
    match update.action:
        case Merge(parts, absent):
            if not _is_dict(target) or (absent and not target.keys().isdisjoint(parts)):
                return False
            merged = sorted({**target, **parts}.items())
            target.clear()
            target.update(merged)
        case ListSet(at, part):
            if type(target) is not list or at >= len(target):
                return False
            target[at] = part
        case DeleteItem(step):
            named = isinstance(step, str)
            if not (_is_dict(target) if named else type(target) is list):
                return False
            if step not in (target if named else range(len(target))):
                return False
            del target[step]
        case Extend(parts):
            if type(target) is not list:
                return False
            target.extend(parts)
        case SetAdd(members):
            return _reset(target, members, lambda held: held | members)
        case SetRemove(members, present):
            if not present:
                return _reset(target, members, lambda held: held - members)
            return _reset(target, members, lambda held: held - members if held >= members else None)
        case _:
            return False
    return True


def _is_dict(part: Any) -> bool:
    if type(part) is not dict:
        return False
    names = list(part)
    return len(names) != 1 or not names[0].startswith("!") or names[0].startswith("!!")


def _reset(part: Any, members: Any, change: Any) -> bool:
    """Change a set's members, if old and given members are all str or all int."""
    if type(part) is not dict or list(part) != [_SET]:
        return False
    held = part[_SET]
    kinds = {type(member) for member in held} | {type(member) for member in members}
    if kinds not in ({str}, {int}):
        return False
    after = change(set(held))
    if after is None or any(type(m) is int and abs(m) >= LIMIT for m in after):
        return False
    part[_SET] = sorted(after, key=compact_json().order)  # the codec's order
    return True

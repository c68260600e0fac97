"""Snapshots of suspended coroutines: equal snapshots go on equally, given equal answers.

A snapshot holds, for each frame from the outermost to the suspended one, its position and the
local variables that are still read from there on (found in its bytecode), made hashable. With
snapshots the explorer knows that two clients with different pasts have one future.

Knows nothing of the protocol but which fields hold CAS ids: those are the ids that a client still
*holds*. Python hides the position of a ``for`` loop that suspends inside, so this position must
follow from the loop's variable. An object that cannot be frozen is an error, never a guess.
"""

from __future__ import annotations

import dis
import functools
import operator
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from lpcm.coherence.item import Token
from lpcm.coherence.protocol import _Wait
from lpcm.ports import Invalidate, Packet, Replies, Result, Set

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import CodeType

__all__ = ["Snapshot", "held", "snapshot"]

Snapshot = tuple[Any, ...]

_PLAIN = (str, bytes, int, float, type(None), Enum, type)


def snapshot(coroutine: Coroutine[Any, Any, Any], opaque: tuple[type, ...]) -> Snapshot:
    """Return the state of a suspended coroutine; objects of ``opaque`` types do not count.

    >>> class Pause:
    ...     def __await__(self):
    ...         yield
    >>> async def count(past, unused):
    ...     total = past + 1
    ...     await Pause()
    ...     return total
    >>> one, same, other = count(1, "a"), count(1, "b"), count(2, "a")
    >>> for each in (one, same, other):
    ...     each.send(None)
    >>> snapshot(one, ()) == snapshot(same, ()) != snapshot(other, ())
    True
    >>> for each in (one, same, other):
    ...     each.close()
    """
    return _frames(coroutine, "cr_frame", "cr_await", opaque)


def _frames(outermost: Any, frame_of: str, next_of: str, opaque: tuple[type, ...]) -> Snapshot:
    """Return each frame from the outermost to the suspended one; none where it has ended."""
    frames: list[Any] = []
    at = outermost
    while (frame := getattr(at, frame_of, None)) is not None:
        live = _live(frame.f_code).get(frame.f_lasti, frame.f_locals.keys())  # not begun: all
        values = sorted((k, freeze(v, opaque)) for k, v in frame.f_locals.items() if k in live)
        frames.append((frame.f_code, frame.f_lasti, tuple(values)))
        at = getattr(at, next_of)
    return tuple(frames)


def freeze(part: Any, opaque: tuple[type, ...]) -> Any:
    """Return a hashable that is equal for equal parts."""
    if isinstance(part, _PLAIN):
        return part
    if isinstance(part, opaque):
        return type(part).__name__
    if isinstance(part, tuple):
        members = tuple(freeze(each, opaque) for each in part)
        return (type(part).__name__, members) if type(part) is not tuple else members
    if isinstance(part, list):
        return ("list", *(freeze(each, opaque) for each in part))
    if isinstance(part, dict):
        return ("dict", *((freeze(k, opaque), freeze(v, opaque)) for k, v in part.items()))
    if isinstance(part, (set, frozenset)):
        return ("set", frozenset(freeze(each, opaque) for each in part))
    if isinstance(part, BaseException):
        return (type(part).__name__, str(part))
    if isinstance(part, (FunctionType, MethodType, BuiltinFunctionType)):
        return part.__qualname__
    if hasattr(part, "gi_frame"):
        return ("generator", *_frames(part, "gi_frame", "gi_yieldfrom", opaque))
    slots = getattr(type(part), "__slots__", None)
    if slots:
        return (type(part).__name__, *(freeze(getattr(part, name), opaque) for name in slots))
    if hasattr(part, "__length_hint__"):  # an iterator over something that stands beside it
        return ("iterator", operator.length_hint(part))
    raise TypeError(f"cannot tell the state of {part!r}")


def held(frozen: Any, generation: int = 0) -> Iterator[tuple[int, int]]:
    """Yield each (generation, CAS id) in a frozen part; 0 where the generation is not known.

    >>> list(held(freeze(Token(7, 2000, 1, 10), ())))
    [(2, 7)]
    """
    if not isinstance(frozen, (tuple, frozenset)):
        return
    if isinstance(frozen, tuple) and len(frozen) > 1 and frozen[0] in _HOLDERS:
        cas, connection = _HOLDERS[frozen[0]]
        fields = frozen[1] if isinstance(frozen[1], tuple) else frozen[1:]
        if connection is not None and fields[connection] is not None:
            generation = fields[connection] // 1000
        # A token sent over any connection, as only a mutant does, holds nothing.
        if cas is not None and fields[cas] and (generation or frozen[0] != "Set"):
            yield generation, fields[cas]
    for each in frozen:
        yield from held(each, generation)


def _places(kind: Any) -> tuple[int | None, int | None]:
    names = getattr(kind, "_fields", None) or sorted(kind.__slots__)
    return tuple(names.index(n) if n in names else None for n in ("cas", "connection"))  # type: ignore[return-value]  # two of them


_HOLDERS = {
    kind.__name__: _places(kind)
    for kind in (Token, Result, Set, Invalidate, Packet, Replies, _Wait)
}


@functools.cache
def _live(code: CodeType) -> dict[int, frozenset[str]]:
    """Return the names that are read after each instruction before they are written again."""
    instructions = list(dis.get_instructions(code))
    entries = getattr(dis.Bytecode(code), "exception_entries")  # noqa: B009  # not in the type stubs
    place = {each.offset: at for at, each in enumerate(instructions)}
    following: list[set[int]] = []
    for at, each in enumerate(instructions):
        after: set[int] = set()
        if each.opname not in _ENDS:
            if each.opname not in _JUMPS:
                after.add(at + 1)
            if each.opcode in dis.hasjrel or each.opcode in dis.hasjabs:
                after.add(place[each.argval])
        after |= {place[e.target] for e in entries if e.start <= each.offset < e.end}
        following.append({where for where in after if where < len(instructions)})
    always = frozenset(code.co_cellvars + code.co_freevars)
    before: list[frozenset[str]] = [frozenset()] * len(instructions)
    changed = True
    while changed:
        changed = False
        for at in range(len(instructions) - 1, -1, -1):
            each = instructions[at]
            after_it: frozenset[str] = frozenset().union(*(before[n] for n in following[at]))
            names = each.argval if isinstance(each.argval, tuple) else (each.argval,)
            if "LOAD_FAST" in each.opname:
                after_it = after_it.union(names)
            elif each.opname == "STORE_FAST":
                after_it = after_it.difference(names)
            if after_it != before[at]:
                before[at] = after_it
                changed = True
    return {
        each.offset: frozenset().union(always, *(before[n] for n in following[at]))
        for at, each in enumerate(instructions)
    }


_ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS"})
_JUMPS = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"})

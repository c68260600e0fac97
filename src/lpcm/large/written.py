"""The JSON of a tree, piece by piece: so that no more than a few parts of it are in memory.

Knows trees and no cell. Invariant: the pieces together are what ``values.serial`` writes of the
tree, and one is made of about ``ROOM`` characters and bytes of it.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, Any, Final

from lpcm.values.serial import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["pieces"]

ROOM: Final = 48 * 1024
"""A multiple of 3: so much of bytes is base64 without padding."""
_MANY: Final = frozenset({str, bytes, list, dict, frozenset})
"""The types of parts that take more than a few characters."""


def pieces(tree: Any) -> Iterator[str]:
    """Yield the JSON of a tree.

    >>> "".join(pieces({"a": [1, "é"], "b": b"x"}))
    '{"a":[1,"é"],"b":{"!bytes":"eA=="}}'
    """
    kind = type(tree)
    if kind not in _MANY or _left(tree, ROOM) >= 0:
        yield write_json(tree)
    elif kind is str:
        yield '"'
        for at in range(0, len(tree), ROOM):
            yield write_json(tree[at : at + ROOM])[1:-1]
        yield '"'
    elif kind is bytes:
        yield '{"!bytes":"'
        for at in range(0, len(tree), ROOM):
            yield b2a_base64(tree[at : at + ROOM], newline=False).decode()
        yield '"}'
    elif kind is frozenset:
        yield '{"!set":'
        yield from pieces(list(tree))
        yield "}"
    else:
        named = kind is dict
        yield "{" if named else "["
        yield from _members(tree.items() if named else enumerate(tree), named=named)
        yield "}" if named else "]"


def _members(members: Iterable[tuple[Any, Any]], *, named: bool) -> Iterator[str]:
    """Yield the members of a dict or list, the small ones as many at once as there is room for."""
    between = ""
    few: dict[Any, Any] = {}
    left = ROOM
    for name, member in members:
        left = _left(member, left - len(name) if named else left)
        if left < 0:
            if few:
                yield between + _inner(few, named=named)
                between = ","
                few.clear()
            left = _left(member, ROOM)
            if left < 0:
                yield f"{between}{write_json(name)}:" if named else between
                between = ","
                yield from pieces(member)
                left = ROOM
                continue
        few[name] = member
    if few:
        yield between + _inner(few, named=named)


def _inner(few: dict[Any, Any], *, named: bool) -> str:
    return write_json(few if named else list(few.values()))[1:-1]


def _left(part: Any, room: int) -> int:
    """Return the room that a part leaves; below 0: it takes more, and was not looked at to its end.

    >>> _left(["a", 1], 100), _left("a" * 100, 50) < 0
    (88, True)
    """
    kind = type(part)
    if kind is str or kind is bytes:
        return room - len(part) - 3
    if kind is not dict and kind is not list and kind is not frozenset:
        return room - 8
    members = part
    if kind is dict:
        room -= sum(map(len, part)) + 3 * len(part)
        members = part.values()
    for member in members:
        room = room - len(member) - 3 if type(member) is str else _left(member, room)
        if room < 0:
            break
    return room

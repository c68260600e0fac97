"""The actions of an Update: changes of a part of a stored value, made by the store.

Each is a method of Python's containers as data, which a store may translate into a request of
its own. ``ports.Update`` says when the store must refuse.

A *step* leads from a container of a tree (see ``codec``) to a part of it: a name as it stands in
the tree, escaped or a tag, or an index from 0 on. A *part* is a piece of such a tree. The
store must refuse a dict that is a tag: it represents a value of another type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Action",
    "DeleteItem",
    "Extend",
    "ListSet",
    "Merge",
    "SetAdd",
    "SetRemove",
    "Step",
    "Sum",
]

Step: TypeAlias = str | int


class Sum(NamedTuple):
    """Add to the int at the path. The path is not empty: ``Add`` is for the whole value."""

    delta: int


class Merge(NamedTuple):
    """``dict.update``: set these names of the dict at the path; none of them is a tag."""

    parts: Mapping[str, object]
    absent: bool = False
    """True: refused if the dict has one of these names."""
    beside: str | None = None
    """A name that the caller saw in the dict: while it is there, a dict of one name is no tag."""


class ListSet(NamedTuple):
    """``list[at] = part`` on the list at the path; refused if the list is shorter."""

    at: int
    part: object


class DeleteItem(NamedTuple):
    """``del container[step]``: refused if the container has no such item."""

    step: Step


class Extend(NamedTuple):
    """``list.extend`` on the list at the path."""

    parts: Sequence[object]


class SetAdd(NamedTuple):
    """``set.update`` on the set at the path; members are all str, all bytes or all int."""

    members: frozenset[str] | frozenset[bytes] | frozenset[int]


class SetRemove(NamedTuple):
    """``set.difference_update`` on the set at the path; members as for SetAdd."""

    members: frozenset[str] | frozenset[bytes] | frozenset[int]
    present: bool = False
    """True: refused if one of them is not in the set."""


Action: TypeAlias = Sum | Merge | ListSet | DeleteItem | Extend | SetAdd | SetRemove

"""The actions of an Update: what can be done to a part of a stored value where it is.

Each is a method of Python's containers, as data that a store may turn into something of its
own (see ``ports.Update``, which says when it must refuse).

A *step* leads from a container of a tree (see ``codec``) to a part of it: a name as the tree
has it, escaped or a tag, or an index from 0 on. A *part* is a piece of such a tree. Of a
dict the store must make sure that it is none that stands for something else, a tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Action", "Drop", "Extend", "Join", "Leave", "Merge", "Place", "Step", "Sum"]

Step: TypeAlias = str | int


class Sum(NamedTuple):
    """Add to the int at the path, which is not empty: for that, see Add."""

    delta: int


class Merge(NamedTuple):
    """``dict.update``: set these names of the dict at the path; none of them is a tag."""

    parts: Mapping[str, object]
    absent: bool = False
    """Only if the dict has none of these names; else it is refused."""
    beside: str | None = None
    """A name the caller saw in the dict: where it is, one entry is no tag."""


class Place(NamedTuple):
    """``list[at] = part`` on the list at the path, which is at least that long."""

    at: int
    part: object


class Drop(NamedTuple):
    """``del container[step]``: what is there goes; refused if nothing is."""

    step: Step


class Extend(NamedTuple):
    """``list.extend`` on the list at the path."""

    parts: Sequence[object]


class Join(NamedTuple):
    """``set.update`` on the set at the path; members are all str, all bytes or all int."""

    members: frozenset[str] | frozenset[bytes] | frozenset[int]


class Leave(NamedTuple):
    """``set.difference_update`` on the set at the path; members as for Join."""

    members: frozenset[str] | frozenset[bytes] | frozenset[int]
    present: bool = False
    """Only if all of them are in the set; else it is refused."""


Action: TypeAlias = Sum | Merge | Place | Drop | Extend | Join | Leave

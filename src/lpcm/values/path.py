"""Paths to a part of a value, for the messages of errors: ``value['a'][3]``.

A path is a list of its steps, a key or an index each. It costs next to nothing until ``where``
makes text of it. Knows nothing of the types of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ValueEncodingError
from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DEPTH_LIMIT",
    "INSIDE",
    "NAME_LIMIT",
    "Member",
    "check_text",
    "depth",
    "shown",
    "step",
    "where",
]

DEPTH_LIMIT: Final = 32
NAME_LIMIT: Final = 16_000  # characters; DynamoDB's names have 1 to 65,535 bytes


class Member(NamedTuple):
    """A step of a path into a set."""

    value: object


INSIDE: Final = object()  # a step into an object of a registered class


def where(path: Iterable[object]) -> str:
    """Return a path as text."""
    return "".join(
        f"{{{shown(step.value)}}}" if isinstance(step, Member) else f"[{shown(step)}]"
        for step in path
        if step is not INSIDE
    )


def check_text(text: str, path: Iterable[object]) -> None:
    """Refuse text that UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueEncodingError(
            f"value{where(path)} has a lone surrogate at position {error.start}, which is no "
            f"text: {shown(text)}"
        ) from None


def shown(value: object) -> str:
    """Return a short repr; that of text is in ASCII."""
    try:
        text = ascii(value) if isinstance(value, str) else repr(value)
    except ValueError:  # an int of more digits than the process writes
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def step(name: object) -> str | None:
    """Return a dict's key as a name in its tree; None where a tree cannot have such a name.

    >>> step("a"), step("!a"), step(7)
    ('a', '!!a', None)
    """
    if type(name) is not str or not 0 < len(name) <= NAME_LIMIT:
        return None
    return f"!{name}" if name.startswith("!") else name


def depth(tree: Any) -> int:
    """Return how deep the containers of a tree nest."""
    if isinstance(tree, dict):
        return 1 + max(map(depth, tree.values()), default=0)
    if isinstance(tree, list):
        return 1 + max(map(depth, tree), default=0)
    return 0

"""What targets share: a case, and what it means that a value came back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm.errors import ValueEncodingError
from lpcm.values.codec import Codec, Form
from tests.strategies import same

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TEXT", "TREE", "Case", "again"]

TEXT, TREE = Codec(Form.TEXT), Codec(Form.TREE)


class Case(NamedTuple):
    """An input, and what is to hold of it."""

    input: Any
    check: Callable[[Any], str]


def again(value: Any, codec: Codec) -> str:
    """Write a value that was read, read it again, and compare."""
    try:
        cell = codec.encode(value)
    except ValueEncodingError:
        return "read, and never written"
    assert same(codec.decode(*cell), value)
    return "read"

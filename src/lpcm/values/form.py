"""The two forms of stored values, and a value in one of them. Knows no codec."""

from __future__ import annotations

from enum import Enum
from typing import Final

from lpcm.system.records import NamedTuple

__all__ = ["HEAD", "METHODS", "Cell", "Form"]

HEAD: Final = "head"
"""The kind of a head, which stands for a value that is stored in parts (``ports.heads``)."""
METHODS = ("zlib", "zstd", "none")
"""What values can be compressed with; see ``values.compress``."""


class Form(Enum):
    """The form of ``Cell.data`` in a store."""

    TEXT = "text"
    """A str, 64-bit int, float but nan, or bytes as it is; else JSON text, kind "json"."""
    TREE = "tree"
    """A tree of DynamoDB's own types; kind "int", "float" or "decimal" for a bare number."""


class Cell(NamedTuple):
    """A value in a store's form."""

    data: object
    kind: str | None

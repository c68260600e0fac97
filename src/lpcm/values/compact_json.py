"""JSON text of values, written and read with the json module as it pays here.

Knows nothing of tags. Invariant: reading takes time in proportion to the text: a bare int of
over ``limits.DIGITS`` digits is refused whatever limit the process has.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from lpcm.values import limits

__all__ = ["compact_json"]


class _JSON:
    """The json module: 5 ms to import, for values that are more than a scalar."""

    def __init__(self) -> None:
        import json

        self.dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        self.order = json.JSONEncoder(default=repr, sort_keys=True).encode
        self._parse = json.JSONDecoder().raw_decode
        # As above, but slower, for a text that has a number of too many digits, or seems to.
        self._parse_slowly = json.JSONDecoder(parse_int=limits.integer).raw_decode
        # (?<!): a search that begins anew at each digit would take squared time.
        self._long = re.compile(f"(?<![0-9])[0-9]{{{limits.DIGITS + 1}}}").search

    def loads(self, text: str) -> Any:
        """Return the tree; half the price of ``json.loads``, which looks for blanks around it."""
        if len(text) > limits.DIGITS and self._long(text):
            tree, end = self._parse_slowly(text)
        else:
            tree, end = self._parse(text)
        if end != len(text):
            raise ValueError(f"something stands behind position {end}")
        return tree


compact_json = functools.cache(_JSON)

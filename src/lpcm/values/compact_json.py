"""JSON text of values, written and read with the json module's fastest functions.

Knows nothing of tags. Invariant: reading takes time in proportion to the text: a bare int of
over ``limits.DIGITS`` digits is refused, whatever limit the process has.
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
        # The same, but slower: for a text that may have a number of too many digits.
        self._parse_slowly = json.JSONDecoder(parse_int=limits.integer).raw_decode
        # (?<!): a search that starts again at each digit would take quadratic time.
        self._long = re.compile(f"(?<![0-9])[0-9]{{{limits.DIGITS + 1}}}").search

    def loads(self, text: str) -> Any:
        """Return the tree, in half the time of ``json.loads``, which looks for blanks around it."""
        if len(text) > limits.DIGITS and self._long(text):
            tree, end = self._parse_slowly(text)
        else:
            tree, end = self._parse(text)
        if end != len(text):
            raise ValueError(f"there is more text behind position {end}")
        return tree


compact_json = functools.cache(_JSON)

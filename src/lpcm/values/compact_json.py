"""JSON text of values, written and read with the json module's fastest functions.

Knows nothing of tags. Invariant: reading takes time in proportion to the text: a bare int of
over ``limits.DIGITS`` digits is refused, whatever limit the process has.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from lpcm.values import limits

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compact_json"]


class _JSON:
    """The json module: 5 ms to import, for values that are more than a scalar."""

    def __init__(self) -> None:
        import json

        self.dumps = _writer()
        self.order = json.JSONEncoder(default=repr, sort_keys=True).encode
        # Not ``json.loads``, which looks for blanks around the text, in as much time again.
        decoder: Any = json.JSONDecoder()
        self._parse = decoder.scan_once
        # The same, but slower: for a text that may have a number of too many digits.
        decoder = json.JSONDecoder(parse_int=limits.integer)
        self._parse_slowly = decoder.scan_once

    def loads(self, text: str) -> Any:
        """Return the tree."""
        slow = len(text) > limits.DIGITS and _may_be_long(text)
        try:
            tree, end = self._parse_slowly(text, 0) if slow else self._parse(text, 0)
        except StopIteration as error:
            raise ValueError(f"there is no JSON at position {error.value}") from None
        if end != len(text):
            raise ValueError(f"there is more text behind position {end}")
        return tree


_HALF: Final = limits.DIGITS // 2


def _may_be_long(text: str) -> bool:
    """Tell whether a text may have a number of over ``limits.DIGITS`` digits.

    Looks at one character in so many, for a search of the whole text takes ten times as long as
    to parse it: so long a run of digits has one of them, and its half before it or behind it.

    >>> _may_be_long("[1, " + "9" * 5000 + "]"), _may_be_long("[1.5]" * 2000)
    (True, False)
    """
    step = limits.DIGITS + 1
    return any(
        text[at : at + _HALF].isdigit() or text[max(0, at - _HALF) : at].isdigit()
        for at in (found.start() * step for found in re.finditer("[0-9]", text[::step]))
    )


def _writer() -> Callable[[Any], str]:
    """Return what writes a tree, the keys of each dict in order; ValueError for nan and inf."""
    import json

    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        ).encode
    # What ``json.JSONEncoder.encode`` makes anew for each call, in as much time again.
    text = json.encoder.encode_basestring
    write = make(None, _refuse, text, None, ":", ",", True, False, False)  # of C
    return lambda tree: "".join(write(tree, 0))


def _refuse(part: object) -> Any:
    raise TypeError(f"a {type(part).__name__} is no part of a tree")


compact_json = functools.cache(_JSON)

"""Expressions: conditions and updates as DynamoDB's text, with placeholders.

Knows the attributes and no request. Invariant: every text of a user (a value, a name in a
path) goes through a placeholder; an expression has only this package's own text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lpcm.ports import MAX_KEY, When
from lpcm.stores.dynamodb.items import LARGE, number
from lpcm.values.keys import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lpcm.ports import Condition, KeyRange

__all__ = ["Expressions", "last"]


class Expressions:
    """The expressions of one request, and the values and names of their placeholders."""

    known: Final = "attribute_not_exists(f)"
    """The condition that an entry is neither a head nor of a later format; see ``items``."""

    def __init__(self, now: float, *, heads: bool = False) -> None:
        self._now = now
        self._values: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._heads = heads
        """Whether an entry may be a head."""

    def value(self, attribute: Mapping[str, Any]) -> str:
        """Return a placeholder for an attribute value."""
        placeholder = f":{len(self._values)}"
        self._values[placeholder] = attribute
        return placeholder

    def number(self, value: float) -> str:
        """Return a placeholder for a number."""
        placeholder = f":{len(self._values)}"  # value, without its call
        self._values[placeholder] = {"N": number(value)}
        return placeholder

    def path(self, steps: Sequence[str | int]) -> str:
        """Return the document path of a part of the value."""
        text = "v"
        for step in steps:
            if isinstance(step, int):
                text += f"[{step}]"
                continue
            placeholder = self._names.setdefault(step, f"#{len(self._names)}")
            text += f".{placeholder}"
        return text

    def _or_head(self) -> str:
        return f"({self.known} OR f = {self.value(LARGE)})"

    def unexpired(self) -> str:
        """Return the condition that an entry has not expired; only a number is an expiry."""
        now, number = self.number(self._now), self.value({"S": "N"})
        return f"(attribute_not_exists(x) OR x > {now} OR NOT attribute_type(x, {number}))"

    def expired(self) -> str:
        """Return the condition that an entry has expired."""
        return f"x <= {self.number(self._now)}"

    def live(self) -> str:
        """Return the condition that an entry has not expired and is of a known format."""
        known = self._or_head() if self._heads else self.known
        return f"{known} AND {self.unexpired()}"

    def holds(self, when: Condition) -> str:
        """Return a write's condition on the entry."""
        match when:
            case When.ALWAYS:
                return self._or_head() if self._heads else self.known
            case When.ABSENT:
                return f"attribute_not_exists(pk) OR x <= {self.number(self._now)}"
            case When.PRESENT:
                return f"attribute_exists(pk) AND {self.live()}"
            case 0:  # another program's item may have no etag, or an etag that is no number
                none = f"NOT attribute_type(etag, {self.value({'S': 'N'})})"
                same = f"(etag = {self.number(0)} OR {none})"
                return f"attribute_exists(pk) AND {same} AND {self.live()}"
            case etag:
                return f"etag = {self.number(etag)} AND {self.live()}"

    def keys(self, map: str, range_: KeyRange) -> str | None:
        """Return the condition of a query on its keys; None: the range can have no key."""
        low, high = range_
        whole = f"pk = {self.value({'S': map})}"
        if high >= MAX_KEY:
            return f"{whole} AND sk >= {self.value({'S': low})}" if low else whole
        end = last(high)
        if low > end or not end:
            return None
        if not low:
            return f"{whole} AND sk <= {self.value({'S': end})}"
        return f"{whole} AND sk BETWEEN {self.value({'S': low})} AND {self.value({'S': end})}"

    def request(self, **texts: str | None) -> dict[str, Any]:
        """Return the request's members: these expressions and their placeholders."""
        made: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
        if self._values:
            made["ExpressionAttributeValues"] = self._values
        if self._names:
            made["ExpressionAttributeNames"] = {key: name for name, key in self._names.items()}
        return made


def last(high: str) -> str:
    r"""Return the last of all possible keys, of at most 1,024 bytes, before ``high``.

    DynamoDB's BETWEEN includes its upper bound, and refuses a bound that cannot be a key.

    >>> last("b")[:3], len(last("b").encode()), last("a\0")
    ('a\U0010ffff\U0010ffff', 1024, 'a')
    """
    if not high:
        return ""
    body, code = high[:-1], ord(high[-1])
    if not code:
        return body
    body += chr(0xD7FF if code == 0xE000 else code - 1)  # no key has a surrogate
    fours, rest = divmod(LIMIT - len(body.encode()), 4)
    return body + "\U0010ffff" * fours + ("", "\x7f", "\u07ff", "\uffff")[rest]

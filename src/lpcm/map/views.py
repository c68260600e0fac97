"""Views of a map: its keys, values and items, or a range of them, read as they are walked.

A view holds no entries. Walking it streams pages of up to 1,000 entries (about 1 MB) in
key order; between two pages nothing is open or locked, so the map may change meanwhile: an
entry that is there all the time is met exactly once, one that comes or goes may or may
not be met.

An entry that cannot be read does not end a walk: the others are given, and at the end a
BatchError has what failed, by key; with 1,000 of them the walk ends after that page. Keys are
always given.

``len(view)`` counts in the store, which reads every entry of the range there. A view with a
``limit`` is of the first entries at the time; all that is asked of it walks them. A key or
item view is a set: ``in`` and ``&`` read what they are asked about, in bulk; the other
operations walk the view.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    ValuesView,
)
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

from lpcm.engine.drive import do
from lpcm.errors import BatchError, KeyEncodingError
from lpcm.operations.absent import absent
from lpcm.operations.damage import MANY
from lpcm.ports import MAX_KEY, KeyRange, Scan
from lpcm.system.records import NamedTuple
from lpcm.values.keys import encode, prefix_range

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from lpcm.operations.operations import Entries

__all__ = ["Items", "Keys", "Span", "Values", "astream", "span", "stream"]

K = TypeVar("K")
V = TypeVar("V")

PAGE = 1000


class Span(NamedTuple):
    """The part of a map that a view shows, and the way it is walked."""

    keys: KeyRange = KeyRange()
    reverse: bool = False
    limit: int | None = None
    """How many entries at most; None: all."""


def span(
    prefix: object, start: object, stop: object, *, reverse: bool, limit: int | None = None
) -> Span:
    """Return the span of the keys ``start <= key < stop`` that begin with ``prefix``.

    >>> span("eu/", None, "eu/k", reverse=False)
    Span(keys=KeyRange(low='eu/', high='eu/k'), reverse=False, limit=None)
    """
    low, high = ("", MAX_KEY) if prefix is None else prefix_range(prefix)
    if start is not None:
        low = max(low, encode(start))
    if stop is not None:
        high = min(high, encode(stop))
    if limit is not None and (limit := index(limit)) < 0:
        raise ValueError(f"limit must be 0 or more, not {limit}")
    return Span(KeyRange(low, high), reverse, limit)


def stream(
    use: Callable[[], Entries], span: Span, *, reverse: bool = False, values: bool = True
) -> Iterator[tuple[Any, Any]]:
    """Walk the (key, value) pairs of a span, page by page."""
    if reverse and span.limit is not None:
        # The end of what the span shows is where it stops, which only the walk there finds.
        yield from reversed([*stream(use, span, values=values)])
        return
    back = span.reverse != reverse
    failed: dict[Any, Exception] = {}

    def page(after: str | None) -> Coroutine[Any, Any, tuple[Sequence[Any], str | None]]:
        size = PAGE if left is None else min(left, PAGE)
        return use().page(Scan(span.keys, after, size, back, values), failed)

    after: str | None = None
    left = span.limit
    while left != 0:
        pairs, after = do(page, after)
        yield from pairs
        if after is None or len(failed) >= MANY:
            break
        if left is not None:
            left -= len(pairs)
    if failed:
        raise BatchError(failed)


async def astream(
    use: Callable[[], Entries], span: Span, *, values: bool = True
) -> AsyncIterator[tuple[Any, Any]]:
    """Walk the (key, value) pairs of a span without blocking the event loop."""
    failed: dict[Any, Exception] = {}
    after: str | None = None
    left = span.limit
    while left != 0:
        entries = use()
        size = PAGE if left is None else min(left, PAGE)
        wanted = Scan(span.keys, after, size, span.reverse, values)
        pairs, after = await entries.drive(entries.page(wanted, failed), reads=True)
        for pair in pairs:
            yield pair
        if after is None or len(failed) >= MANY:
            break
        if left is not None:
            left -= len(pairs)
    if failed:
        raise BatchError(failed)


def _inside(key: object, span: Span) -> bool:
    try:
        return span.keys.low <= encode(key) < span.keys.high
    except KeyEncodingError as error:
        return absent(key, error) is not None


def _count(use: Callable[[], Entries], span: Span) -> int:
    if span.limit is None:
        return do(use().count, span.keys)
    return sum(1 for _ in stream(use, span, values=False))


class Keys(KeysView[K]):
    """The keys of a span, in key order; a set."""

    _mapping: Mapping[K, Any]

    def __init__(self, mapping: Mapping[K, Any], use: Callable[[], Entries], span: Span) -> None:
        super().__init__(mapping)
        self._use = use
        self._span = span

    @property
    def mapping(self) -> Mapping[K, Any]:
        """The map it is a view of."""
        return self._mapping

    def __len__(self) -> int:
        return _count(self._use, self._span)

    def __contains__(self, key: object) -> bool:
        if not _inside(key, self._span):
            return False
        if self._span.limit is not None:
            return any(held == key for held in self)
        return key in self._mapping

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in stream(self._use, self._span, values=False))

    def __reversed__(self) -> Iterator[K]:
        walk = stream(self._use, self._span, reverse=True, values=False)
        return (key for key, _ in walk)

    def __and__(self, other: Iterable[Any]) -> set[K]:
        """Return the keys that are in both; one bulk read."""
        if not isinstance(other, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        if self._span.limit is not None:
            return {*self} & {*other}
        wanted = [key for key in other if _inside(key, self._span)]
        return do(self._use().known, wanted)

    __rand__ = __and__  # type: ignore[assignment]  # the set of both, either way round

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Tell whether no key is in both; one bulk read."""
        return not self & other

    def __repr__(self) -> str:
        return f"{self._mapping!r}.keys()"


class Values(ValuesView[V]):
    """The values of a span, in key order."""

    _mapping: Mapping[Any, V]

    def __init__(self, mapping: Mapping[Any, V], use: Callable[[], Entries], span: Span) -> None:
        super().__init__(mapping)
        self._use = use
        self._span = span

    @property
    def mapping(self) -> Mapping[Any, V]:
        """The map it is a view of."""
        return self._mapping

    def __len__(self) -> int:
        return _count(self._use, self._span)

    def __contains__(self, value: object) -> bool:
        return any(held is value or held == value for held in self)

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in stream(self._use, self._span))

    def __reversed__(self) -> Iterator[V]:
        return (value for _, value in stream(self._use, self._span, reverse=True))

    def __repr__(self) -> str:
        return f"{self._mapping!r}.values()"


class Items(ItemsView[K, V]):
    """The (key, value) pairs of a span, in key order; a set where the values are hashable."""

    _mapping: Mapping[K, V]

    def __init__(self, mapping: Mapping[K, V], use: Callable[[], Entries], span: Span) -> None:
        super().__init__(mapping)
        self._use = use
        self._span = span

    @property
    def mapping(self) -> Mapping[K, V]:
        """The map it is a view of."""
        return self._mapping

    def __len__(self) -> int:
        return _count(self._use, self._span)

    def __contains__(self, item: object) -> bool:
        if not (isinstance(item, tuple) and len(item) == 2):
            return False
        key, value = item
        if self._span.limit is not None:
            return any(held == item for held in self)
        found = do(self._use().get_many, [key]) if _inside(key, self._span) else {}
        return bool(found) and found[key] == value

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return stream(self._use, self._span)

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return stream(self._use, self._span, reverse=True)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)

    def __repr__(self) -> str:
        return f"{self._mapping!r}.items()"

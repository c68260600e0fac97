"""Transactions: several entries, of several maps of one store, written all or not at all.

Nothing is locked or open while the caller works: what it reads is remembered, what it writes
is kept, and the end is one request that does all writes if every entry read is still the
same. Knows maps by their entries; how a store does it is ``ports.Tier.transact``.

Invariant: what a transaction wrote was decided on what was stored in the instant it was
written. Each key stays linearizable through a cache; that several become visible in one
instant is promised of the store only.
"""

# ruff: noqa: SLF001  # a transaction works on the entries of maps, as their methods do

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from lpcm.engine.drive import do
from lpcm.errors import (
    ConfigError,
    Conflict,
    KeyEncodingError,
    LPCMError,
    PickleRefused,
    ValueDecodingError,
    ValueTooLarge,
)
from lpcm.map.part import Part, Write
from lpcm.operations.absent import absent
from lpcm.operations.damage import read_again
from lpcm.operations.entry import MISSING
from lpcm.operations.retry import Retry
from lpcm.ports import Aborted, Change, Check, Delete, Put, When
from lpcm.ports.etags import new_etag
from lpcm.values.keys import encode, key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from lpcm.map.map import LPCM
    from lpcm.operations.binding import MapBinding
    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries
    from lpcm.ports import Stored

__all__ = ["Part", "Transaction", "atransact", "transact", "transaction"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

MOST_KEYS: Final = 100
MOST_BYTES: Final = 4 * 1024 * 1024


class Transaction:
    """Reads and writes that count together; made by ``transaction``, for one thread, once."""

    def __init__(self) -> None:
        self._entries: dict[str, Entries] = {}
        self._read: dict[tuple[str, str], Stored | None] = {}
        self._writes: dict[tuple[str, str], Write] = {}
        self._seen: set[tuple[str, str]] = set()
        """What was handed out: assigning it changes an entry and begins none."""
        self._ended = False
        self._awaited = False
        """Whether an event loop runs it, which must not be blocked."""

    def __reduce__(self) -> NoReturn:
        raise PickleRefused(
            "a transaction, and a map in it, belongs to the block that began it: it cannot be "
            "pickled or copied; pickle the map itself"
        )

    def __getitem__(self, map: LPCM[K, V]) -> Part[K, V]:
        """Return the map as this transaction sees it."""
        return Part(self, map)

    def _open(self) -> None:
        """Refuse to be used after the end: what is written then would be lost."""
        if self._ended:
            raise LPCMError("this transaction has ended: begin another")

    def _enter(self, use: Entries) -> None:
        """Take a map in; all must be of one store."""
        self._open()
        for other in self._entries.values():
            if other._engine is not use._engine:
                raise ConfigError(
                    f"a transaction is of one store: map {other._name!r} is in "
                    f"{other._engine.location}, map {use._name!r} in {use._engine.location}"
                )
        self._entries.setdefault(use._map, use)

    @property
    def _place(self) -> MapBinding | None:
        """One of the maps that take part."""
        return next((use.binding for use in self._entries.values()), None)

    def _known(self, use: Entries, key: object) -> bool:
        """Tell whether the entry was read or written here already."""
        try:
            place = use._map, encode(key)
        except KeyEncodingError:
            return True  # that there is none
        return place in self._writes or place in self._read

    async def _stored(self, use: Entries, key: object) -> Any:
        """Return the value as the transaction left or found it; MISSING where there is none."""
        self._enter(use)
        try:
            place = use._map, encode(key)
        except KeyEncodingError as error:
            absent(key, error)
            return MISSING
        self._seen.add(place)
        if place in self._writes:
            cell = self._writes[place].cell
            return MISSING if cell is None else use.codec.decode(*cell)
        if place not in self._read:
            self._check({place})
            self._read[place] = await use.find(place[1])
        found = self._read[place]
        if found is None:
            return MISSING
        try:
            return use._value(found)
        except ValueDecodingError as error:
            found = self._read[place] = await read_again(use, key, place[1], error)
            return MISSING if found is None else use._value(found)

    def _expires(self, use: Entries, key: object, ttl: TTL = None) -> float | None:
        """Return when what was left or found there expires, or a new entry with ``ttl`` would."""
        place = use._map, encode(key)
        anew = use._expiry(ttl)  # refuses what is none
        held = self._writes[place] if place in self._writes else self._read[place]
        if held is None or (isinstance(held, Write) and held.cell is None):
            return anew
        return held.expires

    def _assigned(self, use: Entries, key: object) -> float | None:
        """Return when an entry that is assigned expires: by the map's ttl, else as it was read."""
        if use._ttl is None and (use._map, encode(key)) in self._seen:
            return self._expires(use, key)
        return use._expiry(None)

    def _write(self, use: Entries, key: object, write: Write) -> None:
        self._enter(use)
        place = use._map, encode(key)
        self._check({place}, {place: write})
        self._writes[place] = write

    def _check(
        self, places: set[tuple[str, str]], writes: dict[tuple[str, str], Write] | None = None
    ) -> None:
        """Refuse what no store could do together, before it is sent."""
        count = len(places | self._read.keys() | self._writes.keys())
        if count > MOST_KEYS:
            raise ValueTooLarge(f"a transaction is of at most {MOST_KEYS} keys, read or written")
        cells = [one.cell for one in {**self._writes, **(writes or {})}.values()]
        size = sum(_size(cell.data) for cell in cells if cell is not None)
        if size > MOST_BYTES:
            raise ValueTooLarge(f"a transaction writes at most {MOST_BYTES:,} bytes, not {size:,}")

    async def _commit(self, entries: dict[str, Entries]) -> None:
        changes: list[Change] = []
        for (pk, sk), (cell, expires) in self._writes.items():
            when: When | int = When.ALWAYS
            if (pk, sk) in self._read:
                found = self._read[pk, sk]
                when = When.ABSENT if found is None else found.etag
            op = Delete(when) if cell is None else Put(cell, new_etag(), expires, when)
            changes.append(Change(pk, sk, op))
        checks = [
            Check(*place, When.ABSENT if found is None else found.etag)
            for place, found in self._read.items()
            if place not in self._writes
        ]
        for pk in {change.map for change in changes}:
            await entries[pk]._enter_catalogue()
        use = next(iter(entries.values()))
        outcome = await use._tier.transact(changes, checks, use._now())
        if isinstance(outcome, Aborted):
            keys = [(self._entries[pk]._name, key_of(sk)) for pk, sk, _ in outcome.reasons]
            shown = ", ".join(f"{key!r} in {name!r}" for name, key in keys)
            raise Conflict(
                f"others wrote what the transaction had read: {shown}; nothing was written",
                keys=keys,
            )

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        if error is None and self._entries:
            do(self._commit, {pk: use.binding.use() for pk, use in self._entries.items()})

    async def __aenter__(self) -> Self:
        self._open()
        self._awaited = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        if error is None and self._entries:
            entries = {pk: use.binding.ause() for pk, use in self._entries.items()}
            await next(iter(entries.values())).drive(self._commit(entries))


def _size(part: Any) -> int:
    """Return about how many bytes a part of a value takes in a store."""
    match part:
        case str():
            return len(part.encode(errors="replace"))
        case bytes():
            return len(part)
        case dict():
            return 3 + sum(1 + _size(name) + _size(value) for name, value in part.items())
        case list() | frozenset():
            return 3 + sum(1 + _size(member) for member in part)
        case _:
            return 8


def transaction() -> Transaction:
    """Write entries of several maps of one store all or not at all.

    Reads go through the map as ever, and become conditions; writes wait until the end of the
    ``with`` block, or are dropped if it raises. ``async with`` does the same in an event loop,
    where reading is awaited: ``await t[m].aget(k)``.

    **Cost**: the reads, and one request; on DynamoDB two write units for each KB of each entry
    written or read. **Atomic**: in the store, as a whole; through a cache each key by itself.
    **Raises** Conflict, its ``keys`` saying which, if others wrote what was read;
    ValueTooLarge for over 100 keys or 4 MB; ConfigError for maps of two stores.

    >>> from lpcm import LPCM
    >>> accounts, log = LPCM("accounts"), LPCM("log")
    >>> accounts.update(ann=10, bob=0)
    >>> with transaction() as t:
    ...     t[accounts]["ann"] -= 5
    ...     t[accounts]["bob"] += 5
    ...     t[log][1] = "ann to bob: 5"
    >>> accounts.copy(), log.get(1)
    ({'ann': 5, 'bob': 5}, 'ann to bob: 5')
    >>> with transaction() as t:
    ...     t[accounts]["ann"] -= 5
    ...     accounts["ann"] = 0                 # somebody else
    Traceback (most recent call last):
        ...
    lpcm.errors.Conflict: others wrote what the transaction had read: 'ann' in 'accounts'; ...
    """
    return Transaction()


def transact(fn: Callable[[Transaction], T]) -> T:
    """Run ``fn`` in a transaction, again after each conflict; return what it returned.

    **Cost**: as ``transaction``, for each attempt. **Atomic**: likewise. **Raises** Conflict
    once others have been in the way for the ``timeout`` of the engine; what ``fn`` raises,
    with nothing written.

    >>> from lpcm import LPCM
    >>> m = LPCM("m", default=0)
    >>> transact(lambda t: t[m].increment("a") + t[m].increment("b"))
    2
    """
    retry = None
    while True:
        t = Transaction()
        try:
            with t:
                result = fn(t)
        except Conflict:
            if t._place is None:
                raise
            retry = retry or _again(t._place.use())
            do(retry.pause)
        else:
            return result


async def atransact(fn: Callable[[Transaction], Awaitable[T]]) -> T:
    """Await ``fn`` in a transaction, again after each conflict; else as ``transact``."""
    retry = None
    while True:
        t = Transaction()
        try:
            async with t:
                result = await fn(t)
        except Conflict:
            if t._place is None:
                raise
            use = t._place.ause()
            retry = retry or _again(use)
            await use.drive(retry.pause())
        else:
            return result


def _again(use: Entries) -> Retry:
    return Retry(use._clock, use._engine.timeout, "a transaction", use._name)

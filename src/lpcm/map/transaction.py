"""Transactions: several entries, of several maps of one store, written all or not at all.

Nothing is locked or open while the caller works. What the caller reads is remembered, what it
writes is kept (``operations.buffer``), and the end is one request, which does all writes if every
entry that was read is still the same. Knows maps by their bindings; how a store does it is
``ports.Tier.transact``.

Invariant: what a transaction wrote was decided on the entries as they were stored in the instant of
writing. Each key stays linearizable through a cache; that several keys change in one instant is
promised of the store only.
"""

# ruff: noqa: SLF001  # a transaction works on the entries of maps, as their methods do

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from lpcm.engine.drive import do
from lpcm.errors import ConfigError, Conflict, LPCMError, PickleRefused
from lpcm.map.travel import within
from lpcm.operations.binding import MapBinding
from lpcm.operations.buffer import Buffer
from lpcm.operations.buffered import TransactionBinding
from lpcm.ports import Aborted
from lpcm.values.functions import check_plain
from lpcm.values.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType
    from typing import Self

    from lpcm.map.map import LPCM
    from lpcm.operations.operations import Entries
    from lpcm.operations.retry import Retry
    from lpcm.system.turns import Turn

    M = TypeVar("M", bound=LPCM[Any, Any])

__all__ = ["Transaction", "atransact", "transact", "transaction"]

T = TypeVar("T")

_KEY_BY_KEY: Final = 4
"""One in so many attempts after the first reads key by key, as the first one did."""


class Transaction:
    """Reads and writes that count together; made by ``transaction``, for one task, once."""

    def __init__(self) -> None:
        self._buffer = Buffer()
        self._maps: dict[int, tuple[LPCM[Any, Any], LPCM[Any, Any]]] = {}
        """Each map that takes part, and the same map here."""
        self._bindings: dict[str, TransactionBinding] = {}

    def __reduce__(self) -> NoReturn:
        raise PickleRefused(
            "a transaction, and a map in it, belongs to the block that began it: it cannot be "
            "pickled or copied; pickle the map itself"
        )

    def __getitem__(self, map: M) -> M:
        """Return the map as this transaction sees it: the same class, with all its methods."""
        if self._buffer.ended:
            self._buffer.check_open()
        known = self._maps.get(id(map))
        if known is None:
            known = self._maps[id(map)] = map, self._within(map)
        return known[1]  # type: ignore[return-value]  # of the same class

    def _within(self, map: LPCM[Any, Any]) -> LPCM[Any, Any]:
        if map._within is not None:
            raise LPCMError(f"{map!r} is a transaction's already: give the map itself")
        outside: MapBinding = map._use().binding
        for other in self._bindings.values():
            if other.engine is not outside.engine:
                raise ConfigError(
                    f"a transaction is of one store: map {other.name!r} is in "
                    f"{other.engine.location}, map {outside.name!r} in {outside.engine.location}"
                )
        binding = TransactionBinding(self._buffer, outside)
        self._bindings[binding.identity[1]] = binding
        made: LPCM[Any, Any] = within(map, binding)
        return made

    def _end(self) -> dict[str, TransactionBinding]:
        self._buffer.ended = True
        for _, made in self._maps.values():
            cast("TransactionBinding", made._within).forget()
        return self._bindings

    async def _commit(self, entries: dict[str, Entries]) -> None:
        """Send all writes and conditions; ``entries`` are those of the maps, outside."""
        changes, checks = self._buffer.requests()
        if not changes and not checks:
            return
        for pk in {change.map for change in changes}:
            await entries[pk]._enter_catalogue()
        use = next(iter(entries.values()))
        outcome = await use._tier.transact(changes, checks, use._now())
        if isinstance(outcome, Aborted):
            self._buffer.refused = [(pk, sk) for pk, sk, _ in outcome.reasons]
            keys = [(self._bindings[pk].name, key_of(sk)) for pk, sk, _ in outcome.reasons]
            shown = ", ".join(f"{key!r} in {name!r}" for name, key in keys)
            raise Conflict(
                f"others changed what the transaction had read: {shown}; nothing was written",
                keys=keys,
            )

    def __enter__(self) -> Self:
        self._buffer.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bindings = self._end()
        if error is None and bindings:
            do(self._commit, {pk: each.outside.use() for pk, each in bindings.items()})

    async def __aenter__(self) -> Self:
        self._buffer.check_open()
        self._buffer.awaited = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bindings = self._end()
        if error is None and bindings:
            entries = {pk: each.outside.ause() for pk, each in bindings.items()}
            await next(iter(entries.values())).drive(self._commit(entries))


def transaction() -> Transaction:
    """Write entries of several maps of one store all or not at all.

    ``t[m]`` is the map within the transaction, with all its methods. What it reads becomes a
    condition; what it writes waits until the end of the ``with`` block, or is dropped if the block
    raises. ``async with`` does the same in an event loop, where what must reach the store is
    awaited: ``await t[m].aget(k)``.

    **Cost**: each key is read once, through the map as ever, and the end is one request; on
    DynamoDB two write units for each KB of each entry written or read. **Atomic**: in the store, as
    a whole; through a cache each key by itself. **Raises** Conflict, whose ``keys`` say which
    entries others have changed since they were read; ValueTooLarge for over 100 keys or 4 MB;
    ConfigError for maps of two stores; LPCMError after the end.

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
    lpcm.errors.Conflict: others changed what the transaction had read: 'ann' in 'accounts'; ...
    """
    return Transaction()


def transact(fn: Callable[[Transaction], T]) -> T:
    """Run ``fn`` in a transaction, again after each conflict; return what it returned.

    **Cost**: as ``transaction``, for each attempt; from the second one on what was read key by key
    is read together, in one request for each map. **Atomic**: likewise. **Raises** Conflict
    once others have been in the way for the ``timeout`` of the engine; what ``fn`` raises,
    with nothing written; TypeError for an async ``fn``, which ``atransact`` awaits.

    >>> from lpcm import LPCM
    >>> m = LPCM("m", default=0)
    >>> transact(lambda t: t[m].increment("a") + t[m].increment("b"))
    2
    """
    check_plain(fn, "what transact runs", "await lpcm.atransact(fn)")
    t = Transaction()
    with _Attempts() as attempts:
        while True:
            try:
                with t:
                    result = attempts.call(fn, t)
                    _check_result(result)
            except Conflict:
                if not t._bindings:
                    raise
                attempts.stand(t, MapBinding.use)
                t = do(attempts.next, t)
            else:
                attempts.won(t)
                return result


async def atransact(fn: Callable[[Transaction], Awaitable[T]]) -> T:
    """Await ``fn`` in a transaction, again after each conflict; else as ``transact``.

    **Raises** TypeError for a plain function, as ``transact`` does for an async one, before
    anything is written.
    """
    t = Transaction()
    with _Attempts() as attempts:
        while True:
            try:
                async with t:
                    result = await _awaitable(fn(t))
            except Conflict:
                if not t._bindings:
                    raise
                use = attempts.stand(t, MapBinding.ause)
                t = await use.drive(attempts.next(t))
            else:
                attempts.won(t)
                return result


class _Attempts(ExitStack):
    """What the attempts of one transaction share: its pauses, and its place in a line."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._retry: Retry | None = None
        self._turn: Turn | None = None

    def call(self, fn: Callable[[Transaction], T], t: Transaction) -> T:
        """Call a plain function, which may itself come to a line."""
        return fn(t) if self._turn is None else self._turn.call(fn, t)

    def stand(self, t: Transaction, use: Callable[[MapBinding], Entries]) -> Entries:
        """Have a transaction that ended in a conflict stand in the line of a key that refused it.

        It keeps its place to its end. Return the operations outside of the transaction.
        """
        pk, sk = min(_refused(t), default=(next(iter(t._bindings)), ""))
        entries = use(t._bindings[pk].outside)
        if self._turn is None:
            self._retry = entries._retry("a transaction")
            self._turn = self.enter_context(entries._turn(sk))
        return entries

    async def next(self, t: Transaction) -> Transaction:
        """Return the next attempt, after a pause.

        What the last one read key by key is read together: so there is less time for others before
        the end. Of four attempts one reads as the first one does: else a function that itself
        writes, outside the transaction, what it reads next would find what was there before, each
        time.
        """
        assert self._retry is not None, "it stands in a line"
        assert self._turn is not None, "as above"
        await self._retry.give_way(_refused(t), self._turn)
        following = Transaction()
        self._number += 1
        if self._number % _KEY_BY_KEY:
            following._buffer.expect(t._buffer)
        return following

    def won(self, t: Transaction) -> None:
        """Note that the transaction was done."""
        if self._retry is not None:
            self._retry.won(t._buffer.reads)


def _check_result(result: object) -> None:
    """Refuse what a plain function returned to be awaited: writes would come after the end."""
    if not isinstance(result, Awaitable):
        return
    if isinstance(result, Coroutine):
        result.close()  # or Python warns of it, too
    raise TypeError(
        "what transact runs returned an awaitable: await lpcm.atransact(fn); nothing was written"
    )


def _awaitable(result: Awaitable[T]) -> Awaitable[T]:
    """Refuse what a plain function returned."""
    if isinstance(result, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers err
        return result
    raise TypeError(
        f"what atransact runs is an async function, and fn(t) returned {result!r:.60}: make it "
        "async def, or call lpcm.transact(fn); nothing was written"
    )


def _refused(t: Transaction) -> Collection[tuple[str, str]]:
    """Return the addresses of the entries that refused a transaction, or that it had read."""
    return t._buffer.refused or t._buffer.reads

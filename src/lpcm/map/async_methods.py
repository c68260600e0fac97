"""The a-twins: every operation of a map that does I/O, awaitable.

Each twin runs the very coroutine its blocking counterpart runs: on the running event loop
where the store and the cache can be awaited (DynamoDB, also behind memcached; SQLite, whose
statements run on worker threads of the engine, one for the writes of all), else on such a thread,
one hop per operation. Reads have threads apart from writes.
Cost, atomicity and errors are the counterpart's. Cancelling a task that awaits a write does not
undo it: it may still happen, unless it was still waiting for its turn. See docs/howto/async.md.

========================= ============================
``m[k]``                  ``await m.agetitem(k)``
``m[k] = v``              ``await m.aset(k, v)``
``del m[k]``              ``await m.adelitem(k)``
``k in m``                ``await m.acontains(k)``
``len(m)``                ``await m.alen()``
``bool(m)``               ``await m.abool()``
``for k in m``            ``async for k in m``
``for ... in m.items()``  ``async for ... in m.aitems()``
``with m.open(k) as f``   ``async with m.aopen(k) as f``
``m.name(...)``           ``await m.aname(...)``
========================= ============================
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from lpcm.map.views import Items, Keys, Span, Values, astream, span
from lpcm.operations.entry import MISSING, Entry, Missing
from lpcm.ports import KeyRange
from lpcm.ports.near import NOTHING
from lpcm.values.arithmetic import check_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from lpcm.map.async_files import AsyncReader, AsyncWriter, Opening
    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries

__all__ = ["AsyncTwins", "missed", "pairs"]

K = TypeVar("K")
V = TypeVar("V")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class AsyncTwins(Generic[K, V, R_co]):
    """The awaitable half of ``LPCM``."""

    def _ause(self) -> Entries:
        """Return the entries as configured now, for the running event loop."""
        raise NotImplementedError

    async def agetitem(self, key: K) -> R_co:
        """Await ``m[key]``."""
        use = self._ause()
        if use.hit_item is not None:
            value = use.hit_item(key)
            if value is not NOTHING:
                return value  # type: ignore[no-any-return]  # as below
        try:
            return await use.drive(use.item(key), reads=True)
        except KeyError as error:
            return missed(self, key, error)  # type: ignore[no-any-return]  # as dict's own

    @overload
    async def aget(self, key: K, /) -> V | None: ...
    @overload
    async def aget(self, key: K, /, default: V | T) -> V | T: ...
    async def aget(self, key: K, /, default: Any = MISSING) -> Any:
        """Await ``get``."""
        use = self._ause()
        if use.hit is not None:
            value = use.hit(key)
            if value is not NOTHING:
                return value
        value = await use.drive(use.get(key, default), reads=True)
        return None if value is MISSING else value

    async def acontains(self, key: object) -> bool:
        """Await ``key in m``."""
        use = self._ause()
        return await use.drive(use.contains(key), reads=True)

    async def aentry(self, key: K) -> Entry[V]:
        """Await ``entry``."""
        use = self._ause()
        return await use.drive(use.entry(key), reads=True)

    async def attl(self, key: K) -> float | None:
        """Await ``ttl``."""
        use = self._ause()
        return await use.drive(use.ttl(key), reads=True)

    async def aget_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Await ``get_many``."""
        keys = await _walked(keys)
        use = self._ause()
        return await use.drive(use.get_many(keys), reads=True)

    async def aset(self, key: K, value: V, *, ttl: TTL = None) -> None:
        """Await ``set``, also ``m[key] = value``."""
        use = self._ause()
        await use.drive(use.set(key, value, ttl))

    async def aadd(self, key: K, value: V, *, ttl: TTL = None) -> bool:
        """Await ``add``."""
        use = self._ause()
        return await use.drive(use.add(key, value, ttl))

    async def aget_or_add(self, key: K, value: V, *, ttl: TTL = None) -> tuple[Entry[V], bool]:
        """Await ``get_or_add``."""
        use = self._ause()
        return await use.drive(use.get_or_add(key, value, ttl))

    @overload
    async def asetdefault(self, key: K, default: V, *, ttl: TTL = None) -> R_co: ...
    @overload
    async def asetdefault(self, key: K, *, ttl: TTL = None) -> R_co | None: ...
    async def asetdefault(self, key: K, default: Any = MISSING, *, ttl: TTL = None) -> Any:
        """Await ``setdefault``."""
        use = self._ause()
        return await use.drive(use.setdefault(key, default, ttl))

    async def areplace(
        self, key: K, value: V, *, if_etag: int | None = None, ttl: TTL = None
    ) -> int:
        """Await ``replace``."""
        use = self._ause()
        return await use.drive(use.replace(key, value, if_etag, ttl))

    async def adelitem(self, key: K) -> None:
        """Await ``del m[key]``."""
        use = self._ause()
        await use.drive(use.remove(key))

    async def adelete(self, key: K) -> None:
        """Await ``delete``."""
        use = self._ause()
        await use.drive(use.discard(key))

    async def apop(self, key: K, default: Any = MISSING) -> Any:
        """Await ``pop``."""
        use = self._ause()
        return await use.drive(use.pop(key, default))

    async def apopitem(self, *, last: bool = True) -> tuple[K, V]:
        """Await ``popitem``."""
        use = self._ause()
        return await use.drive(use.popitem(KeyRange(), last=last))

    async def apeekitem(self, *, last: bool = True) -> tuple[K, V]:
        """Await ``peekitem``."""
        use = self._ause()
        return await use.drive(use.peekitem(KeyRange(), last=last), reads=True)

    async def aexpire(self, key: K, ttl: TTL) -> None:
        """Await ``expire``."""
        use = self._ause()
        await use.drive(use.expire(key, ttl))

    async def atouch(self, key: K, ttl: TTL) -> bool:
        """Await ``touch``."""
        use = self._ause()
        return await use.drive(use.touch(key, ttl))

    async def aincrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> V:
        """Await ``increment``."""
        use = self._ause()
        return await use.drive(use.increment(key, delta, ttl))

    async def aincrement_existing(
        self, key: K, delta: Any = 1, *, fn: Callable[[V], V] | None = None
    ) -> V:
        """Await ``increment_existing``; ``fn`` as ``atransform``'s."""
        if fn is None:
            check_delta(delta)
        use = self._ause()
        return await use.drive(use.increment_existing(key, delta, fn))

    async def adecrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> V:
        """Await ``decrement``."""
        use = self._ause()
        return await use.drive(use.decrement(key, delta, ttl))

    async def atransform(
        self,
        key: K,
        fn: Callable[[V], V],
        default: V | Missing = MISSING,
        *,
        ttl: TTL = None,
    ) -> V:
        """Await ``transform``.

        ``fn`` is a plain function and must be quick, for it is called where the operation runs:
        on DynamoDB and SQLite in the event loop, which waits for it, and else on one of the
        engine's few threads for writes. For what is slow or awaited, see docs/howto/async.md.
        """
        use = self._ause()
        return await use.drive(use.transform(key, fn, default, ttl))

    async def aset_many(
        self, entries: Mapping[K, V] | Iterable[tuple[K, V]], *, ttl: TTL = None
    ) -> None:
        """Await ``set_many``."""
        entries = await _walked(entries, pairs=True)
        use = self._ause()
        await use.drive(use.set_many(pairs(entries), ttl))

    async def aupdate(self, entries: Any = (), /, **more: Any) -> None:
        """Await ``update``."""
        entries = await _walked(entries, pairs=True)
        use = self._ause()
        await use.drive(use.set_many(chain(pairs(entries), more.items())))

    async def adelete_many(self, keys: Iterable[K]) -> None:
        """Await ``delete_many``."""
        keys = await _walked(keys)
        use = self._ause()
        await use.drive(use.delete_many(keys))

    async def aclear(self) -> None:
        """Await ``clear``."""
        use = self._ause()
        await use.drive(use.clear())

    async def alen(self) -> int:
        """Await ``len(m)``."""
        use = self._ause()
        return await use.drive(use.count(KeyRange()), reads=True)

    async def abool(self) -> bool:
        """Await ``bool(m)``."""
        use = self._ause()
        return await use.drive(use.any(KeyRange()), reads=True)

    async def acopy(self) -> dict[K, V]:
        """Await ``copy``."""
        return {key: value async for key, value in self.aitems()}

    @overload
    def aopen(self, key: K, mode: Literal["rb"] = "rb") -> Opening[AsyncReader]: ...
    @overload
    def aopen(
        self, key: K, mode: Literal["wb", "xb"], *, ttl: TTL = None
    ) -> Opening[AsyncWriter]: ...
    def aopen(self, key: K, mode: str = "rb", *, ttl: TTL = None) -> Opening[Any]:
        r"""Open a value of ``bytes`` as ``open`` does: by ``async with``, or by ``await``.

        The file has Python's names, and what may send a request is awaited: ``read``,
        ``readline``, ``seek``, ``tell``, ``write``, ``aclose``; ``async for`` gives lines. One task
        at a time writes to it, in the loop that opened it. A task that is cancelled within
        ``async with`` abandons the file, as an exception does. Cancelled in a ``write``, it leaves
        its parts to a sweep; in ``aclose``, the value may still be stored.

        >>> import asyncio
        >>> from lpcm import LPCM
        >>> films = LPCM("films")
        >>> async def main():
        ...     async with films.aopen("trailer", "wb") as file:
        ...         for frame in range(3):
        ...             await file.write(b"frame %d\n" % frame)
        ...     async with films.aopen("trailer") as file:
        ...         return await file.read(8), [line async for line in file]
        >>> asyncio.run(main())
        (b'frame 0\n', [b'frame 1\n', b'frame 2\n'])
        """
        from lpcm.map.async_files import aopened  # for those who open one

        return aopened(self._ause, key, mode, ttl)

    async def amost_common(self, n: int | None = None) -> list[tuple[K, V]]:
        """Await ``most_common``."""
        from heapq import nlargest  # see most_common

        items = [item async for item in self.aitems()]
        most = len(items) if n is None else n
        return nlargest(most, items, key=lambda item: item[1])  # type: ignore[return-value,arg-type]  # ordered values

    def __aiter__(self) -> AsyncIterator[K]:
        return self.akeys()

    async def akeys(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[K]:
        """Walk ``keys(...)`` with ``async for``."""
        part = span(prefix, start, stop, reverse=reverse, limit=limit)
        async for key, _ in self._walk(part, values=False):
            yield key

    async def avalues(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[V]:
        """Walk ``values(...)`` with ``async for``."""
        part = span(prefix, start, stop, reverse=reverse, limit=limit)
        async for _, value in self._walk(part):
            yield value

    async def aitems(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[K, V]]:
        """Walk ``items(...)`` with ``async for``."""
        part = span(prefix, start, stop, reverse=reverse, limit=limit)
        async for pair in self._walk(part):
            yield pair

    def _walk(self, part: Span, *, values: bool = True) -> AsyncIterator[tuple[K, V]]:
        return astream(self._ause, part, values=values)


def missed(of: object, key: object, error: KeyError) -> Any:
    """Return what the ``__missing__`` of a subclass makes of a missing key, as a dict does."""
    missing = getattr(type(of), "__missing__", None)
    if missing is None:
        raise error
    return missing(of, key)


async def _walked(what: Any, *, pairs: bool = False) -> Any:
    """Return what a map or a view of one holds, awaited: to iterate it would block the loop."""
    if isinstance(what, AsyncTwins):
        return [one async for one in (what.aitems() if pairs else what.akeys())]
    if not isinstance(what, (Keys, Values, Items)):
        return what
    values = not isinstance(what, Keys)
    mapping = cast("AsyncTwins[Any, Any, Any]", what._mapping)  # noqa: SLF001  # the map's own view
    walk = astream(mapping._ause, what._span, values=values)  # noqa: SLF001  # as above
    if isinstance(what, Items):
        return [pair async for pair in walk]
    return [value if values else key async for key, value in walk]


def pairs(entries: Any) -> Iterable[tuple[Any, Any]]:
    """Return the pairs of whatever ``dict.update`` takes.

    >>> list(pairs({"a": 1})), list(pairs([("a", 1), "b2"]))
    ([('a', 1)], [('a', 1), ('b', '2')])
    >>> list(pairs(["abc"]))
    Traceback (most recent call last):
        ...
    ValueError: update element #0 has length 3; 2 is required
    """
    if isinstance(entries, (dict, AsyncTwins)):
        return entries.items()  # type: ignore[union-attr,no-any-return,unused-ignore]  # an LPCM: bulk
    if hasattr(entries, "keys"):
        return ((key, entries[key]) for key in entries.keys())  # noqa: SIM118  # what update asks for
    return map(_pair, enumerate(entries))


def _pair(numbered: tuple[int, Any]) -> tuple[Any, Any]:
    number, element = numbered
    pair = tuple(element)
    if len(pair) != 2:
        raise ValueError(f"update element #{number} has length {len(pair)}; 2 is required")
    return pair

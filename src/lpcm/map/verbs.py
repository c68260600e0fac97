"""What a map can do that no dict can: conditions, counters, expiry, the greatest values, files.

A part of ``map.map.LPCM``, with its argument checks and its driver. Knows the operations only.
Invariant: each verb that writes is decided in the store, in one instant.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from lpcm.engine.drive import do
from lpcm.map.closing import Closing
from lpcm.map.views import Span, stream
from lpcm.operations.entry import MISSING, Entry, Missing
from lpcm.ports import KeyRange
from lpcm.values.arithmetic import check_delta

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from typing import BinaryIO, Literal

    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries

__all__ = ["Verbs"]

K = TypeVar("K")
V = TypeVar("V")


class Verbs(Closing, Generic[K, V]):
    """The methods of ``LPCM`` beyond dict's, most of which write or take single entries."""

    def _use(self) -> Entries:
        """Return the entries as configured now."""
        raise NotImplementedError

    def entry(self, key: K) -> Entry[V]:
        """Return the entry as one read finds it: value, etag and expiry.

        **Cost**: one request. **Raises** KeyError when absent.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m["k"] = 1
        >>> e = m.entry("k")
        >>> e.value, e.expires
        (1, None)
        >>> m.replace("k", 2, if_etag=e.etag) == e.etag
        False
        """
        return do(self._use().entry, key)

    def ttl(self, key: K) -> float | None:
        """Return the seconds until the entry expires, None: it does not.

        **Cost**: one request. **Raises** KeyError when absent.
        """
        return do(self._use().ttl, key)

    def set(self, key: K, value: V, *, ttl: TTL = None) -> None:
        """Store the value, expiring in ``ttl`` seconds (or a timedelta).

        An expiry the entry had is gone; without ``ttl`` the map's default holds, if any.
        **Cost**: one request. **Raises** ValueError for a ttl that is not positive.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m.set("k", "v", ttl=60)
        >>> 59 < m.ttl("k") <= 60
        True
        >>> m.set("k", "v", ttl=-1)
        Traceback (most recent call last):
            ...
        ValueError: ttl must be a positive, finite number of seconds or timedelta, not -1
        """
        do(self._use().set, key, value, ttl)

    def add(self, key: K, value: V, *, ttl: TTL = None) -> bool:
        """Store the value unless the key is present; tell whether it was stored.

        **Cost**: one request. **Atomic**: of several concurrent callers one gets True.
        **Raises** ValueError for a ttl that is not positive.

        >>> from lpcm import LPCM
        >>> locks = LPCM("locks")
        >>> locks.add("job", "me", ttl=60), locks.add("job", "you", ttl=60), locks["job"]
        (True, False, 'me')
        """
        return do(self._use().add, key, value, ttl)

    def get_or_add(self, key: K, value: V, *, ttl: TTL = None) -> tuple[Entry[V], bool]:
        """Store the value unless the key is present; return the entry, and whether it is new.

        As ``add``, for a caller that needs the entry that is there instead: value, etag, expiry.

        **Cost**: one request. **Atomic**: of several concurrent callers one gets True, and all get
        its entry. **Raises** ValueDecodingError for an entry that cannot be read, with its etag;
        ValueError for a ttl that is not positive.

        >>> from lpcm import LPCM
        >>> locks = LPCM("locks")
        >>> mine, locked = locks.get_or_add("job", "me", ttl=60)
        >>> theirs, too = locks.get_or_add("job", "you", ttl=60)
        >>> locked, too, theirs == mine, theirs.value
        (True, False, True, 'me')
        """
        return do(self._use().get_or_add, key, value, ttl)

    def replace(self, key: K, value: V, *, if_etag: int | None = None, ttl: TTL = None) -> int:
        """Store the value only if the key is present, and has that etag; return its new etag.

        **Cost**: one request. **Raises** Conflict when the etag is another by now or the
        entry is gone; without ``if_etag``, KeyError when it is absent.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m["k"] = 1
        >>> m.replace("k", 2, if_etag=12345)
        Traceback (most recent call last):
            ...
        lpcm.errors.Conflict: replace 'k' in 'm': wanted etag 12345, it has etag ...
        """
        return do(self._use().replace, key, value, if_etag, ttl)

    def popitem(self, *, last: bool = True) -> tuple[K, V]:
        """Remove and return the last entry in key order, or the first.

        Where others take it first: one of the last few, or first few.

        **Cost**: two requests, more when others take the same one. **Atomic**: no two
        callers get one entry. **Raises** KeyError when the map is empty.

        >>> from lpcm import LPCM
        >>> jobs = LPCM("jobs")
        >>> jobs.update({1: "a", 2: "b", 3: "c"})
        >>> jobs.popitem(), jobs.popitem(last=False)
        ((3, 'c'), (1, 'a'))
        """
        return do(lambda: self._use().popitem(KeyRange(), last=last))

    def peekitem(self, *, last: bool = True) -> tuple[K, V]:
        """Return the last entry in key order, or the first; it stays.

        **Cost**: one request, which reads one entry. **Raises** KeyError when the map is empty.

        >>> from lpcm import LPCM
        >>> jobs = LPCM("jobs")
        >>> jobs.update({1: "a", 2: "b"})
        >>> jobs.peekitem(), jobs.peekitem(last=False)
        ((2, 'b'), (1, 'a'))
        """
        return do(lambda: self._use().peekitem(KeyRange(), last=last))

    def expire(self, key: K, ttl: TTL) -> None:
        """Let the entry expire in ``ttl`` seconds from now; None: never.

        **Cost**: one request. **Raises** KeyError when absent.
        """
        do(self._use().expire, key, ttl)

    def touch(self, key: K, ttl: TTL) -> bool:
        """Let the entry expire in ``ttl`` seconds from now, None: never; False when absent.

        **Cost**: one request. **Atomic**. **Raises** ValueError for a ttl that is not positive.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m["k"] = 1
        >>> m.touch("k", 60), m.touch("gone", 60)
        (True, False)
        """
        return do(self._use().touch, key, ttl)

    def increment(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> V:
        """Leave what ``m[key] + delta`` would be, and return it.

        A missing key counts as the map's default, else 0, and gets ``ttl``, else the map's; an
        entry that is there keeps its expiry. The sum is exact and of the type Python gives it
        (see ``lpcm.values.arithmetic``).

        **Cost**: one request. On DynamoDB, and in memcached alone, two for all but an int on an
        int of up to 64 bits, more when others write the same key; there, increments that meet in a
        process share their request. **Atomic**: no increment is lost, and the first brings the
        expiry. **Raises** TypeError when either is not a number; ValueError for a ttl that is not
        positive; Conflict after ``timeout`` seconds of lost races.

        >>> from lpcm import LPCM
        >>> hits = LPCM("hits")
        >>> hits.increment("home"), hits.increment("home", 2), hits.increment("home", 0.5)
        (1, 3, 3.5)
        >>> hits.increment("ann", ttl=60) <= 100      # at most 100 in the minute that begins now
        True
        >>> hits.increment("home", "1")
        Traceback (most recent call last):
            ...
        TypeError: an increment must be an int, float or Decimal, not str '1'
        """
        return do(self._use().increment, key, delta, ttl)  # type: ignore[no-any-return]  # stored as V

    def decrement(self, key: K, delta: Any = 1, *, ttl: TTL = None) -> V:
        """Leave what ``m[key] - delta`` would be, and return it; else like ``increment``."""
        return do(self._use().decrement, key, delta, ttl)  # type: ignore[no-any-return]  # stored as V

    def increment_existing(
        self, key: K, delta: Any = 1, *, fn: Callable[[V], V] | None = None
    ) -> V:
        """Leave what ``m[key] + delta`` would be, and return it; a missing key stays missing.

        As ``increment``, for counters that somebody else begins; the entry keeps its expiry. A
        map's default counts as there. ``fn(value)`` makes the new value where that is not an int
        plus an int, for numbers in a form of your own; it may be called several times.

        **Cost**: one request for an int on an int of up to 64 bits; else two, more when others
        write the same key. **Atomic**. **Raises** KeyError when absent; TypeError when either is
        not a number; Conflict after ``timeout`` seconds of lost races; what ``fn`` raises.

        >>> from lpcm import LPCM
        >>> hits = LPCM("hits")
        >>> hits["home"] = 1
        >>> hits.increment_existing("home", 2)
        3
        >>> hits.increment_existing("gone")
        Traceback (most recent call last):
            ...
        KeyError: 'gone'
        """
        if fn is None:
            check_delta(delta)
        return do(self._use().increment_existing, key, delta, fn)  # type: ignore[no-any-return]  # stored as V

    def transform(
        self,
        key: K,
        fn: Callable[[V], V],
        default: V | Missing = MISSING,
        *,
        ttl: TTL = None,
    ) -> V:
        """Store ``fn(value)``, and return it: read, apply, compare-and-set, again if need be.

        A missing key gives ``fn`` the ``default``, else the map's, and the new entry gets ``ttl``,
        else the map's; an entry that is there keeps its expiry. ``fn`` gets a copy of
        its own, may be called several times, and must return the value to store.

        **Cost**: two requests, one more for each lost race; one where it waits for another thread
        or task that changes the same key: those go first come, first served. **Atomic**. **Raises**
        KeyError when absent without any default; ValueError for a ttl that is not positive;
        Conflict after ``timeout`` seconds of lost races; what ``fn`` raises, with nothing written.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m.transform("k", lambda tags: [*tags, "x"], default=[], ttl=60)
        ['x']
        """
        return do(self._use().transform, key, fn, default, ttl)  # type: ignore[no-any-return]  # stored as V

    def most_common(self, n: int | None = None) -> list[tuple[K, V]]:
        """Return the n entries of the greatest values, greatest first; None: all.

        **Cost**: as walking ``items``; holds n entries at a time.

        >>> from lpcm import LPCM
        >>> m = LPCM("m")
        >>> m.update(a=1, b=3, c=2)
        >>> m.most_common(2)
        [('b', 3), ('c', 2)]
        """
        found = stream(self._use, Span())
        if n is None:
            return sorted(found, key=itemgetter(1), reverse=True)
        from heapq import nlargest  # as collections.Counter does

        return nlargest(n, found, key=itemgetter(1))

    @overload
    def open(self, key: K, mode: Literal["rb"] = "rb") -> BufferedReader: ...
    @overload
    def open(self, key: K, mode: Literal["wb", "xb"], *, ttl: TTL = None) -> BinaryIO: ...
    def open(self, key: K, mode: str = "rb", *, ttl: TTL = None) -> BufferedReader | BinaryIO:
        r"""Open a value of ``bytes`` as a binary file: ``"rb"`` to read it, ``"wb"`` to write it.

        ``"xb"`` writes it unless the key is present. On DynamoDB a value in parts of 390 KB is read
        and written with a few of them in memory, whatever its size. Values under 400 KB, compressed
        ones, and those of other stores are in memory whole. A file under 400 KB is stored as
        ``m[key] = bytes`` is; a larger one is not compressed.

        A file that is read can be sought in. A file that is written is stored by ``close``, and
        expires in ``ttl`` seconds from then, or the map's. An exception within ``with`` abandons
        it. Where it is not closed, nothing is written, and ``lpcm sweep`` deletes its parts. In a
        transaction ``close`` keeps it, in memory, for the end of that.

        **Cost**: ``"rb"``: one request, and for each part that is read one more, with a read unit
        for each 4 KB. ``"wb"``: one request at the end, and for each part one more, with a write
        unit for each KB. **Atomic**: what is read is one value, the one of when the file was
        opened; what is written is seen whole when ``close`` returns, and nothing of it before.

        **Raises** KeyError when absent, and TypeError when the value is not bytes. From reads,
        StoreBusy where the value was replaced over a minute ago and its parts are deleted. From
        ``close``, FileExistsError in mode ``"xb"``. From writes, ValueTooLarge, and StoreBusy where
        nothing was written to the file for over an hour and a sweep has deleted its parts. After an
        error of the store the file is closed, and nothing is written but maybe by a ``close`` that
        raises OutcomeUnknown.

        >>> from lpcm import LPCM
        >>> films = LPCM("films")
        >>> with films.open("trailer", "wb", ttl=3600) as file:
        ...     for frame in range(3):
        ...         _ = file.write(b"frame %d\n" % frame)
        >>> with films.open("trailer") as file:
        ...     file.seek(8), file.readline(), file.read()
        (8, b'frame 1\n', b'frame 2\n')
        >>> films.open("gone")
        Traceback (most recent call last):
            ...
        KeyError: 'gone'
        """
        from lpcm.map.files import opened  # for those who open one

        return opened(self._use(), key, mode, ttl)

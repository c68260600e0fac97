"""The map: Python's mapping protocol over the entries of one name.

Checks arguments and chooses the driver; what an operation does is in ``operations.operations``.
What no dict can do to an entry is in ``map.verbs``; the awaitable half is in ``map.async_methods``.
Costs are counted in *requests*, calls of the store: one request is one SQL statement or short
transaction on SQLite, one round trip elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from lpcm.engine import state
from lpcm.engine.config import Url, seconds
from lpcm.engine.drive import do
from lpcm.errors import LPCMError
from lpcm.live import live as _live
from lpcm.map import travel as _travel
from lpcm.map.async_methods import AsyncTwins, missed, pairs
from lpcm.map.verbs import Verbs
from lpcm.map.views import Items, Keys, Span, Values, span, stream
from lpcm.operations.binding import MapBinding
from lpcm.operations.entry import MISSING, Missing
from lpcm.operations.options import MapOptions, check_compression
from lpcm.ports import KeyRange
from lpcm.ports.near import NOTHING
from lpcm.values.functions import check_plain
from lpcm.values.partitions import check_shards, partition

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.engine.engine import Engine
    from lpcm.operations.entry import TTL
    from lpcm.operations.operations import Entries

__all__ = ["LPCM"]

if TYPE_CHECKING:
    # Their defaults are what an unannotated map has; type checkers bring the module along.
    from typing_extensions import TypeVar as TypeVarWithDefault

    K = TypeVarWithDefault("K", default=Any)
    V = TypeVarWithDefault("V", default=Any)
    R_co = TypeVarWithDefault("R_co", default=V, covariant=True)
else:
    K = TypeVar("K")
    V = TypeVar("V")
    R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
K2 = TypeVar("K2")
V2 = TypeVar("V2")


class LPCM(AsyncTwins[K, V, R_co], Verbs[K, V], MutableMapping[K, V], Generic[K, V, R_co]):
    """A dict whose entries live in a store, shared by every process that opens its name.

    Making one costs nothing and touches no file; the store is opened when first used.

    A pickled map arrives at the store it came from, whatever the receiver has configured; its
    LPCM_NAMESPACE and running tests outrank that. See docs/howto/multiprocessing.md.

    ``name``
        The map's name within the namespace.
    ``default``
        What a missing key reads as (a value, or a callable that makes one). It is not
        stored by reading; ``increment``, ``transform`` and ``setdefault`` start from it.
    ``ttl``
        Seconds (or a timedelta) after which entries written without a ``ttl`` of their
        own expire; None: never, or what the configuration says.
    ``live``
        Whether ``m[key] += 1`` and ``m[key].append(x)`` happen in the store, atomically: see
        docs/explanation/live-values.md. False: values are plain.
    ``using``, ``url``
        Where it lives: an alias of ``lpcm.configure``, an ``Engine``, or a URL.
    ``cache_only``
        True: entries live in the cache alone, or without one in this process, and may vanish;
        the store is never asked. See docs/howto/cached-only.md.
    ``cache_timeout``
        Seconds (or a timedelta) that entries stay cached; where ``cache_only``, that they
        live, unless written with a ``ttl``. None: what the configuration says.
    ``shards``
        The number of partitions, 1 to 1,000, that the first write gives the map on DynamoDB, for
        maps of more than 1,000 writes a second; a map that has another number is a ConfigError.
        None: whatever it has, or one. Ignored by other stores. See docs/howto/shards.md.
    ``compress``, ``compress_over``
        ``"zlib"``, ``"zstd"`` or ``"none"``, for values of over so many bytes. None: what the
        configuration says. See docs/explanation/large-values.md.

    **Cost**: reading or writing one key is one request. **Atomic**: every method that
    takes one key is, among all threads, processes and machines. **Raises**
    ``KeyEncodingError``, ``KeyTooLong``, ``ValueEncodingError`` and ``ValueTooLarge`` for
    what cannot be held, before anything is written; ``StoreError`` when the store fails.

    To type checkers the values of an ``LPCM[K, V]`` are of type V. ``LPCM[K, V, R]`` says also what
    subscripting gives, such as ``LPCM[str, int, LiveInt]``.

    >>> m = LPCM("some_dict")
    >>> m["pi"] = 3.1415
    >>> m["pi"], "pi" in m, len(m)
    (3.1415, True, 1)
    >>> del m["pi"]
    >>> m["pi"]
    Traceback (most recent call last):
        ...
    KeyError: 'pi'
    >>> m[float("nan")] = 1
    Traceback (most recent call last):
        ...
    lpcm.errors.KeyEncodingError: ...
    """

    _fit: Callable[[Any], object] | None = None
    """What makes a value of this kind of map of what is assigned; TypeError refuses it."""
    _within: MapBinding | None = None
    """The binding of a map in a transaction."""

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types: Any) -> Any:
            """Let an annotation leave out what subscripting gives, as type checkers do."""
            given = types if isinstance(types, tuple) else (types,)
            if len(given) == len(cls.__parameters__) - 1:
                given = (*given, Any)
            return super().__class_getitem__(given)

    def __init__(
        self,
        name: str,
        *,
        default: V | Callable[[], V] | Missing = MISSING,
        ttl: TTL = None,
        live: bool = True,
        using: str | Engine = "default",
        url: str | None = None,
        cache_only: bool = False,
        cache_timeout: TTL = None,
        shards: int | None = None,
        compress: str | None = None,
        compress_over: int | None = None,
    ) -> None:
        check_plain(default, "a default", "give aget its default, and await there")
        partition("default", name)  # refuses a name that cannot be one, before anything else
        self._name = name
        self._default = default
        self._ttl = None if ttl is None else seconds(ttl)
        self._using = using
        self._url = None if url is None else Url(url)
        self._cache_only = cache_only
        timeout = None if cache_timeout is None else seconds(cache_timeout, "cache_timeout")
        self._cache_timeout = timeout
        self._caching = True
        self._shards = None if shards is None else check_shards(shards)
        # One tuple, replaced whole: other threads never see an epoch with another's entries.
        self._bound: tuple[int, Entries, MapBinding] = (
            -1,
            *cast("tuple[Entries, MapBinding]", (None, None)),
        )
        self._live = live
        check_compression(compress, compress_over)
        self._compress, self._compress_over = compress, compress_over

    @property
    def name(self) -> str:
        """The map's name."""
        return self._name

    def _use(self) -> Entries:
        bound = self._bound  # the entries as configured now
        return bound[1] if bound[0] == state.epoch else self._bind()

    def _bind(self) -> Entries:
        with state.lock():  # nothing is configured and nobody closes the engine in between
            self._check_open()
            binding = self._within or self._resolve()
            self._bound = state.epoch, (use := binding.use()), binding
        return use

    def _resolve(self) -> MapBinding:
        """Return where the entries are as configured now."""
        engine = _travel.resolve(
            self._using, self._url, cache_only=self._cache_only, cache_timeout=self._cache_timeout
        )
        live = _live.LIVE if self._live else _live.PLAIN
        how = self._fit, self._caching, self._shards, self._compress, self._compress_over
        options = MapOptions(self._default, self._ttl, live, *how)
        last = self._bound[2]
        if getattr(last, "engine", None) is engine and last.namespace == engine.namespace:
            return last.renewed(options)  # one user of the engine, not one for each change
        return MapBinding(engine, self._name, options)

    def _ause(self) -> Entries:
        bound = self._bound
        return (bound[2] if bound[0] == state.epoch else self._bind().binding).ause()

    def __repr__(self) -> str:
        alone = ", cache_only=True" if self._cache_only else ""
        return f"{type(self).__name__}({self._name!r}{alone})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _travel.reduce(self)

    def __copy__(self) -> LPCM[K, V, R_co]:
        return cast("LPCM[K, V, R_co]", _travel.duplicate(self))

    def __deepcopy__(self, memo: dict[int, Any], /) -> LPCM[K, V, R_co]:
        return cast("LPCM[K, V, R_co]", _travel.duplicate(self, memo))

    def disable_caching(self) -> None:
        """Read from the store from now on, by this object, whatever is cached.

        What was read is removed from the cache, so that everybody reads it anew: for changes
        made by other means. **Cost**: a read is one of the store and one of the cache. **Raises**
        LPCMError for a map in a transaction, which reads as the map itself does.
        """
        if self._within is not None:
            raise LPCMError(
                f"{self!r} is a transaction's: disable_caching of the map itself, before"
            )
        self._caching = False
        self._bound = (min(-1, self._bound[0]), *self._bound[1:])  # closed it stays

    # Reading

    def __getitem__(self, key: K) -> R_co:  # type: ignore[override]  # a V, read live
        bound = self._bound
        use = bound[1] if bound[0] == state.epoch else self._bind()
        try:  # ``drive.do``, without its call
            if use.hit_item is not None:
                value = use.hit_item(key)
                if value is not NOTHING:
                    return value  # type: ignore[no-any-return]  # as below
            use.item(key).send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # as the map is annotated
        except KeyError as error:
            return missed(self, key, error)  # type: ignore[no-any-return]  # as above
        raise RuntimeError("a blocking operation suspended")

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | T, /) -> V | T: ...
    def get(self, key: K, default: Any = MISSING, /) -> Any:
        """Return the value, else ``default``, else the map's own default, else None.

        **Cost**: one request.

        >>> LPCM("m").get("k", 0), LPCM("m", default=1).get("k"), LPCM("m").get("k")
        (0, 1, None)
        """
        use = self._use()
        if use.hit is not None:
            value = use.hit(key, default)
            if value is not NOTHING:
                return value
        value = do(use.get, key, default)
        return None if value is MISSING else value

    def __contains__(self, key: object) -> bool:
        return do(self._use().contains, key)

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return those of the keys that are present, with their values.

        **Cost**: one request per batch the store can read at once. **Atomic** per key. **Raises**
        BatchError for those that cannot be read; its ``found`` has the others.

        >>> m = LPCM("m")
        >>> m.update(a=1, b=2)
        >>> m.get_many(["b", "c", "a"])
        {'b': 2, 'a': 1}
        """
        return do(self._use().get_many, keys)

    # Writing one key

    def __setitem__(self, key: K, value: V) -> None:
        bound = self._bound
        use = bound[1] if bound[0] == state.epoch else self._bind()
        if type(value) in _live.TYPES and _live.assigned_back(value, use, key):
            return
        try:  # as in ``__getitem__``
            use.assign(key, value).send(None)
        except StopIteration:
            return
        raise RuntimeError("a blocking operation suspended")

    @overload  # type: ignore[override]  # a V, read live
    def setdefault(self, key: K, default: V, *, ttl: TTL = None) -> R_co: ...
    @overload
    def setdefault(self, key: K, *, ttl: TTL = None) -> R_co | None: ...
    def setdefault(self, key: K, default: Any = MISSING, *, ttl: TTL = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Store ``default`` unless the key is present; return what is stored then.

        Without ``default`` it is the map's own, else None.

        **Cost**: one request. **Atomic**: of two concurrent callers one stores, and both
        return its value.

        >>> m = LPCM("m")
        >>> m.setdefault("k", 1), m.setdefault("k", 2)
        (1, 1)
        """
        return do(self._use().setdefault, key, default, ttl)

    def __delitem__(self, key: K) -> None:
        do(self._use().remove, key)

    def delete(self, key: K) -> None:
        """Remove the entry; silent when there is none. **Cost**: one request."""
        do(self._use().discard, key)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: V | T, /) -> V | T: ...
    def pop(self, key: K, default: Any = MISSING, /) -> Any:
        """Remove the entry and return its value.

        **Cost**: one request. **Atomic**: one of several concurrent callers gets it.
        **Raises** KeyError when absent and no ``default`` is given.

        >>> m = LPCM("m")
        >>> m["k"] = 1
        >>> m.pop("k"), m.pop("k", None)
        (1, None)
        """
        return do(self._use().pop, key, default)

    # Writing many

    def set_many(self, entries: Mapping[K, V] | Iterable[tuple[K, V]], *, ttl: TTL = None) -> None:
        """Store all pairs; every one is checked before the first is written.

        **Cost**: one request per batch the store can write at once. **Atomic** per key,
        not as a whole. **Raises** BatchError with the keys that failed; the rest is done.
        """
        do(self._use().set_many, pairs(entries), ttl)

    def update(self, entries: Any = (), /, **more: Any) -> None:
        """Store all pairs, as ``dict.update``; cost and errors as ``set_many``."""
        do(self._use().set_many, chain(pairs(entries), more.items()))

    def delete_many(self, keys: Iterable[K]) -> None:
        """Remove the entries of these keys where there are any; cost as ``set_many``."""
        do(self._use().delete_many, keys)

    def clear(self) -> None:
        """Delete all entries. **Cost**: in bulk, every entry. Not atomic as a whole."""
        do(self._use().clear)

    # The whole map

    def __len__(self) -> int:
        return do(self._use().count, KeyRange())

    def __bool__(self) -> bool:
        return do(self._use().any, KeyRange())

    def __iter__(self) -> Iterator[K]:
        return iter(Keys(self, self._use, Span()))

    def __reversed__(self) -> Iterator[K]:
        return reversed(Keys(self, self._use, Span()))

    def keys(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Keys[K]:
        """Return a view of the keys ``start <= key < stop`` that begin with ``prefix``.

        A str, bytes or tuple prefix selects keys of its own type. ``limit`` shows the first so
        many only, and reads no more. **Cost**: none until it is walked, then one request per
        1,000 entries.

        >>> m = LPCM("m")
        >>> m.update({"eu/de": 1, "eu/fr": 2, "us/ny": 3})
        >>> list(m.keys(prefix="eu/")), list(m.keys(start="eu/f", reverse=True))
        (['eu/de', 'eu/fr'], ['us/ny', 'eu/fr'])
        >>> next(iter(m.keys(limit=1)))
        'eu/de'
        """
        return Keys(self, self._use, span(prefix, start, stop, reverse=reverse, limit=limit))

    def values(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Values[V]:
        """Return a view of the values, selected and ordered by key as in ``keys``."""
        return Values(self, self._use, span(prefix, start, stop, reverse=reverse, limit=limit))

    def items(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Items[K, V]:
        """Return a view of the (key, value) pairs, selected and ordered as in ``keys``."""
        return Items(self, self._use, span(prefix, start, stop, reverse=reverse, limit=limit))

    def copy(self) -> dict[K, V]:
        """Return a plain dict of all entries, in key order. **Cost**: as walking ``items``."""
        return dict(stream(self._use, Span()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LPCM):
            return self._use().identity == other._use().identity or all(
                one == two for one, two in zip_longest(self.items(), other.items())
            )
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs: Mapping[Any, Any] = other
        count = 0
        for key, value in self.items():
            if key not in theirs or theirs[key] != value:
                return False
            count += 1
        return count == len(theirs)

    __hash__ = None  # type: ignore[assignment]  # mutable, like dict

    @overload
    def __or__(self, other: Mapping[K, V], /) -> dict[K, V]: ...
    @overload
    def __or__(self, other: Mapping[K2, V2], /) -> dict[K | K2, V | V2]: ...
    def __or__(self, other: object, /) -> dict[Any, Any]:
        """Return a plain dict of both, ``other`` winning."""
        return {**self.copy(), **_plain(other)} if isinstance(other, Mapping) else NotImplemented

    @overload
    def __ror__(self, other: Mapping[K, V], /) -> dict[K, V]: ...
    @overload
    def __ror__(self, other: Mapping[K2, V2], /) -> dict[K | K2, V | V2]: ...
    def __ror__(self, other: object, /) -> dict[Any, Any]:
        return {**_plain(other), **self.copy()} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> LPCM[K, V, R_co]:  # type: ignore[misc]  # dict's | and |= differ too
        self.update(other)
        return self

    @classmethod
    def fromkeys(
        cls, iterable: Iterable[K], value: Any = None, *, name: str, **options: Any
    ) -> LPCM[K, Any]:
        """Store ``value`` under every key of the map called ``name``, and return that map.

        Entries the map already has under other keys stay. ``options`` are ``LPCM``'s.

        >>> LPCM.fromkeys("ab", 0, name="m").copy()
        {'a': 0, 'b': 0}
        """
        made: LPCM[K, Any] = cls(name, **options)
        made.set_many((key, value) for key in iterable)
        return made


def _plain(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return mapping.copy() if isinstance(mapping, LPCM) else dict(mapping)

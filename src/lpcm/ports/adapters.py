"""Adapters: what opens the stores and caches of a URL's scheme, and where it is found.

Those of lpcm are modules, imported when their scheme is asked for. Another distribution registers
its own by an entry point, in the group ``lpcm.stores`` or ``lpcm.caches``: the name is the scheme,
the value a module or an object that is a ``StoreAdapter`` or a ``CacheAdapter``.

Invariants: a scheme of lpcm's own is never taken over, whatever is installed, and never costs a
look at the metadata of distributions. What another distribution registers is checked when its
scheme is first used; what is wrong is a ConfigError that names the distribution.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from lpcm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

    from lpcm.ports.cache import Cache
    from lpcm.ports.store import Store

__all__ = ["RESERVED", "CacheAdapter", "Schemes", "StoreAdapter"]

A = TypeVar("A")

RESERVED = frozenset({
    "cache", "cache_key", "cache_key_file", "cache_only", "cache_ttl", "compress",
    "compress_over", "max_stale", "namespace", "near_cache", "on_cache_error", "timeout", "ttl",
})  # fmt: skip
"""Options that every store's URL has: no store has one of these names for its own."""


class StoreAdapter(Protocol):
    """What opens the stores of a scheme: a module or an object with these two names.

    It may have more:

    ``open_async_store(path, **options)``
        Opens the store for the running event loop. Without it an event loop drives the blocking
        store on worker threads.
    ``FILES``
        Names of options that are paths of files: a pickled map has them absolute.
    ``OBJECTS``
        Names of options that ``configure`` passes on unchanged unless they are text: a client,
        say. No pickle has them.
    ``MANY_SCHEMES``
        Where it is there, whatever it is, the open functions are given the ``scheme``, too.
    ``examine(path, report, **options)``
        Awaited by ``lpcm doctor``: calls ``report`` with each ``Finding`` on its server or file,
        and returns whether maps can be used. It opens the store itself, and writes nothing.
    ``resolved(options)``
        Returns the options with what the environment says, for a map that is pickled.
    """

    OPTIONS: Mapping[str, Callable[[str], object]]
    """The options of the URL, each with what makes a value of its text or raises ValueError."""

    def open_store(self, path: str, **options: Any) -> Store:
        """Open the store at ``path``, which is what stands between ``://`` and ``?``, unquoted.

        It should ask nobody: what is not there is found at the first use. **Raises** ConfigError.
        """
        ...


class CacheAdapter(Protocol):
    """What opens the caches of a scheme: a module or an object with these two names.

    It may have ``open_async_cache``, of the form of ``open_cache``, for the running event loop,
    ``FILES`` and ``examine``, as a ``StoreAdapter`` has.
    """

    OPTIONS: Mapping[str, Callable[[str], object]]
    """The options of the cache's URL, each with what makes a value of its text."""

    def open_cache(self, path: str, *, scheme: str, **options: Any) -> Cache:
        """Open the cache at ``path``; it connects when it is used. **Raises** ConfigError."""
        ...


class Schemes(Mapping[str, A], Generic[A]):
    """The adapters by their schemes: lpcm's own, and those that distributions register.

    Whether a scheme is known costs nothing for one of lpcm's own, and for any other a look at the
    metadata of what is installed; the adapter of a scheme is loaded once.
    """

    def __init__(self, what: str, built_in: Mapping[str, str], reserved: Collection[str]) -> None:
        self._what = what
        self._group = f"lpcm.{what}s"
        self._built_in = built_in
        self._reserved = reserved
        self._loaded: dict[str, A] = {}

    def __getitem__(self, scheme: str) -> A:
        if scheme in self._built_in:
            return cast("A", import_module(self._built_in[scheme]))
        if scheme not in self._loaded:
            self._loaded[scheme] = self._load(scheme)
        return self._loaded[scheme]

    def __contains__(self, scheme: object) -> bool:
        return scheme in self._built_in or scheme in self._loaded or scheme in self._registered()

    def __iter__(self) -> Iterator[str]:
        return iter({**self._built_in, **self._registered()})

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _registered(self) -> dict[str, list[EntryPoint]]:
        from importlib.metadata import entry_points  # 20 ms to import, for others' schemes alone

        found: dict[str, list[EntryPoint]] = {}
        for each in entry_points(group=self._group):
            found.setdefault(each.name.lower(), []).append(each)
        return found

    def _load(self, scheme: str) -> A:
        found = self._registered()[scheme]
        if len({(each.value, _distribution(each)) for each in found}) > 1:
            several = " and ".join(sorted(map(_distribution, found)))
            raise ConfigError(f"{scheme}:// is a {self._what} of {several}: uninstall all but one")
        entry = found[0]
        name = f"the {self._what} {scheme}:// of {_distribution(entry)} ({entry.value})"
        try:
            adapter = entry.load()
        except Exception as error:  # whatever happens while others' code is imported
            raise ConfigError(f"{name} cannot be loaded: {error!r}") from error
        wrong = _wrong(adapter, self._what, self._reserved)
        if wrong:
            raise ConfigError(f"{name} is no adapter: {wrong}")
        return cast("A", adapter)


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def _wrong(adapter: Any, what: str, reserved: Collection[str]) -> str:
    """Say what an object lacks that an adapter has; nothing if it is one.

    >>> from types import SimpleNamespace
    >>> _wrong(SimpleNamespace(OPTIONS={"size": int}, open_store=print), "store", RESERVED)
    ''
    >>> _wrong(SimpleNamespace(OPTIONS={"ttl": int}, open_store=print), "store", RESERVED)
    "its option 'ttl' is one of every URL's"
    """
    if not callable(getattr(adapter, f"open_{what}", None)):
        return f"it has no function open_{what}"
    if not callable(getattr(adapter, f"open_async_{what}", print)):
        return f"its open_async_{what} is no function"
    options = getattr(adapter, "OPTIONS", None)
    if not isinstance(options, Mapping):
        return "it has no OPTIONS, a dict of the names of its options and what parses each"
    for name, parse in options.items():  # pyright: ignore[reportUnknownVariableType]  # another's
        if not isinstance(name, str) or not callable(parse):
            return f"its OPTIONS have {name!r}: {parse!r}, which is no name and function"
        if name in reserved:
            return f"its option {name!r} is one of every URL's"
    for kind in ("FILES", "OBJECTS"):
        names = getattr(adapter, kind, ())
        if isinstance(names, str) or not isinstance(names, Collection):
            return f"its {kind} are no set of names: {names!r}"
        if unknown := set(names) - set(options):
            return f"its {kind} have {min(map(str, unknown))!r}, which is none of its OPTIONS"
    return ""

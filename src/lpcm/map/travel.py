"""Maps that travel: what a pickle or copy of a map is, and where it leads on arrival.

A pickled map arrives at the store it came from, whatever the receiver has configured: it
carries its address (``engine.address``). Only insulation outranks that: where tests run, a map that
arrives is redirected as every other is, and one that a test pickled is of no use elsewhere.
Copies within the process stay with their alias, as the original.

Pickles name this module and the functions ``revive`` and ``entry``: neither moves, and each new
form of what they are given gets a number of its own. Invariant: unpickling opens nothing and
raises only for a pickle that no lpcm of this version made; what else is wrong is raised when the
map is used, for a pool whose worker cannot unpickle its task waits for ever.
"""

# ruff: noqa: SLF001  # what a map is made of is copied here, for all classes of maps

from __future__ import annotations

import copyreg
import os
from copy import deepcopy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpcm.engine import aliases, config, state
from lpcm.engine.address import Address, this_process, typed
from lpcm.engine.engine import Engine
from lpcm.engine.insulation import fenced, redirected
from lpcm.errors import ConfigError, Insulated, PickleRefused
from lpcm.operations.entry import MISSING, Entry
from lpcm.values.partitions import check_shards, partition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.operations.binding import MapBinding

__all__ = ["OWN", "duplicate", "entry", "reduce", "resolve", "revive", "within"]

FORMAT = 1
OWN = frozenset({
    "_name", "_default", "_ttl", "_using", "_url", "_cache_only", "_cache_timeout", "_caching",
    "_bound", "_live", "_shards", "_compress", "_compress_over",
})  # fmt: skip
"""The attributes that ``LPCM`` gives a map; all others are a subclass's."""
_DROPPED = OWN | {"__orig_class__"}  # what LPCM[str, int]("m") leaves there
_OPTIONS: Mapping[str, Any] = {
    "ttl": None, "live": True, "cache_only": False, "cache_timeout": None, "caching": True,
    "shards": None, "compress": None, "compress_over": None,
}  # fmt: skip
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "address": (dict,),
    "ttl": (float,),
    "live": (bool,),
    "cache_only": (bool,),
    "cache_timeout": (float,),
    "caching": (bool,),
    "shards": (int,),
    "compress": (str,),
    "compress_over": (int,),
}
_NAMES = ("LPCM", "LPCMSet")
"""Classes that pickles call by their public names, which stay when modules move."""

_sent: dict[tuple[config.Config, str | None], config.Config] = {}
"""What is configured here, by what this process said of that and the alias, where they differ."""


# Where a map leads


def resolve(using: str | Engine | Address, url: str | None, **how: Any) -> Engine:
    """Return the open engine of an alias, a URL or an address; see ``engine.aliases.resolve``."""
    if isinstance(using, Address):
        return aliases.resolve(_received(using), None, for_map=True)
    return aliases.resolve(using, url, for_map=True, **how)


def _address(handle: Any) -> Address:
    """Return where the entries of a map are, for another process to find them."""
    using = handle._using
    if isinstance(using, Engine):
        raise PickleRefused(
            f"{handle!r} uses {using!r}, which Engine.open made for this process alone: to pickle "
            "it, make the map with url='...', or using='...', an alias of lpcm.configure"
        )
    insulated = fenced() is not None or _insulated()
    found = using if isinstance(using, Address) else _configured(handle, insulated=insulated)
    if not insulated:
        return found
    there = redirected(found.settings)
    if there != found.settings:  # what tests pickle tells nobody of the real store
        forgets = _forgets(handle, found.settings)
        found = Address.of(there, found.namespace, found.alias, forgets=forgets)
    return found._replace(namespace=state.namespace() or found.namespace, insulated=True)


def _configured(handle: Any, *, insulated: bool) -> Address:
    """Return the address of a map that did not arrive by a pickle itself."""
    using, url = handle._using, handle._url
    epoch, _, binding = handle._bound
    if epoch == state.epoch and not insulated:
        asked = binding.engine._settings  # a relative path may mean another file by now
    else:
        how = {"cache_only": handle._cache_only, "cache_timeout": handle._cache_timeout}
        asked = aliases.asked(using, url, **how)
    namespace = state.namespace() or asked.namespace
    alias = using if url is None else None
    found = Address.of(asked, namespace, alias, forgets=_forgets(handle, asked))
    if found.settings != asked:
        _sent[found.settings, alias] = asked
    return found


def _forgets(handle: Any, settings: config.Config) -> bool:
    """Tell whether the map may lose its entries, so that any process's memory will do."""
    return handle._cache_only or settings.path.startswith(config.CACHED_ONLY)


def _received(address: Address) -> config.Config:
    """Return the configuration of an address that may come from another process."""
    if address.insulated and not _insulated(address.namespace):
        raise Insulated(
            f"a test pickled this map, in its namespace {address.namespace!r}, and no test runs "
            "here: pickle the map in a process that is not insulated"
        )
    settings = address.settings
    if redirected(settings)._replace(cache=None) != settings._replace(cache=None):
        return settings  # it leads elsewhere, where nothing of what may be missing is asked for
    if address.process is not None and address.process != this_process():
        raise PickleRefused(
            f"a pickled map of {settings.location} came from another process, whose memory nobody "
            "else can reach: use sqlite:///, dynamodb:// or memcached:// for maps that are shared"
        )
    known = _sent.get((settings, address.alias))
    if known is not None:
        settings = known  # and so the engine that is open here already
    elif address.withheld:
        settings = address.complete(_candidates(address.alias))
    return settings if state.namespace() else settings._replace(namespace=address.namespace)


def _candidates(alias: str | None) -> list[config.Config]:
    if alias is None:
        return aliases.configured()
    try:
        return [aliases.asked(alias, None)]
    except ConfigError:
        return []


def _insulated(namespace: str | None = None) -> bool:
    """Tell whether tests insulate this process, or have started it in that namespace."""
    inherited = os.environ.get("LPCM_NAMESPACE", "")
    return (
        bool(fenced())
        or "LPCM_SCRATCH" in os.environ
        or inherited.startswith("test-")
        or (bool(inherited) and inherited == namespace)
    )


# Pickles


def reduce(handle: Any) -> tuple[Any, ...]:
    """Return what a map is pickled as."""
    _check_free(handle)
    cls = type(handle)
    fields = {
        name: getattr(handle, f"_{name}")
        for name, usual in _OPTIONS.items()
        if getattr(handle, f"_{name}") != usual
    }
    fields = {"name": handle._name, "address": _address(handle).pack(), **fields}
    state = _state(handle)
    default: tuple[Any, ...] = ()
    if handle._default is not MISSING:
        if hasattr(cls, "__setstate__") or not isinstance(state, (dict, tuple, type(None))):
            default = (handle._default,)
        else:  # with the attributes, for it may be a method of the map itself
            attributes, slots = state if isinstance(state, tuple) else (state, None)
            attributes = {**(attributes or {}), "_default": handle._default}
            state = attributes if slots is None else (attributes, slots)
    named = cls.__name__ if cls is getattr(import_module("lpcm"), cls.__name__, None) else cls
    made = revive, (FORMAT, named, _new_arguments(handle), fields, *default)
    return made if state is None else (*made, state)


def revive(form: object, cls: Any, arguments: Any, fields: object, default: Any = MISSING) -> Any:
    """Return the map that ``reduce`` described, without its subclass's attributes."""
    _check(form)
    if cls in _NAMES:
        cls = getattr(import_module("lpcm"), cls)
    if not (isinstance(cls, type) and issubclass(cls, import_module("lpcm").LPCM)):
        raise PickleRefused(f"a pickled map is of the class {cls!r}, no LPCM")
    given = typed(fields, _FIELDS, required=("name", "address"))
    try:
        partition(config.DEFAULT_NAMESPACE, given["name"])
        check_shards(given.get("shards", 1))
    except ConfigError as error:
        raise PickleRefused(f"a pickled map is of no use here: {error}") from error
    if not (type(arguments) is tuple and [*map(type, arguments)] == [tuple, dict]):
        raise PickleRefused(f"a pickled map has the arguments {arguments!r}")
    args, options = arguments
    handle: Any = cls.__new__(cls, *args, **options)
    vars(handle).update(
        {f"_{name}": given.get(name, usual) for name, usual in _OPTIONS.items()},
        _name=given["name"],
        _using=Address.unpack(given["address"]),
        _url=None,
        _default=default,
        _bound=(-1, None, None),
    )
    return handle


def _reduce_entry(found: Entry[Any]) -> tuple[Any, ...]:
    return entry, (FORMAT, tuple(found))


copyreg.pickle(Entry, _reduce_entry)


def entry(form: object, fields: Any) -> Entry[Any]:
    """Return the entry that was pickled."""
    _check(form)
    key, value, etag, expires = fields
    if type(etag) is not int or type(expires) not in (float, int, type(None)):
        raise PickleRefused(f"a pickled entry has the etag {etag!r} and the expiry {expires!r}")
    return Entry(key, value, etag, expires)


def _check(form: object) -> None:
    if form != FORMAT or type(form) is not int:
        raise PickleRefused(
            f"pickled by a later lpcm, in its format {form!r}; this one reads format {FORMAT}: "
            "upgrade the processes that receive maps before those that send them"
        )


# Copies


def within(handle: Any, binding: MapBinding) -> Any:
    """Return a copy of a map that works on another binding: the map in a transaction."""
    cls = type(handle)
    made: Any = object.__new__(cls)
    vars(made).update(vars(handle), _within=binding, _bound=(-1, None, None))
    for each in cls.__mro__:
        for name in getattr(each, "__slots__", ()):
            if hasattr(handle, name):
                setattr(made, name, getattr(handle, name))
    return made


def _check_free(handle: Any) -> None:
    if handle._within is not None:
        raise PickleRefused(
            f"{handle!r} is a transaction's and belongs to the block that began it: it cannot be "
            "pickled or copied; pickle the map itself"
        )


def duplicate(handle: Any, memo: dict[int, Any] | None = None) -> Any:
    """Return a copy of a map for this process, a deep one with ``memo``."""
    _check_free(handle)
    cls = type(handle)
    args, options = _new_arguments(handle)
    made: Any = cls.__new__(cls, *args, **options)
    vars(made).update({name: vars(handle)[name] for name in OWN}, _bound=(-1, None, None))
    state = _state(handle)
    if memo is not None:
        memo[id(handle)] = made
        made._default = deepcopy(handle._default, memo)
        state = deepcopy(state, memo)
    if hasattr(cls, "__setstate__"):
        if state is not None:
            made.__setstate__(state)
        return made
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    vars(made).update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(made, name, value)
    return made


def _new_arguments(handle: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if hasattr(handle, "__getnewargs_ex__"):
        args, options = handle.__getnewargs_ex__()
        return args, options
    return (handle.__getnewargs__() if hasattr(handle, "__getnewargs__") else ()), {}


def _state(handle: Any) -> Any:
    """Return the attributes of a map that its subclass gave it, as pickle takes them."""
    state = handle.__getstate__()
    if isinstance(state, dict):
        return _without_own(state) or None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        return _without_own(state[0]) or None, state[1]
    return state


def _without_own(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in _DROPPED}

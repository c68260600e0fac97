"""The doctor: whether the store and the cache of a URL are as maps need them, and what to do.

Adapters look at their own servers and files (``examine`` of ``ports.StoreAdapter``); here two
engines are opened on the same configuration, and what one writes the other must read. Invariants:
what was there is not changed; what is written stands in a namespace of its own, which is deleted.

>>> from lpcm import LPCM
>>> LPCM("pets")["rex"] = "dog"
>>> [finding.about for finding in examine() if finding.wrong]
[]
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm import caches, stores
from lpcm.engine.aliases import asked
from lpcm.engine.drive import run
from lpcm.engine.engine import open_engine
from lpcm.engine.insulation import redirected
from lpcm.errors import ConfigError, LPCMError, StoreDenied, StoreError, StoreReadOnly
from lpcm.operations.entry import MISSING
from lpcm.operations.operations import Entries
from lpcm.operations.options import MapOptions
from lpcm.ports import CacheLost, Finding
from lpcm.redact import redact
from lpcm.values.compress import usable
from lpcm.values.keys import encode, partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.engine.config import Config
    from lpcm.engine.engine import Engine
    from lpcm.ports import Report

__all__ = ["examine"]

ROUNDS: Final = 10
"""Times that each of two engines writes what the other reads."""
SLOW: Final = 0.05
"""Seconds of a read or write from which on the way to the store is long, or its disk slow."""
_MAP: Final = "probe"
_KEY: Final = "key"


def examine(
    using: str = "default",
    *,
    url: str | None = None,
    write: bool = True,
    report: Report | None = None,
) -> list[Finding]:
    """Look at the store and the cache of an alias, or of a URL in its place; return the findings.

    ``write``: let two engines write and read in a namespace of its own, which is deleted
    afterwards; False: write nothing. ``report`` is called with each finding as it is made.

    **Cost**: some sixty requests; on DynamoDB some forty of them are writes. **Raises**
    ConfigError for a URL that is none; what else fails is a finding.
    """
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if report is not None:
            report(finding)

    settings = redirected(asked(using, url))
    found(Finding("maps", _described(settings)))
    if settings.compress != "none":
        found(_compression(settings))
    reached = _ask_store(settings, found)
    caching = _ask_cache(settings, found)
    if settings.max_stale is not None:
        allowed = (
            f"a read may be {settings.max_stale:g} s old (max_stale), of other processes' writes"
        )
        found(Finding("near cache", allowed))
        settings = settings._replace(near_cache=0, max_stale=None)  # it would be taken for a fault
    if reached:
        _probe(settings, found, write=write, caching=caching)
    return findings


def _described(settings: Config) -> str:
    cache = settings.cache
    cached = "" if cache is None else f", cached by {redact(f'{cache.scheme}://{cache.path}')}"
    return f"in {settings.location}{cached}"


def _compression(settings: Config) -> Finding:
    """Tell what values are compressed with, and whether this process can."""
    try:
        method = usable(settings.compress)
    except ConfigError as error:
        return Finding("compression", str(error), wrong=True)
    return Finding("compression", f"{method}, of values over {settings.compress_over:,} bytes")


def _ask_store(settings: Config, found: Report) -> bool:
    adapter = stores.adapter(settings.scheme)
    options = dict(settings.store_options)
    if hasattr(adapter, "MANY_SCHEMES"):
        options["scheme"] = settings.scheme
    return _ask(adapter, settings.path, options, found)


def _ask_cache(settings: Config, found: Report) -> bool:
    """Tell whether there is a cache that can be used."""
    if settings.cache is None:
        return False
    scheme, path, options = settings.cache
    return _ask(caches.adapter(scheme), path, {"scheme": scheme, **dict(options)}, found)


def _ask(adapter: object, path: str, options: Mapping[str, Any], found: Report) -> bool:
    """Have an adapter look at its servers or files; tell whether a map could be used."""
    look = getattr(adapter, "examine", None)
    if look is None:
        return True
    try:
        reached: bool = run(look(path, found, **options))
    except LPCMError as error:
        found(Finding("store", str(error), wrong=True))
        return False
    return reached


class _Side(NamedTuple):
    """One of two engines, and the probe's map on it."""

    engine: Engine
    namespace: str
    entries: Entries
    pk: str

    @classmethod
    def of(cls, engine: Engine, namespace: str) -> _Side:
        """Return the side of an engine, with a map in that namespace."""
        options = MapOptions(MISSING, None, ({}, {}))
        stack = engine.stack._replace(eventual=None)  # it would be taken for a fault
        entries = Entries(engine, stack, _MAP, options, namespace=namespace, binding=None)
        return cls(engine, namespace, entries, partition(namespace, _MAP))

    def stored(self) -> object:
        """Read the entry from the store."""
        return run(self.engine.store.read(self.pk, encode(_KEY), self.engine.stack.clock.now()))

    def is_cached(self) -> bool:
        """Tell whether the cache would serve the entry."""
        coherent = self.engine.stack.coherent
        assert coherent is not None, "asked only of what is cached"
        try:
            return bool(run(coherent.cached(self.pk, [encode(_KEY)])))
        except CacheLost:
            return False

    def drop(self) -> None:
        """Delete the namespace."""
        with suppress(StoreError):  # it was not written, or what failed has been said
            run(self.engine.store.drop(self.namespace))


def _probe(settings: Config, found: Report, *, write: bool, caching: bool) -> None:
    """Use the store as maps do, through two engines."""
    with ExitStack() as stack:
        try:
            sides = _open(settings, stack)
            read = _timed(sides[0].stored)
        except LPCMError as error:
            found(Finding("reads", str(error), wrong=True))
            return
        if not write:
            found(_times({"store": read}))
            return
        stack.callback(sides[0].drop)
        try:
            _exchange(sides, found, read, caching=caching)
        except (StoreDenied, StoreReadOnly) as error:
            fix = "where maps only read, nothing: say --look-only; else use credentials that write"
            found(Finding("writes", str(error), fix))
        except LPCMError as error:
            found(Finding("writes", str(error), wrong=True))


def _open(settings: Config, stack: ExitStack) -> list[_Side]:
    alone = settings.scheme == "memory" and not settings.path  # no other engine has its entries
    engines = [stack.enter_context(open_engine(settings)) for _ in range(1 if alone else 2)]
    namespace = f"{engines[0].namespace}.doctor.{secrets.token_hex(4)}"
    return [_Side.of(engine, namespace) for engine in (engines[0], engines[-1])]


def _timed(work: Callable[[], object], times: int = ROUNDS) -> float:
    """Return the median of some calls, in seconds; the first, which may connect, apart."""
    work()
    taken: list[float] = []
    for _ in range(times):
        begun = perf_counter()
        work()
        taken.append(perf_counter() - begun)
    return median(taken)


def _exchange(sides: list[_Side], found: Report, read: float, *, caching: bool) -> None:
    """Let each side write what the other must read, twice: filling the cache, and from it."""
    writes: list[float] = []
    missed = 0
    for number in range(2 * ROUNDS):
        writer, reader = sides[number % 2], sides[1 - number % 2]
        begun = perf_counter()
        run(writer.entries.set(_KEY, number))
        writes.append(perf_counter() - begun)
        seen = [run(reader.entries.item(_KEY)) for _ in range(2)]
        if seen != [number, number]:
            found(_incoherent(number, seen))
            return
        missed += caching and not reader.is_cached()
    if sides[0].engine is sides[1].engine:
        found(Finding("sharing", "in this engine alone, and gone with the process", _SHARE))
    else:
        found(Finding("sharing", f"{2 * ROUNDS} writes of two engines, each read by the other"))
    times = {"store": read}
    if missed > ROUNDS:
        why = f"{missed} of {2 * ROUNDS} entries that were read are not in it"
        fix = "look for what empties it, or for a proxy between: `lpcm verify` tells more"
        found(Finding("cache", why, fix, wrong=True))
    elif caching:
        times["cache"] = _timed(lambda: run(sides[1].entries.item(_KEY)))
    found(_times({**times, "write": median(writes)}))


_SHARE: Final = "for entries that outlive it, set LPCM_URL to sqlite:///FILE or dynamodb://TABLE"


def _incoherent(number: int, seen: list[Any]) -> Finding:
    return Finding(
        "sharing",
        f"one engine had written {number}, and another read {seen[0]} and then {seen[1]}",
        "look for a proxy in front of the cache, or a store behind replicas; `lpcm verify` tells",
        wrong=True,
    )


def _times(taken: Mapping[str, float]) -> Finding:
    words = {"store": "a read of the store", "cache": "of the cache", "write": "a write"}
    found = ", ".join(f"{words[name]} {taken[name] * 1000:.2f} ms" for name in taken)
    slow = max(taken.values()) > SLOW
    fix = "run nearer to the store, or on a faster disk" if slow else ""
    return Finding("times", found, fix)

"""Insulation: while tests run, the maps of the process are kept away from real data.

A *fence* is around the namespace of the tests: each map calls ``check_fence`` before its first
write and before it is cleared. ``LPCM_SCRATCH``, which processes started by the tests inherit,
sends all maps to throw-away files in that directory; ``override`` sends them to one URL.

Knows engines, and no alias. Invariant: while insulated, no map of this process writes to any
other namespace, whatever becomes of the environment: such a write raises ``Insulated``.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpcm.engine import config, state
from lpcm.engine.drive import run
from lpcm.engine.engine import opened
from lpcm.engine.shared import close_in, forget_used, swap_used, used
from lpcm.errors import Insulated, LPCMError
from lpcm.ports import DAMAGED, Cell, Put, Scan
from lpcm.system.instances import Instances
from lpcm.system.process import this
from lpcm.values.form import HEAD
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from collections.abc import Generator

    from lpcm.engine.engine import Engine
    from lpcm.ports import Stored

__all__ = [
    "check_fence",
    "fence",
    "fenced",
    "insulate",
    "insulate_until_exit",
    "override",
    "redirected",
    "restore",
    "rollback",
    "watch",
]

_INHERITED = ("LPCM_NAMESPACE", "LPCM_SCRATCH", "LPCM_URL")

_override: config.Config | None = None
_writers: Instances[Engine] = Instances()
"""The engines by which this process wrote to the present namespace before the last ``fence``."""
_watching = False


def fence(namespace: str | None) -> str | None:
    """Refuse writes outside this namespace; "": all, None: none. Return the fence until now."""
    with state.lock():
        before, state.fence = state.fence, namespace
        if not namespace:
            forget_used()
        for engine in opened():
            if engine.catalogue.registered:
                _writers.add(engine)
                engine.catalogue.registered.clear()  # so that every map asks once more
        state.refresh()
    return before


def fenced() -> str | None:
    """Return the namespace that tests may write to; "": they are over, None: there are none."""
    watch()
    return state.fence


def check_fence(namespace: str) -> None:
    """Raise Insulated where tests run, or ran, that must not write to this namespace."""
    if state.fence is None or namespace == state.fence:
        return
    if state.fence and namespace.startswith(f"{state.fence}."):
        return  # one within the tests' own: how far a copy got, say
    if state.fence:
        raise Insulated(
            f"a test may write to its own namespace {state.fence!r}, not to {namespace!r}: is "
            "LPCM_NAMESPACE changed within it? See lpcm.testing.insulate"
        )
    raise Insulated(
        f"the tests are over, and something they left running writes to {namespace!r}: end it "
        "before, or call lpcm.configure() where this program goes on after its tests"
    )


def override(url: str | None) -> config.Config | None:
    """Send every alias and URL of the process to ``url``, if any; return the override until now."""
    before = _override
    if url is not None:
        restore(config.parse(url))
    return before


def restore(settings: config.Config | None) -> None:
    """Send every alias and URL of the process there; None: to its own store."""
    global _override  # noqa: PLW0603  # replaced whole: ``redirected`` needs no lock
    with state.lock():
        _override = settings
        state.refresh()


def redirected(settings: config.Config) -> config.Config:
    """Return where a configuration leads in this process: elsewhere, while tests run."""
    if _override is not None:
        return _override
    directory = os.environ.get("LPCM_SCRATCH")
    return config.scratch(settings, directory) if directory else settings


def watch() -> None:
    """Where this process is ``python -m unittest``, insulate it; other runners have plugins."""
    global _watching  # noqa: PLW0603  # a look at the process suffices
    if _watching:
        return
    _watching = True
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name == "unittest.__main__":
        insulate_until_exit()


@contextmanager
def insulate(
    url: str | None = None,
    *,
    namespace: str | None = None,
    scratch: bool = False,
    final: bool = False,
) -> Generator[str, None, None]:
    """Keep every map of the process in a namespace of its own; yield its name.

    Maps made before, at import time, are insulated too, and so are forks and processes
    started meanwhile. Afterwards all entries of the namespace are deleted, in every
    store that this process had open.

    ``url``
        All aliases and URLs lead there meanwhile. ``memory://`` keeps a test off the disk,
        but is not shared with forks and subprocesses.
    ``scratch``
        They lead to throw-away SQLite files instead, one for each store, so that nothing leaves
        the machine. Stores in memory stay in memory.
    ``final``
        The process has nothing to do afterwards: threads that the tests left running must not
        write, until ``lpcm.configure`` is called.

    **Raises**, from the maps, Insulated where a write would reach another namespace.

    >>> from lpcm import LPCM
    >>> settings = LPCM("settings")
    >>> settings["theme"] = "dark"
    >>> with insulate():
    ...     print(settings.get("theme"))
    None
    >>> settings["theme"]
    'dark'
    """
    global _writers  # noqa: PLW0603  # a block's own, one at a time
    import secrets  # for tests alone, and 10 ms with the next ones
    import tempfile

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = namespace or f"test-{worker}-{os.getpid()}-{secrets.token_hex(4)}"
    process = this()
    saved = {variable: os.environ.get(variable) for variable in _INHERITED}
    saved_override = override(url)
    directory = tempfile.mkdtemp(prefix="lpcm-test-") if scratch else None
    os.environ["LPCM_NAMESPACE"] = name
    if url is not None:
        os.environ["LPCM_URL"] = url
    if directory is not None:
        os.environ["LPCM_SCRATCH"] = directory
        restore(None)
    before = fence(name)
    saved_used, saved_writers, _writers = swap_used({}), _writers, Instances()
    try:
        yield name
    finally:
        try:
            if this() is process:  # a fork that ends here must not clear its parent's away
                _clear_away(name, directory, everywhere=not before)
        finally:
            for variable, value in saved.items():
                if value is None:
                    os.environ.pop(variable, None)
                else:
                    os.environ[variable] = value
            fence("" if final and before is None else before)
            swap_used(saved_used if before else {})
            _writers = saved_writers
            restore(saved_override)


@contextmanager
def rollback(*, namespace: str | None = None) -> Generator[str, None, None]:
    """Undo at the end of the block what was written to maps meanwhile; yield the block's namespace.

    The block works in a namespace of its own. The namespace begins as a copy of the one around the
    block, as far as it is in stores that this process has used there. Blocks nest. Where nothing
    is insulated, the block is, and begins with empty maps.

    ``namespace``
        The name of the block's namespace; it must be an empty one.

    **Cost**: one request for each of these stores and for each that the block uses, and what it
    takes to copy the entries and to delete them.

    >>> from lpcm import LPCM
    >>> pets = LPCM("pets")
    >>> with insulate():
    ...     pets["rex"] = "dog"
    ...     with rollback():
    ...         pets["rex"] = "cat"
    ...     pets["rex"]
    'dog'
    """
    around, engines = state.fence, _in_use()
    with insulate(namespace=namespace) as own:
        if around:
            for engine in engines:
                _writers.add(engine)
                run(_copy(engine, around, own))
        yield own


def _in_use() -> set[Engine]:
    """Return the engines that maps use, or wrote with, in the present namespace."""
    wrote = {engine for engine in opened() if engine.catalogue.registered}
    return {*used(), *wrote, *(engine for engine in _writers.all() if not engine.closed)}


async def _copy(engine: Engine, namespace: str, to: str) -> None:
    """Copy the entries of a namespace, with etags and expiries, to an empty one of that store."""
    store, now = engine.store, engine.stack.clock.now()
    tier = store if engine.stack.large is None else engine.stack.tier  # which splits values
    for info in await store.maps(namespace):
        source, target = partition(namespace, info.name), partition(to, info.name)
        await store.register(to, info)
        after: str | None = None
        while True:
            page = await store.scan(source, Scan(after=after), now)
            entries = [(sk, await _whole(engine, source, sk, each)) for sk, each in page.entries]
            writes = [(sk, put) for sk, stored in entries if stored and (put := _put(stored))]
            outcomes = await tier.apply_many(target, writes, now) if writes else []
            for failure in (each for each in outcomes if isinstance(each, Exception)):
                raise failure
            after = page.resume
            if after is None:
                break


async def _whole(engine: Engine, map: str, sk: str, stored: Stored) -> Stored | None:
    """Return an entry with its value, which may be in parts."""
    large = engine.stack.large
    if large is None or stored.kind != HEAD:
        return stored
    return await large.whole(map, sk, stored, None)


def _put(stored: Stored) -> Put | None:
    if stored.kind == DAMAGED:  # what lpcm did not write, it cannot write again
        return None
    return Put(Cell(stored.data, stored.kind), stored.etag, stored.expires)


def _clear_away(namespace: str, directory: str | None, *, everywhere: bool) -> None:
    if directory is not None:
        import shutil  # see insulate

        close_in(directory)
        shutil.rmtree(directory, ignore_errors=True)
    failed: LPCMError | None = None
    mine = _in_use()
    for engine in {*opened(), *mine} if everywhere else mine:
        try:
            run(engine.store.drop(namespace))
            engine.catalogue.forget()
        except LPCMError as error:  # and on to the others
            if engine in mine:  # else it was open, and no map of this process wrote to it
                failed = failed or error
    if failed is not None:
        raise failed


def insulate_until_exit(*, scratch: bool = True) -> None:
    """Insulate this process for the rest of its life: it does nothing but run tests."""
    context = insulate(scratch=scratch, final=True)
    context.__enter__()
    atexit.register(context.__exit__, None, None, None)

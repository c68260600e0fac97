"""Insulation under Django's test runner, started by Django, pytest or another program.

Django says that a test run begins by calling ``setup_test_environment`` and that it is over
by ``teardown_test_environment``; it sends no signal then. So both are wrapped, as soon as
their module is imported, which a server never does. Each process of ``test --parallel`` gets
a namespace of its own besides.

Within a run each test of Django's classes is undone (``lpcm.testing.rollback``), and so is what
a class writes in ``setUpClass`` and ``setUpTestData``, when the class is over: as Django's
``TestCase`` does it with the database. ``TEST["INSULATE"]`` turns this off.

Invariant: between the two calls every map of the process is insulated
(``lpcm.testing.insulate``), unless a plugin of pytest has done it before.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lpcm.administration import drop
from lpcm.errors import LPCMError
from lpcm.testing import insulate, rollback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["begin", "end", "watch"]

_CASES, _UTILS, _RUNNER = "django.test.testcases", "django.test.utils", "django.test.runner"
_run: AbstractContextManager[str] | None = None
_each = False
"""Whether each test is undone."""
_workers = 0
_worker: AbstractContextManager[str] | None = None
"""What this process is in, where it is one of ``test --parallel``."""


def begin() -> None:
    """Insulate this process until ``end``, unless it is already."""
    global _run, _each  # noqa: PLW0603  # Django's test environment is the process's, too
    from lpcm.django import conf

    scratch, _each = conf.tests_use() == "scratch", conf.tests_insulate() == "test"
    inherited = os.environ.get("LPCM_NAMESPACE", "").startswith("test-")
    if _run is not None or (inherited and scratch == ("LPCM_SCRATCH" in os.environ)):
        return
    _run = insulate(scratch=scratch, final=True)
    _run.__enter__()


def end() -> None:
    """Clear away what the tests wrote."""
    global _run, _each  # noqa: PLW0603  # see begin
    _each = False
    if _run is None:
        return
    context, _run = _run, None
    if "LPCM_SCRATCH" not in os.environ:
        _clear_away_workers()
    context.__exit__(None, None, None)


def _clear_away_workers() -> None:
    """Drop what the processes of ``test --parallel`` wrote to the real stores."""
    from lpcm.django import conf, stores

    for alias in conf.aliases():
        # Opened if need be, for the run itself to be cleared away there as well.
        engine = stores[alias]
        for worker in range(1, _workers + 1):
            drop(engine, f"{os.environ['LPCM_NAMESPACE']}-{worker}")


def watch() -> None:
    """Wrap what begins and ends a test run, now or when it is imported."""
    finder = _Finder()
    for name, wrap in _WRAPS.items():
        if name in sys.modules:
            wrap(sys.modules[name])
        else:
            finder.waiting[name] = wrap
    if finder.waiting:
        sys.meta_path.insert(0, finder)


def _wrap_utils(module: Any) -> None:
    _replace(module, "setup_test_environment", before=None, after=begin)
    _replace(module, "teardown_test_environment", before=end, after=None)


def _replace(
    module: Any, name: str, before: Callable[[], None] | None, after: Callable[[], None] | None
) -> None:
    real = getattr(module, name)
    if hasattr(real, "__wrapped__"):
        return

    @wraps(real)
    def wrapped(*args: Any, **options: Any) -> Any:
        if before is not None:
            before()
        result = real(*args, **options)
        if after is not None:
            after()
        return result

    # Modules that imported the name from there must have the wrapped function, too.
    for other in list(sys.modules.values()):
        if getattr(other, "__dict__", {}).get(name) is real:
            setattr(other, name, wrapped)


def _wrap_runner(module: Any) -> None:
    suite = module.ParallelTestSuite
    if suite.init_worker is _init_worker:
        return
    _init_worker.real = suite.init_worker  # type: ignore[attr-defined]  # a function's own
    suite.init_worker = _init_worker
    real = suite.run

    @wraps(real)
    def run_all(self: Any, result: Any) -> Any:
        global _workers  # noqa: PLW0603  # see begin
        _workers = max(_workers, self.processes)
        return real(self, result)

    suite.run = run_all


def _init_worker(*args: Any, **options: Any) -> None:
    """Begin a process of ``test --parallel``, in a namespace that is a copy of its run's."""
    global _worker  # noqa: PLW0603  # see begin
    from django.test import runner

    real: Any = getattr(_init_worker, "real", None) or runner._init_worker  # type: ignore[attr-defined]  # noqa: SLF001  # the process was spawned
    real(*args, **options)
    number: int = runner._worker_id  # type: ignore[attr-defined]  # noqa: SLF001  # no other name for it
    _worker = rollback(namespace=f"{os.environ.get('LPCM_NAMESPACE') or 'test'}-{number}")
    _worker.__enter__()  # for the rest of its life: the run's process clears it away


def _wrap_cases(module: Any) -> None:
    case = module.SimpleTestCase
    if hasattr(case.__call__, "__wrapped__"):
        return
    call, debug, set_up_class = case.__call__, case.debug, case.setUpClass.__func__

    @wraps(call)
    def called(self: Any, result: Any = None) -> None:
        try:
            with _undone():
                call(self, result)
        except LPCMError:  # of a store, not of the test: those the result has
            if result is None:
                raise
            result.addError(self, sys.exc_info())

    @wraps(debug)
    def debugged(self: Any) -> None:
        with _undone():
            debug(self)

    @wraps(set_up_class)
    def set_up(cls: Any) -> None:
        cls.enterClassContext(_undone())
        set_up_class(cls)

    case.__call__, case.debug, case.setUpClass = called, debugged, classmethod(set_up)


def _undone() -> AbstractContextManager[object]:
    return rollback() if _each else nullcontext()


_WRAPS: dict[str, Callable[[ModuleType], None]] = {
    _CASES: _wrap_cases,
    _UTILS: _wrap_utils,
    _RUNNER: _wrap_runner,
}


class _Finder(MetaPathFinder):
    """Finds nothing itself: it wraps the modules it waits for once another has loaded them."""

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[ModuleType], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the real spec with a loader that wraps, for a module waited for."""
        wrap = self.waiting.pop(fullname, None)
        if wrap is None:
            return None
        if not self.waiting:
            sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, wrap)
        return spec


class _Loader(Loader):
    """Loads by the real loader, then wraps."""

    def __init__(self, real: Loader, wrap: Callable[[ModuleType], None]) -> None:
        self._real = real
        self._wrap = wrap

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create as the real one does."""
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Load it, and wrap it."""
        self._real.exec_module(module)
        self._wrap(module)

"""The pytest plugin: every run is insulated, before the first ``conftest.py`` is imported.

pytest loads it wherever lpcm is installed, so it does as little as it can: without a use of
lpcm a run pays for one ``import lpcm`` and an empty directory. In ``pytest.ini``:

``lpcm_insulate``
    ``run``: one namespace for the run, or for each worker of pytest-xdist; ``test``: each test is
    undone as well (``lpcm.testing.rollback``); ``off``. The default is ``test`` in a Django project
    (pytest-django), else ``run``.
``lpcm_store``
    ``scratch`` (the default): throw-away files instead of the configured stores, so that
    nothing outside the machine is asked; ``real``: the configured stores, in the run's
    namespace.

Invariant: what a test wrote is gone after the run, and what it left running cannot write.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from lpcm.testing import insulate, rollback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["lpcm_max_reads", "lpcm_max_writes", "lpcm_namespace"]

_RUN = pytest.StashKey["AbstractContextManager[str]"]()
_SCOPES = ("", "run", "test", "off")
_STORES = ("scratch", "real")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two settings."""
    parser.addini(
        "lpcm_insulate",
        "a namespace for each run or test, or off; default: test in Django",
        default="",
    )
    parser.addini("lpcm_store", "scratch (default) or real", default="scratch")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before any code of the project is imported."""
    _begin(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin now where the plugin was loaded too late for the hook above."""
    _begin(config)


def _begin(config: pytest.Config) -> None:
    if _RUN in config.stash or _setting(config, "lpcm_insulate", _SCOPES) == "off":
        return
    scratch = _setting(config, "lpcm_store", _STORES) == "scratch"
    config.stash[_RUN] = run = insulate(scratch=scratch, final=True)
    run.__enter__()


def _setting(config: pytest.Config, name: str, allowed: tuple[str, ...]) -> str:
    value: str = config.getini(name)
    if value not in allowed:
        known = ", ".join(filter(None, allowed))
        raise pytest.UsageError(f"{name} must be one of {known}, not {value!r}")
    return value


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Clear away what the run wrote."""
    if (run := config.stash.get(_RUN, None)) is not None:
        del config.stash[_RUN]
        run.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def _lpcm_apart(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo what the test writes, where ``lpcm_insulate = test`` or Django asks for it."""
    scope: str = request.config.getini("lpcm_insulate")
    with rollback() if (scope or _usual()) == "test" else nullcontext():
        yield


def _usual() -> str:
    """Return the scope where none is set: that of Django's database, where pytest-django is on."""
    django: Any = sys.modules.get("django.conf")
    with_database = "pytest_django.plugin" in sys.modules
    return "test" if with_database and django and django.settings.configured else "run"


@pytest.fixture
def lpcm_namespace() -> Iterator[str]:
    """Give this test a namespace of its own, with empty maps, and yield its name."""
    with insulate() as namespace:
        yield namespace


@pytest.fixture
def lpcm_max_reads() -> Callable[[int], AbstractContextManager[None]]:
    """Return the context manager that fails where there are more reads than it is given."""
    from lpcm.testing.limits import max_reads

    return max_reads


@pytest.fixture
def lpcm_max_writes() -> Callable[[int], AbstractContextManager[None]]:
    """Return the context manager that fails where there are more writes than it is given."""
    from lpcm.testing.limits import max_writes

    return max_writes

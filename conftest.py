"""What holds for every test and doctest: Hypothesis profiles, and no trace in the checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["checks.fixtures"]

# They need a project's settings to be imported. tests/django has those, and no doctest is in
# lpcm.django; Django's own tests run in a process of their own (tests/django/test_backends.py).
# tests/green.py is a program, which patches the process that imports it. The examples of
# docs/howto/under-other-libraries.md need modules, which its own test makes; what is under
# checks/clients/suites runs in an environment of its own.
# docs/conf.py is Sphinx's, and makes settings of its own.
collect_ignore_glob = [
    "src/lpcm/django/**", "src/lpcm/apps.py", "tests/django/own/**", "tests/green.py",
    "checks/clients/suites/**", "docs/conf.py", "docs/howto/under-other-libraries.md",
]  # fmt: skip

ROOT = Path(__file__).parent
BEFORE = pytest.StashKey[frozenset[Path]]()
LEFT = pytest.StashKey[list[Path]]()

# No deadline and no `too_slow`: both judge the machine's load, not the code. Examples are
# new on each run; one that fails is printed as a blob for `@reproduce_failure`. Loaded by
# name because Hypothesis would choose its own profile where CI is set.
settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=5_000)
# On a push a failure shall be of what was pushed: there the examples are the same each time. New
# ones are tried where one develops, and by `make fuzz`.
settings.register_profile("push", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("push" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what makes a run longer."""
    parser.addoption(
        "--application-rounds",
        type=int,
        default=12,
        help="rounds of seven requests that each client makes of each server (default: 12)",
    )
    parser.addoption(
        "--application-tasks",
        type=int,
        default=24,
        help="tasks of Celery that are interrupted and then killed (default: 24)",
    )
    parser.addoption(
        "--operations",
        type=int,
        default=10_000,
        help="random operations of the state machine on each store (default: 10,000)",
    )
    parser.addoption(
        "--fault-seconds",
        type=float,
        default=10.0,
        help="seconds that clients of DynamoDB work under faults (default: 10)",
    )
    parser.addoption(
        "--changes",
        type=int,
        default=20,
        help="times each of eight processes makes each live change to shared keys (default: 20)",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=3,
        help="times a process that writes to SQLite is killed (default: 3)",
    )
    parser.addoption(
        "--large-seconds",
        type=int,
        default=0,
        help="how long clients of values in parts work while they are killed; 0: a few seconds",
    )
    parser.addoption(
        "--near-seconds",
        type=float,
        default=0.0,
        help="Duration of the history of SQLite's near cache, 0: a few seconds.",
    )
    parser.addoption(
        "--fork-operations",
        type=int,
        default=150,
        help="operations of each process after a fork (default: 150)",
    )


@pytest.fixture
def fault_seconds(request: pytest.FixtureRequest) -> float:
    """Return for how long clients of DynamoDB shall work under faults."""
    seconds: float = request.config.getoption("--fault-seconds")
    return seconds


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> int:
    """Return how often each process shall make each live change."""
    number: int = request.config.getoption("--changes")
    return number


@pytest.fixture
def fork_operations(request: pytest.FixtureRequest) -> int:
    """Return how many operations each process shall do after a fork."""
    number: int = request.config.getoption("--fork-operations")
    return number


@pytest.fixture
def operations(request: pytest.FixtureRequest) -> int:
    """Return how many operations the state machine shall do on a store."""
    number: int = request.config.getoption("--operations")
    return number


@pytest.fixture(autouse=True)
def _apart(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run each doctest as its reader would start: nothing configured, an empty directory."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import lpcm
    from lpcm.engine import aliases, config
    from lpcm.testing import insulate

    directory = request.getfixturevalue("tmp_path")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.delenv("LPCM_URL", raising=False)
        patch.setattr(aliases, "_aliases", {})  # what an earlier one configured
        patch.setattr(aliases, "_source", None)
        patch.setattr(config, "_first", {})  # where its relative paths were
        with insulate():
            yield
        lpcm.close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember which databases a person has in the checkout."""
    session.config.stash[BEFORE] = _databases()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left a database in the checkout: some test used the default map."""
    if hasattr(session.config, "workerinput"):  # one of pytest-xdist's: its controller looks
        return
    session.config.stash[LEFT] = left = sorted(_databases() - session.config.stash[BEFORE])
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which databases were left."""
    for path in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"left in the checkout by a test: {path.name}", red=True)


def _databases() -> frozenset[Path]:
    return frozenset(ROOT.glob("*.sqlite3*"))

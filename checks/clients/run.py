"""Run one project's suite on one store, in a process of its own and in bounded time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from checks.clients import page
from checks.clients.sdists import unpack
from checks.clients.stores import opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checks.clients.projects import Project

__all__ = ["Exclusion", "Result", "exclusions", "run_suite"]

SUITES = Path(__file__).with_name("suites")
_TABLE = Path(__file__).with_name("exclusions.toml")
_PLUGINS = ("lpcm", "langsmith_plugin", "anyio", "cacheprovider")
"""Plugins of pytest that would change what is tested, or leave files behind."""


OUTCOMES = ("passed", "skipped", "excluded", "passed though excluded", "failed")
"""What can become of a test: ``skipped`` is by the suite, ``excluded`` one that failed as expected.

Of what several phases of a test say, the last of these counts.
"""
WRONG = OUTCOMES[-2:]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Tests of a project that are not expected to pass, and why."""

    project: str
    tests: tuple[str, ...]
    reason: str
    stores: tuple[str, ...] = ()
    """Empty: on all."""
    run: bool = True
    """False: it would never end."""

    @property
    def patterns(self) -> list[str]:
        """The tests as regular expressions; in the table only * means more than itself."""
        return [re.escape(each).replace(r"\*", ".*") for each in self.tests]


def exclusions() -> list[Exclusion]:
    """Return the table of what is left out."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return [
        Exclusion(
            row["project"],
            tuple(row["tests"]),
            " ".join(row["reason"].split()),
            tuple(row.get("stores", ())),
            row.get("run", True),
        )
        for row in table.get("exclusion", [])
    ]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a suite's tests on one store."""

    project: str
    store: str
    outcomes: Mapping[str, str]
    """By test, one of ``OUTCOMES``."""
    complaints: tuple[str, ...]
    """What is wrong besides tests that failed."""
    output: str

    @property
    def counts(self) -> Counter[str]:
        """How many tests have each outcome."""
        return Counter(self.outcomes.values())

    @property
    def passed(self) -> bool:
        """Whether all went as expected."""
        return bool(self.counts["passed"]) and not self.wrong and not self.complaints

    @property
    def wrong(self) -> list[str]:
        """The tests that did not end as expected, each with its outcome."""
        return [f"{outcome}: {name}" for name, outcome in self.outcomes.items() if outcome in WRONG]


def run_suite(project: Project, store: str, sdists: Path, directory: Path) -> Result:
    """Run the project's chosen tests on the store; ``directory`` is new and empty."""
    source = unpack(sdists, project.sdist, directory)
    page.write_modules(_made(directory / "modules"))
    # a copy: beside the originals is this project's conftest.py, which is not theirs
    suites = Path(shutil.copytree(SUITES, directory / "suites"))
    left_out = [
        (pattern, each.reason, each.run)
        for each in exclusions()
        if each.project == project.name and store in (each.stores or project.stores)
        for pattern in each.patterns
    ]
    outcomes = directory / "outcomes"
    with opened(store, _made(directory / "store")) as where:
        environment = {
            **os.environ,
            **project.environment,
            **where,
            "PYTHONPATH": os.pathsep.join([str(suites), str(directory / "modules")]),
            "CLIENTS_EXCLUDED": json.dumps(left_out),
            "CLIENTS_OUTCOMES": str(outcomes),
            "CLIENTS_STORE": store,
            "TMPDIR": str(_made(directory / "tmp")),
        }
        command = _command(project, source, directory)
        output, complaint = _run(command, source, environment, project.timeout)
    found = _read(outcomes)
    complaints = [complaint] if complaint else []
    for pattern, _, _ in left_out:
        if not any(re.fullmatch(pattern, name) for name in found):
            complaints.append(f"an exclusion names no test: {pattern}")
    return Result(project.name, store, found, tuple(complaints), output)


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _command(project: Project, source: Path, directory: Path) -> list[str]:
    settings = ["[pytest]", "asyncio_mode = auto", "timeout = 60", *project.settings]
    settings.append("asyncio_default_fixture_loop_scope = function")
    (directory / "pytest.ini").write_text("\n".join(settings), encoding="utf-8")
    plugins = [f"-pno:{name}" for name in _PLUGINS]
    plugins += ["-poutcomes", f"-p{project.name.replace('-', '_')}_suite"]
    tests = [each.replace("SUITES", str(directory / "suites")) for each in project.tests]
    options = ["-q", "--tb=short", f"-c{directory / 'pytest.ini'}", f"--rootdir={source}"]
    return [sys.executable, "-m", "pytest", *plugins, *options, "-Wignore", *tests]


def _run(
    command: list[str], directory: Path, environment: Mapping[str, str], timeout: float
) -> tuple[str, str]:
    """Return what the command prints, and what is wrong; end it when its time is over."""
    process = subprocess.Popen(  # noqa: S603  # pytest, on what was fetched by its digest
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return output, f"ended after {timeout:.0f} seconds"
    if process.returncode not in {0, 1}:
        return output, f"pytest ended with code {process.returncode}"
    return output, ""


def _read(outcomes: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    lines = outcomes.read_text(encoding="utf-8").splitlines() if outcomes.exists() else []
    for line in lines:
        name, outcome = json.loads(line)
        found[name] = max(found.get(name, "passed"), outcome, key=OUTCOMES.index)
    return found

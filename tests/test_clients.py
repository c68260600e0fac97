"""checks/clients: its tables are whole, and agree with each other; a suite's outcome is judged."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from checks.clients import report, sdists
from checks.clients.projects import PROJECTS
from checks.clients.run import SUITES, Result, exclusions
from checks.clients.stores import STORES

ROOT = Path(__file__).parents[1]
NAMES = {project.name for project in PROJECTS}


def test_each_project_has_an_archive_and_a_plugin():
    """What is run is what the lock file names, and lpcm is put in its place by a plugin."""
    for project in PROJECTS:
        assert project.sdist in sdists.digests()
        assert (SUITES / f"{project.name.replace('-', '_')}_suite.py").exists()
        assert set(project.stores) <= set(STORES)


def test_what_is_run_is_what_is_installed():
    """The group `clients` installs each project in the version whose tests are run."""
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["clients"]
    assert all("==" in line for line in group)
    installed = {
        f"{re.sub(r'[-.]', '_', name)}-{version}"
        for name, version in (re.sub(r"\[.*?\]", "", line).split("==") for line in group)
    }
    assert set(sdists.digests()) <= installed


def test_each_exclusion_has_a_reason():
    """An exclusion names a project, tests of it, stores that it runs on, and why."""
    stores = {project.name: set(project.stores) for project in PROJECTS}
    for each in exclusions():
        assert each.project in NAMES
        assert each.tests
        assert set(each.stores) <= stores[each.project]
        assert len(each.reason) > 20
        assert each.reason.endswith(".")


def test_the_page_lists_what_is_excluded():
    """README.md has the table of exclusions as it is, and counts of each project and store."""
    text = report.README.read_text(encoding="utf-8")
    assert report.excluded() in text
    for project in PROJECTS:
        counted = [store for store in STORES if report.recorded().get((project.name, store))]
        assert counted == list(project.stores)
    assert "WRONG" not in text


@pytest.mark.parametrize(
    ("outcomes", "complaints", "good"),
    [
        ({"a": "passed", "b": "excluded", "c": "skipped"}, (), True),
        ({}, (), False),
        ({"a": "skipped"}, (), False),
        ({"a": "passed", "b": "failed"}, (), False),
        ({"a": "passed", "b": "passed though excluded"}, (), False),
        ({"a": "passed"}, ("ended after 400 seconds",), False),
    ],
)
def test_a_suite_is_judged(outcomes, complaints, good):
    """A suite is good that ran, ended by itself, and whose tests did as expected."""
    assert Result("limits", "memory", outcomes, complaints, "").passed is good


def test_only_what_has_its_digest_is_unpacked(tmp_path):
    """An archive that is not the one the lock file names is refused."""
    project = PROJECTS[0]
    (tmp_path / f"{project.sdist}.tar.gz").write_bytes(b"another")
    with pytest.raises(RuntimeError, match="not what"):
        sdists.unpack(tmp_path, project.sdist, tmp_path)

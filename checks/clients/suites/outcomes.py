"""A plugin of pytest: let what is excluded fail, and write down what becomes of each test."""

import json
import os
import re
from pathlib import Path

import pytest

EXCLUDED = json.loads(os.environ["CLIENTS_EXCLUDED"])
OUTCOMES = Path(os.environ["CLIENTS_OUTCOMES"])
SUITES = Path(__file__).parent
REASON = pytest.StashKey[str]()


def identity(item):
    """Return a test's name as the table of exclusions has it, wherever its file lies."""
    if item.path.parent != SUITES:
        return item.nodeid
    return f"SUITES/{item.path.name}::{item.nodeid.partition('::')[2]}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Expect what is excluded to fail."""
    for item in items:
        for pattern, reason, run in EXCLUDED:
            if re.fullmatch(pattern, identity(item)):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=run))
                item.stash[REASON] = reason


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Tell the report what the test is called here, and whether it is excluded."""
    report = yield
    report.identity, report.excluded = identity(item), REASON in item.stash
    return report


def pytest_runtest_logreport(report):
    """Write a line for each phase of a test that says something of it."""
    if report.outcome == "failed":
        unexpected = report.excluded and "XPASS" in str(report.longrepr)
        write(report.identity, "passed though excluded" if unexpected else "failed")
    elif report.outcome == "skipped":
        write(report.identity, "excluded" if report.excluded else "skipped")
    elif report.outcome == "passed" and report.when == "call":
        write(report.identity, "passed")


def write(name, outcome):
    """Leave a line for the runner, whatever becomes of this process."""
    with OUTCOMES.open("a") as file:
        file.write(json.dumps([name, outcome]) + "\n")


def pytest_collectreport(report):
    """Count a file that cannot be collected as a test that failed."""
    if report.failed:
        write(report.nodeid or "collection", "failed")

"""Run other projects' suites over maps: ``python -m checks.clients [PROJECT ...] [--store STORE]``.

Prints a line for each project and store, then the table that README.md has; ``--record`` writes it
there. Ends with code 1 where a test failed that is not excluded, or an excluded one passed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from checks import servers
from checks.clients import report
from checks.clients.projects import PROJECTS, Project
from checks.clients.run import Result, run_suite
from checks.clients.sdists import fetch
from checks.clients.stores import STORES

SDISTS = Path(__file__).parents[2] / ".clients" / "sdists"


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, all by default; return the exit code."""
    asked = _parse(arguments)
    os.environ.update(servers.AWS)
    fetch(SDISTS)
    results = [
        _run(project, store, verbose=asked.verbose)
        for project in PROJECTS
        if not asked.projects or project.name in asked.projects
        for store in project.stores
        if store in asked.store
    ]
    cells = report.cells_of(results)
    print(f"\n{report.table(cells)}")
    if asked.record:
        report.record(cells)
    return 0 if results and all(result.passed for result in results) else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    names = [project.name for project in PROJECTS]
    parser = argparse.ArgumentParser(prog="python -m checks.clients", description=__doc__)
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help=", ".join(names))
    parser.add_argument("--store", action="append", choices=STORES, help="all by default")
    parser.add_argument("--record", action="store_true", help="write the counts to README.md")
    parser.add_argument("--verbose", action="store_true", help="show what pytest printed, always")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.projects) - set(names):
        parser.error(f"no such project: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    asked.store = asked.store or STORES
    return asked


def _run(project: Project, store: str, *, verbose: bool) -> Result:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lpcm-clients-") as directory:
        result = run_suite(project, store, SDISTS, Path(directory))
    word = "ok" if result.passed else "FAILED"
    seconds = time.monotonic() - started
    print(f"{word:6} {project.name} on {store}: {report.cell(result)}, {seconds:.0f} s", flush=True)
    if verbose or not result.passed:
        print(result.output[-40_000:])
    for complaint in result.complaints:
        print(f"       {complaint}")
    for each in result.wrong:
        print(f"       {each}")
    return result


if __name__ == "__main__":
    sys.exit(main())

"""Measure lpcm against its alternatives: ``make bench``, ``make bench ARGS="embedded --quick"``.

Runs the suites that are named, or all of them, pinned to one core; prints the figures and
whether the targets are met, and writes ``results/SUITE.md`` and ``results/SUITE.svg``. With
``--quick`` it does a tenth of the work and writes nothing. Ends with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

import report
import suites
from harness import Scale, measure

RESULTS = Path(__file__).parent / "results"
ROUNDS, QUICK_ROUNDS = 21, 5


def main() -> int:
    """Run what the command line asks for."""
    known = sorted(module.name for module in pkgutil.iter_modules(suites.__path__))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"some of {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, no files")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--folder", help="where to put databases; default: the temporary directory")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.suites) - set(known))
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}: choose from {', '.join(known)}")
    pin()
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    # Not all(...) right away: a missed target does not keep the other suites from running.
    met = [run(name, rounds, arguments) for name in arguments.suites or known]
    return 0 if all(met) else 1


def pin() -> None:
    """Keep this process, and those it starts, on one core: across cores a wake-up costs double."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(name: str, rounds: int, arguments: argparse.Namespace) -> bool:
    """Run one suite; return whether all its targets are met."""
    suite = importlib.import_module(f"suites.{name}")
    with tempfile.TemporaryDirectory(prefix="lpcm-bench-", dir=arguments.folder) as folder:
        scale = Scale(quick=arguments.quick, folder=Path(folder))
        show(f"{name}: preparing")
        with suite.candidates(scale) as candidates:
            results = measure(
                suite.ACTIONS, candidates, rounds, lambda state: show(f"{name}: {state}")
            )
    show("")
    print(f"{suite.TITLE}\n\n{report.plain(report.table(results, candidates))}\n")
    judged = list(report.verdicts(results, suite.TARGETS))
    for met, text in judged:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    print()
    if not arguments.quick:
        command = f'make bench ARGS="{name}"'
        page = report.markdown(suite, results, candidates, command, rounds)
        (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
        report.plot(suite, results, candidates, RESULTS / f"{name}.svg")
        print(f"written: {RESULTS / name}.md and .svg")
    return all(met for met, _ in judged)


def show(text: str) -> None:
    """Overwrite the line that says how far it is, where someone looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

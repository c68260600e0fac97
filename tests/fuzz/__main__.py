"""Fuzz for minutes: ``make fuzz ARGS="--minutes 10"``."""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys

from tests.fuzz.rounds import play
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Play every target for its share of the time, report, and fail for any failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of all targets (default: 2)")
    parser.add_argument(
        "--seed", type=int, default=None, help="to begin with (default: another each time)"
    )
    parser.add_argument(
        "--target", choices=TARGETS, action="append", help="this only; may be given again"
    )
    parser.add_argument(
        "--round", type=int, default=None, help="this round only, as a failure names it"
    )
    given = parser.parse_args()
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    chosen = given.target or list(TARGETS)
    print(f"seed {seed}", flush=True)
    failures = 0
    for target in chosen:
        numbers = itertools.count() if given.round is None else [given.round]
        report = play(target, seed, numbers, given.minutes * 60 / len(chosen))
        print(report, flush=True)
        for failure in report.failures:
            print(f"\n{failure}", flush=True)
        failures += len(report.failures)
    print(f"{failures} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

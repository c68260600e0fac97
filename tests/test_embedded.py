"""Maps in memory and in a file work where there is neither fork nor any other name of POSIX."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_maps_need_nothing_of_posix():
    """The mapping contract holds for SQLite, and README's examples run, without those names.

    ``make embedded`` runs all that ``checks.embedded`` chooses; this is a part of it.
    """
    chosen = "(test_contract and TestSQLite) or README or test_bad_input"
    command = [sys.executable, "-m", "checks.embedded", "--without-posix", "-q", "-k", chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

"""Fetch Django's own tests of cache and session backends, of the version that is installed.

Its wheel has none, so they come from the source distribution of the same version, checked
by pip against the index's digest, into ``.engines/django-VERSION``. Does nothing where they are.

Runs in the virtual environment: ``django_tests.py``.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = ("tests/cache/", "tests/sessions_tests/", "tests/requirements/")


def main() -> None:
    """Fetch them."""
    number = version("django")
    place = ROOT / ".engines" / f"django-{number}"
    if (place / "tests" / "sessions_tests" / "tests.py").exists():
        return
    print(f"== fetching the tests of Django {number}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = ("--no-deps", "--no-binary", ":all:", "--quiet", "--dest", folder)
        command = [sys.executable, "-m", "pip", "download", *options, f"django=={number}"]
        subprocess.run(command, check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            members = [
                member
                for member in source.getmembers()
                if member.name.partition("/")[2].startswith(WANTED)
            ]
            for member in members:
                member.name = member.name.partition("/")[2]
            source.extractall(place, members=members, filter="data")


if __name__ == "__main__":
    main()

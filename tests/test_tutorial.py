"""The tutorial's Django project works as it is told: made, checked and tested by Django itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial" / "django.md"
FILE = re.compile(r"^```py\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(*command, cwd):
    """Run a program there, away from the settings of this run."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=keep, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_django_project(tmp_path):
    """Each file of the page is written as it says, settings at their end; the tests pass."""
    run("-m", "django", "startproject", "shop", ".", cwd=tmp_path)
    files = FILE.findall(PAGE.read_text(encoding="utf-8"))
    assert {name for name, _ in files} == {
        f"shop/{n}.py" for n in ("settings", "views", "urls", "tests")
    }
    for name, text in files:
        path = tmp_path / name
        before = path.read_text(encoding="utf-8") if name.endswith("settings.py") else ""
        path.write_text(before + text, encoding="utf-8")
    assert "no issues" in run("manage.py", "check", cwd=tmp_path)
    assert "Ran 2 tests" in run("manage.py", "test", "shop", cwd=tmp_path)
    assert not (tmp_path / "maps.sqlite3").exists()

"""The tutorial works as it is told: its Django project, and its commands on two servers."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial"
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
    files = FILE.findall((TUTORIAL / "django.md").read_text(encoding="utf-8"))
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


def test_dynamodb_and_memcached(dynoxide, memcached):
    """Each command of the page on servers does what it is there for, in its order."""
    text = (TUTORIAL / "servers.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith(("export", ".venv/bin/"))]
    (program,) = [line for line in lines if "hits" in line]
    script = (
        "\n".join(["set -e", *lines, program])  # and the program once more, through the cache
        .replace("127.0.0.1:8000", f"127.0.0.1:{dynoxide.port}")
        .replace("127.0.0.1:11211", f"127.0.0.1:{memcached.port}")
    )
    keep = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=keep, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\d+$", done.stdout, re.MULTILINE) == ["1", "2"]

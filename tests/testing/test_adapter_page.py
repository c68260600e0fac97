"""The adapter that ``docs/howto/adapter.md`` builds: installed, used, and held to the contracts."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/howto/adapter.md"
LONGEST = 135
"""Lines of one of its files."""


def blocks():
    """Return the files that the page shows, by the name in each one's first line."""
    found = re.findall(r"```(?:py|toml)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a directory where the page's distribution is installed as pip would leave it."""
    directory = tmp_path_factory.mktemp("site")
    for name, text in blocks().items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    project = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]
    (directory / "pyproject.toml").unlink()
    info = directory / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    fields = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (info / "METADATA").write_text(lines, encoding="utf-8")
    groups = project["entry-points"]
    text = "\n".join(
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in groups.items()
    )
    (info / "entry_points.txt").write_text(text, encoding="utf-8")
    return directory


def python(site, *arguments, **environment):
    """Run a program where the distribution is installed, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_example_runs(site):
    """A map lives at the new scheme, cached at it, too."""
    assert python(site, "example.py") == "2 LPCM('hits')\n"


def test_it_passes_the_contracts(site):
    """The page's tests pass, where pytest has the page's package and lpcm alone."""
    told = python(
        site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", "test_dict.py"
    )
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) > 200, told


def test_it_is_small():
    """Each module of the page is what one reads in a few minutes."""
    shown = blocks()
    assert {"lpcm_dict/store.py", "lpcm_dict/cache.py", "pyproject.toml"} <= shown.keys()
    assert max(len(text.splitlines()) for text in shown.values()) <= LONGEST

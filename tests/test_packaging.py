"""What a user installs: the wheel built from the sdist, alone in a bare environment."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

LOADED_FROM_OUTSIDE = """
import sys
before = set(sys.modules)
import lpcm
tops = {name.partition('.')[0] for name in set(sys.modules) - before}
print(tops - sys.stdlib_module_names - {'lpcm'})
"""


REPOSITORY = "https://host.example/owner/lpcm"


PLANTED = (
    ".env", ".envrc", "id_rsa", "settings.local", "notes.txt", "shop.sqlite3", "credentials.json",
    ".aws/credentials", "src/lpcm/.env", "src/lpcm/id_rsa", "src/secret.pem", "tests/.env",
    "tests/caches/private.pem", "docs/draft.txt", "examples/django_site/db.sqlite3",
)  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """The built archives, and an environment that holds the wheel and nothing else."""

    sdist: Path
    wheel: Path
    venv: Path
    elsewhere: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment outside the tree, with nothing of ours inherited."""
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        program = [str(self.venv / "bin" / command[0]), *command[1:]]
        return subprocess.run(
            program, cwd=self.elsewhere, env=inherited, capture_output=True, text=True, check=False
        )

    def python(self, code: str) -> str:
        """Return what ``code`` prints there."""
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the sdist, the wheel from it, and install that by pip without an index.

    They are built from a checkout in which its owner has left this and that.
    """
    base = tmp_path_factory.mktemp("packaging")
    dist, venv, elsewhere = base / "dist", base / "venv", base / "elsewhere"
    elsewhere.mkdir()
    checkout = base / "checkout"
    unneeded = shutil.ignore_patterns(
        ".*_cache", ".venv", ".engines", ".git", "__pycache__", "build"
    )
    shutil.copytree(ROOT, checkout, ignore=unneeded)
    for name in PLANTED:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("secret", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LPCM_REPOSITORY", REPOSITORY)  # as the release workflow does
        python(checkout, "-m", "build", "--no-isolation", "--outdir", str(dist))
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    python(base, "-m", "venv", "--without-pip", str(venv))
    pip = ("-m", "pip", "--python", str(venv / "bin" / "python"), "--isolated", "install")
    python(base, *pip, "--no-index", "--no-deps", "--quiet", str(wheel))
    return Installed(sdist, wheel, venv, elsewhere)


def python(directory: Path, *arguments: str) -> None:
    """Run this interpreter, and show what it said where it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def metadata(installed: Installed) -> Message:
    """Return the wheel's METADATA."""
    with zipfile.ZipFile(installed.wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_package_and_nothing_else(installed: Installed):
    """The wheel has every file of ``src/lpcm``, ``py.typed`` among them, the licence, no more."""
    tree = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "lpcm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(installed.wheel) as archive:
        packed = set(archive.namelist())
    assert "lpcm/py.typed" in packed
    assert {name for name in packed if ".dist-info/" not in name} == tree
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in packed)


def test_the_sdist_holds_no_litter(installed: Installed):
    """The sdist can build and test itself, and carries no database, cache or environment."""
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "tests/test_packaging.py"} <= names
    assert names.isdisjoint(PLANTED)
    litter = (".sqlite3", ".pyc", "-wal", "-shm")
    assert [name for name in names if name.endswith(litter) or name.startswith(".venv")] == []


def test_the_sdist_has_all_that_is_kept(installed: Installed):
    """What the project is made of is in the sdist: the list in pyproject.toml is complete."""
    kinds = {
        ".py",
        ".pyi",
        ".md",
        ".html",
        ".css",
        ".svg",
        ".png",
        ".typed",
        ".yml",
        ".toml",
        ".sh",
    }
    folders = ("src", "tests", "checks", "docs", "benchmarks", "conformance", "examples", "scripts")
    kept = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds and "__pycache__" not in path.parts
    }
    with tarfile.open(installed.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert kept - names == set()


def test_workflows_run_what_they_name():
    """Actions are named by the whole id of a commit, and a job may do what it says it needs."""
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for path in workflows:
        text = path.read_text(encoding="utf-8")
        uses = re.findall(r"uses: (.*)", text)
        pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
        assert [each for each in uses if not pinned.fullmatch(each)] == []
        assert "\npermissions: {}\n" in text
        jobs = re.split(r"\n  (?=\w+:\n)", text.partition("\njobs:")[2])[1:]
        assert jobs
        assert all("\n    permissions:\n" in job for job in jobs)
        assert "persist-credentials: true" not in text


def test_nothing_is_required(installed: Installed):
    """A plain install brings no other package; the metadata are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    message = metadata(installed)
    assert [line for line in message.get_all("Requires-Dist", []) if "extra ==" not in line] == []
    assert set(message.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert message["Requires-Python"] == project["requires-python"]
    assert message["Version"] == installed.python("import lpcm; print(lpcm.__version__)")


def test_the_long_description_is_whole(installed: Installed):
    """The index takes it, and no link in it leads to a file beside it; neither does a URL."""
    python(installed.elsewhere, "-m", "twine", "check", "--strict",
           str(installed.sdist), str(installed.wheel))  # fmt: skip
    message = metadata(installed)
    text = message.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    tag = f"v{message['Version']}"
    assert f"![lpcm against other embedded maps]({REPOSITORY}/raw/{tag}/benchmarks/" in text
    assert f"]({REPOSITORY}/blob/{tag}/docs/tutorial/first-map.md)" in text
    urls = dict(line.split(", ") for line in message.get_all("Project-URL", []))
    assert {"Repository", "Documentation", "Changelog", "Issues"} == set(urls)


def test_it_imports_alone(installed: Installed):
    """``import lpcm`` works from the wheel where no other package is installed."""
    found = Path(installed.python("import lpcm; print(lpcm.__file__)"))
    assert found.is_relative_to(installed.venv)
    assert found.with_name("py.typed").is_file()
    assert installed.python(LOADED_FROM_OUTSIDE) == "set()"


def test_a_map_outlives_its_process(installed: Installed):
    """With nothing configured, what one process sets the next one reads."""
    installed.python("from lpcm import LPCM; LPCM('some_dict')['pi'] = 3.1415")
    assert installed.python("from lpcm import LPCM; print(LPCM('some_dict')['pi'])") == "3.1415"


@pytest.mark.parametrize("command", [("python", "-m", "lpcm"), ("lpcm",)])
def test_the_command_line_asks_for_its_extra(installed: Installed, command: tuple[str, ...]):
    """Without the ``cli`` extra a command line that needs it says what to install, and fails."""
    done = installed.run(*command, "export")
    assert done.returncode == 2
    assert "lpcm[cli]" in done.stderr
    assert "Traceback" not in done.stderr

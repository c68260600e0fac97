"""Make a virtual environment what a Makefile target needs: ``environment.py VENV [GROUP ...]``.

Installs lpcm itself, editable and with all its extras, and the named dependency groups of
``pyproject.toml``, by one pip call; does nothing where that was done before for the same
``pyproject.toml``, interpreter and place.

Runs on a bare Python, before anything is installed: standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"


def main(venv: Path, groups: set[str]) -> None:
    """Bring ``venv`` up to date for ``groups``."""
    python, stamp = venv / "bin" / "python", venv / "installed.stamp"
    state, *present = stamp.read_text().split() if stamp.exists() else [""]
    current = fingerprint(venv)
    if python.exists() and state == current and groups <= set(present):
        return
    if not usable(python):
        create(venv)
    wanted = groups | set(present if state == current else ())
    print(f"== installing {', '.join(['lpcm', *sorted(wanted)])} in {venv.name}", flush=True)
    stamp.unlink(missing_ok=True)
    install(python, wanted)
    stamp.write_text(" ".join([current, *sorted(wanted)]))


def fingerprint(venv: Path) -> str:
    """Return a digest of what an installation depends on, its place included.

    An environment that was moved or copied still points to where it came from.
    """
    parts = [PYPROJECT.read_bytes(), os.fsencode(venv), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def usable(python: Path) -> bool:
    """Return whether ``python`` runs, is of this interpreter's version and has pip."""
    if not python.exists():
        return False
    check = f"import pip, sys; sys.exit(sys.version_info[:3] != {sys.version_info[:3]})"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def create(venv: Path) -> None:
    """Make an empty virtual environment, on Debian after fetching the module for it."""
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            sys.exit(
                f"{sys.executable} cannot make virtual environments: its ensurepip module is "
                f"missing. On Debian and Ubuntu, as root: apt-get install {package}"
            )
        print(f"== installing {package}", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=quiet)
        run("apt-get", "install", "-qy", "--no-install-recommends", package, env=quiet)
    run(sys.executable, "-m", "venv", "--clear", str(venv))


def install(python: Path, groups: set[str]) -> None:
    """Install lpcm and the packages of ``groups``; pip before 25.1 knows no groups itself."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    extras = ",".join(project["project"].get("optional-dependencies", {}))
    requirements = [
        line for group in sorted(groups) for line in project["dependency-groups"][group]
    ]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--editable", f".[{extras}]", *requirements)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command in the repository; end this program as it ends where it fails."""
    code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if code:
        sys.exit(f"{' '.join(command)}: failed with exit code {code}")


if __name__ == "__main__":
    main((ROOT / sys.argv[1]).absolute(), set(sys.argv[2:]))

"""Install the servers that the tests run on, and a browser: ``servers.py [dynalite]``.

memcached, Chromium and its driver come from the system's packages; dynoxide and ExtendDB,
two DynamoDB engines, are static binaries in packages of npm's registry, pinned here and
checked against their digests; dynalite, a third one, comes the same way where it is asked
for. Does nothing where all that is there already. ``checks.servers`` finds them where
this script puts them.

Runs on a bare Python, before anything is installed: standard library only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ROOT / ".engines"
MODULES = ENGINES / "node_modules"


class Engine(NamedTuple):
    """A DynamoDB engine in a package."""

    package: str
    version: str
    file: str
    """What is run, within the installed packages."""
    digest: str
    """SHA-256 of that file."""

    @property
    def path(self) -> Path:
        """Where the file is once installed."""
        return MODULES / self.package / self.file


BINARIES = (
    Engine(
        "@dynoxide/linux-x64",
        "1.2.1",
        "dynoxide",
        "be909b7910d3fb552e85db10ef3c8ebae4bd35fee0f26dffdb6dfa5cc656426e",
    ),
    Engine(
        "@extenddb/linux-x64",
        "0.1.10",
        "extenddb",
        "14f7eb672eb94c05301f682984305a836296c12ea7baa52931beb7a919492c5b",
    ),
)
DYNALITE = "dynalite@4.0.0"


def main(extras: set[str]) -> None:
    """Install what is missing."""
    if unknown := extras - {"dynalite"}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there is only dynalite to ask for")
    memcached()
    browser()
    missing = [engine for engine in BINARIES if not present(engine)]
    if missing and (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit(
            "dynoxide and ExtendDB come as binaries for Linux on x86_64 only. Elsewhere, build "
            "them and name them in LPCM_DYNOXIDE and LPCM_EXTENDDB"
        )
    packages = [f"{engine.package}@{engine.version}" for engine in missing]
    if "dynalite" in extras and not (MODULES / "dynalite" / "cli.js").exists():
        packages.append(DYNALITE)
    if not packages:
        return
    npm(packages)
    for engine in missing:
        if not present(engine):
            sys.exit(f"{engine.path} is not the file that {engine.package} should bring: delete it")


def present(engine: Engine) -> bool:
    """Tell whether the engine is there: the user's own, or the very file that is pinned."""
    name = f"LPCM_{engine.file.upper()}"
    if name in os.environ:
        return True
    if not engine.path.exists():
        return False
    return hashlib.sha256(engine.path.read_bytes()).hexdigest() == engine.digest


def memcached() -> None:
    """Install memcached, where the system's packages can be installed."""
    if "LPCM_MEMCACHED" in os.environ or shutil.which("memcached"):
        return
    apt("memcached", why="the tests run on a real memcached")
    # Debian starts one as a service where it can; the tests start their own.


def browser() -> None:
    """Install Chromium and what drives it, where the system's packages can be installed."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            apt(package, why="the pages of the Django app are tested in a real browser")


def npm(packages: list[str]) -> None:
    """Install packages into ``.engines``."""
    if shutil.which("npm") is None:
        apt("npm", why=f"{', '.join(packages)} come from npm's registry")
    print(f"== installing {', '.join(packages)} in {ENGINES.name}", flush=True)
    # No scripts: what a package would run on installing is none of ours.
    options = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    run("npm", "install", "--prefix", str(ENGINES), *options, *packages)


def apt(package: str, *, why: str) -> None:
    """Install a package of Debian or Ubuntu."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"{package} is missing: {why}. Install it, for example: apt-get install {package}")
    print(f"== installing {package}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", env=quiet)
    run("apt-get", "install", "-qy", "--no-install-recommends", package, env=quiet)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command; end this program as it ends where it fails."""
    code = subprocess.run(command, cwd=ROOT, env=env, stdout=sys.stderr, check=False).returncode
    if code:
        sys.exit(f"{' '.join(command)}: failed with exit code {code}")


if __name__ == "__main__":
    main(set(sys.argv[1:]))

"""The projects' source distributions: fetched by pip, held against their digests, unpacked."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["LOCK", "digests", "fetch", "unpack"]

LOCK = Path(__file__).with_name("sdists.txt")
_LINE = re.compile(r"^([\w.-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def digests() -> dict[str, str]:
    """Return the SHA-256 of each archive, by the archive's name without its ending."""
    found = _LINE.findall(LOCK.read_text(encoding="utf-8"))
    return {f"{re.sub(r'[-.]', '_', name)}-{version}": digest for name, version, digest in found}


def fetch(directory: Path) -> None:
    """Have all archives in the directory, each with its digest.

    pip refuses one whose digest is another; those that are there already are not asked for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if all(_is_whole(directory, name) for name in digests()):
        return
    print("== fetching the projects' sources", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--require-hashes", "--requirement", str(LOCK)]
    subprocess.run([*pip, *options, "--dest", str(directory)], check=True, timeout=900)  # noqa: S603  # pip itself
    for name in digests():
        if not _is_whole(directory, name):
            raise RuntimeError(f"{name}: not there, or not what checks/clients/sdists.txt names")


def _is_whole(directory: Path, name: str) -> bool:
    archive = directory / f"{name}.tar.gz"
    if not archive.exists():
        return False
    return hashlib.sha256(archive.read_bytes()).hexdigest() == digests()[name]


def unpack(directory: Path, name: str, target: Path) -> Path:
    """Unpack an archive whose digest is right; return the folder it has made."""
    if not _is_whole(directory, name):
        raise RuntimeError(f"{name}: not there, or not what checks/clients/sdists.txt names")
    with tarfile.open(directory / f"{name}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target / name

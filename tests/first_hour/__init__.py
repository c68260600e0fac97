"""A stranger's first hour: four scripts that do what the documentation says, and nothing else.

A script is what one types: commands of bash, each of which stands in the page that its first line
names. Two kinds of lines are not typed: ``copy FILE...`` writes files as the page shows them, and
adds settings to those of the project; ``await PORT`` waits until a server listens.

``play`` runs one in a new directory beside the checkout and returns its transcript, as
docs/tutorial/transcripts.md has it (``make first-hour`` writes that page). Ports are free ones, and
are shown as the page has them. Every process of a script ends with it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["SCRIPTS", "Script", "alike", "play"]

ROOT = Path(__file__).parents[2]
PORTS = ("8000", "11211")
"""The ports that the pages name."""
LONGEST = 280.0
"""Seconds that a script may take on a busy machine."""

_FILE = r"^```(?:py|python)\n# {name}\n(.*?)^```$"
_AWAIT = (
    "for _ in $(seq 600); do (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null && break; sleep 0.1; done"
)
_HIDDEN = (
    "AWS_", "COVERAGE_", "DJANGO_", "LPCM_", "MAKE", "MFLAGS", "PYTEST_", "PYTHON", "VIRTUAL_ENV"
)  # fmt: skip
"""What the environment of a new user has not, by its beginning."""
_VARYING = {
    r"\w+ +times .*\n( +->.*\n)?": "times\n",  # slow ones are noted, on a busy machine
    r"\d+(\.\d+)? m?s\b": "T",
    r"\d+\.\d+s\b": "T",
    r"[\d,]+ of [\d,]+": "N of N",
    r"\d+(\.\d+){2,}": "V",
    r"(  Applying \S+ OK\n)+": "  Applying ... OK\n",
}
"""What differs from run to run, or from machine to machine."""


class Script(NamedTuple):
    """One of the scripts."""

    name: str
    title: str

    def text(self) -> list[str]:
        """Return its lines."""
        path = Path(__file__).parent / f"{self.name}.sh"
        return path.read_text(encoding="utf-8").splitlines()

    @property
    def page(self) -> Path:
        """The page that it follows."""
        return ROOT / self.text()[0].removeprefix("# ")

    @property
    def lines(self) -> list[str]:
        """What is done."""
        return self.text()[1:]

    def typed(self) -> list[str]:
        """Return the commands, as the page has them: without what keeps a server quiet."""
        commands = [line for line in self.lines if not line.startswith(("copy ", "await "))]
        return [re.sub(r" > \S+ 2>&1 &$", "", command) for command in commands]


SCRIPTS = (
    Script("counter", "A counter"),
    Script("django", "A Django project"),
    Script("fastapi", "A FastAPI service"),
    Script("servers", "DynamoDB and memcached"),
)


def play(script: Script, directory: Path) -> str:
    """Run a script beside the checkout; return its transcript. **Raises** where a command fails."""
    (directory / "lpcm").symlink_to(ROOT)
    (directory / ".curlrc").write_text('silent\nwrite-out = "\\n"\n')  # as a terminal shows it
    ports = dict(zip(PORTS, map(str, _free_ports(len(PORTS))), strict=True))
    program = "\n".join(["set -e", *(_step(script, line) for line in script.lines)])
    for shown, port in ports.items():
        program = program.replace(shown, port)
    process = subprocess.Popen(
        ["bash", "-c", program],
        cwd=directory,
        env=_environment() | {"CURL_HOME": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Servers of the script have files of their own: the pipe ends with the shell.
        said, _ = process.communicate(timeout=LONGEST)
    finally:
        with suppress(ProcessLookupError):  # none is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for shown, port in ports.items():
        said = said.replace(port, shown)
    said = said.replace(str(directory), "~").replace(str(ROOT), "~/lpcm")
    if process.returncode:
        raise AssertionError(f"{script.name}: exit code {process.returncode}\n{said}")
    return said


def alike(transcript: str) -> str:
    """Return a transcript without what differs from run to run."""
    for pattern, mask in _VARYING.items():
        transcript = re.sub(pattern, mask, transcript)
    return transcript


def _step(script: Script, line: str) -> str:
    """Return what bash does for a line of a script."""
    word, *rest = line.split()
    match word:
        case "copy":
            return "\n".join(_copied(script.page, name) for name in rest)
        case "await":
            return _AWAIT.format(port=rest[0])
        case _:
            return f"cat <<'LPCM'\n$ {line}\nLPCM\n{line}"


def _copied(page: Path, name: str) -> str:
    found = re.findall(
        _FILE.format(name=re.escape(name)),
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"{page} shows no {name}"
    into = ">>" if name.endswith("settings.py") else ">"
    return (
        f"echo '# {name}: as the page shows it' && cat {into} {name} <<'LPCM'\n{''.join(found)}LPCM"
    )


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _environment() -> dict[str, str]:
    """Return the environment of a new user, who may have an index of packages of their own."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_HIDDEN)}
    python = Path(sys.base_exec_prefix) / "bin"
    return kept | {
        "PATH": f"{python}:{os.environ['PATH']}",
        "PIP_QUIET": "2",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "COLUMNS": "100",
    }

"""Whatever a signal handler raises, wherever it comes out: the next operation starts clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX signals")

WORKER = str(Path(__file__).with_name("interrupted.py"))
INTERRUPTIONS = int(os.environ.get("LPCM_INTERRUPTIONS", "2000"))
"""More for a long run."""


def interrupted(*arguments: object) -> tuple[int, str, str]:
    """Run the worker; return its exit code, output and errors."""
    command = [sys.executable, "-W", "error", WORKER, *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60 + INTERRUPTIONS / 10,
        check=False,
        env={**os.environ, "LPCM_NAMESPACE": "interrupted"},
    )
    return done.returncode, done.stdout, done.stderr


def test_what_an_exception_leaves_in_the_file(tmp_path: Path) -> None:
    """After each of 2,000 interruptions, their tracebacks kept, nothing acknowledged is missing.

    Another process reads what was acknowledged, writes at once and empties the log; what it
    wrote is read; other threads fork. No coroutine is lost on the way.
    """
    ended, told, errors = interrupted("file", tmp_path / "db.sqlite3", INTERRUPTIONS, 1)
    assert "never awaited" not in errors
    assert (ended, told) == (-signal.SIGKILL, f"{INTERRUPTIONS}\n"), errors


@pytest.mark.parametrize("kind", ["memory", "memcached", "dynoxide behind memcached"])
def test_what_an_exception_leaves_elsewhere(kind: str, request: pytest.FixtureRequest) -> None:
    """After each interruption the next operation is right; no connection or place is lost.

    The pool has room for one request: where that is lost, none is made any more.
    """
    if kind == "memory":
        url = "memory://"
    else:
        server = request.getfixturevalue("memcached")
        url = f"memcached://{server.host}:{server.port}"
    if "dynoxide" in kind:
        table = request.getfixturevalue("dynoxide_table")
        table.empty()
        url = f"{table.url}&pool=1&patience=3&on_cache_error=strict&cache={url}"
    wanted = INTERRUPTIONS // 5
    ended, told, errors = interrupted("anywhere", url, wanted, 1)
    assert "never awaited" not in errors
    assert (ended, told) == (0, f"{wanted}\n"), errors

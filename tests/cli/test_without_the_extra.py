"""``python -m lpcm`` without click: the commands that need the standard library alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["click"] = None
from lpcm.__main__ import main
main()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Yield a function that runs a command line where click cannot be imported."""
    monkeypatch.setenv("LPCM_URL", f"sqlite:///{tmp_path}/m.sqlite3")

    def run(*words, code=0):
        command = [sys.executable, "-c", WITHOUT, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_its_commands(run):
    """Get, set, incr, items and count do what those of the whole command line do."""
    run("set", "m", "k", '{"a": [1]}')
    assert run("get", "m", "k").stdout == '{"a":[1]}\n'
    assert run("incr", "m", "n").stdout == "1\n"
    assert run("incr", "m", "n", "-3").stdout == "-2\n"
    assert run("items", "m").stdout == '"k"\t{"a":[1]}\n"n"\t-2\n'
    assert run("count", "m").stdout == "2\n"


def test_what_is_wrong_has_an_exit_code(run, tmp_path):
    """Exit codes are those of the whole command line, and reading makes no file."""
    assert "is not there" in run("get", "m", "k", code=1).stderr
    assert list(tmp_path.iterdir()) == []
    run("set", "m", "k", "1")
    assert run("get", "m", "other", code=1).stderr == "lpcm: no such key: 'other'\n"
    assert run("get", "m", "[1", code=3).stderr.startswith("lpcm: not JSON")
    run("set", "m", "k", "-", code=3)
    run("set", "m", "k", "1", "--url", "sqlite:////dev/null/m.sqlite3", code=4)


def test_what_needs_the_extra(run):
    """Another command, and a password in the wrong place, end with what to install."""
    assert "pip install 'lpcm[cli]'" in run("export", code=2).stderr
    shown = run("count", "m", "memcached://ann:secret@host", code=2).stderr
    assert "lpcm[cli]" in shown
    assert "secret" not in shown

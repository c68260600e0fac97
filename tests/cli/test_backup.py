"""What the command line writes to a file is whole, or the file before is still there."""

import json
import os
import random
import signal
import stat
import time

import pytest
from click.testing import CliRunner

from lpcm import LPCM
from lpcm.cli import main

# A signal may come in a callback, where Python can but print what is raised.
ANYWHERE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def invoke(*words):
    """Run a command line and return its result."""
    return CliRunner().invoke(main, [*map(str, words)])


def test_backup(url, tmp_path):
    """``lpcm backup FILE`` writes a database with all that is in the one of the URL."""
    LPCM("m")["k"] = 1
    file = tmp_path / "copy.sqlite3"
    done = invoke("backup", file)
    assert done.exit_code == 0, done.output
    assert done.output == f"{file}: {file.stat().st_size:,} bytes\n"
    assert LPCM("m", url=f"sqlite:///{file}").copy() == {"k": 1}
    done = invoke("--json", "backup", tmp_path / "second.sqlite3")
    assert json.loads(done.output)["bytes"] == file.stat().st_size


def test_a_database_that_is_not_there_is_not_backed_up(tmp_path):
    """A misspelt URL is an error, and makes no file."""
    done = invoke("--url", f"sqlite:///{tmp_path}/lost.sqlite3", "backup", tmp_path / "copy")
    assert done.exit_code == 1
    assert "not there" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_a_file_says_what_to_do(tmp_path):
    """Other stores name ``lpcm export``."""
    done = invoke("--url", "memory://", "backup", tmp_path / "copy")
    assert done.exit_code == 3
    assert "lpcm export" in done.stderr


@ANYWHERE
def test_an_interrupted_export_leaves_the_one_before(url, tmp_path):
    """Whenever Ctrl-C comes, the file is the old export or the whole new one, and alone."""
    LPCM("m").set_many(dict.fromkeys(range(3000), "x" * 100))
    file = tmp_path / "exports" / "all.jsonl"
    file.parent.mkdir()
    begun = time.perf_counter()
    assert invoke("export", "-o", file).exit_code == 0
    duration = time.perf_counter() - begun
    whole = file.read_bytes()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        for _ in range(30):
            file.write_bytes(b"old")
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-3, duration))  # a moment
                interrupted += invoke("export", "-o", file).exit_code == 130
            except KeyboardInterrupt:  # before or after the command itself
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert file.read_bytes() in {b"old", whole}
            assert [found.name for found in file.parent.iterdir()] == ["all.jsonl"]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted


def test_a_failed_export_leaves_the_one_before(url, tmp_path):
    """An export that cannot read a map to its end replaces nothing."""
    LPCM("m")["k"] = 1
    file = tmp_path / "all.jsonl"
    file.write_text("old")
    file.chmod(0o640)
    assert invoke("export", "-o", file, "m", "x" * 3000).exit_code == 3
    assert file.read_text() == "old"
    assert invoke("export", "-o", file, "m").exit_code == 0
    assert file.read_text() != "old"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_an_export_may_go_anywhere(url, tmp_path):
    """An export to a pipe or a device is written into it; a bad place is named."""
    # Not the machine's own devices: code that is wrong here replaces them.
    LPCM("m")["k"] = 1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert invoke("export", "-o", pipe).exit_code == 0
    assert os.read(reader, 1000) == b'{"map":"m","key":"k","value":1}\n'
    os.close(reader)
    assert pipe.is_fifo()
    assert invoke("export", "-o", "-").output == '{"map":"m","key":"k","value":1}\n'
    done = invoke("export", "-o", tmp_path / "nowhere" / "all.jsonl")
    assert done.exit_code == 2
    assert "nowhere" in done.stderr

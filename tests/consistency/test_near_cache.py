"""No read of SQLite's near cache is stale: histories of processes, and mutants that are caught.

``make near`` runs for ten minutes: some 10^8 reads.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lpcm

WORKERS = Path(__file__).with_name("near_workers.py")
SOURCE = Path(lpcm.__file__).parent


def start(what, folder, seconds, source=None):
    path = str(source or SOURCE.parent)
    code = (
        f"import sys, runpy; sys.path.insert(0, {path!r}); sys.argv.pop(0)\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [what, folder / "l.sqlite3", folder / "board", seconds]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, WORKERS, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )


def history(folder, seconds, source=None):
    """Return the numbers of reads, of hits and of stale reads."""
    (folder / "board").write_bytes(bytes(4096))
    until = time.monotonic() + seconds
    readers = [start("read", folder, seconds, source) for _ in range(3)]
    other = start("disturb", folder, seconds, source)
    while time.monotonic() < until:  # a writer is killed, and another goes on
        writer = start("write", folder, seconds, source)
        time.sleep(min(random.uniform(0.8, 2.5), max(0.1, until - time.monotonic())))
        paused = random.choice([writer, *readers])
        paused.send_signal(signal.SIGSTOP)
        time.sleep(random.uniform(0, 0.2))
        paused.send_signal(signal.SIGCONT)
        writer.kill()
        writer.wait()
        writer.stdout.close()
    other.communicate(timeout=60)
    found = [list(map(int, one.communicate(timeout=60)[0].split())) for one in readers]
    return [sum(numbers) for numbers in zip(*found, strict=True)]


def test_histories(tmp_path, request):
    """One writer, killed again and again, three readers, and a program that disturbs: 0 stale."""
    seconds = request.config.getoption("--near-seconds", 0) or 8
    reads, hits, stale = history(tmp_path, seconds)
    assert stale == 0
    assert reads > 10_000 * seconds
    assert hits > reads / 20


STORE, NEAR, HITS = "stores/sqlite/store.py", "stores/sqlite/near.py", "operations/hits.py"
STATEMENTS, CONNECTIONS = "stores/sqlite/statements.py", "stores/sqlite/connections.py"
LOOK = "row is None or near.view.raw != header"
CLAUSES = {
    "refused": (  # "it wrote"
        STATEMENTS,
        "    if type(outcome) is not Applied:\n        return False\n    return",
        "    return",
    ),
    "recovery": (NEAR, " and frames_after - frames <= count", ""),  # the rule on frames
    "fork": (
        NEAR,
        "            near.forget()\n        super().shut()",
        "            super().shut()",
    ),
    "load": (  # the look before the SELECT
        STORE,
        "            if near.view.raw == header:\n                near.fill(state, header,",
        "            if header := near.view.raw:\n                near.fill(state, header,",
    ),
    "statement": (  # no fill inside an open one
        CONNECTIONS,
        "            self.cursor.close()\n            self.cursor = None\n\n    def shut",
        "            self.cursor = None\n\n    def shut",
    ),
}


def mutant(folder, file, old, new):
    """Return a directory with a copy of lpcm, of which one text is another."""
    shutil.copytree(SOURCE, folder / "lpcm", ignore=shutil.ignore_patterns("__pycache__", "django"))
    changed = folder / "lpcm" / file
    text = changed.read_text()
    assert text.count(old) == 1, old
    changed.write_text(text.replace(old, new))
    return folder


def test_histories_catch_what_skips_the_check(tmp_path):
    """A hit without a look at the header is found out, within a second on a free machine."""
    source = mutant(tmp_path / "mutant", HITS, LOOK, "row is None")
    assert any(history(tmp_path, seconds, source)[2] for seconds in (1, 3, 9))


@pytest.mark.parametrize("clause", CLAUSES)
def test_clauses(tmp_path, clause):
    """Each clause of the algorithm stands against a stale read, which comes without it."""
    (tmp_path / "board").write_bytes(bytes(4096))
    found = []
    for name in ("sound", "mutant"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "board").write_bytes(bytes(4096))
        source = mutant(folder / "source", *CLAUSES[clause]) if name == "mutant" else None
        found.append(start(clause, folder, 0, source).communicate(timeout=60)[0])
    assert found == ["2\n", "1\n"]

"""``lpcm info``, ``lpcm purge`` and ``lpcm vacuum``."""

import json
import time

import pytest
from click.testing import CliRunner

from lpcm import LPCM, Engine, administration
from lpcm.cli import main


def invoke(*words):
    """Run a command line and return its result."""
    return CliRunner().invoke(main, [*map(str, words)])


def test_info(url, tmp_path):
    """``lpcm info`` shows sizes and counts, as text or JSON."""
    m = LPCM("m")
    m["k"] = 1
    m.set("old", 1, ttl=0.001)
    time.sleep(0.01)
    done = invoke("--json", "info")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["file"] == str(tmp_path / "m.sqlite3")
    assert (found["entries"], found["expired"], found["free"]) == (1, 1, 0)
    assert found["size"] > 0
    lines = invoke("info").output.splitlines()
    assert lines[0] == str(tmp_path / "m.sqlite3")
    assert ["entries", "1"] in [line.split() for line in lines]


def test_purge(url):
    """``lpcm purge`` deletes what has expired and says how much."""
    LPCM("m").set_many(((n, n) for n in range(1500)), ttl=0.5)
    time.sleep(0.6)
    assert invoke("purge").output == "1,500 expired\n"
    assert json.loads(invoke("--json", "purge").output) == {"purged": 0}


def test_purge_of_some_maps(url):
    """``--map`` purges these maps alone; a map that is not there is an error."""
    for name in ("a", "b", "c"):
        LPCM(name).set("old", 1, ttl=0.5)
    time.sleep(0.6)
    assert invoke("purge", "--map", "a", "-m", "b").output == "2 expired\n"
    assert invoke("purge", "--map", "a", "--map", "d").exit_code == 1
    assert invoke("purge").output == "1 expired\n"


def test_purge_of_a_namespace(url):
    """It is of the namespace's maps, as every command."""
    for namespace in ("one", "two"):
        with Engine.open(url, namespace=namespace) as engine:
            LPCM("m", using=engine).set("old", 1, ttl=0.5)
    time.sleep(0.6)
    assert invoke("--namespace", "one", "purge").output == "1 expired\n"
    assert invoke("purge").output == "0 expired\n"
    assert invoke("--namespace", "two", "purge").output == "1 expired\n"


def test_purge_at_a_rate(url):
    """``--rate`` is of entries a second in a file."""
    LPCM("m").set_many(((n, n) for n in range(100)), ttl=0.5)
    time.sleep(0.6)
    begun = time.monotonic()
    assert invoke("purge", "--rate", 200).output == "100 expired\n"
    assert 0.5 <= time.monotonic() - begun < 3


def test_an_interrupted_purge(url, monkeypatch):
    """It says how much it deleted, on the standard error."""
    LPCM("m").set("old", 1, ttl=0.01)
    time.sleep(0.02)
    purge = administration.purge

    def interrupted(**options):
        purge(**options)
        raise KeyboardInterrupt

    monkeypatch.setattr(administration, "purge", interrupted)
    done = invoke("purge")
    assert done.exit_code == 130
    assert "interrupted after 1 expired" in done.stderr


def test_vacuum(url):
    """``lpcm vacuum`` makes the file small at once."""
    m = LPCM("m")
    m.set_many((n, "x" * 10_000) for n in range(300))
    m.delete_many(range(300))
    found = json.loads(invoke("--json", "vacuum").output)
    assert found["after"] < 100_000 <= found["before"]
    done = invoke("vacuum")
    assert done.exit_code == 0
    assert "after" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ["count", "m"],
        ["export"],
        ["export", "m"],
        ["get", "m", "k"],
        ["get", "m", "k", "--default", "0"],
        ["info"],
        ["items", "m"],
        ["keys", "m"],
        ["maps"],
        ["maps", "--count"],
        ["purge"],
        ["vacuum"],
    ],
)
def test_a_file_that_is_not_there(tmp_path, words):
    """What only reads makes no file: a misspelt URL is an error, with exit code 1."""
    done = invoke("--url", f"sqlite:///{tmp_path}/lost.sqlite3", *words)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "lost.sqlite3 is not there: nothing to " in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

"""``lpcm sweep``."""

import json

from click.testing import CliRunner

from lpcm import LPCM
from lpcm.cli import main
from lpcm.engine.aliases import resolve
from lpcm.large import owners

BIG = b"x" * 500_000


def invoke(*words):
    """Run a command line and return its result."""
    return CliRunner().invoke(main, [*map(str, words)])


def test_sweep(table, monkeypatch):
    """It deletes the parts that no entry names, and says how many values' they were."""
    m, other = LPCM("m"), LPCM("other")
    m.set_many({"a": BIG, "b": BIG})
    other["a"] = BIG
    for each in (m, other):
        each.set_many({"a": 1})  # a batch replaces heads without a look
    assert invoke("sweep").output == "0 of 3 values in parts swept\n"
    monkeypatch.setattr(owners, "AGE", -1.0)
    assert invoke("sweep", "--map", "other").output == "1 of 1 values in parts swept\n"
    assert json.loads(invoke("--json", "sweep").output) == {"values": 2, "swept": 1}
    assert invoke("sweep", "-m", "none").exit_code == 1
    assert LPCM("m").copy() == {"a": 1, "b": BIG}
    assert sum("/!" in item["pk"]["S"] for item in table.items()) == 3


def test_sweep_elsewhere(url):
    """A store that keeps no value in parts is an error that says so."""
    LPCM("m")["k"] = 1
    done = invoke("sweep")
    assert done.exit_code == 3
    assert "DynamoDB" in done.output
    assert resolve("default", None).stack.large is None

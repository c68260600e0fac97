"""The command line over values in parts, and maps of several partitions, on DynamoDB."""

import json
import os

import pytest
from click.testing import CliRunner

import lpcm
from lpcm import LPCM
from lpcm.administration import find_map, open_engine
from lpcm.cli import audit as auditing
from lpcm.cli import main, transfer
from lpcm.cli.copying import Copy, Done
from lpcm.operations.operations import Entries
from tests.dynamodb.large.common import TREE
from tests.dynamodb.tables import Table

TEXT = "to be ☃ or not\n" * 70_000
VALUES = {"bytes": os.urandom(1_000_000), "small": 1, "text": TEXT, "tree": TREE}


@pytest.fixture
def other(dynoxide):
    """Yield the URL of an empty table beside it."""
    table = Table(dynoxide.endpoint, "beside")
    table.empty()
    yield table.url
    table.close()


def run(*words, stdin=None, code=0):
    """Run a command line; return its result."""
    result = CliRunner().invoke(main, [*map(str, words)], input=stdin)
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def test_set_and_get(table):
    """A value of 1 MB comes from the standard input, and back as it was; small ones go over it."""
    run("set", "m", "k", "-", "--text", stdin=TEXT)
    assert LPCM("m")["k"] == TEXT
    assert run("get", "m", "k", "--raw").stdout == TEXT
    found = json.loads(run("--json", "get", "m", "k").stdout)
    assert (found["value"], found["etag"]) == (TEXT, str(LPCM("m").entry("k").etag))
    run("set", "m", "k", "1")
    run("incr", "m", "k")
    assert run("get", "m", "k").stdout == "2\n"
    run("set", "m", "k", "-", stdin=json.dumps(["x"] * 400_000))
    run("del", "m", "k")
    run("get", "m", "k", code=1)


@pytest.mark.parametrize("shards", [1, 4])
def test_keys_read_no_parts(table, shards):
    """What asks for no values reads the heads alone; ``items --limit`` the values it prints."""
    m = LPCM("m", shards=shards)
    m.set_many({f"k{number}": VALUES["bytes"] for number in range(4)})
    for words, wanted in (
        (("keys", "m"), "".join(f'"k{number}"\n' for number in range(4))),
        (("count", "m"), "4\n"),
        (("maps", "--count"), '"m"\t4\n'),
        (("items", "m", "--limit", 0), ""),
    ):
        with lpcm.meter() as made:
            assert run(*words).stdout == wanted
        assert made.read_units < 20
    with lpcm.meter() as made:
        (line,) = run("items", "m", "--limit", 1, "--reverse").stdout.splitlines()
    assert line.startswith('"k3"\t{"!bytes":"')
    assert made.read_units < 270


@pytest.mark.parametrize("compress", ["none", "zlib"])
def test_export_and_import(table, other, compress):
    """They pass by value: with their types, their expiry and whatever compresses either side."""
    m = LPCM("m", compress=compress)
    m.update(VALUES)
    m.set("brief", TEXT, ttl=600)
    lines = run("export").stdout
    assert "5 stored" in run("--url", f"{other}&compress=zlib", "import", stdin=lines).stderr
    there = LPCM("m", url=other, live=False)
    assert there.copy() == m.copy()
    assert there.entry("brief").expires == m.entry("brief").expires
    run("import", "--map", "spread", stdin=lines)
    assert LPCM("spread", live=False).copy() == m.copy()


def test_an_import_spreads_a_map(table):
    """With ``--shards`` a map that is made has so many; one that has another number is refused."""
    lines = "\n".join(f'{{"map":"m","key":{number},"value":{number}}}' for number in range(50))
    run("import", "--shards", 4, stdin=lines)
    assert find_map(open_engine(), "m").shards == 4
    assert LPCM("m").copy() == {number: number for number in range(50)}
    assert "has 4 shards" in run("import", "--shards", 8, stdin=lines, code=3).stderr
    run("import", "--shards", 0, stdin=lines, code=3)


def test_an_import_collects_no_thousands_of_large_values(table, monkeypatch):
    """It stores after so many characters, however few lines they are."""
    monkeypatch.setattr(transfer, "_HEAVY", 2_500_000)
    stored = []
    restore = Entries.restore

    async def noted(self, entries):
        entries = list(entries)
        stored.append(len(entries))
        await restore(self, entries)

    monkeypatch.setattr(Entries, "restore", noted)
    line = json.dumps({"map": "m", "key": "k", "value": "x" * 1_000_000})
    lines = [line.replace('"k"', f'"k{number}"') for number in range(7)]
    run("import", stdin="\n".join(lines))
    assert stored == [3, 3, 1]
    assert len(LPCM("m")) == 7


@pytest.mark.parametrize("compress", ["none", "zlib"])
def test_copy(table, other, tmp_path, compress):
    """From DynamoDB to a file and back, to a map of shards, and again over what is there."""
    m = LPCM("m", compress=compress, live=False)
    m.update(VALUES)
    m.set("brief", TEXT, ttl=600)
    file = f"sqlite:///{tmp_path}/copied.sqlite3?synchronous=normal"
    ways = (
        (table.url, file),
        (file, f"{other}&compress={compress}"),
        (file, f"{other}&compress=none"),
    )
    for source, destination in ways:
        found = json.loads(run("--json", "copy", "--shards", 4, source, destination).stdout)
        assert (found["copied"], found["repaired"], found["failed"]) == (5, 0, 0)
    there = LPCM("m", url=other, live=False)
    assert there.copy() == m.copy()
    assert there.entry("brief").expires == m.entry("brief").expires
    assert find_map(open_engine(url=other), "m").shards == 4


def test_a_difference_in_a_large_value_is_mended(table, other):
    """The comparison after a copy reads the values whole, and stores what differs once more."""
    LPCM("m").update(VALUES)
    run("copy", table.url, other)
    there = LPCM("m", url=other, live=False)
    there["bytes"] = VALUES["bytes"][:-1] + b"?"
    del there["text"]
    done = Done()
    Copy(table.url, other).verify("m", done, lambda _: None)
    assert (done.repaired, done.failed) == (2, {})
    assert there.copy() == VALUES


def test_audit(table, memcached, monkeypatch):
    """Heads are compared and no parts are read; what differs is shown by its size."""
    monkeypatch.setattr(auditing, "SETTLED", 0)
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    m = LPCM("m", url=url, live=False)
    m.update(VALUES)
    assert m.copy() == VALUES
    assert m.get_many(VALUES) == VALUES
    with lpcm.meter() as made:
        shown = run("--url", url, "audit").stdout
    assert shown == "4 entries, 4 cached, 0 differ for good\n"
    assert made.read_units < 30
    LPCM("m")["text"] = VALUES["bytes"]
    LPCM("m")["small"] = VALUES["bytes"]
    shown = run("--url", url, "audit", "--mend", code=1).stdout
    size = len(TEXT.encode())
    assert f"'text']: cached {size:,} bytes in 3 parts, stored 1,000,000 bytes in 3 parts" in shown
    assert "'small']: cached 1, stored 1,000,000 bytes in 3 parts" in shown
    assert m["text"] == m["small"] == VALUES["bytes"]
    assert run("--url", url, "audit").stdout.endswith(" 0 differ for good\n")

"""``lpcm map`` and ``lpcm copy --shards``: a map's number of partitions, from a terminal."""

import json

import pytest
from click.testing import CliRunner

import lpcm
from lpcm import LPCM, Engine
from lpcm.cli import main
from tests.dynamodb.tables import Table


def invoke(*words):
    """Run a command line and return its result."""
    return CliRunner().invoke(main, [*map(str, words)])


@pytest.fixture(scope="module")
def table(dynoxide):
    """Yield a table."""
    made = Table(dynoxide.endpoint, "commands")
    yield made
    made.close()


@pytest.fixture
def url(table, monkeypatch):
    """Yield the URL of the empty table, which the command line uses by default."""
    table.empty()
    monkeypatch.setenv("LPCM_URL", table.url)
    yield table.url
    lpcm.close()


def shards_of(name, url):
    return json.loads(invoke("--json", "--url", url, "map", "show", name).output)["shards"]


def test_create_and_show(url):
    """A map is made with its shards, shown, and not made anew with another number."""
    done = invoke("map", "create", "events", "--shards", 16)
    assert done.exit_code == 0, done.output
    expected = {"name": "events", "format": 2, "codec": "typed", "shards": 16}
    assert json.loads(invoke("--json", "map", "show", "events").output) == expected
    assert done.output == invoke("map", "show", "events").output
    assert done.output.splitlines()[-1].split() == ["shards", "16"]
    for words in (["--shards", 16], []):
        assert invoke("map", "create", "events", *words).exit_code == 0, "it is there"
    refused = invoke("map", "create", "events", "--shards", 4)
    assert refused.exit_code == 3
    assert "has 16 shards" in refused.stderr
    assert invoke("map", "create", "many", "--shards", 5000).exit_code == 3
    for words in (["map", "show", "many"], ["sweep", "-m", "many"], ["purge", "-m", "many"]):
        unknown = invoke(*words)
        assert (unknown.exit_code, unknown.stderr) == (1, "lpcm: no such map: 'many'\n")
    assert LPCM("events", shards=16).copy() == {}
    assert invoke("maps").output.split() == ['"events"']


def test_a_store_without_partitions(tmp_path):
    """There the number is ignored, as it is in programs."""
    with_url = ["--url", f"sqlite:///{tmp_path}/m.sqlite3"]
    assert invoke(*with_url, "map", "create", "events", "--shards", 16).exit_code == 0
    done = invoke("--json", *with_url, "map", "show", "events")
    assert json.loads(done.output)["shards"] == 1
    lpcm.close()
    missing = invoke("--url", f"sqlite:///{tmp_path}/other.sqlite3", "map", "show", "events")
    assert missing.exit_code == 1
    assert not (tmp_path / "other.sqlite3").exists()


def test_the_entries_of_all_shards(url, tmp_path):
    """Every command that walks a map has all of it, in key order."""
    wanted = {f"{number:03}": number for number in range(100)}
    LPCM("events", shards=8).update(wanted)
    assert invoke("count", "events").output.strip() == "100"
    keys = [json.loads(line) for line in invoke("keys", "events").output.splitlines()]
    assert keys == list(wanted)
    some = invoke("keys", "events", "--start", '"050"', "--limit", 3, "--reverse", "--text")
    assert some.exit_code == 0, some.output
    file = tmp_path / "all.jsonl"
    assert invoke("export", "--output", file).exit_code == 0
    assert invoke("map", "create", "again", "--shards", 3).exit_code == 0
    assert invoke("import", "--map", "again", file).exit_code == 0
    assert LPCM("again").copy() == wanted
    assert shards_of("again", url) == 3


def test_a_copy_may_change_the_number(url, tmp_path):
    """A copy has the source's number, or the one that was asked for; and a map another name."""
    wanted = {number: {"n": number} for number in range(300)}
    events = LPCM("events", shards=8)
    events.update(wanted)
    events.expire(7, 3600)
    file = f"sqlite:///{tmp_path}/m.sqlite3"
    assert invoke("copy", url, file).exit_code == 0
    assert LPCM("events", url=file).copy() == wanted
    other = f"{url}&namespace=other"
    for target, words, shards in (
        ("to file", ["--to", "to file", "--shards", 2], 2),
        ("by default", ["--to", "by default"], 8),
    ):
        done = invoke("copy", "-m", "events", *words, url, other)
        assert done.exit_code == 0, done.output
        with Engine.open(other) as engine:
            m = LPCM(target, using=engine)
            assert m.copy() == wanted
            assert 3590 < m.ttl(7) <= 3600
            assert engine.catalogue.shards[engine.partition(target)] == shards
    done = invoke("copy", "-m", "events", "--to", "more", "--shards", 16, url, url)
    assert done.exit_code == 0, done.output
    assert LPCM("more").copy() == wanted
    assert shards_of("more", url) == 16
    refused = invoke("copy", "-m", "events", "--to", "more", "--shards", 4, url, url)
    assert refused.exit_code == 3
    assert "has 16 shards" in refused.stderr
    assert invoke("copy", "-m", "events", url, url).exit_code == 2
    assert invoke("copy", "-m", "events", "--to", "events", url, url).exit_code == 2
    assert invoke("copy", "--to", "x", url, file).exit_code == 2
    assert invoke("copy", "-m", "events", "--restart", file, url).exit_code == 0
    assert shards_of("events", url) == 8

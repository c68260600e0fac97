"""``lpcm verify`` and ``lpcm audit``: they pass what is right and find what is wrong."""

import json

import pytest
from click.testing import CliRunner

import lpcm
from lpcm import LPCM
from lpcm.cli import audit as auditing
from lpcm.cli import main
from lpcm.verify import client


@pytest.fixture(params=["sqlite", "dynamodb"])
def url(request, tmp_path, memcached):
    """Return the URL of a store with memcached in front."""
    cache = f"cache=memcached://{memcached.host}:{memcached.port}"
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/m.sqlite3?{cache}"
    else:
        table = request.getfixturevalue("dynoxide_table")
        table.empty()  # of what other modules' tests left
        yield f"{table.url}&{cache}"
    lpcm.close()


def run(*words, code=0):
    """Run a command line and return its result."""
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", ["strict", "available"])
def test_verify(url, mode):
    """A right stack passes; what was done is shown and what was written is gone."""
    shown = run("--url", f"{url}&on_cache_error={mode}", "verify", "--seconds", 2).stdout
    assert f"cached ({mode}), seed " in shown
    assert "operations judged" in shown
    assert "The promise held" in shown
    engine = lpcm.Engine.open(url)
    assert lpcm.maps(using=engine) == []
    engine.close()


@pytest.mark.timeout(60)
def test_verify_without_a_cache(tmp_path):
    """A store alone is judged exactly."""
    shown = run("--url", f"sqlite:///{tmp_path}/m.sqlite3", "verify", "--seconds", 1).stdout
    assert "The promise held: linearizable" in shown
    assert "cached" not in shown
    run("--url", "memory://", "verify", code=2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("options", "promise"),
    [
        ("", "reads of values that were, writes in one order"),
        ("&near_cache=100000&max_stale=0.5", "linearizable, but for reads"),
    ],
)
def test_verify_of_eventual_reads(dynoxide_table, options, promise):
    """What may miss the last writes is not judged as if it could not."""
    url = f"{dynoxide_table.url}&consistency=eventual{options}"
    shown = run("--url", url, "verify", "--seconds", 1).stdout
    assert f"The promise held: {promise}" in shown
    lpcm.close()


@pytest.mark.timeout(120)
def test_verify_finds_what_is_wrong(tmp_path, monkeypatch):
    """A store that loses writes is found, with the history that shows it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import random\n"
        "from lpcm.stores.sqlite import store as sqlite\n"
        "real = sqlite.SQLiteStore.read\n"
        "async def read(self, map, sk, now):\n"
        "    return None if random.random() < 0.5 else await real(self, map, sk, now)\n"
        "sqlite.SQLiteStore.read = read\n"
    )
    command = ["--url", f"sqlite:///{tmp_path}/m.sqlite3", "verify", "--seconds"]
    for seconds in ("2", "4", "8", "16"):  # on a busy machine the clients do little in two
        result = CliRunner().invoke(main, [*command, seconds])
        if result.exit_code != 0:
            break
    assert result.exit_code == 1, (result.output, result.stderr, result.exception)
    assert "BROKEN: no order explains what was returned for" in result.stdout


def test_audit(url, monkeypatch):
    """What is cached and not stored so is found, and mended; the rest is not touched."""
    monkeypatch.setattr(auditing, "SETTLED", 0)
    m = LPCM("m", url=url)
    m.update({"a": 1, "b": 2, "c": 3})
    other = LPCM("n", url=url)
    other["x"] = "y"
    assert m.get_many("abc") == {"a": 1, "b": 2, "c": 3}
    assert run("--url", url, "audit").stdout == "4 entries, 4 cached, 0 differ for good\n"
    behind = LPCM("m", url=url.partition("cache=")[0].rstrip("?&"))
    behind["b"] = "other\x1b[31m"
    result = run("--url", url, "audit", code=1)
    assert result.stdout.splitlines() == [
        "m['b']: cached 2, stored 'other\\x1b[31m'",
        "4 entries, 4 cached, 1 differ for good",
    ]
    assert run("--url", url, "audit", "n").stdout == "1 entries, 1 cached, 0 differ for good\n"
    assert m["b"] == 2
    found = json.loads(run("--url", url, "--json", "audit", "m", "--mend", code=1).stdout)
    assert (found["cached"], found["differing"][0]["key"]) == (3, "'b'")
    assert m["b"] == "other\x1b[31m"
    assert run("--url", url, "audit").stdout == "4 entries, 4 cached, 0 differ for good\n"


def test_audit_needs_a_cache(tmp_path):
    """A map without a cache has nothing to audit, which is said."""
    run("--url", f"sqlite:///{tmp_path}/m.sqlite3", "set", "m", "k", "1")
    result = run("--url", f"sqlite:///{tmp_path}/m.sqlite3", "audit", code=3)
    assert "has no cache to audit" in result.stderr
    lpcm.close()


def test_a_dead_cache_is_an_error(tmp_path):
    """An audit that cannot look at the cache fails; it does not pass."""
    url = f"sqlite:///{tmp_path}/m.sqlite3?cache=memcached://127.0.0.1:9"
    LPCM("m", url=url)["a"] = 1
    run("--url", url, "audit", code=4)
    lpcm.close()


def test_a_client_counts_what_is_refused():
    """What a client may be told not to have done is exactly what says so of itself."""
    assert {error.__name__ for error in client._NOT_DONE} == {
        "CacheUnavailable",
        "StoreError",
        "Conflict",
    }


def test_audit_of_a_map_of_several_partitions(memcached, dynoxide_table, monkeypatch):
    """Entries of all shards are compared and mended, by the keys that the cache knows them by."""
    monkeypatch.setattr(auditing, "SETTLED", 0)
    dynoxide_table.empty()
    plain = dynoxide_table.url
    url = f"{plain}&cache=memcached://{memcached.host}:{memcached.port}"
    m = LPCM("m", url=url, shards=5)
    m.update({number: number for number in range(200)})
    assert len(m.get_many(range(200))) == 200
    assert run("--url", url, "audit").stdout == "200 entries, 200 cached, 0 differ for good\n"
    behind = LPCM("m", url=plain)
    behind.update(dict.fromkeys(range(0, 200, 20), "other"))
    result = run("--url", url, "audit", "--mend", code=1)
    assert result.stdout.splitlines()[-1].startswith("200 entries, 200 cached, 10 differ for good")
    assert [m[number] for number in range(0, 200, 20)] == ["other"] * 10
    lpcm.close()

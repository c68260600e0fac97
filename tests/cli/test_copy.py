"""``lpcm copy`` moves maps between stores, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

import lpcm
from lpcm import LPCM, ValueTooLarge
from lpcm.cli import main
from lpcm.cli.copying import Copy
from lpcm.engine.aliases import resolve
from lpcm.engine.drive import run as drive
from lpcm.operations.operations import Entries
from tests.cli.test_commands import VALUES
from tests.dynamodb.tables import Table
from tests.signals import restore_interrupt
from tests.strategies import fingerprint

FOREIGN = '{"map":"m","key":"thing","value":[{"!@nowhere.Thing/3":{"a":1.5}}]}'


@pytest.fixture
def run():
    """Return a function that runs a command line and returns its result."""

    def run(*words, stdin=None, code=0):
        result = CliRunner().invoke(main, [*map(str, words)], input=stdin)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    yield run
    lpcm.close()


@pytest.fixture
def file(tmp_path):
    """Return the URL of a source that holds every type, an expiry and an unknown class."""
    url = f"sqlite:///{tmp_path}/here.sqlite3"
    m = LPCM("m", url=url)
    m.update(VALUES)
    m.set("brief", 1, ttl=600)
    m.set("gone", 1, ttl=0.001)
    LPCM("ö/2", url=url).set_many(dict.fromkeys(range(2500), "x"))
    CliRunner().invoke(main, ["--url", url, "import"], input=FOREIGN)
    time.sleep(0.01)
    return url


@pytest.fixture(params=["memory", "sqlite", "dynoxide", "extenddb"])
def there(request, tmp_path):
    """Return the URL of an empty destination in each kind of store."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/there.sqlite3"
    table = Table(request.getfixturevalue(request.param).endpoint, "copied")
    table.empty()
    table.close()
    return table.url


def export(run, url):
    return sorted(run("--url", url, "export").stdout.splitlines())


def summary(result):
    return json.loads(result.stdout)


def test_a_copy_is_the_same_there_and_back(run, file, there, tmp_path):
    """Types, expiries and unknown classes survive the way into any store and back to a file."""
    lines = export(run, file)
    assert len(lines) == len(VALUES) + 2 + 2500
    told = summary(run("--json", "copy", file, there))
    assert (told["copied"], told["maps"], told["failed"]) == (len(lines), 2, 0)
    assert export(run, there) == lines
    back = f"sqlite:///{tmp_path}/back.sqlite3"
    text = run("copy", there, back).stdout
    assert text.startswith(f"{len(lines):,} entries of 2 maps copied in ")
    assert export(run, back) == lines
    assert fingerprint(LPCM("m", url=file).get_many(VALUES)) == fingerprint(
        LPCM("m", url=back).get_many(VALUES)
    )
    for url in (there, back):  # nothing is left of how far it got
        assert run("--url", url, "maps").stdout == '"m"\n"ö/2"\n'
        work = Copy(file if url == there else there, url)
        assert drive(work._to.store.maps(work._own)) == []


def test_what_is_there_stays_or_is_replaced(run, file, tmp_path):
    """Equal keys get the source's value, others stay and are counted; one map is one map."""
    there = f"sqlite:///{tmp_path}/there.sqlite3"
    LPCM("m", url=there).update({"text": "old", "mine": 1})
    told = summary(run("--json", "copy", file, there, "--map", "m"))
    assert (told["maps"], told["extra"]) == (1, 1)
    assert LPCM("m", url=there)["text"] == VALUES["text"]
    assert LPCM("m", url=there)["mine"] == 1
    assert run("--url", there, "maps").stdout == '"m"\n'
    assert "no such map: 'nope'" in run("copy", file, there, "-m", "nope", code=1).stderr


def test_a_store_is_not_copied_into_itself(run, file):
    """Source and destination must differ."""
    assert "same store" in run("copy", file, file, code=2).stderr


def test_a_source_that_is_not_there(run, tmp_path):
    """A misspelt file is an error, and is not made; neither is the destination."""
    result = run(
        "copy", f"sqlite:///{tmp_path}/a.sqlite3", f"sqlite:///{tmp_path}/b.sqlite3", code=1
    )
    assert "a.sqlite3 is not there" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_map_without_entries_is_copied(run, tmp_path):
    """What stands in the catalogue does so in the destination, and an empty copy ends well."""
    here, there = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("here", "there"))
    LPCM("m", url=here)["k"] = 1
    LPCM("m", url=here).clear()
    assert summary(run("--json", "copy", here, there))["copied"] == 0
    assert run("--url", there, "maps").stdout == '"m"\n'


def test_a_difference_is_found_and_mended(run, file, tmp_path, monkeypatch):
    """What did not arrive, or arrived changed, is found by the comparison and copied once more."""
    there = f"sqlite:///{tmp_path}/there.sqlite3"
    restore = Entries.restore
    broken = []

    async def lossy(self, entries):
        entries = list(entries)
        if not broken and len(entries) == 1000:
            broken.extend(entries[:3])
            wrong = broken[1]._replace(value="y"), broken[2]._replace(expires=9e9)
            entries = [*wrong, *entries[3:]]
        await restore(self, entries)

    monkeypatch.setattr(Entries, "restore", lossy)
    unseen = f"sqlite:///{tmp_path}/unseen.sqlite3"
    told = summary(run("--json", "copy", file, unseen, "--no-verify"))
    assert (len(broken), told["repaired"]) == (3, 0)
    assert export(run, unseen) != export(run, file)
    broken.clear()
    told = summary(run("--json", "copy", file, there))
    assert (told["repaired"], told["failed"]) == (3, 0)
    assert export(run, there) == export(run, file)


def test_what_a_store_cannot_hold_is_named(run, tmp_path, dynoxide):
    """An entry that the destination refuses is named, exit code 1; all others are copied."""
    here = f"sqlite:///{tmp_path}/here.sqlite3"
    deep = 0.5
    for _ in range(32):
        deep = [deep]
    m = LPCM("m", url=here)
    m.update({number: number for number in range(10)})
    m["large\x1b"] = "x" * 500_000
    m["deep"] = deep  # on DynamoDB a float has a tag, which is one level more
    table = Table(dynoxide.endpoint, "refusing")
    result = run("copy", here, f"{table.url}&max_value=409600", code=1)
    told = [line for line in result.stderr.splitlines() if line.startswith("lpcm: m: ")]
    assert any('"large\\u001b"' in line and "500,0" in line for line in told)
    assert any('"deep"' in line and "32" in line for line in told)
    assert result.stderr.replace("\n", "").isprintable()
    assert "2 not copied" in result.stdout
    assert list(LPCM("m", url=table.url)) == list(range(10))
    with pytest.raises(ValueTooLarge):
        LPCM("m", url=f"{table.url}&max_value=409600")["k"] = m["large\x1b"]
    table.close()


def start(*words):
    """Start a command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lpcm", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LPCM_NAMESPACE": resolve("default", "memory://").namespace},
        text=True,
        preexec_fn=restore_interrupt,  # noqa: PLW1509  # it takes no lock
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_copy_that_was_broken_off_goes_on(run, tmp_path, how):
    """Killed or interrupted in the middle, the same command goes on there and ends complete."""
    here, there = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("here", "there"))
    first = LPCM("a", url=here)
    first.set_many(dict.fromkeys(range(1500), "x"))
    LPCM("b", url=here).set_many({f"k{number}": (number,) for number in range(8000)})
    with start("copy", here, there, "--rate", "2000") as process:
        arrived = LPCM("b", url=there)
        deadline = time.monotonic() + 60
        while len(arrived) < 2000:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(how)
        assert process.wait(timeout=60) in {-signal.SIGKILL, 130}
        said = process.stderr.read()
        assert "Traceback" not in said
        assert ("goes on" in said) is (how == signal.SIGINT)
    at = len(arrived)
    assert 2000 <= at < 8000
    # What was copied before is not copied again, unless somebody compares.
    first[0] = "changed"
    result = run("--json", "copy", here, there, "--no-verify")
    assert "going on" in result.stderr
    told = summary(result)
    assert told["resumed"] >= 1500 + 1000
    assert told["copied"] + told["resumed"] == 9500
    assert LPCM("a", url=there)[0] == "x"
    told = summary(run("--json", "copy", here, there))  # complete, so it begins anew
    assert (told["copied"], told["resumed"], told["failed"]) == (9500, 0, 0)
    assert export(run, there) == export(run, here)


def test_a_copy_can_begin_anew(run, tmp_path):
    """--restart forgets how far it got."""
    here, there = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("here", "there"))
    LPCM("m", url=here).set_many(dict.fromkeys(range(10), 1))
    Copy(here, there).copy("m", lambda _: None)  # and is not heard of again
    assert summary(run("--json", "copy", here, there))["resumed"] == 10
    Copy(here, there).copy("m", lambda _: None)
    LPCM("m", url=here)[3] = 2
    told = summary(run("--json", "copy", here, there, "--restart", "--no-verify"))
    assert (told["copied"], told["resumed"]) == (10, 0)
    assert LPCM("m", url=there)[3] == 2

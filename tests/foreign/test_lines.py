"""Files to import that no export wrote, and entries that no export can write."""

import json

from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings

from lpcm import LPCM
from lpcm.cli import main
from tests.foreign import strategies


def cli(*words, input=None):  # click's own name
    return CliRunner().invoke(main, words, input=input)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bad=strategies.lines)
@example(bad="\r0")
def test_any_line(tmp_path, bad):
    """Whatever a line says: it is stored, or named, and the lines beside it are stored."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    good = '{"map":"m","key":"good","value":1}\n'
    text = good + bad.replace("\n", " ") + "\n" + good.replace("good", "better")
    done = cli(
        "--url", url, "import", "--keep-going", "-", input=text.encode(errors="surrogateescape")
    )
    assert done.exit_code in {0, 3}, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code == 3) is ("line 2" in done.output)
    assert LPCM("m", url=url).get_many(["good", "better"]) == {"good": 1, "better": 1}


def plant(path, *rows):
    import sqlite3

    m = LPCM("m", url=f"sqlite:///{path}")
    m.update(a=1, z=2)
    pk = m._use()._map
    with sqlite3.connect(path) as raw:
        for sk, v, t in rows:
            raw.execute(
                "INSERT INTO entries(pk, sk, t, etag, v) VALUES (?, ?, ?, 5, ?)", (pk, sk, t, v)
            )
    raw.close()
    return m


BAD = [("k", "{", "json"), ("s", '"\\ud800"', "json"), ("!x", "x", None)]


def test_an_export_keeps_going(tmp_path):
    """It names what cannot be read and writes the rest; without being told it writes no file."""
    m = plant(tmp_path / "m.sqlite3", *BAD)
    url, out = f"sqlite:///{tmp_path}/m.sqlite3", tmp_path / "out"
    assert m["a"] == 1
    assert cli("--url", url, "export", "m", "-o", str(out)).exit_code == 3
    assert not out.exists()
    done = cli("--url", url, "export", "m", "-o", str(out), "--keep-going")
    assert done.exit_code == 3
    assert 'm: "k": ' in done.output
    assert 'm: "s": ' in done.output
    keys = [json.loads(line)["key"] for line in out.read_text().splitlines()]
    assert keys == [{"!key": "!x"}, "a", "z"]


def test_a_copy_names_what_it_cannot_read(tmp_path):
    """Everything else is copied, and the exit code says that something was not."""
    plant(tmp_path / "m.sqlite3", *BAD)
    to = f"sqlite:///{tmp_path}/to.sqlite3"
    done = cli("copy", f"sqlite:///{tmp_path}/m.sqlite3", to)
    assert done.exit_code == 1
    assert 'm: "k": ' in done.output
    assert {"a", "z"} <= set(LPCM("m", url=to))


def test_commands_take_a_stored_key(tmp_path):
    """What ``keys`` prints of an entry of others, ``get`` and ``del`` take."""
    plant(tmp_path / "m.sqlite3", *BAD)
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    (raw, *_) = cli("--url", url, "keys", "m").output.splitlines()
    assert raw == '{"!key":"!x"}'
    assert cli("--url", url, "get", "m", raw).output == '"x"\n'
    for key in (raw, "k", "s"):
        assert cli("--url", url, "del", "m", key).exit_code == 0
    assert list(LPCM("m", url=url)) == ["a", "z"]

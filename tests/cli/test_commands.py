"""The command line does what it says, to maps that only it touches."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from hypothesis import given

import lpcm
from lpcm import LPCM, OutcomeUnknown, StoreFull
from lpcm.cli import Commands, main
from lpcm.errors import BatchError
from lpcm.values.json_text import from_json, printable, to_json
from tests import strategies
from tests.dynamodb.tables import Table
from tests.signals import restore_interrupt
from tests.strategies import fingerprint


@pytest.fixture
def run(url):
    """Yield a function that runs a command line and returns its result."""

    def run(*words, stdin=None, code=0):
        result = CliRunner().invoke(main, [*map(str, words)], input=stdin)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    return run


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("7", 7),
        ('"7"', "7"),
        ("seven", "seven"),
        ("1.5", 1.5),
        ("null", None),
        ("", ""),
        ("-", "-"),
        ("nan", "nan"),
        ('{"!tuple":["eu",7]}', ("eu", 7)),
        ('{"!date":"2026-05-01"}', date(2026, 5, 1)),
    ],
)
def test_a_key_is_json_where_it_is_json(run, url, word, value):
    """A word that is JSON is what that says, any other is text; both come back the same."""
    LPCM("m")[value] = "here"
    assert run("get", "m", word).stdout == '"here"\n'
    assert from_json(run("keys", "m").stdout) == value
    assert run("del", "m", word).stdout == ""
    assert len(LPCM("m")) == 0


def test_text_takes_a_key_as_it_stands(run):
    """With ``--text``, 7 is the text that it is in the shell."""
    run("set", "m", "7", "[1]", "--text")
    assert LPCM("m").copy() == {"7": "[1]"}
    assert run("get", "m", "-t", "7").stdout == '"[1]"\n'
    assert run("get", "m", "7", code=1).stdout == ""


def test_set_get_with_a_lifetime(run):
    """``set --ttl`` lets the entry expire; ``get`` tells programs when, and its etag."""
    run("set", "m", "k", '{"a": [1, {"!decimal": "1.50"}]}', "--ttl", 60)
    entry = LPCM("m").entry("k")
    assert entry.value == {"a": [1, Decimal("1.50")]}
    found = json.loads(run("--json", "get", "m", "k").stdout)
    assert found["etag"] == str(entry.etag)  # a JSON number may be read as a float
    assert found["expires"] == entry.expires
    assert 50 < found["expires"] - time.time() <= 60
    run("set", "m", "k", 1, "--ttl", -1, code=3)


def test_a_value_can_come_from_the_standard_input(run):
    """``-`` as the value reads it from the standard input."""
    run("set", "m", "k", "-", stdin='{"a": 1}')
    assert LPCM("m")["k"] == {"a": 1}


def test_a_value_from_a_pipe_is_without_the_end_of_its_line(run):
    """A final newline is not part of the text, as in a shell; with --text it is."""
    run("set", "m", "k", "-", stdin="one\ntwo\n")
    assert LPCM("m")["k"] == "one\ntwo"
    run("set", "m", "k", "-", "--text", stdin="7\n")
    assert LPCM("m")["k"] == "7\n"
    run("set", "m", "k", "-", "--text", stdin="7\r\n")
    assert LPCM("m")["k"] == "7\r\n"


def test_bytes_from_a_pipe_that_are_no_text_are_called_that(run):
    """What is not UTF-8 is refused, with the byte, where it is, and what to write."""
    shown = run("set", "m", "k", "-", stdin=b"ab\xff", code=3).stderr
    assert shown.startswith("lpcm: the standard input is not UTF-8: byte 0xff at offset 2; ")
    assert "!bytes" in shown
    assert list(LPCM("m")) == []


def test_numbers_below_zero_are_words_and_misspelt_options_are_not(run):
    """-7 is a key or value wherever one can stand; what looks like an option is refused."""
    run("set", "m", "-7", "-1.5")
    assert LPCM("m").copy() == {-7: -1.5}
    assert run("get", "m", "-7").stdout == "-1.5\n"
    for words in (["set", "m", "k", "--tll"], ["del", "m", "-7", "--forec"], ["get", "m", "-x"]):
        assert "No such option" in run(*words, code=2).stderr
    run("set", "m", "k", "--text", "--", "--tll")
    assert LPCM("m").copy() == {-7: -1.5, "k": "--tll"}
    run("set", "--", "m", "k", "-x")  # behind -- nothing is an option
    run("set", "m", "--", "--ttl", "-8")
    assert LPCM("m").copy() == {-7: -1.5, "k": "-x", "--ttl": -8}
    run("set", "--", "-m", "k", "1")
    assert LPCM("-m").copy() == {"k": 1}
    run("del", "m", "-7", "--", "--ttl")
    assert len(LPCM("m")) == 1


def test_raw_writes_text_and_bytes_as_they_are(run):
    """``get --raw`` gives the very bytes, and nothing else."""
    LPCM("m").update(text="a\nb", bytes=b"\x00\xff", number=1)
    assert run("get", "m", "text", "--raw").stdout_bytes == b"a\nb"
    assert run("get", "m", "bytes", "--raw").stdout_bytes == b"\x00\xff"
    assert run("get", "m", "number", "--raw").stdout_bytes == b"1"
    assert run("get", "m", "none", "--raw", "--default", "a b").stdout_bytes == b"a b"
    run("--json", "get", "m", "text", "--raw", code=2)


def test_a_missing_key_is_exit_code_1(run):
    """What is not there is said in one line, with the key; ``--default`` stands in for it."""
    LPCM("m")["other"] = 1
    result = run("get", "m", "k", code=1)
    assert result.stdout == ""
    assert result.stderr == "lpcm: no such key: 'k'\n"
    assert run("get", "m", "k", "--default", "0").stdout == "0\n"
    assert json.loads(run("--json", "get", "m", "k", code=1).stderr)["error"] == "KeyError"
    run("del", "m", "k", code=1)
    run("del", "m", "k", "--force")


def test_increment(run):
    """``incr`` starts from nothing, takes what is negative, and prints the sum."""
    assert run("incr", "m", "k").stdout == "1\n"
    assert run("incr", "m", "k", -3).stdout == "-2\n"
    assert run("incr", "m", "k", "0.5").stdout == "-1.5\n"
    assert json.loads(run("--json", "incr", "m", "k").stdout) == {"key": "k", "value": -0.5}
    run("incr", "m", "k", "much", code=3)


def test_keys_and_items_are_lines_in_key_order(run):
    """A range can be chosen, reversed and cut short; lines are JSON, one entry each."""
    LPCM("m").update({"eu/de": 1, "eu/fr": [2], "us/ny": None, 7: (1,)})
    assert run("keys", "m").stdout == '7\n"eu/de"\n"eu/fr"\n"us/ny"\n'
    assert run("keys", "m", "--prefix", "eu/").stdout == '"eu/de"\n"eu/fr"\n'
    assert run("keys", "m", "--start", "eu/f", "--reverse").stdout == '"us/ny"\n"eu/fr"\n'
    assert run("keys", "m", "--stop", "eu/e", "--limit", 1).stdout == "7\n"
    assert run("keys", "m", "--limit", 0).stdout == ""
    assert run("items", "m", "--limit", 2).stdout == '7\t{"!tuple":[1]}\n"eu/de"\t1\n'
    lines = run("--json", "items", "m", "--prefix", "us").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "us/ny", "value": None}]


def test_count_and_maps(run):
    """Entries are counted, of a part too; maps are those ever written."""
    LPCM("b").update({"x/1": 1, "x/2": 2, "y": 3})
    LPCM("a")["k"] = 1
    assert run("count", "b").stdout == "3\n"
    assert run("count", "b", "--prefix", "x/").stdout == "2\n"
    assert run("maps").stdout == '"a"\n"b"\n'
    assert run("maps", "--count").stdout == '"a"\t1\n"b"\t3\n'
    assert json.loads(run("--json", "count", "b").stdout) == {"map": "b", "count": 3}


def test_another_url_and_namespace(run, tmp_path):
    """``--url`` and ``--namespace`` lead elsewhere."""
    other = f"sqlite:///{tmp_path}/other.sqlite3"
    run("--namespace", "apart", "--url", other, "set", "m", "k", 1)
    assert LPCM("m").get("k") is None
    assert LPCM("m", url=other).get("k") is None
    assert run("--namespace", "apart", "--url", other, "maps").stdout == '"m"\n'


def test_shared_options_stand_anywhere(run, tmp_path):
    """--url, --namespace and --json may follow the command, and are words behind --."""
    other = f"sqlite:///{tmp_path}/other.sqlite3"
    LPCM("elsewhere")["k"] = 1
    run("set", "m", "k", "1", "--url", other, "--namespace=apart")
    assert run("get", "m", "k", "--namespace", "apart", f"--url={other}").stdout == "1\n"
    assert json.loads(run("count", "m", "--json").stdout) == {"map": "m", "count": 0}
    run("set", "--text", "m", "--", "--json", "--url")
    assert LPCM("m").copy() == {"--json": "--url"}


# Terminals


def test_nothing_stored_can_drive_a_terminal(run):
    """Control characters, C1 and bidirectional ones included, are shown as escapes."""
    LPCM("m")["a\x1b]0;x\x07\n"] = "\x9b2J\u202egnp\U000e0001\u2028 é"
    output = run("items", "m").stdout
    assert output.rstrip("\n").replace("\t", "").isprintable()
    key, value = output.rstrip("\n").split("\t")
    assert {from_json(key): from_json(value)} == LPCM("m").copy()
    error = run("get", "m", "\x1b[31m", code=1).stderr
    assert error.rstrip("\n").isprintable()


@given(strategies.values())
def test_the_notation_is_exact(value):
    """Every value comes back from its notation, shown safely or not, equal and of its type."""
    text = to_json(value)
    assert fingerprint(from_json(text)) == fingerprint(value)
    assert fingerprint(from_json(printable(text))) == fingerprint(value)
    assert printable(text).isprintable()


# Errors


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["get", "m"], 2),
        (["get", "m", "k", "--nope"], 2),
        (["nope"], 2),
        (["--url", "redis://x", "get", "m", "k"], 3),
        (["--url", "memory://?tll=1", "get", "m", "k"], 3),
        (["get", "", "k"], 3),
        (["get", "m", "[1]"], 3),
        (["get", "m", "[1"], 3),
        (["get", "m", '{"!tupel":[]}'], 3),
        (["get", "m", "k" * 2000], 1),
        (["set", "m", "k" * 2000, "1"], 3),
        (["--url", "sqlite:////dev/null/x.sqlite3", "get", "m", "k"], 1),
        (["--url", "sqlite:////dev/null/x.sqlite3", "set", "m", "k", "1"], 4),
    ],
)
def test_what_is_wrong_has_an_exit_code(run, words, code):
    """Every failure is one line on the standard error (click's usage apart) and its own code."""
    LPCM("m")["other"] = 1
    result = run(*words, code=code)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code > 2:
        assert result.stderr.startswith("lpcm: ")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["get", "m"],
        ["get", "m", "k", "--nope"],
        ["import", "no-such-file"],
        ["get", "m", "[1"],
        ["get", "m", "none"],
        ["--url", "redis://ann:secret@host", "maps"],
        ["maps", "memcached://ann:secret@host"],
        ["import", "-k", "-"],
    ],
)
def test_errors_are_json_for_programs(run, words):
    """With --json every line on the standard error is an object, a wrong command line's too."""
    result = CliRunner().invoke(main, ["--json", *words], input="no\nno\n")
    assert result.exit_code in {1, 2, 3}
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert lines
    assert all(line.keys() == {"error", "message"} for line in lines)
    assert "secret" not in result.stderr


def test_no_command_is_the_help():
    """Without a command there is the help, once, and exit code 2."""
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert result.output.count("Usage:") == 1


def test_a_shell_completes_commands_and_maps(url):
    """Completion offers commands and the maps of a SQLite file; it makes no file."""
    shell = ShellComplete(main, {}, "lpcm", "_LPCM_COMPLETE")

    def offered(*words, start=""):
        return [item.value for item in shell.get_completions([*words], start)]

    assert "export" in offered(start="e")
    assert offered("get") == []
    assert not Path(lpcm.config.find().path).exists()
    LPCM("users")["k"] = LPCM("user groups")["k"] = LPCM("hits")["k"] = 1
    assert offered("get", start="u") == ["user groups", "users"]
    assert offered("export", "hits", start="user") == ["user groups", "users"]
    assert offered("--namespace", "apart", "count") == []
    assert offered("--url", "dynamodb://t12?region=eu-west-1", "count") == []
    assert offered("--url", "nonsense", "count") == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutcomeUnknown("lost"), 5),
        (StoreFull("full"), 4),
        (BatchError({"a": StoreFull("full"), "b": OutcomeUnknown("lost")}), 5),
    ],
)
def test_what_the_store_did_not_do(run, monkeypatch, error, code):
    """A store's failure is 4, an unknown outcome 5, the worst of a batch counts."""
    monkeypatch.setattr(LPCM, "increment", lambda *_: (_ for _ in ()).throw(error))
    run("incr", "m", "k", code=code)


def test_every_command_can_be_had(run):
    """Each command of the table exists, and is described in one line of the help."""
    shown = run("--help").stdout
    for name in Commands(name="lpcm").list_commands(None):
        assert f"\n  {name} " in shown
        assert run(name, "--help").stdout.startswith("Usage:")


# Export and import


VALUES = {
    "text": "a\x1bé",
    7: (1, 2.5, {3}),
    ("eu", 7): Decimal("1.50"),
    b"\x00": b"\xff",
    date(2026, 5, 1): datetime(2026, 5, 1, tzinfo=UTC),
    None: {"!": [frozenset({1, "a"}), {1: 2}]},
    0.5: float("inf"),
}


def test_export_and_import_keep_everything(run, tmp_path):
    """What is exported and imported elsewhere is the same, types and expiries included."""
    m = LPCM("m")
    m.update(VALUES)
    m.set("brief", 1, ttl=600)
    LPCM("other")["k"] = 1
    file, there = tmp_path / "all.jsonl", f"sqlite:///{tmp_path}/there.sqlite3"
    assert run("export", "-o", file).stdout == ""
    assert len(file.read_text().splitlines()) == len(VALUES) + 2
    for _ in range(2):  # the second time changes nothing
        run("--url", there, "import", file)
        copied = LPCM("m", url=there)
        assert fingerprint(copied.copy()) == fingerprint(m.copy())
        assert copied.entry("brief").expires == m.entry("brief").expires
        assert LPCM("other", url=there).copy() == {"k": 1}


def test_export_of_part_and_import_under_another_name(run):
    """One map, or part of it, can be exported, and imported into a map of another name."""
    LPCM("m").update({"a/1": 1, "a/2": 2, "b": 3})
    lines = run("export", "m", "--prefix", "a/").stdout
    result = run("--json", "import", "--map", "copy", stdin=lines)
    assert json.loads(result.stdout) == {"stored": 2, "expired": 0}
    assert LPCM("copy").copy() == {"a/1": 1, "a/2": 2}
    run("export", "--prefix", "a/", code=2)


def test_values_of_unknown_classes_pass_through(run):
    """A process without the class exports, shows and imports its objects as they are stored."""
    line = '{"map":"m","key":"k","value":[{"!@nowhere.Thing/3":{"a":{"!bytes":"eA=="}}}]}'
    run("import", stdin=line)
    assert run("get", "m", "k").stdout == '[{"!@nowhere.Thing/3":{"a":{"!bytes":"eA=="}}}]\n'
    assert run("export").stdout == f"{line}\n"


def test_import_leaves_out_what_has_expired(run):
    """An entry whose time is over is not stored; it is counted."""
    lines = '{"map":"m","key":1,"value":1,"expires":5}\n\n{"map":"m","key":2,"value":2}\n'
    result = run("--json", "import", stdin=lines)
    assert json.loads(result.stdout) == {"stored": 1, "expired": 1}
    assert LPCM("m").copy() == {2: 2}


def test_a_dry_run_writes_nothing(run):
    """``import --dry-run`` checks every line and stores none."""
    run("import", "--dry-run", stdin='{"map":"m","key":1,"value":1}\n')
    assert "is not there" in run("maps", code=1).stderr


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        '{"key":1,"value":2}',
        '{"map":7,"key":1,"value":2}',
        '{"map":"m","key":[1],"value":2}',
        '{"map":"m","key":1,"value":2,"ttl":5}',
        '{"map":"m","key":1,"value":2,"expires":"soon"}',
        '{"map":"m","key":1,"value":{"!tupel":[]}}',
        '{"map":"m","key":1,"value":NaN}',
    ],
)
def test_a_bad_line_is_named(run, line):
    """Import stops at a line it cannot use and says which one it is."""
    good = '{"map":"m","key":0,"value":0}\n'
    assert "line 3: " in run("import", stdin=f"{good}\n{line}\n{good}", code=3).stderr
    assert LPCM("m").copy() == {0: 0}  # what stands before it is stored


def test_keep_going_names_every_bad_line(run, tmp_path):
    """With --keep-going each line that cannot be used is named, whatever is wrong with it."""
    url = f"sqlite:///{tmp_path}/small.sqlite3?max_value=100"
    values = ["1", "[", f'"{"x" * 200}"', '{"!tupel":1}', "2"]
    lines = [f'{{"map":"m","key":{key},"value":{value}}}' for key, value in enumerate(values)]
    result = run("--json", "--url", url, "import", "-k", stdin="\n".join(lines), code=3)
    assert json.loads(result.stdout) == {"stored": 2, "expired": 0}
    messages = [json.loads(line)["message"] for line in result.stderr.splitlines()]
    named = [message.split(": ")[0] for message in messages]
    assert sorted(named) == ["line 2", "line 3", "line 4"]
    assert LPCM("m", url=url).copy() == {0: 1, 4: 2}
    # A file of another kind is not read to its end.
    shown = run("import", "-k", stdin="no\n" * 5000, code=3).stderr
    assert shown.endswith("lpcm: line 1001: so many lines cannot be used: is this an export?\n")
    assert shown.count("\n") == 1001


def test_a_line_that_the_store_refuses_is_named(run, tmp_path):
    """What is no entry of this store is named by its line; the other lines are stored."""
    url = f"sqlite:///{tmp_path}/small.sqlite3?max_value=100"
    lines = [
        f'{{"map":"m","key":{key},"value":"{"x" * size}"}}' for key, size in enumerate([1, 200, 1])
    ]
    told = run("--url", url, "import", stdin="\n".join(lines), code=3).stderr
    assert "'line 2': " in told
    assert list(LPCM("m", url=url)) == [0, 2]


def test_a_line_that_the_store_cannot_encode_is_named(run, dynoxide):
    """Where only the destination's form cannot hold a value, its line is named all the same."""
    table = Table(dynoxide.endpoint, "lines")
    deep = "[" * 32 + "0.5" + "]" * 32  # on DynamoDB a float has a tag, which is one level more
    lines = [f'{{"map":"m","key":{key},"value":{value}}}' for key, value in enumerate([1, deep, 2])]
    told = run("--url", table.url, "import", stdin="\n".join(lines), code=3).stderr
    assert told.startswith("lpcm: line 2: ")
    assert list(LPCM("m", url=table.url)) == [0]
    table.empty()
    table.close()


# A process of its own


def on_terminal(*words):
    """Run a command line with a terminal as its standard output and error; return what it shows."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "lpcm", *words]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait(timeout=60) in {0, 1}
    os.close(master)
    return shown.decode()


HOSTILE = "\x1b]0;x\x07\x9b2J\u202egnp\x08\r"


@pytest.mark.parametrize(
    "words",
    [
        ("get", "m", HOSTILE),
        ("get", "m", HOSTILE, "--raw"),
        ("get", "m", "bytes", "--raw"),
        ("get", "m", f"absent{HOSTILE}"),
        ("items", "m"),
        ("export",),
        ("maps", "--count"),
        ("--json", "items", "m"),
    ],
)
def test_a_real_terminal_is_never_driven(url, words):
    """On a terminal, no command passes on a control character, those of lines apart."""
    LPCM("m")[HOSTILE] = HOSTILE
    LPCM("m")["bytes"] = HOSTILE.encode("latin-1", "ignore")
    LPCM(HOSTILE)["k"] = 1
    seen = on_terminal(*words)
    assert "\\" in seen
    assert seen.replace("\r\n", "").replace("\t", "").isprintable()


def test_progress_is_shown_on_a_terminal_only(url, tmp_path):
    """A person sees how far an import is, whatever the map is called; a program sees nothing."""
    LPCM("[/red]").set_many(dict.fromkeys(range(3000), 1))
    file, there = tmp_path / "lines", f"sqlite:///{tmp_path}/there.sqlite3"
    assert "exporting" in on_terminal("export", "-o", str(file))
    assert "copying [/red]" in on_terminal("copy", url, there)
    assert "importing" in on_terminal("import", str(file))
    with start("import", str(file)) as process:
        assert process.communicate(timeout=60) == (b"", b"3,000 stored\n")


def start(*words, **options):
    command = [sys.executable, "-m", "lpcm", *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=restore_interrupt,  # noqa: PLW1509  # it takes no lock
        **options,
    )


def test_a_reader_may_leave(url):
    """Output into a pipe that closes early ends quietly, with exit code 0."""
    LPCM("m").set_many(dict.fromkeys(range(5000), "x" * 100))
    process = start("items", "m", env=os.environ)
    assert process.stdout.readline().startswith(b"0\t")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0
    process.stderr.close()


def test_an_interrupt_ends_it(url, tmp_path):
    """Ctrl-C ends a long command without a traceback; what it stored stays stored."""
    with start("import", stdin=subprocess.PIPE, env=os.environ) as process:
        for number in range(1500):
            process.stdin.write(b'{"map":"m","key":%d,"value":1}\n' % number)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while len(LPCM("m")) < 1000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        shown = process.stderr.read()
        # None is known yet where the signal came between the commit and the end of its call.
        assert shown in {
            b"lpcm: interrupted; %s entries are known to be stored; import FILE again\n" % number
            for number in (b"0", b"1,000")
        }
    assert len(LPCM("m")) == 1000

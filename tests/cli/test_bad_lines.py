"""What ``lpcm import --keep-going`` passes: any line at all, named by its number."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpcm import LPCM
from lpcm.cli import main

GOOD = b'{"map":"m","key":0,"value":0}'
BAD = [
    b"\xff\xfe",
    b'{"map":"m","key":"\xff","value":1}',
    b'{"map":"m","key":1,"value":' + b"[" * 600 + b"]" * 600 + b"}",
    b'{"map":"m","key":1,"value":' + b'{"a":' * 50_000 + b"}",
    b'{"map":"","key":1,"value":1}',
    b'{"map":"' + b"x" * 3000 + b'","key":1,"value":1}',
    b'{"map":"\\ud800","key":1,"value":1}',
    b'{"map":"m","key":1,"value":1,"expires":1e999}',
    b'{"map":"m","key":1,"value":1,"expires":' + b"9" * 400 + b"}",
    b'{"map":"m","key":1,"value":1,"expires":1e300}',
    b'{"map":"m","key":1,"value":' + b"9" * 5000 + b"}",
    b'{"map":"m","key":{"!tuple":5},"value":1}',
    b'{"map":"m","key":1,"value":{"!set":[[1]]}}',
    b'{"map":"m","key":1,"value":"\\ud800"}',
]


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_passed_and_named(url, line):
    """Each line that is no entry is named by its number, and the lines around it are stored."""
    last = GOOD.replace(b'"key":0', b'"key":2')
    result = CliRunner().invoke(main, ["import", "-k"], input=b"\n".join([GOOD, line, last]))
    assert result.exit_code == 3, result.exception
    assert result.stderr.splitlines()[0].startswith("lpcm: line 2: ")
    assert LPCM("m").copy() == {0: 0, 2: 0}


@pytest.fixture
def tzdata(tmp_path, monkeypatch):
    """Lay out what the package tzdata has for Europe: there alone zoneinfo opens directories."""
    for name in ("tzdata", "tzdata/zoneinfo", "tzdata/zoneinfo/Europe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [each for each in sys.modules if each.partition(".")[0] == "tzdata"]:
        del sys.modules[name]


@pytest.mark.parametrize("zone", ["Europe", "x" * 5000, "a/" * 2000, ".", "../..", "", "zone.tab"])
def test_a_zone_that_is_none_is_imported(url, zone, tzdata):
    """A time zone that is a directory, or no file's name, leaves the offset: no error."""
    value = json.dumps({"!datetime": f"2026-05-01T12:00:00+02:00[{zone or 'x'}]"})
    line = f'{{"map":"m","key":0,"value":{value}}}'
    result = CliRunner().invoke(main, ["import"], input=line)
    assert result.exit_code == 0, (result.output, result.exception)
    assert LPCM("m")[0].isoformat() == "2026-05-01T12:00:00+02:00"


def test_no_line_breaks_an_import(url):
    """Whatever a file holds, an import that keeps going ends with 0 or 3, and stores the rest."""
    pieces = st.sampled_from([
        b'{"map":"m","key":', b'"value":', b'"expires":', b",", b"}", b"[", b"]", b'"', b"1",
        b'{"!datetime":"2026-05-01T12:00:00+00:00[Europe]"}', b'{"!decimal":"1e99"}', b"1e400",
        b'{"!@x/1":', b"null", b"\xff", b"\\u0000", b'"a"', b"\x00",
    ])  # fmt: skip
    lines = st.one_of(st.binary(max_size=40), st.lists(pieces, max_size=12).map(b"".join))

    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(lines)
    def check(line):
        LPCM("m").clear()
        given = b"\n".join([GOOD, line.replace(b"\n", b"").replace(b"\r", b""), GOOD])
        result = CliRunner().invoke(main, ["import", "-k"], input=given)
        assert result.exit_code in {0, 3}, result.exception
        assert LPCM("m")[0] == 0

    check()


def test_no_words_break_a_command(url):
    """Whatever words a command is given, it ends with one of its exit codes and no traceback."""
    words = st.one_of(
        st.text(max_size=20).filter(lambda word: not word.startswith("-")),
        st.sampled_from([
            "[" * 600 + "]" * 600, "[" * 100_000, "1e400", "9" * 5000, '{"!decimal":"1e999999"}',
            '{"!datetime":"0001-01-01T00:00:00+23:59"}', "x" * 2000, "\ud800", '{"!tuple":[[]]}',
            '{"!timedelta":1e400}', '{"!int":"z"}', "nan", "-1", "", '{"!float":"nan"}', "\x00",
            '{"!datetime":"9999-12-31T23:59:59-12:00[Asia/Tokyo]"}', '{"!set":[1,[2]]}',
        ]),
    )  # fmt: skip
    commands = st.one_of(
        st.tuples(st.sampled_from(["get", "del", "incr"]), words, words),
        st.tuples(st.just("set"), words, words, words),
        st.tuples(st.just("set"), words, words, words, st.just("--ttl"), words),
        st.tuples(st.sampled_from(["keys", "items", "count", "export"]), words),
        st.tuples(st.sampled_from(["keys", "items"]), words, st.just("--prefix"), words),
        st.tuples(st.just("keys"), words, st.just("--start"), words, st.just("--limit"), words),
        st.tuples(st.just("incr"), words, words, words),
    )

    @settings(max_examples=100, deadline=None, database=None)
    @given(commands)
    def check(command):
        result = CliRunner().invoke(main, list(command))
        assert result.exit_code in {0, 1, 2, 3, 4, 5}, (command, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), command

    check()

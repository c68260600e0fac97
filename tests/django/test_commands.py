"""``manage.py create_lpcm_table`` and ``manage.py lpcm``."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from lpcm import LPCM
from lpcm.django import stores

if TYPE_CHECKING:
    from pathlib import Path

    from checks.servers import Server


def say(*arguments: str) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("real")
def test_create_lpcm_table(dynoxide: Server):
    """It makes the table of an alias, twice without harm, and maps work in it."""
    url = f"dynamodb://django_made?endpoint={dynoxide.endpoint}&region=eu-west-1"
    table = {"read_units": 3, "write_units": 4}
    with override_settings(LPCM={"aws": {"STORE": url, "TABLE": table}}):
        for outcome in ("was created", "was there"):
            assert f"dynamodb://django_made {outcome}" in say("create_lpcm_table", "--using", "aws")
        LPCM("m", using="aws")["k"] = 1
        assert LPCM("m", using="aws")["k"] == 1
        store = stores["aws"].store._store  # past the shards of maps
        described = store._transport.call("DescribeTable", {"TableName": "django_made"}, 10)
        from lpcm.engine.drive import run

        provisioned = run(described).body["Table"]["ProvisionedThroughput"]
        assert (provisioned["ReadCapacityUnits"], provisioned["WriteCapacityUnits"]) == (3, 4)


def test_nothing_to_create():
    """A store without tables needs none; half a provision and unknown aliases are refused."""
    with override_settings(LPCM={"default": {"STORE": "memory://x"}}):
        assert say("create_lpcm_table") == "memory://x needs no table.\n"
        with pytest.raises(CommandError, match="both"):
            say("create_lpcm_table", "--read-units", "1")
    with pytest.raises(CommandError, match="no alias 'none'"):
        say("create_lpcm_table", "--using", "none")


def test_the_command_line(capsys: pytest.CaptureFixture[str]):
    """``manage.py lpcm`` is the command line, on the project's maps; its failure is one here."""
    LPCM("m")["k"] = "value"
    call_command("lpcm", "get", "m", "k")
    assert "value" in capsys.readouterr().out
    with pytest.raises(CommandError):
        call_command("lpcm", "no-such-command")


class Manage(Protocol):
    """Runs ``manage.py lpcm`` and returns its result."""

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def manage(tmp_path: Path) -> Manage:
    """Return a function that runs ``manage.py lpcm`` in a project with two aliases."""
    (tmp_path / "two_stores.py").write_text(
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['lpcm']\n"
        "LPCM = {\n"
        f"    'default': {{'STORE': 'sqlite:///{tmp_path}/a.sqlite3',\n"
        "                'OPTIONS': {'namespace': 'shop'}},\n"
        f"    'local': {{'STORE': 'sqlite:///{tmp_path}/b.sqlite3'}},\n"
        "}\n"
    )
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("LPCM_")},
        "DJANGO_SETTINGS_MODULE": "two_stores",
        "PYTHONPATH": str(tmp_path),
    }

    def manage(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "django", "lpcm", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return manage


def test_the_command_line_of_an_alias(manage: Manage):
    """``manage.py lpcm --using`` works on the maps of that alias, and refuses an unknown one."""
    manage("set", "m", "k", "1")
    manage("--using", "local", "set", "m", "k", "2")
    assert manage("get", "m", "k", "--using=local").stdout == "2\n"
    assert manage("get", "m", "k").stdout == "1\n"
    assert manage("maps", "--using", "local").stdout == '"m"\n'
    assert "'none'" in manage("--using", "none", "maps", code=3).stderr


def test_the_doctor_of_an_alias(manage: Manage, tmp_path: Path):
    """``manage.py lpcm doctor`` looks at the project's maps, with --using at those of an alias."""
    manage("set", "m", "k", "1")
    assert f"{tmp_path}/a.sqlite3" in manage("doctor").stdout
    missing = manage("doctor", "--using", "local", code=1).stdout
    assert f"{tmp_path}/b.sqlite3 is not there" in missing


def test_the_command_line_keeps_the_namespace(manage: Manage, tmp_path: Path):
    """Another URL is read in the alias's namespace, unless the URL or an option names one."""
    other = f"sqlite:///{tmp_path}/other.sqlite3"
    manage("--url", other, "set", "m", "k", "1")
    assert manage("--url", other, "--namespace", "shop", "get", "m", "k").stdout == "1\n"
    assert manage("--url", f"{other}?namespace=shop", "get", "m", "k").stdout == "1\n"
    manage("--url", other, "--namespace", "default", "get", "m", "k", code=1)
    manage("--url", f"{other}?namespace=apart", "get", "m", "k", code=1)


def test_the_help_of_the_command_line(manage: Manage):
    """The help is about the project's maps, and ``verify`` asks for the URL it needs."""
    shown = manage("--help").stdout
    assert "setting LPCM" in shown
    assert "LPCM_URL" not in shown
    assert "--using ALIAS" in shown
    assert "--url" in manage("verify", code=2).stderr

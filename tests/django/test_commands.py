"""``manage.py create_lpcm_table`` and ``manage.py lpcm``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from lpcm import LPCM
from lpcm.django import stores

if TYPE_CHECKING:
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
        for told in ("was created", "was there"):
            assert f"dynamodb://django_made {told}" in say("create_lpcm_table", "--using", "aws")
        LPCM("m", using="aws")["k"] = 1
        assert LPCM("m", using="aws")["k"] == 1
        store = stores["aws"].store
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

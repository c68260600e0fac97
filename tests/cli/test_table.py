"""``lpcm table`` and ``lpcm iam``, on the engines and for other tools."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lpcm.cli import main
from tests.dynamodb.tables import Table

URL = "dynamodb://shop?region=eu-west-1"


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs a command line and returns its result."""
    monkeypatch.delenv("LPCM_NAMESPACE", raising=False)
    monkeypatch.setenv("LPCM_URL", URL)

    def run(*words, code=0):
        result = CliRunner().invoke(main, [*map(str, words)])
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture(params=["dynoxide", "extenddb"])
def engine(request):
    """Yield the URL of a table that is not there, on each engine."""
    server = request.getfixturevalue(request.param)
    return f"dynamodb://{request.param}-cli?region=eu-west-1&endpoint={server.endpoint}"


def test_a_table_is_made_once_and_shown(run, engine):
    """Made once, it is not made again; show says what it is; then a map works on it."""
    missing = run("--url", engine, "table", "show", code=1)
    assert "lpcm table create" in missing.stderr
    assert missing.stderr.count("\n") == 1
    assert "created" in run("--url", engine, "table", "create").stdout
    again = run("--json", "--url", engine, "table", "create", "--read", 5, "--write", 5)
    assert json.loads(again.stdout)["created"] is False
    shown = json.loads(run("--json", "--url", engine, "table", "show").stdout)
    assert (shown["status"], shown["ttl"], shown["ours"]) == ("ACTIVE", "x", True)
    assert shown["billing"] == "on demand"
    assert "pk HASH S, sk RANGE S" in run("--url", engine, "table", "show").stdout
    run("--url", engine, "set", "m", "k", "1")
    assert run("--url", engine, "get", "m", "k").stdout == "1\n"


def test_point_in_time_recovery(run, extenddb):
    """--recovery turns it on, on a table that is there too; show tells."""
    url = f"dynamodb://recovered?region=eu-west-1&endpoint={extenddb.endpoint}"
    run("--url", url, "table", "create", "--read", 3, "--write", 4)
    shown = json.loads(run("--json", "--url", url, "table", "show").stdout)
    assert (shown["recovery"], shown["billing"]) == ("off", "3 read and 4 write units")
    run("--url", url, "table", "create", "--recovery")
    assert json.loads(run("--json", "--url", url, "table", "show").stdout)["recovery"] == "on"


def test_a_table_of_others_is_left_alone(run, dynoxide):
    """A table with other keys is refused by create, and shown as what it is, with exit code 1."""
    table = Table(dynoxide.endpoint, "others")
    table.call(
        "CreateTable",
        TableName="foreign",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    url = f"dynamodb://foreign?region=eu-west-1&endpoint={dynoxide.endpoint}"
    assert "id HASH N" in run("--url", url, "table", "create", code=4).stderr
    shown = run("--url", url, "table", "show", code=1)
    assert "not those of lpcm" in shown.stderr
    assert "id HASH N" in shown.stdout
    ttl = table.call("DescribeTimeToLive", TableName="foreign")
    table.close()
    assert ttl["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


@pytest.mark.parametrize("options", [(), ("--read", 5, "--write", 7, "--recovery")])
def test_templates_say_the_same_table(run, options):
    """Each format has the keys, the TTL attribute, billing and recovery that were asked for."""
    made = {
        name: run("table", "template", "--format", name, *options).stdout
        for name in ("json", "cloudformation", "terraform", "cdk")
    }
    formed = json.loads(made["cloudformation"])["Resources"]["Table"]
    assert formed["DeletionPolicy"] == formed["UpdateReplacePolicy"] == "Retain"
    requests = json.loads(made["json"])
    properties = formed["Properties"]
    assert requests["create-table"].items() <= properties.items()
    assert (
        requests["update-time-to-live"]["TimeToLiveSpecification"]
        == properties["TimeToLiveSpecification"]
    )
    assert ("update-continuous-backups" in requests) is bool(options)
    assert properties["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": bool(options)
    }
    words = made["terraform"].split()
    settings = dict(zip(words, words[2:], strict=False))
    assert settings["hash_key"] == '"pk"'
    assert settings["range_key"] == '"sk"'
    assert settings["attribute_name"] == '"x"'
    assert settings["prevent_destroy"] == "true"
    assert settings["billing_mode"] == ('"PROVISIONED"' if options else '"PAY_PER_REQUEST"')
    assert (settings.get("read_capacity"), settings.get("write_capacity")) == (
        ("5", "7") if options else (None, None)
    )
    compile(made["cdk"], "cdk", "exec")
    assert f"point_in_time_recovery_enabled={bool(options)}" in made["cdk"]
    assert ("read_capacity=5" in made["cdk"]) is bool(options)
    assert all('"shop"' in text for text in made.values())


def test_the_policy_is_json_for_what_is_named(run):
    """The policy is for the table, a namespace or a map; --why says what each action is for."""
    whole = json.loads(run("iam").stdout)
    assert [each["Sid"] for each in whole["Statement"]] == ["Read", "Write"]
    assert not any("Condition" in each for each in whole["Statement"])
    assert whole["Statement"][0]["Resource"] == "arn:aws:dynamodb:eu-west-1:*:table/shop"
    reader = json.loads(run("iam", "--read-only", "--map", "users").stdout)
    assert reader["Statement"][0]["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["default/users/*"]}
    }
    assert [each["Sid"] for each in reader["Statement"]] == ["Read", "Catalogue"]
    apart = json.loads(run("--namespace", "eu", "iam", "--account", "123456789012").stdout)
    assert "eu/*" in json.dumps(apart)
    assert "eu-west-1:123456789012:table/shop" in json.dumps(apart)
    assert "dynamodb:CreateTable" in run("iam", "--administer").stdout
    explained = [line.split(maxsplit=1) for line in run("iam", "--why").stdout.splitlines()]
    allowed = {action for each in whole["Statement"] for action in each["Action"]}
    assert {action for action, _ in explained} == allowed
    assert all(why for _, why in explained)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--url", "sqlite:///x.sqlite3", "table", "show"], 2),
        (["table", "create", "--read", 5], 2),
        (["table", "create", "--read", 0, "--write", 1], 2),
        (["table", "template", "--format", "pulumi"], 2),
        (["--url", "dynamodb://arn:aws:dynamodb:eu-west-1:1:table/x", "table", "template"], 2),
        (["iam", "--registered"], 2),
        (["iam", "--administer", "--read-only"], 2),
        (["--url", "dynamodb://shop?regoin=x", "iam"], 3),
    ],
)
def test_what_is_wrong_has_an_exit_code(run, words, code):
    """A wrong command line is 2, an URL that cannot be used 3; nothing is asked or made."""
    assert run(*words, code=code).stdout == ""


def test_a_template_imports_no_botocore():
    """What asks nobody needs nothing of AWS: botocore is not imported."""
    code = (
        "import sys; from lpcm.cli import main; main(['iam'], standalone_mode=False); "
        "sys.exit('botocore' in sys.modules)"
    )
    environment = {**os.environ, "LPCM_URL": URL}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr

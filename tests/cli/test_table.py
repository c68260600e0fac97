"""``lpcm table`` and ``lpcm iam``, on the engines and for other tools."""

import json
import os
import subprocess
import sys

import boto3
import moto
import pytest
from botocore.config import Config
from click.testing import CliRunner

from lpcm.cli import main
from lpcm.engine.drive import run as run_all
from lpcm.stores.dynamodb.http.boto3_client import ClientTransport
from lpcm.stores.dynamodb.table.advice import advice
from lpcm.stores.dynamodb.table.design import Design
from lpcm.stores.dynamodb.table.scaling import scale
from lpcm.stores.dynamodb.table.table import OWN_KEY, Table, create_table, describe_table
from tests.dynamodb import tables

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
    table = tables.Table(dynoxide.endpoint, "others")
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


ALL = (
    "--read", 5, "--write", 7, "--scale-to", 50, 70, "--warm", 12000, 4000, "--recovery",
    "--protected", "--kms-key", "arn:aws:kms:eu-west-1:1:key/k", "--infrequent",
    "--tag", "team=shop", "--tag", 'q="${x}=1',
)  # fmt: skip


def test_templates_say_what_the_owner_wants(run):
    """Each format has protection, key, class, tags, warm throughput and auto scaling."""
    made = {
        name: run("table", "template", "--format", name, *ALL).stdout
        for name in ("cloudformation", "terraform", "cdk")
    }
    resources = json.loads(made["cloudformation"])["Resources"]
    properties = resources["Table"]["Properties"]
    assert properties["DeletionProtectionEnabled"] is True
    assert properties["SSESpecification"] == {
        "SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": "arn:aws:kms:eu-west-1:1:key/k",
    }  # fmt: skip
    assert properties["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert properties["WarmThroughput"] == {
        "ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 4000,
    }  # fmt: skip
    tags = [{"Key": "team", "Value": "shop"}, {"Key": "q", "Value": '"${x}=1'}]
    assert properties["Tags"] == tags
    targets = [resources[f"{kind}Target"]["Properties"] for kind in ("Read", "Write")]
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in targets] == [(5, 50), (7, 70)]
    assert {"ReadPolicy", "WritePolicy"} <= resources.keys()
    words = " ".join(made["terraform"].split())
    for part in (
        "deletion_protection_enabled = true",
        'server_side_encryption { enabled = true kms_key_arn = "arn:aws:kms:eu-west-1:1:key/k" }',
        'table_class = "STANDARD_INFREQUENT_ACCESS"',
        "warm_throughput { read_units_per_second = 12000 write_units_per_second = 4000 }",
        r"""tags = { "team" = "shop" "q" = "\"$${x}=1" }""",
        "ignore_changes = [read_capacity, write_capacity]",
        "min_capacity = 7 max_capacity = 70",
        'predefined_metric_type = "DynamoDBWriteCapacityUtilization"',
    ):
        assert part in words, part
    compile(made["cdk"], "cdk", "exec")
    for part in (
        "deletion_protection=True",
        "TableClass.STANDARD_INFREQUENT_ACCESS",
        "WarmThroughput(read_units_per_second=12000, write_units_per_second=4000)",
        "min_capacity=7, max_capacity=70",
        'add("q", "\\"${x}=1")',
        'from_key_arn(self, "Key", "arn:aws:kms:eu-west-1:1:key/k")',
    ):
        assert part in made["cdk"], part
    limited = run("table", "template", "--format", "json", "--most", 100, 50).stdout
    assert json.loads(limited)["create-table"]["OnDemandThroughput"] == {
        "MaxReadRequestUnits": 100, "MaxWriteRequestUnits": 50,
    }  # fmt: skip


def test_what_the_owner_wants_is_made(aws, monkeypatch):
    """Botocore takes the whole request, as AWS's model of it says, and Application Auto Scaling."""
    wanted = Design(
        (5, 7), (50, 70), None, (12000, 4000), False, True, "alias/k", True, (("a", "b"),)
    )
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto.mock_aws():
        once = Config(retries={"total_max_attempts": 1})
        client = boto3.client("dynamodb", region_name="eu-west-1", config=once)
        assert run_all(create_table(ClientTransport(client), "whole", wanted)) is True
        made = client.describe_table(TableName="whole")["Table"]
        assert made["DeletionProtectionEnabled"] is True
        assert made["SSEDescription"]["SSEType"] == "KMS"
        arn = made["TableArn"]
        assert client.list_tags_of_resource(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
        found = run_all(describe_table(ClientTransport(client), "whole"))
        assert found.protected
        assert found.tags == (("a", "b"),)
        scale("whole", wanted, "eu-west-1", None)
        scaling = boto3.client("application-autoscaling", region_name="eu-west-1")
        targets = scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"]
        policies = scaling.describe_scaling_policies(ServiceNamespace="dynamodb")["ScalingPolicies"]
    limits = {
        each["ScalableDimension"]: (each["MinCapacity"], each["MaxCapacity"]) for each in targets
    }
    assert limits == {
        "dynamodb:table:ReadCapacityUnits": (5, 50), "dynamodb:table:WriteCapacityUnits": (7, 70),
    }  # fmt: skip
    assert {each["PolicyName"] for each in policies} == {"whole-read", "whole-write"}


def test_a_table_is_compared_with_what_is_recommended(run, engine):
    """Check says of each part whether it is well, with its fix; notes alone are no failure."""
    missing = engine.replace("-cli?", "-missing?")
    assert "lpcm table create" in run("--url", missing, "table", "check", code=1).stderr
    run("--url", engine, "table", "create")
    lines = run("--json", "--url", engine, "table", "check").stdout.splitlines()
    found = {each["about"]: each for each in map(json.loads, lines)}
    assert found["table"]["state"] == found["ttl"]["state"] == "ok"
    assert found["recovery"]["state"] in {"ok", "note"}  # dynoxide does not tell
    assert "--deletion-protection-enabled" in found["protection"]["fix"]
    assert "Nothing is wrong." in run("--url", engine, "table", "check").stdout


SCALED = ("--read", 5, "--write", 5, "--scale-to", 9, 9)
FOUND = Table(
    "t", "arn", "ACTIVE", ("pk HASH S", "sk RANGE S"), True, "on demand", 0, 0, "x", "on", True,
    OWN_KEY, "STANDARD", "", "", (), "", (),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "about", "state"),
    [
        ({}, "protection", "ok"),
        ({"replicas": ("eu-west-3",), "consistency": "EVENTUAL"}, "replicas", "wrong"),
        ({"replicas": ("eu-west-3",), "consistency": "STRONG"}, "replicas", "note"),
        ({"replicas": ("a",), "consistency": "STRONG", "ttl": "off"}, "ttl", "note"),
        ({"ttl": "off"}, "ttl", "wrong"),
        ({"ttl": "y"}, "ttl", "wrong"),
        ({"status": "CREATING"}, "table", "wrong"),
        ({"ours": False}, "table", "wrong"),
        ({"table_class": "STANDARD_INFREQUENT_ACCESS"}, "class", "note"),
        ({"most": "5 read and 5 write units"}, "limit", "note"),
        ({"recovery": "off"}, "recovery", "note"),
        ({"recovery": "unknown"}, "recovery", "ok"),
    ],
)
def test_advice(changes, about, state):
    """Each thing that may be otherwise is found, and what breaks a promise is wrong."""
    found = {finding.about: finding for finding in advice(FOUND._replace(**changes))}
    assert found[about].state == state
    others = {finding.state for finding in found.values() if finding.about != about}
    assert "wrong" not in others


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
        (["table", "create", "--scale-to", 5, 5], 2),
        (["table", "create", "--read", 5, "--write", 5, "--scale-to", 9, 4], 2),
        (["table", "create", "--read", 5, "--write", 5, "--most", 9, 9], 2),
        (["table", "create", "--tag", "team"], 2),
        (
            [
                "--url",
                f"{URL}&endpoint=http://127.0.0.1:1",
                "table",
                "create",
                "--read",
                5,
                "--write",
                5,
                "--scale-to",
                9,
                9,
            ],
            2,
        ),
        (
            [
                "table",
                "template",
                "--format",
                "json",
                "--read",
                5,
                "--write",
                5,
                "--scale-to",
                9,
                9,
            ],
            2,
        ),
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

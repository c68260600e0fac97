"""Where keys and endpoints come from: the environment alone, by botocore's rules, else botocore."""

import datetime as dt
import json
import os
import subprocess
import sys
import time

import botocore.session
import pytest

from lpcm import ConfigError, StoreDenied
from lpcm.stores.dynamodb.http import containers, sources
from lpcm.stores.dynamodb.http.sources import Wanted, find
from tests.transport.canned import answer, canned

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
ANYWHERE = Wanted(None, None, None, None)


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    """Leave no source of AWS keys or settings."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BOTO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def given(monkeypatch):
    """Set variables: ``given(**variables)``."""

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def both(wanted):
    """Return what the environment and what botocore says."""
    by_itself, botocores = sources._of_environment(wanted), sources._of_botocore(wanted)
    return tuple(each and (each.ask(), *each[1:]) for each in (by_itself, botocores))


REGIONS = botocore.session.Session().get_available_regions("dynamodb")


@pytest.mark.parametrize("region", [*REGIONS, "us-gov-west-1", "cn-north-1", "xx-new-1"])
def test_each_region_has_botocores_endpoint(given, region):
    """In AWS's main partition the environment is enough; any other region is left to botocore."""
    given(**KEYS, AWS_DEFAULT_REGION=region)
    found, botocores = both(ANYWHERE)
    assert found == (botocores if region in REGIONS else None)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_SESSION_TOKEN": "c"},
        {"AWS_SECURITY_TOKEN": "d", "AWS_SESSION_TOKEN": "c"},
        {"AWS_SECURITY_TOKEN": "", "AWS_SESSION_TOKEN": "c"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:8000"},
        {"AWS_ENDPOINT_URL": "http://x:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://y:2"},
        {"AWS_CA_BUNDLE": "/a.pem", "REQUESTS_CA_BUNDLE": "/b.pem"},
        {"REQUESTS_CA_BUNDLE": "/b.pem"},
        {"AWS_ACCOUNT_ID": "123456789012"},
        {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "Preferred", "AWS_ACCOUNT_ID": "123456789012"},
        {"AWS_REGION": "us-east-1", "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_XRAY_DAEMON_ADDRESS": ""},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/keys"},
    ],
)
@pytest.mark.parametrize(
    "wanted",
    [ANYWHERE, Wanted("sa-east-1", None, None, "/c.pem"), Wanted("x", "http://z", None, None)],
)
def test_the_environment_decides_as_botocore_does(given, variables, wanted):
    """Each of these variables means to lpcm what it means to botocore, and is enough."""
    given(**KEYS, AWS_DEFAULT_REGION="eu-west-3", **variables)
    found, botocores = both(wanted)
    assert found == botocores


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": "p"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        {"AWS_CREDENTIAL_EXPIRATION": "2100-01-01T00:00:00Z"},
        {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "required"},
        {"AWS_SOMETHING_NEW": "1"},
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_DEFAULT_REGION": ""},
    ],
)
def test_what_is_not_certain_is_left_to_botocore(given, variables):
    """A variable that might change something else leaves all to botocore."""
    given(**{**KEYS, "AWS_DEFAULT_REGION": "eu-west-3", **variables})
    assert sources._of_environment(ANYWHERE) is None


@pytest.mark.parametrize("name", ["credentials", "config"])
def test_a_file_of_configuration_is_left_to_botocore(given, tmp_path, name):
    """With a file of ``~/.aws`` there, botocore decides."""
    given(**KEYS, AWS_DEFAULT_REGION="eu-west-3")
    assert sources._of_environment(ANYWHERE) is not None
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / name).write_text("[default]\nendpoint_url = http://elsewhere:1\n")
    assert sources._of_environment(ANYWHERE) is None
    assert find(ANYWHERE).target.host == "elsewhere"


def test_a_profile_that_is_named_is_left_to_botocore(given):
    """Keys of the environment are not those of a profile."""
    given(**KEYS, AWS_DEFAULT_REGION="eu-west-3")
    with pytest.raises(ConfigError, match="absent"):
        find(Wanted(None, None, "absent", None))


def test_the_endpoint_of_an_account(given):
    """Where the mode requires it, requests go to the endpoint of the keys' account."""
    given(**KEYS, AWS_DEFAULT_REGION="eu-west-3", AWS_ACCOUNT_ID_ENDPOINT_MODE="required")
    with pytest.raises(ConfigError, match="'required'"):
        find(ANYWHERE)
    given(AWS_ACCOUNT_ID="123456789012")
    assert find(ANYWHERE).target.url == "https://123456789012.ddb.eu-west-3.amazonaws.com"


def test_nothing_of_botocore_is_imported(given):
    """A first read by keys of the environment imports no botocore."""
    program = (
        "import sys, lpcm\n"
        "m = lpcm.LPCM('m', url=sys.argv[1])\n"
        "assert m.get('k', 0) == 0\n"
        "print([name for name in sys.modules if name.startswith('boto')])\n"
    )
    given(**KEYS)
    with canned(lambda peer: peer.serve_all(answer(b"{}"))) as server:
        url = f"dynamodb://table?region=eu-west-1&endpoint={server.endpoint}"
        done = subprocess.run(
            [sys.executable, "-c", program, url],
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
    assert done.stdout == "[]\n", done.stderr


# Containers


def keys_of(number, seconds):
    """Return an answer of a container's address, whose keys end after so many seconds."""
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    body = {
        "AccessKeyId": f"A{number}",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "AccountId": "123456789012",
    }
    return answer(json.dumps(body).encode(), headers=["Connection: close"])


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(containers, "_PAUSE", 0.01)


@pytest.mark.parametrize("token", ["variable", "file", None])
def test_the_keys_of_a_container(given, tmp_path, token):
    """They are asked for with the token, as botocore does, and again when they are about to end."""
    replies = [keys_of(1, 3600), keys_of(2, 600), keys_of(3, 3600), keys_of(3, 3600)]
    with canned(lambda peer: peer.serve(replies[peer.number])) as server:
        given(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.endpoint}/v2/keys?id=1",
            AWS_DEFAULT_REGION="eu-west-3",
        )
        if token == "variable":
            given(AWS_CONTAINER_AUTHORIZATION_TOKEN="Basic x")
        elif token == "file":
            (tmp_path / "token").write_text("Basic x")
            given(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"))
        found = sources._of_environment(ANYWHERE)
        assert found.method == "container-role"
        assert [found.ask()[0][0] for _ in range(3)] == ["A1"] * 3
        found = sources._of_environment(ANYWHERE)
        assert [found.ask()[0][0] for _ in range(3)] == ["A2", "A3", "A3"]
        assert 3500 < found.ask()[1] - time.time() <= 3600
        assert sources._of_botocore(ANYWHERE).ask()[0] == found.ask()[0]
        heads = [head for _, head, _ in server.requests]
    assert len(heads) == 4
    for head in heads:
        assert head.startswith(b"GET /v2/keys?id=1 HTTP/1.1")
        assert (b"\r\nauthorization: basic x" in head.lower()) == (token is not None)


def test_keys_that_cannot_be_renewed_serve_until_their_end(given):
    """A container that stops answering costs nothing before its keys end."""
    replies = [keys_of(1, 600), *[answer(b"no", "500 Oh")] * 3, keys_of(2, 3600)]
    with canned(lambda peer: peer.serve(replies[peer.number])) as server:
        given(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.endpoint)
        container = containers.of_environment(os.environ)
        assert [container.ask()[0][0] for _ in range(3)] == ["A1", "A1", "A2"]
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b"{}", b'{"AccessKeyId": "a", "Expiration": 1}', b"null"]
)
def test_answers_of_a_container_that_are_no_keys(given, body):
    """After three such answers that is said."""
    with canned(lambda peer: peer.serve(answer(body, headers=["Connection: close"]))) as server:
        given(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.endpoint)
        with pytest.raises(StoreDenied, match="AWS keys of the container, from http"):
            containers.of_environment(os.environ).ask()
        assert len(server.requests) == 3


def test_who_is_asked_without_tls(given):
    """Only this machine and AWS's own addresses: keys do not cross a network in the open."""
    for host in ("169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "127.9.9.9", "localhost"):
        given(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{host}/keys")
        assert containers.of_environment(os.environ) is not None
    given(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://example.com/keys")
    with pytest.raises(StoreDenied, match=r"'example\.com' is not asked without TLS"):
        containers.of_environment(os.environ)
    given(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/keys")
    assert containers.of_environment(os.environ)._url == "http://169.254.170.2/keys"


def test_a_token_with_a_line_end(given):
    """Such a token is refused, and not shown."""
    given(
        AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/keys",
        AWS_CONTAINER_AUTHORIZATION_TOKEN="secret\n",
    )
    with pytest.raises(StoreDenied, match="nothing was sent") as caught:
        containers.of_environment(os.environ).ask()
    assert "secret" not in str(caught.value)

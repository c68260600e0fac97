"""Who asks, and where: what botocore finds, and how it is renewed."""

import os
import sys
import threading
import time

import pytest

from lpcm import ConfigError, StoreDenied
from lpcm.stores.dynamodb import identity as module
from lpcm.stores.dynamodb.identity import Identity
from lpcm.stores.dynamodb.port import NotSent
from tests.test_process import FORKS, seen_in_child

PROGRAM = """
import datetime as dt, json, os, sys, time
folder, seconds, takes = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
with open(f"{folder}/runs", "ab", 0) as runs:
    runs.write(b"<")
    time.sleep(takes)
    number = os.stat(f"{folder}/runs").st_size
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    keys = {"Version": 1, "AccessKeyId": f"AKID{number}", "SecretAccessKey": "s",
            "SessionToken": f"token {number}", "Expiration": expiry.isoformat()}
    print(json.dumps(keys))
    runs.write(b">")
"""


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Leave no source of AWS keys or settings but an empty configuration; return its file."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    config.write_text("")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    return config


@pytest.fixture
def program(bare, tmp_path):
    """Give what makes a program the source of keys, which expire; returns its record."""

    def make(expires_in, takes=0.0):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM)
        command = f"{sys.executable} {path} {tmp_path} {expires_in} {takes}"
        bare.write_text(f"[default]\nregion = eu-west-3\ncredential_process = {command}\n")
        return tmp_path / "runs"

    return make


def test_no_keys(bare):
    """Where no source has keys, that is said, with what to do; nothing is remembered."""
    asked = Identity("eu-west-1")
    assert asked.endpoint == "DynamoDB in eu-west-1"
    with pytest.raises(StoreDenied, match="AWS_ACCESS_KEY_ID"):
        asked.keys(20.0)
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert asked.keys(20.0) == ("a", "b", None)


def test_no_region(bare):
    """Where nothing names a region, that is said, with what to do."""
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    with pytest.raises(ConfigError, match="AWS_DEFAULT_REGION"):
        Identity().keys(20.0)


def test_no_profile(bare):
    """A profile that does not exist is a mistake of configuration."""
    with pytest.raises(ConfigError, match="absent"):
        Identity("eu-west-1", profile="absent").keys(20.0)


def test_the_endpoint_is_botocores(bare):
    """Region, profile and endpoint are what the AWS configuration says."""
    keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
    bare.write_text(
        f"[default]\nregion = eu-west-3\n{keys}[profile cn]\nregion = cn-north-1\n{keys}"
    )
    asked = Identity()
    asked.keys(20.0)
    assert asked.endpoint == "https://dynamodb.eu-west-3.amazonaws.com"
    asked = Identity(profile="cn")
    asked.keys(20.0)
    assert asked.endpoint == "https://dynamodb.cn-north-1.amazonaws.com.cn"
    assert asked.place.authority == "dynamodb.cn-north-1.amazonaws.com.cn"
    assert asked.place.port == 443


def test_the_endpoint_of_the_environment(bare, monkeypatch):
    """AWS_ENDPOINT_URL_DYNAMODB leads elsewhere, and what is given wins over it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    asked = Identity("eu-west-1")
    asked.keys(20.0)
    assert asked.endpoint == "http://127.0.0.1:8000"
    asked = Identity("eu-west-1", "http://127.0.0.1:9000")
    asked.keys(20.0)
    assert asked.endpoint == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:8000", "ftp://x", "http://", "http://x:y", "http://x/path", "http://a:b@x", "x"],
)
def test_no_endpoint(endpoint):
    """What is no endpoint is refused at once."""
    with pytest.raises(ConfigError, match="not an endpoint"):
        Identity("eu-west-1", endpoint)


def test_a_slow_source_of_keys(program):
    """Who has no time to wait for keys has sent nothing; who has gets them, by one look-up."""
    runs = program(expires_in=3600, takes=1.0)
    asked = Identity()
    start = time.monotonic()
    with pytest.raises(NotSent, match="no AWS keys"):
        asked.keys(0.2)
    assert time.monotonic() - start < 0.9
    assert asked.keys(20.0).access == "AKID1"
    assert runs.read_bytes() == b"<>"


def test_keys_are_renewed_before_they_expire(program, monkeypatch):
    """Keys about to expire are renewed by one thread; all others go on with what they have."""
    monkeypatch.setattr(module, "ASK_AGAIN", 0.05)
    runs = program(expires_in=700, takes=0.3)  # botocore renews from 900 seconds on
    asked = Identity()
    seen, slowest = set(), []
    first = asked.keys(20.0)
    end = time.monotonic() + 1.5

    def work():
        while time.monotonic() < end:
            start = time.monotonic()
            keys = asked.current(time.time()) or asked.keys(20.0)
            slowest.append(time.monotonic() - start)
            seen.add(keys)
            time.sleep(0.002)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert first in seen
    assert len(seen) > 1
    assert b"<<" not in runs.read_bytes()
    assert sorted(slowest)[len(slowest) * 99 // 100] < 0.25


def test_expired_keys_are_not_used(program, monkeypatch):
    """Where the keys have expired, callers wait for others; where those fail, that is said."""
    monkeypatch.setattr(module, "ASK_AGAIN", 0.0)
    program(expires_in=1)
    asked = Identity()
    first = asked.keys(20.0)
    time.sleep(1.1)
    program(expires_in=1, takes=0.2)
    assert asked.keys(20.0).access != first.access
    time.sleep(1.3)
    monkeypatch.setenv("PATH", "")
    (program(expires_in=1).parent / "program.py").write_text("raise SystemExit(3)")
    with pytest.raises(StoreDenied, match="cannot be had"):
        asked.keys(20.0)


def test_the_same_keys_stay_the_same(bare, monkeypatch):
    """Asking again for keys that did not change gives the same object: what was derived holds."""
    monkeypatch.setattr(module, "ASK_AGAIN", 0.0)
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    asked = Identity("eu-west-1")
    first = asked.keys(20.0)
    for _ in range(3):
        time.sleep(0.02)
        assert asked.keys(20.0) is first


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_during_the_look_up(fork, program):
    """A child forked while botocore was at work begins anew instead of waiting for ever."""
    import botocore.session  # noqa: F401  # an import under way would stay so in the child

    program(expires_in=3600, takes=1.5)
    asked = Identity()
    with pytest.raises(NotSent):
        asked.keys(0.7)
    assert seen_in_child(fork, lambda: asked.keys(20.0).access[:4]) == "'AKID'"
    assert asked.keys(20.0).access.startswith("AKID")

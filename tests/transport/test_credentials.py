"""Who asks, and where: what botocore finds, and how it is renewed."""

import os
import sys
import threading
import time

import botocore.session
import pytest

from lpcm import ConfigError, StoreDenied
from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http import credentials as module
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.port import NotSent
from lpcm.stores.dynamodb.retries import Caller
from tests.test_process import FORKS, seen_in_child
from tests.transport.canned import answer, canned

PROGRAM = """
import datetime as dt, json, os, sys, time
folder, seconds, takes = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
with open(f"{folder}/runs", "ab", 0) as runs:
    runs.write(b"<")
    time.sleep(takes)
    number = os.stat(f"{folder}/runs").st_size
    expiry = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    keys = {"Version": 1, "AccessKeyId": f"AKID{number}", "SecretAccessKey": "s",
            "SessionToken": f"token {expiry.timestamp()}", "Expiration": expiry.isoformat()}
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
    asked = Credentials("eu-west-1")
    assert asked.endpoint == "DynamoDB in eu-west-1"
    with pytest.raises(StoreDenied, match="AWS_ACCESS_KEY_ID"):
        asked.keys(20.0)
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert asked.keys(20.0) == ("a", "b", None)


def test_no_region(bare):
    """Where nothing names a region, that is said, with what to do."""
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    with pytest.raises(ConfigError, match="AWS_DEFAULT_REGION"):
        Credentials().keys(20.0)


def test_no_profile(bare):
    """A profile that does not exist is a mistake of configuration."""
    with pytest.raises(ConfigError, match="absent"):
        Credentials("eu-west-1", profile="absent").keys(20.0)


def test_the_endpoint_is_botocores(bare):
    """Region, profile and endpoint are what the AWS configuration says."""
    keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
    bare.write_text(
        f"[default]\nregion = eu-west-3\n{keys}[profile cn]\nregion = cn-north-1\n{keys}"
    )
    asked = Credentials()
    asked.keys(20.0)
    assert asked.endpoint == "https://dynamodb.eu-west-3.amazonaws.com"
    asked = Credentials(profile="cn")
    asked.keys(20.0)
    assert asked.endpoint == "https://dynamodb.cn-north-1.amazonaws.com.cn"
    assert asked.target.authority == "dynamodb.cn-north-1.amazonaws.com.cn"
    assert asked.target.port == 443


def test_the_endpoint_of_the_environment(bare, monkeypatch):
    """AWS_ENDPOINT_URL_DYNAMODB leads elsewhere, and what is given wins over it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")
    bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    asked = Credentials("eu-west-1")
    asked.keys(20.0)
    assert asked.endpoint == "http://127.0.0.1:8000"
    asked = Credentials("eu-west-1", "http://127.0.0.1:9000")
    asked.keys(20.0)
    assert asked.endpoint == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:8000", "ftp://x", "http://", "http://x:y", "http://x/path", "http://a:b@x", "x"],
)
def test_no_endpoint(endpoint):
    """What is no endpoint is refused at once."""
    with pytest.raises(ConfigError, match="not an endpoint"):
        Credentials("eu-west-1", endpoint)


def test_a_slow_source_of_keys(program):
    """Who has no time to wait for keys has sent nothing; who has gets them, by one look-up."""
    runs = program(expires_in=3600, takes=2.0)
    asked = Credentials()
    start = time.monotonic()
    with pytest.raises(NotSent, match="no AWS keys"):
        asked.keys(0.2)
    assert time.monotonic() - start < 1.8
    assert asked.keys(20.0).access == "AKID1"
    assert runs.read_bytes() == b"<>"


def test_keys_are_renewed_before_they_expire(program, monkeypatch):
    """Keys about to expire are renewed by one thread; all others go on with what they have."""
    monkeypatch.setattr(module, "ASK_AGAIN", 0.05)
    runs = program(expires_in=700, takes=0.3)  # botocore renews from 900 seconds on
    asked = Credentials()
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
    asked = Credentials()
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
    asked = Credentials("eu-west-1")
    first = asked.keys(20.0)
    for _ in range(3):
        time.sleep(0.02)
        assert asked.keys(20.0) is first


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_during_the_look_up(fork, program):
    """A child forked while botocore was at work begins anew instead of waiting for ever."""
    import botocore.session  # noqa: F401  # an import under way would stay so in the child

    program(expires_in=3600, takes=1.5)
    asked = Credentials()
    with pytest.raises(NotSent):
        asked.keys(0.7)
    assert seen_in_child(fork, lambda: asked.keys(20.0).access[:4]) == "'AKID'"
    assert asked.keys(20.0).access.startswith("AKID")


def write_keys(path, access):
    path.write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = secret\n")


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_keys_rotated_in_the_file(bare, tmp_path, monkeypatch):
    """Keys that are replaced in the credentials file, or the environment, are used from then on."""
    monkeypatch.setattr(module, "ASK_AGAIN", 0.02)
    write_keys(tmp_path / "credentials", "OLD")
    asked = Credentials("eu-west-1")
    assert asked.keys(20.0).access == "OLD"
    write_keys(tmp_path / "credentials", "ROTATED")
    until(lambda: asked.keys(20.0).access == "ROTATED")
    (tmp_path / "credentials").write_text("")  # as while it is being written
    time.sleep(0.1)
    assert asked.keys(20.0).access == "ROTATED"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    until(lambda: asked.keys(20.0).access == "ENVIRONMENT")


def test_short_lived_keys_are_never_used_past_their_expiry(program):
    """Keys of a few seconds are renewed before they expire, and not used for a moment after."""
    runs = program(expires_in=1.5)
    asked = Credentials()
    seen = []
    begun = time.monotonic()
    while len(seen) < 4:
        now = time.time()
        keys = asked.current(now) or asked.keys(20.0)
        assert now < float(keys.token.split()[1])
        if keys not in seen:
            seen.append(keys)
        time.sleep(0.005)
        assert time.monotonic() < begun + 60
    assert len(runs.read_bytes()) // 2 <= 2 + 2 * (time.monotonic() - begun)


REFUSED = [
    "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
]  # fmt: skip


def refusal(code, message="no"):
    return answer(f'{{"__type":"com.amazon#{code}","message":"{message}"}}'.encode(), "400 Bad")


@pytest.mark.parametrize("code", REFUSED)
def test_refused_keys_are_looked_up_anew(bare, tmp_path, code):
    """A write whose keys the server refuses is sent once more, with those that are valid now."""
    write_keys(tmp_path / "credentials", "OLD")

    def script(peer):
        while (got := peer.request()) is not None:
            peer.say(answer() if b"Credential=ROTATED/" in got[0] else refusal(code))

    with canned(script) as server:
        transport = SocketTransport(Credentials("eu-west-1", server.endpoint))
        caller = Caller(transport, "ttt", 8.0, 8.0)
        with pytest.raises(StoreDenied):
            run(caller.call("PutItem", {}))
        assert len(server.requests) == 2
        time.sleep(1.05)  # one look-up a second
        write_keys(tmp_path / "credentials", "ROTATED")
        assert run(caller.call("PutItem", {})).status == 200
        assert len(server.requests) == 4
        transport.close()


def test_a_signature_that_expired_on_its_way(bare, tmp_path):
    """A request that was signed too long ago is signed anew, once; the keys are kept."""
    write_keys(tmp_path / "credentials", "AKID")
    replies = [refusal("InvalidSignatureException", "Signature expired: now is later"), answer()]

    def script(peer):
        while peer.request() is not None:
            peer.say(replies[0] if len(replies) == 1 else replies.pop(0))

    with canned(script) as server:
        asked = Credentials("eu-west-1", server.endpoint)
        keys = asked.keys(20.0)
        transport = SocketTransport(asked)
        caller = Caller(transport, "ttt", 8.0, 8.0)
        begun = time.time()
        assert run(caller.call("PutItem", {})).status == 200
        assert len(server.requests) == 2
        assert asked.keys(20.0) is keys
        replies[:] = [refusal("InvalidSignatureException", "Signature expired: your clock")]
        with pytest.raises(StoreDenied, match="clock"):
            run(caller.call("PutItem", {}))
        assert len(server.requests) == 4
        assert time.time() - begun < 8
        transport.close()


def signed_at(head):
    return head.split(b"x-amz-date: ")[1].split(b"\r\n")[0]


def test_the_repeated_signature_is_of_its_own_moment(bare, tmp_path, monkeypatch):
    """After a freeze between signing and sending, the repeat bears the time at which it is sent."""
    write_keys(tmp_path / "credentials", "AKID")

    def script(peer):
        while (got := peer.request()) is not None:
            thawed = signed_at(got[0])[:4] != b"2001"
            peer.say(
                answer() if thawed else refusal("InvalidSignatureException", "Signature expired: x")
            )

    with canned(script) as server:
        asked = Credentials("eu-west-1", server.endpoint)
        asked.keys(20.0)
        moments = [1_000_000_000.0]
        real = time.time
        monkeypatch.setattr(
            asked, "head", lambda *args: _at(asked, moments.pop() if moments else real(), *args)
        )
        transport = SocketTransport(asked)
        assert run(Caller(transport, "ttt", 8.0, 8.0).call("PutItem", {})).status == 200
        assert len(server.requests) == 2
        transport.close()


def _at(asked, now, operation, body, keys):
    return module.Signer(asked.target.authority, "eu-west-1", "lpcm").head(
        operation, body, keys, now
    )


@pytest.mark.parametrize("name", ["us_east_1", "eu-west-1\r\nX: y", "", "-a", "a b", "7", "a.b/"])
def test_no_region_name(bare, name):
    """What cannot be a region is refused before anything is looked up, wherever it came from."""
    with pytest.raises(ConfigError, match="not an AWS region"):
        Credentials(name)
    if name:
        bare.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        os.environ["AWS_DEFAULT_REGION"] = name  # bare has taken note of it
        try:
            with pytest.raises(ConfigError, match="not an AWS region"):
                Credentials().keys(20.0)
        finally:
            del os.environ["AWS_DEFAULT_REGION"]


@pytest.mark.parametrize("mark", ["\r", "\n", "\t", "\0", "\x1f", "\x7f", "\r\nHost: x", " "])
def test_no_controls_in_an_endpoint(mark):
    """A control character anywhere in an endpoint is refused; urlsplit would drop some."""
    for endpoint in (f"http://ho{mark}st", f"http://host{mark}", f"{mark}http://host"):
        with pytest.raises(ConfigError, match="not an endpoint"):
            Credentials("eu-west-1", endpoint)


@pytest.mark.parametrize("name", ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"])
@pytest.mark.parametrize("mark", ["\n", "\r\nX-Other: y\r\n", "\x1b", "\x7f", "\x85", "é"])
def test_no_controls_in_keys(bare, monkeypatch, name, mark):
    """Keys that hold a line end or another control are refused, and nothing is sent."""
    for each in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setenv(f"AWS_{each}", "good")
    monkeypatch.setenv(f"AWS_{name}", f"bad{mark}")
    with canned(lambda peer: peer.serve_all()) as server:
        transport = SocketTransport(Credentials("eu-west-1", server.endpoint))
        with pytest.raises(StoreDenied, match="nothing was sent"):
            run(transport.call("GetItem", {}, 20.0))
        assert server.requests == []
        transport.close()


@pytest.mark.parametrize("environment", [None, "/environment.pem"])
@pytest.mark.parametrize("configured", [None, "/configured.pem"])
@pytest.mark.parametrize("requests", [None, "/requests.pem"])
def test_the_bundle_is_botocores(bare, monkeypatch, environment, configured, requests):
    """Of AWS_CA_BUNDLE, ca_bundle and REQUESTS_CA_BUNDLE the one is taken that botocore takes."""
    keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
    line = f"ca_bundle = {configured}\n" if configured else ""
    bare.write_text(f"[default]\n{keys}{line}")
    for name, value in (("AWS_CA_BUNDLE", environment), ("REQUESTS_CA_BUNDLE", requests)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    client = botocore.session.Session().create_client("dynamodb", "eu-west-1")
    botocores = client._endpoint.http_session._verify
    asked = Credentials("eu-west-1", "http://127.0.0.1:1")
    asked.keys(20.0)
    assert asked._bundle == (None if botocores is True else botocores)
    client.close()

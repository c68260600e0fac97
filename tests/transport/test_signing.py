"""Signature Version 4: byte for byte what botocore signs."""

import datetime as dt
from unittest.mock import patch

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from lpcm.stores.dynamodb.http.sigv4 import Keys, Signer

HOST = "dynamodb.eu-west-1.amazonaws.com"
KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DAY = 86_400
NOON = 20_000 * DAY + DAY // 2


def fields(head):
    """Return the headers of a head, checking its frame."""
    text = head.decode("ascii")
    assert text.endswith("\r\n\r\n")
    first, *lines = text[:-4].split("\r\n")
    assert first == "POST / HTTP/1.1"
    pairs = [line.split(": ", 1) for line in lines]
    assert len({name.lower() for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def botocores(headers, body, keys, region, now):
    """Return the Authorization that botocore gives these headers."""
    left_to_it = {"Authorization", "x-amz-date", "x-amz-security-token"}
    unsigned = {"Content-Length", "Accept-Encoding"}
    ours = {name: value for name, value in headers.items() if name not in left_to_it | unsigned}
    request = AWSRequest("POST", f"https://{headers['host']}/", ours, body)
    request.context["payload_signing_enabled"] = True
    signer = botocore.auth.SigV4Auth(Credentials(*keys), "dynamodb", region)
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    with patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        signer.add_auth(request)
    assert request.headers["X-Amz-Date"] == headers["x-amz-date"]
    assert request.headers.get("X-Amz-Security-Token") == headers.get("x-amz-security-token")
    return request.headers["Authorization"]


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjE/token+with=signs"])
@pytest.mark.parametrize("host", [HOST, "localhost:8000", "[::1]:8000"])
@given(
    body=st.binary(max_size=300),
    operation=st.sampled_from(["GetItem", "BatchWriteItem", "DescribeTimeToLive"]),
    secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1),
    now=st.integers(0, 2**32),
)
def test_the_signature_is_botocores(token, host, body, operation, secret, now):  # noqa: PLR0917  # Hypothesis names them
    """Any body, operation, second and keys are signed as botocore does it, token included."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", secret, token)
    headers = fields(Signer(host, "eu-west-1", "lpcm/1").head(operation, body, keys, now + 0.9))
    assert headers["Authorization"] == botocores(headers, body, keys, "eu-west-1", now)
    assert headers["Content-Length"] == str(len(body))
    assert headers["x-amz-target"] == f"DynamoDB_20120810.{operation}"
    assert headers["User-Agent"] == "lpcm/1"


@given(token=st.text(st.sampled_from("ab \x20/+="), min_size=1, max_size=30))
def test_spaces_in_a_token(token):
    """A token with outer or doubled spaces goes out as it is and is signed as botocore does it."""
    keys = Keys("AKID", "secret", token)
    headers = fields(Signer(HOST, "eu-west-1", "lpcm/1").head("GetItem", b"{}", keys, NOON))
    assert headers["x-amz-security-token"] == token
    assert headers["Authorization"] == botocores(headers, b"{}", keys, "eu-west-1", NOON)


def test_what_is_remembered_is_remembered_for_no_longer():
    """One signer's heads stay botocore's over seconds, midnight, other keys and back."""
    signer = Signer(HOST, "eu-west-1", "lpcm/1")
    other = Keys("AKIDOTHER", "secret", "token")
    renewed = Keys(other.access, other.secret, "another token")
    midnight = 20_001 * DAY
    moments = [NOON, NOON, NOON + 1, midnight - 1, midnight, NOON]
    for now in moments:
        for keys in (KEYS, other, renewed, KEYS):
            for operation in ("GetItem", "PutItem", "GetItem"):
                headers = fields(signer.head(operation, b"{}", keys, now))
                assert headers["Authorization"] == botocores(
                    headers, b"{}", keys, "eu-west-1", now
                ), (now, keys, operation)


def test_keys_do_not_show_their_secret():
    """A traceback or log that shows the keys does not show what must stay secret."""
    shown = repr(Keys("AKID", "the secret", "the token"))
    assert "secret" not in shown
    assert "token" not in shown

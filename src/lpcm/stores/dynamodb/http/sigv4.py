"""Signature Version 4: the head of one signed request.

Knows a host, a region and the given keys; no socket, no clock, no source of keys. The
signature is byte for byte that of botocore's ``SigV4Auth`` over the same headers.

Signing from the start costs six HMACs and three digests. Four of the HMACs depend only on the
day, and the head, but for the body's digest, only on the second and the operation. So both are
kept: two digests and one HMAC are left for a request.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash as Digest

__all__ = ["Keys", "Signer"]

SERVICE = "dynamodb"
TARGET = "DynamoDB_20120810"
CONTENT_TYPE = "application/x-amz-json-1.0"


class Keys(NamedTuple):
    """The AWS keys that a request is signed with."""

    access: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Keys(access={self.access!r}, ...)"


class _SigningScope(NamedTuple):
    """The part of each request's signature that does not change."""

    host: str
    region: str
    agent: str


class Signer:
    """Signs requests to one host in one region."""

    def __init__(self, host: str, region: str, agent: str) -> None:
        self._scope = _SigningScope(host, region, agent)
        self._moment: _Moment | None = None

    def head(self, operation: str, body: bytes, keys: Keys, now: float) -> bytes:
        """Return the request's head, to be followed by the body; ``now`` in epoch seconds."""
        second = int(now)
        moment = self._moment
        if moment is None or moment.second != second or moment.keys is not keys:
            derived = moment.derived if moment and moment.serves(keys, second) else None
            moment = self._moment = _Moment(self._scope, keys, second, derived)
        canonical, text = moment.prepared.get(operation) or moment.prepare(operation)
        digest = canonical()
        digest.update(sha256(body).hexdigest().encode())
        signature = moment.hmac(moment.to_sign + digest.hexdigest().encode())
        return b"%b%b\r\nContent-Length: %d\r\n\r\n" % (text, signature.encode(), len(body))


class _Moment:
    """The parts that all signatures of one second share. Only ``prepared`` changes."""

    __slots__ = (
        "_credential_scope", "_date", "_scope", "derived", "keys", "prepared", "second", "to_sign",
    )  # fmt: skip

    def __init__(
        self, scope: _SigningScope, keys: Keys, second: int, derived: _Derived | None
    ) -> None:
        self.keys = keys
        self.second = second
        self._scope = scope
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = self._date[:8]
        self._credential_scope = f"{day}/{scope.region}/{SERVICE}/aws4_request"
        self.to_sign = f"AWS4-HMAC-SHA256\n{self._date}\n{self._credential_scope}\n".encode()
        self.derived = derived or _derive(keys.secret, day, scope.region)
        self.prepared: dict[str, tuple[Callable[[], Digest], bytes]] = {}

    def serves(self, keys: Keys, second: int) -> bool:
        """Tell whether the derived key is that of these keys at that second."""
        return keys.secret == self.keys.secret and second // 86400 == self.second // 86400

    def hmac(self, message: bytes) -> str:
        """Return the HMAC of a message, in a third of what ``hmac.digest`` takes."""
        inner, outer = self.derived.inner.copy(), self.derived.outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()

    def prepare(self, operation: str) -> tuple[Callable[[], Digest], bytes]:
        """Return a copier of the digest of the canonical request before the body, and the head."""
        headers = {
            "content-type": CONTENT_TYPE,
            "host": self._scope.host,
            "x-amz-date": self._date,
            **({"x-amz-security-token": self.keys.token} if self.keys.token else {}),
            "x-amz-target": f"{TARGET}.{operation}",
        }
        signed = ";".join(headers)
        # A token may hold spaces: values are signed without spaces at the ends or double ones.
        lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
        canonical = sha256(f"POST\n/\n\n{lines}\n{signed}\n".encode())
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST / HTTP/1.1\r\n{text}Accept-Encoding: identity\r\n"
            f"User-Agent: {self._scope.agent}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.keys.access}/"
            f"{self._credential_scope}, SignedHeaders={signed}, Signature="
        )
        prepared = canonical.copy, head.encode()
        self.prepared[operation] = prepared
        return prepared


class _Derived(NamedTuple):
    """A day's key, as the two digests that an HMAC with it starts from (RFC 2104)."""

    inner: Digest
    outer: Digest


def _derive(secret: str, day: str, region: str) -> _Derived:
    key = f"AWS4{secret}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    padded = key.ljust(64, b"\0")
    return _Derived(
        sha256(bytes(byte ^ 0x36 for byte in padded)), sha256(bytes(byte ^ 0x5C for byte in padded))
    )

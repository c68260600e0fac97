"""Containers: keys from the address that ECS, EKS and others give to a process, renewed in time.

The address, its token and the hosts that may be asked without TLS: by the rules of
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html; attempts and
times are botocore's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from lpcm.errors import StoreDenied
from lpcm.stores.dynamodb.http.sigv4 import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Container", "of_environment"]

_HOST: Final = "169.254.170.2"
_HOSTS: Final = frozenset((_HOST, "169.254.170.23", "fd00:ec2::23", "localhost"))
_AHEAD: Final = 15 * 60
"""Seconds before their end from which keys are asked for anew."""
_ATTEMPTS: Final = 3
_PAUSE: Final = 1.0
_TIMEOUT: Final = 2.0
_MOST: Final = 65_536
"""Bytes of an answer that are read."""


class _Renewed(NamedTuple):
    keys: Keys
    expiry: float


class Container:
    """The source of keys at one address."""

    def __init__(self, url: str, token: str | None, token_file: str | None) -> None:
        self._url = url
        self._token = token
        self._token_file = token_file
        self._known: _Renewed | None = None

    def ask(self) -> tuple[Keys, float]:
        """Return the keys, and when they expire, in epoch seconds.

        Cost: a request to the address where none are known, or these expire within 15 minutes.
        Keys that could not be renewed serve until they expire. **Raises** ``StoreDenied``.
        """
        known = self._known
        if known is None or known.expiry - time.time() < _AHEAD:
            try:
                known = self._known = self._renewed()
            except StoreDenied:
                if known is None or known.expiry <= time.time():
                    raise
        return known

    def _renewed(self) -> _Renewed:
        left = _ATTEMPTS
        while True:
            left -= 1
            try:
                return _read(self._answer())
            except (OSError, ValueError, KeyError, TypeError) as error:
                if not left:
                    raise StoreDenied(
                        f"AWS keys of the container, from {self._url}: {error!r}"
                    ) from error
            time.sleep(_PAUSE)

    def _answer(self) -> bytes:
        import http.client

        parts = urlsplit(self._url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)
        headers = {"Accept": "application/json"}
        if token := self._authorization():
            headers["Authorization"] = token
        try:
            connection.request(
                "GET", parts._replace(scheme="", netloc="").geturl(), headers=headers
            )
            answer = connection.getresponse()
            body = answer.read(_MOST)
        except http.client.HTTPException as error:
            raise OSError(repr(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"it answered {answer.status}")
        return body

    def _authorization(self) -> str | None:
        """Return the token; a file of it is read each time, for it is replaced now and then."""
        token = self._token
        if self._token_file is not None:
            with open(self._token_file, encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes milliseconds to import
                token = file.read()
        if token is not None and not (token.isascii() and token.isprintable()):
            raise StoreDenied(
                "AWS keys of the container: the authorization token holds a line end or another "
                "character that no token has: nothing was sent"
            )
        return token


def of_environment(given: Mapping[str, str]) -> Container | None:
    """Return the container that these variables name, if any.

    **Raises** ``StoreDenied`` where it may not be asked: without TLS, only this machine and the
    addresses of AWS are.
    """
    if (path := given.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) is not None:
        url = f"http://{_HOST}{path}"
    elif (full := given.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) is not None:
        url = full
    else:
        return None
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_near(parts.hostname or ""):
        raise StoreDenied(
            f"AWS keys of the container: {parts.hostname!r} is not asked without TLS: only this "
            f"machine and {', '.join(sorted(_HOSTS))} are"
        )
    return Container(
        url,
        given.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        given.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    )


def _is_near(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return host in _HOSTS or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(body: bytes) -> _Renewed:
    """Return the keys of an answer. **Raises** ValueError, KeyError, TypeError."""
    import json

    answer = json.loads(body)
    access, secret, token, expiration = (
        answer[name] for name in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
    )
    keys = Keys(str(access), str(secret), str(token))
    expiry = datetime.fromisoformat(expiration)
    return _Renewed(keys, expiry.replace(tzinfo=expiry.tzinfo or UTC).timestamp())

"""Endpoints: DynamoDB's address, as a value. Knows no credentials and no connection."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from lpcm.errors import ConfigError
from lpcm.redact import redact

__all__ = ["Endpoint", "parse", "region_name"]

_REGION = re.compile(r"(?![0-9]+$)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0]")


class Endpoint(NamedTuple):
    """A DynamoDB endpoint."""

    secure: bool
    host: str
    port: int
    region: str

    @property
    def authority(self) -> str:
        """The Host header, with the port unless the port is the scheme's default."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.secure else 80) else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return f"http{'s' if self.secure else ''}://{self.authority}"


def parse(endpoint: str, region: str) -> Endpoint:
    """Return the endpoint of a URL.

    >>> parse("http://localhost:8000", "eu-west-1").authority
    'localhost:8000'
    >>> parse("localhost:8000", "eu-west-1")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: not an endpoint: 'localhost:8000': write https://host or http://host:port
    """
    try:
        # urlsplit drops line ends and tabs silently.
        parts = urlsplit("" if _UNPRINTABLE.search(endpoint) else endpoint)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the resolver will do
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ConfigError(
            f"not an endpoint: {redact(endpoint)!r}: write https://host or http://host:port"
        )
    secure = parts.scheme == "https"
    return Endpoint(secure, parts.hostname, port or (443 if secure else 80), region)


def region_name(text: str) -> str:
    """Return a region's name that can stand in a host name and a signature.

    >>> region_name("us_east_1")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: not an AWS region: 'us_east_1': write one like us-east-1
    """
    if not _REGION.fullmatch(text):
        raise ConfigError(f"not an AWS region: {text!r}: write one like us-east-1")
    return text

"""Proxies: the proxy that the environment names, and the request that makes it connect.

Knows HTTP's CONNECT as text, no socket. TLS endpoints are reached through the proxy of HTTPS_PROXY,
unless NO_PROXY names them; plain endpoints, which only local engines have, are reached directly.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from lpcm.errors import ConfigError
from lpcm.redact import redact

if TYPE_CHECKING:
    from lpcm.stores.dynamodb.http.endpoint import Endpoint

__all__ = ["Proxy", "proxy_for", "refusal"]

MOST = 16 * 1024
"""The most bytes of a proxy's answer."""
_ENVIRONMENT_ALONE = sys.platform not in {"darwin", "win32"}
"""Where ``urllib`` asks nothing but the environment; elsewhere the system has settings, too."""


class Proxy(NamedTuple):
    """A proxy, and the CONNECT to send to it."""

    host: str
    port: int
    request: bytes

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"


def proxy_for(to: Endpoint) -> Proxy | None:
    """Return the proxy that the environment names for an endpoint; None for none.

    **Raises** ``ConfigError`` for a proxy that does not take CONNECT over plain TCP.
    """
    if not to.secure or (_ENVIRONMENT_ALONE and not _names_a_proxy()):
        return None
    from urllib.request import getproxies, proxy_bypass  # 15 ms to import

    url = getproxies().get("https")
    if not url or proxy_bypass(to.host):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:  # its message may hold a password
        raise ConfigError(
            f"not a proxy: {redact(url)!r} (HTTPS_PROXY): write http://host:port"
        ) from None
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(
            f"a proxy of scheme {parts.scheme!r} (HTTPS_PROXY): only http:// is spoken; for any "
            "other give a client of boto3, as the option `client`"
        )
    target = f"{to.host}:{to.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}")
    return Proxy(parts.hostname, port, "\r\n".join([*lines, "", ""]).encode())


def _names_a_proxy() -> bool:
    return any(name.lower().endswith("_proxy") for name in os.environ)


def refusal(answer: bytes) -> str | None:
    """Return why a proxy did not connect, from its answer so far.

    ``""`` means that it connected, None that its answer is not complete yet.
    """
    if not answer.endswith(b"\r\n\r\n"):
        return None if len(answer) < MOST and b"\r\n\r\n" not in answer else "it said too much"
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    return "" if status[:5] == "HTTP/" and status.split()[1:2] == ["200"] else f"it said {status!r}"

"""Which server a key belongs to, and whether a server may be used: for both clients.

Knows no socket and no clock: callers give the time. Invariant: the key→server map depends on
the list as it was written and on nothing else. It never changes because a server is
down: a server that comes back would serve values from before the writes that it missed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from lpcm import events
from lpcm.errors import ConfigError
from lpcm.ports import CacheLost
from lpcm.redact import Secret, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ssl import SSLContext

__all__ = ["PACE", "Address", "Breaker", "Settings", "chooser", "identity", "parse"]

PORT: Final = 11211
_NUMBER: Final = re.compile(r"(?=[^%]*:)[0-9A-Fa-f:.]{2,45}(%[^\s%\]]{1,63})?")
"""An IPv6 address, and its zone."""
_PORT: Final = re.compile("0*[0-9]{1,5}", re.ASCII)
_LABEL: Final = re.compile(r"[^\s/?#@:\[\]\x00-\x20\x7f]{1,63}")
PACE: Final = 1_000_000
"""Bytes a second: a reply in pieces may take its time limit, and its bytes at this pace more."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_REFUSED_PAUSE: Final = 60.0


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    """A name or an IP address; a unix socket's path where ``port`` is 0."""
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Settings(NamedTuple):
    """How to talk to servers."""

    timeout: float = 1.0
    """Seconds until a reply counts as lost; see ``PACE`` for long replies."""
    connect_timeout: float = 1.0
    """Seconds to connect and to read the server's greeting."""
    login: tuple[str, str] | None = None
    """User and password for memcached's ASCII authentication."""
    tls: SSLContext | None = None
    """None: no TLS."""


def parse(path: str) -> tuple[list[Address], tuple[str, str] | None]:
    """Return the servers in ``[user:password@]host[:port],...``, and the login.

    >>> parse("me:secret@a,b:11212,[::1]:11213")
    ([Address(host='a', port=11211), ...(host='b', port=11212), ...(host='::1', port=11213)], ...)
    >>> parse("a:port")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: no memcached server: 'a:***': write host:port,host:port
    """
    login, at, hosts = path.rpartition("@")
    user, _, password = login.partition(":")
    servers = [_address(each) for each in hosts.rstrip("/").split(",")]
    if len(set(servers)) != len(servers):
        raise ConfigError(f"a memcached server is listed twice in {redact(hosts)!r}")
    return servers, (user, Secret(password)) if at else None


def _address(text: str) -> Address:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        good = bool(_NUMBER.fullmatch(host)) and bracket and (not rest or colon == ":")
    else:
        host, colon, port = text.partition(":")
        good = _is_name(host)
    if not good or (colon and not (_PORT.fullmatch(port) and 0 < int(port) < 65536)):
        raise ConfigError(f"no memcached server: {redact(text)!r}: write host:port,host:port")
    return Address(host, int(port) if colon else PORT)


def _is_name(host: str) -> bool:
    """Tell whether a text is a name that a resolver takes."""
    try:
        # Python's own rule for names: labels of 1 to 63 characters, once encoded.
        name = (host if host.isascii() else host.encode("idna").decode()).removesuffix(".")
    except UnicodeError:
        return False
    return all(_LABEL.fullmatch(label) for label in name.split("."))


def identity(servers: Sequence[Address]) -> str:
    """Return a text that differs for different key→server maps.

    A single server's address is not part of the text: clients reach it by different addresses (a
    name, an IP address, a unix socket) and must find the same items. Of several servers the list
    is part, as it is written. Otherwise a server that stays in a changed list could serve old
    values of keys that belonged to another server in between.
    """
    return "memcached" if len(servers) == 1 else f"memcached:{','.join(map(str, servers))}"


def chooser(count: int) -> Callable[[str], int]:
    """Return the map from a key to the number of its server."""
    return lambda key: crc32(key.encode()) % count


class Breaker:
    """Whether a server may be used: not for a pause after it failed, then by one caller.

    A pause lasts 0.1 s and doubles up to 5 s while the server keeps failing; a server that
    must not be used (``refused``) is tried again after a minute. The first success ends the pauses.
    """

    __slots__ = ("_failures", "_reason", "_state", "_until", "server")

    def __init__(self, server: str) -> None:
        self.server = server
        self._failures = 0
        self._until = 0.0
        self._state = "up"
        self._reason = ""

    def admit(self, now: float, trial: float) -> bool:
        """Let the caller try to connect, or raise CacheLost at once.

        While the server is down, one caller at a time may try, for ``trial`` seconds: True.
        """
        if self._state == "up":
            return False
        if now < self._until:
            raise CacheLost(f"memcached {self.server} is {self._state}: {self._reason}")
        self._until = now + trial
        return True

    def failed(self, now: float, reason: str, *, trial: bool = False) -> None:
        """Take note that the server did not answer."""
        if self._state != "up" and not trial:
            return  # a request that was under way when the server was marked down
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 10)
        self._become("down", now + pause, reason)

    def refused(self, now: float, reason: str) -> None:
        """Take note that the server must not be used."""
        self._become("refused", now + _REFUSED_PAUSE, reason)

    def retry(self) -> None:
        """Let the next caller try."""
        self._until = 0.0

    def worked(self) -> None:
        """Take note that the server answers."""
        if self._state != "up":
            self._failures = 0
            self._become("up", 0.0, "")

    def _become(self, state: str, until: float, reason: str) -> None:
        before, self._state, self._until, self._reason = self._state, state, until, reason
        if state != before:
            events.emit(events.CacheServer(self.server, state, reason))

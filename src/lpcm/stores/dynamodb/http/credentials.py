"""Credentials: AWS keys, region and endpoint, found by ``sources`` and renewed.

Nothing is looked up before the first request. A source (environment, files, profiles, single
sign-on, containers, instances) renews keys that expire, fifteen minutes ahead. All of that happens
on one thread of its own, because it may use the network and take longer than a caller's budget.
Callers go on with the keys that are known, and wait, within their budget, only while there are
none.

Invariant: at most one thread is inside a source. After a fork while a thread is there, the child
starts again, and never waits for a lock that no thread will release.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from lpcm._version import __version__
from lpcm.errors import ConfigError, LPCMError, StoreDenied
from lpcm.redact import redact_words
from lpcm.stores.dynamodb.http.endpoint import parse, region_name
from lpcm.stores.dynamodb.http.port import NotSent
from lpcm.stores.dynamodb.http.proxy import proxy_for
from lpcm.stores.dynamodb.http.sigv4 import Signer
from lpcm.stores.dynamodb.http.sources import Wanted, files, find
from lpcm.system.process import follow, forked, same

if TYPE_CHECKING:
    import ssl

    from lpcm.stores.dynamodb.http.endpoint import Endpoint
    from lpcm.stores.dynamodb.http.proxy import Proxy
    from lpcm.stores.dynamodb.http.sigv4 import Keys
    from lpcm.stores.dynamodb.http.sources import Found

__all__ = ["Credentials", "Route", "is_certificate_error", "untrusted"]

ASK_AGAIN = 60.0
"""Seconds after which the source is asked whether the keys are to be renewed."""


class Route(NamedTuple):
    """How to connect to an endpoint: the TLS context, where it is TLS, and the proxy."""

    endpoint: Endpoint
    context: ssl.SSLContext | None
    proxy: Proxy | None
    sessions: list[ssl.SSLSession]
    """The latest TLS session, if any: a connection that goes on with it is not verified again."""


class Credentials:
    """The keys of one profile, their endpoint, and the certificates that it is checked by.

    ``bundle`` is a file of trusted certificates. By default it is the file of AWS_CA_BUNDLE, else
    of the profile's ``ca_bundle``, else of REQUESTS_CA_BUNDLE, else the system's.
    """

    def __init__(
        self,
        region: str | None = None,
        endpoint: str | None = None,
        profile: str | None = None,
        bundle: str | None = None,
    ) -> None:
        region = region if region is None else region_name(region)
        self._wanted = Wanted(region, endpoint, profile, bundle)
        self.target = parse(endpoint, region) if endpoint and region else None
        """None until ``keys`` has returned, unless endpoint and region were both given."""
        self._bundle = bundle
        self._signer: Signer | None = None
        self._context: ssl.SSLContext | None = None
        self._sessions: list[ssl.SSLSession] = []
        if endpoint:
            parse(endpoint, region or "")
        self.endpoint = endpoint or f"DynamoDB in {region or 'the default region'}"
        self._keys: Keys | None = None
        self._fresh_until = 0.0
        """Until when no look-up is needed, in epoch seconds; never after ``_expiry``."""
        self._expiry = 0.0
        self._asked = 0.0
        self._found: Found | None = None
        self._origin: object = None
        self._lock = threading.Lock()
        self._work: _Work | None = None
        follow(self, Credentials._orphan)

    def _orphan(self) -> None:
        """In a forked child: start again if a thread of the parent was inside a source."""
        self._lock = threading.Lock()
        if self._work is not None:
            self._found = None
        self._work = None

    @property
    def source(self) -> str:
        """Where the keys came from, in botocore's word; empty before ``keys`` has returned."""
        return "" if self._found is None else self._found.method

    def current(self, now: float) -> Keys | None:
        """Return the keys where no look-up is needed; ``now`` is in epoch seconds."""
        return self._keys if now < self._fresh_until else None

    def keys(self, within: float) -> Keys:
        """Return the keys; look them up if necessary.

        **Raises** ``NotSent`` where that takes longer than ``within`` seconds,
        ``StoreDenied`` where there are no keys, ``ConfigError`` where there is no region.
        """
        if not same[0]:
            forked()
        with self._lock:
            if time.time() < self._fresh_until and self._keys is not None:
                return self._keys
            work, first = self._work, self._work is None
            if work is None:
                work = self._work = _Work()
        if first:  # without the lock: the start of a green thread lets others run, which take it
            self._begin(work)
        keys = self._keys
        if keys is not None and time.time() < self._expiry:
            return keys
        if not work.done.wait(within):
            raise NotSent(f"{self.endpoint}: no AWS keys were found within {within:.1f} s")
        if work.error is not None:
            raise work.error
        assert work.keys is not None
        return work.keys

    def renew(self) -> None:
        """Look the keys up again, from the start: the server refused the present ones.

        Nothing is done where the keys were looked up within the last second, for another caller.
        Where a look-up is under way, the next request waits for its end.
        """
        with self._lock:
            if self._work is not None or time.monotonic() - self._asked > 1.0:
                self._found = None
                self._keys = None
                self._fresh_until = self._expiry = 0.0

    def head(self, operation: str, body: bytes, keys: Keys) -> bytes:
        """Return the signed head of a request; ``target`` is known by then."""
        signer = self._signer
        if signer is None:
            assert self.target is not None
            signer = self._signer = Signer(
                self.target.authority, self.target.region, f"lpcm/{__version__}"
            )
        return signer.head(operation, body, keys, time.time())

    def reach(self, within: float) -> Route:
        """Return how to connect. **Raises** as ``keys`` does."""
        at = self.target
        if at is None or (at.secure and self._context is None):
            self.keys(within)
            at = self.target
            assert at is not None
            if at.secure:
                self._context = _trust(self._bundle)
        return Route(at, self._context, proxy_for(at), self._sessions)

    def _begin(self, work: _Work) -> None:
        thread = threading.Thread(
            target=self._look_up, args=(work,), name="lpcm-aws-keys", daemon=True
        )
        try:
            thread.start()
        except BaseException:
            self._work = None
            raise

    def _look_up(self, work: _Work) -> None:
        self._asked = time.monotonic()
        try:
            keys, expiry = self._ask()
            now = time.time()
            # The same object as long as the keys are equal, so that keys derived from it stay.
            work.keys = self._keys = self._keys if keys == self._keys else keys
            self._expiry = expiry
            self._fresh_until = min(now + ASK_AGAIN, now + max(1.0, (expiry - now) / 2), expiry)
        except LPCMError as error:
            work.error = error
        except Exception as error:  # noqa: BLE001  # a provider of keys may raise anything
            reason = redact_words(str(error))  # botocore quotes endpoints
            work.error = StoreDenied(f"{self.endpoint}: the AWS keys cannot be had: {reason}")
        finally:
            if work.error is not None and self._keys is not None:
                # So that not every call tries again.
                self._fresh_until = min(time.time() + 1.0, self._expiry)
            with self._lock:
                self._work = None
            work.done.set()

    def _ask(self) -> tuple[Keys, float]:
        """Return the keys, and when they expire, in epoch seconds."""
        # None until all has succeeded: after a failure the source is looked for again.
        found, self._found = self._found, None
        origin = _origin()
        if found is None or origin != self._origin:
            found = find(self._wanted)
            self._bundle = found.bundle
            if self.target is None:
                self.target = found.target
                self.endpoint = found.target.url
        keys, expiry = found.ask()
        if not all(part.isascii() and part.isprintable() for part in keys if part is not None):
            raise StoreDenied(
                f"{self.endpoint}: the AWS keys (of {found.method}) hold a line end or another "
                "character that no key has: nothing was sent"
            )
        self._found, self._origin = found, origin
        return keys, expiry


class _Work:
    """One look-up of keys, under way."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.keys: Keys | None = None
        self.error: Exception | None = None


def _trust(bundle: str | None) -> ssl.SSLContext:
    """Return a context that verifies servers by ``bundle``, else by the system's certificates.

    Where the system has none, by the certificates of botocore.
    """
    import ssl

    if bundle is None:
        paths = ssl.get_default_verify_paths()
        if not (paths.cafile or paths.capath) and sys.platform != "win32":
            from botocore.httpsession import get_cert_path

            bundle = get_cert_path(True)
    elif not bundle.strip():
        raise ConfigError("AWS_CA_BUNDLE, ca_bundle or REQUESTS_CA_BUNDLE is empty: unset it")
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ConfigError(
            f"no certificates can be read from {bundle!r} (AWS_CA_BUNDLE, ca_bundle or "
            f"REQUESTS_CA_BUNDLE): {error}"
        ) from error


def _origin() -> object:
    """Return a value that changes with what is read by ``find``, which may take 20 ms."""
    seen: list[object] = [pair for pair in os.environ.items() if pair[0].startswith("AWS_")]
    for path in files():
        try:
            found = os.stat(path)  # noqa: PTH116  # pathlib takes milliseconds to import
        except OSError:
            seen.append(None)
        else:
            seen.append((found.st_ino, found.st_mtime_ns, found.st_size))
    return seen


def is_certificate_error(error: OSError) -> bool:
    """Tell whether a certificate was not trusted: a second attempt would fail as well."""
    import ssl

    return isinstance(error, ssl.SSLCertVerificationError)


def untrusted(url: str, error: Exception) -> str:
    """Return the message for a server whose certificate is not trusted."""
    return (
        f"{url}: its certificate is not trusted: {error}: if it should be (a proxy that inspects "
        "TLS, an authority of your own), name the authority's file in AWS_CA_BUNDLE; nothing was "
        "sent"
    )

"""The compatibility transport: a user's boto3 client or session behind the transport port.

For features that botocore has and ``blocking`` has not: other proxies, a custom resolver,
instrumentation, an endpoint provider of the user's own. It costs thirty times the processor time
of ``blocking``. Knows how to translate botocore's exceptions and Python objects to the port's,
and nothing of what a request means.

Invariants:

1. A request is sent once. botocore's own retries count an increment twice where a reply
   is lost, so a client that has them is refused, and one made here has none.
2. A reply is read from its bytes, and only where it is whole and its checksum is right. Without
   its retries botocore checks neither: it makes an empty reply, a success, of a reply that was cut.
3. A child of a fork sends nothing over its parent's connections; botocore would. The child makes
   a new client where it has a session, and empties the pool of a client that the user gave.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lpcm.errors import ConfigError, StoreDenied, StoreError, StoreUnavailable
from lpcm.stores.dynamodb.http.credentials import untrusted
from lpcm.stores.dynamodb.http.messages import Malformed, interpret
from lpcm.stores.dynamodb.http.port import NotSent, ReplyLost
from lpcm.system.process import follow, forked, same
from lpcm.system.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.stores.dynamodb.http.port import Reply

__all__ = ["AsyncClientTransport", "ClientTransport"]

_CONNECT: Final = 2.0
_READ: Final = 5.0
_POOL: Final = 64
_CLOSING: Final = 2.0
"""Seconds that emptying a client's pool may take: it waits for nothing but locks."""


class ClientTransport:
    """DynamoDB through a client of boto3 or botocore, or a client that a session of boto3 makes.

    A client keeps its own time limits, and not those of a call: set its ``connect_timeout`` and
    ``read_timeout`` to fit. A client that a session makes has 2 s and 5 s.

    **Raises** ``ConfigError`` for a client that sends requests again by itself, and for an object
    that is neither client nor session.
    """

    blocking = True

    def __init__(
        self, client: Any, *, region: str | None = None, endpoint: str | None = None
    ) -> None:
        self._source = client, region, endpoint
        # Not thread-local: green threads share a thread that was there before them.
        self._seen: ContextVar[_Seen | None] = ContextVar("lpcm_seen", default=None)
        self._closed = False
        self._lock = threading.Lock()
        self._inherited = False
        self._use(_once(client, region, endpoint))
        self.endpoint: str = self._client.meta.endpoint_url
        self.region: str = self._client.meta.region_name
        follow(self, ClientTransport._orphan)

    def _use(self, client: Any) -> None:
        self._client = client
        self._calls: dict[str, Any] = {}
        for name, handler in (
            ("before-send.dynamodb", self._sending),
            ("response-received.dynamodb", self._received),
        ):
            # First: a handler that answers in the server's place (moto's) ends the sequence.
            client.meta.events.register_first(name, handler, unique_id=f"lpcm-{name}-{id(self)}")

    def _orphan(self) -> None:
        self._lock = threading.Lock()
        self._inherited = True

    def _renew(self) -> None:
        """In a forked child, before its first request: replace the parent's connections."""
        with self._lock:
            if not self._inherited:
                return
            if self._client is not self._source[0]:
                self._use(_once(*self._source))
            else:
                closing = threading.Thread(target=self._client.close, daemon=True)
                closing.start()
                closing.join(_CLOSING)
                if closing.is_alive():
                    raise StoreError(
                        f"{self.endpoint}: another thread was inside this client when the process "
                        "was forked, and its locks stay held: configure a client of the child's "
                        "own, or a session"
                    )
            self._inherited = False

    async def call(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        """Send one request and return its reply; see ``port.Transport``."""
        return self._exchange(operation, request, within)

    def _exchange(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        if self._closed:
            raise StoreError(f"{self.endpoint}: closed")
        if not same[0]:
            forked()
        if self._inherited:
            self._renew()
        if within <= 0:
            raise NotSent(f"{self.endpoint}: {operation}: the time is up")
        call = self._calls.get(operation)
        if call is None:
            call = self._calls[operation] = getattr(self._client, _snake(operation))
        seen = _Seen()
        token = self._seen.set(seen)
        try:
            self._ask(call, request, seen)
            if seen.reply is None or seen.sent is None:
                raise ReplyLost(f"{self.endpoint}: {operation}: the client shows no reply")
            return _reply(seen.reply, seen.sent)
        except NotSent as error:
            raise NotSent(f"{self.endpoint}: {operation}: {error}") from error
        except Malformed as error:
            raise ReplyLost(f"{self.endpoint}: {operation}: {error}") from error
        finally:
            self._seen.reset(token)

    def _ask(self, call: Any, request: Mapping[str, Any], seen: _Seen) -> None:
        """Send the request through botocore. **Raises** NotSent, Malformed, StoreDenied."""
        import botocore.exceptions as failures

        try:
            call(**_to_client(request))
        except failures.ClientError:
            pass  # a reply like any other
        except (
            failures.NoCredentialsError,
            failures.PartialCredentialsError,
            failures.CredentialRetrievalError,
            failures.TokenRetrievalError,
            failures.UnauthorizedSSOTokenError,
        ) as error:
            raise StoreDenied(f"{self.endpoint}: no AWS keys: {error}") from error
        except (
            failures.ConnectTimeoutError,
            failures.EndpointConnectionError,
            failures.ProxyConnectionError,
        ) as error:
            raise NotSent(str(error)) from error
        except failures.BotoCoreError as error:
            if seen.sent is None:
                raise  # a mistake in the request or the configuration, in botocore's words
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # no request has been sent then
                raise StoreUnavailable(untrusted(self.endpoint, error)) from error
            raise Malformed(str(error)) from error
        except Exception as error:
            if seen.sent is None:
                raise
            # botocore's parser raises Python's own exceptions for bytes that are no reply.
            raise Malformed(f"not a reply: {error!r:.200}") from error

    def _sending(self, request: Any, **_: object) -> None:
        seen = self._seen.get()
        if seen is not None:
            seen.sent = len(request.body or b"") + sum(
                len(name) + len(value) + 4 for name, value in request.headers.items()
            )

    def _received(self, response_dict: Mapping[str, Any] | None = None, **_: object) -> None:
        seen = self._seen.get()
        if seen is not None:
            seen.reply = response_dict

    def renew(self) -> None:
        """Do nothing: the keys are the client's, and so is their renewal."""

    async def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)  # noqa: ASYNC251  # a blocking transport never runs on an event loop

    def close(self) -> None:
        """Use the client no more; the user closes it."""
        self._closed = True


class AsyncClientTransport(ClientTransport):
    """The same for an event loop: each call on a worker thread, as many as the client connects."""

    blocking = False

    def __init__(
        self, client: Any, *, region: str | None = None, endpoint: str | None = None
    ) -> None:
        super().__init__(client, region=region, endpoint=endpoint)
        self._workers = Workers("lpcm-boto3", self._client.meta.config.max_pool_connections)

    async def call(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        """Send one request and return its reply; see ``port.Transport``."""
        return await self._workers.call(partial(self._exchange, operation, request, within))

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run."""
        import asyncio

        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Use the client no more, and let the threads end."""
        super().close()
        self._workers.stop()


class _Seen:
    """The request and reply of one call, as the handlers saw them."""

    __slots__ = ("reply", "sent")

    def __init__(self) -> None:
        self.sent: int | None = None
        self.reply: Mapping[str, Any] | None = None


def _once(client: Any, region: str | None, endpoint: str | None) -> Any:
    """Return a client that sends each request once."""
    if hasattr(client, "client") and hasattr(client, "get_credentials"):
        from botocore.config import Config
        from botocore.exceptions import NoRegionError, ProfileNotFound

        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            max_pool_connections=_POOL,
        )
        try:
            return client.client(
                "dynamodb", region_name=region, endpoint_url=endpoint, config=config
            )
        except (NoRegionError, ProfileNotFound, ValueError) as error:
            raise ConfigError(f"this session can make no client: {error}") from error
    service = getattr(getattr(client, "meta", None), "service_model", None)
    if getattr(service, "service_name", None) != "dynamodb":
        raise ConfigError(f"not a DynamoDB client, nor a session of boto3: {client!r}")
    for given, its in ((region, client.meta.region_name), (endpoint, client.meta.endpoint_url)):
        if given not in {None, its}:
            raise ConfigError(f"the client is for {its}, not {given}: leave that option away")
    retries = client.meta.config.retries or {}
    if retries.get("total_max_attempts") != 1:
        raise ConfigError(
            "this client sends requests again by itself, and so counts an increment twice when a "
            'reply is lost: make it with botocore.config.Config(retries={"total_max_attempts": 1})'
        )
    return client


def _snake(operation: str) -> str:
    """Return a client's name for an operation.

    >>> _snake("BatchGetItem"), _snake("DescribeTimeToLive")
    ('batch_get_item', 'describe_time_to_live')
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _to_client(value: Any) -> Any:
    r"""Return a request in the form that clients take: binary as bytes.

    >>> _to_client({"Key": {"k": {"B": "AP8="}, "B": {"BS": ["AA=="]}}})
    {'Key': {'k': {'B': b'\x00\xff'}, 'B': {'BS': [b'\x00']}}}
    """
    if isinstance(value, dict):
        match list(value.items()):
            case [("B", str(text))]:
                return {"B": base64.b64decode(text)}
            case [("BS", [*texts])] if all(isinstance(text, str) for text in texts):
                return {"BS": [base64.b64decode(text) for text in texts]}
            case pairs:
                return {name: _to_client(each) for name, each in pairs}
    if isinstance(value, (list, tuple)):
        return [_to_client(each) for each in value]
    return value


def _reply(response: Mapping[str, Any], sent: int) -> Reply:
    headers = {
        name.lower().encode(): value.encode("latin-1")
        for name, value in response["headers"].items()
    }
    body: bytes = response["body"]
    # A reply that did not come over a network (moto's) has no length, but a checksum.
    length = headers.get(b"content-length")
    whole = b"x-amz-crc32" in headers if length is None else length == b"%d" % len(body)
    if not whole and b"transfer-encoding" not in headers:
        raise Malformed("the connection was closed")
    received = len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items())
    return interpret(response["status_code"], headers, body, sent, received)

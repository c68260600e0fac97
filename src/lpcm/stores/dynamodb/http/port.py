"""The transport port: it carries one request to DynamoDB, and the reply back.

The store (``store``) builds requests and decides what to do about replies and failures;
a transport carries exactly one request a call and never sends one twice. Requests and
replies are DynamoDB's JSON as Python objects: numbers as text, binary as base64 text.

Three results are distinguished, by whether the request may have been applied:

``Reply``
    A reply came, whatever its status.
``NotSent``
    Certainly not applied: no connection, or it failed before the first byte was sent.
``ReplyLost``
    It may have been applied, or may still be: sent in part or whole, and no reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NotSent", "Reply", "ReplyLost", "Transport"]


class Reply(NamedTuple):
    """DynamoDB's reply."""

    status: int
    """HTTP's: 200 for success."""
    body: Mapping[str, Any]
    """The decoded JSON; empty where there was none."""
    error: str
    """The short code (``ConditionalCheckFailedException``) where the status is not 200."""
    sent: int
    """Bytes of the request, headers included."""
    received: int
    """Bytes of the reply, headers included."""


class NotSent(Exception):
    """The request certainly did not reach DynamoDB. The message says why, and where."""


class ReplyLost(Exception):
    """The request may have reached DynamoDB; its reply did not come, or not whole."""


class Transport(Protocol):
    """A way to DynamoDB."""

    blocking: bool
    """True: ``call`` and ``sleep`` never suspend but may block the thread."""

    @property
    def endpoint(self) -> str:
        """The endpoint's URL, for messages; without secrets."""
        ...

    async def call(self, operation: str, request: Mapping[str, Any], within: float) -> Reply:
        """Send one request (``GetItem``) and return its reply in ``within`` seconds.

        **Raises** ``NotSent``, ``ReplyLost``; ``StoreDenied`` where there are no
        credentials to sign with; ``StoreUnavailable`` where the server's certificate is
        not trusted, which waiting does not change. Sends the request at most once.
        """
        ...

    def renew(self) -> None:
        """Look the keys up again for the next request: the server refused the present ones."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        ...

"""Errors: the meaning of a reply that is no success, and the exception that says what to do.

Knows DynamoDB's error codes; acts on none of them. Every code belongs to one ``Verdict``, which
says whether the request may be sent again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from lpcm.errors import (
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreMissing,
    StoreThrottled,
    StoreUnavailable,
    ValueTooLarge,
)
from lpcm.stores.dynamodb.throttling import advice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.stores.dynamodb.http.port import Reply

__all__ = ["Verdict", "classify", "failure", "is_throttled", "keys_refused"]


class Verdict(Enum):
    """Whether a request was applied, by its reply, and whether it may be sent again."""

    DONE = "done"
    REFUSED = "refused"
    """Not applied: its condition failed."""
    LATER = "later"
    """Not applied; another attempt may succeed."""
    UNKNOWN = "unknown"
    """The server failed: the request may have been applied."""
    ANEW = "anew"
    """Not applied: its keys or its signature have expired; a new signature may succeed."""
    NEVER = "never"
    """Not applied, and no further attempt can succeed."""


_BUSY = frozenset({
    "ReplicatedWriteConflictException", "TransactionConflictException",
    "TransactionInProgressException",
})  # fmt: skip
_CONFLICT = "TransactionConflict"
_PASSING = frozenset({_CONFLICT, "ProvisionedThroughputExceeded", "ThrottlingError"})
"""Reasons for a cancelled transaction that end with time."""
_THROTTLED = frozenset({
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException",
    "Throttling", "LimitExceededException", "ThrottledException", "TooManyRequestsException",
})  # fmt: skip
_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "InvalidSignatureException", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired", "RequestExpired",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
})  # fmt: skip
_KEYS = frozenset({
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "UnrecognizedClientException",
})  # fmt: skip
"""The keys are unknown or have expired, for example because they were rotated."""


def keys_refused(reply: Reply) -> bool:
    """Tell whether the keys were refused, and not the signature."""
    return reply.error in _KEYS


def is_throttled(reply: Reply) -> bool:
    """Tell whether the request was refused because there were too many."""
    if reply.error == "TransactionCanceledException":
        codes = _codes(reply)
        return bool(codes) and codes <= _PASSING - {_CONFLICT}
    return reply.error in _THROTTLED or reply.status == 429


def classify(reply: Reply) -> Verdict:
    """Return the verdict on a reply's request."""
    if reply.status == 200:
        return Verdict.DONE
    if reply.error == "ConditionalCheckFailedException":
        return Verdict.REFUSED
    if reply.error == "TransactionCanceledException":
        return _cancelled(_codes(reply))
    if reply.error in _THROTTLED or reply.error in _BUSY or reply.status == 429:
        return Verdict.LATER
    if keys_refused(reply) or _too_old(reply):
        return Verdict.ANEW
    return Verdict.UNKNOWN if reply.status >= 500 else Verdict.NEVER


def _too_old(reply: Reply) -> bool:
    """Tell whether a request was signed too long ago: the process may have been stopped since."""
    said = str(reply.body.get("message") or reply.body.get("Message"))
    return reply.error == "RequestExpired" or (
        reply.error == "InvalidSignatureException" and said.startswith("Signature expired")
    )


def _codes(reply: Reply) -> set[str]:
    """Return the codes of a cancelled transaction's reasons."""
    reasons = reply.body.get("CancellationReasons") or ()
    return {reason.get("Code") or "None" for reason in reasons} - {"None"}


def _cancelled(codes: set[str]) -> Verdict:
    if "ConditionalCheckFailed" in codes:
        return Verdict.REFUSED
    return Verdict.LATER if codes and codes <= _PASSING else Verdict.NEVER


def failure(
    reply: Reply, operation: str, table: str, endpoint: str, partitions: Iterable[str] = ()
) -> StoreError | ValueTooLarge:
    """Return the exception for a reply that ends an operation; its message says what to do.

    ``partitions``: those that the request was for.
    """
    said = str(reply.body.get("message") or reply.body.get("Message") or "no message")
    code = reply.error or f"HTTP status {reply.status}"
    where = f"dynamodb table {table!r} at {endpoint}"
    story = f"{where}: {operation}: {code}: {said}"
    if code == "ResourceNotFoundException":
        return StoreMissing(
            f"{where} does not exist: create it (`lpcm table create`), or check the name, the "
            f"region and the account ({said})"
        )
    if code in _DENIED or reply.status in {401, 403}:
        return StoreDenied(f"{where}: {_denied(code)} ({operation}: {code}: {said})")
    if is_throttled(reply):
        return StoreThrottled(f"{story}: {advice(reply, partitions)}")
    if code in _BUSY or _CONFLICT in _codes(reply):
        return StoreBusy(f"{story}: other transactions or regions held the entry all the time")
    if reply.status >= 500:
        return StoreUnavailable(f"{story}: the service failed, try again later")
    if code == "ValidationException" and "size" in said.lower() and "exceed" in said.lower():
        return ValueTooLarge(f"{story}; nothing was written")
    return StoreError(story)


def _denied(code: str) -> str:
    match code:
        case "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "OptInRequired":
            return "these credentials may not do that: `lpcm iam` prints the policy they need"
        case "ExpiredToken" | "ExpiredTokenException":
            return "the session's credentials have expired: sign in again"
        case (
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "RequestExpired"
        ):
            return (
                "the signature was not accepted: check the secret key, the region, and that this "
                "machine's clock is right"
            )
        case _:
            return "the credentials were not accepted: check the access key, and the region"

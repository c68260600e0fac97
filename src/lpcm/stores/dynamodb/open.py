"""Opening: from ``dynamodb://table?...`` to a store; the adapter of the scheme.

Opens no connection and does not call botocore: the first request does both.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from lpcm.errors import ConfigError
from lpcm.ports.findings import Finding
from lpcm.ports.options import at_least_one, seconds, truth
from lpcm.redact import redact
from lpcm.stores.dynamodb.http.blocking import POOL, SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.http.endpoint import parse, region_name
from lpcm.stores.dynamodb.store import EVENTUAL, STRONG, DynamoDBStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.ports.findings import Report
    from lpcm.stores.dynamodb.http.boto3_client import ClientTransport
    from lpcm.stores.dynamodb.http.port import Transport

__all__ = ["OBJECTS", "OPTIONS", "examine", "open_async_store", "open_store", "resolved"]

_TABLE = re.compile(r"[a-zA-Z0-9_.-]{3,255}|arn:[a-zA-Z0-9:/_.-]{1,1000}")

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


def _endpoint(text: str) -> str:
    parse(text, "")
    return text


def _client(text: str) -> object:
    raise ValueError(
        f"give a client or session of boto3 itself, to `configure` or `Engine.open`, not {text!r}"
    )


def _consistency(text: str) -> str:
    if text not in {STRONG, EVENTUAL}:
        raise ValueError(f"use {STRONG} or {EVENTUAL}")
    return text


OPTIONS: Mapping[str, Callable[[str], object]] = {
    "budget": seconds,
    "client": _client,
    "consistency": _consistency,
    "endpoint": _endpoint,
    "exactly_once": truth,
    "max_value": at_least_one("bytes"),
    "patience": seconds,
    "pool": at_least_one("connections"),
    "profile": str,
    "region": region_name,
}
OBJECTS: frozenset[str] = frozenset({"client"})
"""Options that are no text and stand in no URL."""


def resolved(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options with the region of this process's environment or profile.

    An endpoint in the environment is left out, as in ``_location``: a pickled map uses the
    endpoint of the process that unpickles it.
    """
    found = dict(options)
    if "region" not in found and "client" not in found:
        region = os.environ.get("AWS_DEFAULT_REGION") or _configured_region(found.get("profile"))
        if region:
            found["region"] = region
    return found


def _configured_region(profile: object) -> str | None:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        return None
    try:
        region = botocore.session.Session(profile=profile).get_config_variable("region")
    except botocore.exceptions.ProfileNotFound:
        return None
    return None if region is None else str(region)


def open_store(path: str, **options: Any) -> DynamoDBStore:
    """Open a table, which must exist.

    ``region``, ``endpoint``, ``profile``: where they are not given, those that botocore finds. The
    credentials are always those that botocore finds: no URL may hold them. ``budget``: seconds an
    operation may take, repeats included. ``patience``: seconds one request may take. ``pool``:
    requests under way at once. ``exactly_once``: each write is a transaction that may be sent again
    after a lost reply and is done once, at twice the write units. ``consistency``: ``eventual``
    halves the price of reads that no write depends on, which may miss the last writes.
    ``max_value``: bytes of the largest value; without it there is no limit. ``client``: a client or
    session of boto3 that sends the requests, at thirty times the processor time; see
    ``boto3_client``.

    **Raises** ``ConfigError`` for a text that is no table's name, and for a client that sends
    requests again by itself.

    >>> open_store("users", endpoint="http://localhost:8000", region="eu-west-1")
    <DynamoDBStore users at http://localhost:8000>
    >>> open_store("us")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: not a table's name: 'us': 3 to 255 letters, digits, '_', '-' ...
    """
    if "client" in options:
        from lpcm.stores.dynamodb.http.boto3_client import ClientTransport

        return _through(ClientTransport, path, options)
    return _on(SocketTransport, path, options)


async def examine(path: str, report: Report, **options: Any) -> bool:
    """Report on the table, and on the way to it, for ``lpcm doctor``."""
    from lpcm.stores.dynamodb.inspection import (  # for those who ask
        look_at_credentials,
        look_at_endpoint,
        look_at_table,
    )

    _check(path)
    if options.get("consistency") == EVENTUAL:
        report(Finding("consistency", "eventual: reads that no write depends on may be behind"))
    region, endpoint, profile = (options.get(name) for name in ("region", "endpoint", "profile"))
    transport: Transport
    if "client" in options:
        from lpcm.stores.dynamodb.http.boto3_client import ClientTransport

        transport = ClientTransport(options["client"], region=region, endpoint=endpoint)
        report(Finding("endpoint", f"{transport.endpoint}, by a client of yours, with its keys"))
    else:
        credentials = Credentials(region, endpoint, profile)
        named = profile or os.environ.get("AWS_PROFILE")
        if not look_at_credentials(credentials, named, report):
            return False
        if not look_at_endpoint(credentials, report):
            return False
        transport = SocketTransport(credentials, pool=1)
    try:
        return await look_at_table(transport, path, report)
    finally:
        transport.close()


def open_async_store(path: str, **options: Any) -> DynamoDBStore:
    """Open a table for the event loop it is first used on; see ``open_store``."""
    if "client" in options:
        from lpcm.stores.dynamodb.http.boto3_client import AsyncClientTransport

        return _through(AsyncClientTransport, path, options)
    from lpcm.stores.dynamodb.http.aio import AsyncTransport  # and asyncio with it

    return _on(AsyncTransport, path, options)


def _on(transport: Callable[..., Transport], path: str, options: dict[str, Any]) -> DynamoDBStore:
    _check(path)
    where = {name: options.pop(name, None) for name in ("region", "endpoint", "profile")}
    credentials = Credentials(where["region"], where["endpoint"], where["profile"])
    carrier = transport(credentials, pool=options.pop("pool", POOL))
    return DynamoDBStore(carrier, path, lambda: _location(**where), **options)


def _through(
    transport: Callable[..., ClientTransport], path: str, options: dict[str, Any]
) -> DynamoDBStore:
    """Open a table through a user's client, which has its own profile and pool."""
    _check(path)
    for name in ("profile", "pool"):
        if options.pop(name, None) is not None:
            raise ConfigError(f"option {name!r} of dynamodb: it is the client's: set it there")
    where = {name: options.pop(name, None) for name in ("region", "endpoint")}
    carrier = transport(options.pop("client"), **where)
    return DynamoDBStore(
        carrier, path, lambda: _location(carrier.region, carrier.endpoint, None), **options
    )


def _check(path: str) -> None:
    if not _TABLE.fullmatch(path):
        raise ConfigError(
            f"not a table's name: {redact(path)!r}: 3 to 255 letters, digits, '_', '-' and '.'"
        )


def _location(region: str | None, endpoint: str | None, profile: str | None) -> str:
    """Return a text that differs for tables of one name in different places.

    AWS's own endpoints have many names: the region stands for all of them.
    """
    if endpoint is not None:
        host = parse(endpoint, "").host
        if not host.endswith(_AWS):
            return parse(endpoint, "").authority
    if region is None:
        import botocore.session

        region = botocore.session.Session(profile=profile).get_config_variable("region")
    return str(region)

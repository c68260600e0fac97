"""Sources: where AWS keys, region, endpoint and certificates come from, by botocore's rules.

botocore has every source, but half of the time that a fresh process takes to its first read goes
into importing its session and making the client that knows an endpoint. So the environment is read
here wherever it alone decides, which is certain where

- no profile is named, and no file of AWS's configuration or keys is there;
- every variable whose name begins with ``AWS_`` is one of ``KNOWN``: one that is not might
  change anything;
- the region is one of AWS's main partition.

So it is on Lambda and in containers. In every other case, errors included, botocore decides, and
is imported for it. The order of its sources: https://docs.aws.amazon.com/boto3 (Credentials).
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.errors import ConfigError, StoreDenied
from lpcm.stores.dynamodb.http.endpoint import Endpoint, parse, region_name
from lpcm.stores.dynamodb.http.sigv4 import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.stores.dynamodb.http.containers import Container

__all__ = ["KNOWN", "Found", "Wanted", "files", "find"]

KNOWN: Final = frozenset(
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_ACCOUNT_ID",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        "AWS_CA_BUNDLE",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_DYNAMODB",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        # these change nothing of it:
        "AWS_DEFAULT_OUTPUT",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EXECUTION_ENV",
        "AWS_MAX_ATTEMPTS",
        "AWS_PAGER",
        "AWS_REGION",
        "AWS_RETRY_MODE",
    )
)
_ELSEWHERE: Final = ("AWS_LAMBDA_", "AWS_XRAY_")
"""Beginnings of variables that tell other programs something."""
_MAIN_PARTITION: Final = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+")
"""As botocore's partitions.json has it: https://dynamodb.<region>.amazonaws.com."""
_REGIONAL: Final = frozenset(("preferred", "disabled"))
"""Modes in which the region's own endpoint serves: every account is served there."""
_EARLIER_FILES: Final = ("/etc/boto.cfg", "~/.boto")
"""Files of boto 2, in which botocore looks for keys before it asks a container."""
_NO_KEYS: Final = (
    "no AWS keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile by AWS_PROFILE, "
    "or run where a role gives them"
)


class Wanted(NamedTuple):
    """What a URL says; None where the environment and the files are to decide."""

    region: str | None
    endpoint: str | None
    profile: str | None
    bundle: str | None


class Found(NamedTuple):
    """What was found."""

    ask: Callable[[], tuple[Keys, float]]
    """Returns the keys, and when they expire, in epoch seconds. Renews them when it is time."""
    method: str
    """Where the keys come from, in botocore's words, such as ``env``."""
    target: Endpoint
    bundle: str | None
    """The file of trusted certificates; None for the system's."""


def files() -> list[str]:
    """Return the paths of AWS's files of keys and configuration, whether they are there or not."""
    return [
        os.path.expanduser(os.environ.get(name, usual))  # noqa: PTH111  # pathlib takes milliseconds to import
        for name, usual in (
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            ("AWS_CONFIG_FILE", "~/.aws/config"),
        )
    ]


def find(wanted: Wanted) -> Found:
    """Find keys, endpoint and certificates. Cost: of botocore, where it decides, 150 ms.

    **Raises** ``ConfigError`` for a region, profile or mode that cannot be, ``StoreDenied`` where
    there are no keys, and what botocore raises.
    """
    return _of_environment(wanted) or _of_botocore(wanted)


# The environment


def _of_environment(wanted: Wanted) -> Found | None:
    """Return what the environment says, or None where it alone cannot decide."""
    given = os.environ
    if wanted.profile is not None or not _all_known(given) or _any_there(files()):
        return None
    region = wanted.region or given.get("AWS_DEFAULT_REGION", "")
    endpoint = wanted.endpoint or _endpoint(given, region)
    if not region or not endpoint:
        return None
    if (keys := _keys(given)) is not None:
        ask: Callable[[], tuple[Keys, float]] = lambda: (keys, math.inf)  # noqa: E731  # annotated
        method = "env"
    elif (container := _container(given)) is not None:
        ask, method = container.ask, "container-role"
    else:
        return None
    bundle = wanted.bundle or given.get("AWS_CA_BUNDLE", given.get("REQUESTS_CA_BUNDLE"))
    return Found(ask, method, parse(endpoint, region), bundle)


def _all_known(given: Mapping[str, str]) -> bool:
    return all(
        name in KNOWN or name.startswith(_ELSEWHERE) for name in given if name.startswith("AWS_")
    )


def _any_there(paths: list[str]) -> bool:
    return any(os.path.exists(path) for path in paths)  # noqa: PTH110  # as above


def _endpoint(given: Mapping[str, str], region: str) -> str | None:
    for name in ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"):
        if name in given:
            return given[name]
    if given.get("AWS_ACCOUNT_ID_ENDPOINT_MODE", "preferred").lower() not in _REGIONAL:
        return None
    if not _MAIN_PARTITION.fullmatch(region):
        return None
    return f"https://dynamodb.{region}.amazonaws.com"


def _keys(given: Mapping[str, str]) -> Keys | None:
    key, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return None
    token = given.get("AWS_SECURITY_TOKEN") or given.get("AWS_SESSION_TOKEN")
    return Keys(key, secret, token or None)


def _container(given: Mapping[str, str]) -> Container | None:
    from lpcm.stores.dynamodb.http.containers import of_environment

    others = [os.path.expanduser(path) for path in _EARLIER_FILES]  # noqa: PTH111  # as above
    if given.get("AWS_ACCESS_KEY_ID") or "BOTO_CONFIG" in given or _any_there(others):
        return None
    return of_environment(given)


# botocore


def _of_botocore(wanted: Wanted) -> Found:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError as missing:
        raise ConfigError(
            "the DynamoDB store needs botocore: pip install 'lpcm[dynamodb]'"
        ) from missing

    session = botocore.session.Session(profile=wanted.profile)
    try:
        bundle = wanted.bundle
        if bundle is None:
            bundle = session.get_config_variable("ca_bundle")
        if bundle is None:
            bundle = os.environ.get("REQUESTS_CA_BUNDLE")
        source = session.get_credentials()
        if source is None:
            where = wanted.endpoint or f"DynamoDB in {wanted.region or 'the default region'}"
            raise StoreDenied(f"{where}: {_NO_KEYS}")
        return Found(_asking(source), source.method, _target(wanted, session), bundle)
    except botocore.exceptions.ProfileNotFound as error:
        raise ConfigError(str(error)) from error


def _asking(source: Any) -> Callable[[], tuple[Keys, float]]:
    def ask() -> tuple[Keys, float]:
        frozen = source.get_frozen_credentials()
        expiry = getattr(source, "_expiry_time", None)  # it has no public name
        keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
        return keys, math.inf if expiry is None else expiry.timestamp()

    return ask


def _target(wanted: Wanted, session: Any) -> Endpoint:
    if wanted.region and wanted.endpoint:
        return parse(wanted.endpoint, wanted.region)
    region = wanted.region or session.get_config_variable("region")
    if not region:
        raise ConfigError(
            f"{wanted.endpoint or 'DynamoDB in the default region'}: no AWS region: write "
            "dynamodb://table?region=eu-west-1, or set AWS_DEFAULT_REGION"
        )
    region_name(region)
    endpoint = wanted.endpoint
    if endpoint is None:
        # A client knows partitions, FIPS, dual stack and AWS_ENDPOINT_URL_DYNAMODB.
        client = session.create_client("dynamodb", region)
        mode = str(session.get_config_variable("account_id_endpoint_mode")).lower()
        endpoint = client.meta.endpoint_url if mode in _REGIONAL else _of_account(client)
    return parse(str(endpoint), region)


class _Created(Exception):  # no "Error" at the end: it says what happened
    """A request was made, and is not to be sent."""


def _of_account(client: Any) -> str:
    """Return the endpoint of the keys' own account. **Raises** ConfigError where there is none."""
    import botocore.exceptions

    urls: list[str] = []

    def created(request: Any, **_: object) -> None:
        urls.append(str(request.url))
        raise _Created

    client.meta.events.register_first("request-created.dynamodb", created)
    try:
        client.list_tables()
    except _Created:
        return urls[0].rstrip("/")
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigError(f"AWS_ACCOUNT_ID_ENDPOINT_MODE is 'required': {error}") from error
    raise AssertionError("botocore made no request")

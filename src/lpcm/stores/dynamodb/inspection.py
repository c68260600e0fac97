"""A look at a table for ``lpcm doctor``: keys, endpoint, clock, and the table's own settings.

Asks what ``lpcm table show`` asks, and the endpoint's time, without a signature: so a wrong clock,
for which AWS refuses signatures, is found. Shows where AWS's keys come from, and nothing of them.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from lpcm.errors import LPCMError, StoreDenied, StoreMissing
from lpcm.ports.findings import Finding
from lpcm.stores.dynamodb.http.connection import Limits, dial
from lpcm.stores.dynamodb.http.messages import Incoming, Malformed
from lpcm.stores.dynamodb.http.port import NotSent
from lpcm.stores.dynamodb.table.advice import advice, is_usable
from lpcm.stores.dynamodb.table.table import describe_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lpcm.ports.findings import Report
    from lpcm.stores.dynamodb.http.credentials import Credentials, Route
    from lpcm.stores.dynamodb.http.port import Transport

__all__ = ["look_at_credentials", "look_at_endpoint", "look_at_table"]

_WITHIN: Final = 10.0
_SKEW: Final = 5.0
"""Seconds that clocks may differ; a Date header has whole ones."""
_SOURCES: Mapping[str, str] = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "the file of AWS's credentials",
    "config-file": "the file of AWS's configuration",
    "assume-role": "a role that a profile assumes",
    "assume-role-with-web-identity": "a role, by a web identity",
    "sso": "single sign-on",
    "container-role": "the role of the container",
    "iam-role": "the role of the machine",
    "custom-process": "the process that a profile names",
}
"""What botocore calls the sources of keys."""


def look_at_credentials(credentials: Credentials, profile: str | None, report: Report) -> bool:
    """Report where the keys come from; tell whether there are any."""
    try:
        credentials.keys(_WITHIN)
    except (NotSent, LPCMError) as error:
        report(Finding("credentials", str(error), wrong=True))
        return False
    source = credentials.source
    named = f", profile {profile}" if profile else ""
    report(Finding("credentials", f"of {_SOURCES.get(source, source)}{named}"))
    return True


def look_at_endpoint(credentials: Credentials, report: Report) -> bool:
    """Report whether the endpoint answers, and how far its clock is from this machine's."""
    try:
        route = credentials.reach(_WITHIN)
        begun = time.time()
        date = _date(route)
    except (NotSent, OSError, Malformed, LPCMError) as error:
        fix = "check region= and endpoint= in the URL, and the network with its proxy (HTTPS_PROXY)"
        report(Finding("endpoint", str(error), fix, wrong=True))
        return False
    ended = time.time()
    at = f"{credentials.endpoint} in {route.endpoint.region}"
    report(Finding("endpoint", f"{at}, connected and answered in {(ended - begun) * 1000:.0f} ms"))
    if date is None:
        report(Finding("clock", "the endpoint does not tell the time"))
        return True
    ahead = (begun + ended) / 2 - date
    if abs(ahead) <= _SKEW:
        report(Finding("clock", f"within {_SKEW:g} s of the endpoint's"))
        return True
    found = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the endpoint's"
    fix = "let NTP set this machine's clock: entries expire by it, and AWS refuses 5 minutes"
    report(Finding("clock", found, fix, wrong=True))
    return True


def _date(route: Route) -> float | None:
    """Ask for nothing, and return the time of the reply, to half a second."""
    deadline = time.monotonic() + _WITHIN
    connection = dial(route, Limits(), deadline)
    try:
        host = route.endpoint.authority
        connection.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), deadline)
        incoming = Incoming()
        while not incoming.feed(received := connection.receive(deadline)):
            if not received:
                raise ConnectionResetError("the connection was closed")
    finally:
        connection.close()
    header = incoming.header(b"date")
    try:
        return parsedate_to_datetime(header.decode("latin-1")).timestamp() + 0.5
    except ValueError:  # none
        return None


async def look_at_table(transport: Transport, path: str, report: Report) -> bool:
    """Report what the table is; tell whether maps can use it."""
    try:
        table = await describe_table(transport, path)
    except StoreMissing:
        fix = "`lpcm table create`; or check the name, the region and the account"
        report(Finding("table", f"{path} does not exist there", fix, wrong=True))
        return False
    except StoreDenied as error:
        fix = "nothing, if maps work: `lpcm iam --administer` prints what looking takes"
        report(Finding("table", f"not looked at: {error}", fix))
        return True
    for finding in advice(table):
        report(finding)
    return is_usable(table)

"""Tables on DynamoDB engines, for the checks and benchmarks that start an engine of their own."""

from __future__ import annotations

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.http.blocking import SocketTransport
from lpcm.stores.dynamodb.http.credentials import Credentials
from lpcm.stores.dynamodb.table.table import create_table

__all__ = ["make_table"]


def make_table(endpoint: str, name: str, region: str = "eu-west-1") -> None:
    """Make a table of lpcm's on the engine at ``endpoint``, and wait until it can be used."""
    transport = SocketTransport(Credentials(region, endpoint))
    try:
        run(create_table(transport, name))
    finally:
        transport.close()

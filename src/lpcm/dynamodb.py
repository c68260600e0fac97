"""DynamoDB's tables: made, looked at, and written down for other tools.

What a table is and who may use it is no map's business: ``lpcm table``, ``lpcm iam`` and Django's
``create_lpcm_table`` are made of this. A table is named by its configuration
(``lpcm.config.parse("dynamodb://shop?region=eu-west-1")``). ``policy`` and ``template`` ask nobody.

>>> from lpcm import config, dynamodb
>>> made = dynamodb.policy(dynamodb.arn("shop"), read_only=True)
>>> made["Statement"][0]["Action"]
['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Query']
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lpcm.engine.drive import run
from lpcm.stores.dynamodb.table import table as _table
from lpcm.stores.dynamodb.table.iam import ADMINISTRATION, READS, WRITES, arn, policy
from lpcm.stores.dynamodb.table.table import TTL, Table
from lpcm.stores.dynamodb.table.templates import FORMATS, template

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from lpcm.engine.config import Config
    from lpcm.stores.dynamodb.http.port import Transport

__all__ = [
    "ADMINISTRATION",
    "FORMATS",
    "READS",
    "TTL",
    "WRITES",
    "Table",
    "arn",
    "create_table",
    "describe_table",
    "policy",
    "template",
]


def create_table(
    settings: Config,
    *,
    capacity: tuple[int, int] | None = None,
    recovery: bool = False,
    within: float = 120.0,
) -> bool:
    """Make the table unless it is there, and wait until it is ready; tell whether it was made.

    A table that is there stays as it is, but for its TTL, which has what expires deleted, and its
    recovery if asked for. ``capacity``: read and write units a second; None: billed on demand.
    ``within``: seconds it may take. **Raises** StoreError.
    """
    with _transport(settings) as transport:
        return run(
            _table.create_table(
                transport, settings.path, capacity=capacity, recovery=recovery, within=within
            )
        )


def describe_table(settings: Config) -> Table:
    """Return what the table is. **Raises** StoreMissing where there is none."""
    with _transport(settings) as transport:
        return run(_table.describe_table(transport, settings.path))


@contextmanager
def _transport(settings: Config) -> Generator[Transport, None, None]:
    """Yield what asks DynamoDB: the user's own client where there is one."""
    options: Mapping[str, Any] = dict(settings.store_options)
    region, endpoint, profile = (options.get(name) for name in ("region", "endpoint", "profile"))
    made: Transport
    if "client" in options:
        from lpcm.stores.dynamodb.http.boto3_client import ClientTransport

        made = ClientTransport(options["client"], region=region, endpoint=endpoint)
    else:
        from lpcm.stores.dynamodb.http.blocking import SocketTransport  # 30 ms: only where needed
        from lpcm.stores.dynamodb.http.credentials import Credentials  # as above

        made = SocketTransport(Credentials(region, endpoint, profile))
    try:
        yield made
    finally:
        made.close()

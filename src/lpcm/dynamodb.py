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
from lpcm.stores.dynamodb.table.advice import advice
from lpcm.stores.dynamodb.table.design import TTL, Design
from lpcm.stores.dynamodb.table.iam import ADMINISTRATION, READS, WRITES, arn, policy
from lpcm.stores.dynamodb.table.table import Table
from lpcm.stores.dynamodb.table.templates import FORMATS, template

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from lpcm.engine.config import Config
    from lpcm.ports import Finding
    from lpcm.stores.dynamodb.http.port import Transport

__all__ = [
    "ADMINISTRATION",
    "FORMATS",
    "READS",
    "TTL",
    "WRITES",
    "Design",
    "Table",
    "arn",
    "check_table",
    "create_table",
    "describe_table",
    "policy",
    "template",
]


def create_table(settings: Config, design: Design = Design(), *, within: float = 120.0) -> bool:  # noqa: B008  # a tuple
    """Make the table unless it is there, and wait until it is ready; tell whether it was made.

    A table that is there stays as it is, but for its TTL, which has what expires deleted, and its
    recovery, tags and auto scaling if asked for. ``within``: seconds it may take. **Raises**
    ValueError for a design that cannot be, StoreError.
    """
    design.check()
    options: Mapping[str, Any] = dict(settings.store_options)
    if design.scale_to is not None and options.keys() & {"client", "endpoint"}:
        raise ValueError("auto scaling is a service of AWS: no `endpoint` and no `client` has it")
    with _transport(settings) as transport:
        made = run(_table.create_table(transport, settings.path, design, within=within))
    if design.scale_to is not None:
        from lpcm.stores.dynamodb.table.scaling import scale  # for those who ask

        scale(settings.path, design, options.get("region"), options.get("profile"))
    return made


def describe_table(settings: Config) -> Table:
    """Return what the table is. **Raises** StoreMissing where there is none."""
    with _transport(settings) as transport:
        return run(_table.describe_table(transport, settings.path))


def check_table(settings: Config) -> list[Finding]:
    """Compare the table with what is recommended. **Raises** StoreMissing where there is none."""
    return list(advice(describe_table(settings)))


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

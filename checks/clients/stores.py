"""The stores that suites run on, each begun empty for one suite."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from checks import servers
from checks.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

__all__ = ["STORES", "opened"]

STORES = ("sqlite", "memory", "dynamodb", "cached")
"""An SQLite file; this process; DynamoDB behind memcached; memcached alone."""

_REGION = servers.AWS["AWS_DEFAULT_REGION"]


@contextmanager
def opened(store: str, directory: Path) -> Generator[Mapping[str, str], None, None]:
    """Run what the store needs; yield the environment that leads a suite's maps there."""
    with ExitStack() as stack:
        match store:
            case "sqlite":
                url = f"sqlite:///{directory}/maps.sqlite3"
            case "memory":
                url = "memory://"
            case "dynamodb":
                endpoint = stack.enter_context(servers.dynoxide()).endpoint
                cache = stack.enter_context(servers.memcached())
                make_table(endpoint, "lpcm")
                table = f"dynamodb://lpcm?region={_REGION}&endpoint={endpoint}"
                url = f"{table}&cache=memcached://{cache.host}:{cache.port}"
            case "cached":
                cache = stack.enter_context(servers.memcached())
                url = f"memcached://{cache.host}:{cache.port}"
            case _:
                raise ValueError(f"no such store: {store!r}; there are {', '.join(STORES)}")
        yield {**servers.AWS, "LPCM_URL": url, "LPCM_NAMESPACE": "clients"}

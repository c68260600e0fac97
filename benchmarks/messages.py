"""Eight processes append 200 messages to one list: how many of the 200 are kept.

Run ``python benchmarks/messages.py``. lpcm appends by ``m["all"].append(text)``, on each store.
Beside it is what one writes with boto3: read the item, append to its list, put the item back.
DynamoDB is dynoxide, on this machine. The processes of a way begin together; in memory they are
threads.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

import boto3

from checks import servers
from lpcm import LPCM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROCESSES = 8
EACH = 25
TABLE = "messages"
PLAIN = "plain"


class Way(NamedTuple):
    name: str
    append: Callable[[str, int, Any], None]
    """Append one process's messages: where, which process it is, a barrier to begin at."""
    read: Callable[[str], list[str]]
    where: str


def texts(number: int) -> list[str]:
    return [f"message {turn} of {number}" for turn in range(EACH)]


def append(url: str, number: int, begin: Any) -> None:
    m = LPCM("messages", url=url)
    begin.wait()
    for text in texts(number):
        m["all"].append(text)


def read(url: str) -> list[str]:
    return list(LPCM("messages", url=url, default=list)["all"])


def append_by_boto3(endpoint: str, number: int, begin: Any) -> None:
    table = boto3.resource("dynamodb", endpoint_url=endpoint).Table(PLAIN)
    begin.wait()
    for text in texts(number):
        item = table.get_item(Key={"pk": "all"}, ConsistentRead=True)["Item"]
        item["messages"].append(text)
        table.put_item(Item=item)


def read_by_boto3(endpoint: str) -> list[str]:
    table = boto3.resource("dynamodb", endpoint_url=endpoint).Table(PLAIN)
    return list(table.get_item(Key={"pk": "all"}, ConsistentRead=True)["Item"]["messages"])


def create_table(endpoint: str, name: str, *keys: str) -> None:
    client: Any = boto3.client("dynamodb", endpoint_url=endpoint)
    kinds = zip(keys, ("HASH", "RANGE"), strict=False)
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in kinds],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
    )


@contextmanager
def ways() -> Iterator[list[Way]]:
    """Yield the ways, each with an empty list."""
    os.environ |= servers.AWS
    with (
        tempfile.TemporaryDirectory(prefix="lpcm-messages-") as folder,
        servers.dynoxide() as dynoxide,
        servers.memcached() as memcached,
    ):
        endpoint = dynoxide.endpoint
        for name in (TABLE, f"{TABLE}-cached"):
            create_table(endpoint, name, "pk", "sk")
        create_table(endpoint, PLAIN, "pk")
        plain = boto3.resource("dynamodb", endpoint_url=endpoint).Table(PLAIN)
        plain.put_item(Item={"pk": "all", "messages": []})
        cache = f"memcached://{memcached.host}:{memcached.port}"
        urls = {
            "memory": "memory://messages",
            "SQLite": f"sqlite:///{folder}/messages.sqlite3",
            "DynamoDB": f"dynamodb://{TABLE}?endpoint={endpoint}",
            "DynamoDB behind memcached": (
                f"dynamodb://{TABLE}-cached?endpoint={endpoint}&cache={cache}"
            ),
            "memcached alone": cache,
        }
        for url in urls.values():
            LPCM("messages", url=url)["all"] = []
        yield [
            *(Way(f"lpcm, {name}", append, read, url) for name, url in urls.items()),
            Way("boto3, read and put back", append_by_boto3, read_by_boto3, endpoint),
        ]


def kept(way: Way) -> int:
    """Have all processes append; return how many messages are in the list, each counted once."""
    if way.where.startswith("memory:"):
        make: Any = threading.Thread
        begin: Any = threading.Barrier(PROCESSES)
    else:
        context = get_context("spawn")
        make, begin = context.Process, context.Barrier(PROCESSES)
    work = [make(target=way.append, args=(way.where, n, begin)) for n in range(PROCESSES)]
    for each in work:
        each.start()
    for each in work:
        each.join()
    found = way.read(way.where)
    wanted = {text for number in range(PROCESSES) for text in texts(number)}
    assert len(found) == len(set(found)), "a message was stored twice"
    assert set(found) <= wanted
    return len(found)


def main() -> None:
    print(f"| way | kept of {PROCESSES * EACH} |\n|---|--:|")
    with ways() as all_ways:
        for way in all_ways:
            print(f"| {way.name} | {kept(way)} |", flush=True)


if __name__ == "__main__":
    main()

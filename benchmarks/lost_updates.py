"""Two processes append 100 messages each to one list: how many of the 200 are there at the end.

``python benchmarks/lost_updates.py`` does it on a DynamoDB engine of its own, with boto3 as its
documentation shows it (read the item, change it, put it back), and with lpcm. boto3 and a plain map
lose what was written between a read and its write; how much differs from run to run.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from checks import servers
from tests.dynamodb.tables import Table

EACH = 100


def boto3_appends(endpoint: str, writer: int) -> None:
    """Append with boto3."""
    import boto3

    table = boto3.resource("dynamodb", endpoint_url=endpoint, region_name="eu-west-1").Table("chat")
    for number in range(EACH):
        item = table.get_item(Key={"room": "lobby"}, ConsistentRead=True)["Item"]
        item["messages"].append(f"{writer}: {number}")
        table.put_item(Item=item)


def lpcm_appends(endpoint: str, writer: int) -> None:
    """Append with lpcm."""
    from lpcm import LPCM

    rooms = LPCM("rooms", url=f"dynamodb://lpcm?region=eu-west-1&endpoint={endpoint}")
    for number in range(EACH):
        rooms["lobby"].append(f"{writer}: {number}")


def together(appends, endpoint: str) -> None:
    """Let two processes append at the same time."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=appends, args=(endpoint, number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]


def kept() -> dict[str, int]:
    """Return how many of the 200 messages each has at the end."""
    import boto3

    from lpcm import LPCM

    os.environ |= servers.AWS
    with servers.dynoxide() as server:
        table = boto3.resource(
            "dynamodb", endpoint_url=server.endpoint, region_name="eu-west-1"
        ).create_table(
            TableName="chat",
            KeySchema=[{"AttributeName": "room", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "room", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        table.put_item(Item={"room": "lobby", "messages": []})
        together(boto3_appends, server.endpoint)
        by_boto3 = table.get_item(Key={"room": "lobby"}, ConsistentRead=True)["Item"]["messages"]
        rooms = LPCM("rooms", url=Table(server.endpoint).url)
        rooms["lobby"] = []
        together(lpcm_appends, server.endpoint)
        return {"boto3": len(by_boto3), "lpcm": len(rooms["lobby"])}


if __name__ == "__main__":
    for name, messages in kept().items():
        print(f"{name}: {messages} of {2 * EACH} messages are there")

"""What the tests of values in parts have in common."""

import time
from decimal import Decimal

from lpcm.ports.heads import PART
from tests.dynamodb.hurting import Hurting

BIG = bytes(range(256)) * 4000
OTHER = b"other" * 200_000
TEXT = "é☃" * 300_000
TREE = {
    "half": [0.5, Decimal("0.1"), 10**40],
    "numbers": list(range(50_000)),
    "raw": b"\0\xff" * 100_000,
    "set": {1, 2},
    "tuple": (1, None, True),
}
HOUR = 3601.0


def places(table):
    """Return how many items there are: of the map, owners, and parts."""
    pks = [item["pk"]["S"] for item in table.items()]
    owners = sum(pk.endswith("/!/") for pk in pks)
    parts = sum("/!" in pk for pk in pks) - owners
    return sum(pk.count("/") >= 2 for pk in pks) - owners - parts, owners, parts


class Faster(Hurting):
    """Calls ``meddle`` before each write that is to replace a head which its client has seen."""

    meddle = staticmethod(lambda: None)

    async def call(self, operation, request, within):
        if ":head" in request.get("ExpressionAttributeValues", {}):
            self.meddle()
        return await super().call(operation, request, within)

    async def sleep(self, seconds):
        time.sleep(seconds)  # noqa: ASYNC251  # a blocking transport


def count(value):
    return -(-len(value) // PART)

"""What each operation of the cache asks of its map: so many requests, blocking and awaited."""

import asyncio

import pytest
from django.core.cache import caches
from django.test import override_settings

from lpcm import LPCM
from lpcm.events import recorded

READ, WRITE = "read", "write"
COSTS = {
    "get of what is there": ([READ], "get", "int"),
    "get of nothing": ([READ], "get", "gone"),
    "set": ([WRITE], "set", "new", [1]),
    "set of what has ended": ([WRITE], "set", "int", 1, -1),
    "add": ([WRITE], "add", "new", 1),
    "add to what is there": ([WRITE], "add", "int", 1),
    "add to a stranger's": ([WRITE, WRITE], "add", "stranger", 1),
    "add of what has ended": ([READ], "add", "new", 1, 0),
    "touch": ([READ, WRITE], "touch", "int", 60),
    "touch of nothing": ([READ], "touch", "gone", 60),
    "has_key": ([READ], "has_key", "int"),
    "incr of an int": ([WRITE], "incr", "int"),
    "incr of a float": ([WRITE, WRITE], "incr", "float"),
    "incr by a float": ([READ, WRITE], "incr", "int", 0.5),
    "delete": ([WRITE], "delete", "int"),
    "get_many": ([READ], "get_many", ["int", "float"]),
    "set_many": ([WRITE], "set_many", {"a": 1, "b": 2}),
    "delete_many": ([WRITE], "delete_many", ["int", "float"]),
    "get_or_set": ([READ, WRITE, READ], "get_or_set", "new", 3),
    "clear": (["clear"], "clear"),
}
BACKEND = "lpcm.django.cache.LPCMCache"


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize(
    ("codec", "what"),
    # With CODEC plain nothing that can be read is a stranger's.
    [("pickle", what) for what in COSTS]
    + [("plain", what) for what in COSTS if "stranger" not in what],
)
def test_requests(codec, what, awaited):
    """An operation costs what it says, whatever the codec, and its a-twin the same."""
    wanted, name, *arguments = COSTS[what]
    settings = {"BACKEND": BACKEND, "LOCATION": "counted", "OPTIONS": {"CODEC": codec}}
    with override_settings(CACHES={"default": settings}):
        cache = caches["default"]
        cache.set_many({"int": 1, "float": 0.5})
        LPCM("counted")[":1:stranger"] = b"not signed"

        async def twin():
            await getattr(cache, f"a{name}")(*arguments)

        with recorded() as operations:
            if awaited:
                asyncio.run(twin())
            else:
                getattr(cache, name)(*arguments)
        cache.clear()
    assert [operation.kind for operation in operations] == wanted

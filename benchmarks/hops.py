"""How many Python functions one operation of a map calls, and how often it changes files.

Run ``python benchmarks/hops.py``, on Python 3.11: later ones inline comprehensions, which are calls
there. ``--calls WORD`` lists the calls of the operations whose name has that word. The counts
depend on nothing else that the machine does. For another commit's, put its ``src`` into
``PYTHONPATH``.

A *call* is an event ``call`` of ``sys.setprofile``: a Python function of lpcm or the standard
library begins, or a coroutine or generator goes on. A *file change* is a call whose function is in
another file than its caller; named tuples' constructors, which are in no file, are none.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

import boto3

from checks import servers
from lpcm import LPCM, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TABLE = "hops"
KEYS = [f"user/{number}" for number in range(100)]
VALUE = "x" * 100
RUNS = 20


class Operation(NamedTuple):
    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = int


class Hops(NamedTuple):
    calls: int
    changes: int
    lines: list[str]


def count(operation: Operation) -> Hops:
    """Return the fewest hops of some runs: one in many also looks at the catalogue, say."""
    return min(once(operation) for _ in range(RUNS))


def once(operation: Operation) -> Hops:
    operation.prepare()
    run = operation.run
    changes, lines = 0, []

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal changes
        if (
            event == "call"
            and (caller := frame.f_back) is not None
            and frame.f_code != run.__code__
        ):
            file = frame.f_code.co_filename
            change = file not in (caller.f_code.co_filename, "<string>")
            changes += change
            name = f"{'/'.join(Path(file).parts[-2:])} {frame.f_code.co_qualname}"
            lines.append(f"  {'>' if change else ' '} {name}")

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return Hops(len(lines), changes, lines)


def operations(m: LPCM[str, Any]) -> list[Operation]:
    """Return what is counted on every stack."""

    def write() -> None:
        m["k"] = VALUE

    def zero() -> None:
        m["n"] = 0

    def add() -> None:
        m["n"] += 1

    def empty() -> None:
        m["l"] = []

    m.set_many(dict.fromkeys(KEYS, VALUE))
    write()
    return [
        Operation("m[k]", lambda: m["k"]),
        Operation("m[k] = v", write),
        Operation("m[k] += 1", add, zero),
        Operation("m[k].append(x)", lambda: m["l"].append(1), empty),
        Operation("m.get_many, of 100 keys", lambda: m.get_many(KEYS)),
    ]


@contextmanager
def cached() -> Iterator[list[Operation]]:
    """Yield the operations through memcached to DynamoDB."""
    os.environ |= servers.AWS
    with servers.memcached() as memcached, servers.dynoxide() as dynoxide:
        client: Any = boto3.client("dynamodb", endpoint_url=dynoxide.endpoint)
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")
            ],
        )
        address = f"memcached://{memcached.host}:{memcached.port}"
        engine = Engine.open(f"dynamodb://{TABLE}?endpoint={dynoxide.endpoint}", cache=address)

        def flush() -> None:
            with socket.create_connection((memcached.host, memcached.port)) as connection:
                connection.sendall(b"flush_all\r\n")
                connection.recv(100)

        first, *others = operations(LPCM("m", using=engine))
        yield [
            first._replace(name="m[k], a hit"),
            first._replace(name="m[k], a miss", prepare=flush),
            *others,
        ]
        engine.close()


@contextmanager
def embedded() -> Iterator[list[Operation]]:
    """Yield the operations on SQLite."""
    with tempfile.TemporaryDirectory(prefix="lpcm-hops-") as folder:
        engine = Engine.open(f"sqlite:///{folder}/hops.sqlite3")
        m = LPCM("m", using=engine)
        m["made"] = 1
        time.sleep(0.2)  # a directory that has just changed is looked at again after each write
        yield operations(m)
        engine.close()


STACKS = {"memcached and DynamoDB": cached, "SQLite": embedded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", metavar="WORD", help="list these operations' calls, > a change")
    word = parser.parse_args().calls
    print("| stack | operation | calls | file changes |\n|---|---|--:|--:|")
    with ExitStack() as stack:
        for name, opened in STACKS.items():
            for operation in stack.enter_context(opened()):
                calls, changes, lines = count(operation)
                print(f"| {name} | `{operation.name}` | {calls} | {changes} |")
                if word is not None and word in operation.name:
                    print("\n".join(lines))


if __name__ == "__main__":
    main()

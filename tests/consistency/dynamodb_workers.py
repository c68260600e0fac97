"""What the clients of the DynamoDB fault tests do, each a process of its own.

Each does random operations through a proxy that hurts, for some seconds, and leaves a line
for each: what it asked for, what it was told, and when. What it was told is one of

``done``    an answer, which must be true
``unknown`` ``OutcomeUnknown``: done or not, once at most, now or later
``not``     any other error: certainly not done
"""

import json
import random
import sys
import time
from pathlib import Path
from time import monotonic_ns

from lpcm import LPCM, BatchError, Engine, LPCMError, OutcomeUnknown
from lpcm.stores.dynamodb import retries as calls

COUNTERS, BATCH, REGISTERS = 40, 60, 2


class Client:
    def __init__(self, engine, seed):
        self.random = random.Random(seed)
        self.rows = []
        self.counts = LPCM("counts", using=engine)
        self.batches = LPCM("batches", using=engine)
        self.registers = LPCM("registers", using=engine)
        self.begun = time.monotonic()
        self.me = seed
        self.number = 0

    def told(self, function, *arguments):
        """Call it; return (told, result, invoked, responded)."""
        invoked = monotonic_ns()
        try:
            result, told = function(*arguments), "done"
        except BatchError as error:
            result, told = error, "part"
        except OutcomeUnknown:
            result, told = None, "unknown"
        except LPCMError:
            result, told = None, "not"
        return told, result, invoked, monotonic_ns()

    def note(self, *row):
        """Keep (role, key, kind, argument, told, result, invoked, responded)."""
        self.rows.append(row)

    def count(self):
        """Increment one of the shared counters by what nobody else adds."""
        key, delta = f"c{self.random.randrange(COUNTERS)}", self.random.randrange(1, 10**12)
        self.note("count", key, "increment", delta, *self.told(self.counts.increment, key, delta))

    def batch(self):
        """Set many keys of this client's alone, and read them back."""
        keys = [f"{self.me}/{self.number}/{each}" for each in range(BATCH)]
        told, result, invoked, responded = self.told(
            self.batches.set_many, dict.fromkeys(keys, self.number)
        )
        errors = result.errors if told == "part" else {}
        there = []
        for key in keys:
            each = told if told != "part" else fate(errors.get(key))
            self.note("batch", key, "set", self.number, each, None, invoked, responded)
            if each == "done":
                there.append(key)
        told, result, invoked, responded = self.told(self.batches.get_many, there)
        lost = sorted(set(there) - set(result)) if told == "done" else []
        self.note("read", "", "get_many", len(there), told, lost, invoked, responded)

    def register(self, kinds):
        """Do any operation on one of a few shared keys, others each second."""
        second = int(time.monotonic() - self.begun)
        names = [f"{second}/{each}" for each in range(REGISTERS)]
        key, entries = self.random.choice(names), self.registers
        value = self.me * 1_000_000 + self.number
        match self.random.choice(kinds):
            case "get":
                self.note("register", key, "get", None, *self.told(entries.get, key))
            case "set":
                self.note("register", key, "set", value, *self.told(entries.set, key, value))
            case "delete":
                self.note("register", key, "delete", None, *self.told(entries.delete, key))
            case "pop":
                self.note("register", key, "pop", None, *self.told(entries.pop, key, None))
            case "get_many":
                told, found, *times = self.told(entries.get_many, names)
                for name in names:
                    self.note("register", name, "get", None, told, (found or {}).get(name), *times)
            case "set_many":
                told, result, *times = self.told(entries.set_many, dict.fromkeys(names, value))
                errors = result.errors if told == "part" else {}
                for name in names:
                    each = told if told != "part" else fate(errors.get(name))
                    self.note("register", name, "set", value, each, None, *times)


def fate(error):
    """Return what a batch told of one of its keys."""
    if error is None:
        return "done"
    return "unknown" if isinstance(error, OutcomeUnknown) else "not"


KINDS = ["get"] * 5 + ["set"] * 3 + ["delete", "pop", "get_many", "set_many"]


def everything(client):
    dice = client.random.random()
    if dice < 0.35:
        client.count()
    elif dice < 0.4:
        client.batch()
    else:
        client.register(KINDS)


def puts_and_gets(client):
    client.register(["get", "set"])


def work(url, log, seconds, seed, doing):
    """Do what is named until the time is over."""
    engine = Engine.open(url)
    client = Client(engine, int(seed))
    end = client.begun + float(seconds)
    while time.monotonic() < end:
        client.number += 1
        globals()[doing](client)
    engine.close()
    Path(log).write_text("\n".join(map(json.dumps, client.rows)), encoding="utf-8")


def resend_blindly(*arguments):
    """Do the same with a fault built in: a write whose reply was lost is sent again."""
    calls._READS |= {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
    work(*arguments)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

"""Programs of the tests of values in parts: writers that are killed, and readers."""

import os
import random
import sys
import time
from contextlib import suppress

from lpcm import LPCM, Engine
from lpcm.errors import BatchError, CacheUnavailable, OutcomeUnknown, StoreBusy, StoreUnavailable

KEYS = ["a", "b", "c", "d"]
FAULTS = (CacheUnavailable, OutcomeUnknown, StoreBusy, StoreUnavailable)
"""What a busy machine and killed servers may cause."""
WAIT = 0.01
"""Seconds a worker lets others work."""


def value(size):
    """Return a value whose every part tells which value it is of."""
    return os.urandom(8) * (size // 8)


def write(url, size, seconds):
    """Overwrite, delete, expire and set in batches, until killed."""
    until = time.monotonic() + float(seconds)
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine, live=False)
        while time.monotonic() < until:
            key, sizes = random.choice(KEYS), (100, int(size), int(size))
            made = value(random.choice(sizes))
            try:
                match random.randrange(8):
                    case 0:
                        m.delete(key)
                    case 1:
                        m.set(key, made, ttl=random.uniform(0.1, 1))
                    case 2:
                        m.set_many(dict.fromkeys(random.sample(KEYS, 2), made))
                    case 3:
                        check(m.pop(key, None))
                    case 4:
                        m.transform(key, lambda _, made=made: made, default=None)
                    case _:
                        m[key] = made
            except (BatchError, *FAULTS):
                pass
            time.sleep(WAIT)


def read(url, _, seconds):
    """Read until the end, one value at least; print how many were whole.

    **Raises** AssertionError where one is not.
    """
    until = time.monotonic() + float(seconds)
    found = 0
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine, live=False)
        while time.monotonic() < until or not found:
            with suppress(*FAULTS):
                match random.randrange(3):
                    case 0:
                        several = m.get_many(KEYS).values()
                    case 1:
                        several = [each for _, each in m.items()]
                    case _:
                        several = [m.get(random.choice(KEYS))]
                found += sum(map(check, several))
            time.sleep(WAIT)
    sys.stdout.write(f"{found}\n")


def check(found):
    """Tell whether there is a value; fail where it is a mixture."""
    assert found is None or found == found[:8] * (len(found) // 8), "a mixed value"
    return found is not None


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])

"""What the processes of ``test_live`` do: everything to the same few keys.

Each change adds a mark that no other one adds: a bit of a number, a member. What is stored
afterwards so says of each change whether it was made, and a bit added twice carries over
into one that is not there. ``SHARE`` changes of each process share a number, so that eight
of them stay within the 126 bits that DynamoDB adds natively.
"""

import json
import sys
from pathlib import Path

from lpcm import LPCM, LPCMError, OutcomeUnknown

SHARE = 15
KINDS = ("plus", "nested", "append", "members", "transform")


def start(m, times):
    """Store what the changes begin with."""
    zeros = {place(turn): 0 for turn in range(times)}
    m.update({f"{kind}/{name}": 0 for kind in ("plus", "transform") for name in zeros})
    m.update({"nested": {"a": zeros}, "append": [], "members": {-1}})


def place(turn):
    """Return the name of the number that the turn's marks are bits of."""
    return f"{turn // SHARE}"


def bit(number, turn):
    return 1 << (number * SHARE + turn % SHARE)


def change(m, kind, number, turn, times):
    """Make one change of a kind, by process ``number``."""
    mark, name = number * times + turn, place(turn)
    match kind:
        case "plus":
            m[f"plus/{name}"] += bit(number, turn)
        case "nested":
            m["nested"]["a"][name] += bit(number, turn)
        case "append":
            m["append"].append(mark)
        case "members":
            m["members"] |= {mark}
        case "transform":
            m.transform(f"transform/{name}", lambda n: n + bit(number, turn))


def work(url, log, number, times):
    """Make each change ``times`` times; leave what was told of each."""
    m = LPCM("m", url=url)
    told = []
    for turn in range(int(times)):
        for kind in KINDS:
            try:
                change(m, kind, int(number), turn, int(times))
            except OutcomeUnknown:
                told.append((kind, turn, "unknown"))
            except LPCMError as error:
                told.append((kind, turn, f"not: {type(error).__name__}"))
            else:
                told.append((kind, turn, "done"))
    Path(log).write_text(json.dumps(told), encoding="utf-8")


def made(m, processes, times):
    """Return, for each kind, the changes that are stored, and how often each."""
    found = {kind: [] for kind in KINDS}
    found["append"] = [divmod(mark, times) for mark in m["append"]]
    found["members"] = [divmod(mark, times) for mark in m["members"] - {-1}]
    numbers = {
        "plus": lambda name: m[f"plus/{name}"],
        "nested": m["nested"]["a"].__getitem__,
        "transform": lambda name: m[f"transform/{name}"],
    }
    for kind, read in numbers.items():
        for name in {place(turn) for turn in range(times)}:
            value = read(name)
            for number in range(processes):
                for turn in range(times):
                    if place(turn) == name and value & bit(number, turn):
                        found[kind].append((number, turn))
                        value -= bit(number, turn)
            assert value == 0, f"{kind}: something was added twice"
    return found


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

"""What the processes of ``test_live`` do: everything to the same few keys."""

import sys

from lpcm import LPCM

KINDS = ("plus", "nested", "append", "members", "transform")


def work(url, number, times):
    """Change each value ``times`` times, with marks of this process's own."""
    m = LPCM("m", url=url)
    for turn in range(int(times)):
        mark = int(number) * int(times) + turn
        m["plus"] += 1
        m["nested"]["a"]["n"] += 1
        m["append"].append(mark)
        m["members"] |= {mark}
        m.transform("transform", lambda n: n + 1)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

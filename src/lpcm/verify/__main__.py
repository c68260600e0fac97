"""Record histories for minutes, on every store and in both modes: ``make check-coherence``.

``python -m lpcm.verify [SECONDS [SEED]]``. Prints how often each thing truly
happened, and ends with 1 if a promise was broken or one of them never did.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from checks import servers
from lpcm.verify import play
from lpcm.verify.targets import STORES, own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.verify import Stale, Violation

ROUND = 6.0
EXPECTED = (
    "cache killed", "cache paused", "cache cut off", "cache unreachable", "evictions", "flushes",
    "clients killed", "clients stopped", "EX", "steals", "overlapping writers", "OutcomeUnknown",
)  # fmt: skip
"""What must have happened in a run of some minutes, or it has shown nothing."""


def main(arguments: Sequence[str]) -> int:
    """Play rounds for that many seconds."""
    seconds = float(arguments[0]) if arguments else 600.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(2**31)
    os.environ.update(servers.AWS)
    total: Counter[str] = Counter()
    _say(f"seed {seed}")
    for store in STORES:
        for strict in (True, False):
            name = f"{store}, {'strict' if strict else 'available'}"
            counts, broken = _record(store, seed, seconds / 4, strict=strict)
            total += counts
            _say(f"\n{name}: {counts['rounds']} rounds, {counts['operations']:,} operations")
            _say("  " + ", ".join(f"{what} {n:,}" for what, n in sorted(counts.items())))
            if broken is not None:
                _say(f"  BROKEN: {broken}")
                return 1
    missing = [what for what in EXPECTED if not total[what]]
    if missing:
        _say(f"never happened: {', '.join(missing)}")
        return 1
    _say(f"\n{total['operations']:,} operations, every promise held")
    return 0


def _record(
    store: str, seed: int, seconds: float, *, strict: bool
) -> tuple[Counter[str], Violation | Stale | None]:
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="lpcm-") as made:
        directory = Path(made)
        with own(store, directory, strict=strict) as stand:
            while time.monotonic() < end:
                number = seed + counts["rounds"]
                played = play(stand, directory, seconds=ROUND, seed=number)
                counts += played.counts
                counts.update(rounds=1, operations=played.operations)
                if played.broken is not None:
                    return counts, played.broken
    return counts, None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

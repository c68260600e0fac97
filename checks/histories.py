"""Record histories for minutes, on every store and in both modes: ``make check-coherence``.

``python -m checks.histories [SECONDS [SEED]]``. The servers are this machine's own (``own``), so
they may be killed, paused and filled. Prints how often each fault truly happened. Exits with 1 if
a promise was broken, or if one of the expected faults never happened.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from checks import servers
from checks.tables import make_table
from lpcm import Engine
from lpcm.administration import Records
from lpcm.verify import MAP, nemesis, play, proxy
from lpcm.verify.targets import MEMCACHED, Target

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from checks.servers import Server
    from lpcm.verify import Stale, Violation
    from lpcm.verify.nemesis import Faults
    from lpcm.verify.proxy import Proxy

__all__ = ["STORES", "evicting", "killing", "main", "own", "pausing"]

STORES = ("sqlite", "dynamodb", "shards")
SHARDS = 4

ROUND = 6.0
_TABLE, _REGION = "histories", "eu-west-1"
_CACHE_OPTIONS = "timeout=0.3&connect_timeout=0.3"
_DYNAMODB = proxy.Faults(
    refuse=0.005,
    lose=0.01,
    cut=0.005,
    fail=0.005,
    fail_after=0.01,
    throttle=0.01,
    unprocess=0.3,
    hold=0.2,
    delay=0.3,
    seconds=(0.001, 0.02),
)
_CALM = proxy.Faults(hold=0.3, delay=0.3, seconds=(0.001, 0.01))
_SLOW = _DYNAMODB._replace(hold=0.0, delay=0.3, seconds=(0.1, 0.5))
EXPECTED = (
    "cache killed", "cache paused", "cache cut off", "cache unreachable", "evictions", "flushes",
    "clients killed", "clients stopped", "EX", "steals", "overlapping writers", "OutcomeUnknown",
)  # fmt: skip
"""What must have happened in a run of some minutes; without these the run shows nothing."""


def main(arguments: Sequence[str]) -> int:
    """Play rounds for that many seconds."""
    seconds = float(arguments[0]) if arguments else 600.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(2**31)
    os.environ.update(servers.AWS)
    total: Counter[str] = Counter()
    _say(f"seed {seed}")
    each = seconds / len(STORES) / 2
    for store in STORES:
        for strict in (True, False):
            name = f"{store}, {'strict' if strict else 'available'}"
            counts, broken = _record(store, seed, each, strict=strict)
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


@contextmanager
def own(
    store: str, directory: Path, *, strict: bool, options: str = ""
) -> Generator[Target, None, None]:
    """Yield a memcached and a store that may be killed, paused and cut off at will.

    ``options`` are more of the URL.
    ``store`` is ``sqlite``, a file in the directory, or ``dynamodb``: dynoxide, through a
    proxy that delays, loses and cuts; or ``shards``, the same with a map of several. In
    ``available`` mode no client is killed: its pending invalidations would die with it, and only
    the cache TTL bounds that.
    """
    with ExitStack() as stack:
        # So small that the items of ``evicting`` displace ours.
        memcached = stack.enter_context(servers.memcached(2, ("-o", "slab_automove=0")))
        front = stack.enter_context(proxy.proxy(memcached.host, memcached.port))
        cache = quote(f"memcached://{front.host}:{front.port}?{_CACHE_OPTIONS}", safe="")
        mode = "strict" if strict else "available"
        back: Proxy | None = None
        if store == "sqlite":
            url = f"sqlite:///{directory / 'histories.sqlite3'}?synchronous=normal"
        else:
            engine = stack.enter_context(servers.dynoxide())
            make_table(engine.endpoint, _TABLE, _REGION)
            if store == "shards":
                with Engine.open(
                    f"dynamodb://{_TABLE}?region={_REGION}&endpoint={engine.endpoint}"
                ) as direct:
                    Records(MAP, using=direct, shards=SHARDS).create()
            back = stack.enter_context(proxy.http_proxy(engine.host, engine.port))
            url = (
                f"dynamodb://{_TABLE}?region={_REGION}&endpoint={back.endpoint}"
                "&budget=1.5&patience=0.4"
            )
        made = Target(
            f"{url}&cache={cache}&on_cache_error={mode}{options}",
            relaxed=not strict,
            kills_clients=strict,
        )
        made.through("cache", front, *MEMCACHED)
        if back is not None:
            made.through("store", back, _CALM, _DYNAMODB, _SLOW)
        made.faults.update(killing(memcached))
        made.faults.update(pausing(memcached))
        made.faults.update(evicting(memcached))
        made.faults.update(nemesis.of_proxy(front, "cache"))
        yield made


def killing(server: Server) -> Faults:
    """Kill memcached, and start it again at once or a little later."""

    def restart(rng: random.Random) -> int:
        server.kill()
        time.sleep(rng.choice((0.0, 0.05, 0.4)))
        server.start()
        return 1

    return {"cache killed": restart}


def pausing(server: Server) -> Faults:
    """Stop memcached for a while, shorter and longer than its clients wait."""

    def pause(rng: random.Random) -> int:
        server.stop()
        try:
            time.sleep(rng.choice((0.02, 0.15, 0.6)))
        finally:
            server.cont()
        return 1

    return {"cache paused": pause}


def evicting(server: Server) -> Faults:
    """Fill memcached with other items, so that it evicts; and flush it."""

    def fill(rng: random.Random) -> int:
        with socket.create_connection((server.host, server.port), timeout=20) as raw:
            before = _evictions(raw)
            number = rng.randrange(10**9)
            for part in range(20):
                raw.sendall(
                    b"".join(
                        b"set junk:%d:%d:%d 0 0 %d noreply\r\n%s\r\n"
                        % (number, part, each, 40 + each % 60, b"x" * (40 + each % 60))
                        for each in range(1000)
                    )
                )
            return _evictions(raw) - before

    def flush(_: random.Random) -> int:
        with socket.create_connection((server.host, server.port), timeout=20) as raw:
            raw.sendall(b"flush_all\r\n")
            return int(raw.recv(100) == b"OK\r\n")

    return {"evictions": fill, "flushes": flush}


def _evictions(raw: socket.socket) -> int:
    raw.sendall(b"stats\r\n")
    text = b""
    while not text.endswith(b"END\r\n"):
        part = raw.recv(65536)
        if not part:
            raise ConnectionResetError("memcached closed the connection")
        text += part
    line = next(each for each in text.splitlines() if each.startswith(b"STAT evictions "))
    return int(line.split()[-1])


def _record(
    store: str, seed: int, seconds: float, *, strict: bool
) -> tuple[Counter[str], Violation | Stale | None]:
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="lpcm-") as made:
        directory = Path(made)
        with own(store, directory, strict=strict) as target:
            while time.monotonic() < end:
                number = seed + counts["rounds"]
                played = play(target, directory, seconds=ROUND, seed=number)
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

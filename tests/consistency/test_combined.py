"""Combined increments on real servers: exact, with fewer requests than increments.

Lost replies and busy clients included.
"""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain

import pytest

from checks.tables import make_table
from lpcm import LPCM, Engine, LPCMError, OutcomeUnknown, events
from lpcm.verify.proxy import Faults, http_proxy
from lpcm.verify.targets import with_options
from tests.consistency import workers
from tests.consistency.processes import crew, lines

KINDS = ("dynamodb", "cached", "cached only")
THREADS, TIMES = 16, 25


@pytest.fixture(scope="module")
def urls(memcached, dynoxide):
    """Return the URLs of each kind of store."""
    make_table(dynoxide.endpoint, "combined", "eu-west-1")
    table = f"dynamodb://combined?region=eu-west-1&endpoint={dynoxide.endpoint}"
    cache = f"memcached://{memcached.host}:{memcached.port}"
    return dict(zip(KINDS, (table, f"{table}&cache={cache}", cache), strict=True))


@pytest.fixture(params=KINDS)
def url(request, urls, tmp_path):
    """Name a store, and a namespace of this test's own in it."""
    return with_options(urls[request.param], namespace=tmp_path.name)


@contextmanager
def writes_sent():
    """Collect the requests meanwhile that write to DynamoDB."""
    found = []

    def add(request):
        if request.operation in {"UpdateItem", "PutItem"}:
            found.append(request)

    with events.subscribe(add, events.Request):
        yield found


@pytest.mark.parametrize("near", [{}, {"near_cache": "1000000", "max_stale": "300"}])
def test_threads(url, near):
    """Each sum is given once, each thread's rise, its own writes are seen at once."""
    with Engine.open(url, **near) as engine, ThreadPoolExecutor(THREADS) as pool:
        m = LPCM("m", using=engine)
        past = LPCM("m", using=engine)
        past.disable_caching()
        start = threading.Barrier(THREADS)

        def work(number):
            start.wait(30)
            mine = []
            for _ in range(TIMES):
                mine.append((past if number % 4 == 0 else m).increment("k"))
                assert m["k"] >= mine[-1]
            return mine

        with writes_sent() as writes:
            results = list(pool.map(work, range(THREADS)))
        assert all(mine == sorted(mine) for mine in results)
        assert sorted(chain.from_iterable(results)) == [*range(1, THREADS * TIMES + 1)]
        assert m["k"] == THREADS * TIMES
        if url.startswith("dynamodb"):
            assert len(writes) < THREADS * TIMES / 2


def test_tasks(url):
    """Tasks that are cancelled in the middle take nobody's sum; whatever they did is counted."""
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = 0

        async def main():
            tasks = [asyncio.ensure_future(m.aincrement("k")) for _ in range(300)]
            await asyncio.sleep(0.002)
            for each in tasks[::3]:
                each.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        with writes_sent() as writes:
            results = asyncio.run(main())
        kept = [each for each in results if isinstance(each, int)]
        assert len(kept) >= 200
        assert len(set(kept)) == len(kept)
        assert len(kept) <= m["k"] <= 300
        assert max(kept) <= m["k"]
        if url.startswith("dynamodb"):
            assert len(writes) <= 20


def test_digits(urls, tmp_path):
    """Sums that reach 38 digits, and pass them, are Python's."""
    most = 10**38 - 1
    with Engine.open(with_options(urls["dynamodb"], namespace=tmp_path.name)) as engine:
        m = LPCM("m", using=engine)
        m["k"] = most - 5

        async def main():
            deltas = [1, 2, 3, -4, most, -most, 7]
            return deltas, await asyncio.gather(*(m.aincrement("k", n) for n in deltas))

        deltas, results = asyncio.run(main())
        assert results[0] == most - 4
        assert m["k"] == most - 5 + sum(deltas)


def test_lost_replies(urls, dynoxide, tmp_path):
    """What is counted is what was acknowledged, and some of what is unknown."""
    table = with_options(urls["dynamodb"], namespace=tmp_path.name)
    with Engine.open(table) as engine:
        LPCM("m", using=engine)["k"] = 0
    faults = Faults(lose=0.1, fail_after=0.1, refuse=0.05, hold=0.1, delay=0.1)
    with http_proxy(dynoxide.host, dynoxide.port, faults, seed=5) as between:
        hurt = {"endpoint": between.endpoint, "budget": "2", "patience": "0.5"}
        with Engine.open(with_options(table, **hurt)) as engine:
            m = LPCM("m", using=engine)
            done, unknown = [], []

            def work():
                for _ in range(TIMES):
                    try:
                        done.append(m.increment("k"))
                    except OutcomeUnknown:
                        unknown.append(1)
                    except LPCMError:
                        pass  # nothing was written

            with ThreadPoolExecutor(THREADS) as pool:
                for each in [pool.submit(work) for _ in range(THREADS)]:
                    each.result(60)
    with Engine.open(table) as engine:
        total = LPCM("m", using=engine)["k"]
    assert between.counts["lose"] + between.counts["fail_after"] > 0
    assert len(set(done)) == len(done)
    assert len(done) <= total <= len(done) + len(unknown)


def test_processes(urls, tmp_path):
    """Of 4 processes of 16 threads each no increment is lost, and no sum is given twice."""
    url = with_options(urls["cached"], namespace=tmp_path.name)
    logs = [tmp_path / f"log{number}" for number in range(4)]
    with crew() as processes:
        processes.wait(
            *(processes.start(workers.count_in_threads, url, log, THREADS, TIMES) for log in logs)
        )
    results = [[int(line) for line in lines(log)] for log in logs]
    assert sorted(chain.from_iterable(results)) == [*range(1, 4 * THREADS * TIMES + 1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forks(url, tmp_path):
    """A child waits for no sender of its parent, and sends nothing of what waited there."""
    log = tmp_path / "log"
    with crew() as processes:
        processes.wait(processes.start(workers.fork_amid_increments, url, log, 8, 12), timeout=40)
    sums = sorted(map(int, lines(log)))
    assert sums == [*range(1, len(sums) + 1)]
    with Engine.open(url) as engine:
        assert LPCM("m", using=engine)["k"] == len(sums)

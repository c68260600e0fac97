"""``close``, ``with`` and their a-twins: what ends with a map or an engine, and what does not."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import threading
import time

import pytest

import lpcm
from checks import servers
from lpcm import LPCM, Engine, LPCMError, LPCMSet, StoreError
from lpcm.engine import state
from tests.dynamodb.tables import Table
from tests.opened import Opened
from tests.test_process import FORKS

CLOSED = "map 'm' is closed"


@pytest.fixture(autouse=True)
def nothing_open():
    """Close what other tests left open."""
    gc.collect()
    lpcm.close()


@pytest.fixture
def table(dynoxide):
    """Return an empty table."""
    made = Table(dynoxide.endpoint)
    made.empty()
    yield made
    made.close()


@pytest.fixture(params=["memory", "SQLite", "DynamoDB", "memcached and DynamoDB", "memcached"])
def url(request, tmp_path):
    """Return the URL of a store of each kind."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path}/m.sqlite3"
    if request.param == "DynamoDB":
        return request.getfixturevalue("table").url
    server = request.getfixturevalue("memcached")
    cache = f"memcached://{server.host}:{server.port}"
    if request.param == "memcached":
        return cache
    return f"{request.getfixturevalue('table').url}&cache={cache}"


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that no map has opened."""
    return tmp_path / "m.sqlite3"


def test_a_block_closes_what_its_map_opened(url):
    """After ``with LPCM(...)`` as many descriptors and threads are there as before."""
    since = Opened()
    for _ in range(3):
        with LPCM("m", url=url) as m:
            m["k"] = m.get("k", 0) + 1
    assert (since.descriptors(), since.threads()) == ([], [])
    with pytest.raises(LPCMError, match=CLOSED):
        m["k"]
    with LPCM("m", url=url) as again:
        assert again["k"] == 3


def test_an_asynchronous_block_closes_it_too(url):
    """After ``async with`` nothing of the running loop's is left, nor of the blocking half."""

    async def main():
        since = Opened()
        async with LPCM("m", url=url) as m:
            await m.aset("k", 1)
            m["blocking"] = 2
            assert await m.aget("k") == 1
        for _ in range(1000):
            if not since.descriptors() and not since.threads():
                break
            await asyncio.sleep(0.01)  # threads end: that which closed it, and one for AWS's keys
        assert (since.descriptors(), since.threads()) == ([], [])
        with pytest.raises(LPCMError, match=CLOSED):
            await m.aget("k")

    asyncio.run(main())
    asyncio.run(main())


def test_an_engine_closes_with_its_block(url):
    """``with Engine.open(...)``, and ``async with``, leave nothing open; again is an error."""
    since = Opened()
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = 1
    engine.close()
    assert (engine.closed, since.descriptors()) == (True, [])
    with pytest.raises(StoreError, match="closed"):
        m["k"]
    with pytest.raises(StoreError, match="is closed: open another"), engine:
        pass

    async def main():
        since = Opened()
        async with Engine.open(url) as engine:
            m = LPCM("m", using=engine)
            await m.aset("k", 2)
        await engine.aclose()
        assert since.descriptors() == []
        with pytest.raises(StoreError, match="closed"):
            await m.aget("k")
        with pytest.raises(StoreError, match="is closed: open another"):
            async with engine:
                pass

    asyncio.run(main())


def test_what_another_map_uses_stays_open(path):
    """The engine of an equal configuration closes with the last map that uses it."""
    since = Opened()
    one, two = (LPCM(name, url=f"sqlite:///{path}") for name in ("m", "other"))
    one["k"] = two["k"] = [1]
    kept = two["k"]
    epoch = state.epoch
    one.close()
    kept.append(2)
    assert two["k"] == [1, 2]
    assert state.epoch == epoch, "the other map was made to look for its engine again"
    two.close()
    assert since.descriptors() == []
    with pytest.raises(LPCMError, match="map 'other' is closed"):
        kept.append(3)


def test_a_map_that_nobody_has_any_more_keeps_nothing_open(path):
    """What was read through a map keeps its engine open, until it is gone, too."""
    since = Opened()
    m = LPCM("m", url=f"sqlite:///{path}")
    m["k"] = [1]
    value = LPCM("m", url=f"sqlite:///{path}")["k"]  # the map is gone, its live value is not
    m.close()
    value.append(2)
    with LPCM("m", url=f"sqlite:///{path}") as m:
        assert m["k"] == [1, 2]
    assert since.descriptors()
    del value
    gc.collect()
    with LPCM("m", url=f"sqlite:///{path}") as m:
        assert m["k"] == [1, 2]
    assert since.descriptors() == []


def test_a_map_that_looked_again_is_one_user(path):
    """A map that follows a change of the configuration holds its engine once."""
    since = Opened()
    m = LPCM("m", url=f"sqlite:///{path}")
    m["k"] = 1
    for _ in range(3):
        state.refresh()
        assert m["k"] == 1
    m.disable_caching()
    assert m["k"] == 1
    m.close()
    assert since.descriptors() == []


def test_functions_keep_what_they_asked_for(path):
    """What ``lpcm.maps`` and its like work on stays open until ``lpcm.close()``."""
    since = Opened()
    lpcm.configure(f"sqlite:///{path}", using="shop")
    with LPCM("m", using="shop") as m:
        m["k"] = 1
        assert lpcm.maps(using="shop") == ["m"]
    assert since.descriptors()
    lpcm.close()
    assert since.descriptors() == []


def test_a_map_never_closes_an_engine_it_was_given(path):
    """Who opened an engine closes it."""
    with Engine.open(f"sqlite:///{path}") as engine:
        with LPCM("m", using=engine) as m:
            m["k"] = 1
        assert LPCM("m", using=engine)["k"] == 1


def test_a_store_in_memory_without_a_name_keeps_its_entries():
    """Its entries are in the engine alone, which no map closes."""
    lpcm.configure("memory://", using="scratch")
    with LPCM("m", using="scratch") as m:
        m["k"] = 1
    assert LPCM("m", using="scratch")["k"] == 1


def test_closing_a_shared_engine_itself_breaks_no_map(path):
    """Maps of an alias whose engine somebody closes open another one."""
    m = LPCM("m", url=f"sqlite:///{path}")
    m["k"] = 1
    m._bound[2].engine.close()
    assert m["k"] == 1
    m.close()


def test_a_closed_map_stays_closed(path):
    """Every use raises one error, which says so; closing again does nothing."""
    m = LPCM("m", url=f"sqlite:///{path}")
    m.update(a=1, b=[2])
    live, view, walk = m["b"], m.items(), iter(m)
    m.close()
    m.close()
    asyncio.run(m.aclose())
    m.disable_caching()
    path.unlink()
    for use in (
        lambda: m["a"],
        lambda: m.__setitem__("a", 1),
        lambda: "a" in m,
        lambda: len(m),
        lambda: live.append(1),
        lambda: list(view),
        lambda: next(walk),
        m.__enter__,
        lambda: asyncio.run(m.aget("a")),
        lambda: asyncio.run(m.__aenter__()),
        lambda: lpcm.transact(lambda t: t[m]["a"]),
    ):
        with pytest.raises(LPCMError, match=CLOSED):
            use()
    assert not path.exists(), "a closed map made a new file"
    assert repr(m) == "LPCM('m')"


def test_a_map_that_was_never_used_closes():
    """Closing opens nothing."""
    with LPCM("m", url="sqlite:////nowhere/at/all/m.sqlite3"):
        pass
    with LPCM("m", using="no such alias") as m:
        pass
    with pytest.raises(LPCMError, match=CLOSED):
        len(m)


def test_a_block_closes_after_an_error(path):
    """The error goes on; the map is closed."""
    since = Opened()
    with pytest.raises(KeyError), LPCM("m", url=f"sqlite:///{path}") as m:
        m["none"]
    assert since.descriptors() == []


def test_copies_and_pickles_are_maps_of_their_own(path):
    """A copy works on when the original is closed, and the other way round."""
    m = LPCM("m", url=f"sqlite:///{path}")
    m["k"] = 1
    twins = [copy.copy(m), copy.deepcopy(m), pickle.loads(pickle.dumps(m))]
    for twin in twins:
        assert twin["k"] == 1
        twin.close()
        assert m["k"] == 1
    m.close()
    for twin in (copy.copy(m), copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert twin["k"] == 1
        twin.close()


def test_sets_and_subclasses_close(path):
    """``with`` gives the map itself, of its own class."""
    with LPCMSet("m", url=f"sqlite:///{path}") as tags:
        tags.insert_values("k", {1})
        assert type(tags) is LPCMSet
    with pytest.raises(LPCMError, match=CLOSED):
        tags.insert_values("k", {2})


def test_a_map_in_a_transaction_refuses(path):
    """It ends with its transaction; once the map itself is closed, nothing is written."""
    with LPCM("m", url=f"sqlite:///{path}") as m:
        m["k"] = 1
        with lpcm.transaction() as t:
            for refused in (t[m].close, t[m].__enter__, lambda: asyncio.run(t[m].aclose())):
                with pytest.raises(LPCMError, match="is a transaction's"):
                    refused()
            t[m]["k"] = 2
        assert m["k"] == 2
        with pytest.raises(LPCMError, match=CLOSED), lpcm.transaction() as t:
            t[m]["k"] = 3
            m.close()
    assert LPCM("m", url=f"sqlite:///{path}")["k"] == 2


def test_no_thread_is_broken_by_maps_that_others_close(path):
    """Threads that open, use and close maps of one file never meet a closed engine."""
    url, errors, until = f"sqlite:///{path}", [], time.monotonic() + 3

    def work(number: int) -> None:
        try:
            while time.monotonic() < until:
                with LPCM("m", url=url, default=0) as m:
                    m.increment(number)
                    assert LPCM("m", url=url)[number] > 0
                    m.get_many([number])
        except BaseException as error:  # noqa: BLE001  # the test's own thread raises it
            errors.append(error)

    since = Opened()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    lpcm.close()
    assert since.descriptors() == []


def test_tasks_and_loops_are_not_broken_either(table, memcached):
    """A loop that closes its map leaves another loop's connections alone."""
    url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
    stays = LPCM("m", url=url, default=0)
    done, errors = threading.Event(), []

    async def use() -> None:
        while not done.is_set():
            await stays.aincrement("n")

    async def come_and_go() -> None:
        for _ in range(10):
            async with LPCM("m", url=url) as m:
                await asyncio.gather(*(m.aset(str(n), n) for n in range(5)))

    def run() -> None:
        try:
            asyncio.run(use())
        except BaseException as error:  # noqa: BLE001  # the test's own thread raises it
            errors.append(error)

    since = Opened()
    thread = threading.Thread(target=run)
    thread.start()
    while not stays.get("n"):
        time.sleep(0.01)
    asyncio.run(come_and_go())
    done.set()
    thread.join()
    assert errors == []
    stays.close()
    assert since.descriptors() == []


@pytest.mark.parametrize("awaited", [False, True])
def test_closing_sends_what_is_owed_to_the_cache(table, awaited):
    """Invalidations that could not be sent are tried once more, whether the engine ends or not."""
    with servers.memcached() as server:
        url = f"{table.url}&cache=memcached://{server.host}:{server.port}?timeout=0.2"
        for others in (False, True):
            other = LPCM("m", url=url)
            m = LPCM("m", url=url)
            m["k"] = 1
            assert (m["k"], other.get("k") if others else 1) == (1, 1)
            coherent = m._bound[2].engine.stack.coherent
            server.stop()
            try:
                m["k"] = 2
            finally:
                server.cont()
            assert coherent.pending
            if awaited and not others:
                asyncio.run(m.aclose())
            else:
                m.close()
            assert not coherent.pending
            assert LPCM("m", url=url)["k"] == 2
            lpcm.close()


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_closes_nothing_of_its_parent(fork, url):
    """A forked child that closes a map leaves the parent's connections as they are."""
    m = LPCM("m", url=url)
    m["k"] = 1
    pid = fork()
    if not pid:
        try:
            m.close()
            with LPCM("m", url=url) as own:
                own.get("k")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert m["k"] == 1
    m["k"] = 2
    m.close()

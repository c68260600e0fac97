"""The memory store against the contract, and what is its own."""

import os
import threading
import time

import pytest

from lpcm.engine.drive import run
from lpcm.errors import StoreError, ValueTooLarge
from lpcm.ports import Applied, Cell, Change, Delete, KeyRange, Put, Scan, Touch
from lpcm.stores.local import memory
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.store.case import MAP, NOW, apply, read, read_data
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract
from tests.test_process import FORKS, seen_in_child


class TestMemory(StoreContract, UpdateContract, TransactionContract):
    def open(self):
        return memory.open_store("")


def test_names():
    """Stores of one name share their data, in one process; those without a name do not."""
    one, same, other = (memory.open_store(name) for name in ("one", "one", "other"))
    private, another = memory.open_store(""), memory.open_store("")
    apply(one, "k", Put(Cell(1, None), 1))
    apply(private, "k", Put(Cell(1, None), 1))
    assert read_data(same, "k") == 1
    assert read(other, "k") is None
    assert read(another, "k") is None
    one.close()
    assert read_data(same, "k") == 1


def test_closed():
    """A closed store says so."""
    store = memory.open_store("")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        read(store, "k")


def test_options():
    """The option is text in a URL and refuses nonsense."""
    assert memory.OPTIONS["max_value"]("12") == 12
    for text in ("0", "-1", "x", "1.5"):
        with pytest.raises(ValueError):
            memory.OPTIONS["max_value"](text)


def test_max_value():
    """A value over the limit is refused by name of the sizes, alone in a batch too."""
    store = memory.open_store("", max_value=10)
    for data in ("x" * 11, b"x" * 11, "é" * 6):
        with pytest.raises(ValueTooLarge, match=r"1[12] bytes.* 10"):
            apply(store, "k", Put(Cell(data, None), 1))
    writes = [("a", Put(Cell("x" * 10, None), 1)), ("b", Put(Cell("x" * 11, None), 1))]
    ok, error = run(store.apply_many(MAP, writes, NOW))
    assert isinstance(ok, Applied)
    assert isinstance(error, ValueTooLarge)


def test_expired_do_not_stay():
    """A map in which everything expires does not grow for ever."""
    store = memory.open_store("")
    for n in range(5000):
        apply(store, f"{n}", Put(Cell(n, None), 1, NOW + n), NOW + n)
    assert len(store._data().maps[MAP].entries) < 1000
    assert run(store.count(MAP, KeyRange(), NOW + 4998.5)) == 1


def test_fork():
    """A child has its own consistent copy and can use it, whatever threads were doing."""
    store = memory.open_store("")
    stop = threading.Event()

    def write(thread):
        n = 0
        while not stop.is_set():
            apply(store, f"{thread}-{n % 500}", Put(Cell(n, None), n))
            apply(store, f"{thread}-{n % 500}", Touch(None, n))
            n += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    apply(store, "child", Put(Cell(1, None), 1))
                    entries = store._data().maps[MAP]
                    right = sorted(entries.entries)
                    status = 0 if entries.range("", "~") == right else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert read(store, "child") is None
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_amid_a_transaction(fork, monkeypatch):
    """A transaction that another thread was amid at the fork is done whole in the child."""
    store = memory.open_store("")
    for sk in "abc":
        apply(store, sk, Put(Cell(1, None), 1))
    inside, go_on = threading.Event(), threading.Event()
    put = memory._Map.put

    def slow(self, sk, entry, now):
        put(self, sk, entry, now)
        if sk == "a":
            inside.set()
            go_on.wait(60)

    monkeypatch.setattr(memory._Map, "put", slow)
    writes = {"a": Put(Cell(2, None), 2), "b": Delete(), "d": Put(Cell(2, None), 3)}
    changes = [Change(MAP, sk, op) for sk, op in writes.items()]
    thread = threading.Thread(target=lambda: run(store.transact(changes, (), NOW)))
    thread.start()

    def look():
        page = run(store.scan(MAP, Scan(), NOW))
        return {sk: entry.data for sk, entry in page.entries}

    try:
        assert inside.wait(20)
        time.sleep(0.05)  # until it waits
        assert seen_in_child(fork, look) == "{'a': 2, 'c': 1, 'd': 2}"
    finally:
        go_on.set()
        thread.join()
    assert look() == {"a": 2, "c": 1, "d": 2}

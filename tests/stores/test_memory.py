"""The memory store against the contract, and what is its own."""

import os
import threading

import pytest

from lpcm._run import run
from lpcm.errors import StoreError, ValueTooLarge
from lpcm.ports import Applied, Cell, KeyRange, Put, Touch
from lpcm.stores import memory
from lpcm.testing.change_contract import TransactionContract, UpdateContract
from lpcm.testing.store_contract import MAP, NOW, StoreContract, apply, read, read_data


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

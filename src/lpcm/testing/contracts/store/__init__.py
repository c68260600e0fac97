"""The contract of ``ports.Store``, as tests that every adapter's test class inherits.

Knows no adapter: a test class overrides ``open``. Each test is a sentence of ``ports.py``.
Values take the form the store holds (``codec.Form``): ints of a TREE have the kind ``int``.

    class TestMine(StoreContract):
        def open(self) -> Store:
            return my_store(...)

Invariant: every test opens its own empty store and closes it, so they run in any order.
"""

from lpcm.testing.contracts.store.entries import EntryTests
from lpcm.testing.contracts.store.maps import MapTests

__all__ = ["StoreContract"]


class StoreContract(EntryTests, MapTests):
    """What every store does. Override ``open``."""

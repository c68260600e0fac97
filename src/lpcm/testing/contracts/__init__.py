"""What every adapter and every map is held to, for authors of adapters.

A test class inherits a contract and says how to open what is tested; the contracts' modules show
how, and ``docs/howto/adapter.md`` has a whole adapter with its tests. They need pytest.
"""

from lpcm.testing.contracts.cache import CacheContract, Driven, in_threads
from lpcm.testing.contracts.mapping import MappingContract
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract

__all__ = [
    "CacheContract",
    "Driven",
    "MappingContract",
    "StoreContract",
    "TransactionContract",
    "UpdateContract",
    "in_threads",
]

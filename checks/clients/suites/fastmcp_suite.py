"""lpcm in the place of py-key-value's store in memory, wherever FastMCP keeps something."""

import secrets

from key_value.aio.stores import memory
from key_value.aio.stores.memory import store
from key_value_lpcm import Store


class MemoryStore(Store):
    """Maps of its own for each store."""

    def __init__(self, *, default_collection=None, **ignored):
        super().__init__(f"store-{secrets.token_hex(8)}", default_collection)


memory.MemoryStore = store.MemoryStore = MemoryStore

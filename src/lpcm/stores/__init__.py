"""Stores: where entries live. One adapter each (``ports.StoreAdapter``), imported when asked for.

An adapter imports only ``ports``, ``errors``, ``events`` and ``keys``. Distributions add schemes of
their own by entry points in the group ``lpcm.stores``: see ``docs/howto/adapter.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.ports.adapters import RESERVED, Schemes

if TYPE_CHECKING:
    from lpcm.ports import StoreAdapter

__all__ = ["SCHEMES", "adapter"]

SCHEMES: Schemes[StoreAdapter] = Schemes(
    "store",
    {
        "dynamodb": "lpcm.stores.dynamodb.open",
        "memcached": "lpcm.stores.memcached",
        "memcached+tls": "lpcm.stores.memcached",
        "memcached+unix": "lpcm.stores.memcached",
        "memory": "lpcm.stores.local.memory",
        "sqlite": "lpcm.stores.sqlite.store",
    },
    RESERVED,
)


def adapter(scheme: str) -> StoreAdapter:
    """Import and return the adapter of a scheme. **Raises** KeyError, ConfigError."""
    return SCHEMES[scheme]

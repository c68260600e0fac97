"""Caches, which stand in front of a store: one adapter each (``ports.CacheAdapter``).

An adapter is imported when it is used. It imports only ``ports``, ``errors``, ``events``, ``keys``.
Distributions add schemes of their own by entry points in the group ``lpcm.caches``: see
``docs/howto/adapter.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.ports.adapters import Schemes

if TYPE_CHECKING:
    from lpcm.ports import CacheAdapter

__all__ = ["SCHEMES", "adapter"]

SCHEMES: Schemes[CacheAdapter] = Schemes(
    "cache",
    {
        "memcached": "lpcm.caches.memcached",
        "memcached+tls": "lpcm.caches.memcached",
        "memcached+unix": "lpcm.caches.memcached",
        "memory": "lpcm.caches.memory",
    },
    reserved=(),
)


def adapter(scheme: str) -> CacheAdapter:
    """Import and return the adapter of a scheme. **Raises** KeyError, ConfigError."""
    return SCHEMES[scheme]

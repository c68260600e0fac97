"""Caches: what stands in front of a store. One adapter module each, imported when asked for.

An adapter offers ``OPTIONS`` (the URL options it takes, each with the parser of its text)
and ``open_cache(path, scheme=..., **options)``; one that can be awaited offers
``open_async_cache`` too, of the same form, for the running event loop. Where it has ``FILES``,
these options are paths of files. It imports only ``ports``, ``errors``, ``events`` and ``keys``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.ports import Cache

__all__ = ["SCHEMES", "Adapter", "adapter"]

SCHEMES: Mapping[str, str] = {
    "memory": "lpcm.caches.memory",
    "memcached": "lpcm.caches.memcached",
    "memcached+tls": "lpcm.caches.memcached",
    "memcached+unix": "lpcm.caches.memcached",
}


class Adapter(Protocol):
    """What an adapter module offers."""

    OPTIONS: Mapping[str, Callable[[str], object]]

    def open_cache(self, path: str, *, scheme: str, **options: Any) -> Cache:
        """Open the cache at ``path``, as the scheme understands it; connects when used."""
        ...


def adapter(scheme: str) -> Adapter:
    """Import and return the adapter of a scheme in ``SCHEMES``."""
    return cast("Adapter", import_module(SCHEMES[scheme]))

"""Stores: where entries live. One adapter module each, imported when its scheme is asked for.

An adapter offers ``OPTIONS`` (the URL options it takes, each with the parser of its text)
and ``open_store(path, **options)``. Where it has ``OBJECTS``, these options are handed on as
they are when given to ``configure`` and not in a URL. Where it has ``MANY_SCHEMES``,
``open_store`` is told the ``scheme`` as well. Where it has ``FILES``, these options are paths
of files; where it has ``resolved``, that adds to the options what the environment says. It imports
only ``ports``, ``errors`` and ``keys``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.ports import Store

__all__ = ["SCHEMES", "Adapter", "adapter"]

SCHEMES: Mapping[str, str] = {
    "dynamodb": "lpcm.stores.dynamodb.open",
    "memcached": "lpcm.stores.memcached",
    "memcached+tls": "lpcm.stores.memcached",
    "memcached+unix": "lpcm.stores.memcached",
    "memory": "lpcm.stores.local.memory",
    "sqlite": "lpcm.stores.sqlite.store",
}


class Adapter(Protocol):
    """What an adapter module offers."""

    OPTIONS: Mapping[str, Callable[[str], object]]

    def open_store(self, path: str, **options: Any) -> Store:
        """Open the store at ``path``, as the scheme understands it."""
        ...


def adapter(scheme: str) -> Adapter:
    """Import and return the adapter of a scheme in ``SCHEMES``."""
    return cast("Adapter", import_module(SCHEMES[scheme]))

"""Every exception that lpcm raises of its own, as one tree.

Each class also derives from the built-in a dict user would catch in its place, so that
``except TypeError`` around a bad key keeps working. A missing key is always a plain
``KeyError``. This module imports nothing and holds no behaviour beyond messages.

::

    LPCMError
    ├── ConfigError
    ├── KeyEncodingError
    │   └── KeyTooLong
    ├── ValueEncodingError
    ├── ValueDecodingError
    ├── ValueTooLarge
    ├── Conflict
    ├── BatchError
    ├── OutcomeUnknown
    ├── CacheUnavailable
    ├── Insulated
    ├── PickleRefused
    └── StoreError
        ├── StoreUnavailable
        │   ├── StoreBusy
        │   └── StoreThrottled
        ├── StoreDenied
        ├── StoreMissing
        ├── StoreReadOnly
        ├── StoreFull
        ├── StoreCorrupt
        ├── StoreForeign
        └── StoreTooNew

    RuntimeWarning
    └── LiveValueWarning
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BatchError",
    "CacheUnavailable",
    "ConfigError",
    "Conflict",
    "Insulated",
    "KeyEncodingError",
    "KeyTooLong",
    "LPCMError",
    "LiveValueWarning",
    "OutcomeUnknown",
    "PickleRefused",
    "StoreBusy",
    "StoreCorrupt",
    "StoreDenied",
    "StoreError",
    "StoreForeign",
    "StoreFull",
    "StoreMissing",
    "StoreReadOnly",
    "StoreThrottled",
    "StoreTooNew",
    "StoreUnavailable",
    "ValueDecodingError",
    "ValueEncodingError",
    "ValueTooLarge",
]


class LPCMError(Exception):
    """The base of every exception of lpcm; catch this to catch them all."""


class ConfigError(LPCMError, ValueError):
    """A URL, scheme, option, alias, map name or namespace that cannot be used."""


class KeyEncodingError(LPCMError, TypeError):
    """A key of a type or value that lpcm cannot hold (a list, NaN, a lone surrogate)."""


class KeyTooLong(KeyEncodingError, ValueError):
    """A key whose encoded form is longer than 1,024 bytes."""


class ValueEncodingError(LPCMError, TypeError):
    """A value, or a part of a value, that would not come back equal and of its type.

    The message names the part: ``value['a'][3]``.
    """


class ValueDecodingError(LPCMError, ValueError):
    """A stored entry that this process cannot read; the message names its map and key.

    Its class is not registered, its version is newer, or lpcm did not write the entry at all. The
    entry is untouched: it can be deleted and replaced as any other. ``etag`` is the entry's
    where a write met it (``get_or_add``, ``setdefault``), for ``replace(if_etag=)``; else None.
    """

    def __init__(self, message: str, *, etag: int | None = None) -> None:
        self.etag = etag
        super().__init__(message)


class ValueTooLarge(LPCMError, ValueError):
    """A value over the store's size limit. Nothing was sent."""


class Conflict(LPCMError):
    """The entry has changed since the caller read it. Nothing was written.

    Raised by ``replace(if_etag=...)`` when the etag differs, and by a compare-and-set
    that lost against other writers until its time ran out. ``keys`` are the keys whose change
    stopped a transaction, each as (map name, key).
    """

    def __init__(self, message: str, *, keys: Sequence[tuple[str, Any]] = ()) -> None:
        self.keys = tuple(keys)
        super().__init__(message)


class BatchError(LPCMError):
    """A batch of which a part failed; every operation not in ``errors`` was done.

    ``errors`` maps each failed key to its exception. ``found`` has the values that ``get_many``
    read for the other keys; it is empty for writes, and for iterations, which have yielded them.
    """

    def __init__(
        self, errors: Mapping[Any, Exception], found: Mapping[Any, Any] | None = None
    ) -> None:
        self.errors = dict(errors)
        self.found: dict[Any, Any] = dict(found or {})
        key, error = next(iter(self.errors.items()))
        more = f", and {len(self.errors) - 1} more" if len(self.errors) > 1 else ""
        super().__init__(f"{len(self.errors)} of the batch failed: {key!r}: {error}{more}")

    def __reduce__(self) -> tuple[type[BatchError], tuple[dict[Any, Exception], dict[Any, Any]]]:
        return type(self), (self.errors, self.found)


class OutcomeUnknown(LPCMError, OSError):
    """A write was sent, and no reply says whether it was done: read before writing again.

    ``committed``: True where the store is known to have the write (only the cache could not be
    invalidated), None where the store may have it, now or a little later.
    """

    def __init__(self, message: str, *, committed: bool | None = None) -> None:
        self.committed = committed
        super().__init__(message)


class CacheUnavailable(LPCMError, OSError):
    """The cache cannot be reached, and the map is ``strict``. Nothing was written."""


class Insulated(LPCMError, RuntimeError):
    """A test, or code it left running, was about to write to real data. Nothing was written."""


class PickleRefused(LPCMError, TypeError):
    """A map that cannot be pickled, or a pickled one that cannot be used in this process.

    Nothing was written. The message says what to do instead.
    """


class StoreError(LPCMError):
    """The store did not do an operation. The message names the store."""


class StoreUnavailable(StoreError, OSError):
    """The store cannot be reached or opened: a path, a permission, a network."""


class StoreBusy(StoreUnavailable):
    """Other processes held the store's lock for the whole ``busy_timeout``. Nothing was written."""


class StoreThrottled(StoreUnavailable):
    """The store had no capacity left for the whole time budget. Nothing was written."""


class StoreDenied(StoreError, PermissionError):
    """The store refused this client: credentials, permissions, wrong clock. Nothing was written."""


class StoreMissing(StoreError, LookupError):
    """The table does not exist. Nothing was written."""


class StoreReadOnly(StoreError, PermissionError):
    """The store refuses writes: a read-only file, directory or medium."""


class StoreFull(StoreError, OSError):
    """No room is left: the disk, a quota or the file's own limit. Nothing was written."""


class StoreCorrupt(StoreError):
    """The store's own file is damaged or is no database at all, or its catalogue is."""


class StoreForeign(StoreError):
    """A database that another program made; lpcm does not touch it."""


class StoreTooNew(StoreError):
    """Made by a newer lpcm, in a format that this version cannot read."""


class LiveValueWarning(RuntimeWarning):
    """A copy of a stored list, dict or set was changed past its methods: nothing was stored.

    C code does that, such as ``heapq.heappush(m["q"], x)`` or ``list.append(m["l"], x)``. Write
    ``m.transform(key, fn)`` instead, or change a plain copy: ``list(m["q"])``.
    """

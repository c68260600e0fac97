"""lpcm, the Large Persistent Cached Map: a dict that outlives the process.

>>> from lpcm import LPCM
>>> some_dict = LPCM("some_dict")
>>> some_dict["pi"] = 3.1415
>>> some_dict["pi"]
3.1415
"""

from typing import TYPE_CHECKING

from lpcm._version import __version__ as __version__
from lpcm.engine.aliases import amaps, configure, maps
from lpcm.engine.backup import abackup, backup
from lpcm.engine.engine import Engine
from lpcm.engine.shared import close
from lpcm.engine.upkeep import ainfo, info
from lpcm.errors import (
    BatchError,
    CacheUnavailable,
    ConfigError,
    Conflict,
    Insulated,
    KeyEncodingError,
    KeyTooLong,
    LiveValueWarning,
    LPCMError,
    OutcomeUnknown,
    PickleRefused,
    StoreBusy,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
    StoreThrottled,
    StoreTooNew,
    StoreUnavailable,
    ValueDecodingError,
    ValueEncodingError,
    ValueTooLarge,
)
from lpcm.events import meter
from lpcm.live import LiveDecimal, LiveDict, LiveFloat, LiveInt, LiveList, LiveSet
from lpcm.map.map import LPCM
from lpcm.map.set_map import LPCMSet
from lpcm.map.transaction import Transaction, atransact, transact, transaction
from lpcm.operations.entry import Entry
from lpcm.values.raw_key import RawKey
from lpcm.values.registry import register

if TYPE_CHECKING:
    from lpcm.map.async_files import AsyncReader, AsyncWriter

__all__ = [
    "LPCM",
    "AsyncReader",
    "AsyncWriter",
    "BatchError",
    "CacheUnavailable",
    "ConfigError",
    "Conflict",
    "Engine",
    "Entry",
    "Insulated",
    "KeyEncodingError",
    "KeyTooLong",
    "LPCMError",
    "LPCMSet",
    "LiveDecimal",
    "LiveDict",
    "LiveFloat",
    "LiveInt",
    "LiveList",
    "LiveSet",
    "LiveValueWarning",
    "OutcomeUnknown",
    "PickleRefused",
    "RawKey",
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
    "Transaction",
    "ValueDecodingError",
    "ValueEncodingError",
    "ValueTooLarge",
    "abackup",
    "ainfo",
    "amaps",
    "atransact",
    "backup",
    "close",
    "configure",
    "info",
    "maps",
    "meter",
    "register",
    "transact",
    "transaction",
]


def __getattr__(name: str) -> object:
    if name in {"AsyncReader", "AsyncWriter"}:
        from lpcm.map import async_files  # for those who open files on event loops

        globals()[name] = found = getattr(async_files, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

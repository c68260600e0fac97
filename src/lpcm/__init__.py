"""lpcm, the Large Persistent Cached Map: a dict that outlives the process.

>>> from lpcm import LPCM
>>> some_dict = LPCM("some_dict")
>>> some_dict["pi"] = 3.1415
>>> some_dict["pi"]
3.1415
"""

from lpcm._engine import Engine, close, configure, maps
from lpcm._entries import Entry
from lpcm._map import LPCM
from lpcm._registry import register
from lpcm.errors import (
    BatchError,
    ConfigError,
    Conflict,
    KeyEncodingError,
    KeyTooLong,
    LPCMError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    ValueDecodingError,
    ValueEncodingError,
    ValueTooLarge,
)

__all__ = [
    "LPCM",
    "BatchError",
    "ConfigError",
    "Conflict",
    "Engine",
    "Entry",
    "KeyEncodingError",
    "KeyTooLong",
    "LPCMError",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreForeign",
    "StoreFull",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnavailable",
    "ValueDecodingError",
    "ValueEncodingError",
    "ValueTooLarge",
    "close",
    "configure",
    "maps",
    "register",
]

__version__ = "0.1.0"

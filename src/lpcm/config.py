"""Configuration, for a framework that has settings of its own, and for tools.

``parse`` checks a URL and its options; ``source`` lets a framework's settings name aliases, and
``refresh`` makes maps look at them again. ``redact`` and ``conceal`` say what of a URL may be
shown. Opens nothing. A program that only wants its maps somewhere calls ``lpcm.configure``.

>>> from lpcm import LPCM, config
>>> settings = {"shop": "memory://shop"}
>>> config.source(lambda alias: config.parse(settings[alias]) if alias in settings else None)
>>> config.find("shop").location
'memory://shop'
>>> LPCM("m", using="shop")["k"] = 1
>>> settings["shop"] = "memory://elsewhere"
>>> config.refresh()
>>> "k" in LPCM("m", using="shop")
False
>>> config.redact("memcached://ann:secret@host")
'memcached://***@host'
"""

from __future__ import annotations

from lpcm.engine.aliases import asked, source
from lpcm.engine.config import (
    DEFAULT_NAMESPACE,
    DEFAULT_URL,
    CacheConfig,
    Config,
    Url,
    cached_only,
    conceal,
    conceal_key,
    parse,
    parse_again,
    redact,
)
from lpcm.engine.state import refresh
from lpcm.redact import redact_words

__all__ = [
    "DEFAULT_NAMESPACE",
    "DEFAULT_URL",
    "CacheConfig",
    "Config",
    "Url",
    "cached_only",
    "conceal",
    "conceal_key",
    "find",
    "parse",
    "parse_again",
    "redact",
    "redact_words",
    "refresh",
    "source",
]


def find(using: str = "default", *, url: str | None = None) -> Config:
    """Return what an alias, or a URL in its place, is configured as; tests may lead it elsewhere.

    **Raises** ConfigError for an unknown alias, and for what is wrong with a URL.
    """
    return asked(using, url)

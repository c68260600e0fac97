r"""Keys and values as text: what exports, the command line and pages write and read.

``to_json`` and ``from_json`` keep every type (``docs/reference/values.md`` has the tags),
``printable`` keeps what is shown to a person from being anything but text, ``encode_key`` gives
the text a key is stored under, whose order is that of the keys. Within ``foreign`` values of
registered classes pass as they are stored, whether this process has the classes or not.

>>> from lpcm import text
>>> text.to_json({"tags": {"x"}, 1: b"\x00"})
'{"!dict":[[1,{"!bytes":"AA=="}],["tags",{"!set":["x"]}]]}'
>>> text.encode_key(("eu", 7)), text.decode_key("!:eu !1a7 ")
('!:eu !1a7 ', ('eu', 7))
"""

from __future__ import annotations

from lpcm.values.json_text import from_json, printable, to_json
from lpcm.values.keys import decode as decode_key
from lpcm.values.keys import encode as encode_key
from lpcm.values.keys import key_of, partition
from lpcm.values.registry import foreign

__all__ = [
    "check_name",
    "decode_key",
    "encode_key",
    "foreign",
    "from_json",
    "key_of",
    "printable",
    "to_json",
]


def check_name(name: object) -> None:
    """Raise ConfigError for what can be no map's name.

    >>> check_name("users")
    >>> check_name("")
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: a map's name must be text of at least one character, not ''
    """
    partition("default", name)  # type: ignore[arg-type]  # it is asked whether it is a name

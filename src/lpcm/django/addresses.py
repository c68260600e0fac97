"""Where maps and entries are in the admin: addresses, and what a search or a form calls a key.

Knows no store's answers, requests or templates. Invariant: a map that is private
(``conf.private_maps``) has no ``AdminUrl``, so no page, search, history or form leads to it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

from lpcm import LPCM
from lpcm.administration import Records
from lpcm.django import conf, stores
from lpcm.errors import LPCMError, ValueDecodingError
from lpcm.text import check_name, decode_key, encode_key, foreign, from_json, printable, to_json

__all__ = ["AdminUrl", "Search", "aliases", "as_json", "parse_key", "search"]


class AdminUrl(NamedTuple):
    """A map, or an entry of one, as an address names it."""

    alias: str
    map: str
    stored_key: str | None = None
    """The entry's encoded key."""

    @classmethod
    def of(cls, address: str) -> AdminUrl:
        """Return what ``address`` leads to. **Raises** ValueError, also for a private map."""
        alias, *tokens = address.split("/")
        try:
            words = [b64decode(token, b"-_", validate=True).decode() for token in tokens]
        except (binascii.Error, ValueError) as error:
            raise ValueError(address) from error
        if len(words) not in {1, 2} or alias not in aliases():
            raise ValueError(address)
        url = cls(alias, *words)
        check_name(url.map)
        if url.stored_key is not None and encode_key(decode_key(url.stored_key)) != url.stored_key:
            raise ValueError(address)
        if url.map in conf.private_maps(alias):
            raise ValueError(address)
        return url

    def __str__(self) -> str:
        words = (self.map,) if self.stored_key is None else (self.map, self.stored_key)
        tokens = [urlsafe_b64encode(word.encode()).decode("ascii") for word in words]
        return "/".join((self.alias, *tokens))

    @property
    def records(self) -> Records:
        """The entries of the map as they are stored."""
        return Records(self.map, using=stores[self.alias])

    @property
    def key(self) -> str:
        """The key in words."""
        return as_json(decode_key(self.stored_key)) if self.stored_key is not None else ""

    def open(self) -> LPCM[Any, Any]:
        """Return the map."""
        return LPCM(self.map, using=self.alias, live=False)

    @property
    def whole_map(self) -> AdminUrl:
        """The map it is of."""
        return self._replace(stored_key=None)

    def within(self, stored_key: str) -> AdminUrl:
        """Return the address of an entry of this map."""
        return self._replace(stored_key=stored_key)


class Search(NamedTuple):
    """The keys that a search asks for."""

    prefix: str | bytes | tuple[Any, ...] | None
    """Those that begin with this; None: all."""
    exact: str | None = None
    """The stored key of one more."""


def aliases() -> list[str]:
    """Return the aliases of the settings, ``default`` first."""
    known = {"default": None, **dict.fromkeys(sorted(conf.aliases()))}
    return list(known)


def as_json(value: object) -> str:
    """Return a key or value as the pages show it."""
    with foreign():
        return printable(to_json(value))


def search(text: str) -> Search:
    """Return what the text asks for: a key as the pages show it, of any type, or its beginning.

    Text, with quotation marks or without, bytes and tuples find what begins so; another key finds
    its entry, and the text keys that look so.
    """
    if not text:
        return Search(None)
    for whole in (text, f'{text}"'):
        try:
            with foreign():
                key = from_json(whole)
            stored_key = encode_key(key)
        except LPCMError:
            continue
        if isinstance(key, (str, bytes, tuple)):
            return Search(key)
        return Search(text, stored_key)
    return Search(text)


def parse_key(text: str) -> Any:
    """Return the key that the text of a form stands for: JSON where it is JSON, else text.

    **Raises** ValueError for no text, and ValueDecodingError for what is meant to be JSON.
    """
    if not text:
        raise ValueError('A key is missing. Write "" for the empty text.')
    try:
        with foreign():
            return from_json(text)
    except ValueDecodingError:
        if text[0] in '{["':
            raise
        return text

"""Objects that cannot be keys: absent where they are read, as in a dict.

Knows keys and no store. Invariant: an object that can be a key costs nothing here; one without a
hash, which no dict could look up either, keeps its error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.errors import KeyEncodingError
from lpcm.values.keys import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lpcm.ports import Stored

__all__ = ["absent", "encodable"]


def absent(key: object, error: KeyEncodingError) -> Stored | None:
    """Return None: no entry has an object that cannot be a key.

    **Raises** the error of its encoding, a TypeError, where the key has no hash.
    """
    try:
        hash(key)
    except TypeError:
        raise error from None
    return None


def encodable(keys: Iterable[Any]) -> dict[Any, str]:
    """Return the encodings of those objects that can be keys.

    >>> encodable(["a", object(), "x" * 2000])
    {'a': 'a'}
    """
    wanted: dict[Any, str] = {}
    for key in keys:
        try:
            wanted[key] = encode(key)
        except KeyEncodingError as error:
            absent(key, error)
    return wanted

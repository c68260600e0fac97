"""The key of an entry whose stored key lpcm did not write."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["RawKey"]


class RawKey:
    """A stored key that is not the encoding of any key of Python.

    Iteration yields a RawKey for such an entry, and every operation takes it. So entries that
    other programs wrote can be read, replaced and deleted.

    >>> from lpcm import LPCM, RawKey
    >>> m = LPCM("m")
    >>> m[RawKey("!x")] = 1
    >>> list(m)
    [RawKey('!x')]
    >>> del m[RawKey("!x")]
    >>> RawKey("!x") == "!x"
    False
    """

    __slots__ = ("sk",)

    sk: str

    def __init__(self, sk: str) -> None:
        if not isinstance(sk, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # of untyped code
            raise TypeError(f"a stored key is a str, not {sk!r}")
        sk.encode()  # UnicodeEncodeError for lone surrogates, which no store holds
        object.__setattr__(self, "sk", sk)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a RawKey cannot be changed: {name}")

    def __reduce__(self) -> tuple[type[RawKey], tuple[str]]:
        return RawKey, (self.sk,)

    def __eq__(self, other: object) -> bool:
        return self.sk == other.sk if type(other) is RawKey else NotImplemented

    def __hash__(self) -> int:
        return hash((RawKey, self.sk))

    def __repr__(self) -> str:
        return f"RawKey({self.sk!r})"

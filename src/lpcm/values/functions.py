"""Functions that users hand over: plain ones, which are called where an operation runs.

Invariant: an async function is refused before it is called, and so before anything is written.
"""

from __future__ import annotations

from functools import partial

__all__ = ["check_plain", "is_async"]

_COROUTINE = 0x80  # ``inspect.CO_COROUTINE``; the module costs 5 ms to import
_ASYNC_GENERATOR = 0x200


def is_async(fn: object) -> bool:
    """Tell whether calling ``fn`` gives something to await, as far as its code says.

    >>> async def later(value): ...
    >>> is_async(later), is_async(partial(later, 1)), is_async(lambda: later(1)), is_async(dict)
    (True, True, False, False)
    """
    while isinstance(fn, partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]  # any
    code = getattr(fn, "__code__", None)  # pyright: ignore[reportUnknownArgumentType]  # as above
    return bool(getattr(code, "co_flags", 0) & (_COROUTINE | _ASYNC_GENERATOR))


def check_plain(fn: object, what: str, instead: str) -> None:
    """Raise TypeError for an async function; ``instead`` says what to do.

    >>> async def later(): ...
    >>> check_plain(later, "a default", "read with aget(key, None), and await it there")
    Traceback (most recent call last):
        ...
    TypeError: a default is a plain function, and later is async: read with aget(key, None), ...
    """
    if is_async(fn):
        name = getattr(fn, "__qualname__", None) or repr(fn)
        raise TypeError(
            f"{what} is a plain function, and {name} is async: {instead}; nothing was written"
        )

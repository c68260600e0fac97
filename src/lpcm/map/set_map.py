"""Maps of sets: members come and go atomically, and a missing key reads as the empty set.

Changes sets by the mutations of live values (``live.mutations``); everything else is a map's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from lpcm.engine.drive import do
from lpcm.live import mutations as _mutations
from lpcm.live.location import ValuePath, perform
from lpcm.map.map import LPCM
from lpcm.values.path import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    # Their defaults are what an unannotated map has; type checkers bring the module along.
    from typing_extensions import TypeVar as TypeVarWithDefault

    from lpcm.engine.engine import Engine
    from lpcm.operations.entry import TTL

    K = TypeVarWithDefault("K", default=Any)
    T = TypeVarWithDefault("T", default=Any)
    R_co = TypeVarWithDefault("R_co", default=set[T], covariant=True)
else:
    K = TypeVar("K")
    T = TypeVar("T")
    R_co = TypeVar("R_co", covariant=True)

__all__ = ["LPCMSet"]


def _as_set(value: Any) -> set[Any]:
    if isinstance(value, (set, frozenset, list, tuple)):
        return set(value)
    raise TypeError(f"a map of sets takes a set, list or tuple, not {shown(value)}")


class LPCMSet(LPCM[K, set[T], R_co]):
    """A map whose values are sets; a missing key reads as the empty set.

    Takes what ``LPCM`` takes. Members may be of any types a value can have; a list or tuple
    assigned to a key becomes a set, anything else is a TypeError.

    >>> tags = LPCMSet("tags")
    >>> tags["k"]
    set()
    >>> tags.insert_values("k", {1, 2})
    >>> tags.remove_values("k", {1})
    >>> tags["k"] |= {3}
    >>> tags["k"] == {2, 3}
    True
    >>> tags.insert_values("k", [[]])
    Traceback (most recent call last):
        ...
    TypeError: unhashable type: 'list'
    """

    _fit = staticmethod(_as_set)

    def __init__(
        self,
        name: str,
        *,
        default: set[T] | Callable[[], set[T]] = set,
        ttl: TTL = None,
        live: bool = True,
        using: str | Engine = "default",
        url: str | None = None,
        cache_only: bool = False,
        cache_timeout: TTL = None,
        shards: int | None = None,
        compress: str | None = None,
        compress_over: int | None = None,
    ) -> None:
        super().__init__(
            name,
            default=default,
            ttl=ttl,
            live=live,
            using=using,
            url=url,
            cache_only=cache_only,
            cache_timeout=cache_timeout,
            shards=shards,
            compress=compress,
            compress_over=compress_over,
        )

    def insert_values(self, key: K, values: Iterable[T], /) -> None:
        """Put these members into the set.

        **Cost**: one request where the set has members and all are str, int or bytes; else
        two, more when others write the same key. **Atomic**: nothing is lost. **Raises**
        TypeError for a member that no set can hold, ValueEncodingError for one no value can.
        """
        use = self._use()
        do(lambda: self._change(use, key, set(values), _mutations.set_add, "update"))

    def remove_values(self, key: K, values: Iterable[T], /) -> None:
        """Take these members out of the set, where they are in it; else like ``insert_values``.

        A set that loses its last member stays, empty.
        """
        use = self._use()
        do(lambda: self._change(use, key, set(values), _mutations.set_discard, "difference_update"))

    async def ainsert_values(self, key: K, values: Iterable[T], /) -> None:
        """Await ``insert_values``."""
        use = self._ause()
        await use.drive(self._change(use, key, set(values), _mutations.set_add, "update"))

    async def aremove_values(self, key: K, values: Iterable[T], /) -> None:
        """Await ``remove_values``."""
        use = self._ause()
        await use.drive(
            self._change(use, key, set(values), _mutations.set_discard, "difference_update")
        )

    def _change(
        self, use: Any, key: K, members: set[Any], make: Callable[..., Any], method: str
    ) -> Coroutine[Any, Any, Any]:
        path = ValuePath(use.binding, key)
        return perform(use, path, (set,), make(path, method, members))

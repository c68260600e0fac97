"""The objects of a class that are alive, for those who look after all of them.

Any thread may add one at any time, while another looks: so no ``WeakSet``, which raises then.
"""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import ref

__all__ = ["Instances"]

T = TypeVar("T")


class Instances(Generic[T]):
    """Objects, held weakly.

    >>> class Engine: ...
    >>> engine, engines = Engine(), Instances()
    >>> engines.add(engine)
    >>> engines.all() == [engine]
    True
    >>> del engine
    >>> engines.all()
    []
    """

    def __init__(self) -> None:
        self._known: dict[int, ref[T]] = {}

    def add(self, one: T) -> None:
        """Add an object; again if need be."""
        key, known = id(one), self._known
        known[key] = ref(one, lambda _: known.pop(key, None))

    def discard(self, one: T) -> None:
        """Take an object out, if it is there."""
        self._known.pop(id(one), None)

    def all(self) -> list[T]:
        """Return those that are alive."""
        return [one for known in list(self._known.values()) if (one := known()) is not None]

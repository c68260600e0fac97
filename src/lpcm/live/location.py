"""Spots: where in a map a live value was read, and how a change is made there.

A spot is a place, a key, and the path of a container within the entry's value. A deed is one
call of a container's method: what it does to a plain container, and, where a store may do
it natively, as an action of the port.

Invariant: a deed is done to what is stored at the spot, whatever the copy at hand says; it
raises what the plain container there would, and then nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lpcm.values.path import DEPTH_LIMIT, depth

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.binding import Place
    from lpcm.operations.operations import Entries
    from lpcm.ports import Action, Step

__all__ = ["Deed", "Spot", "perform"]


class Spot(NamedTuple):
    """Where a container is."""

    place: Place
    key: object
    path: tuple[Any, ...] = ()
    """The dict keys and indices that lead from the entry's value to it."""
    tree: tuple[Step, ...] | None = ()
    """The same in the store's tree; None where it leads through a dict without names."""

    def inside(self, at: Any, *steps: Step | None) -> Spot:
        """Return the spot of what is at a key or index of this container."""
        tree = None if self.tree is None or None in steps else (*self.tree, *steps)
        return Spot(self.place, self.key, (*self.path, at), tree)  # type: ignore[arg-type]  # no None in it

    def find(self, value: Any) -> Any:
        """Return the container within the entry's value; KeyError, IndexError, TypeError."""
        for at in self.path:
            value = value[at]
        return value

    def leads_to(self, place: tuple[int, str], key: object, path: tuple[Any, ...]) -> bool:
        """Tell whether this is that spot."""
        same = self.place.identity == place and self.path == path
        return same and (self.key is key or self.key == key)

    def part(self, value: object) -> object | None:
        """Return a value as part of the tree here; None where the store must not put it itself."""
        if self.tree is None or value is None:
            return None
        part = self.place.engine.codec.part(value)
        return part if len(self.tree) + 1 + depth(part) <= DEPTH_LIMIT else None


class Deed(NamedTuple):
    """One call of a method of a container."""

    method: str
    apply: Callable[[Any], Any]
    """Do it to a plain container; what it returns, or ``UNCHANGED``."""
    action: Action | None = None
    at: tuple[Step, ...] = ()
    """Where the action is done, from the container on."""


async def perform(use: Entries, spot: Spot, kinds: tuple[type, ...], deed: Deed) -> tuple[Any, Any]:
    """Do the deed to the container of one of these kinds that is stored at the spot.

    Return the container after it, a plain one, and what the deed returned.
    """

    def change(value: Any) -> Any:
        container = spot.find(value)
        if type(container) not in kinds:
            if not deed.method.startswith("__"):
                getattr(container, deed.method)  # AttributeError, as Python has it
            raise TypeError(
                f"{spot.key!r}{''.join(f'[{at!r}]' for at in spot.path)} holds "
                f"{type(container).__name__!r} by now, no {kinds[0].__name__!r}"
            )
        return deed.apply(container)

    native = None
    if deed.action is not None and spot.tree is not None:
        native = (*spot.tree, *deed.at), deed.action
    value, result = await use.mutate(spot.key, change, native)
    return spot.find(value), result

"""Where in a map a live container was read, and how a change is made there.

A ``ValuePath`` is a map, a key, and the steps that lead from the entry's value to a container
inside it. A ``Mutation`` is one call of a container's method: a function that changes a plain
container, and, where a store can make the same change natively, an action of the port.

Invariant: a mutation changes the value that is stored at the path, whatever the caller's copy
holds. It raises what the stored container would raise, and then nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from lpcm.operations.retry import UNCHANGED
from lpcm.system.records import NamedTuple
from lpcm.values.path import DEPTH_LIMIT, depth, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.operations.binding import MapBinding
    from lpcm.operations.operations import Entries
    from lpcm.ports import Action, Step

__all__ = ["Link", "Mutation", "ValuePath", "path_of", "perform"]

R = TypeVar("R")

Link: TypeAlias = "tuple[Any, ...]"
"""What a path is made of, at the cost of a bare tuple: ``(binding, key)`` of an entry's value;
``(outer, at, kind)`` of a part of the container with the link ``outer``, which is a ``list``, a
``tuple``, a ``dict`` of str keys alone, or, as None, another dict."""


class ValuePath(NamedTuple):
    """Where a container is stored."""

    binding: MapBinding
    key: object
    steps: tuple[Any, ...] = ()
    """The dict keys and indices that lead from the entry's value to the container."""
    tree: tuple[Step, ...] | None = ()
    """The same steps in the store's tree; None where a dict on the way has other keys than str."""

    def inside(self, at: Any, *tree: Step | None) -> ValuePath:
        """Return the path of the value at a key or index of this container."""
        below: Any = None if self.tree is None or None in tree else (*self.tree, *tree)
        return ValuePath(self.binding, self.key, (*self.steps, at), below)

    def find(self, value: Any) -> Any:
        """Return the container within the entry's value; KeyError, IndexError, TypeError."""
        for at in self.steps:
            value = value[at]
        return value

    def leads_to(self, identity: tuple[int, str], key: object, steps: tuple[Any, ...]) -> bool:
        """Tell whether this is the path of these steps in that entry."""
        same = self.binding.identity == identity and self.steps == steps
        return same and (self.key is key or self.key == key)

    def part(self, value: object) -> object | None:
        """Return a value as part of the tree here; None where the store must not put it itself."""
        if self.tree is None or value is None:
            return None
        part = self.binding.engine.codec.part(value)
        return part if len(self.tree) + 1 + depth(part) <= DEPTH_LIMIT else None


def path_of(link: Link) -> ValuePath:
    """Return the path of a link."""
    if len(link) == 2:
        return ValuePath(*link)
    outer, at, kind = link
    path = path_of(outer)
    if kind is tuple:
        return path.inside(at, "!tuple", at)
    if kind is list:
        return path.inside(at, at)
    return path.inside(at, step(at) if kind is dict else None)


class Mutation(Generic[R]):
    """One call of a method that changes a container, and returns an R."""

    __slots__ = ("action", "answer", "apply", "at", "method", "unchanged")

    def __init__(
        self,
        method: str,
        apply: Callable[[Any], Any],
        action: Action | None = None,
        at: tuple[Step, ...] = (),
        *,
        unchanged: Any = None,
        answer: Callable[[Any], R] | None = None,
    ) -> None:
        self.method = method
        self.apply = apply
        """Change a plain container; return the result, or ``UNCHANGED``."""
        self.action = action
        """The same change as a store makes it natively; None: a store has none."""
        self.at = at
        """The steps from the container to the part that the action changes."""
        self.unchanged = unchanged
        """The result in place of ``UNCHANGED``."""
        self.answer = answer
        """Makes of the changed copy what the method returns; None: it returns the result."""


async def perform(
    use: Entries, path: ValuePath, kinds: tuple[type, ...], mutation: Mutation[Any]
) -> tuple[Any, Any]:
    """Change the container of one of these kinds that is stored at the path.

    Return the container after the change, a plain one, and the result.
    """

    def change(value: Any) -> Any:
        container = path.find(value)
        if type(container) not in kinds:
            if not mutation.method.startswith("__"):
                getattr(container, mutation.method)  # AttributeError, as Python has it
            raise TypeError(
                f"{path.key!r}{''.join(f'[{at!r}]' for at in path.steps)} now holds "
                f"{type(container).__name__!r}, not {kinds[0].__name__!r}; nothing was written"
            )
        return mutation.apply(container)

    native = None
    if mutation.action is not None and path.tree is not None:
        native = (*path.tree, *mutation.at), mutation.action
    value, result = await use.mutate(path.key, change, native)
    return path.find(value), mutation.unchanged if result is UNCHANGED else result

"""Map bindings: one map of one engine in one namespace, and its operations.

A map makes another binding when the configuration changes; a live value keeps the binding it was
read through. Knows how to make ``Entries`` for blocking callers and for event loops.

Invariant: all entries of a binding are of its own engine and namespace, whatever is configured
meanwhile; the observers of the process's maps see their operations too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.engine import state
from lpcm.engine.drive import running_loop
from lpcm.engine.observe import wrap_with_hooks
from lpcm.engine.shared import hold
from lpcm.errors import LPCMError
from lpcm.operations.operations import Entries

if TYPE_CHECKING:
    from lpcm.engine.engine import Engine
    from lpcm.engine.stack import Stack
    from lpcm.operations.options import MapOptions

__all__ = ["MapBinding", "closed_error"]


def closed_error(name: str) -> LPCMError:
    """Return the error of whatever is asked of a map that is closed."""
    return LPCMError(f"map {name!r} is closed, and nothing was done: make another, LPCM({name!r})")


class MapBinding:
    """One map of one engine in one namespace."""

    closed = False
    """Whether its map is closed."""

    def __init__(self, engine: Engine, name: str, options: MapOptions) -> None:
        self.engine = engine
        self.name = name
        self.namespace = engine.namespace
        self.identity = (id(engine), engine.partition(name))
        self._options = options
        self._blocking: tuple[int, Entries] | None = None
        self._awaited: tuple[int, object, Entries] | None = None
        hold(engine, self)

    def use(self) -> Entries:
        """Return the entries for blocking use."""
        known = self._blocking
        if known is not None and known[0] == state.epoch:
            return known[1]
        now = state.epoch  # before looking: a change meanwhile must not go unseen
        entries = self._entries(self.engine.stack, blocking=True)
        self._blocking = now, entries
        return entries

    def ause(self) -> Entries:
        """Return the entries for the running event loop."""
        loop = running_loop()
        known = self._awaited
        if known is not None and known[0] == state.epoch and known[1] is loop:
            return known[2]
        now = state.epoch
        entries = self._entries(self.engine.awaitable(), blocking=False)
        self._awaited = now, loop, entries
        return entries

    def renewed(self, options: MapOptions) -> MapBinding:
        """Return this, with other options from now on."""
        self._options = options
        self._blocking = self._awaited = None
        return self

    def close(self) -> None:
        """Have the live values that were read through it raise what the closed map raises."""
        self.closed = True
        self._blocking = self._awaited = None

    def _entries(self, stack: Stack, *, blocking: bool) -> Entries:
        if self.closed:
            raise closed_error(self.name)
        if not self._options.caching:
            stack = stack.uncached()
        return Entries(
            self.engine,
            wrap_with_hooks(stack, self.engine, self.name),
            self.name,
            self._options,
            namespace=self.namespace,
            binding=self,
            blocking=blocking,
        )

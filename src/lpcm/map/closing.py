"""The end of a map: ``close``, ``with``, and their a-twins.

Closing ends this object, not the entries, and not what others use. Engines are shared by all maps
of an equal configuration (``engine.shared``), so a map closes the engine only where it was the last
to use it. A closed map stays closed: opening again at the next use would leave open what the block
had closed, and would make a new, empty file where the old one has been moved away.

Invariant: what a map opened for itself alone is closed when ``close`` returns; what another map,
thread or function uses stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from lpcm.engine import state
from lpcm.engine.block import Block
from lpcm.engine.drive import run
from lpcm.engine.shared import let_go
from lpcm.engine.stack import flush
from lpcm.errors import LPCMError
from lpcm.operations.binding import closed_error

if TYPE_CHECKING:
    from lpcm.operations.binding import MapBinding
    from lpcm.operations.operations import Entries

__all__ = ["CLOSED", "Closing"]

CLOSED: Final = -2
"""The epoch of a closed map."""


class Closing(Block):
    """The end of an ``LPCM``."""

    _name: str
    _within: MapBinding | None
    _bound: tuple[int, Entries, MapBinding]

    def close(self) -> None:
        """Let go of the store; close what no other map uses. Using this map again is an error.

        Entries stay where they are, and other maps of the same name work on. The engine, its
        files, connections and threads are closed where this was the last open map of an equal
        configuration. An ``Engine`` given as ``using`` stays open, and so does an engine that
        something else than a map asked for (``lpcm.maps``, ``lpcm.info``, ``lpcm.backup``, Django's
        ``stores``): it ends at ``lpcm.close()``. Live values and views of a closed map raise what
        the map raises. A copy or pickle of a closed map is open.

        **Cost**: invalidations owed to a cache are tried once more; nothing else is sent.
        **Atomic**: from any thread, any number of times. An operation of this map that another
        thread is doing may raise StoreError. **Raises** LPCMError for a map in a transaction.

        >>> from lpcm import LPCM
        >>> with LPCM("m") as m:
        ...     m["k"] = 1
        >>> m["k"]
        Traceback (most recent call last):
            ...
        lpcm.errors.LPCMError: map 'm' is closed, and nothing was done: make another, LPCM('m')
        >>> LPCM("m")["k"]
        1
        """
        binding = self._release()
        if binding is None:
            return
        engine = binding.engine
        if let_go(engine, binding):
            engine.close()
        elif not engine.closed:
            run(flush(engine.stack))

    async def aclose(self) -> None:
        """Await ``close``: nothing blocks the loop, whose connections are closed with the rest."""
        binding = self._release()
        if binding is None:
            return
        engine = binding.engine
        if let_go(engine, binding):
            await engine.aclose()
        elif not engine.closed:
            stack = engine.awaitable()
            if stack.coherent is not None:
                await stack.drive(flush(stack))

    def _release(self) -> MapBinding | None:
        """Make every later use an error; return what the map was bound to, if anything."""
        if self._within is not None:
            raise LPCMError(
                f"{self!r} is a transaction's: close the map itself, after the transaction"
            )
        with state.lock():
            binding = cast("MapBinding | None", self._bound[2])
            self._bound = cast("Any", (CLOSED, None, None))
        if binding is not None:
            binding.close()
        return binding

    def _check_open(self) -> None:
        if self._bound[0] == CLOSED:
            raise closed_error(self._name)

    def _enter(self) -> None:
        if self._within is not None:
            raise LPCMError(f"{self!r} is a transaction's, and ends with it")
        self._check_open()

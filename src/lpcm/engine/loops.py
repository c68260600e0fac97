"""Event loops: what an engine keeps for each, and how that ends when the loop does.

A loop that shuts down in order (``asyncio.run``) closes its asynchronous generators first, and
so awaits one that is waiting here. A loop that is merely closed (``run_until_complete``, then
``close``) lets go of its timers, without running anything: one of them, never to ring, is all
that holds a ``Tenant``, which therefore ends with it. Where neither happened, the next loop that
asks ends what belongs to closed ones.

Knows stacks by what it is given to open, flush and drop one. Invariant: a stack is used on the
loop it was opened for and no other; once that loop is closed no socket of it is open.
"""

from __future__ import annotations

import sys
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from lpcm.engine.drive import run, running_loop
from lpcm.errors import StoreError
from lpcm.system import process

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

__all__ = ["Loops"]

S = TypeVar("S")

NEVER: Final = 1e9
"""Seconds until the timer rings: thirty years."""


class Loops(Generic[S]):
    """One stack for each event loop that asks for one.

    ``flush`` ends a stack on its running loop, ``drop`` wherever there is none: it must not
    suspend, and may be called after ``flush``.
    """

    def __init__(
        self,
        make: Callable[[], S],
        flush: Callable[[S], Coroutine[Any, Any, None]],
        drop: Callable[[S], None],
    ) -> None:
        self._make = make
        self.flush = flush
        self.drop = drop
        self._tenants: dict[int, weakref.ref[Tenant[S]]] = {}
        self._closed = False
        _remember(self)

    def stack(self) -> S:
        """Return the running loop's stack, opening it if need be."""
        if not process.same[0]:
            process.forked()
        loop = running_loop()
        known = self._tenants.get(id(loop))
        tenant = None if known is None else known()
        if tenant is None or tenant.loop is not loop or tenant.ended:
            if self._closed:
                raise StoreError("this engine is closed")
            for other in self._all():
                if other.loop.is_closed():
                    other.drop()
            tenant = Tenant(self, loop, self._make())
            self._tenants[id(loop)] = weakref.ref(tenant)
            tenant.settle_in()
        return tenant.stack

    def close(self) -> None:
        """End every stack: on loops that run, as soon as they get to it; else at once.

        Asking for one afterwards is an error.
        """
        self._closed = True
        for tenant in self._all():
            tenant.close()
        self._tenants.clear()

    def forget(self) -> None:
        """Use none of them any more, and leave them as they are: they are another process's."""
        for tenant in self._all():
            tenant.ended = True
        self._tenants.clear()

    def left(self, tenant: Tenant[S]) -> None:
        """Forget a tenant that has ended."""
        known = self._tenants.get(id(tenant.loop))
        if known is not None and known() in {None, tenant}:
            self._tenants.pop(id(tenant.loop), None)

    def _all(self) -> list[Tenant[S]]:
        known = (reference() for reference in list(self._tenants.values()))
        return [tenant for tenant in known if tenant is not None]


class Tenant(Generic[S]):
    """A loop's stack. Only a timer of the loop refers to it, and it to no timer."""

    def __init__(self, loops: Loops[S], loop: Any, stack: S) -> None:
        self._loops = loops
        self.loop = loop
        self.stack = stack
        self.ended = False
        self._ending: Any = None
        """The task that ends it, which its loop does not keep alive."""

    def settle_in(self) -> None:
        """Have the loop end this when it ends."""
        # A context of its own, so that the loop keeps nothing alive of the task that asked.
        self.loop.call_later(NEVER, self, context=Context())
        if getattr(self.loop, "_asyncgens_shutdown_called", False):
            return  # it has closed its generators already, and would only warn
        self._waiting = _waiting(weakref.ref(self))
        run(self._waiting.asend(None))  # up to its yield: now the loop knows of it

    def __call__(self) -> None:
        """Do nothing: this is the timer's callback."""

    async def flush(self) -> None:
        """End the stack in order, on its loop."""
        if not self.ended:
            self.ended = True
            self._loops.left(self)
            try:
                await self._loops.flush(self.stack)
            finally:
                self._loops.drop(self.stack)

    def drop(self) -> None:
        """End the stack without its loop."""
        if not self.ended:
            self.ended = True
            self._loops.left(self)
            self._loops.drop(self.stack)

    def close(self) -> None:
        """End the stack, by its loop if that runs; from any thread, without waiting."""
        if self.loop.is_running():
            try:
                self.loop.call_soon_threadsafe(self._begin)
            except RuntimeError:  # it was closed in between
                pass
            else:
                return
        self.drop()

    def _begin(self) -> None:
        # The coroutine is made here: of a loop that never gets to it, none is left unawaited.
        self._ending = self.loop.create_task(self.flush())

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.drop()


async def _waiting(reference: weakref.ref[Tenant[Any]]) -> AsyncGenerator[None, None]:
    """Wait for the loop to close its asynchronous generators, then end the tenant."""
    try:
        yield
    finally:
        tenant = reference()
        if tenant is not None:
            await tenant.flush()


_known: dict[int, weakref.ref[Loops[Any]]] = {}


def _remember(loops: Loops[Any]) -> None:
    key = id(loops)
    _known[key] = weakref.ref(loops, lambda _: _known.pop(key, None))


def _after_fork_in_child() -> None:
    for known in list(_known.values()):
        loops = known()
        if loops is not None:
            loops.forget()


process.after_fork_in_child(_after_fork_in_child)

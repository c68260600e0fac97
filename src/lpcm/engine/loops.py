"""Event loops: the stack that an engine keeps for each, and its end together with the loop.

A loop that shuts down in order (``asyncio.run``) first closes its asynchronous generators; one of
them, here, then ends the loop's stack. A loop that is merely closed (``run_until_complete``, then
``close``) runs nothing more, but drops its timers. One timer, which never rings, is the only
reference to a ``Tenant``, so the tenant is collected with the loop, and ends the stack. Where
neither happened, the next loop that asks for a stack ends those of closed loops.

Knows of a stack how it is opened, flushed and dropped: by functions that it is given. Invariant: a
stack is used on the loop that it was opened for and no other; once that loop is closed, no socket
of the stack is open.
"""

from __future__ import annotations

import sys
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from lpcm.engine.drive import run, running_loop
from lpcm.errors import StoreError
from lpcm.system import process
from lpcm.system.instances import Instances

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
        _known.add(self)

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

    async def aclose(self) -> None:
        """End the running loop's stack; asking for one afterwards is an error, on every loop."""
        if not process.same[0]:
            process.forked()
        self._closed = True
        loop = running_loop()
        for tenant in self._all():
            if tenant.loop is loop:
                await tenant.flush()

    def forget(self) -> None:
        """Drop all stacks without closing them: they are another process's."""
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
    """A loop's stack. A timer of the loop is the only reference to it; it refers to no timer."""

    def __init__(self, loops: Loops[S], loop: Any, stack: S) -> None:
        self._loops = loops
        self.loop = loop
        self.stack = stack
        self.ended = False
        self._ending: Any = None
        """The task that ends it, which its loop does not keep alive."""

    def settle_in(self) -> None:
        """Have the loop end this when it ends."""
        # A context of its own, so that the loop keeps nothing of the calling task alive.
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
        # Made here, and not by the caller: a loop that never runs this leaves none unawaited.
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


_known: Instances[Loops[Any]] = Instances()


def _after_fork_in_child() -> None:
    for loops in _known.all():
        loops.forget()


process.after_fork_in_child(_after_fork_in_child)

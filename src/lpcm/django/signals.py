"""Signals: ``pre_update`` and ``post_update``, for every change of every map, as in 2012.

Receivers get ``map`` (its name), ``key`` (None where the whole map is cleared), and
``action``: ``set``, ``delete``, ``increment``, ``update`` (of a part of the value, as by
``m[key].append``), ``expire`` or ``clear``; the sender is ``lpcm.LPCM``. An increment that
the store cannot do natively (of a float on DynamoDB, say) is a ``set``.

``pre_update`` is sent before the store is asked; a receiver that raises prevents the change.
``post_update`` is sent once the store has it, so not for what was refused or failed;
what a receiver raises then is logged and changes nothing.

Without receivers a map does not know of them, and pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from lpcm import LPCM
from lpcm.events import Operation, subscribe

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["post_update", "pre_update"]

_subscription: AbstractContextManager[None] | None = None


class UpdateSignal(Signal):
    """A signal for which operations are observed while it has receivers."""

    def connect(self, *args: Any, **options: Any) -> None:
        """Connect a receiver."""
        super().connect(*args, **options)
        _observe()

    def disconnect(self, *args: Any, **options: Any) -> bool:
        """Disconnect a receiver."""
        done = super().disconnect(*args, **options)
        _observe()
        return done


def _observe() -> None:
    """Subscribe to operations while there are receivers."""
    global _subscription  # noqa: PLW0603  # as the signals: one for the process
    wanted = pre_update.has_listeners() or post_update.has_listeners()
    if wanted and _subscription is None:
        _subscription = subscribe(_send, Operation)
        _subscription.__enter__()
    elif not wanted and _subscription is not None:
        context, _subscription = _subscription, None
        context.__exit__(None, None, None)


def _send(operation: Operation) -> None:
    """Send ``pre_update`` for each key about to be written, ``post_update`` for each written."""
    keys, actions = operation.keys, operation.changes
    applied = operation.applied
    if operation.kind == "clear":
        keys, actions, applied = (None,), ("clear",), (not operation.error,)
    if not operation.ended:
        for key, action in zip(keys, actions, strict=False):
            pre_update.send(LPCM, map=operation.map, key=key, action=action)
        return
    for key, action, done in zip(keys, actions, applied, strict=False):
        if done:
            post_update.send_robust(LPCM, map=operation.map, key=key, action=action)


pre_update = UpdateSignal()
post_update = UpdateSignal()

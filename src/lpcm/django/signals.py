"""Signals: ``pre_update`` and ``post_update``, for every change of every map, as in 2012.

Receivers get ``map`` (its name), ``key`` (None where the whole map is cleared), and
``action``: ``set``, ``delete``, ``increment``, ``update`` (of a part of the value, as by
``m[key].append``), ``expire`` or ``clear``; the sender is ``lpcm.LPCM``. An increment that
the store cannot do natively (of a float, say) is a ``set``.

``pre_update`` is sent before the store is asked; a receiver that raises prevents the change.
``post_update`` is sent once the store has it, so not for what was refused or failed;
what a receiver raises then is logged and changes nothing.

Without receivers a map does not know of them, and pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from lpcm import LPCM
from lpcm.engine.observe import observe, stop
from lpcm.ports import Add, Delete, Put, Touch, Update

if TYPE_CHECKING:
    from lpcm.engine.observe import Call
    from lpcm.ports import Op

__all__ = ["post_update", "pre_update"]


class UpdateSignal(Signal):
    """A signal that has maps watched while it has receivers."""

    def connect(self, *args: Any, **options: Any) -> None:
        """Connect a receiver."""
        super().connect(*args, **options)
        observe(_sender)

    def disconnect(self, *args: Any, **options: Any) -> bool:
        """Disconnect a receiver."""
        done = super().disconnect(*args, **options)
        if not pre_update.has_listeners() and not post_update.has_listeners():
            stop(_sender)
        return done


class _Sender:
    """The observer that sends the signals."""

    def before(self, call: Call) -> None:
        """Send ``pre_update`` for each key that is about to be written."""
        if call.operation == "clear":
            pre_update.send(LPCM, map=call.map, key=None, action="clear")
        elif call.ops:
            for key, op in zip(call.keys(), call.ops, strict=True):
                pre_update.send(LPCM, map=call.map, key=key, action=_action(op))

    def after(self, call: Call) -> None:
        """Send ``post_update`` for each key that was written."""
        if call.operation == "clear" and not call.error:
            post_update.send_robust(LPCM, map=call.map, key=None, action="clear")
        for key, op in call.applied():
            post_update.send_robust(LPCM, map=call.map, key=key, action=_action(op))


def _action(op: Op) -> str:
    match op:
        case Put():
            return "set"
        case Delete():
            return "delete"
        case Add():
            return "increment"
        case Touch():
            return "expire"
        case Update():
            return "update"


_sender = _Sender()
pre_update = UpdateSignal()
post_update = UpdateSignal()

"""A panel of django-debug-toolbar: the operations of a request on maps, and their cost.

Add ``"lpcm.django.panels.LPCMPanel"`` to ``DEBUG_TOOLBAR_PANELS``. It counts what the request's
own thread or task does, and the tasks that starts; nothing is watched while no request is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from lpcm.events import recorded
from lpcm.text import foreign, printable, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from django.http import HttpRequest, HttpResponse

    from lpcm.events import Operation

    Panel: Any = object  # the toolbar comes without types
else:
    from debug_toolbar.panels import Panel

__all__ = ["LPCMPanel"]

_KEYS = 5
_LENGTH = 80


class LPCMPanel(Panel):  # type: ignore[misc]  # see above
    """The panel."""

    title = "Maps"
    template = "lpcm/panels/lpcm.html"
    is_async = True
    _recording: AbstractContextManager[list[Operation]]
    _calls: list[Operation]

    @property
    def nav_subtitle(self) -> str:
        """Return what stands in the toolbar."""
        stats = self.get_stats()
        if not stats:
            return ""
        again = f", {stats['repeated']} repeated" if stats["repeated"] else ""
        return f"{len(stats['calls'])} in {stats['milliseconds']:.1f} ms{again}"

    def enable_instrumentation(self) -> None:
        """Begin to collect."""
        self._recording = recorded()
        self._calls = self._recording.__enter__()

    def disable_instrumentation(self) -> None:
        """End it."""
        self._recording.__exit__(None, None, None)

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Put what was collected into words."""
        del request, response
        repeated = _repeated(self._calls)
        answered = Counter(call.answered for call in self._calls)
        self.record_stats(
            {
                "calls": [
                    _shown(call, repeated=again)
                    for call, again in zip(self._calls, repeated, strict=True)
                ],
                "milliseconds": 1000 * sum(call.seconds for call in self._calls),
                "answered": sorted(answered.items()),
                "read_units": sum(call.requests.read_units for call in self._calls),
                "write_units": sum(call.requests.write_units for call in self._calls),
                "repeated": sum(repeated),
            }
        )

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        """Tell the browser's own tools."""
        del request, response
        stats = self.get_stats()
        self.record_server_timing("lpcm", "Maps", stats.get("milliseconds", 0))


def _repeated(calls: Sequence[Operation]) -> list[bool]:
    """Tell of each call whether it read what had been read, and not been written since."""
    found: list[bool] = []
    known: dict[tuple[str, str], set[Any]] = {}
    for call in calls:
        read = known.setdefault((call.location, call.map), set())
        reads = call.kind == "read" and not call.error
        found.append(reads and bool(call.keys) and read.issuperset(call.keys))
        if reads:
            read.update(call.keys)
        elif call.kind == "clear":
            read.clear()
        else:
            read.difference_update(call.keys)
    return found


def _shown(call: Operation, *, repeated: bool) -> dict[str, Any]:
    return {
        "map": call.map,
        "operation": call.kind,
        "keys": _keys(call),
        "answered": call.answered,
        "milliseconds": 1000 * call.seconds,
        "units": call.requests.read_units + call.requests.write_units,
        "requests": call.requests.calls,
        "error": call.error,
        "repeated": repeated,
    }


def _keys(call: Operation) -> str:
    with foreign():
        words = [printable(to_json(key)) for key in call.keys[:_KEYS]]
    more = f" and {len(call.keys) - _KEYS:,} more" if len(call.keys) > _KEYS else ""
    text = ", ".join(word if len(word) <= _LENGTH else f"{word[:_LENGTH]}…" for word in words)
    return text + more

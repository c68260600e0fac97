"""A panel of django-debug-toolbar: what a request asked of maps, who answered, and what it cost.

Add ``"lpcm.django.panels.LPCMPanel"`` to ``DEBUG_TOOLBAR_PANELS``. It counts what the request's
own thread or task does, and the tasks that starts; nothing is watched while no request is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from lpcm.engine.observe import recorded
from lpcm.values.json_text import printable, to_json
from lpcm.values.registry import foreign

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.http import HttpRequest, HttpResponse

    from lpcm.engine.observe import Call

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
    _recording: AbstractContextManager[list[Call]]
    _calls: list[Call]

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
        reads = Counter(_read(call) for call in self._calls if call.operation == "read")
        answered = Counter(call.answered for call in self._calls)
        self.record_stats(
            {
                "calls": [_shown(call, reads) for call in self._calls],
                "milliseconds": 1000 * sum(call.seconds for call in self._calls),
                "answered": sorted(answered.items()),
                "read_units": sum(call.requests.read_units for call in self._calls),
                "write_units": sum(call.requests.write_units for call in self._calls),
                "repeated": sum(number - 1 for number in reads.values() if number > 1),
            }
        )

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        """Tell the browser's own tools."""
        del request, response
        stats = self.get_stats()
        self.record_server_timing("lpcm", "Maps", stats.get("milliseconds", 0))


def _read(call: Call) -> tuple[str, str, tuple[str, ...]]:
    return call.place, call.map, tuple(call.sks)


def _shown(call: Call, reads: Counter[tuple[str, str, tuple[str, ...]]]) -> dict[str, Any]:
    return {
        "map": call.map,
        "operation": call.operation,
        "keys": _keys(call),
        "answered": call.answered,
        "milliseconds": 1000 * call.seconds,
        "units": call.requests.read_units + call.requests.write_units,
        "requests": call.requests.calls,
        "error": call.error,
        "repeated": call.operation == "read" and reads[_read(call)] > 1,
    }


def _keys(call: Call) -> str:
    with foreign():
        words = [printable(to_json(key)) for key in call.keys()[:_KEYS]]
    more = f" and {len(call.sks) - _KEYS:,} more" if len(call.sks) > _KEYS else ""
    text = ", ".join(word if len(word) <= _LENGTH else f"{word[:_LENGTH]}…" for word in words)
    return text + more

"""A filter for Django's debug page and error mails that hides the passwords of URLs.

::

    DEFAULT_EXCEPTION_REPORTER_FILTER = "lpcm.django.debug.ReporterFilter"

Django hides settings and variables by their names; a password in a URL has none. What lpcm
itself keeps hides its passwords without this filter: settings.LPCM and the variables of its own
frames. The filter covers the rest, of whatever library: the environment (``LPCM_URL``,
``DATABASE_URL``), other settings, and the variables of your own frames.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.views.debug import SafeExceptionReporterFilter

from lpcm.config import conceal

if TYPE_CHECKING:
    from types import FrameType

    from django.http import HttpRequest

__all__ = ["ReporterFilter"]

_DEPTH = 5
_URL = re.compile("://|%3a%2f%2f|(?::|%3a).*(?:@|%40)", re.IGNORECASE)
"""What a URL has, malformed ones included, and an e-mail address has not."""


class ReporterFilter(SafeExceptionReporterFilter):
    """Django's own filter, and no password of a URL."""

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """Return what may be shown of a setting, or of a variable of the environment."""
        return _hidden(super().cleanse_setting(key, value))

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> Any:
        """Return what may be shown of the variables of a frame."""
        found: Any = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, _hidden(value)) for name, value in found]


def _hidden(value: Any, depth: int = _DEPTH) -> Any:
    """Return the value with a repr that shows no password: containers of built-in types anew."""
    kind: Any = type(value)
    if kind is str:
        return conceal(value) if _is_url(value) else value
    if depth and kind is dict:
        return {key: _hidden(each, depth - 1) for key, each in value.items()}
    if depth and kind in {list, tuple, set}:
        return kind(_hidden(each, depth - 1) for each in value)
    return value


def _is_url(text: str) -> bool:
    # Text that mentions an address is no URL, and would be hidden up to it.
    return _URL.search(text) is not None and not any(map(str.isspace, text))

"""Commands, replies and results in few words, for the histories that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.coherence.payload import unpack
from lpcm.ports import Get, Set

if TYPE_CHECKING:
    from lpcm.ports import Command

__all__ = ["command_text", "reply_text", "result_text"]


def command_text(key: str, command: Command) -> str:
    """Return a command as memcached's protocol writes it."""
    match command:
        case Get(lease, touch, value):
            flags = [("v", "") if value else ("", ""), ("N", lease), ("T", touch)]
            return " ".join(["mg", key, *(f"{f}{v}" for f, v in flags if v not in {None, ""})])
        case Set(data, base, ttl, mode, cas):
            text = str(_data(data[:base])) if base else ""
            text += "+" * (len(data) - base)
            cond = "" if cas is None else f" C{cas}"
            how = "" if mode == "S" else f" M{mode}"
            return f"ms {key} {text}{how} T{ttl}{cond}"
        case _:
            cond = "" if command.cas is None else f" C{command.cas}"
            return f"md {key} I{cond}"


def _data(base: bytes) -> Any:
    entry = unpack(base)
    return None if entry is None else entry.data


def reply_text(result: Any) -> str:
    """Return a reply as memcached's protocol writes it."""
    data = ""
    if result.status == "VA":
        data = str(_data(result.data[: result.base])) if result.base else "-"
        data += "+" * (result.size - result.base)
    flags = "".join(
        f for f, on in zip("WXZ", (result.won, result.stale, result.taken), strict=True) if on
    )
    words = [result.status, data, f"c{result.cas}" if result.cas else "", flags]
    return " ".join(word for word in words if word)


def result_text(result: Any) -> str:
    """Return a result as text: the value, or the name of the error."""
    return type(result).__name__ if isinstance(result, Exception) else str(result)

"""A look at memcached servers for ``lpcm doctor``: release, CAS, evictions, memory and item size.

Asks each server on a connection of its own, whatever the pools know; writes nothing.
"""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from lpcm.caches.memcached.sockets import PIECE, connect
from lpcm.ports.findings import Finding
from lpcm.system import network

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from lpcm.caches.memcached.servers import Address, Settings
    from lpcm.ports.findings import Report

__all__ = ["examine"]

_END: Final = b"\r\nEND\r\n"
_EVICTED: Final = 0.01
"""The part of all items that may be evicted before the server counts as too small."""
_USUAL: Final = 1024 * 1024
"""Bytes of the largest item, where memcached has no ``-I``."""


def examine(addresses: Sequence[Address], settings: Settings, report: Report) -> bool:
    """Report on each server; tell whether all of them may be used."""
    usable = [_examine(address, settings, report) for address in addresses]
    return all(usable)


def _examine(address: Address, settings: Settings, report: Report) -> bool:
    about, at = "memcached", f"{address}: "
    try:
        opened = connect(address, settings)
    except OSError as error:
        fix = "start it, or correct the host, the port or the firewall"
        report(Finding(about, f"{at}no connection: {error}", fix, wrong=True))
        return False
    if isinstance(opened, str):
        report(Finding(about, f"{at}lpcm does not use it: {opened}", wrong=True))
        return False
    raw, limit = opened
    with raw:
        try:
            begun = perf_counter()
            stats = _stats(raw, b"stats\r\n", settings.timeout)
            taken = perf_counter() - begun
            chosen = _stats(raw, b"stats settings\r\n", settings.timeout)
        except OSError as error:
            fix = "give it more time: ?timeout=SECONDS in the URL of the cache"
            report(Finding(about, f"{at}no answer: {error}", fix, wrong=True))
            return False
    release = stats.get("version")
    report(Finding(about, f"{at}{release}, CAS is on, answers in {taken * 1000:.2f} ms"))
    _look_at_memory(stats, report, evicts=chosen.get("evictions") != "off")
    fix = "start memcached with -I 1m: what is larger is read from the store each time"
    report(Finding("item size", f"at most {limit:,} bytes", fix if limit < _USUAL else ""))
    return True


def _look_at_memory(stats: Mapping[str, str], report: Report, *, evicts: bool) -> None:
    used, most, evicted, stored = (
        int(stats.get(name, 0)) for name in ("bytes", "limit_maxbytes", "evictions", "total_items")
    )
    found = f"{used:,} of {most:,} bytes used; {evicted:,} of {stored:,} items evicted"
    if not evicts:
        report(Finding("memory", f"{found}; evictions are off", "start memcached without -M"))
        return
    many = evicted > _EVICTED * stored
    fix = "give memcached more memory (-m), or cache for a shorter time (cache_ttl)"
    report(Finding("memory", found, fix if many else "", wrong=many))


def _stats(raw: socket.socket, request: bytes, timeout: float) -> dict[str, str]:
    """Return the server's answer. **Raises** OSError where it does not come in time."""
    deadline = monotonic() + timeout
    raw.sendall(request)
    answer = b""
    while not answer.endswith(_END):
        raw.settimeout(network.left(deadline))
        data = raw.recv(PIECE)
        if not data:
            raise ConnectionResetError("it closed the connection")
        answer += data
    words = [line.split(" ", 2) for line in answer.decode("ascii", "replace").split("\r\n")]
    return {word[1]: word[2] for word in words if len(word) == 3 and word[0] == "STAT"}

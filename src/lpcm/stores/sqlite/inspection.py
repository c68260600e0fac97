"""A look at a SQLite file for ``lpcm doctor``: where it is, how large, and its near cache.

Makes no file. Reads entries only to let the near cache begin.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from lpcm.ports.findings import Finding
from lpcm.stores.sqlite.near import WORTH, file_system, is_network
from lpcm.stores.sqlite.upkeep import PAGES_KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lpcm.ports import Stored
    from lpcm.ports.findings import Report

__all__ = ["examine"]

# ruff: noqa: ASYNC240, PTH110, PTH116  # a blocking adapter's coroutines; its paths are texts

_LONG_LOG = 64_000_000
_MOST_FREE = 4  # a part of the file


class _Opened(Protocol):
    """A store on the file."""

    async def read(self, map: str, sk: str, now: float) -> Stored | None: ...
    async def info(self, now: float) -> dict[str, Any]: ...
    def close(self) -> None: ...


async def examine(
    path: str, report: Report, opened: Callable[[], _Opened], options: Mapping[str, Any]
) -> bool:
    """Report on the file at ``path``; tell whether it is there."""
    if not os.path.exists(path):
        fix = "check the path; the first write makes it"
        report(Finding("file", f"{path} is not there", fix, wrong=True))
        return False
    _look_at_place(path, report)
    store = opened()
    try:
        now = time.time()
        for _ in range(WORTH + 1):
            await store.read("", "", now)
        info = await store.info(now)
    finally:
        store.close()
    _look_at_size(info, report)
    safe = options.get("synchronous", "full")
    loss = "of power" if safe == "full" else "of the process, not of power"
    report(Finding("safety", f"a write survives the loss {loss} (synchronous={safe})"))
    _look_at_near(str(info["near_cache"]), report)
    return True


def _look_at_place(path: str, report: Report) -> None:
    """Report a network file system, where locks and the log's shared memory do not work."""
    try:
        kind = file_system(os.stat(path).st_dev)
    except OSError:  # no Linux
        return
    if is_network(kind):
        fix = "move it to a local disk; for several machines use dynamodb://TABLE"
        report(Finding("disk", f"a network file system ({kind})", fix, wrong=True))
    else:
        report(Finding("disk", kind or "local"))


def _look_at_size(info: Mapping[str, Any], report: Report) -> None:
    size, free, expired = info["size"], info["free"], info["expired"]
    fix = ""
    if not info["shrinks"]:
        fix = "`lpcm vacuum`, once: then free pages leave the file by themselves"
    elif _MOST_FREE * free > size and free > 2 * PAGES_KEPT * 4096:
        fix = "`lpcm vacuum` gives them back at once; writes do, little by little"
    elif expired > max(info["entries"], 1000):
        fix = "`lpcm purge` deletes them at once; writes do, little by little"
    found = f"{info['file']}: {size:,} bytes, {free:,} of them free; "
    report(Finding("file", f"{found}entries: {info['entries']:,}, expired: {expired:,}", fix))
    long = info["log"] > _LONG_LOG
    fix = "end what reads for hours: readers keep the log from beginning anew" if long else ""
    report(Finding("log", f"{info['log']:,} bytes", fix))


def _look_at_near(state: str, report: Report) -> None:
    if state == "on":
        report(Finding("near cache", "on"))
    elif state == "near_cache=0":
        report(Finding("near cache", "off (near_cache=0)", "leave near_cache out of the URL"))
    else:
        report(Finding("near cache", f"none: {state}"))

"""``lpcm copy``: from any store to any other, as when a map has outgrown its file."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

import click

from lpcm.cli.copying import Copy, Done
from lpcm.cli.words import complain, pass_session, progress, shown
from lpcm.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lpcm.cli import Session

__all__ = ["copy"]

_SHOWN = 20
"""Failures that are shown one by one."""


@click.command()
@click.argument("source")
@click.argument("destination")
@click.option("--map", "-m", "maps", multiple=True, metavar="NAME", help="This map; default: all.")
@click.option("--no-verify", is_flag=True, help="Do not compare afterwards.")
@click.option("--restart", is_flag=True, help="Forget how far an earlier copy got.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Copy at most N entries a second.",
)
@click.option(
    "--to", metavar="NAME", help="Of one map: the map to copy it to, maybe of the same store."
)
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="Spread a map that the destination does not have yet over so many partitions of DynamoDB; "
    "default: as in the source.",
)
@pass_session
def copy(
    session: Session,
    source: str,
    destination: str,
    maps: tuple[str, ...],
    *,
    rate: float | None,
    to: str | None,
    shards: int | None,
    no_verify: bool,
    restart: bool,
) -> None:
    """Copy maps from the URL SOURCE to the URL DESTINATION.

    What is under the same keys is replaced, other entries stay. Expiries are kept, etags
    are new. A copy that was broken off goes on where it stopped when the same command is
    given again. Afterwards both sides are compared, and what differs is copied once more;
    exit with 1 if anything could not be copied.
    """
    if to is not None and len(set(maps)) != 1:
        raise click.UsageError("--to goes with one --map")
    work = Copy(source, destination, to=to, shards=shards)
    if work.circular and to in {None, *maps}:
        raise click.UsageError("source and destination are the same store")
    names = work.names(maps)
    if restart:
        work.forget()
    began = time.monotonic()
    try:
        copies = _copy(work, names, rate)
        if not no_verify:
            _verify(work, copies)
    except KeyboardInterrupt:
        complain(session, "KeyboardInterrupt", "interrupted; the same command goes on from here")
        raise
    work.forget()
    _report(session, copies, time.monotonic() - began)
    if any(done.failed for done in copies.values()):
        sys.exit(1)


def _copy(work: Copy, names: Sequence[str], rate: float | None) -> dict[str, Done]:
    """Copy the maps, several at once where the destination gains by that."""
    for name in names:
        earlier = work.progress(name)
        if earlier.copied:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(earlier.began))
            click.echo(
                f"lpcm: {printable(name)}: going on with the copy of {when}, after "
                f"{earlier.copied:,} entries (--restart begins anew)",
                err=True,
            )
    with (
        progress(f"copying {_label(names)}", work.count(names)) as advance,
        ThreadPoolExecutor(work.width) as pool,
    ):
        made = {name: pool.submit(work.copy, name, advance, rate=rate) for name in names}
        try:
            for each in as_completed(made.values()):
                each.result()  # the first error ends all
        except BaseException:
            work.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return {name: each.result() for name, each in made.items()}


def _verify(work: Copy, copies: Mapping[str, Done]) -> None:
    names = list(copies)
    with progress(f"comparing {_label(names)}", work.count(names)) as advance:
        for name, done in copies.items():
            work.verify(name, done, advance)


def _label(names: Sequence[str]) -> str:
    return printable(names[0]) if len(names) == 1 else f"{len(names):,} maps"


def _report(session: Session, copies: Mapping[str, Done], seconds: float) -> None:
    failures = [
        (name, key, why) for name, done in copies.items() for key, why in done.failed.items()
    ]
    for name, key, why in failures[:_SHOWN]:
        complain(session, "BatchError", f"{name}: {shown(key)}: {why}")
    if len(failures) > _SHOWN:
        complain(session, "BatchError", f"and {len(failures) - _SHOWN:,} more")
    sums = {
        name: sum(getattr(done, name) for done in copies.values())
        for name in ("copied", "resumed", "repaired", "extra")
    }
    if session.json:
        rounded = {"failed": len(failures), "seconds": round(seconds, 3)}
        click.echo(json.dumps({"maps": len(copies), **sums, **rounded}))
        return
    speed = sums["copied"] / seconds if seconds else 0.0
    text = f"{sums['copied']:,} entries of {len(copies):,} maps copied in {seconds:.1f} s"
    text += f" ({speed:,.0f}/s)"
    more = {
        "copied before": sums["resumed"],
        "copied once more": sums["repaired"],
        "only in the destination": sums["extra"],
        "not copied": len(failures),
    }
    text += "".join(f", {number:,} {what}" for what, number in more.items() if number)
    click.echo(text)

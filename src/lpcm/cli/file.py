"""What keeps a store small: ``lpcm info``, ``lpcm purge`` and ``lpcm vacuum``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

import lpcm
from lpcm import administration
from lpcm.cli.words import complain, pass_session, progress

if TYPE_CHECKING:
    from lpcm.cli import Session

__all__ = ["info", "purge", "vacuum"]


@click.command()
@pass_session
def info(session: Session) -> None:
    """Show how large the SQLite file of the URL is, and what is in it; or how it is kept near."""
    engine = session.there("show")
    found = lpcm.info(using=engine)
    if session.json:
        click.echo(json.dumps(found))
        return
    click.echo(found.pop("file", engine.location))
    for name, value in found.items():
        shown = f"{value:,}" if type(value) is int else json.dumps(value).strip('"')
        click.echo(f"  {name.replace('_', ' '):<12} {shown:>14}")


@click.command()
@click.option("--map", "-m", "maps", multiple=True, metavar="NAME", help="This map; default: all.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Spend at most N write units a second on DynamoDB, a read unit counted as a fifth of one "
    "(default: 100); on SQLite delete at most N entries a second (default: no limit).",
)
@pass_session
def purge(session: Session, maps: tuple[str, ...], rate: float | None) -> None:
    """Delete the entries that have expired, of the namespace's maps.

    They leave by themselves: a few with each write to a SQLite file, by the TTL of a table on
    DynamoDB. This is for a file to which nobody writes, a table without a TTL, and for walks that
    pass too many of them. An entry that is written again meanwhile stays. A purge that was broken
    off is begun again.
    """
    engine = session.there("purge")
    purged = 0
    try:
        with progress("purging") as advance:

            def step(count: int) -> None:
                nonlocal purged
                purged += count
                advance(count)

            administration.purge(using=engine, maps=maps or None, rate=rate, advance=step)
    except KeyboardInterrupt:
        why = f"interrupted after {purged:,} expired; the same command deletes the rest"
        complain(session, "KeyboardInterrupt", why)
        raise
    click.echo(json.dumps({"purged": purged}) if session.json else f"{purged:,} expired")


@click.command()
@pass_session
def vacuum(session: Session) -> None:
    """Write the SQLite file of the URL anew, as small as it can be, while it is in use.

    Other writers wait meanwhile. Files of the first version of lpcm give free pages back by
    themselves afterwards.
    """
    engine = session.there("vacuum")
    before = lpcm.info(using=engine)["size"]
    administration.vacuum(using=engine)
    after = lpcm.info(using=engine)["size"]
    if session.json:
        click.echo(json.dumps({"before": before, "after": after}))
    else:
        click.echo(f"{before:,} bytes before, {after:,} after")

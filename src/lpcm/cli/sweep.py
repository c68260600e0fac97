"""``lpcm sweep``: delete the parts of large values that no entry names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lpcm import administration
from lpcm.cli.words import pass_session, progress

if TYPE_CHECKING:
    from lpcm.cli import Session

__all__ = ["sweep"]


@click.command()
@click.option("--map", "-m", "maps", multiple=True, metavar="NAME", help="This map; default: all.")
@pass_session
def sweep(session: Session, maps: tuple[str, ...]) -> None:
    """Delete the parts of values over 400 KB that no entry names any more, on DynamoDB.

    Writers that died, entries that expired and batches over such entries leave them. Parts younger
    than an hour stay, for their writer may still be at it. Run it when you like, beside anything
    else; one that was broken off is begun again.
    """
    engine = session.there("sweep")
    with progress("sweeping") as advance:
        found = administration.sweep(using=engine, maps=maps or None, advance=advance)
    if session.json:
        click.echo(json.dumps(found._asdict()))
    else:
        click.echo(f"{found.swept:,} of {found.values:,} values in parts swept")

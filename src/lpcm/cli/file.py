"""The SQLite file of the URL: ``lpcm info``, ``lpcm purge`` and ``lpcm vacuum``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

import lpcm
from lpcm import administration
from lpcm.cli.words import pass_session

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
@pass_session
def purge(session: Session) -> None:
    """Delete what has expired from the SQLite file of the URL, in all its namespaces.

    It leaves the file by itself, a few rows with each write; this is for when nobody writes.
    """
    purged = administration.purge(using=session.there("purge"))
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

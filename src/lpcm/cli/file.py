"""The SQLite file of the URL: ``lpcm info``, ``lpcm purge`` and ``lpcm vacuum``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from lpcm.cli.words import pass_session
from lpcm.engine import config, upkeep
from lpcm.errors import StoreMissing

if TYPE_CHECKING:
    from lpcm import Engine
    from lpcm.cli import Session

__all__ = ["info", "purge", "there", "vacuum"]


def there(session: Session, what: str) -> Engine:
    """Return the engine of the URL, but make no file: a misspelt one would be an empty store."""
    settings = config.parse_again(session.url or os.environ.get("LPCM_URL") or config.DEFAULT_URL)
    scratch = "LPCM_SCRATCH" in os.environ  # then another file stands for this one
    if settings.scheme == "sqlite" and not scratch and not os.path.exists(settings.path):  # noqa: PTH110  # a str, as os.path made it
        raise StoreMissing(f"{settings.location} is not there: nothing to {what}")
    return session.engine()


@click.command()
@pass_session
def info(session: Session) -> None:
    """Show how large the SQLite file of the URL is, and what is in it."""
    found = upkeep.info(using=there(session, "show"))
    if session.json:
        click.echo(json.dumps(found))
        return
    click.echo(found.pop("file"))
    for name, value in found.items():
        shown = f"{value:,}" if type(value) is int else json.dumps(value)
        click.echo(f"  {name.replace('_', ' '):<10} {shown:>16}")


@click.command()
@pass_session
def purge(session: Session) -> None:
    """Delete what has expired from the SQLite file of the URL, in all its namespaces.

    It leaves the file by itself, a few rows with each write; this is for when nobody writes.
    """
    purged = upkeep.purge(using=there(session, "purge"))
    click.echo(json.dumps({"purged": purged}) if session.json else f"{purged:,} expired")


@click.command()
@pass_session
def vacuum(session: Session) -> None:
    """Write the SQLite file of the URL anew, as small as it can be, while it is in use.

    Other writers wait meanwhile. Files of the first version of lpcm give free pages back by
    themselves afterwards.
    """
    engine = there(session, "vacuum")
    before = upkeep.info(using=engine)["size"]
    upkeep.vacuum(using=engine)
    after = upkeep.info(using=engine)["size"]
    if session.json:
        click.echo(json.dumps({"before": before, "after": after}))
    else:
        click.echo(f"{before:,} bytes before, {after:,} after")

"""A copy of the SQLite file while it is in use: ``lpcm backup``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

import lpcm
from lpcm.cli.words import pass_session
from lpcm.engine import config
from lpcm.errors import StoreMissing

if TYPE_CHECKING:
    from lpcm.cli import Session

__all__ = ["backup"]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@pass_session
def backup(session: Session, file: str) -> None:
    """Copy the SQLite file of the URL to FILE, as of one instant, while it is in use.

    FILE is replaced when the copy is whole. Other stores: see export. To restore, end all
    programs that use the database and move the copy into its place.
    """
    settings = config.parse_again(session.url or os.environ.get("LPCM_URL") or config.DEFAULT_URL)
    scratch = "LPCM_SCRATCH" in os.environ  # then another file stands for this one
    if settings.scheme == "sqlite" and not scratch and not os.path.exists(settings.path):  # noqa: PTH110  # a str, as os.path made it
        # Else a misspelt one would be made, empty, and backed up with success.
        raise StoreMissing(f"{settings.location} is not there: nothing to back up")
    lpcm.backup(file, using=session.engine())
    size = os.path.getsize(file)  # noqa: PTH202  # as above
    if session.json:
        click.echo(json.dumps({"file": file, "bytes": size}))
    else:
        click.echo(f"{file}: {size:,} bytes")

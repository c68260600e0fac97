"""A copy of the SQLite file while it is in use: ``lpcm backup``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

import lpcm
from lpcm.cli.words import pass_session

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
    lpcm.backup(file, using=session.there("back up"))
    size = os.path.getsize(file)  # noqa: PTH202  # a str
    if session.json:
        click.echo(json.dumps({"file": file, "bytes": size}))
    else:
        click.echo(f"{file}: {size:,} bytes")

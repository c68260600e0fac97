"""A map as a whole: ``lpcm map create`` and ``lpcm map show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lpcm.administration import MapNotFound, find_map
from lpcm.cli.words import map_names, pass_session
from lpcm.text import printable

if TYPE_CHECKING:
    from lpcm.cli import Session
    from lpcm.ports import MapInfo

__all__ = ["map_"]


@click.group(name="map")
def map_() -> None:
    """Make a map before its first entry, or say what it is."""


@map_.command()
@click.argument("name")
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="Spread its entries over so many partitions of DynamoDB, 1 to 1,000; default: 1.",
)
@pass_session
def create(session: Session, name: str, shards: int | None) -> None:
    """Enter the map NAME into the catalogue, without an entry.

    The first write to a map does that as well. A map that is there stays as it is: exit with 3 if
    it has another number of shards. Stores without partitions ignore the number.
    """
    session.records(name, shards=shards).create()
    found = find_map(session.engine(), name)
    assert found is not None, "it was there, or is now"
    _say(session, found)


@map_.command()
@click.argument("name", shell_complete=map_names)
@pass_session
def show(session: Session, name: str) -> None:
    """Say what the catalogue has of the map NAME; exit with 1 if it was never written."""
    found = find_map(session.there("show"), name)
    if found is None:
        raise MapNotFound(name)
    _say(session, found)


def _say(session: Session, found: MapInfo) -> None:
    if session.json:
        click.echo(json.dumps(found._asdict()))
        return
    for name, value in found._asdict().items():
        click.echo(f"{name:<6}  {printable(str(value))}")
